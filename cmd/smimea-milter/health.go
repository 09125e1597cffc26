package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"smimea.example/milter"
)

// health says whether the daemon does its work: it asks itself, where mail
// servers ask. That the DNS does not answer is nothing that a new start would
// heal, and is not looked at.
type health struct {
	sockets     []net.Addr
	connections int // that may be open
	load        *milter.Load
	draining    atomic.Bool

	mu  sync.Mutex // guards what follows; held while it is found out
	at  time.Time
	why error
}

const (
	selfCheckTime = 5 * time.Second
	selfCheckAge  = time.Second // for so long the last one counts
)

var errDraining = errors.New("draining: mails in flight are finished, and no more are taken")

func newHealth(listeners []net.Listener, connections int, load *milter.Load) *health {
	h := &health{connections: connections, load: load}
	for _, l := range listeners {
		h.sockets = append(h.sockets, l.Addr())
	}
	return h
}

// check says what is wrong; nil if mail is served.
func (h *health) check() error {
	if h.draining.Load() {
		return errDraining
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.at.IsZero() || time.Since(h.at) > selfCheckAge {
		h.why = h.ask()
		h.at = time.Now()
	}
	if h.draining.Load() { // meanwhile
		return errDraining
	}
	return h.why
}

// ask asks at each socket. With all connections in use one more would wait: that
// is a lot of work, and no fault. They are bounded in time themselves.
func (h *health) ask() error {
	ctx, cancel := context.WithTimeout(context.Background(), selfCheckTime)
	defer cancel()
	for _, at := range h.sockets {
		if h.busy() {
			return nil
		}
		if err := milter.Ping(ctx, at); err != nil && !h.busy() {
			return fmt.Errorf("self-check: %w", err)
		}
	}
	return nil
}

func (h *health) busy() bool { return h.load.Connections() >= h.connections }

// ServeHTTP answers those who watch over the daemon.
func (h *health) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	if err := h.check(); err != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprintln(w, err)
		return
	}
	fmt.Fprintln(w, "ok")
}
