package main

import (
	"errors"
	"io"
)

const (
	relayBuffers = 4
	relaySize    = 256 << 10 // octets of one
)

var errRelay = errors.New("nobody takes what is written")

// A relay hands what is written to it to another goroutine, which writes it: so
// encrypting and encoding go on at the same time. Close waits for it and returns
// its error.
type relay struct {
	free   chan []byte // buffers
	full   chan []byte // has room for all there are
	broken chan error  // one error at most
	ended  chan struct{}
	buffer []byte // that is being filled
}

func newRelay(w io.Writer) *relay {
	r := &relay{
		free:   make(chan []byte, relayBuffers),
		full:   make(chan []byte, relayBuffers),
		broken: make(chan error, 1),
		ended:  make(chan struct{}),
	}
	for range relayBuffers {
		r.free <- make([]byte, 0, relaySize)
	}
	go r.pass(w)
	return r
}

// pass is what the other goroutine does.
func (r *relay) pass(w io.Writer) {
	defer close(r.ended)
	for p := range r.full {
		if _, err := w.Write(p); err != nil {
			r.broken <- err
			return
		}
		r.free <- p[:0]
	}
}

func (r *relay) Write(p []byte) (int, error) {
	written := 0
	for written < len(p) {
		if r.buffer == nil {
			select {
			case r.buffer = <-r.free:
			case <-r.ended:
				return written, errRelay
			}
		}
		n := copy(r.buffer[len(r.buffer):relaySize], p[written:])
		r.buffer = r.buffer[:len(r.buffer)+n]
		if len(r.buffer) == relaySize {
			r.full <- r.buffer
			r.buffer = nil
		}
		written += n
	}
	return written, nil
}

// Close is to be called whatever happened before.
func (r *relay) Close() error {
	if len(r.buffer) > 0 {
		r.full <- r.buffer
	}
	close(r.full)
	<-r.ended
	select {
	case err := <-r.broken:
		return err
	default:
		return nil
	}
}
