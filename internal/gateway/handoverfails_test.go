package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"smimea.example/internal/message"
)

// Whatever fails before the first dot leaves nothing behind; what fails later is
// mended by the next try, and nobody gets the mail twice.
func TestHandOverFails(t *testing.T) {
	broken := errors.New("broken")
	temporary := &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 3, 0}, Message: "later"}
	for _, test := range []struct {
		name    string
		fails   func(command, argument string) error
		already int // copies that were taken at the first try
	}{
		{"no listener", only("CONNECT", "", broken), 0},
		{"MAIL refused", only("MAIL", "", temporary), 0},
		{"too long at MAIL", only("MAIL", "", &smtp.SMTPError{Code: 552, EnhancedCode: smtp.EnhancedCode{5, 3, 4}, Message: "too long"}), 0},
		{"RCPT refused", only("RCPT", "ec@", temporary), 0},
		{"a dot refused", only("DOT", "bob@", temporary), 1},
		{"the other dot refused", only("DOT", "ec@", temporary), 1},
		{"both dots refused", only("DOT", "", temporary), 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			g, _, _ := newGateway(t)
			office := splittingGateway(t, g)
			office.fails = test.fails
			try := func() (*Mail, Verdict) {
				m := begin(t, g, "rsa@example.net", "ec@example.net", "bob@example.org")
				return m, send(t, m, header("To: rsa@example.net, ec@example.net, bob@example.org\nMessage-ID: <1@example.org>"), []byte(greeting))
			}
			m, v := try()
			want := "451 4.3.0"
			if strings.HasPrefix(test.name, "too long") {
				want = "550 5.5.3"
			}
			if codes(v.Reply) != want || v.Trouble == nil || v.Body != nil || v.Encrypted {
				t.Errorf("%s %+v", codes(v.Reply), v)
			}
			if dot := strings.Contains(test.name, "dot"); dot != strings.Contains(fmt.Sprint(v.Trouble), "the dot: ") || !strings.Contains(fmt.Sprint(v.Trouble), "resubmitting") {
				t.Errorf("it does not say what failed: %v", v.Trouble)
			}
			m.Close()
			if n := len(office.mails()); n != test.already {
				t.Errorf("%d copies were taken, want %d", n, test.already)
			}
			if empty := g.Resubmit.Journal.empty(); empty == strings.HasSuffix(test.name, "dot refused") {
				t.Errorf("journal empty: %v", empty)
			}
			office.mu.Lock()
			office.fails = nil
			office.mu.Unlock()
			m, v = try()
			if v.Reply.Action != Accept || !v.Encrypted || slices.Contains(v.Removes, "rsa@example.net") || len(v.Removes) != 2 {
				t.Errorf("second try: %s %+v", codes(v.Reply), v)
			}
			if got := len(office.mails()); got != 2 {
				t.Errorf("%d copies in the end, want 2", got)
			}
			if err := m.Accepted(); err != nil || !g.Resubmit.Journal.empty() {
				t.Errorf("the journal keeps something: %v", err)
			}
		})
	}
}

func only(command, argument string, err error) func(string, string) error {
	return func(c, a string) error {
		if c == command && strings.Contains(a, argument) {
			return err
		}
		return nil
	}
}

// The line may break at any octet that we send. The next try gives everybody the
// mail who has not got it.
func TestHandOverIsCutAnywhere(t *testing.T) {
	whole := 0
	for at := 0; at <= 700; at += 7 {
		g, _, _ := newGateway(t)
		office := splittingGateway(t, g)
		office.cut = func(session int) int {
			if session == 2 {
				return at
			}
			return -1
		}
		try := func() (*Mail, Verdict) {
			m := begin(t, g, "rsa@example.net", "bob@example.org", "rsa2@example.net")
			return m, send(t, m, header("To: rsa@example.net, bob@example.org\nMessage-ID: <1@example.org>"), []byte(greeting))
		}
		m, v := try()
		if v.Reply.Action != Accept {
			if codes(v.Reply) != "451 4.3.0" {
				t.Errorf("%d octets: %s %s", at, codes(v.Reply), v.Reply.Text)
			}
			m.Close()
			m, v = try()
		} else {
			whole++
		}
		if v.Reply.Action != Accept {
			t.Fatalf("%d octets: %s %v", at, codes(v.Reply), v.Trouble)
		}
		if err := m.Accepted(); err != nil {
			t.Error(err)
		}
		got := map[string]int{}
		for _, c := range office.mails() {
			for _, to := range c.to {
				got[to]++
			}
		}
		if len(got) != 2 || got["bob@example.org"] != 1 || got["rsa2@example.net"] != 1 {
			t.Errorf("%d octets: %v", at, got)
		}
	}
	if whole == 0 {
		t.Error("the line was never whole, so that nothing is known of its end")
	}
}

