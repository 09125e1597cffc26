package milter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	mta "github.com/emersion/go-milter"

	"smimea.example/internal/gateway"
	"smimea.example/internal/message"
)

var (
	refusal = gateway.Reply{Action: gateway.Refuse, Code: 550, Status: "5.7.5", Text: "bob@example.net has published no certificate; ask for one"}
	delay   = gateway.Reply{Action: gateway.Defer, Code: 451, Status: "4.7.5", Text: "DNSSEC says the answer for bob@example.net is forged"}
)

func encrypted(body io.Reader) gateway.Verdict {
	return gateway.Verdict{
		Reply:     accept,
		Encrypted: true,
		Header: message.Header{
			{Name: "MIME-Version", Value: " 1.0"},
			{Name: "Content-Type", Value: " application/pkcs7-mime; smime-type=enveloped-data;\r\n\tname=smime.p7m"},
			{Name: "Content-Transfer-Encoding", Value: " base64"},
			{Name: "Content-Disposition", Value: " attachment; filename=smime.p7m"},
		},
		Body: body,
	}
}

func TestEncryptedMail(t *testing.T) {
	ciphertext := strings.Repeat("MIIB", 50000)
	h := serve(t, &Server{}, func(m *fakeMail) {
		m.end = func(context.Context) gateway.Verdict { return encrypted(strings.NewReader(ciphertext)) }
	})
	s := h.dial()
	h.send(s,
		"Received", " from somewhere\n\tby somewhere else",
		"CONTENT-TYPE", " text/plain;\n charset=utf-8",
		"Subject", "  two spaces",
		"Bcc", " carol@example.com",
		"Content-Type", " text/html",
		"Content-Language", "en",
		"content-type", " text/x-third")
	changes, act, err := s.End()
	if err != nil || act.Code != mta.ActAccept {
		t.Fatal(act, err)
	}
	var header []string
	var body bytes.Buffer
	for _, c := range changes {
		if c.Code == mta.ActReplBody {
			body.Write(c.Body)
			continue
		}
		header = append(header, fmt.Sprintf("%c%d %s:%s", c.Code, c.HeaderIndex, c.HeaderName, c.HeaderValue))
	}
	wantHeader := []string{
		"m3 CONTENT-TYPE:", // from the last to the first
		"m2 CONTENT-TYPE:",
		"m1 Content-Type: application/pkcs7-mime; smime-type=enveloped-data;\n\tname=smime.p7m",
		"m1 Bcc:",
		"m1 Content-Language:",
		"h0 MIME-Version: 1.0",
		"h0 Content-Transfer-Encoding: base64",
		"h0 Content-Disposition: attachment; filename=smime.p7m",
	}
	if !reflect.DeepEqual(header, wantHeader) {
		t.Errorf("header changes:\n%q, want\n%q", header, wantHeader)
	}
	if body.String() != ciphertext {
		t.Errorf("a body of %d bytes that is not the ciphertext of %d", body.Len(), len(ciphertext))
	}

	m := <-h.mails
	wantFields := message.Header{
		{Name: "Received", Value: " from somewhere\r\n\tby somewhere else"},
		{Name: "CONTENT-TYPE", Value: " text/plain;\r\n charset=utf-8"},
		{Name: "Subject", Value: "  two spaces"},
		{Name: "Bcc", Value: " carol@example.com"},
		{Name: "Content-Type", Value: " text/html"},
		{Name: "Content-Language", Value: "en"},
		{Name: "content-type", Value: " text/x-third"},
	}
	if !reflect.DeepEqual(m.fields, wantFields) {
		t.Errorf("the gateway saw %q, want %q", m.fields, wantFields)
	}
	if m.sender != (gateway.Sender{Address: "alice@example.org"}) {
		t.Errorf("the gateway saw sender %+v", m.sender)
	}
	if m.body.String() != "Hello\r\n" || m.closes() != 1 {
		t.Errorf("the gateway saw body %q, and Close %d times", m.body.String(), m.closes())
	}
}

