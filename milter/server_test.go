package milter

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	mta "github.com/emersion/go-milter"

	"smimea.example/internal/gateway"
	"smimea.example/internal/message"
)

// fakeMail stands in for the gateway's. What a test does not set accepts.
type fakeMail struct {
	sender    gateway.Sender
	recipient func(ctx context.Context, address string) gateway.Reply
	endHeader func() gateway.Reply
	write     func(p []byte) (int, error)
	end       func(ctx context.Context) gateway.Verdict
	fates     []gateway.Fate

	mu     sync.Mutex // guards what follows
	fields message.Header
	body   bytes.Buffer
	closed int

	accepted, lost int // how often it was told so
}

var accept = gateway.Reply{Action: gateway.Accept}

func (m *fakeMail) Recipient(ctx context.Context, to gateway.Rcpt) gateway.Reply {
	if m.recipient != nil {
		return m.recipient(ctx, to.Address)
	}
	return accept
}

func (m *fakeMail) Header(f message.Field) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fields = append(m.fields, f)
}

func (m *fakeMail) EndHeader(string) gateway.Reply {
	if m.endHeader != nil {
		return m.endHeader()
	}
	return accept
}

func (m *fakeMail) Write(p []byte) (int, error) {
	if m.write != nil {
		return m.write(p)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.body.Write(p)
}

func (m *fakeMail) End(ctx context.Context, _ string) gateway.Verdict {
	v := gateway.Verdict{Reply: accept}
	if m.end != nil {
		v = m.end(ctx)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if v.Encrypted {
		v.Replaces = m.fields.Replaced()
	}
	return v
}

func (m *fakeMail) Accepted() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.accepted++
	return nil
}

func (m *fakeMail) Lost() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lost++
}

func (m *fakeMail) Fates() []gateway.Fate { return m.fates }

func (m *fakeMail) Close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed++
}

// A house is a running server with fake mails behind it.
type house struct {
	t       *testing.T
	addr    net.Addr
	log     syncBuffer
	stop    context.CancelFunc
	stopped chan error
	mails   chan *fakeMail
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// serve starts a server. prepare, if not nil, is given each new mail.
func serve(t *testing.T, s *Server, prepare func(*fakeMail)) *house {
	t.Helper()
	l := listen(t)
	h := &house{t: t, addr: l.Addr(), stopped: make(chan error, 1), mails: make(chan *fakeMail, 10000)}
	s.Log = slog.New(slog.NewJSONHandler(&h.log, nil))
	s.begin = func(from gateway.Sender) mail {
		m := &fakeMail{sender: from}
		if prepare != nil {
			prepare(m)
		}
		h.mails <- m
		return m
	}
	ctx, cancel := context.WithCancel(context.Background())
	h.stop = cancel
	go func() { h.stopped <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-h.stopped:
			h.stopped <- err
		case <-time.After(10 * time.Second):
			t.Error("the server does not stop")
		}
	})
	return h
}

// dial opens a session as Postfix does: version 6, everything offered.
func (h *house) dial() *mta.ClientSession {
	h.t.Helper()
	s, err := h.offer(0x1ff, 0x1fffff)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { s.Close() })
	return s
}

func (h *house) offer(actions mta.OptAction, protocol mta.OptProtocol) (*mta.ClientSession, error) {
	return mta.NewClientWithOptions("tcp", h.addr.String(), mta.ClientOptions{
		ReadTimeout: 2 * time.Second, WriteTimeout: 2 * time.Second,
		ActionMask: actions, ProtocolMask: protocol,
	}).Session()
}

// send sends a small mail over s, up to and without its end.
func (h *house) send(s *mta.ClientSession, header ...string) {
	h.t.Helper()
	want(h.t, "connect")(s.Conn("client.example.org", mta.FamilyInet, 4711, "192.0.2.1"))
	h.begin(s, header...)
}