// When the copies are out and the journal cannot say so any more, as on a full disk,
// the mail goes on: were it deferred, it would come again, and everybody would get a
// second copy.
func TestJournalFailsBehindTheDots(t *testing.T) {
	g, _, _ := newGateway(t)
	office := splittingGateway(t, g)
	office.fails = func(command, _ string) error {
		if command == "DOT" {
			g.Resubmit.Journal.Close()
		}
		return nil
	}
	m := begin(t, g, "rsa@example.net", "bob@example.org")
	v := send(t, m, header("To: rsa@example.net"), []byte(greeting))
	if v.Reply.Action != Accept || v.Trouble == nil || !v.Encrypted || len(office.mails()) != 1 {
		t.Errorf("%s %v, %d copies", codes(v.Reply), v.Trouble, len(office.mails()))
	}
}

// A copy that passes the gateway once more on its way out, while the mail that it was
// made of is still being answered, is a mail of its own. Were it taken for a second try
// of that mail, its recipient would be known to have his copy, and nobody would get it.
func TestCopyPassesOnceMore(t *testing.T) {
	g, _, _ := newGateway(t)
	office := splittingGateway(t, g)
	first := begin(t, g, "rsa@example.net", "bob@example.org")
	h := header("To: rsa@example.net, bob@example.org\nMessage-ID: <1@example.org>\nDate: Sat, 28 Nov 2026 09:00:00 +0000")
	if v := send(t, first, h, []byte(greeting)); v.Reply.Action != Accept {
		t.Fatal(v.Trouble)
	}
	head, body, _ := strings.Cut(office.mails()[0].data, "\r\n\r\n")
	again := message.Header{{Name: "Received", Value: " from mail.example.org by mail.example.org"}}
	for line := range strings.SplitSeq(head, "\r\n") {
		name, value, _ := strings.Cut(line, ":")
		again = append(again, message.Field{Name: name, Value: value})
	}
	m := begin(t, g, "bob@example.org")
	v := send(t, m, again, []byte(body))
	if v.Reply.Action != Accept || v.Nobody || len(v.Removes) > 0 {
		t.Errorf("%s %+v", codes(v.Reply), v)
	}
	if fate := m.Fates()[0]; fate.Sent != "plain" {
		t.Errorf("he gets it as %q", fate.Sent)
	}
}

// A mail server that may name so many recipients at a time sends a mail to many in
// parts, which are the same but for whom they are for.
func TestPartsAtTheSameTime(t *testing.T) {
	g, _, _ := newGateway(t)
	office := splittingGateway(t, g)
	part := func(to ...string) Verdict {
		m := begin(t, g, to...)
		v := send(t, m, header("To: everybody:;\nMessage-ID: <1@example.org>"), []byte(greeting))
		if err := m.Accepted(); err != nil {
			t.Error(err)
		}
		return v
	}
	var second Verdict
	g.Resubmit.dial = func(ctx context.Context) (net.Conn, error) {
		g.Resubmit.dial = office.open
		second = part("ec@example.net", "carol@example.org")
		return office.open(ctx)
	}
	if v := part("rsa@example.net", "bob@example.org"); v.Reply.Action != Accept || second.Reply.Action != Accept {
		t.Errorf("%s %v, %s %v", codes(v.Reply), v.Trouble, codes(second.Reply), second.Trouble)
	}
	if n := len(office.mails()); n != 2 || !g.Resubmit.Journal.empty() {
		t.Errorf("%d copies, journal empty: %v", n, g.Resubmit.Journal.empty())
	}
}

