package main

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"testing"
	"time"
)

// A screen is an output that can be looked at while it is written.
type screen struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// TestServe sends a mail of its own to a demo that stays up.
func TestServe(t *testing.T) {
	var out screen
	d, err := startDemo(&out)
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- d.serve(ctx) }()
	if err := d.send(alice, "To: "+alice+"\r\n\r\nIt is me.\r\n"); err != nil {
		t.Error(err)
	}
	for end := time.Now().Add(10 * time.Second); !strings.Contains(out.String(), "| It is me."); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Errorf("Alice's mail is not shown:\n%s", out.String())
			break
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	for _, want := range []string{d.mail.Addr()[len("127.0.0.1:"):], d.net.Resolver(), "A mail has left, to " + alice} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}
