package dnssec

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// Questions go over TCP alone (RFC 8162, Section 7; RFC 7766): a set of
// certificates fits no datagram, and what fits may come from anybody.

const (
	maxConns = 16               // to one server at a time; more wait
	keepConn = 20 * time.Second // how long an idle connection is worth keeping
	keepDown = 30 * time.Second // how long a silent server is asked last
)

// upstreams are the servers, in the order of the settings. They share nothing
// with an answer but its bytes: none of them is believed.
type upstreams struct {
	servers []*upstream
	first   int // where to begin
}

// beginning returns the same servers, asked in another order.
func (u upstreams) beginning(first int) upstreams { return upstreams{u.servers, first} }

// ask asks one server after the other, until one answers.
func (u upstreams) ask(ctx context.Context, q question) (*reply, error) {
	err := errors.New("there is no server to ask")
	for _, s := range u.order() {
		var r *reply
		if r, err = s.ask(ctx, q); err == nil {
			return r, nil
		}
		err = fmt.Errorf("%s: %w", s.addr, err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, err
}

// order puts the servers that were silent lately behind the others.
func (u upstreams) order() []*upstream {
	var up, down []*upstream
	for i := range u.servers {
		s := u.servers[(u.first+i)%len(u.servers)]
		if s.isDown() {
			down = append(down, s)
		} else {
			up = append(up, s)
		}
	}
	return append(up, down...)
}

func (u upstreams) close() {
	for _, s := range u.servers {
		s.close()
	}
}

// An upstream is one server and the connections to it.
type upstream struct {
	addr  string
	try   time.Duration // for one question
	slots chan struct{} // one for each connection in use

	mu        sync.Mutex // guards what follows
	idle      []idleConn // the one used last is at the end
	downUntil time.Time
	closed    bool
}

type idleConn struct {
	net.Conn
	since time.Time
}

func newUpstream(addr string, try time.Duration) *upstream {
	return &upstream{addr: addr, try: try, slots: make(chan struct{}, maxConns)}
}

// ask asks this server.
func (u *upstream) ask(ctx context.Context, q question) (*reply, error) {
	try, cancel := context.WithTimeout(ctx, u.try)
	defer cancel()
	select {
	case u.slots <- struct{}{}:
		defer func() { <-u.slots }()
	case <-try.Done():
		return nil, try.Err()
	}
	r, err := u.get(try, q)
	if !answered(err) && ctx.Err() == nil {
		u.silent()
	}
	return r, err
}

// get sends a question and returns the reply. A kept connection that the
// server has closed meanwhile, or on which something else came, is replaced
// once by a fresh one (RFC 7766, Section 6.2.4).
func (u *upstream) get(ctx context.Context, q question) (*reply, error) {
	if conn := u.kept(); conn != nil {
		if r, err := u.exchange(ctx, conn, q); answered(err) || ctx.Err() != nil {
			return r, err
		}
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", u.addr)
	if err != nil {
		return nil, err
	}
	return u.exchange(ctx, conn, q)
}

// answered reports whether the server replied to the question, if only that
// it cannot answer.
func answered(err error) bool {
	var rcode *rcodeError
	return err == nil || errors.As(err, &rcode)
}

// exchange sends a question over a connection and reads the reply. The
// connection is kept only if that is one: anything else may have been left by
// an older question.
func (u *upstream) exchange(ctx context.Context, conn net.Conn, q question) (*reply, error) {
	id := dns.Id()
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	raw, err := roundTrip(conn, id, q)
	undisturbed := stop()
	if err != nil {
		conn.Close()
		return nil, err
	}
	r, err := parseReply(raw, id, q)
	if undisturbed && answered(err) {
		u.keep(conn)
	} else {
		conn.Close()
	}
	return r, err
}

// roundTrip writes a query and reads a message, each with its length in front
// (RFC 1035, Section 4.2.2), in one write (RFC 7766, Section 8).
func roundTrip(conn net.Conn, id uint16, q question) ([]byte, error) {
	query, err := newQuery(id, q)
	if err != nil {
		return nil, err
	}
	framed := binary.BigEndian.AppendUint16(nil, uint16(len(query)))
	if _, err := conn.Write(append(framed, query...)); err != nil {
		return nil, err
	}
	var length [2]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return nil, err
	}
	raw := make([]byte, binary.BigEndian.Uint16(length[:]))
	if _, err := io.ReadFull(conn, raw); err != nil {
		return nil, fmt.Errorf("the reply is shorter than it says: %w", err)
	}
	return raw, nil
}

// kept returns a connection that was used not long ago, or nil.
func (u *upstream) kept() net.Conn {
	u.mu.Lock()
	defer u.mu.Unlock()
	n := len(u.idle)
	if n == 0 || time.Since(u.idle[n-1].since) > keepConn {
		return nil
	}
	conn := u.idle[n-1]
	u.idle = u.idle[:n-1]
	return conn.Conn
}

// keep puts a connection aside for the next question, for a while.
func (u *upstream) keep(conn net.Conn) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.downUntil = time.Time{}
	if u.closed {
		conn.Close()
		return
	}
	u.idle = append(u.idle, idleConn{conn, time.Now()})
	time.AfterFunc(keepConn+time.Second, u.drop)
}

// drop closes the connections that nobody has used for a while.
func (u *upstream) drop() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.idle = slices.DeleteFunc(u.idle, func(c idleConn) bool {
		old := time.Since(c.since) > keepConn
		if old {
			c.Close()
		}
		return old
	})
}

// silent remembers that the server did not answer.
func (u *upstream) silent() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.downUntil = time.Now().Add(keepDown)
}

func (u *upstream) isDown() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return time.Now().Before(u.downUntil)
}

func (u *upstream) close() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.closed = true
	for _, c := range u.idle {
		c.Close()
	}
	u.idle = nil
}
