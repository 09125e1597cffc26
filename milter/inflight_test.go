package milter

import (
	"context"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	mta "github.com/emersion/go-milter"

	"smimea.example/internal/gateway"
)

// One mail too many hears so at once, and its connection goes on.
func TestMailsAreLimited(t *testing.T) {
	h := serve(t, &Server{Mails: 1}, nil)
	first, second := h.dial(), h.dial()
	h.send(first)
	want(t, "connect")(second.Conn("client", mta.FamilyInet, 4711, "192.0.2.1"))
	act, err := second.Mail("alice@example.org", nil)
	if err != nil || act.SMTPCode != 451 || !strings.HasPrefix(act.SMTPText, "4.3.2 the encryption gateway has as many") {
		t.Fatalf("one mail too many: %v, %v, want 451 4.3.2", act, err)
	}
	if log := h.log.String(); !strings.Contains(log, `"from":"alice@example.org","recipients":[],"result":"deferred"`) || !strings.Contains(log, `"reply":"451 4.3.2 `) {
		t.Errorf("logged %s", log)
	}
	if _, act, err := first.End(); err != nil || act.Code != mta.ActAccept {
		t.Fatal(act, err)
	}
	want(t, "mail, when there is a place again")(second.Mail("alice@example.org", nil))
}

// Whatever becomes of a mail, its place is free for the next one.
func TestPlacesAreGivenBack(t *testing.T) {
	for name, spoil := range map[string]func(h *house, s *mta.ClientSession){
		"finished":        func(h *house, s *mta.ClientSession) { h.send(s); s.End() },
		"given up":        func(h *house, s *mta.ClientSession) { h.send(s); s.Abort() },
		"another mail":    func(h *house, s *mta.ClientSession) { h.send(s); s.Mail("alice@example.org", nil); s.Abort() },
		"connection lost": func(h *house, s *mta.ClientSession) { h.send(s); s.Close() },
	} {
		h := serve(t, &Server{Mails: 1, Load: new(Load)}, nil)
		spoil(h, h.dial())
		eventually(t, name+": a place", func() bool { s := h.dial(); act, err := whole(s); return err == nil && act.Code == mta.ActAccept })
	}
	for name, prepare := range map[string]func(m *fakeMail){
		"panic in begin": func(*fakeMail) { panic("begin") },
		"panic in end":   func(m *fakeMail) { m.end = func(context.Context) gateway.Verdict { panic("e") } },
		"late look-up": func(m *fakeMail) {
			m.recipient = func(context.Context, string) gateway.Reply { time.Sleep(50 * time.Millisecond); return accept }
		},
	} {
		var first sync.Once
		h := serve(t, &Server{Mails: 1, Recipient: 10 * time.Millisecond}, func(m *fakeMail) {
			first.Do(func() { prepare(m) })
		})
		s := h.dial()
		whole(s)
		s.Close()
		eventually(t, name+": a place", func() bool { s := h.dial(); act, err := whole(s); return err == nil && act.Code == mta.ActAccept })
	}
}

