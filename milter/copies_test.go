package milter

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	mta "github.com/emersion/go-milter"

	"smimea.example/internal/gateway"
)

// Those who get copies of their own are taken off the mail, before it is changed.
func TestRecipientsAreTakenOff(t *testing.T) {
	h := serve(t, &Server{}, func(m *fakeMail) {
		m.end = func(context.Context) gateway.Verdict {
			v := encrypted(strings.NewReader("MIIB"))
			v.Removes = []string{"carol@example.com", "root"}
			return v
		}
	})
	s := h.dial()
	h.send(s)
	changes, act, err := s.End()
	if err != nil || act.Code != mta.ActAccept {
		t.Fatal(act, err)
	}
	var removed []string
	for i, c := range changes {
		if c.Code != mta.ActDelRcpt {
			continue
		}
		removed = append(removed, c.Rcpt)
		if i != len(removed)-1 {
			t.Errorf("%s comes behind %d other changes", c.Rcpt, i)
		}
	}
	if want := []string{"<carol@example.com>", "<root>"}; !slices.Equal(removed, want) {
		t.Errorf("%q are taken off, want %q", removed, want)
	}
}

// A mail in clear may lose a field and a recipient, and keeps its body.
func TestChangedInClear(t *testing.T) {
	h := serve(t, &Server{}, func(m *fakeMail) {
		m.end = func(context.Context) gateway.Verdict {
			return gateway.Verdict{Reply: accept, Replaces: []string{"X-Encryption"}, Removes: []string{"carol@example.com"}}
		}
	})
	s := h.dial()
	h.send(s, "X-Encryption", " off")
	changes, act, err := s.End()
	if err != nil || act.Code != mta.ActAccept || len(changes) != 2 {
		t.Fatal(act, err, changes)
	}
	if c := changes[1]; c.Code != mta.ActChangeHeader || c.HeaderName != "X-Encryption" || c.HeaderValue != "" {
		t.Errorf("%+v", c)
	}
}

// A mail that everybody has got by copies is for nobody.
func TestMailForNobody(t *testing.T) {
	h := serve(t, &Server{}, func(m *fakeMail) {
		m.end = func(context.Context) gateway.Verdict { return gateway.Verdict{Reply: accept, Nobody: true} }
	})
	s := h.dial()
	h.send(s)
	if changes, act, err := s.End(); err != nil || act.Code != mta.ActDiscard || len(changes) != 0 {
		t.Errorf("%v, %v, %d changes", act, err, len(changes))
	}
}

// The gateway hears that a mail is over when the MTA goes on, and hears nothing
// if the MTA has died.
func TestAccepted(t *testing.T) {
	for _, tt := range []struct {
		name string
		next func(h *house, s *mta.ClientSession, conn net.Conn)
		want int
	}{
		{"the next mail", func(h *house, s *mta.ClientSession, _ net.Conn) { s.Mail("alice@example.org", nil) }, 1},
		{"an abort, as Postfix sends", func(h *house, s *mta.ClientSession, _ net.Conn) { s.Abort() }, 1},
		{"a good-bye, as Sendmail sends", func(h *house, s *mta.ClientSession, _ net.Conn) { s.Close() }, 1},
		{"our own end", func(h *house, _ *mta.ClientSession, _ net.Conn) { h.stop(); h.stopped <- <-h.stopped }, 1},
		{"our own impatience", func(_ *house, _ *mta.ClientSession, _ net.Conn) { time.Sleep(300 * time.Millisecond) }, 1},
		{"nothing", func(_ *house, _ *mta.ClientSession, conn net.Conn) { conn.Close() }, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := serve(t, &Server{Idle: 200 * time.Millisecond}, nil)
			dialer := &keepingDialer{}
			s, err := mta.NewClientWithOptions("tcp", h.addr.String(), mta.ClientOptions{
				Dialer: dialer, ReadTimeout: 2 * time.Second, WriteTimeout: 2 * time.Second, ActionMask: 0x1ff, ProtocolMask: 0x1fffff,
			}).Session()
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			h.send(s)
			m := <-h.mails
			if _, act, err := s.End(); err != nil || act.Code != mta.ActAccept {
				t.Fatal(act, err)
			}
			if n := m.acceptances(); n != 0 {
				t.Errorf("it was told so %d times before the MTA went on", n)
			}
			tt.next(h, s, dialer.conn)
			for end := time.Now().Add(2 * time.Second); m.acceptances() < tt.want && time.Now().Before(end); {
				time.Sleep(5 * time.Millisecond)
			}
			time.Sleep(20 * time.Millisecond)
			if n := m.acceptances(); n != tt.want {
				t.Errorf("it was told so %d times, want %d", n, tt.want)
			}
		})
	}
}