// A body that cannot be read to its end, or is empty, must leave the MTA
// without an answer: it has part of the new message already, or would keep the
// old one.
func TestHalfAMailIsNeverAccepted(t *testing.T) {
	for name, body := range map[string]io.Reader{
		"fails at once":         iotest.ErrReader(errors.New("spool lost")),
		"fails in the middle":   io.MultiReader(strings.NewReader(strings.Repeat("M", 200000)), iotest.ErrReader(errors.New("spool lost"))),
		"is empty":              strings.NewReader(""),
		"is missing":            nil,
		"fails on its last EOF": io.MultiReader(strings.NewReader("MIIB"), iotest.ErrReader(io.ErrUnexpectedEOF)),
	} {
		h := serve(t, &Server{}, func(m *fakeMail) {
			m.end = func(context.Context) gateway.Verdict { return encrypted(body) }
		})
		s := h.dial()
		h.send(s)
		if _, act, err := s.End(); err == nil {
			t.Errorf("body %s: the answer was %c, want none", name, act.Code)
		}
		m := <-h.mails
		eventually(t, "body "+name+": told that it is lost", func() bool { return m.losses() == 1 })
	}
}

func TestAcceptedWithoutItsWholeBody(t *testing.T) {
	h := serve(t, &Server{}, func(m *fakeMail) {
		m.write = func([]byte) (int, error) { return 0, errors.New("no space") }
	})
	s := h.dial()
	h.send(s)
	if _, act, err := s.End(); err == nil {
		t.Errorf("the answer was %c, want none", act.Code)
	}
	m := <-h.mails
	eventually(t, "told that it is lost", func() bool { return m.losses() == 1 })
}

func TestRepliesToRecipients(t *testing.T) {
	replies := map[string]gateway.Reply{
		"ok@example.net":      accept,
		"refused@example.net": refusal,
		"delayed@example.net": delay,
		"percent@example.net": {Action: gateway.Refuse, Code: 550, Status: "5.1.3", Text: "a%b is 100% strange"},
		"split@example.net":   {Action: gateway.Defer, Code: 452, Status: "4.5.3", Text: "send separately to <split@example.net>"},
		"zero@example.net":    {},
		"odd@example.net":     {Action: gateway.Defer, Code: 550, Status: "5.0.0", Text: "cannot make up its mind"},
		"ascii@example.net":   {Action: gateway.Refuse, Code: 550, Status: "5.1.3", Text: "gr\u00fcn\r\n250 ok"},
		"long@example.net":    {Action: gateway.Refuse, Code: 550, Status: "5.1.3", Text: strings.Repeat("x", 5000)},
	}
	h := serve(t, &Server{}, func(m *fakeMail) {
		m.recipient = func(_ context.Context, a string) gateway.Reply { return replies[a] }
	})
	s := h.dial()
	want(t, "connect")(s.Conn("client.example.org", mta.FamilyInet, 4711, "192.0.2.1"))
	want(t, "mail")(s.Mail("alice@example.org", nil))
	for _, tt := range []struct{ rcpt, want string }{
		{"ok@example.net", "c 0 "},
		{"refused@example.net", "y 550 5.7.5 bob@example.net has published no certificate; ask for one"},
		{"delayed@example.net", "y 451 4.7.5 DNSSEC says the answer for bob@example.net is forged"},
		{"percent@example.net", "y 550 5.1.3 a%%b is 100%% strange"}, // doubled on the wire
		{"split@example.net", "y 452 4.5.3 send separately to <split@example.net>"},
		{"zero@example.net", "t 0 "},
		{"odd@example.net", "t 0 "},
		{"ascii@example.net", "y 550 5.1.3 gr?n??250 ok"},
		{"long@example.net", "y 550 5.1.3 " + strings.Repeat("x", maxText-6)},
		{"ok@example.net", "c 0 "},
	} {
		act, err := s.Rcpt(tt.rcpt, nil)
		if err != nil {
			t.Fatalf("%s: %v", tt.rcpt, err)
		}
		if got := fmt.Sprintf("%c %d %s", act.Code, act.SMTPCode, act.SMTPText); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.rcpt, got, tt.want)
		}
	}
}

