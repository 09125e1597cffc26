package gateway

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"smimea.example/internal/cms"
	"smimea.example/internal/message"
	"smimea.example/keystore"
)

// A fakeStore knows what is to be found by the address.
type fakeStore map[string]keystore.Keys

func (s fakeStore) Find(_ context.Context, address string) keystore.Keys { return s[address] }

// A sourceFunc is a key store made of a function.
type sourceFunc func(ctx context.Context, address string) keystore.Keys

func (f sourceFunc) Find(ctx context.Context, address string) keystore.Keys { return f(ctx, address) }

func found(c ...cms.Recipient) keystore.Keys {
	return keystore.Keys{Outcome: keystore.Found, Certs: c, Origin: "pinned"}
}

// newGateway has the usual rules and a few people.
func newGateway(t *testing.T) (g *Gateway, rsa, ec person) {
	rsa, ec = newPerson(t, cms.RSA, 1), newPerson(t, cms.EC, 2)
	return &Gateway{
		Rules: []Rule{
			{Recipients: []string{"example.org"}, Action: Never},
			{Recipients: []string{"*"}, Senders: []string{"alice@example.org", "<>"}, Action: Require},
		},
		Keys: fakeStore{
			"rsa@example.net":   found(rsa.to),
			"rsa2@example.net":  found(rsa.to),
			"ec@example.net":    found(ec.to),
			"both@example.net":  found(ec.to, rsa.to),
			"none@example.net":  {Outcome: keystore.None, Why: errors.New("proven")},
			"bogus@example.net": {Outcome: keystore.Bogus, Why: errors.New("signature expired")},
			"empty@example.net": {Outcome: keystore.Found},
		},
		Spool: t.TempDir(),
	}, rsa, ec
}

func begin(t *testing.T, g *Gateway, recipients ...string) *Mail {
	t.Helper()
	m := g.Begin(Sender{Address: "alice@example.org"})
	t.Cleanup(m.Close)
	for _, address := range recipients {
		if r := m.Recipient(t.Context(), Rcpt{Address: address}); r.Action != Accept {
			t.Fatalf("%s: %s %s", address, codes(r), r.Text)
		}
	}
	return m
}

// send gives a mail its header and body, and returns the verdict.
func send(t *testing.T, m *Mail, h message.Header, body []byte) Verdict {
	t.Helper()
	for _, f := range h {
		m.Header(f)
	}
	if r := m.EndHeader(""); r.Action != Accept {
		return Verdict{Reply: r}
	}
	for len(body) > 0 {
		n := min(len(body), 65535)
		if _, err := m.Write(body[:n]); err != nil {
			break
		}
		body = body[n:]
	}
	return m.End(t.Context(), "")
}

func TestRecipients(t *testing.T) {
	g, _, _ := newGateway(t)
	for _, test := range []struct {
		name string
		to   string // in their order, each with the reply he gets
	}{
		{"certificate", "rsa@example.net=250 2.1.5"},
		{"none", "none@example.net=550 5.7.5"},
		{"found, and nothing there", "empty@example.net=451 4.4.3"},
		{"not heard of", "nobody@example.net=451 4.4.3"},
		{"our own house", "bob@example.org=250 2.1.5"},
		{"our own house, by a route", "rsa%example.net@example.org=550 5.1.3"},
		{"our own house, by a bang path", "example.net!rsa@example.org=550 5.1.3"},
		{"our own house, by a second @", "rsa@example.net@example.org=550 5.1.3"},
		{"our own house, by a quoted @", `"rsa@example.net"@example.org=550 5.1.3`},
		{"our own house, by a source route", "@example.net:rsa@example.org=550 5.1.3"},
		{"no address", "bob=550 5.1.3"},
		{"the house's own postmaster", "Postmaster=250 2.1.5"},
		{"nothing", "=550 5.1.3"},
		{"others go on", "none@example.net=550 5.7.5 rsa@example.net=250 2.1.5 bogus@example.net=451 4.7.5 rsa2@example.net=250 2.1.5"},
		{"in clear after encrypted", "rsa@example.net=250 2.1.5 bob@example.org=452 4.5.3"},
		{"encrypted after in clear", "bob@example.org=250 2.1.5 rsa@example.net=452 4.5.3 carol@example.org=250 2.1.5"},
		{"one who was refused decides nothing", "none@example.net=550 5.7.5 bob@example.org=250 2.1.5"},
		{"EC after RSA", "rsa@example.net=250 2.1.5 ec@example.net=452 4.5.3 both@example.net=250 2.1.5"},
		{"RSA after EC", "ec@example.net=250 2.1.5 rsa@example.net=452 4.5.3 both@example.net=452 4.5.3"},
		{"twice", "rsa@example.net=250 2.1.5 rsa@example.net=250 2.1.5"},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := g.Begin(Sender{Address: "alice@example.org"})
			defer m.Close()
			rest := test.to
			for rest != "" {
				address, after, _ := strings.Cut(rest, "=")
				want := after[:len("250 2.1.5")]
				rest = strings.TrimPrefix(after[len(want):], " ")
				if got := m.Recipient(t.Context(), Rcpt{Address: address}); codes(got) != want {
					t.Errorf("%s: %s %s, want %s", address, codes(got), got.Text, want)
				}
			}
		})
	}
}

