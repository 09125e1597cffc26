package milter

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	mta "github.com/emersion/go-milter"

	"smimea.example/internal/gateway"
)

// lastLine is what the log says of the mail, once it has ended.
func (h *house) lastLine() map[string]any {
	h.t.Helper()
	var last map[string]any
	eventually(h.t, "a line about the mail", func() bool {
		for line := range strings.Lines(h.log.String()) {
			var entry map[string]any
			if json.Unmarshal([]byte(line), &entry) == nil && entry["msg"] == "mail" {
				last = entry
			}
		}
		return last != nil
	})
	return last
}

// Whatever a gateway says or does, the MTA hears of nothing, and the log of
// everything.
func TestShadowLetsEverythingGoOn(t *testing.T) {
	for name, tt := range map[string]struct {
		prepare func(*fakeMail)
		result  string
		log     string // stands in it too
	}{
		"passed":             {func(*fakeMail) {}, "passed", `"size_out":0`},
		"refused at RCPT":    {func(m *fakeMail) { m.recipient = reply(refusal) }, "refused", `"reply":"550 5.7.5 `},
		"deferred at RCPT":   {func(m *fakeMail) { m.recipient = reply(delay) }, "deferred", `"reply":"451 4.7.5 `},
		"refused at headers": {func(m *fakeMail) { m.endHeader = func() gateway.Reply { return refusal } }, "refused", `"mode":"shadow","reply":"550 5.7.5 `},
		"refused at the end": {func(m *fakeMail) { m.end = verdict(gateway.Verdict{Reply: refusal}) }, "refused", `"mode":"shadow","reply":"550 5.7.5 `},
		"the zero verdict":   {func(m *fakeMail) { m.end = verdict(gateway.Verdict{}) }, "deferred", `"mode":"shadow"`},
		"encrypted":          {func(m *fakeMail) { m.end = verdict(encrypted(strings.NewReader("MIIB"))) }, "encrypted", `"size_out":4`},
		"in copies":          {func(m *fakeMail) { m.end = verdict(split(strings.NewReader("MIIB"))) }, "encrypted", `"size_out":4`},
		"for nobody":         {func(m *fakeMail) { m.end = verdict(gateway.Verdict{Reply: accept, Nobody: true}) }, "passed", `"size_out":0`},
		"half a body":        {func(m *fakeMail) { m.end = verdict(encrypted(iotest.ErrReader(errors.New("spool lost")))) }, "abandoned", "spool lost"},
		"no new body":        {func(m *fakeMail) { m.end = verdict(encrypted(strings.NewReader(""))) }, "abandoned", "an empty body"},
		"a fault": {func(m *fakeMail) {
			m.end = verdict(gateway.Verdict{Reply: delay, Fault: errors.New("wrong length")})
		}, "deferred", "wrong length"},
		"a body that got lost": {func(m *fakeMail) { m.write = func([]byte) (int, error) { return 0, errors.New("no space") } }, "abandoned", "without its whole body"},
		"too slow at RCPT": {func(m *fakeMail) {
			m.recipient = func(ctx context.Context, _ string) gateway.Reply {
				<-ctx.Done()
				time.Sleep(50 * time.Millisecond)
				return accept
			}
		}, "deferred", "451 4.4.3 "},
		"too slow at the end": {func(m *fakeMail) {
			m.end = func(ctx context.Context) gateway.Verdict { <-ctx.Done(); return gateway.Verdict{Reply: delay} }
		}, "deferred", `"mode":"shadow"`},
		"panic in recipient":    {func(m *fakeMail) { m.recipient = func(context.Context, string) gateway.Reply { panic("r") } }, "deferred", `"panic":"r"`},
		"panic in the header":   {func(m *fakeMail) { m.endHeader = func() gateway.Reply { panic("h") } }, "abandoned", `"panic":"h"`},
		"panic in the body":     {func(m *fakeMail) { m.write = func([]byte) (int, error) { panic("w") } }, "abandoned", `"panic":"w"`},
		"panic at the end":      {func(m *fakeMail) { m.end = func(context.Context) gateway.Verdict { panic("e") } }, "abandoned", `"panic":"e"`},
		"panic in the new body": {func(m *fakeMail) { m.end = verdict(encrypted(panicReader{})) }, "abandoned", `"panic":"read"`},
	} {
		t.Run(name, func(t *testing.T) {
			h := serve(t, &Server{Shadow: true, Recipient: 30 * time.Millisecond, End: 50 * time.Millisecond}, tt.prepare)
			s := h.dial()
			for range 2 { // the connection goes on
				h.send(s, "Subject", " x", "Bcc", " carol@example.com")
				changes, act, err := s.End()
				if err != nil || act.Code != mta.ActAccept || len(changes) > 0 {
					t.Fatalf("the MTA heard %v, %v, and changes %v", act, err, changes)
				}
			}
			line := h.lastLine()
			if line["result"] != tt.result || line["mode"] != "shadow" || !strings.Contains(h.log.String(), tt.log) {
				t.Errorf("want result %s and %s in\n%s", tt.result, tt.log, h.log.String())
			}
			mishap := tt.result == "abandoned" || strings.Contains(tt.log, "panic")
			if told := strings.Contains(h.log.String(), "so that the mail goes on"); told != mishap {
				t.Errorf("a mishap: %v, want %v, in\n%s", told, mishap, h.log.String())
			}
			if m := <-h.mails; m.closes() != 1 {
				t.Errorf("closed %d times", m.closes())
			}
		})
	}
}

