package dnssec

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// A peer is one end of a TCP connection that behaves as a test wants. It reads
// a query and gets the reply that would be right.
type peer func(conn net.Conn, query *dns.Msg, right []byte)

// listen serves connections with a peer, one query after the other.
func listen(t *testing.T, p peer) (addr string, conns *atomic.Int32) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().String(), serve(l, p)
}

func serve(l net.Listener, p peer) (conns *atomic.Int32) {
	conns = new(atomic.Int32)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conns.Add(1)
			go func() {
				defer conn.Close()
				for {
					query, ok := readQuery(conn)
					if !ok {
						return
					}
					p(conn, query, rightReply(query))
				}
			}()
		}
	}()
	return conns
}

func readQuery(conn net.Conn) (*dns.Msg, bool) {
	var length [2]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return nil, false
	}
	raw := make([]byte, binary.BigEndian.Uint16(length[:]))
	if _, err := io.ReadFull(conn, raw); err != nil {
		return nil, false
	}
	m := new(dns.Msg)
	return m, m.Unpack(raw) == nil
}

func rightReply(query *dns.Msg) []byte {
	m := new(dns.Msg).SetReply(query)
	m.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: query.Question[0].Name, Rrtype: dns.TypeA, Class: 1, Ttl: 60}, A: net.IPv4(192, 0, 2, 1)}}
	raw, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return raw
}

func write(conn net.Conn, raw []byte) {
	conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(raw))), raw...))
}

func right(conn net.Conn, _ *dns.Msg, raw []byte) { write(conn, raw) }

// changed is a peer that changes the reply first.
func changed(f func(m *dns.Msg)) peer {
	return func(conn net.Conn, query *dns.Msg, raw []byte) {
		m := new(dns.Msg)
		if m.Unpack(raw) == nil {
			f(m)
			raw, _ = m.Pack()
			write(conn, raw)
		}
	}
}

func rawly(f func(raw []byte) []byte) peer {
	return func(conn net.Conn, _ *dns.Msg, raw []byte) { write(conn, f(raw)) }
}

var mailA = question{must("mail.good.test."), typeA}

func servers(addrs ...string) upstreams {
	var u upstreams
	for _, a := range addrs {
		u.servers = append(u.servers, newUpstream(server{addr: a}, nil, 5*time.Second))
	}
	return u
}

