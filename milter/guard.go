package milter

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync"
	"time"
)

// maxFrame bounds one frame, without its length. MTAs send body pieces of
// 64 KB; a header field may be longer (Postfix: header_size_limit).
const maxFrame = 1 << 20

// maxSilence bounds the silence while a mail is in flight. Postfix says nothing
// between the last recipient and the end of the data, and a large mail over a
// slow line takes hours. The MTA has bounds of its own for its clients, and one
// that has died is noticed by the kernel; so this one is for what nobody
// thought of.
const maxSilence = 24 * time.Hour

// How long one piece of what we say may take to be written. A slow disk at the
// MTA's side must not break a long body.
const maxWriting = time.Minute

// maxHeld is how much of what we say is held back, in octets, until the library
// has said all: a small mail with its changes.
const maxHeld = 16 << 10

// The commands an MTA may send. Their layout is nowhere standardised; it is
// that of Sendmail's libmilter, version 6.
const (
	cmdNegotiate = 'O'
	cmdMacro     = 'D'
	cmdConnect   = 'C'
	cmdHelo      = 'H'
	cmdMail      = 'M'
	cmdRcpt      = 'R'
	cmdData      = 'T'
	cmdHeader    = 'L'
	cmdEndHeader = 'N'
	cmdBody      = 'B'
	cmdEnd       = 'E'
	cmdAbort     = 'A'
	cmdUnknown   = 'U'
	cmdQuit      = 'Q'
	cmdQuitNew   = 'K'

	replyContinue = 'c'
)

// A guard stands between the sockets and the protocol library. Its
// connections hand on whole frames that were checked, and nothing else: the
// library trusts its peer, and a frame of four zero bytes, say, would end the
// process.
type guard struct {
	idle  time.Duration // how long a connection may be silent between two mails
	frame time.Duration // how long one frame may take from its first byte to its last
	log   *slog.Logger
	load  *Load         // told of connections that come and go
	slots chan struct{} // one for each connection that may be open
	done  chan struct{} // closed when no more connections are taken

	mu       sync.Mutex // guards what follows
	draining bool
	open     map[*guardedConn]struct{}
}

func newGuard(connections int, idle, frame time.Duration, log *slog.Logger) *guard {
	return &guard{
		idle:  idle,
		frame: frame,
		log:   log,
		load:  new(Load),
		slots: make(chan struct{}, connections),
		done:  make(chan struct{}),
		open:  make(map[*guardedConn]struct{}),
	}
}

// listen returns l with guarded connections.
func (g *guard) listen(l net.Listener) net.Listener { return &guardedListener{Listener: l, guard: g} }

// drain takes no more connections, closes those that have no mail in flight,
// and the others as soon as theirs is done. An MTA keeps its connection as long
// as its own client stays, which may be for hours.
func (g *guard) drain() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.draining {
		return
	}
	g.draining = true
	close(g.done)
	for c := range g.open {
		if !c.busy {
			c.Conn.Close()
		}
	}
}

type guardedListener struct {
	net.Listener
	guard *guard
}

// Accept waits for a connection and then for a free place, so that a listener
// to which nobody comes takes none. While none is free one connection waits
// here and the others in the kernel's queue, where the MTA's own time limit
// applies.
func (l *guardedListener) Accept() (net.Conn, error) {
	g := l.guard
	conn, err := l.accept()
	if err != nil {
		return nil, err
	}
	select {
	case g.slots <- struct{}{}:
		return g.take(conn), nil
	case <-g.done:
		conn.Close()
		return nil, net.ErrClosed
	}
}

// accept outlives what passes: a connection that was reset in the queue, or no
// file descriptor to be had (accept(2)).
func (l *guardedListener) accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err == nil || errors.Is(err, net.ErrClosed) {
			return conn, err
		}
		l.guard.log.Warn("milter: accepting a connection", "why", err.Error())
		select {
		case <-time.After(100 * time.Millisecond):
		case <-l.guard.done:
			return nil, err
		}
	}
}

func (g *guard) take(conn net.Conn) *guardedConn {
	c := &guardedConn{Conn: conn, guard: g, in: bufio.NewReaderSize(conn, 4096)}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open[c] = struct{}{}
	g.load.connections.Add(1)
	if g.draining {
		conn.Close()
	}
	return c
}

// A guardedConn reads a frame, checks it, and only then lets it be read.
type guardedConn struct {
	net.Conn
	guard *guard
	in    *bufio.Reader
	buf   []byte // the last frame, its length included
	rest  []byte // what of it is still to be read
	last  byte   // its command; 0 before the first
	held  []byte // what is to be written
	once  sync.Once

	busy bool // a mail is in flight; guarded by guard.mu
	left bool // see leave
}

