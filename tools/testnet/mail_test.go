package testnet

import (
	"bytes"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	dj "github.com/d--j/go-milter"
	"github.com/emersion/go-smtp"
)

const letter = "Subject: x\r\nTo: bob@good.test\r\nx-Odd:  two  \r\n\tfolded\r\n\r\n.\r\n..dots\r\n\xff 8 bits\r\n"

func TestSink(t *testing.T) {
	s := startMail(t, "", "")
	if err := send(s, letter, "bob@good.test"); err != nil {
		t.Fatal(err)
	}
	d := s.Wait(1, time.Second)
	if len(d) != 1 || string(d[0].Data) != letter || d[0].From != "alice@house.test" || !slices.Equal(d[0].To, []string{"bob@good.test"}) {
		t.Errorf("delivered %q", d)
	}
	if d := s.Wait(2, 10*time.Millisecond); len(d) != 1 {
		t.Errorf("waited for two, got %d", len(d))
	}
}

func TestSessionOfSeveralMails(t *testing.T) {
	m := startMilter(t)
	s := startMail(t, "tcp", m.address)
	c := dial(t, s)
	for range 3 {
		if err := c.SendMail("alice@house.test", []string{"bob@good.test"}, strings.NewReader(letter)); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range s.Delivered() {
		if string(d.Data) != letter {
			t.Errorf("delivered %q, want %q", d.Data, letter)
		}
	}
	if got := m.heard(); strings.Count(got, "x-Odd=  two  \n\tfolded|") != 3 {
		t.Errorf("the milter heard %q", got)
	}
}

// TestReplies has a milter answer at each stage what the client must see.
func TestReplies(t *testing.T) {
	noKey := smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 7, 5}, Message: "no key for 100% of them"}
	later := *errTempfail
	for _, c := range []struct {
		stage, reply string
		want         smtp.SMTPError
	}{
		{"connect", "reply", noKey},
		{"mail", "reply", noKey},
		{"rcpt", "reply", noKey},
		{"rcpt", "lines", smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 7, 5}, Message: "one\n4.7.5 two"}},
		{"rcpt", "reject", *errReject},
		{"rcpt", "tempfail", later},
		{"rcpt", "break", later},
		{"header", "break", later},
		{"headers", "reply", noKey},
		{"body", "reply", noKey},
		{"body", "break", later},
		{"end", "reply", noKey},
		{"end", "break", later},
	} {
		m := startMilter(t)
		s := startMail(t, "tcp", m.address)
		m.answer(c.stage, c.reply)
		err := send(s, letter, "bob@good.test")
		var said *smtp.SMTPError
		if !errors.As(err, &said) || *said != c.want {
			t.Errorf("%s at %s: the client was told %#v, want %#v", c.reply, c.stage, err, c.want)
		}
		if n := len(s.Delivered()); n > 0 {
			t.Errorf("%s at %s: %d mails delivered", c.reply, c.stage, n)
		}
	}
}

// TestOneRecipientRefused: the others are served.
func TestOneRecipientRefused(t *testing.T) {
	m := startMilter(t)
	s := startMail(t, "tcp", m.address)
	c := dial(t, s)
	if err := c.Mail("alice@house.test", nil); err != nil {
		t.Fatal(err)
	}
	m.answer("rcpt", "reply")
	if err := c.Rcpt("eve@nokey.test", nil); err == nil {
		t.Error("eve was accepted")
	}
	m.answer("rcpt", "")
	if err := c.Rcpt("bob@good.test", nil); err != nil {
		t.Fatal(err)
	}
	w, err := c.Data()
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(w, letter)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if d := s.Delivered(); len(d) != 1 || !slices.Equal(d[0].To, []string{"bob@good.test"}) {
		t.Errorf("delivered %q", d)
	}
}

func TestRecipientAfterBreak(t *testing.T) {
	m := startMilter(t)
	s := startMail(t, "tcp", m.address)
	c := dial(t, s)
	m.answer("rcpt", "break")
	if err := c.Mail("alice@house.test", nil); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		var said *smtp.SMTPError
		if err := c.Rcpt("bob@good.test", nil); !errors.As(err, &said) || said.Code != 451 {
			t.Errorf("the client was told %v, want a 451", err)
		}
	}
	m.answer("rcpt", "")
	if err := c.SendMail("alice@house.test", []string{"bob@good.test"}, strings.NewReader(letter)); err != nil {
		t.Errorf("after the milter came back: %v", err)
	}
}

func TestChanges(t *testing.T) {
	m := startMilter(t)
	s := startMail(t, "tcp", m.address)
	m.answer("end", "change")
	if err := send(s, letter, "bob@good.test"); err != nil {
		t.Fatal(err)
	}
	want := "Top: 1\r\nsubject: changed\r\n folded\r\nTo: bob@good.test\r\nLast: 2\r\n\r\n" + string(newBody)
	d := s.Delivered()
	if len(d) != 1 || string(d[0].Data) != want {
		t.Errorf("delivered %.200q, want %.200q", d, want)
	}
}

func TestDiscardAndAccept(t *testing.T) {
	for _, c := range []struct {
		reply string
		want  int
	}{{"discard", 0}, {"accept", 1}} {
		m := startMilter(t)
		s := startMail(t, "tcp", m.address)
		m.answer("mail", c.reply)
		if err := send(s, letter, "bob@good.test"); err != nil {
			t.Errorf("%s: %v", c.reply, err)
		}
		if n := len(s.Delivered()); n != c.want {
			t.Errorf("%s: %d mails delivered, want %d", c.reply, n, c.want)
		}
	}
}

