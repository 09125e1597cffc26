package gateway

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"smimea.example/internal/cms"
	"smimea.example/internal/message"
)

// A postOffice is the MTA's listener for copies, at the other end of a pipe. It
// takes what a real one would, and fails where it is told to.
type postOffice struct {
	mu    sync.Mutex // guards what follows
	taken []posted
	fails func(command, argument string) error // nil: nothing fails
	cut   func(session int) int                // octets from the client until the line breaks; < 0 for never
	dials int
}

type posted struct {
	from    string
	options smtp.MailOptions
	to      []string
	rcpt    []smtp.RcptOptions
	data    string
}

// open opens a session.
func (o *postOffice) open(context.Context) (net.Conn, error) {
	if err := o.fail("CONNECT", ""); err != nil {
		return nil, err
	}
	here, there := net.Pipe()
	o.mu.Lock()
	o.dials++
	left := -1
	if o.cut != nil {
		left = o.cut(o.dials)
	}
	o.mu.Unlock()
	server := smtp.NewServer(o)
	server.EnableDSN, server.EnableSMTPUTF8, server.AllowInsecureAuth = true, true, true
	server.ErrorLog = quiet{}
	go server.Serve(&oneConn{conn: there})
	if left >= 0 {
		return &cutConn{Conn: here, left: left}, nil
	}
	return here, nil
}

type quiet struct{}

func (quiet) Printf(string, ...any) {}
func (quiet) Println(...any)        {}

func (o *postOffice) fail(command, argument string) error {
	o.mu.Lock()
	fails := o.fails
	o.mu.Unlock()
	if fails == nil {
		return nil
	}
	return fails(command, argument)
}

func (o *postOffice) NewSession(*smtp.Conn) (smtp.Session, error) { return &desk{office: o}, nil }

// mails returns what was taken.
func (o *postOffice) mails() []posted {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.taken)
}

// A desk is a session at the postOffice.
type desk struct {
	office *postOffice
	posted
}

func (d *desk) Mail(from string, o *smtp.MailOptions) error {
	d.posted = posted{from: from, options: *o}
	return d.office.fail("MAIL", from)
}

func (d *desk) Rcpt(to string, o *smtp.RcptOptions) error {
	d.to, d.rcpt = append(d.to, to), append(d.rcpt, *o)
	return d.office.fail("RCPT", to)
}

func (d *desk) Data(r io.Reader) error {
	if err := d.office.fail("DATA", strings.Join(d.to, " ")); err != nil {
		return err
	}
	data, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if err := d.office.fail("DOT", strings.Join(d.to, " ")); err != nil {
		return err
	}
	d.data = string(data)
	d.office.mu.Lock()
	defer d.office.mu.Unlock()
	d.office.taken = append(d.office.taken, d.posted)
	return nil
}

func (d *desk) Reset()        {}
func (d *desk) Logout() error { return nil }

// oneConn is a listener to which one connection comes.
type oneConn struct {
	conn net.Conn
	done bool
}

func (l *oneConn) Accept() (net.Conn, error) {
	if l.done {
		return nil, net.ErrClosed
	}
	l.done = true
	return l.conn, nil
}
func (l *oneConn) Close() error   { return nil }
func (l *oneConn) Addr() net.Addr { return l.conn.LocalAddr() }

// cutConn breaks after so many octets have been sent.
type cutConn struct {
	net.Conn
	left int
}

func (c *cutConn) Write(p []byte) (int, error) {
	n := min(len(p), c.left)
	c.left -= n
	written, err := c.Conn.Write(p[:n])
	if err == nil && n < len(p) {
		c.Conn.Close()
		return written, io.ErrUnexpectedEOF
	}
	return written, err
}

// splitting gives a gateway the way to a post office.
func splittingGateway(t testing.TB, g *Gateway) *postOffice {
	t.Helper()
	journal, err := OpenJournal(filepath.Join(t.TempDir(), "journal.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { journal.Close() })
	office := new(postOffice)
	g.Resubmit = &Resubmission{Address: "the office", Journal: journal, dial: office.open}
	return office
}

const greeting = "hello\r\n"

// what says who of the copies got which, as "rsa@example.net,…: encrypted".
func (p posted) what() string {
	how := "plain"
	if strings.Contains(p.data, "application/pkcs7-mime") {
		how = "encrypted"
	}
	return strings.Join(p.to, ",") + " " + how
}

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