func TestNobodyIsAskedUnderNever(t *testing.T) {
	g, _, _ := newGateway(t)
	g.Keys = sourceFunc(func(context.Context, string) keystore.Keys {
		t.Error("asked")
		return keystore.Keys{}
	})
	m := begin(t, g, "bob@example.org")
	v := send(t, m, header("To: bob@example.org"), []byte("hello\r\n"))
	if v.Reply.Action != Accept || v.Encrypted || m.Fates()[0].Sent != "plain" || m.Fates()[0].Rule != "never" {
		t.Errorf("%+v", v)
	}
	if m.header != nil || m.sealing != nil {
		t.Error("something was kept of a mail that passes")
	}
}

func TestWithoutMatchingRule(t *testing.T) {
	g, _, _ := newGateway(t)
	for _, test := range []struct {
		name  string
		rules []Rule
	}{
		{"nothing for this sender", g.Rules},
		{"no rules", nil},
		{"unknown action", []Rule{{Recipients: []string{"*"}, Action: "protect"}}},
		{"broken pattern", []Rule{{Recipients: []string{"*.example.net"}, Action: Require}, {Recipients: []string{"*"}, Action: Never}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			g := &Gateway{Rules: test.rules, Keys: g.Keys}
			m := g.Begin(Sender{Address: "mallory@example.com"})
			defer m.Close()
			if r := m.Recipient(t.Context(), Rcpt{Address: "rsa@example.net"}); codes(r) != "451 4.3.5" || r.Action != Defer {
				t.Errorf("%s %s", codes(r), r.Text)
			}
		})
	}
}

func TestBudget(t *testing.T) {
	g, _, _ := newGateway(t)
	for _, test := range []struct{ set, want time.Duration }{{0, 7 * time.Second}, {3 * time.Second, 3 * time.Second}} {
		g.Budget = test.set
		g.Keys = sourceFunc(func(ctx context.Context, _ string) keystore.Keys {
			deadline, ok := ctx.Deadline()
			if left := time.Until(deadline); !ok || left > test.want || left < test.want-time.Second {
				t.Errorf("budget %v: %v left", test.set, left)
			}
			return keystore.Keys{}
		})
		g.Begin(Sender{Address: "alice@example.org"}).Recipient(t.Context(), Rcpt{Address: "rsa@example.net"})
	}
}

func TestExplain(t *testing.T) {
	g, rsa, _ := newGateway(t)
	e := g.Explain(t.Context(), "alice@example.org", "both@example.net")
	if e.Number != 2 || e.Rule.Action != Require || !e.Asked || e.Keys.Outcome != keystore.Found || e.Reply.Action != Accept {
		t.Errorf("%+v", e)
	}
	if len(e.Certs) != 1 || e.Certs[0].Fingerprint() != rsa.to.Fingerprint() {
		t.Errorf("certificates %v", prints(e.Certs))
	}
	if !strings.HasSuffix(e.Owner, "._smimecert.example.net.") {
		t.Errorf("owner %s", e.Owner)
	}
	for _, test := range []struct {
		name, address, reply string
		number               int
		asked                bool
		why                  string
	}{
		{"ours", "bob@example.org", "250 2.1.5", 1, false, ""},
		{"nobody's", "bob@", "550 5.1.3", 0, false, "not a mail address"},
		{"none", "none@example.net", "550 5.7.5", 2, true, "proven"},
		{"bogus", "bogus@example.net", "451 4.7.5", 2, true, "signature expired"},
	} {
		e := g.Explain(t.Context(), "", test.address)
		if codes(e.Reply) != test.reply || e.Number != test.number || e.Asked != test.asked || !strings.Contains(fmt.Sprint(e.Why), test.why) {
			t.Errorf("%s: %+v", test.name, e)
		}
	}
}