func TestReplies(t *testing.T) {
	for _, c := range []struct {
		what string
		peer peer
		why  string // empty: it is one
	}{
		{"right", right, ""},
		{"upper case", changed(func(m *dns.Msg) { m.Question[0].Name = "MAIL.GOOD.TEST." }), ""},
		{"no such name", changed(func(m *dns.Msg) { m.Rcode = dns.RcodeNameError }), ""},
		{"one octet at a time", func(conn net.Conn, _ *dns.Msg, raw []byte) {
			for _, b := range append(binary.BigEndian.AppendUint16(nil, uint16(len(raw))), raw...) {
				conn.Write([]byte{b})
			}
		}, ""},
		{"60 KB", changed(func(m *dns.Msg) {
			for range 240 {
				m.Answer = append(m.Answer, &dns.TXT{Hdr: dns.RR_Header{Name: "x.", Rrtype: dns.TypeTXT, Class: 1}, Txt: []string{strings.Repeat("x", 240)}})
			}
		}), ""},
		{"another ID", changed(func(m *dns.Msg) { m.Id++ }), "another ID"},
		{"a query", changed(func(m *dns.Msg) { m.Response = false }), "is a query"},
		{"another opcode", changed(func(m *dns.Msg) { m.Opcode = dns.OpcodeUpdate }), "another opcode"},
		{"truncated, over TCP", changed(func(m *dns.Msg) { m.Truncated, m.Answer = true, nil }), "truncated"},
		{"another name", changed(func(m *dns.Msg) { m.Question[0].Name = "mail.evil.test." }), "another question"},
		{"another type", changed(func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeAAAA }), "another question"},
		{"another class", changed(func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS }), "another question"},
		{"no question", changed(func(m *dns.Msg) { m.Question = nil }), "another question"},
		{"two questions", changed(func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) }), "another question"},
		{"SERVFAIL", changed(func(m *dns.Msg) { m.Rcode = dns.RcodeServerFailure }), "SERVFAIL"},
		{"SERVFAIL, explained", changed(func(m *dns.Msg) {
			m.Rcode = dns.RcodeServerFailure
			m.SetEdns0(1232, true)
			m.IsEdns0().Option = append(m.IsEdns0().Option, &dns.EDNS0_EDE{InfoCode: 9, ExtraText: "do\nevil"})
		}), "SERVFAIL, extended error 9 (DNSKEY Missing)"},
		{"REFUSED", changed(func(m *dns.Msg) { m.Rcode = dns.RcodeRefused }), "REFUSED"},
		{"an unknown code", changed(func(m *dns.Msg) { m.SetEdns0(1232, true); m.Rcode = 3000 }), "RCODE3000"},
		{"nothing", rawly(func([]byte) []byte { return nil }), "malformed"},
		{"half a header", rawly(func(raw []byte) []byte { return raw[:7] }), "malformed"},
		{"a message cut short", rawly(func(raw []byte) []byte { return raw[:len(raw)-3] }), "malformed"},
		{"fewer records than it says", rawly(func(raw []byte) []byte { raw[7]++; return raw }), "malformed"},
		{"a record less, and none missing it", rawly(func(raw []byte) []byte { raw[9]++; return raw }), "malformed"},
		{"less than the length says", func(conn net.Conn, _ *dns.Msg, raw []byte) {
			conn.Write(append([]byte{0xff, 0xff}, raw...))
			conn.Close()
		}, "shorter than it says"},
		{"nothing before the end", func(conn net.Conn, _ *dns.Msg, _ []byte) { conn.Close() }, "EOF"},
		{"silence", func(net.Conn, *dns.Msg, []byte) {}, "the server is silent: context deadline exceeded"},
	} {
		t.Run(c.what, func(t *testing.T) {
			addr, _ := listen(t, c.peer)
			u := servers(addr)
			defer u.close()
			if c.what == "silence" {
				u.servers[0].try = 50 * time.Millisecond
			}
			r, err := u.ask(context.Background(), mailA)
			switch {
			case c.why == "" && (err != nil || len(find(r.answer, mailA.name, typeA).data) != 1):
				t.Errorf("%v", err)
			case c.why != "" && (err == nil || !strings.Contains(err.Error(), c.why)):
				t.Errorf("%v, want %q", err, c.why)
			}
		})
	}
}

func TestQuery(t *testing.T) {
	raw, err := newQuery(4711, question{must("MAIL.Good.test."), typeSMIMEA}, false)
	if err != nil {
		t.Fatal(err)
	}
	m := new(dns.Msg)
	if err := m.Unpack(raw); err != nil {
		t.Fatal(err)
	}
	opt := m.IsEdns0()
	if !m.RecursionDesired || !m.CheckingDisabled || m.AuthenticatedData || opt == nil || !opt.Do() {
		t.Errorf("RD, CD and DO, and not AD, should be set: %v", m)
	}
	if q := m.Question[0]; q.Name != "mail.good.test." || q.Qtype != 53 || q.Qclass != 1 || m.Id != 4711 {
		t.Errorf("%v", m)
	}
}

func TestConnectionIsKept(t *testing.T) {
	addr, conns := listen(t, right)
	u := servers(addr)
	defer u.close()
	for range 5 {
		if _, err := u.ask(context.Background(), mailA); err != nil {
			t.Fatal(err)
		}
	}
	if n := conns.Load(); n != 1 {
		t.Errorf("%d connections for five questions", n)
	}
}

func TestConnectionClosedWhileIdle(t *testing.T) {
	addr, conns := listen(t, func(conn net.Conn, _ *dns.Msg, raw []byte) { write(conn, raw); conn.Close() })
	u := servers(addr)
	defer u.close()
	for range 3 {
		if _, err := u.ask(context.Background(), mailA); err != nil {
			t.Fatal(err)
		}
	}
	if n := conns.Load(); n != 3 {
		t.Errorf("%d connections", n)
	}
}

