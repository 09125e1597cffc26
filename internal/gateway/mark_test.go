package gateway

import (
	"slices"
	"strings"
	"testing"

	"smimea.example/internal/cms"
	"smimea.example/internal/message"
	"smimea.example/keystore"
)

func TestParseMark(t *testing.T) {
	for _, test := range []struct {
		text string
		want Mark
		good bool
	}{
		{"X-Encryption: off", Mark{"X-Encryption", "off"}, true},
		{"x-encryption:off", Mark{"x-encryption", "off"}, true},
		{"subject: [plain]", Mark{"Subject", "[plain]"}, true},
		{"SUBJECT: [plain]", Mark{"Subject", "[plain]"}, true},
		{"X-Encryption:", Mark{}, false},
		{"X-Encryption", Mark{}, false},
		{"subject:  ", Mark{}, false},
		{"To: somebody", Mark{}, false},
		{"Content-Type: text/plain", Mark{}, false},
		{"X-Bad Name: off", Mark{}, false},
		{"subject: [\xe6\x9a\x97]", Mark{}, false},
		{"", Mark{}, false},
	} {
		got, err := ParseMark(test.text)
		if got != test.want || (err == nil) != test.good {
			t.Errorf("ParseMark(%q) = %+v, %v", test.text, got, err)
		}
	}
}

// marking is a gateway whose senders may decline.
func marking(t *testing.T, mark string) *Gateway {
	g, _, _ := newGateway(t)
	m, err := ParseMark(mark)
	if err != nil {
		t.Fatal(err)
	}
	g.Rules[1].Mark = m
	return g
}

// The sender decides where there is proven to be no certificate, and there alone.
func TestSenderMayDecline(t *testing.T) {
	g := marking(t, "subject: [plain]")
	g.Keys.(fakeStore)["unusable@example.net"] = keystore.Keys{Outcome: keystore.Unusable}
	for _, test := range []struct{ name, to, subject, rcpt, end string }{
		{"marked", "none@example.net", "[plain] hello", "250 2.1.5", "250 2.1.5"},
		{"marked in other letters, and in the middle again", "none@example.net", "[PLAIN] Re: [plain] hello", "250 2.1.5", "250 2.1.5"},
		{"an answer to a mail that bore the mark", "none@example.net", "Re: [plain] hello", "250 2.1.5", "550 5.7.5"},
		{"such an answer, in an encoded word", "none@example.net", "Re: =?utf-8?Q?=5Bplain=5D_gr=C3=BC=C3=9Fe?=", "250 2.1.5", "550 5.7.5"},
		{"marked in an encoded word", "none@example.net", "=?ISO-2022-JP?B?W3BsYWluXSAbJEIkMyRzJEskQSRPGyhC?=", "250 2.1.5", "250 2.1.5"},
		{"not marked", "none@example.net", "hello", "250 2.1.5", "550 5.7.5"},
		{"marked, and forged", "bogus@example.net", "[plain] hello", "451 4.7.5", ""},
		{"marked, and not found out", "failed@example.net", "[plain] hello", "451 4.4.3", ""},
		{"marked, and unusable", "unusable@example.net", "[plain] hello", "550 5.7.5", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := g.Begin(Sender{Address: "alice@example.org"})
			defer m.Close()
			if r := m.Recipient(t.Context(), Rcpt{Address: test.to}); codes(r) != test.rcpt {
				t.Fatalf("at RCPT: %s %s, want %s", codes(r), r.Text, test.rcpt)
			}
			if test.end == "" {
				return
			}
			v := send(t, m, header("To: "+test.to+"\nSubject: "+test.subject), []byte(greeting))
			if codes(v.Reply) != test.end {
				t.Fatalf("at the end: %s %s, want %s", codes(v.Reply), v.Reply.Text, test.end)
			}
			if v.Reply.Action != Accept {
				if !strings.Contains(v.Reply.Text, "<"+test.to+">") || !strings.Contains(v.Reply.Text, "[plain] at the beginning of the subject") {
					t.Errorf("the reply does not help: %s", v.Reply.Text)
				}
				return
			}
			if v.Encrypted || !slices.Equal(v.Replaces, []string{"Subject"}) || len(v.Header) != 1 || strings.Contains(strings.ToLower(v.Header[0].Value), "plain") {
				t.Errorf("the mark stays: %+v", v)
			}
		})
	}
}

// An address that names a route is not the one that absence was proven of: it goes
// to whom the route leads to, whatever the sender wants.
func TestMarkIsNotForRoutes(t *testing.T) {
	g := marking(t, "subject: [plain]")
	for _, to := range []string{"carol%example.com@example.net", "example.com!carol@example.net", `"carol@example.com"@example.net`} {
		g.Keys.(fakeStore)[to] = keystore.Keys{Outcome: keystore.None}
		m := g.Begin(Sender{Address: "alice@example.org"})
		if r := m.Recipient(t.Context(), Rcpt{Address: to}); codes(r) != "550 5.1.3" {
			t.Errorf("%s: %s %s", to, codes(r), r.Text)
		}
		m.Close()
	}
}

