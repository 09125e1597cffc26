package gateway

import (
	"bytes"
	"encoding/base64"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"smimea.example/internal/cms"
)

// One mail, five people, and what each gets.
func TestSplit(t *testing.T) {
	g, rsa, ec := newGateway(t)
	office := splittingGateway(t, g)
	for _, test := range []struct {
		name, to, header string
		hand             string // whom the mail in hand is for
		copies           string // each with what it is
	}{
		{"one", "rsa@example.net", "To: rsa@example.net", "rsa@example.net", ""},
		{"the house alone", "bob@example.org", "To: bob@example.org", "bob@example.org", ""},
		{"the house, too", "bob@example.org rsa@example.net", "To: bob@example.org, rsa@example.net", "rsa@example.net", "bob@example.org plain"},
		{"two kinds of key", "rsa@example.net ec@example.net", "To: rsa@example.net\nCc: ec@example.net", "rsa@example.net", "ec@example.net encrypted"},
		{"Bcc", "rsa@example.net rsa2@example.net", "To: rsa@example.net", "rsa@example.net", "rsa2@example.net encrypted"},
		{"all in Bcc", "rsa@example.net rsa2@example.net", "To: undisclosed-recipients:;", "rsa@example.net", "rsa2@example.net encrypted"},
		{"unreadable To", "rsa@example.net rsa2@example.net", "To: <<<", "rsa@example.net", "rsa2@example.net encrypted"},
		{"one hidden in the house", "rsa@example.net bob@example.org", "To: rsa@example.net", "rsa@example.net", "bob@example.org plain"},
		{"the same twice, hidden", "rsa@example.net rsa@EXAMPLE.net ec@example.net", "To: ec@example.net", "ec@example.net", "rsa@example.net,rsa@EXAMPLE.net encrypted"},
		{"the same in other letters", "rsa@example.net RSA@example.net", "To: rsa@example.net", "", "rsa@example.net encrypted / RSA@example.net encrypted"},
		{"everybody", "bob@example.org rsa@example.net ec@example.net rsa2@example.net carol@example.org", "To: rsa@example.net, bob@example.org, ec@example.net",
			"rsa@example.net", "ec@example.net encrypted / rsa2@example.net encrypted / bob@example.org,carol@example.org plain"},
	} {
		t.Run(test.name, func(t *testing.T) {
			g.Keys.(fakeStore)["RSA@example.net"] = found(rsa.to)
			g.Keys.(fakeStore)["rsa@EXAMPLE.net"] = found(rsa.to)
			office.taken = nil
			to := strings.Fields(test.to)
			m := begin(t, g, to...)
			v := send(t, m, header(test.header+"\nContent-Type: text/plain\nBcc: somebody@example.net\nSubject: x"), []byte(greeting))
			if v.Reply.Action != Accept {
				t.Fatalf("%s %s: %v", codes(v.Reply), v.Reply.Text, v.Trouble)
			}
			var copies []string
			for _, c := range office.mails() {
				copies = append(copies, c.what())
				checkCopy(t, c, rsa, ec)
			}
			slices.Sort(copies)
			want := strings.Split(test.copies, " / ")
			slices.Sort(want)
			if !slices.Equal(copies, want) && test.copies+strings.Join(copies, "") != "" {
				t.Errorf("copies %q, want %q", copies, want)
			}
			hand := slices.DeleteFunc(to, func(address string) bool { return slices.Contains(v.Removes, address) })
			if strings.Join(hand, " ") != test.hand || v.Nobody != (test.hand == "") {
				t.Errorf("the mail in hand is for %q, want %q", hand, test.hand)
			}
			if v.Encrypted {
				if got := openWith(t, v.Body, rsa, ec); got != "Content-Type: text/plain\r\n\r\n"+greeting {
					t.Errorf("in hand: %q", got)
				}
			}
			if err := m.Accepted(); err != nil || !g.Resubmit.Journal.empty() {
				t.Errorf("the journal keeps something: %v", err)
			}
		})
	}
}

// openWith opens the envelope with whichever key fits.
func openWith(t *testing.T, body io.Reader, people ...person) string {
	t.Helper()
	text, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range people {
		if plain, err := tryOpen(text, p); err == nil {
			return plain
		}
	}
	t.Fatal("nobody can open it")
	return ""
}

func checkCopy(t *testing.T, c posted, people ...person) {
	t.Helper()
	head, body, ok := strings.Cut(c.data, "\r\n\r\n")
	if !ok || strings.Contains(strings.ToLower(head), "bcc:") || !strings.Contains(head, "Subject: x") {
		t.Errorf("header %q", head)
	}
	if c.from != "alice@example.org" || c.options.Return != smtp.DSNReturnHeaders {
		t.Errorf("from %q, %+v", c.from, c.options)
	}
	if strings.HasSuffix(c.what(), "plain") {
		if body != greeting || !strings.Contains(head, "Content-Type: text/plain") {
			t.Errorf("%q", c.data)
		}
		return
	}
	if got := openWith(t, strings.NewReader(body), people...); got != "Content-Type: text/plain\r\n\r\n"+greeting {
		t.Errorf("%q", got)
	}
}