func (c *guardedConn) Read(p []byte) (int, error) {
	if len(c.rest) == 0 {
		if err := c.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// SetReadDeadline does nothing: the guard keeps the time.
func (c *guardedConn) SetReadDeadline(time.Time) error { return nil }

// Write holds back what the MTA is told, until the library asks for the next frame:
// it writes each change to a mail by itself, in two pieces, and the MTA would be
// woken up by each. A sign of life has to be seen at once. A failure may show
// later, and ends the connection then; the MTA has not heard the last word on the
// mail, and defers it. So it does if what is held is never written.
func (c *guardedConn) Write(p []byte) (int, error) {
	c.told(p)
	var err error
	if len(c.held)+len(p) > maxHeld {
		err = c.flush(p)
	} else if c.held = append(c.held, p...); isProgress(p) {
		err = c.flush(nil)
	}
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

// told notes that a mail has been turned away at its beginning. An MTA may say
// nothing more of it, not even that it is over.
func (c *guardedConn) told(p []byte) {
	if c.last == cmdMail && len(p) > 4 && p[4] != replyContinue { // the library writes the head of a frame first
		c.guard.mu.Lock()
		c.busy = false
		c.guard.mu.Unlock()
	}
}

// isProgress knows the frame that the library writes for it.
func isProgress(p []byte) bool { return string(p) == "\x00\x00\x00\x01p" }

// flush writes what is held, and more behind it.
func (c *guardedConn) flush(more []byte) error {
	if len(c.held)+len(more) == 0 {
		return nil
	}
	c.Conn.SetWriteDeadline(time.Now().Add(maxWriting))
	held := c.held
	c.held = c.held[:0]
	if len(more) == 0 {
		_, err := c.Conn.Write(held)
		return err
	}
	_, err := (&net.Buffers{held, more}).WriteTo(c.Conn)
	return err
}

// SetWriteDeadline does nothing: the guard keeps the time.
func (c *guardedConn) SetWriteDeadline(time.Time) error { return nil }

// SetDeadline does nothing either.
func (c *guardedConn) SetDeadline(time.Time) error { return nil }

// Close gives the place back.
func (c *guardedConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() {
		c.guard.mu.Lock()
		delete(c.guard.open, c)
		c.guard.mu.Unlock()
		c.guard.load.connections.Add(-1)
		<-c.guard.slots
	})
	return err
}

// next reads the next frame into buf and rest.
func (c *guardedConn) next() error {
	if c.left {
		return io.EOF
	}
	if err := c.flush(nil); err != nil {
		return c.broken(err)
	}
	if !c.answered() {
		return c.leave(io.EOF)
	}
	if err := c.read(); errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded) {
		return c.leave(c.broken(err))
	} else if err != nil {
		return c.broken(err)
	}
	cmd := c.buf[4]
	if err := c.check(cmd, c.buf[5:]); err != nil {
		return c.broken(err)
	}
	if !c.arrived(cmd) {
		return c.leave(io.EOF)
	}
	if cmd == cmdQuit && c.last != cmdAbort {
		c.buf = append(slices.Clone(abortFrame), c.buf...)
	}
	c.last, c.rest = cmd, c.buf
	return nil
}

// leave ends the connection by our own wish. It says so first: an MTA that has had
// the last word on a mail, and had no time for a command more, goes on, and has not
// died. Nothing is read behind that, where a frame may have been cut.
func (c *guardedConn) leave(err error) error {
	if c.last == 0 {
		return err
	}
	c.left = true
	c.buf = append(c.buf[:0], abortFrame...)
	c.last, c.rest = cmdAbort, c.buf
	return nil
}

// abortFrame is put before a Quit, which the library tells nobody of: an MTA that
// takes its leave is another thing than one that has died. Postfix sends one by
// itself.
var abortFrame = []byte{0, 0, 0, 1, cmdAbort}

// read reads one frame of bounded length in bounded time. Its memory grows
// with what arrives, not with what is promised.
func (c *guardedConn) read() error {
	if c.in.Buffered() == 0 {
		c.Conn.SetReadDeadline(time.Now().Add(c.patience()))
		if _, err := c.in.Peek(1); err != nil {
			return err
		}
	}
	if !c.isThere() {
		c.Conn.SetReadDeadline(time.Now().Add(c.guard.frame))
	}
	var head [4]byte
	if _, err := io.ReadFull(c.in, head[:]); err != nil {
		return err
	}
	length := binary.BigEndian.Uint32(head[:])
	if length < 1 || length > maxFrame {
		return fmt.Errorf("frame of %d bytes", length)
	}
	c.buf = append(c.buf[:0], head[:]...)
	for left := int(length); left > 0; {
		n := min(left, 64<<10)
		c.buf = slices.Grow(c.buf, n)[:len(c.buf)+n]
		if _, err := io.ReadFull(c.in, c.buf[len(c.buf)-n:]); err != nil {
			return err
		}
		left -= n
	}
	return nil
}

// isThere says whether the next frame has arrived as a whole, which most have, so
// that no time needs to be set for it.
func (c *guardedConn) isThere() bool {
	if c.in.Buffered() < 4 {
		return false
	}
	head, _ := c.in.Peek(4)
	return int64(c.in.Buffered()) >= 4+int64(binary.BigEndian.Uint32(head))
}

// patience is how long the next frame may let us wait. An MTA negotiates at
// once, and nobody else is to occupy a place for long.
func (c *guardedConn) patience() time.Duration {
	if c.last == 0 {
		return c.guard.frame
	}
	c.guard.mu.Lock()
	defer c.guard.mu.Unlock()
	if c.busy {
		return maxSilence
	}
	return c.guard.idle
}

// check accepts what belongs at this point of a connection: the negotiation
// once, at its beginning.
func (c *guardedConn) check(cmd byte, data []byte) error {
	if (cmd == cmdNegotiate) != (c.last == 0) {
		return fmt.Errorf("command %q out of order", cmd)
	}
	return checkFrame(cmd, data)
}

// answered notes that the last frame has been dealt with, since the library
// asks for the next one. It says whether there is to be a next one.
func (c *guardedConn) answered() bool {
	c.guard.mu.Lock()
	defer c.guard.mu.Unlock()
	switch c.last {
	case cmdEnd, cmdAbort, cmdQuit, cmdQuitNew:
		c.busy = false
	}
	return c.busy || !c.guard.draining
}

// arrived notes the beginning of a mail. It says whether cmd may be handed on.
func (c *guardedConn) arrived(cmd byte) bool {
	c.guard.mu.Lock()
	defer c.guard.mu.Unlock()
	if cmd == cmdMail {
		c.busy = !c.guard.draining
		return c.busy
	}
	return true
}

// broken logs why a connection ends, unless its peer has just gone.
func (c *guardedConn) broken(err error) error {
	if err == io.EOF || errors.Is(err, net.ErrClosed) {
		return io.EOF
	}
	c.guard.log.Warn("milter: connection closed", "peer", c.RemoteAddr().String(), "why", err.Error())
	return io.EOF
}

// checkFrame says what is wrong with the data of a command, if anything.
func checkFrame(cmd byte, data []byte) error {
	switch cmd {
	case cmdNegotiate:
		return checkLength(cmd, data, 12) // version, actions, protocol
	case cmdMacro:
		return checkMacros(data)
	case cmdConnect:
		return checkConnect(data)
	case cmdHelo, cmdUnknown:
		return checkStrings(cmd, data, 1, 1)
	case cmdMail, cmdRcpt:
		return checkStrings(cmd, data, 1, 100) // the address, then ESMTP arguments
	case cmdHeader:
		return checkStrings(cmd, data, 2, 2)
	case cmdBody:
		return nil
	case cmdData, cmdEndHeader, cmdEnd, cmdAbort, cmdQuit, cmdQuitNew:
		// libmilter takes a last piece of the body from the end of the
		// message. No MTA sends one, and the library would drop it unseen.
		return checkLength(cmd, data, 0)
	}
	return fmt.Errorf("unknown command %q", cmd)
}

func checkLength(cmd byte, data []byte, want int) error {
	if len(data) != want {
		return fmt.Errorf("command %q with %d bytes, not %d", cmd, len(data), want)
	}
	return nil
}

// checkStrings wants data to be at least least and at most most strings, each
// with its NUL.
func checkStrings(cmd byte, data []byte, least, most int) error {
	if len(data) > 0 && data[len(data)-1] != 0 {
		return fmt.Errorf("command %q with an unterminated string", cmd)
	}
	if n := bytes.Count(data, []byte{0}); n < least || n > most {
		return fmt.Errorf("command %q with %d strings", cmd, n)
	}
	return nil
}

// checkMacros: the command that the macros are for, then names and values.
func checkMacros(data []byte) error {
	if len(data) == 0 {
		return errors.New("macros without a command")
	}
	if err := checkStrings(cmdMacro, data[1:], 0, 1000); err != nil {
		return err
	}
	if bytes.Count(data[1:], []byte{0})%2 != 0 {
		return errors.New("macro without a value")
	}
	return nil
}

// checkConnect: host name, address family, and except for an unknown one a
// port of two bytes and the address.
func checkConnect(data []byte) error {
	_, rest, ok := bytes.Cut(data, []byte{0})
	if !ok || len(rest) == 0 {
		return errors.New("connect without an address family")
	}
	switch family := rest[0]; family {
	case 'U':
		return nil
	case 'L', '4', '6':
		if len(rest) < 3 {
			return errors.New("connect without a port")
		}
		return checkStrings(cmdConnect, rest[3:], 1, 1)
	default:
		return fmt.Errorf("connect with address family %q", family)
	}
}
