package dnssec

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// A stage shows a world over TCP, where real resolvers can see it. The world
// on it may be replaced by another.
type stage struct {
	addr   string
	listen net.Listener
	ended  sync.WaitGroup

	mu    sync.Mutex // guards what follows
	world *world
	conns map[net.Conn]bool
}

func newStage(t testing.TB) *stage {
	l, udp := listenTwice(t)
	s := &stage{addr: l.Addr().String(), listen: l, conns: map[net.Conn]bool{}}
	s.ended.Go(s.accept)
	s.ended.Go(func() { truncate(udp) })
	t.Cleanup(func() {
		l.Close()
		udp.Close()
		s.show(nil)
		s.ended.Wait()
	})
	return s
}

// listenTwice listens on one port for TCP and UDP.
func listenTwice(t testing.TB) (net.Listener, net.PacketConn) {
	for range 100 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		udp, err := net.ListenPacket("udp", l.Addr().String())
		if err == nil {
			return l, udp
		}
		l.Close()
	}
	t.Fatal("no port that is free for TCP and UDP")
	return nil, nil
}

// truncate sends whoever comes over UDP to TCP: delv always tries.
func truncate(conn net.PacketConn) {
	buf := make([]byte, 4096)
	for {
		n, from, err := conn.ReadFrom(buf)
		if err != nil {
			return
		}
		query := new(dns.Msg)
		if query.Unpack(buf[:n]) != nil || len(query.Question) != 1 {
			continue
		}
		m := new(dns.Msg).SetReply(query)
		m.Truncated = true
		if raw, err := m.Pack(); err == nil {
			conn.WriteTo(raw, from)
		}
	}
}

// show replaces the world. Connections end, so that nothing of the old one is
// left in them.
func (s *stage) show(w *world) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.world = w
	for c := range s.conns {
		c.Close()
	}
	clear(s.conns)
}

func (s *stage) accept() {
	for {
		conn, err := s.listen.Accept()
		if err != nil {
			return
		}
		s.ended.Go(func() { s.serve(conn) })
	}
}

// serve answers the questions of a connection.
func (s *stage) serve(conn net.Conn) {
	defer conn.Close()
	s.mu.Lock()
	w := s.world
	s.conns[conn] = true
	s.mu.Unlock()
	for w != nil {
		query, ok := readQuery(conn)
		if !ok || len(query.Question) != 1 || query.Question[0].Qclass != dns.ClassINET {
			return
		}
		pieces, more := w.reply(query)
		for i, piece := range pieces {
			if i > 0 {
				time.Sleep(5 * time.Millisecond)
			}
			if _, err := conn.Write(piece); err != nil {
				return
			}
		}
		if !more {
			return
		}
	}
}

// reply is what goes over the wire, in pieces, and whether more may follow.
func (w *world) reply(query *dns.Msg) (pieces [][]byte, more bool) {
	n, err := parseName(query.Question[0].Name)
	if err != nil {
		return nil, false
	}
	q := question{n, query.Question[0].Qtype}
	m, err := w.message(q)
	if err != nil {
		return nil, false
	}
	m.Id, m.Question, m.RecursionDesired = query.Id, query.Question, query.RecursionDesired
	if query.IsEdns0() != nil && m.IsEdns0() == nil {
		m.SetEdns0(1232, true)
	}
	raw, err := m.Pack()
	if err != nil {
		w.t.Errorf("packing the answer to %s %d: %v", q.name, q.rtype, err)
		return nil, false
	}
	framed := framed(raw)
	if w.wire != nil {
		if pieces := w.wire(q, framed); pieces != nil {
			return pieces, false
		}
	}
	return [][]byte{framed}, true
}

// framed puts the length in front (RFC 1035, Section 4.2.2).
func framed(raw []byte) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(raw))), raw...)
}

// message is the answer to a question, if it is to be had.
func (w *world) message(q question) (*dns.Msg, error) {
	if w.fails == nil {
		return w.answer(q), nil
	}
	err := w.fails(q)
	var rcode *rcodeError
	switch {
	case err == nil:
		return w.answer(q), nil
	case errors.As(err, &rcode):
		m := w.answerUntouched(q)
		m.Answer, m.Ns, m.Rcode = nil, nil, rcode.rcode
		return m, nil
	}
	return nil, err
}

// lookupOn asks as [world.lookup] does, and over TCP where the case is about
// what goes over the wire.
func (w *world) lookupOn(n string, qtype uint16) Answer {
	if w.wire == nil {
		return w.lookup(n, qtype)
	}
	s := newStage(w.t)
	s.show(w)
	return w.lookupAt(s.addr, n, qtype)
}

// lookupAt asks one question of a fresh validator, which asks a server.
func (w *world) lookupAt(addr, n string, qtype uint16) Answer {
	v, err := New(Options{
		Servers: []string{addr}, Anchors: w.anchors(), Try: 8 * time.Second, Budget: 20 * time.Second,
		Now: func() time.Time { return w.now },
	})
	if err != nil {
		w.t.Error(err)
		return Answer{}
	}
	defer v.Close()
	return v.Lookup(context.Background(), n, qtype)
}