// The mail in hand gets longer when it is encrypted. An MTA that has no room for it
// is asked before the first copy has left, even if that is shorter.
func TestSizeOfTheMailInHand(t *testing.T) {
	g, _, _ := newGateway(t)
	office := splittingGateway(t, g)
	m := begin(t, g, "rsa@example.net", "bob@example.org")
	body := bytes.Repeat([]byte(greeting), 10_000)
	v := send(t, m, header("To: rsa@example.net, bob@example.org"), body)
	mails := office.mails()
	if v.Reply.Action != Accept || len(mails) != 1 {
		t.Fatalf("%v %v, %d copies", codes(v.Reply), v.Trouble, len(mails))
	}
	inHand, err := io.ReadAll(v.Body)
	if err != nil {
		t.Fatal(err)
	}
	if said := mails[0].options.Size; said < int64(len(inHand)) || said > int64(len(inHand))*11/10 {
		t.Errorf("SIZE=%d, and the mail in hand has %d octets", said, len(inHand))
	}
}

// What a client has said of the mail goes with each copy.
func TestCopiesHaveTheEnvelope(t *testing.T) {
	g, _, _ := newGateway(t)
	office := splittingGateway(t, g)
	m := g.Begin(Sender{Address: "alice@example.org", Options: "BODY=8BITMIME RET=FULL ENVID=QQ+2B314159 SMTPUTF8 SIZE=10"})
	t.Cleanup(m.Close)
	m.Recipient(t.Context(), Rcpt{Address: "rsa@example.net"})
	m.Recipient(t.Context(), Rcpt{Address: "ec@example.net", Options: "NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;Bob+2Bx@example.com"})
	v := send(t, m, header("To: rsa@example.net, ec@example.net"), []byte(greeting))
	mails := office.mails()
	if v.Reply.Action != Accept || len(mails) != 1 {
		t.Fatalf("%v %v, %d copies", codes(v.Reply), v.Trouble, len(mails))
	}
	o, r := mails[0].options, mails[0].rcpt[0]
	if o.EnvelopeID != "QQ+314159" || !o.UTF8 || o.Return != smtp.DSNReturnHeaders || o.Body != smtp.Body8BitMIME {
		t.Errorf("MAIL %+v", o)
	}
	if !slices.Equal(r.Notify, []smtp.DSNNotify{"SUCCESS", "FAILURE"}) || r.OriginalRecipient != "Bob+x@example.com" {
		t.Errorf("RCPT %+v", r)
	}
}

// MTAs take original recipients that the library does not. They are no reason to
// keep a copy back.
func TestOriginalRecipients(t *testing.T) {
	for _, test := range []struct{ options, want string }{
		{"ORCPT=rfc822;Bob+2Bx@example.com", "RFC822 Bob+x@example.com"},
		{`ORCPT=utf-8;\x{E9}t\x{2B}x@example.com`, "UTF-8 ét+x@example.com"},
		{"ORCPT=utf-8;é+x@example.com", "UTF-8 é+x@example.com"},
		{"ORCPT=x400;/S=bob/C=de/", " "},
		{"ORCPT=rfc822;J+FCrgen@example.com", " "},
		{"ORCPT=rfc822;bob+x@example.com", " "},
		{"NOTIFY=FAILURE,failure", " "},
	} {
		g, _, _ := newGateway(t)
		office := splittingGateway(t, g)
		m := g.Begin(Sender{Address: "alice@example.org"})
		m.Recipient(t.Context(), Rcpt{Address: "rsa@example.net"})
		m.Recipient(t.Context(), Rcpt{Address: "bob@example.org", Options: test.options})
		v := send(t, m, header("To: rsa@example.net"), []byte(greeting))
		m.Close()
		mails := office.mails()
		if v.Reply.Action != Accept || len(mails) != 1 {
			t.Errorf("%s: %v %v, %d copies", test.options, codes(v.Reply), v.Trouble, len(mails))
			continue
		}
		if r := mails[0].rcpt[0]; string(r.OriginalRecipientType)+" "+r.OriginalRecipient != test.want {
			t.Errorf("%s: %q %q, want %q", test.options, r.OriginalRecipientType, r.OriginalRecipient, test.want)
		}
	}
}

