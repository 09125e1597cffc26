package milter

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	mta "github.com/emersion/go-milter"

	"smimea.example/internal/gateway"
)

// Where the new body fails, nothing has been sent, whatever was to be.
func TestLogOfABrokenMail(t *testing.T) {
	h := serve(t, &Server{}, func(m *fakeMail) {
		m.end = func(context.Context) gateway.Verdict { return encrypted(iotest.ErrReader(errors.New("spool lost"))) }
		m.fates = []gateway.Fate{{Address: "bob@example.net", Reply: accept, Sent: "encrypted"}}
	})
	s := h.dial()
	h.send(s)
	s.End()
	(<-h.mails).closes() // it is logged by then
	if log := h.log.String(); strings.Contains(log, `"sent"`) || !strings.Contains(log, `"result":"abandoned"`) || !strings.Contains(log, "spool lost") {
		t.Errorf("logged:\n%s", log)
	}
}

// What became of a mail that did not come to its end.
func TestResultWithoutAnEnd(t *testing.T) {
	for _, tt := range []struct {
		name   string
		pickup bool
		to     []gateway.Reply
		want   string
	}{
		{"nobody was named", false, nil, "abandoned"},
		{"one was refused", false, []gateway.Reply{refusal}, "refused"},
		{"all were refused", false, []gateway.Reply{refusal, refusal}, "refused"},
		{"one was deferred", false, []gateway.Reply{refusal, delay, refusal}, "deferred"},
		{"the zero reply", false, []gateway.Reply{{}}, "deferred"},
		{"one was accepted", false, []gateway.Reply{refusal, accept, delay}, "abandoned"},
		{"pickup, which has heard nothing yet", true, []gateway.Reply{refusal}, "abandoned"},
	} {
		r := record{sender: gateway.Sender{Pickup: tt.pickup}}
		for _, reply := range tt.to {
			r.fates = append(r.fates, gateway.Fate{Reply: reply})
		}
		if got := r.result(); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

// Nobody else hears of a mail that waits in the maildrop.
func TestDeferredPickupIsWarnedOf(t *testing.T) {
	for _, tt := range []struct {
		name   string
		pickup bool
		reply  gateway.Reply
		want   slog.Level
	}{
		{"pickup, deferred", true, delay, slog.LevelWarn},
		{"pickup, refused", true, refusal, slog.LevelInfo},
		{"pickup, passed", true, accept, slog.LevelInfo},
		{"a client, deferred", false, delay, slog.LevelInfo},
	} {
		var out bytes.Buffer
		r := record{sender: gateway.Sender{Pickup: tt.pickup}, reply: &tt.reply}
		r.log(slog.New(slog.NewJSONHandler(&out, nil)))
		if !strings.Contains(out.String(), `"level":"`+tt.want.String()+`"`) {
			t.Errorf("%s: %s", tt.name, out.String())
		}
	}
}

// The line's keys are an interface.
func TestLogLine(t *testing.T) {
	h := serve(t, &Server{}, func(m *fakeMail) {
		m.recipient = func(_ context.Context, a string) gateway.Reply {
			if a == "carol@example.com" {
				return refusal
			}
			return accept
		}
		m.end = func(context.Context) gateway.Verdict { return encrypted(strings.NewReader("MIIB")) }
		m.fates = []gateway.Fate{{Address: "bob@example.net", Rule: "require", Outcome: "found", Reply: accept, Why: errors.New("pinned")}}
	})
	s := h.dial()
	want(t, "connect")(s.Conn("client.example.org", mta.FamilyInet, 4711, "192.0.2.1"))
	want(t, "mail")(s.Mail("", nil))
	s.Macros(mta.CodeRcpt, "i", "4FxyzQ")
	want(t, "rcpt")(s.Rcpt("bob@example.net", nil))
	s.Rcpt("carol@example.com", nil)
	want(t, "end of header")(s.HeaderEnd())
	want(t, "body")(s.BodyChunk([]byte("Hello\r\n")))
	if _, _, err := s.End(); err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal([]byte(h.log.String()), &got); err != nil {
		t.Fatal(err)
	}
	delete(got, "time")
	delete(got, "took_ms")
	wantLine := map[string]any{
		"level": "INFO", "msg": "mail", "queue_id": "4FxyzQ", "client": "client.example.org[192.0.2.1]",
		"pickup": false, "from": "", "result": "encrypted", "size_in": 7.0, "size_out": 4.0,
		"recipients": []any{
			map[string]any{"to": "bob@example.net", "reply": "ok", "rule": "require", "outcome": "found", "why": "pinned"},
			map[string]any{"to": "carol@example.com", "reply": "550 5.7.5 bob@example.net has published no certificate; ask for one"},
		},
	}
	if !reflect.DeepEqual(got, wantLine) {
		t.Errorf("logged\n%v, want\n%v", got, wantLine)
	}
}