func TestRefusedAtEndOfHeader(t *testing.T) {
	h := serve(t, &Server{}, func(m *fakeMail) {
		m.endHeader = func() gateway.Reply { return refusal }
	})
	s := h.dial()
	want(t, "connect")(s.Conn("client.example.org", mta.FamilyInet, 4711, "192.0.2.1"))
	want(t, "mail")(s.Mail("alice@example.org", nil))
	want(t, "rcpt")(s.Rcpt("bob@example.net", nil))
	act, err := s.HeaderEnd()
	if err != nil || act.SMTPCode != 550 {
		t.Fatal(act, err)
	}
	// The connection goes on to the next mail.
	want(t, "mail")(s.Mail("alice@example.org", nil))
}

// Postfix's pickup service hears a refusal at the end of the message only.
func TestPickupIsRefusedAtTheEnd(t *testing.T) {
	for name, prepare := range map[string]func(*fakeMail){
		"at RCPT and at the end": func(m *fakeMail) {
			m.recipient = func(context.Context, string) gateway.Reply { return refusal }
			m.end = func(context.Context) gateway.Verdict { return gateway.Verdict{Reply: refusal} }
		},
		"at the end of the header": func(m *fakeMail) {
			m.endHeader = func() gateway.Reply { return refusal }
			m.write = func([]byte) (int, error) { panic("written to after the mail was ended") }
			m.end = func(context.Context) gateway.Verdict { return gateway.Verdict{Reply: refusal} }
		},
	} {
		h := serve(t, &Server{}, prepare)
		s := h.dial()
		want(t, "connect")(s.Conn("localhost", mta.FamilyInet, 0, "127.0.0.1"))
		h.begin(s, "Subject", " x")
		_, act, err := s.End()
		if err != nil || act.SMTPCode != 550 {
			t.Errorf("refused %s: %v, %v", name, act, err)
		}
		if m := <-h.mails; !m.sender.Pickup {
			t.Errorf("refused %s: not known as pickup", name)
		}
	}
}

func TestPickup(t *testing.T) {
	for _, tt := range []struct {
		host string
		port uint16
		addr string
		want bool
	}{
		{"localhost", 0, "127.0.0.1", true},
		{"localhost", 40000, "127.0.0.1", false}, // a mail program on the same machine
		{"client.example.org", 0, "192.0.2.1", false},
	} {
		var s session
		if _, err := s.Connect(tt.host, "tcp4", tt.port, tt.addr, nil); err != nil {
			t.Fatal(err)
		}
		if s.pickup != tt.want {
			t.Errorf("%s[%s]:%d: pickup = %v", tt.host, tt.addr, tt.port, s.pickup)
		}
	}
}

func TestLateLookup(t *testing.T) {
	release := make(chan struct{})
	h := serve(t, &Server{Recipient: 30 * time.Millisecond}, func(m *fakeMail) {
		m.recipient = func(ctx context.Context, a string) gateway.Reply {
			if a == "slow@example.net" {
				<-release // deaf to its context
			}
			return accept
		}
	})
	s := h.dial()
	want(t, "connect")(s.Conn("client.example.org", mta.FamilyInet, 4711, "192.0.2.1"))
	want(t, "mail")(s.Mail("alice@example.org", nil))
	want(t, "rcpt")(s.Rcpt("bob@example.net", nil))
	for _, rcpt := range []string{"slow@example.net", "bob@example.net"} {
		act, err := s.Rcpt(rcpt, nil)
		if err != nil || act.SMTPCode != 451 || !strings.HasPrefix(act.SMTPText, "4.4.3 ") {
			t.Fatal(rcpt, act, err)
		}
		if !strings.Contains(act.SMTPText, "<slow@example.net>") {
			t.Errorf("%s: nobody is told who is slow: %s", rcpt, act.SMTPText)
		}
	}
	act, err := s.HeaderEnd()
	if err != nil || act.SMTPCode != 451 {
		t.Fatalf("a mail with a late look-up: %v, %v", act, err)
	}
	m := <-h.mails
	m.mu.Lock()
	if m.closed != 0 {
		t.Error("closed while a look-up is using it")
	}
	m.mu.Unlock()
	close(release)
	if m.closes() != 1 {
		t.Error("not closed after the look-up")
	}
}