// A mail that its sender has encrypted needs no copies.
func TestEncryptedAlreadyIsNotSplit(t *testing.T) {
	g, _, _ := newGateway(t)
	office := splittingGateway(t, g)
	m := begin(t, g, "rsa@example.net", "ec@example.net", "bob@example.org")
	v := send(t, m, cmsHeader("", ""), []byte(inBase64(sealed(t, "secret"))))
	if v.Reply.Action != Accept || v.Encrypted || len(v.Removes) > 0 || len(office.mails()) > 0 {
		t.Errorf("%+v", v)
	}
}

// Bounds of one mail.
func TestTooManyCopies(t *testing.T) {
	g, _, _ := newGateway(t)
	splittingGateway(t, g)
	g.Resubmit.Copies = 1
	m := begin(t, g, "rsa@example.net", "ec@example.net", "bob@example.org")
	if v := send(t, m, header("To: rsa@example.net, ec@example.net"), []byte(greeting)); codes(v.Reply) != "550 5.5.3" {
		t.Errorf("%s %s", codes(v.Reply), v.Reply.Text)
	}
	g.Resubmit.Copies, g.Resubmit.Octets = 2, 1000
	m = begin(t, g, "rsa@example.net", "ec@example.net", "bob@example.org")
	if v := send(t, m, header("To: rsa@example.net, ec@example.net"), bytes.Repeat([]byte(greeting), 100)); codes(v.Reply) != "550 5.5.3" {
		t.Errorf("%s %s", codes(v.Reply), v.Reply.Text)
	}
}

// Copies in GCM, longer than what is kept in memory, come out of the veiled file.
func TestSplitAuthenticated(t *testing.T) {
	g, p := gcmGateway(t, "rsa")
	other := able(t, "ec", "gcm")
	g.Keys.(fakeStore)["other@example.net"] = found(other.to)
	g.Rules = append([]Rule{{Recipients: []string{"example.org"}, Action: Never}}, g.Rules...)
	office := splittingGateway(t, g)
	body := bytes.Repeat([]byte(greeting), spoolMemory/4)
	m := begin(t, g, p.address, "other@example.net", "bob@example.org")
	v := send(t, m, header("To: other@example.net, bob@example.org"), body)
	if v.Reply.Action != Accept {
		t.Fatal(codes(v.Reply), v.Trouble)
	}
	if got := openWith(t, v.Body, p, other); got != "\r\n"+string(body) {
		t.Errorf("in hand: %d octets", len(got))
	}
	for _, c := range office.mails() {
		_, text, _ := strings.Cut(c.data, "\r\n\r\n")
		if strings.HasSuffix(c.what(), "encrypted") {
			text = openWith(t, strings.NewReader(text), p, other)[len("\r\n"):]
		}
		if text != string(body) {
			t.Errorf("%s: %d octets", c.what(), len(text))
		}
	}
	if len(office.mails()) != 2 {
		t.Errorf("%d copies", len(office.mails()))
	}
	m.Close()
	if !g.shared.free.TryAcquire(g.shared.size) {
		t.Error("memory was not given back")
	}
}

// A mail has one share of the memory at a time, however many copies it takes: who
// held one and waited for another could wait for ever, and others with him.
func TestSplitAuthenticatedTakesOneShare(t *testing.T) {
	g, p := gcmGateway(t, "rsa")
	other := able(t, "ec", "gcm")
	g.Keys.(fakeStore)["other@example.net"] = found(other.to)
	g.Memory, g.Wait = 150_000, 100*time.Millisecond
	office := splittingGateway(t, g)
	m := begin(t, g, p.address, "other@example.net")
	body := bytes.Repeat([]byte(greeting), 100_000/len(greeting))
	v := send(t, m, header("To: other@example.net, "+p.address), body)
	if v.Reply.Action != Accept {
		t.Fatal(codes(v.Reply), v.Reply.Text, v.Trouble)
	}
	if got := openWith(t, v.Body, p, other); got != "\r\n"+string(body) {
		t.Errorf("in hand: %d octets", len(got))
	}
	if len(office.mails()) != 1 {
		t.Errorf("%d copies", len(office.mails()))
	}
}

// A copy in GCM that is longer than all the memory never finds room.
func TestCopyLongerThanMemory(t *testing.T) {
	g, p := gcmGateway(t, "rsa")
	g.Keys.(fakeStore)["other@example.net"] = found(able(t, "ec", "gcm").to)
	g.Memory = 8000
	office := splittingGateway(t, g)
	m := begin(t, g, p.address, "other@example.net")
	v := send(t, m, header("To: other@example.net"), bytes.Repeat([]byte(greeting), 2000))
	if codes(v.Reply) != "552 5.3.4" || len(office.mails()) != 0 {
		t.Errorf("%s %s, %d copies", codes(v.Reply), v.Reply.Text, len(office.mails()))
	}
}

func tryOpen(text []byte, p person) (string, error) {
	object, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(string(text), "\r\n", ""))
	if err != nil {
		return "", err
	}
	content, err := cms.Decrypt(object, p.to.Certificate(), p.key)
	return string(content), err
}
