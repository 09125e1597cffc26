package milter

import (
	"context"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestPing(t *testing.T) {
	h := serve(t, &Server{}, nil)
	if err := Ping(t.Context(), h.addr); err != nil {
		t.Errorf("a server: %v", err)
	}
	h.stop()
	<-h.stopped
	h.stopped <- nil
	if err := Ping(t.Context(), h.addr); err == nil {
		t.Error("a server that has stopped answers")
	}
	if log := h.log.String(); log != "" {
		t.Errorf("logged %s", log)
	}
}

// Not everybody who listens is at his work.
func TestPingWithoutAnAnswer(t *testing.T) {
	deaf, err := net.Listen("unix", filepath.Join(t.TempDir(), "deaf"))
	if err != nil {
		t.Fatal(err)
	}
	defer deaf.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := Ping(ctx, deaf.Addr()); err == nil || !strings.Contains(err.Error(), "no answer at "+deaf.Addr().String()+": context deadline exceeded") {
		t.Errorf("nobody accepts: %v", err)
	}
	other := listen(t)
	defer other.Close()
	go func() {
		if conn, err := other.Accept(); err == nil {
			conn.Write([]byte("220 mail.example.org ESMTP\r\n"))
			time.Sleep(time.Second)
			conn.Close()
		}
	}()
	if err := Ping(t.Context(), other.Addr()); err == nil || !strings.Contains(err.Error(), "it says 'm'") {
		t.Errorf("an SMTP server: %v", err)
	}
}