// Pickup hears of it at the end, whatever the gateway would say by then.
func TestLateLookupOfPickup(t *testing.T) {
	h := serve(t, &Server{Recipient: 30 * time.Millisecond}, func(m *fakeMail) {
		m.recipient = func(ctx context.Context, _ string) gateway.Reply {
			<-ctx.Done()
			time.Sleep(30 * time.Millisecond)
			return accept
		}
		m.end = func(context.Context) gateway.Verdict {
			t.Error("the gateway was asked for its verdict")
			return gateway.Verdict{Reply: accept}
		}
	})
	s := h.dial()
	want(t, "connect")(s.Conn("localhost", mta.FamilyInet, 0, "127.0.0.1"))
	h.begin(s)
	if _, act, err := s.End(); err != nil || act.SMTPCode != 451 || !strings.HasPrefix(act.SMTPText, "4.4.3 ") {
		t.Errorf("%v, %v", act, err)
	}
}

// What one client was does not stick to the next one on its connection.
func TestNewConnection(t *testing.T) {
	h := serve(t, &Server{}, nil)
	conn, err := net.Dial("tcp", h.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	const localhost, from = "localhost\x004\x00\x00127.0.0.1\x00", "alice@example.org\x00"
	io.WriteString(conn, hello+frame('C', localhost)+frame('M', from)+frame('K', "")+frame('M', from)+frame('R', "bob@example.net\x00")+frame('Q', ""))
	if _, err := io.Copy(io.Discard, conn); err != nil {
		t.Fatal(err)
	}
	first, second := <-h.mails, <-h.mails
	if !first.sender.Pickup || second.sender.Pickup {
		t.Errorf("pickup: %v, then %v", first.sender.Pickup, second.sender.Pickup)
	}
	if first.closes() != 1 || second.closes() != 1 {
		t.Errorf("closed %d and %d times", first.closes(), second.closes())
	}
	lines := strings.Split(strings.TrimSpace(h.log.String()), "\n")
	if len(lines) != 2 || !strings.Contains(lines[0], `"client":"localhost[127.0.0.1]"`) || !strings.Contains(lines[1], `"client":""`) {
		t.Errorf("logged:\n%s", h.log.String())
	}
}

// An MTA's angle brackets are taken off, once; pickup sends none.
func TestAngleBrackets(t *testing.T) {
	for sent, want := range map[string]string{
		"bob@example.net":     "bob@example.net",
		"<bob@example.net>":   "bob@example.net",
		"<<bob@example.net>>": "<bob@example.net>", // which is no address
		"<>":                  "",
	} {
		var to string
		h := serve(t, &Server{}, func(m *fakeMail) {
			m.recipient = func(_ context.Context, address string) gateway.Reply {
				to = address
				return accept
			}
		})
		conn, err := net.Dial("tcp", h.addr.String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		io.WriteString(conn, hello+frame('M', sent+"\x00")+frame('R', sent+"\x00")+frame('Q', ""))
		if _, err := io.Copy(io.Discard, conn); err != nil {
			t.Fatal(err)
		}
		m := <-h.mails
		m.closes()
		if m.sender.Address != want || to != want {
			t.Errorf("%s: sender %q, recipient %q, want %q", sent, m.sender.Address, to, want)
		}
	}
}

// A slowReader has at most half a megabyte a second.
type slowReader struct{}

func (slowReader) Read(p []byte) (int, error) {
	time.Sleep(10 * time.Millisecond)
	n := min(len(p), 5000)
	for i := range n {
		p[i] = 'M'
	}
	return n, nil
}

// A panic costs its connection, and nothing else.
func TestPanics(t *testing.T) {
	for name, prepare := range map[string]func(*fakeMail){
		"begin":         func(*fakeMail) { panic("begin") },
		"recipient":     func(m *fakeMail) { m.recipient = func(context.Context, string) gateway.Reply { panic("r") } },
		"end of header": func(m *fakeMail) { m.endHeader = func() gateway.Reply { panic("h") } },
		"body":          func(m *fakeMail) { m.write = func([]byte) (int, error) { panic("w") } },
		"end":           func(m *fakeMail) { m.end = func(context.Context) gateway.Verdict { panic("e") } },
		"reading the new body": func(m *fakeMail) {
			m.end = func(context.Context) gateway.Verdict { return encrypted(panicReader{}) }
		},
	} {
		armed := true
		h := serve(t, &Server{}, func(m *fakeMail) {
			if armed {
				armed = false
				prepare(m)
			}
		})
		if act, err := whole(h.dial()); err == nil {
			t.Errorf("panic in %s: the answer was %c, want none", name, act.Code)
		}
		h.good()
		if log := h.log.String(); !strings.Contains(log, `"msg":"milter: panic"`) || !strings.Contains(log, "session_test.go") {
			t.Errorf("panic in %s: no stack in the log:\n%s", name, log)
		}
	}
}

type panicReader struct{}

func (panicReader) Read([]byte) (int, error) { panic("read") }

// whole sends a mail until it is answered, or the connection ends.
func whole(s *mta.ClientSession) (*mta.Action, error) {
	for _, step := range []func() (*mta.Action, error){
		func() (*mta.Action, error) { return s.Conn("h", mta.FamilyInet, 4711, "192.0.2.1") },
		func() (*mta.Action, error) { return s.Mail("alice@example.org", nil) },
		func() (*mta.Action, error) { return s.Rcpt("bob@example.net", nil) },
		s.HeaderEnd,
		func() (*mta.Action, error) { return s.BodyChunk([]byte("Hello\r\n")) },
	} {
		if act, err := step(); err != nil || act.Code != mta.ActContinue {
			return act, err
		}
	}
	_, act, err := s.End()
	return act, err
}

func TestOutOfOrder(t *testing.T) {
	h := serve(t, &Server{}, nil)
	mail := func(s *mta.ClientSession) { s.Mail("alice@example.org", nil) }
	for name, step := range map[string]func(s *mta.ClientSession) error{
		"recipient without a sender": func(s *mta.ClientSession) error {
			_, err := s.Rcpt("bob@example.net", nil)
			return err
		},
		"end without a sender": func(s *mta.ClientSession) error {
			_, _, err := s.End()
			return err
		},
		"end without a header": func(s *mta.ClientSession) error {
			mail(s)
			_, _, err := s.End()
			return err
		},
		"body before the end of the header": func(s *mta.ClientSession) error {
			mail(s)
			s.BodyChunk([]byte("x"))
			_, _, err := s.End()
			return err
		},
		"recipient after the header": func(s *mta.ClientSession) error {
			mail(s)
			s.HeaderEnd()
			_, err := s.Rcpt("bob@example.net", nil)
			return err
		},
		"end twice": func(s *mta.ClientSession) error {
			h.begin(s)
			if _, _, err := s.End(); err != nil {
				t.Fatal(err)
			}
			_, _, err := s.End()
			return err
		},
	} {
		if err := step(h.dial()); err == nil {
			t.Errorf("%s: answered", name)
		}
	}
	h.good()
}

// Two mails on one connection have nothing in common; the first is aborted.
func TestTwoMails(t *testing.T) {
	h := serve(t, &Server{}, nil)
	s := h.dial()
	h.send(s, "Content-Type", " text/plain")
	if err := s.Abort(); err != nil {
		t.Fatal(err)
	}
	h.begin(s)
	if _, act, err := s.End(); err != nil || act.Code != mta.ActAccept {
		t.Fatal(act, err)
	}
	first, second := <-h.mails, <-h.mails
	if first.closes() != 1 || second.closes() != 1 {
		t.Errorf("closed %d and %d times", first.closes(), second.closes())
	}
	if len(second.fields) != 0 || second.body.String() != "Hello\r\n" {
		t.Errorf("the second mail has %q, %q", second.fields, second.body.String())
	}
}