func reply(r gateway.Reply) func(context.Context, string) gateway.Reply {
	return func(context.Context, string) gateway.Reply { return r }
}

func verdict(v gateway.Verdict) func(context.Context) gateway.Verdict {
	return func(context.Context) gateway.Verdict { return v }
}

func split(body io.Reader) gateway.Verdict {
	v := encrypted(body)
	v.Removes = []string{"carol@example.com"}
	return v
}

// A panic before there is a mail costs the line in the log.
func TestShadowOfAMailThatDidNotBegin(t *testing.T) {
	h := serve(t, &Server{Shadow: true}, func(*fakeMail) { panic("begin") })
	if act, err := whole(h.dial()); err != nil || act.Code != mta.ActAccept {
		t.Errorf("%v, %v", act, err)
	}
	if log := h.log.String(); !strings.Contains(log, `"panic":"begin"`) {
		t.Errorf("logged %s", log)
	}
}

// One mail too many goes on, too.
func TestShadowOfTooManyMails(t *testing.T) {
	h := serve(t, &Server{Shadow: true, Mails: 1}, nil)
	h.send(h.dial())
	if act, err := whole(h.dial()); err != nil || act.Code != mta.ActAccept {
		t.Errorf("%v, %v", act, err)
	}
	if line := h.lastLine(); line["result"] != "deferred" || line["mode"] != "shadow" {
		t.Errorf("logged %v", line)
	}
}

// What comes out of its order is not understood, and goes on.
func TestShadowOutOfOrder(t *testing.T) {
	h := serve(t, &Server{Shadow: true}, nil)
	s := h.dial()
	if act, err := s.Rcpt("bob@example.net", nil); err != nil || act.Code != mta.ActContinue {
		t.Errorf("recipient without a sender: %v, %v", act, err)
	}
	want(t, "mail")(s.Mail("alice@example.org", nil))
	if _, act, err := s.End(); err != nil || act.Code != mta.ActAccept {
		t.Errorf("end without a header: %v, %v", act, err)
	}
	h.good()
}

// Recipients are looked at one by one: some would have been turned away, and the
// mail gone on to the others.
func TestShadowOfSomeRecipients(t *testing.T) {
	h := serve(t, &Server{Shadow: true}, func(m *fakeMail) {
		m.recipient = func(_ context.Context, a string) gateway.Reply {
			if a == "carol@example.com" {
				return refusal
			}
			return accept
		}
		m.fates = []gateway.Fate{{Address: "bob@example.net", Reply: accept, Sent: "encrypted", Copy: 1}, {Address: "carol@example.com", Reply: refusal}}
		m.end = verdict(split(strings.NewReader("MIIB")))
	})
	s := h.dial()
	want(t, "connect")(s.Conn("client", mta.FamilyInet, 4711, "192.0.2.1"))
	want(t, "mail")(s.Mail("alice@example.org", nil))
	want(t, "one who would be refused")(s.Rcpt("carol@example.com", nil))
	want(t, "rcpt")(s.Rcpt("bob@example.net", nil))
	want(t, "end of header")(s.HeaderEnd())
	want(t, "body")(s.BodyChunk([]byte("Hello\r\n")))
	if changes, act, err := s.End(); err != nil || act.Code != mta.ActAccept || len(changes) > 0 {
		t.Fatalf("%v, %v, %v", changes, act, err)
	}
	line := h.lastLine()
	wantTo := []any{
		map[string]any{"to": "bob@example.net", "reply": "ok", "sent": "encrypted", "copy": 1.0},
		map[string]any{"to": "carol@example.com", "reply": "550 5.7.5 " + refusal.Text},
	}
	if line["result"] != "encrypted" || !reflect.DeepEqual(line["recipients"], wantTo) {
		t.Errorf("logged %v", line)
	}
}

// Nothing waits in a maildrop, so that nobody need be warned.
func TestShadowOfPickup(t *testing.T) {
	h := serve(t, &Server{Shadow: true}, func(m *fakeMail) {
		m.recipient, m.end = reply(delay), verdict(gateway.Verdict{Reply: delay})
	})
	s := h.dial()
	want(t, "connect")(s.Conn("localhost", mta.FamilyInet, 0, "127.0.0.1"))
	h.begin(s)
	if _, act, err := s.End(); err != nil || act.Code != mta.ActAccept {
		t.Errorf("%v, %v", act, err)
	}
	if line := h.lastLine(); line["result"] != "deferred" || line["level"] != "INFO" {
		t.Errorf("logged %v", line)
	}
}

// The MTA's own copies are let through.
func TestShadowLetsCopiesPass(t *testing.T) {
	h := serve(t, &Server{Shadow: true}, nil)
	conn, err := net.Dial("tcp", h.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, hello+frame('C', "localhost\x004\x10\x92127.0.0.1\x00")+frame('D', "M{daemon_name}\x00"+ResubmitDaemon+"\x00")+frame('M', "alice@example.org\x00")+frame('Q', ""))
	answers, err := io.ReadAll(conn)
	if err != nil || !strings.HasSuffix(string(answers), "a") {
		t.Errorf("%q, %v", answers, err)
	}
	if len(h.mails) > 0 {
		t.Error("the gateway was asked")
	}
}