// A listener that takes the copy and has no answer to QUIT keeps the mail waiting for a
// moment, and not until its time is up.
func TestNoAnswerToQuit(t *testing.T) {
	g, _, _ := newGateway(t)
	office := splittingGateway(t, g)
	g.Resubmit.dial = func(ctx context.Context) (net.Conn, error) {
		conn, err := office.open(ctx)
		return withoutQuit{conn}, err
	}
	m := begin(t, g, "rsa@example.net", "bob@example.org")
	began := time.Now()
	v := send(t, m, header("To: rsa@example.net"), []byte(greeting))
	if v.Reply.Action != Accept || len(office.mails()) != 1 {
		t.Errorf("%s %v, %d copies", codes(v.Reply), v.Trouble, len(office.mails()))
	}
	if took := time.Since(began); took > 3*goodbye {
		t.Errorf("it took %v", took)
	}
}

// withoutQuit loses that command.
type withoutQuit struct{ net.Conn }

func (c withoutQuit) Write(p []byte) (int, error) {
	if string(p) == "QUIT\r\n" {
		return len(p), nil
	}
	return c.Conn.Write(p)
}

// An honest second sending of the same mail is a mail of its own.
func TestSecondSending(t *testing.T) {
	g, _, _ := newGateway(t)
	office := splittingGateway(t, g)
	for range 2 {
		m := begin(t, g, "rsa@example.net", "bob@example.org")
		if v := send(t, m, header("To: rsa@example.net, bob@example.org"), []byte(greeting)); v.Reply.Action != Accept {
			t.Fatal(v.Trouble)
		}
		if err := m.Accepted(); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(office.mails()); n != 2 {
		t.Errorf("%d copies of two mails", n)
	}
}

// A mail whose client hears nothing of its end comes again: perhaps for one of its
// recipients alone, by another way, or when the others can no more be served.
func TestComesAgain(t *testing.T) {
	for _, test := range []struct {
		name, to string
		removes  string
		nobody   bool
		copies   int  // in the end
		open     bool // somebody may still come again
	}{
		{"for all", "rsa@example.net bob@example.org ec@example.net", "ec@example.net bob@example.org", false, 2, false},
		{"for whom the mail in hand was", "rsa@example.net", "", false, 2, true},
		{"for one who has it", "bob@example.org", "", true, 2, true},
		{"for one who has it, encrypted", "ec@example.net", "", true, 2, true},
		{"for those who have it", "bob@example.org ec@example.net", "", true, 2, false},
		{"for one more", "bob@example.org ec@example.net rsa2@example.net", "ec@example.net bob@example.org", false, 2, false},
		{"for one more in the house", "bob@example.org carol@example.org", "bob@example.org", false, 2, true},
		{"for one more in the house, beside others", "bob@example.org carol@example.org ec@example.net", "", true, 3, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			g, _, _ := newGateway(t)
			office := splittingGateway(t, g)
			h := header("To: rsa@example.net, bob@example.org, ec@example.net, rsa2@example.net, carol@example.org\nMessage-ID: <1@example.org>")
			first := begin(t, g, "rsa@example.net", "bob@example.org", "ec@example.net")
			if v := send(t, first, h, []byte(greeting)); v.Reply.Action != Accept {
				t.Fatal(v.Trouble)
			}
			first.Close()
			first.Lost() // the MTA has died
			m := begin(t, g, strings.Fields(test.to)...)
			v := send(t, m, h, []byte(greeting))
			if v.Reply.Action != Accept {
				t.Fatal(codes(v.Reply), v.Trouble)
			}
			if v.Nobody != test.nobody || !v.Nobody && strings.Join(v.Removes, " ") != test.removes {
				t.Errorf("removes %q, nobody %v", v.Removes, v.Nobody)
			}
			if n := len(office.mails()); n != test.copies {
				t.Errorf("%d copies, want %d", n, test.copies)
			}
			if err := m.Accepted(); err != nil || g.Resubmit.Journal.empty() == test.open {
				t.Errorf("the journal is empty: %v, %v", g.Resubmit.Journal.empty(), err)
			}
		})
	}
}