// What comes out, once decrypted, is the mail's own Content-* fields, an empty
// line and the body, octet for octet.
func TestRoundTrip(t *testing.T) {
	g, rsa, ec := newGateway(t)
	octets := make([]byte, 256)
	for i := range octets {
		octets[i] = byte(i)
	}
	h := append(header("From: alice@example.org\nTo: rsa@example.net, ec@example.net\nSubject: odd\nMIME-Version: 1.0"),
		message.Field{Name: "content-type", Value: "text/plain;\r\n\tcharset=iso-2022-jp"},
		message.Field{Name: "Content-Transfer-Encoding", Value: "  7bit"})
	const entity = "content-type:text/plain;\r\n\tcharset=iso-2022-jp\r\nContent-Transfer-Encoding:  7bit\r\n\r\n"
	for _, test := range []struct {
		name string
		body []byte
	}{
		{"empty", nil},
		{"one octet", []byte("x")},
		{"a line", []byte("hello\r\n")},
		{"no final line end", []byte("hello")},
		{"line ends only", []byte("\r\n\r\n")},
		{"bare ones", []byte("a\rb\nc\r\r\n\n")},
		{"NUL and all others", octets},
		{"a block less one", bytes.Repeat([]byte("y"), 15)},
		{"a block", bytes.Repeat([]byte("y"), 16)},
		{"ISO-2022-JP", []byte("\x1b$B$3$s$K$A$O\x1b(B\r\n")},
		{"Shift_JIS", []byte("\x82\xb1\x82\xf1\x82\xc9\x82\xbf\x82\xcd\r\n")},
		{"From and dots", []byte("From here\r\n.\r\n..\r\n")},
		{"a long line", bytes.Repeat([]byte("z"), 100_000)},
		{"as much as memory takes", bytes.Repeat([]byte("0123456789abcdef"), spoolMemory/16-10)},
		{"more than memory takes", bytes.Repeat([]byte("0123456789abcdef"), spoolMemory/4)},
	} {
		for _, who := range []struct {
			address string
			person
		}{{"rsa@example.net", rsa}, {"ec@example.net", ec}} {
			t.Run(test.name+", "+who.to.Kind().String(), func(t *testing.T) {
				m := begin(t, g, who.address)
				v := send(t, m, h, test.body)
				if v.Reply.Action != Accept || !v.Encrypted {
					t.Fatalf("%s %s, %v", codes(v.Reply), v.Reply.Text, m.why)
				}
				if f := m.Fates()[0]; f.Sent != "encrypted" || len(f.Certs) != 1 || f.Outcome != "found" || f.Origin != "pinned" {
					t.Errorf("fate %+v", f)
				}
				want := entity + string(test.body)
				if got := open(t, v.Body, who.person); got != want {
					t.Errorf("%d octets came out, %d went in", len(got), len(want))
				}
			})
		}
	}
}

// open decrypts the body of an encrypted mail.
func open(t *testing.T, body io.Reader, p person) string {
	t.Helper()
	text, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.SplitAfterSeq(strings.TrimSuffix(string(text), "\r\n"), "\r\n") {
		if len(line) > 78 {
			t.Fatalf("line of %d octets", len(line))
		}
	}
	object, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(string(text), "\r\n", ""))
	if err != nil {
		t.Fatal(err)
	}
	content, err := cms.Decrypt(object, p.to.Certificate(), p.key)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func TestSeveralShareAnEnvelope(t *testing.T) {
	g, rsa, _ := newGateway(t)
	m := begin(t, g, "rsa@example.net", "both@example.net", "rsa2@example.net")
	v := send(t, m, header("To: rsa@example.net, Both <both@example.net>\nCc: rsa2@EXAMPLE.net"), []byte("hello\r\n"))
	if !v.Encrypted {
		t.Fatalf("%s %s", codes(v.Reply), v.Reply.Text)
	}
	if got := open(t, v.Body, rsa); got != "\r\nhello\r\n" {
		t.Errorf("got %q", got)
	}
}

// A recipient in neither To nor Cc is refused, at the latest at the end.
func TestHiddenRecipient(t *testing.T) {
	g, _, _ := newGateway(t)
	m := begin(t, g, "rsa@example.net", "rsa2@example.net")
	v := send(t, m, header("To: rsa@example.net"), []byte("Dear RSA,\r\n"))
	if codes(v.Reply) != "550 5.7.3" || !strings.Contains(v.Reply.Text, "<rsa2@example.net>") || v.Body != nil || v.Encrypted {
		t.Errorf("%+v", v)
	}
}