func (h *house) begin(s *mta.ClientSession, header ...string) {
	h.t.Helper()
	want(h.t, "mail")(s.Mail("alice@example.org", nil))
	want(h.t, "rcpt")(s.Rcpt("bob@example.net", nil))
	for i := 0; i+1 < len(header); i += 2 {
		want(h.t, "header")(s.HeaderField(header[i], header[i+1]))
	}
	want(h.t, "end of header")(s.HeaderEnd())
	want(h.t, "body")(s.BodyChunk([]byte("Hello\r\n")))
}

// want fails unless the milter says "continue".
func want(t *testing.T, what string) func(*mta.Action, error) {
	return func(act *mta.Action, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if act.Code != mta.ActContinue {
			t.Fatalf("%s: %c %d %s, want continue", what, act.Code, act.SMTPCode, act.SMTPText)
		}
	}
}

// A good mail goes through: whatever happened before.
func (h *house) good() {
	h.t.Helper()
	s, err := h.offer(0x1ff, 0x1fffff)
	if err != nil {
		h.t.Fatalf("a good mail: %v", err)
	}
	defer s.Close()
	h.send(s)
	if _, act, err := s.End(); err != nil || act.Code != mta.ActAccept {
		h.t.Fatalf("a good mail: %v, %v", act, err)
	}
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func TestNegotiation(t *testing.T) {
	h := serve(t, &Server{}, nil)
	for _, tt := range []struct {
		name     string
		actions  mta.OptAction
		protocol mta.OptProtocol
		ok       bool
	}{
		{"Postfix and Sendmail", 0x1ff, 0x1fffff, true},
		{"just what is needed", mta.OptAddHeader | mta.OptChangeHeader | mta.OptChangeBody | mta.OptRemoveRcpt, mta.OptHeaderLeadingSpace, true},
		{"no leading space", 0x1ff, 0xfffff, false},
		{"no change of the recipients", mta.OptAddHeader | mta.OptChangeHeader | mta.OptChangeBody, 0x1fffff, false},
		{"no change of the body", mta.OptAddHeader | mta.OptChangeHeader, 0x1fffff, false},
		{"nothing", 0, 0, false},
	} {
		s, err := h.offer(tt.actions, tt.protocol)
		if (err == nil) != tt.ok {
			t.Errorf("%s: %v, want ok = %v", tt.name, err, tt.ok)
		}
		if err != nil {
			continue
		}
		if s.ProtocolOpts&(mta.OptNoData|mta.OptNoDataReply) != 0 {
			t.Errorf("%s: asked for no DATA, which is slow over TCP", tt.name)
		}
		if s.ProtocolOpts&^tt.protocol != 0 {
			t.Errorf("%s: asked for %b, which was not offered", tt.name, s.ProtocolOpts&^tt.protocol)
		}
		s.Close()
	}
}

func TestDrainClosesIdleConnections(t *testing.T) {
	h := serve(t, &Server{}, nil)
	s := h.dial()
	h.send(s)
	if _, act, err := s.End(); err != nil || act.Code != mta.ActAccept {
		t.Fatal(act, err)
	}
	start := time.Now()
	h.stop()
	if err := <-h.stopped; err != nil {
		t.Errorf("Serve: %v", err)
	}
	h.stopped <- nil
	if d := time.Since(start); d > time.Second {
		t.Errorf("took %s with an idle connection", d)
	}
	if _, err := s.Mail("alice@example.org", nil); err == nil {
		t.Error("a mail was begun at a server that has stopped")
	}
}

func TestDrainFinishesMailsInFlight(t *testing.T) {
	h := serve(t, &Server{}, nil)
	s := h.dial()
	h.send(s)
	h.stop()
	time.Sleep(50 * time.Millisecond)
	if _, err := h.offer(0x1ff, 0x1fffff); err == nil {
		t.Error("a new connection was taken")
	}
	want(t, "body while draining")(s.BodyChunk([]byte("more\r\n")))
	if _, act, err := s.End(); err != nil || act.Code != mta.ActAccept {
		t.Fatalf("end of message while draining: %v, %v", act, err)
	}
	if _, err := s.Mail("alice@example.org", nil); err == nil {
		t.Error("a second mail was begun while draining")
	}
	if err := <-h.stopped; err != nil {
		t.Errorf("Serve: %v", err)
	}
	h.stopped <- nil
}

// MTAs do not always say that a mail has been given up; the next one is too
// many then.
func TestDrainTakesNoMailBehindOneGivenUp(t *testing.T) {
	h := serve(t, &Server{Drain: time.Second}, nil)
	s := h.dial()
	h.send(s)
	h.stop()
	time.Sleep(50 * time.Millisecond)
	if act, err := s.Mail("alice@example.org", nil); err == nil {
		t.Errorf("a second mail was begun while draining: %c", act.Code)
	}
	if err := <-h.stopped; err != nil {
		t.Errorf("Serve: %v", err)
	}
	h.stopped <- nil
}

// A connection may be accepted at the very moment when none is to be.
func TestDrainClosesWhatComesLate(t *testing.T) {
	g := newGuard(1, time.Minute, time.Minute, slog.New(slog.DiscardHandler))
	g.drain()
	ours, theirs := net.Pipe()
	g.slots <- struct{}{}
	defer g.take(ours).Close()
	theirs.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := theirs.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the connection stays open: %v", err)
	}
}