// The same mail, sent again before the mail server has gone on from the first, is a
// mail of its own: its copies are made as well.
func TestSecondSendingOnItsHeels(t *testing.T) {
	g, _, _ := newGateway(t)
	office := splittingGateway(t, g)
	h := header("To: rsa@example.net, bob@example.org\nMessage-ID: <1@example.org>")
	first := begin(t, g, "rsa@example.net", "bob@example.org")
	if v := send(t, first, h, []byte(greeting)); v.Reply.Action != Accept {
		t.Fatal(v.Trouble)
	}
	first.Close()
	time.AfterFunc(100*time.Millisecond, func() { first.Accepted() })
	second := begin(t, g, "rsa@example.net", "bob@example.org")
	v := send(t, second, h, []byte(greeting))
	if v.Reply.Action != Accept || v.Nobody || len(office.mails()) != 2 {
		t.Errorf("%s %+v, %d copies", codes(v.Reply), v, len(office.mails()))
	}
	if err := second.Accepted(); err != nil || !g.Resubmit.Journal.empty() {
		t.Errorf("the journal keeps something: %v", err)
	}
}

// A sender who does not wait for the end of his first try is told so, and it is
// nobody's trouble.
func TestImpatientSender(t *testing.T) {
	g, _, _ := newGateway(t)
	splittingGateway(t, g)
	h := header("To: rsa@example.net, bob@example.org\nMessage-ID: <1@example.org>")
	if v := send(t, begin(t, g, "rsa@example.net", "bob@example.org"), h, []byte(greeting)); v.Reply.Action != Accept {
		t.Fatal(v.Trouble)
	}
	second := begin(t, g, "rsa@example.net", "bob@example.org")
	for _, f := range h {
		second.Header(f)
	}
	second.EndHeader("")
	io.WriteString(second, greeting)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if v := second.End(ctx, ""); v.Reply != onItsWay || v.Trouble != nil {
		t.Errorf("%+v", v)
	}
}

// A panic at a dot costs the mail its try, and not the process.
func TestPanicAtADot(t *testing.T) {
	g, _, _ := newGateway(t)
	splittingGateway(t, g)
	open := g.Resubmit.dial
	g.Resubmit.dial = func(ctx context.Context) (net.Conn, error) {
		conn, err := open(ctx)
		return panicking{conn}, err
	}
	m := begin(t, g, "rsa@example.net", "bob@example.org")
	v := send(t, m, header("To: rsa@example.net, bob@example.org"), []byte(greeting))
	if codes(v.Reply) != "451 4.3.0" || !strings.Contains(fmt.Sprint(v.Trouble), "panic: at the dot") {
		t.Errorf("%s %v", codes(v.Reply), v.Trouble)
	}
}

// A panicking connection does so at the dot that ends a mail.
type panicking struct{ net.Conn }

func (c panicking) Write(p []byte) (int, error) {
	if strings.HasSuffix(string(p), "\r\n.\r\n") {
		panic("at the dot")
	}
	return c.Conn.Write(p)
}

// Nor does one behind the last dot keep the recipients for ever.
func TestPanicLetsGo(t *testing.T) {
	g, _, _ := newGateway(t)
	splittingGateway(t, g)
	m := begin(t, g, "rsa@example.net", "bob@example.org")
	m.to[0].fate = len(m.fates)
	func() {
		defer func() {
			if recover() == nil {
				t.Error("no panic")
			}
		}()
		send(t, m, header("To: rsa@example.net, bob@example.org"), []byte(greeting))
	}()
	m.Close()
	if busy := g.Resubmit.Journal.busy; len(busy) > 0 {
		t.Errorf("%d are busy", len(busy))
	}
}