func TestAlreadyEncrypted(t *testing.T) {
	g, rsa, _ := newGateway(t)
	first := send(t, begin(t, g, "rsa@example.net"), header("To: rsa@example.net"), []byte("hello\r\n"))
	body, err := io.ReadAll(first.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		to   []string
		tail string
		want string
	}{
		{"passes untouched", []string{"rsa@example.net"}, "", "already encrypted"},
		{"passes untouched with a hidden recipient, too", []string{"rsa@example.net", "rsa2@example.net"}, "", "already encrypted"},
		{"not with a tail", []string{"rsa@example.net"}, "\r\nP.S.: the password is 1234\r\n", "encrypted"},
		{"nor with a tail and a hidden recipient", []string{"rsa@example.net", "rsa2@example.net"}, "\r\nP.S.: the password is 1234\r\n", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := append(header("To: rsa@example.net"), message.Envelope(false)...)
			whole := string(body) + test.tail
			m := begin(t, g, test.to...)
			v := send(t, m, h, []byte(whole))
			switch {
			case test.want == "":
				if codes(v.Reply) != "550 5.7.3" || v.Encrypted {
					t.Errorf("%+v", v)
				}
				return
			case v.Reply.Action != Accept || m.Fates()[0].Sent != test.want || v.Encrypted != (test.want == "encrypted"):
				t.Fatalf("%+v", v)
			}
			if v.Encrypted && !strings.HasSuffix(open(t, v.Body, rsa), "\r\n\r\n"+whole) {
				t.Error("something else came out")
			}
		})
	}
}

// Nobody hears the replies to pickup's recipients; the mail gets the worst one.
func TestPickup(t *testing.T) {
	g, rsa, _ := newGateway(t)
	for _, test := range []struct {
		name string
		to   []string
		want string
		text string
	}{
		{"good", []string{"rsa@example.net"}, "250 2.1.5", "ok"},
		{"none", []string{"none@example.net"}, "550 5.7.5", "<none@example.net>"},
		{"bogus", []string{"rsa@example.net", "bogus@example.net"}, "451 4.7.5", "<bogus@example.net>"},
		{"a refusal first", []string{"bogus@example.net", "rsa@example.net", "none@example.net"}, "550 5.7.5", "<bogus@example.net>"},
		{"another fate is refused, as nobody would send separately", []string{"rsa@example.net", "bob@example.org"}, "550 5.5.3", "send separately to <bob@example.org>"},
		{"hidden", []string{"rsa@example.net", "rsa2@example.net"}, "550 5.7.3", "<rsa2@example.net>"},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := g.Begin(Sender{Address: "alice@example.org", Pickup: true})
			defer m.Close()
			for _, address := range test.to {
				if r := m.Recipient(t.Context(), Rcpt{Address: address}); r.Action != Accept {
					t.Errorf("%s: %s at RCPT", address, codes(r))
				}
			}
			for _, f := range header("To: rsa@example.net") {
				m.Header(f)
			}
			if r := m.EndHeader(""); r.Action != Accept {
				t.Errorf("%s at the end of the header", codes(r))
			}
			m.Write([]byte("hello\r\n"))
			v := m.End(t.Context(), "")
			if codes(v.Reply) != test.want || !strings.Contains(v.Reply.Text, test.text) || len(m.Fates()) != len(test.to) {
				t.Errorf("%s %s, %+v", codes(v.Reply), v.Reply.Text, m.Fates())
			}
			if v.Encrypted != (v.Reply.Action == Accept) {
				t.Errorf("encrypted: %v", v.Encrypted)
			}
			if v.Encrypted && open(t, v.Body, rsa) != "\r\nhello\r\n" {
				t.Error("something else came out")
			}
		})
	}
}

// To wait for a rule in the maildrop would be to wait for ever.
func TestPickupWithoutMatchingRule(t *testing.T) {
	g, _, _ := newGateway(t)
	m := g.Begin(Sender{Address: "mallory@example.com", Pickup: true})
	defer m.Close()
	if r := m.Recipient(t.Context(), Rcpt{Address: "rsa@example.net"}); r.Action != Accept {
		t.Errorf("%s at RCPT", codes(r))
	}
	v := send(t, m, header("To: rsa@example.net"), []byte("hello\r\n"))
	if codes(v.Reply) != "550 5.3.5" || v.Reply.Action != Refuse || !strings.Contains(v.Reply.Text, "<rsa@example.net>: no rule") {
		t.Errorf("%s %s", codes(v.Reply), v.Reply.Text)
	}
}

