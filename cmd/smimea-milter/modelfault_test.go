package main_test

import (
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// A modelFault is what goes wrong in one try. The zero modelFault is nothing.
type modelFault struct {
	// At something in a session with the listener for copies: see tap.
	session int
	what    string
	how     handling // hold: the milter is killed then
	octets  int      // with no what: the line is cut behind so many,
	inbound bool     // of Postfix

	killAfter time.Duration // since the try began
	dnsDown   bool
}

func (f modelFault) kills() bool { return f.killAfter > 0 || f.how == hold }

func (f modelFault) String() string {
	switch {
	case f.killAfter > 0:
		return fmt.Sprintf("the milter is killed after %v", f.killAfter)
	case f.dnsDown:
		return "the DNS is down"
	case f.what != "":
		return fmt.Sprintf("session %d, %s: %s", f.session, f.what, [...]string{"passes", "the milter is killed", "the line is cut", "refused"}[f.how])
	case f.session > 0:
		return fmt.Sprintf("session %d is cut behind octet %d (of Postfix: %v)", f.session, f.octets, f.inbound)
	}
	return "nothing is wrong"
}

func (m *modelMail) newFault() (f modelFault) {
	r := m.r
	oneOf := func(all string) string {
		words := strings.Split(all, ",")
		return words[r.IntN(len(words))]
	}
	session := 1 + r.IntN(1+r.IntN(3))
	switch r.IntN(12) {
	case 0:
		return modelFault{}
	case 1, 2:
		return modelFault{killAfter: time.Duration(1+r.IntN(400)) * time.Millisecond}
	case 3, 4:
		return modelFault{session: session, how: hold, what: oneOf("EHLO,MAIL,RCPT,DATA,text,dot,dot,250 to the dot,250 to the dot,QUIT,QUIT")}
	case 5, 6:
		return modelFault{session: session, how: refuse, what: oneOf("MAIL,RCPT,DATA,dot,dot")}
	case 7, 8:
		return modelFault{session: session, how: cut, what: oneOf("220 to the greeting,EHLO,MAIL,250 to the MAIL,RCPT,DATA,354 to the DATA,text,dot,250 to the dot,250 to the dot,QUIT")}
	case 9:
		if r.IntN(3) == 0 {
			return modelFault{dnsDown: true}
		}
	}
	f = modelFault{session: session, inbound: r.IntN(2) == 0, octets: 1 + r.IntN(500)}
	if !f.inbound && r.IntN(2) == 0 {
		f.octets = 1 + r.IntN(len(m.body)+3000)
	}
	return f
}

// begin brings a fault about. The returned function puts everything right again,
// and says whether the fault has happened, and what copies there were.
func (m *modelMail) begin(f modelFault) (end func() (bool, []copySeen)) {
	var once sync.Once
	happened, dead := make(chan struct{}), make(chan struct{})
	happens := func() { once.Do(func() { close(happened) }) }
	kill := func() {
		happens()
		m.l.milter.Process.Kill()
		m.l.milter.Wait()
		close(dead)
	}
	m.l.copiesTap.set(func(session int, what string) handling {
		switch {
		case f.how == pass || session != f.session || what != f.what:
			return pass
		case f.how == hold: // the line is cut when the milter is dead
			kill()
			return cut
		}
		happens()
		return f.how
	})
	m.front.set(f, happens)
	m.dns.set(f.dnsDown)
	timer := time.NewTimer(time.Hour)
	if f.killAfter > 0 {
		timer = time.AfterFunc(f.killAfter, kill)
	}
	return func() (bool, []copySeen) {
		m.dns.set(false)
		stopped := timer.Stop()
		m.l.copiesTap.open.Wait() // what the milter has sent arrives after its death
		copies := m.l.copiesTap.seen()
		m.l.copiesTap.set(nil)
		switch {
		case f.killAfter > 0 && !stopped, f.how == hold && closed(happened):
			<-dead
			m.restart()
		}
		return closed(happened) || f.dnsDown, copies
	}
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func (m *modelMail) restart() {
	m.killed++
	m.l.startMilter(m.dns.address())
}

// A byteTap stands before the tap, and cuts a line behind any octet.
type byteTap struct {
	mu       sync.Mutex // guards what follows
	fault    modelFault
	happens  func()
	sessions int
}

// tapBytes puts a byteTap between the milter and the tap.
func (l *lab) tapBytes() *byteTap {
	l.t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { listener.Close() })
	b := &byteTap{happens: func() {}}
	behind := l.copiesTap.listener.Addr().String()
	l.rules = strings.Replace(l.rules, behind, listener.Addr().String(), 1)
	go relay(listener, behind, b.session)
	return b
}

func (b *byteTap) set(f modelFault, happens func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fault, b.happens, b.sessions = f, happens, 0
}

// session says how many octets of a new session may pass, in each direction.
func (b *byteTap) session() (out, in int64, cut func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sessions++
	const all = 1 << 40
	switch {
	case b.fault.session != b.sessions || b.fault.what != "" || b.fault.octets == 0:
		return all, all, func() {}
	case b.fault.inbound:
		return all, int64(b.fault.octets), b.happens
	}
	return int64(b.fault.octets), all, b.happens
}

// relay passes connections on to an address, each as far as it may.
func relay(listener net.Listener, address string, session func() (out, in int64, cut func())) {
	for {
		client, err := listener.Accept()
		if err != nil {
			return
		}
		out, in, cut := session()
		server, err := net.Dial("tcp", address)
		if err != nil || out == 0 {
			client.Close()
			continue
		}
		var both sync.WaitGroup
		pump := func(to, from net.Conn, n int64) {
			both.Go(func() {
				if _, err := io.CopyN(to, from, n); err == nil {
					cut()
				}
				client.Close()
				server.Close()
			})
		}
		pump(server, client, out)
		pump(client, server, in)
	}
}

// A modelDNS stands before the resolver, and may be down.
type modelDNS struct {
	listener net.Listener
	mu       sync.Mutex // guards what follows
	down     bool
	last     time.Time // when it was
}

func newModelDNS(t *testing.T, resolver string) *modelDNS {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	d := &modelDNS{listener: listener}
	go relay(listener, resolver, func() (out, in int64, cut func()) {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.down {
			return 0, 0, func() {}
		}
		return 1 << 40, 1 << 40, func() {}
	})
	return d
}

func (d *modelDNS) address() string { return d.listener.Addr().String() }

func (d *modelDNS) set(down bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.down && !down {
		d.last = time.Now()
	}
	d.down = down
}

// wasDown says that answers may still be missing: the gateway asks a resolver that
// failed only after 5 seconds again.
func (d *modelDNS) wasDown() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.down || time.Since(d.last) < 6*time.Second
}