// When we lose patience the connection ends, and what is left of a frame that came
// in part is not taken for one.
func TestImpatienceEnds(t *testing.T) {
	for _, piece := range []string{"", "\x00\x00\x00", frame('D', "M")[:5]} {
		h := serve(t, &Server{Idle: 100 * time.Millisecond, Frame: 100 * time.Millisecond}, nil)
		dialer := &keepingDialer{}
		s, err := mta.NewClientWithOptions("tcp", h.addr.String(), mta.ClientOptions{
			Dialer: dialer, ReadTimeout: 2 * time.Second, WriteTimeout: 2 * time.Second, ActionMask: 0x1ff, ProtocolMask: 0x1fffff,
		}).Session()
		if err != nil {
			t.Fatal(err)
		}
		h.send(s)
		if _, act, err := s.End(); err != nil || act.Code != mta.ActAccept {
			t.Fatal(act, err)
		}
		io.WriteString(dialer.conn, piece)
		time.Sleep(150 * time.Millisecond)
		io.WriteString(dialer.conn, frame('M', "<mallory@example.org>\x00"))
		dialer.conn.SetReadDeadline(time.Now().Add(time.Second))
		if n, err := dialer.conn.Read(make([]byte, 100)); n > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("behind %q: %d octets, %v", piece, n, err)
		}
		if len(h.mails) != 1 {
			t.Errorf("behind %q: a mail was begun", piece)
		}
		dialer.conn.Close()
	}
}

type keepingDialer struct{ conn net.Conn }

func (d *keepingDialer) Dial(network, address string) (conn net.Conn, err error) {
	d.conn, err = net.Dial(network, address)
	return d.conn, err
}

func (m *fakeMail) acceptances() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.accepted
}

func (m *fakeMail) losses() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.lost
}

// A refused mail comes again.
func TestRefusedIsNotAccepted(t *testing.T) {
	h := serve(t, &Server{}, func(m *fakeMail) {
		m.end = func(context.Context) gateway.Verdict { return gateway.Verdict{Reply: delay} }
	})
	s := h.dial()
	h.send(s)
	m := <-h.mails
	s.End()
	s.Mail("alice@example.org", nil)
	if n := m.acceptances(); n != 0 {
		t.Errorf("it was told so %d times", n)
	}
}

// What comes back by the listener for copies is not judged again. Its name is the
// MTA's to give, and where it has given it to a listener for all the world that helps
// nobody from outside.
func TestCopiesPass(t *testing.T) {
	for _, tt := range []struct {
		address string
		family  mta.ProtoFamily
		passes  bool
	}{
		{"127.0.0.1", mta.FamilyInet, true},
		{"::1", mta.FamilyInet6, true},
		{"192.0.2.1", mta.FamilyInet, false},
	} {
		h := serve(t, &Server{}, nil)
		s := h.dial()
		if err := s.Macros(mta.CodeConn, "{daemon_name}", ResubmitDaemon); err != nil {
			t.Fatal(err)
		}
		want(t, "connect")(s.Conn("localhost", tt.family, 4711, tt.address))
		act, err := s.Mail("alice@example.org", nil)
		if err != nil || (act.Code == mta.ActAccept) != tt.passes {
			t.Errorf("%s: %v, %v", tt.address, act, err)
		}
		if heard := len(h.mails) > 0; heard == tt.passes || strings.Contains(h.log.String(), `"msg":"mail"`) {
			t.Errorf("%s: the gateway heard of it: %v", tt.address, heard)
		}
		h.good()
	}
}
