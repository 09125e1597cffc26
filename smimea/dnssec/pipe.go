package dnssec

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/miekg/dns"
)

const (
	keepConn = 20 * time.Second       // how long a connection is kept that nobody asks anything on
	waneTime = 100 * time.Millisecond // for what is on its way when it ends
)

// A pipe is a connection on which many questions are under way at once. They
// are written as they come, and the replies are taken in whatever order the
// server sends them (RFC 7766, Sections 6.2.1.1 and 7). A pipe breaks once, and
// for all who wait: when the server ends it, falls silent, or sends anything
// but replies to what was asked.
type pipe struct {
	conn    net.Conn
	padded  bool // queries hide their length (RFC 8467, Section 4.1)
	writing sync.Mutex

	mu      sync.Mutex // guards what follows
	waiting map[uint16]chan []byte
	active  int    // of those waiting; the others were left by whoever asked
	served  uint64 // replies read so far
	waning  bool   // nothing more is asked; what was sent is still read
	err     error  // why it is broken

	broken chan struct{} // closed then
}

// newPipe speaks DNS over a connection. receive must run beside it.
func newPipe(conn net.Conn, padded bool) *pipe {
	return &pipe{conn: conn, padded: padded, waiting: map[uint16]chan []byte{}, broken: make(chan struct{})}
}

var (
	errStrange    = errors.New("the reply has another ID than any question")
	errEnded      = errors.New("the server has ended the connection")
	errSilent     = errors.New("the server is silent")
	errUnanswered = errors.New("no reply to this question")
	errHeadless   = errors.New("the reply is malformed: it has no header")
)

// maxWaiting bounds the questions of one connection that wait for a reply,
// those included that nobody waits for any more.
const maxWaiting = 512

// ask asks a question and waits for the reply to it.
func (p *pipe) ask(ctx context.Context, q question) (*reply, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	id, answer, served, err := p.enter()
	if err != nil {
		return nil, err
	}
	if err := p.write(ctx, id, q); err != nil {
		p.wane()
	}
	select {
	case raw := <-answer:
		return p.read(raw, id, q)
	case <-ctx.Done():
		if p.leave(id, served, ctx.Err()) {
			return nil, fmt.Errorf("%w: %w", errSilent, ctx.Err())
		}
		return nil, fmt.Errorf("%w: %w", errUnanswered, ctx.Err())
	case <-p.broken:
	}
	select { // It may have come just before the end.
	case raw := <-answer:
		return p.read(raw, id, q)
	default:
		return nil, p.err
	}
}

// read reads a reply. One to another question with this one's ID is a sign
// that nothing on this connection fits together.
func (p *pipe) read(raw []byte, id uint16, q question) (*reply, error) {
	r, err := parseReply(raw, id, q)
	switch {
	case !answered(err):
		err = fmt.Errorf("%w: %w", errMisfit, err)
		p.stop(err)
	case errors.Is(err, errMalformed):
		p.stop(errEnded) // Perhaps its length was wrong, and the next begins in its middle.
	}
	return r, err
}

// enter finds a free ID for a question.
func (p *pipe) enter() (id uint16, answer chan []byte, served uint64, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.err != nil, p.waning:
		return 0, nil, 0, errEnded
	case len(p.waiting) >= maxWaiting:
		p.end()
		return 0, nil, 0, errEnded
	}
	for id = dns.Id(); ; id = dns.Id() {
		if _, taken := p.waiting[id]; !taken {
			break
		}
	}
	answer = make(chan []byte, 1)
	p.waiting[id] = answer
	p.active++
	p.conn.SetReadDeadline(time.Time{})
	return id, answer, p.served, nil
}

// leave gives a question up. Its ID stays taken until the reply comes. If its
// time is over and the server has said nothing at all since it was asked, it is
// not worth waiting for on this connection.
func (p *pipe) leave(id uint16, served uint64, why error) (silent bool) {
	p.mu.Lock()
	if _, waits := p.waiting[id]; waits {
		p.waiting[id] = nil
		p.finished()
	}
	silent = p.served == served && errors.Is(why, context.DeadlineExceeded)
	p.mu.Unlock()
	if silent {
		p.stop(errSilent)
	}
	return silent
}

// finished counts a question that nobody waits for any more. The mutex is held.
func (p *pipe) finished() {
	if p.active--; p.active == 0 && !p.waning {
		p.conn.SetReadDeadline(time.Now().Add(keepConn))
	}
}

// write sends a query in one piece (RFC 7766, Section 8).
func (p *pipe) write(ctx context.Context, id uint16, q question) error {
	query, err := newQuery(id, q, p.padded)
	if err != nil {
		return err
	}
	framed := append(binary.BigEndian.AppendUint16(nil, uint16(len(query))), query...)
	p.writing.Lock()
	defer p.writing.Unlock()
	if !p.whole() { // What was written last may be half a query.
		return errEnded
	}
	deadline, _ := ctx.Deadline() // none: no deadline
	p.conn.SetWriteDeadline(deadline)
	_, err = p.conn.Write(framed)
	return err
}

// wane ends a pipe on which nothing can be written any more. Replies may have
// come before the end.
func (p *pipe) wane() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.end()
}

// end is wane with the mutex held.
func (p *pipe) end() {
	p.waning = true
	p.conn.SetReadDeadline(time.Now().Add(waneTime))
}

// receive reads replies and hands them out, until the pipe breaks.
func (p *pipe) receive() {
	for {
		raw, err := readFrame(p.conn)
		if err == nil {
			err = p.deliver(raw)
		}
		if err != nil {
			p.stop(err)
			return
		}
	}
}

// readFrame reads a message with its length in front (RFC 1035, Section 4.2.2).
func readFrame(r io.Reader) ([]byte, error) {
	var length [2]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, fmt.Errorf("the connection has ended: %w", err)
	}
	raw := make([]byte, binary.BigEndian.Uint16(length[:]))
	if _, err := io.ReadFull(r, raw); err != nil {
		return nil, fmt.Errorf("the reply is shorter than it says: %w", err)
	}
	return raw, nil
}

// deliver hands a reply to whoever asked.
func (p *pipe) deliver(raw []byte) error {
	if len(raw) < headerSize {
		return errHeadless
	}
	id := binary.BigEndian.Uint16(raw)
	p.mu.Lock()
	defer p.mu.Unlock()
	answer, asked := p.waiting[id]
	if !asked {
		return errStrange
	}
	delete(p.waiting, id)
	p.served++
	if answer != nil {
		answer <- raw
		p.finished()
	}
	return nil
}

// stop breaks the pipe.
func (p *pipe) stop(why error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return
	}
	p.err = why
	if secured, ok := p.conn.(*tls.Conn); ok {
		secured.NetConn().Close() // A farewell could take seconds.
	} else {
		p.conn.Close()
	}
	close(p.broken)
}

// whole reports whether the pipe can be asked.
func (p *pipe) whole() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err == nil && !p.waning
}

// hasServed reports whether there ever was a reply.
func (p *pipe) hasServed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.served > 0
}