// Whatever is forgotten, doubled or out of order never lets a mail pass.
func TestOrder(t *testing.T) {
	g, _, _ := newGateway(t)
	recipient := func(m *Mail) { m.Recipient(context.Background(), Rcpt{Address: "rsa@example.net"}) }
	ours := func(m *Mail) { m.Recipient(context.Background(), Rcpt{Address: "bob@example.org"}) }
	field := func(m *Mail) { m.Header(message.Field{Name: "To", Value: " rsa@example.net"}) }
	endHeader := func(m *Mail) { m.EndHeader("") }
	body := func(m *Mail) { m.Write([]byte("hello\r\n")) }
	end := func(m *Mail) { m.End(context.Background(), "") }
	closed := func(m *Mail) { m.Close() }
	for _, test := range []struct {
		name  string
		calls []func(*Mail)
	}{
		{"nothing", nil},
		{"no recipient", []func(*Mail){field, endHeader, body}},
		{"only a refused recipient", []func(*Mail){func(m *Mail) { m.Recipient(context.Background(), Rcpt{Address: "none@example.net"}) }, endHeader, body}},
		{"no end of header", []func(*Mail){recipient, field}},
		{"no end of header, ours", []func(*Mail){ours, field}},
		{"body before the end of the header", []func(*Mail){recipient, field, body, endHeader}},
		{"recipient after a field", []func(*Mail){recipient, field, recipient, endHeader, body}},
		{"recipient after the header", []func(*Mail){recipient, endHeader, recipient, body}},
		{"recipient after the header, ours", []func(*Mail){ours, endHeader, recipient, body}},
		{"field after the header", []func(*Mail){recipient, endHeader, field, body}},
		{"two ends of header", []func(*Mail){recipient, endHeader, endHeader, body}},
		{"two ends", []func(*Mail){recipient, endHeader, body, end}},
		{"two ends, ours", []func(*Mail){ours, endHeader, body, end}},
		{"body after the end", []func(*Mail){recipient, endHeader, end, body}},
		{"closed", []func(*Mail){recipient, endHeader, body, closed}},
		{"closed at once, ours", []func(*Mail){closed, ours, endHeader, body}},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := g.Begin(Sender{Address: "alice@example.org"})
			defer m.Close()
			for _, call := range test.calls {
				call(m)
			}
			if v := m.End(t.Context(), ""); v.Reply.Action != Defer || v.Encrypted || v.Body != nil {
				t.Errorf("%+v", v)
			}
		})
	}
}

func TestEndTooLate(t *testing.T) {
	g, _, _ := newGateway(t)
	m := begin(t, g, "rsa@example.net")
	m.EndHeader("")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if v := m.End(ctx, ""); v.Reply.Action != Defer {
		t.Errorf("%+v", v)
	}
}

func TestTooManyRecipients(t *testing.T) {
	for _, pickup := range []bool{false, true} {
		g, _, _ := newGateway(t)
		m := g.Begin(Sender{Address: "alice@example.org", Pickup: pickup})
		defer m.Close()
		for range maxRecipients {
			m.Recipient(t.Context(), Rcpt{Address: "bob@example.org"})
		}
		r, want := m.Recipient(t.Context(), Rcpt{Address: "carol@example.org"}), Accept
		if r.Action == Accept {
			t.Error("accepted")
		}
		if pickup {
			want = Refuse
		}
		if v := send(t, m, header("To: bob@example.org"), nil); v.Reply.Action != want || len(m.Fates()) != maxRecipients {
			t.Errorf("pickup %v: %s %s", pickup, codes(v.Reply), v.Reply.Text)
		}
	}
}

// BenchmarkMail encrypts a mail of 10 MB and reads its new body.
func BenchmarkMail(b *testing.B) {
	p := newPerson(b, cms.RSA, 1)
	g := &Gateway{
		Rules: []Rule{{Recipients: []string{"*"}, Action: Require}},
		Keys:  fakeStore{p.address: found(p.to)},
		Spool: b.TempDir(),
	}
	body := bytes.Repeat([]byte("0123456789abcdef"), 65536/16)
	b.SetBytes(160 * int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		m := g.Begin(Sender{})
		m.Recipient(b.Context(), Rcpt{Address: p.address})
		m.EndHeader("")
		for range 160 {
			m.Write(body)
		}
		if _, err := io.Copy(io.Discard, m.End(b.Context(), "").Body); err != nil {
			b.Fatal(err)
		}
		m.Close()
	}
}