func TestDrainIsBounded(t *testing.T) {
	h := serve(t, &Server{Drain: 100 * time.Millisecond}, nil)
	s := h.dial()
	h.send(s)
	h.stop()
	if err := <-h.stopped; err == nil {
		t.Error("no word about the mail that was broken off")
	}
	h.stopped <- nil
	if _, _, err := s.End(); err == nil {
		t.Error("the mail was answered after all")
	}
	if m := <-h.mails; m.closes() != 1 {
		t.Errorf("the mail was closed %d times", m.closes())
	}
}

// closes waits a little for the mail to be closed.
func (m *fakeMail) closes() int {
	for range 100 {
		m.mu.Lock()
		n := m.closed
		m.mu.Unlock()
		if n > 0 {
			return n
		}
		time.Sleep(10 * time.Millisecond)
	}
	return 0
}

func TestConnectionsAreLimited(t *testing.T) {
	h := serve(t, &Server{Connections: 1}, nil)
	first := h.dial()
	done := make(chan struct{})
	go func() {
		defer close(done)
		h.good()
	}()
	select {
	case <-done:
		t.Fatal("a second connection was served")
	case <-time.After(100 * time.Millisecond):
	}
	first.Close()
	<-done
}

// A listener to which nobody comes takes no place from the others.
func TestQuietListener(t *testing.T) {
	g := newGuard(1, time.Minute, time.Minute, slog.New(slog.DiscardHandler))
	quiet, busy := listen(t), listen(t)
	defer busy.Close()
	var waiting sync.WaitGroup
	waiting.Go(func() { g.listen(quiet).Accept() })
	defer waiting.Wait()
	defer quiet.Close()
	time.Sleep(50 * time.Millisecond) // it waits by now

	client, err := net.Dial("tcp", busy.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	defer time.AfterFunc(5*time.Second, g.drain).Stop()
	conn, err := g.listen(busy).Accept()
	if err != nil {
		t.Fatalf("no place for the connection: %v", err)
	}
	conn.Close()
}

// serveFuzz starts a server for a fuzz target and returns its address.
func serveFuzz(f *testing.F) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		f.Fatal(err)
	}
	s := &Server{
		Log:   slog.New(slog.DiscardHandler),
		begin: func(from gateway.Sender) mail { return &fakeMail{sender: from} },
	}
	ctx, cancel := context.WithCancel(context.Background())
	stopped := make(chan error, 1)
	go func() { stopped <- s.Serve(ctx, l) }()
	f.Cleanup(func() {
		cancel()
		<-stopped
	})
	return l.Addr().String()
}
