package dnssec

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// Questions go over TCP alone (RFC 8162, Section 7; RFC 7766): a set of
// certificates fits no datagram, and what fits may come from anybody.

const (
	maxInFlight = 100              // questions to one server at a time; more wait
	maxAgain    = 100              // connections that one question is tried on
	keepDown    = 30 * time.Second // how long a server of no use is asked last
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
		err = fmt.Errorf("%s: %w", s.server, err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, err
}

// order puts the servers that were of no use lately behind the others.
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

// An upstream is one server and the connection to it.
type upstream struct {
	server
	tls   *tls.Config
	try   time.Duration // for one question
	slots chan struct{} // one for each question in flight

	living  context.Context // until close
	die     context.CancelFunc
	running sync.WaitGroup // what dials and reads

	mu        sync.Mutex // guards what follows
	pipe      *pipe
	dialing   *dialing // a pipe in the making
	downUntil time.Time
	closed    bool
}

// A dialing is a connection in the making, for all who wait for it.
type dialing struct {
	done chan struct{}
	pipe *pipe
	err  error
}

func newUpstream(s server, roots *x509.CertPool, try time.Duration) *upstream {
	u := &upstream{server: s, try: try, slots: make(chan struct{}, maxInFlight)}
	u.living, u.die = context.WithCancel(context.Background())
	if s.overTLS() {
		u.tls = s.config(roots)
	}
	return u
}

// ask asks this server.
func (u *upstream) ask(ctx context.Context, q question) (*reply, error) {
	try, cancel := context.WithTimeout(ctx, u.try)
	defer cancel()
	select {
	case u.slots <- struct{}{}:
		defer func() { <-u.slots }()
	case <-try.Done():
		return nil, errBusy
	}
	r, err := u.get(try, q)
	switch {
	case err == nil:
		r.from, r.useless = u.server.String(), u.down
	case !answered(err) && ctx.Err() == nil && !errors.Is(err, errUnanswered) && !errors.Is(err, errBusy):
		u.down()
	}
	return r, err
}

// get sends a question and returns the reply. A connection may end at any time
// with questions on it that have no reply yet (RFC 7766, Section 6.2.4): they
// are asked again once, and as long as each connection serves somebody.
func (u *upstream) get(ctx context.Context, q question) (r *reply, err error) {
	for again := range maxAgain {
		var p *pipe
		if p, err = u.connection(ctx); err != nil {
			return nil, err
		}
		if r, err = p.ask(ctx, q); answered(err) {
			return r, err
		}
		useless := errors.Is(err, errMisfit) || !errors.Is(err, errEnded) && !p.hasServed()
		if ctx.Err() != nil || again > 0 && useless {
			break
		}
	}
	return nil, err
}

var (
	errBusy   = errors.New("too many questions are under way")
	errMisfit = errors.New("the reply does not fit")
)

// answered reports whether the server replied to the question, if only that
// it cannot answer, or with what cannot be read.
func answered(err error) bool {
	var rcode *rcodeError
	return err == nil || errors.As(err, &rcode) || errors.Is(err, errMalformed) || errors.Is(err, errTruncated)
}

var errHungUp = errors.New("the connections are closed")

// connection returns the connection to the server, a new one if need be.
func (u *upstream) connection(ctx context.Context) (*pipe, error) {
	u.mu.Lock()
	if u.closed {
		u.mu.Unlock()
		return nil, errHungUp
	}
	if u.pipe != nil && u.pipe.whole() {
		defer u.mu.Unlock()
		return u.pipe, nil
	}
	if u.dialing == nil {
		u.dialing = &dialing{done: make(chan struct{})}
		u.running.Add(1)
		go u.open(u.dialing)
	}
	d := u.dialing
	u.mu.Unlock()
	select {
	case <-d.done:
		return d.pipe, d.err
	case <-ctx.Done():
		return nil, fmt.Errorf("connecting: %w", ctx.Err())
	}
}

// open connects to the server, and reads what it sends until the end.
func (u *upstream) open(d *dialing) {
	defer u.running.Done()
	ctx, cancel := context.WithTimeout(u.living, u.try)
	defer cancel()
	conn, err := u.dial(ctx)
	u.mu.Lock()
	if u.closed && err == nil {
		conn.Close()
		err = errHungUp
	}
	if d.err = err; err == nil {
		d.pipe = newPipe(conn, u.overTLS())
		u.pipe = d.pipe
	}
	u.dialing = nil
	close(d.done)
	u.mu.Unlock()
	if err == nil {
		d.pipe.receive()
	}
}

// dial connects, and finds out whether it is the right server.
func (u *upstream) dial(ctx context.Context) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", u.addr)
	if err != nil || u.tls == nil {
		return conn, err
	}
	secured := tls.Client(conn, u.tls)
	if err := secured.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, fmt.Errorf("TLS: %w", err)
	}
	return secured, nil
}

// down remembers that the server is of no use: it is silent, or what it hands
// out proves nothing.
func (u *upstream) down() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.downUntil = time.Now().Add(keepDown)
}

func (u *upstream) isDown() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return time.Now().Before(u.downUntil)
}

// close ends the connection, and waits until nothing is left of it.
func (u *upstream) close() {
	u.die()
	u.mu.Lock()
	u.closed = true
	if u.pipe != nil {
		u.pipe.stop(errHungUp)
	}
	u.mu.Unlock()
	u.running.Wait()
}