func TestNoMilterThere(t *testing.T) {
	s := startMail(t, "tcp", freeAddress(t))
	var said *smtp.SMTPError
	if err := send(s, letter, "bob@good.test"); !errors.As(err, &said) || said.Code != 451 || said.EnhancedCode != (smtp.EnhancedCode{4, 7, 1}) {
		t.Errorf("the client was told %v, want 451 4.7.1", err)
	}
}

func TestLargeMail(t *testing.T) {
	m := startMilter(t)
	s := startMail(t, "tcp", m.address)
	mail := "Subject: x\r\n\r\n" + strings.Repeat(strings.Repeat("x", 76)+"\r\n", 50000)
	if err := send(s, mail, "bob@good.test"); err != nil {
		t.Fatal(err)
	}
	if d := s.Delivered(); len(d) != 1 || string(d[0].Data) != mail {
		t.Error("a mail of 4 MB was not delivered as it was")
	}
}

// TestParse has odd mails come out as they went in, but for the empty line.
func TestParse(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"no body", "A: 1\r\n", "A: 1\r\n\r\n"},
		{"empty body", "A: 1\r\n\r\n", "A: 1\r\n\r\n"},
		{"no header", "\r\nbody", "\r\nbody"},
		{"a line that is no field", "A: 1\r\nbody\r\n", "A: 1\r\n\r\nbody\r\n"},
		{"begins with a fold", " A: 1\r\n", "\r\n A: 1\r\n"},
		{"no final newline", "A: 1\r\n\r\nbody", "A: 1\r\n\r\nbody"},
		{"nothing", "", "\r\n"},
	} {
		if got := string(parseMail([]byte(c.in)).bytes()); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func startMail(t *testing.T, network, address string) *MailServer {
	t.Helper()
	s, err := StartMail(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func dial(t *testing.T, s *MailServer) *smtp.Client {
	t.Helper()
	c, err := smtp.Dial(s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func send(s *MailServer, mail string, to ...string) error {
	c, err := smtp.Dial(s.Addr())
	if err != nil {
		return err
	}
	defer c.Close()
	return c.SendMail("alice@house.test", to, strings.NewReader(mail))
}

// newBody is longer than a chunk.
var newBody = bytes.Repeat([]byte("encrypted\r\n"), 20000)

// A testMilter answers at one stage as it is told, and else lets all pass.
type testMilter struct {
	dj.NoOpMilter
	address string

	mu           sync.Mutex // guards what follows
	stage, reply string
	log          strings.Builder
}

func startMilter(t *testing.T) *testMilter {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := &testMilter{address: l.Addr().String()}
	server := dj.NewServer(
		dj.WithMilter(func() dj.Milter { return m }),
		dj.WithActions(dj.OptAddHeader|dj.OptChangeHeader|dj.OptChangeBody),
		dj.WithProtocols(dj.OptHeaderLeadingSpace),
	)
	done := make(chan struct{})
	go func() { defer close(done); server.Serve(l) }()
	t.Cleanup(func() { server.Close(); <-done })
	return m
}

func (m *testMilter) answer(stage, reply string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stage, m.reply = stage, reply
}

func (m *testMilter) heard() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.log.String()
}

func (m *testMilter) at(stage string) (*dj.Response, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if stage != m.stage {
		return dj.RespContinue, nil
	}
	switch m.reply {
	case "reply":
		return dj.RejectWithCodeAndReason(550, "5.7.5 no key for 100% of them")
	case "lines":
		return dj.RejectWithCodeAndReason(451, "4.7.5 one\n4.7.5 two")
	case "reject":
		return dj.RespReject, nil
	case "tempfail":
		return dj.RespTempFail, nil
	case "discard":
		return dj.RespDiscard, nil
	case "accept":
		return dj.RespAccept, nil
	case "break":
		return nil, errors.New("broken")
	}
	return dj.RespContinue, nil
}

func (m *testMilter) Connect(string, string, uint16, string, dj.Modifier) (*dj.Response, error) {
	return m.at("connect")
}
func (m *testMilter) MailFrom(string, string, dj.Modifier) (*dj.Response, error) { return m.at("mail") }
func (m *testMilter) RcptTo(string, string, dj.Modifier) (*dj.Response, error)   { return m.at("rcpt") }
func (m *testMilter) Headers(dj.Modifier) (*dj.Response, error)                  { return m.at("headers") }
func (m *testMilter) BodyChunk([]byte, dj.Modifier) (*dj.Response, error)        { return m.at("body") }

func (m *testMilter) Header(name, value string, _ dj.Modifier) (*dj.Response, error) {
	m.mu.Lock()
	m.log.WriteString(name + "=" + value + "|")
	m.mu.Unlock()
	return m.at("header")
}

func (m *testMilter) EndOfMessage(mod dj.Modifier) (*dj.Response, error) {
	m.mu.Lock()
	change := m.stage == "end" && m.reply == "change"
	m.mu.Unlock()
	if !change {
		return m.at("end")
	}
	return dj.RespAccept, errors.Join(
		mod.InsertHeader(1, "Top", " 1"),
		mod.ChangeHeader(1, "subject", " changed\n folded"),
		mod.ChangeHeader(1, "X-Odd", ""),
		mod.AddHeader("Last", " 2"),
		mod.ReplaceBody(bytes.NewReader(newBody)),
	)
}