// A reply to an older question must not be waiting on a connection.
func TestConnectionIsGivenUpAfterSilence(t *testing.T) {
	var asked atomic.Int32
	addr, conns := listen(t, func(conn net.Conn, _ *dns.Msg, raw []byte) {
		if asked.Add(1) == 1 {
			time.Sleep(200 * time.Millisecond)
		}
		write(conn, raw)
	})
	u := servers(addr)
	defer u.close()
	u.servers[0].try = 50 * time.Millisecond
	if _, err := u.ask(context.Background(), mailA); err == nil {
		t.Error("an answer came too late, and was taken")
	}
	u.servers[0].try = 5 * time.Second
	if _, err := u.ask(context.Background(), mailA); err != nil {
		t.Errorf("the next question: %v", err)
	}
	if n := conns.Load(); n != 2 {
		t.Errorf("%d connections", n)
	}
}

// Nor one to another question.
func TestConnectionIsGivenUpAfterNonsense(t *testing.T) {
	var asked atomic.Int32
	addr, conns := listen(t, func(conn net.Conn, query *dns.Msg, raw []byte) {
		if asked.Add(1) == 2 {
			query.Question[0].Name = "mail.evil.test."
			raw = rightReply(query)
		}
		write(conn, raw)
	})
	u := servers(addr)
	defer u.close()
	for range 3 {
		if _, err := u.ask(context.Background(), mailA); err != nil {
			t.Error(err)
		}
	}
	if n := conns.Load(); n != 2 {
		t.Errorf("%d connections", n)
	}
}

func TestNextServer(t *testing.T) {
	good, _ := listen(t, right)
	mute, _ := listen(t, func(net.Conn, *dns.Msg, []byte) {})
	failing, asked := listen(t, changed(func(m *dns.Msg) { m.Rcode = dns.RcodeServerFailure }))
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	for what, first := range map[string]string{"silent": mute, "failing": failing, "gone": gone.Addr().String()} {
		u := servers(first, good)
		u.servers[0].try = 50 * time.Millisecond
		if _, err := u.ask(context.Background(), mailA); err != nil {
			t.Errorf("the first is %s: %v", what, err)
		}
		// One that says no is asked again, one that says nothing is not.
		if next := u.order()[0].addr; (next == good) != (what != "failing") {
			t.Errorf("the first is %s, the next question goes to %s", what, next)
		}
		u.close()
	}
	if asked.Load() == 0 {
		t.Error("the failing server was not asked")
	}
}

func TestAllServersFail(t *testing.T) {
	failing, _ := listen(t, changed(func(m *dns.Msg) { m.Rcode = dns.RcodeServerFailure }))
	u := servers(failing, failing)
	defer u.close()
	_, err := u.ask(context.Background(), mailA)
	var rcode *rcodeError
	if !errors.As(err, &rcode) || !strings.Contains(err.Error(), failing) {
		t.Errorf("%v", err)
	}
	if _, err := (upstreams{}).ask(context.Background(), mailA); err == nil {
		t.Error("nobody answered")
	}
}

// A caller without time left says nothing about a server.
func TestImpatienceIsNotSilence(t *testing.T) {
	mute, _ := listen(t, func(net.Conn, *dns.Msg, []byte) {})
	u := servers(mute)
	defer u.close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if _, err := u.ask(ctx, mailA); err == nil {
		t.Error("an answer from a silent server")
	}
	if u.servers[0].isDown() {
		t.Error("the server counts as silent")
	}
}

// several asks many questions at once, and returns how many had an answer.
func several(u upstreams, n int) (answers int, err error) {
	type result struct {
		q   question
		r   *reply
		err error
	}
	results := make(chan result)
	for i := range n {
		go func() {
			q := question{must(fmt.Sprintf("n%d.test.", i)), typeA}
			r, err := u.ask(context.Background(), q)
			results <- result{q, r, err}
		}()
	}
	for range n {
		got := <-results
		if got.err == nil && len(find(got.r.answer, got.q.name, typeA).data) == 1 {
			answers++
		} else {
			err = errors.Join(err, got.err)
		}
	}
	return answers, err
}