// The mark goes from every copy, also from those of people who have certificates.
func TestMarkGoes(t *testing.T) {
	g := marking(t, "X-Encryption: off")
	office := splittingGateway(t, g)
	// The sender may not know whom there are certificates for.
	alone := begin(t, g, "rsa@example.net")
	if v := send(t, alone, header("To: rsa@example.net\nX-Encryption: off"), []byte(greeting)); !slices.Contains(v.Replaces, "X-Encryption") {
		t.Errorf("the mark stays in a mail that is encrypted to everybody: %q", v.Replaces)
	}
	m := begin(t, g, "rsa@example.net", "none@example.net", "ec@example.net")
	v := send(t, m, header("To: rsa@example.net, none@example.net, ec@example.net\nx-encryption: OFF\nX-Encryption: on\nSubject: x"), []byte(greeting))
	if v.Reply.Action != Accept || !v.Encrypted {
		t.Fatal(codes(v.Reply), v.Reply.Text)
	}
	if !slices.Equal(v.Replaces, []string{"x-encryption", "X-Encryption"}) || v.Header[0] != (message.Field{Name: "X-Encryption", Value: " on"}) {
		t.Errorf("%q, %q", v.Replaces, v.Header)
	}
	mails := office.mails()
	for _, c := range mails {
		if strings.Contains(c.data, "OFF") || !strings.Contains(c.data, "X-Encryption: on") {
			t.Errorf("%s", c.data)
		}
	}
	if len(mails) != 2 {
		t.Errorf("%d copies", len(mails))
	}
}

// A milter cannot give a field no value: that deletes it. So one that stands empty
// beside a mark goes with it.
func TestEmptyFieldBesideAMark(t *testing.T) {
	g := marking(t, "subject: [plain]")
	m := begin(t, g, "none@example.net")
	v := send(t, m, header("To: none@example.net\nSubject:\nSubject: [plain]\nsubject: [plain] x"), []byte(greeting))
	if v.Reply.Action != Accept || len(v.Replaces) != 3 {
		t.Fatalf("%s %s, %q", codes(v.Reply), v.Reply.Text, v.Replaces)
	}
	if len(v.Header) != 1 || v.Header[0] != (message.Field{Name: "subject", Value: " x"}) {
		t.Errorf("%q", v.Header)
	}
}

// Under prefer a mail goes in clear where there is proven to be no certificate.
func TestPrefer(t *testing.T) {
	g, _, _ := newGateway(t)
	g.Rules[1].Action = Prefer
	g.Keys.(fakeStore)["weak@example.net"] = keystore.Keys{Outcome: keystore.WeakOnly}
	for _, test := range []struct {
		to, reply string
		encrypted bool
	}{
		{"rsa@example.net", "250 2.1.5", true},
		{"none@example.net", "250 2.1.5", false},
		{"bogus@example.net", "451 4.7.5", false},
		{"failed@example.net", "451 4.4.3", false},
		{"weak@example.net", "550 5.7.6", false},
		{"none%example.net@example.com", "550 5.1.3", false},
	} {
		m := g.Begin(Sender{Address: "alice@example.org"})
		defer m.Close()
		r := m.Recipient(t.Context(), Rcpt{Address: test.to})
		if codes(r) != test.reply {
			t.Errorf("%s: %s %s, want %s", test.to, codes(r), r.Text, test.reply)
		}
		if r.Action != Accept {
			continue
		}
		if v := send(t, m, header("To: "+test.to), []byte(greeting)); v.Reply.Action != Accept || v.Encrypted != test.encrypted {
			t.Errorf("%s: %+v", test.to, v)
		}
	}
}

// The archive can open every envelope of its rule, and its owner is no recipient.
func TestArchive(t *testing.T) {
	g, rsa, ec := newGateway(t)
	archive := newPerson(t, cms.RSA, 77)
	g.Rules[1].Archive = archive.to
	office := splittingGateway(t, g)
	m := begin(t, g, "rsa@example.net", "ec@example.net", "bob@example.org")
	v := send(t, m, header("To: rsa@example.net, ec@example.net, bob@example.org\nContent-Type: text/plain\nSubject: x"), []byte(greeting))
	if v.Reply.Action != Accept {
		t.Fatal(codes(v.Reply), v.Trouble)
	}
	if got := openWith(t, v.Body, archive); !strings.HasSuffix(got, greeting) {
		t.Errorf("in hand: %q", got)
	}
	for _, c := range office.mails() {
		checkCopy(t, c, rsa, ec)
		if strings.HasSuffix(c.what(), "plain") {
			continue
		}
		_, body, _ := strings.Cut(c.data, "\r\n\r\n")
		if got := openWith(t, strings.NewReader(body), archive); !strings.HasSuffix(got, greeting) {
			t.Errorf("%s: %q", c.what(), got)
		}
	}
	for _, f := range m.Fates() {
		if want := archive.to.Fingerprint(); f.Rule == "require" && f.Archive != want {
			t.Errorf("%s: archive %q in the log, want %q", f.Address, f.Archive, want)
		}
	}
}

// Hidden recipients of a rule that says so share an envelope; those whom others
// see do not.
func TestTogether(t *testing.T) {
	g, _, _ := newGateway(t)
	g.Rules[1].Together = true
	office := splittingGateway(t, g)
	m := begin(t, g, "rsa@example.net", "both@example.net", "rsa2@example.net")
	if v := send(t, m, header("To: rsa@example.net"), []byte(greeting)); v.Reply.Action != Accept {
		t.Fatal(codes(v.Reply), v.Trouble)
	}
	if mails := office.mails(); len(mails) != 1 || mails[0].what() != "both@example.net,rsa2@example.net encrypted" {
		t.Errorf("%d copies: %v", len(mails), mails)
	}
}
