package main_test

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// A tap stands on a line between the milter and the MTA. It sees what passes,
// knows where one thing ends and the next begins, and stops the line at exactly
// the point that a test names.
type tap struct {
	listener net.Listener
	network  string         // of the program behind it,
	address  string         // and where it is
	open     sync.WaitGroup // sessions

	mu       sync.Mutex // guards what follows
	judge    judge
	sessions int // since judge was set
	held     chan string
	free     chan struct{} // closed when what is held may go
	copies   []copySeen    // of the sessions, where they are SMTP
}

// A handling is what becomes of something on the line.
type handling uint8

const (
	pass   handling = iota
	hold            // until release; then the line is cut
	cut             // at once
	refuse          // with a 451; the other side hears nothing of it
)

// A copySeen is what is known of a copy that was handed over.
type copySeen struct {
	to      []string
	subject string
	taken   bool // the MTA has said 250 to its dot,
	left    bool // and the milter QUIT, which it does when the journal knows
}

// tapCopies puts a tap before the MTA's listener for copies, for milters that
// are started from now on.
func (l *lab) tapCopies() *tap {
	l.t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		l.t.Fatal(err)
	}
	p := &tap{listener: listener, network: "tcp", address: l.copies}
	p.set(nil)
	l.rules = strings.Replace(l.rules, `"inet:`+l.copies, `"inet:`+listener.Addr().String(), 1)
	l.t.Cleanup(func() { listener.Close() })
	go p.serve(p.smtp)
	return p
}

// tapMilter puts a tap between the MTA and the milter that is running.
func (l *lab) tapMilter() *tap {
	l.t.Helper()
	socket := l.socket()
	p := &tap{network: "unix", address: l.path("spool/smimea/behind.sock")}
	if err := os.Rename(socket, p.address); err != nil {
		l.t.Fatal(err)
	}
	var err error
	if p.listener, err = net.Listen("unix", socket); err != nil {
		l.t.Fatal(err)
	}
	if err := os.Chmod(socket, 0o666); err != nil {
		l.t.Fatal(err)
	}
	p.set(nil)
	l.t.Cleanup(func() { p.listener.Close() })
	go p.serve(p.frames)
	return p
}

// set says how sessions are handled from now on, the first of which is 1.
func (p *tap) set(judge judge) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.judge, p.sessions, p.copies = judge, 0, nil
	p.held, p.free = make(chan string, 1000), make(chan struct{})
}

// wait waits until so many things are held.
func (p *tap) wait(t *testing.T, n int) {
	t.Helper()
	for i := range n {
		select {
		case <-p.held:
		case <-time.After(patience):
			t.Fatalf("%d things came to be held, not %d", i, n)
		}
	}
}

// release cuts the lines on which something is held, and lets pass what comes.
func (p *tap) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.judge = nil
	close(p.free)
}

// seen returns the copies of all sessions since set.
func (p *tap) seen() []copySeen {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]copySeen(nil), p.copies...)
}

func (p *tap) serve(session func(number int, client, server net.Conn) error) {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial(p.network, p.address)
		if err != nil {
			client.Close()
			continue
		}
		p.mu.Lock()
		p.sessions++
		number := p.sessions
		p.copies = append(p.copies, copySeen{})
		p.mu.Unlock()
		p.open.Go(func() {
			defer client.Close()
			defer server.Close()
			session(number, client, server)
		})
	}
}

var errCut = errors.New("the line is cut")

// at asks the test what becomes of something.
func (p *tap) at(session int, what string) (refused bool, err error) {
	p.mu.Lock()
	h, held, free := pass, p.held, p.free
	if p.judge != nil {
		h = p.judge(session, what)
	}
	p.mu.Unlock()
	switch h {
	case refuse:
		return true, nil
	case cut:
		return false, errCut
	case hold:
		held <- fmt.Sprintf("%s of session %d", what, session)
		<-free
		return false, errCut
	}
	return false, nil
}

// note notes something about the copy of a session, unless a new test has begun.
func (p *tap) note(session int, change func(*copySeen)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if session <= len(p.copies) {
		change(&p.copies[session-1])
	}
}

