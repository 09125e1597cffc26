package milter

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	mta "github.com/emersion/go-milter"

	"smimea.example/internal/gateway"
)

func TestSignsOfLife(t *testing.T) {
	h := serve(t, &Server{progress: 20 * time.Millisecond}, func(m *fakeMail) {
		m.end = func(context.Context) gateway.Verdict {
			time.Sleep(400 * time.Millisecond)
			return gateway.Verdict{Reply: accept}
		}
	})
	s, err := mta.NewClientWithOptions("tcp", h.addr.String(), mta.ClientOptions{
		ReadTimeout: 200 * time.Millisecond, ActionMask: 0x1ff, ProtocolMask: 0x1fffff,
	}).Session()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	h.send(s)
	if _, act, err := s.End(); err != nil || act.Code != mta.ActAccept {
		t.Error(act, err)
	}
}

func TestEndIsBounded(t *testing.T) {
	h := serve(t, &Server{End: 50 * time.Millisecond}, func(m *fakeMail) {
		m.end = func(ctx context.Context) gateway.Verdict {
			<-ctx.Done()
			return gateway.Verdict{} // defers
		}
	})
	s := h.dial()
	h.send(s)
	if _, act, err := s.End(); err != nil || act.Code != mta.ActTempFail {
		t.Error(act, err)
	}
}

// A body that takes its time is not waited for any longer than the gateway.
func TestReplacingIsBounded(t *testing.T) {
	h := serve(t, &Server{End: 100 * time.Millisecond}, func(m *fakeMail) {
		m.end = func(context.Context) gateway.Verdict { return encrypted(io.LimitReader(slowReader{}, 1<<20)) }
	})
	s := h.dial()
	h.send(s)
	start := time.Now()
	if _, act, err := s.End(); err == nil {
		t.Errorf("the answer was %c, want none", act.Code)
	}
	if d := time.Since(start); d > time.Second {
		t.Errorf("took %s", d)
	}
	(<-h.mails).closes() // it is logged by then
	if log := h.log.String(); !strings.Contains(log, "deadline exceeded") {
		t.Errorf("logged:\n%s", log)
	}
}