// Many questions are under way on one connection, and the server answers when
// it has an answer, in an order of its own.
func TestPipelining(t *testing.T) {
	const n = 50
	addr, conns := listen(t, gather(n, func(conn net.Conn, replies [][]byte) {
		var segment []byte
		for _, raw := range slices.Backward(replies) {
			segment = append(binary.BigEndian.AppendUint16(segment, uint16(len(raw))), raw...)
		}
		conn.Write(segment) // all in one
	}))
	u := servers(addr)
	defer u.close()
	if answers, err := several(u, n); answers != n {
		t.Errorf("%d answers (%v)", answers, err)
	}
	if n := conns.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

// gather is a peer that answers when it has so many questions.
func gather(n int, answer func(conn net.Conn, replies [][]byte)) peer {
	var replies [][]byte
	return func(conn net.Conn, _ *dns.Msg, raw []byte) {
		if replies = append(replies, raw); len(replies) == n {
			answer(conn, replies)
		}
	}
}

// Some servers answer one question, and hang up on those that follow.
func TestOneAnswerForEachConnection(t *testing.T) {
	addr, _ := listen(t, func(conn net.Conn, _ *dns.Msg, raw []byte) { write(conn, raw); conn.Close() })
	u := servers(addr)
	defer u.close()
	if answers, err := several(u, 6); answers != 6 {
		t.Errorf("%d answers (%v)", answers, err)
	}
}

// One that never answers does not keep anybody for longer than need be.
func TestNoAnswerOnAnyConnection(t *testing.T) {
	addr, conns := listen(t, func(conn net.Conn, _ *dns.Msg, _ []byte) { conn.Close() })
	u := servers(addr)
	defer u.close()
	if answers, _ := several(u, 6); answers != 0 {
		t.Errorf("%d answers", answers)
	}
	if n := conns.Load(); n > 12 {
		t.Errorf("%d connections for six questions", n)
	}
}

// A question that takes long holds up no other, and neither does one that
// nobody waits for any more.
func TestSlowAnswer(t *testing.T) {
	late := make(chan []byte, 1)
	addr, conns := listen(t, func(conn net.Conn, query *dns.Msg, raw []byte) {
		if query.Question[0].Name == "slow.test." {
			late <- raw
			return
		}
		write(conn, raw)
		select {
		case raw := <-late:
			write(conn, raw)
		default:
		}
	})
	u := servers(addr)
	defer u.close()
	ctx, cancel := context.WithCancel(context.Background())
	gone := make(chan error)
	go func() {
		_, err := u.ask(ctx, question{must("slow.test."), typeA})
		gone <- err
	}()
	for len(late) == 0 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("the slow one: %v", err)
	}
	for range 3 {
		if _, err := u.ask(context.Background(), mailA); err != nil {
			t.Error(err)
		}
	}
	if n := conns.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

// A server that answers others is not silent: the zone may be.
func TestUnansweredQuestion(t *testing.T) {
	addr, conns := listen(t, func(conn net.Conn, query *dns.Msg, raw []byte) {
		if query.Question[0].Name != "dead.test." {
			write(conn, raw)
		}
	})
	u := servers(addr)
	defer u.close()
	u.servers[0].try = 300 * time.Millisecond
	lost := make(chan error)
	go func() {
		_, err := u.ask(context.Background(), question{must("dead.test."), typeA})
		lost <- err
	}()
	for waiting := true; waiting; {
		select {
		case err := <-lost:
			if !errors.Is(err, errUnanswered) || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%v", err)
			}
			waiting = false
		default:
			if _, err := u.ask(context.Background(), mailA); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond)
		}
	}
	if u.servers[0].isDown() || conns.Load() != 1 {
		t.Errorf("down: %v, %d connections", u.servers[0].isDown(), conns.Load())
	}
}

