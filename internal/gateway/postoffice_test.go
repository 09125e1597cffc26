package gateway

import (
	"context"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/emersion/go-smtp"
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