// eventually waits a little.
func eventually(t *testing.T, what string, good func() bool) {
	t.Helper()
	for range 100 {
		if good() {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("%s: not after two seconds", what)
}

// An MTA need not say that a mail is over which was turned away at its
// beginning; draining does not wait for it.
func TestDrainAfterOneMailTooMany(t *testing.T) {
	h := serve(t, &Server{Mails: 1, Drain: 5 * time.Second}, nil)
	first, second := h.dial(), h.dial()
	h.send(first)
	want(t, "connect")(second.Conn("client", mta.FamilyInet, 4711, "192.0.2.1"))
	if act, err := second.Mail("alice@example.org", nil); err != nil || act.SMTPCode != 451 {
		t.Fatal(act, err)
	}
	if _, act, err := first.End(); err != nil || act.Code != mta.ActAccept {
		t.Fatal(act, err)
	}
	start := time.Now()
	h.stop()
	if err := <-h.stopped; err != nil || time.Since(start) > time.Second {
		t.Errorf("Serve: %v, after %s", err, time.Since(start))
	}
	h.stopped <- nil
}

func TestLoad(t *testing.T) {
	load := new(Load)
	h := serve(t, &Server{Load: load}, nil)
	s := h.dial()
	if c, m := load.Connections(), load.Mails(); c != 1 || m != 0 {
		t.Errorf("connected: %d connections, %d mails", c, m)
	}
	h.send(s)
	if c, m := load.Connections(), load.Mails(); c != 1 || m != 1 {
		t.Errorf("a mail begun: %d connections, %d mails", c, m)
	}
	s.Close()
	eventually(t, "closed: nothing", func() bool { return load.Connections() == 0 && load.Mails() == 0 })
}

// Those who count hear of a mail once, and of nobody's address.
func TestSummary(t *testing.T) {
	got := make(chan Summary, 10)
	h := serve(t, &Server{Done: func(s Summary) { got <- s }}, func(m *fakeMail) {
		m.recipient = func(_ context.Context, a string) gateway.Reply {
			if a == "carol@example.com" {
				return refusal
			}
			return accept
		}
		m.end = func(context.Context) gateway.Verdict { return encrypted(strings.NewReader("MIIB")) }
		m.fates = []gateway.Fate{{Address: "bob@example.net", Outcome: "found", Reply: accept, Sent: "encrypted"}}
	})
	s := h.dial()
	want(t, "connect")(s.Conn("client", mta.FamilyInet, 4711, "192.0.2.1"))
	want(t, "mail")(s.Mail("", nil))
	want(t, "rcpt")(s.Rcpt("bob@example.net", nil))
	s.Rcpt("carol@example.com", nil)
	want(t, "end of header")(s.HeaderEnd())
	want(t, "body")(s.BodyChunk([]byte("Hello\r\n")))
	if _, _, err := s.End(); err != nil {
		t.Fatal(err)
	}
	s.Abort()
	s.Close()
	sum := <-got
	if sum.Took <= 0 {
		t.Errorf("it took %s", sum.Took)
	}
	sum.Took = 0
	wantSum := Summary{Result: "encrypted", In: 7, Out: 4, Recipients: []Recipient{{"found", accept, "encrypted"}, {"", refusal, ""}}}
	if !reflect.DeepEqual(sum, wantSum) {
		t.Errorf("%+v, want %+v", sum, wantSum)
	}
	select {
	case again := <-got:
		t.Errorf("told again: %+v", again)
	case <-time.After(50 * time.Millisecond):
	}
}

// A mail keeps the gateway with which it began, and leaves it once.
func TestGatewayOfTheMoment(t *testing.T) {
	passes := &gateway.Gateway{Rules: []gateway.Rule{{Recipients: []string{"*"}, Action: gateway.Never}}}
	defers := &gateway.Gateway{}
	var mu sync.Mutex
	now, name := passes, "passes"
	var seen []string
	note := func(what string) { mu.Lock(); seen = append(seen, what); mu.Unlock() }
	s := &Server{Enter: func() (*gateway.Gateway, func()) {
		g, n := now, name
		note("enter " + n)
		return g, func() { note("leave " + n) }
	}}
	l := listen(t)
	ctx, cancel := context.WithCancel(context.Background())
	stopped := make(chan error, 1)
	go func() { stopped <- s.Serve(ctx, l) }()
	h := &house{t: t, addr: l.Addr()}
	old, young := h.dial(), h.dial()
	want(t, "connect")(old.Conn("client", mta.FamilyInet, 4711, "192.0.2.1"))
	want(t, "mail")(old.Mail("alice@example.org", nil))
	now, name = defers, "defers"
	want(t, "rcpt, by the old gateway")(old.Rcpt("bob@example.net", nil))
	want(t, "connect")(young.Conn("client", mta.FamilyInet, 4711, "192.0.2.1"))
	want(t, "mail")(young.Mail("alice@example.org", nil))
	if act, err := young.Rcpt("bob@example.net", nil); err != nil || act.SMTPCode != 451 {
		t.Errorf("rcpt, by the new gateway: %v, %v", act, err)
	}
	want(t, "end of header")(old.HeaderEnd())
	want(t, "body")(old.BodyChunk([]byte("Hello\r\n")))
	if _, act, err := old.End(); err != nil || act.Code != mta.ActAccept {
		t.Errorf("the mail with the old gateway: %v, %v", act, err)
	}
	young.Close()
	old.Close()
	cancel()
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if want := []string{"enter passes", "enter defers", "leave passes", "leave defers"}; !slices.Equal(seen, want) {
		t.Errorf("%q, want %q", seen, want)
	}
}