// What a stranger's zone holds, and nobody can read, is not the server's fault.
func TestUnreadableReply(t *testing.T) {
	for what, p := range map[string]peer{
		"malformed": rawly(func(raw []byte) []byte { return raw[:len(raw)-3] }),
		"truncated": changed(func(m *dns.Msg) { m.Truncated = true }),
	} {
		addr, conns := listen(t, p)
		u := servers(addr)
		for range 3 {
			if _, err := u.ask(context.Background(), mailA); err == nil || !strings.Contains(err.Error(), what) {
				t.Errorf("%v", err)
			}
		}
		if u.servers[0].isDown() || conns.Load() != map[string]int32{"malformed": 3, "truncated": 1}[what] {
			t.Errorf("%s: down: %v, %d connections", what, u.servers[0].isDown(), conns.Load())
		}
		u.close()
	}
}

// What nobody asked for ends the connection, whatever else is on it.
func TestRepliesThatNobodyAskedFor(t *testing.T) {
	addr, conns := listen(t, func(conn net.Conn, _ *dns.Msg, raw []byte) {
		write(conn, raw)
		write(conn, raw)
	})
	u := servers(addr)
	defer u.close()
	if _, err := u.ask(context.Background(), mailA); err != nil {
		t.Error(err)
	}
	for u.servers[0].pipe.whole() {
		time.Sleep(time.Millisecond)
	}
	if _, err := u.ask(context.Background(), mailA); err != nil {
		t.Error(err)
	}
	if n := conns.Load(); n != 2 {
		t.Errorf("%d connections", n)
	}
}

// The whole way over TCP, with a stub between the sockets and the world.
func TestOverTCP(t *testing.T) {
	w := sound(t)
	addr := worldly(t, w, func(question, *dns.Msg) {})
	v, err := New(Options{Servers: []string{addr}, Anchors: w.anchors(), Now: func() time.Time { return noon }})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	a := v.Lookup(context.Background(), "a._smimecert.good.test", TypeSMIMEA)
	if a.Status != Secure || len(a.Data) != 1 || Present(TypeSMIMEA, a.Data[0]) != "3 0 0 aabb" {
		t.Errorf("%v %v (%v)", a.Status, a.Data, a.Why)
	}
}

// worldly serves a world, to those who ask over TCP.
func worldly(t *testing.T, w *world, change func(q question, m *dns.Msg)) (addr string) {
	addr, _ = listen(t, func(conn net.Conn, query *dns.Msg, _ []byte) {
		w.mu.Lock()
		q := question{must(query.Question[0].Name), query.Question[0].Qtype}
		m := w.answer(q)
		w.mu.Unlock()
		m.Id, m.Question = query.Id, query.Question
		change(q, m)
		raw, err := m.Pack()
		if err != nil {
			t.Error(err)
		}
		write(conn, raw)
	})
	return addr
}

// A server that leaves out signatures is named, and asked last from then on.
func TestServerWithoutSignatures(t *testing.T) {
	w := sound(t)
	stripping := worldly(t, w, strip)
	honest := worldly(t, w, func(question, *dns.Msg) {})
	for _, c := range []struct {
		servers []string
		status  Status
	}{
		{[]string{stripping}, Bogus},
		{[]string{stripping, honest}, Secure},
		{[]string{honest, stripping}, Secure},
		{[]string{stripping, stripping, honest}, Secure},
	} {
		v, err := New(Options{Servers: c.servers, Anchors: w.anchors(), Now: func() time.Time { return noon }})
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range []string{"mail.good.test.", "none.good.test.", "any.wild.nsec3.test."} {
			a := v.Lookup(context.Background(), n, typeA)
			if a.Status != c.status {
				t.Errorf("%s of %d servers: %v (%v)", n, len(c.servers), a.Status, a.Why)
			}
			want := ". DNSKEY: the server leaves out signatures: no answer of it can be proven (reply of " + stripping + ")"
			if a.Status == Bogus && a.Why.Error() != want {
				t.Errorf("%s: %v, want %s", n, a.Why, want)
			}
		}
		ups := v.views[0].(upstreams)
		if len(c.servers) > 1 && ups.order()[0].addr != honest {
			t.Errorf("of %v, %s is asked first", c.servers, ups.order()[0].addr)
		}
		v.Close()
	}
}