// smtp passes one SMTP session on: a command and its reply, one after the
// other. What the test is asked about is called "MAIL" and so on; "text", before
// the mail's first line; "dot"; and "250 to the dot".
func (p *tap) smtp(n int, client, server net.Conn) error {
	fromClient, fromServer := bufio.NewReader(client), bufio.NewReader(server)
	command := "greeting"
	for {
		code, err := p.reply(n, command, fromServer, client)
		if err != nil {
			return err
		}
		if command == "DATA" && code == "354" {
			command = "dot"
			err = p.text(n, fromClient, client, server)
		} else {
			command, err = p.command(n, fromClient, client, server)
		}
		if err != nil {
			return err
		}
	}
}

// command passes a command on, and answers those that are refused.
func (p *tap) command(n int, fromClient *bufio.Reader, client, server net.Conn) (string, error) {
	for {
		line, err := fromClient.ReadString('\n')
		if err != nil {
			return "", err
		}
		command := strings.ToUpper(strings.TrimSpace(line[:min(4, len(line))]))
		switch command {
		case "RCPT":
			_, to, _ := strings.Cut(line, "<")
			to, _, _ = strings.Cut(to, ">")
			p.note(n, func(c *copySeen) { c.to = append(c.to, to) })
		case "QUIT":
			p.note(n, func(c *copySeen) { c.left = true })
		}
		refused, err := p.at(n, command)
		switch {
		case err != nil:
			return "", err
		case refused:
			_, err = io.WriteString(client, "451 4.3.0 not now\r\n")
		default:
			_, err = io.WriteString(server, line)
			return command, err
		}
		if err != nil {
			return "", err
		}
	}
}

// text passes a mail on, and the dot behind it.
func (p *tap) text(n int, fromClient *bufio.Reader, client, server net.Conn) error {
	if _, err := p.at(n, "text"); err != nil {
		return err
	}
	for {
		line, err := fromClient.ReadString('\n')
		if err != nil {
			return err
		}
		if subject, ok := strings.CutPrefix(line, "Subject: "); ok {
			p.note(n, func(c *copySeen) { c.subject = strings.TrimSpace(subject) })
		}
		if line == ".\r\n" {
			refused, err := p.at(n, "dot")
			if refused {
				io.WriteString(client, "451 4.3.0 not now\r\n")
				err = errCut
			}
			if err != nil {
				return err
			}
		}
		if _, err := io.WriteString(server, line); err != nil || line == ".\r\n" {
			return err
		}
	}
}

// reply passes a reply on, and returns its code.
func (p *tap) reply(n int, command string, fromServer *bufio.Reader, client net.Conn) (string, error) {
	var lines strings.Builder
	for {
		line, err := fromServer.ReadString('\n')
		if err != nil {
			return "", err
		}
		lines.WriteString(line)
		if len(line) < 4 {
			return "", textproto.ProtocolError(line)
		}
		if line[3] == '-' {
			continue
		}
		code := line[:3]
		if command == "dot" && code == "250" {
			p.note(n, func(c *copySeen) { c.taken = true })
		}
		if _, err := p.at(n, code+" to the "+command); err != nil {
			return "", err
		}
		_, err = io.WriteString(client, lines.String())
		return code, err
	}
}

// frames passes a connection of the milter protocol on. What the test is asked
// about is called by its letter: ">E" to the milter, "<b" from it.
func (p *tap) frames(n int, client, server net.Conn) error {
	ended := make(chan error, 2)
	pump := func(direction string, from, to net.Conn) {
		ended <- p.pump(n, direction, bufio.NewReader(from), to)
	}
	go pump(">", client, server)
	go pump("<", server, client)
	return <-ended
}

func (p *tap) pump(n int, direction string, from *bufio.Reader, to net.Conn) error {
	for {
		head := make([]byte, 5)
		if _, err := io.ReadFull(from, head); err != nil {
			return err
		}
		if _, err := p.at(n, direction+string(head[4])); err != nil {
			return err
		}
		if _, err := to.Write(head); err != nil {
			return err
		}
		if _, err := io.CopyN(to, from, int64(binary.BigEndian.Uint32(head))-1); err != nil {
			return err
		}
	}
}
