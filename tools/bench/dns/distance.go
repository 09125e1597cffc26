package main

import (
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// A distance lies between those who ask and a server. What passes takes its
// time, but does not wait for what was sent before: much may be under way.
type distance struct {
	net.Listener
	server string
	trip   atomic.Int64 // nanoseconds to the server and back

	living  context.Context // until end
	end     context.CancelFunc
	running sync.WaitGroup
}

func newDistance(server string) (*distance, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	d := &distance{Listener: l, server: server}
	d.living, d.end = context.WithCancel(context.Background())
	d.running.Go(func() {
		for conn, err := l.Accept(); err == nil; conn, err = l.Accept() {
			d.running.Go(func() { d.connect(conn) })
		}
	})
	return d, nil
}

func (d *distance) close() {
	d.end()
	d.Close()
	d.running.Wait()
}

// connect connects a client with the server, until one of them ends it.
func (d *distance) connect(near net.Conn) {
	defer near.Close()
	far, err := net.Dial("tcp", d.server)
	if err != nil {
		return
	}
	defer far.Close()
	ctx, end := context.WithCancel(d.living)
	defer end()
	for _, way := range [][2]net.Conn{{near, far}, {far, near}} {
		d.running.Go(func() {
			defer end()
			carry(way[0], way[1], func() time.Duration { return time.Duration(d.trip.Load()) / 2 })
		})
	}
	<-ctx.Done()
}

// A parcel is what was read at once, and when it arrives.
type parcel struct {
	octets []byte
	due    time.Time
}

// carry copies octets, each of which takes its time.
func carry(from io.Reader, to io.Writer, takes func() time.Duration) {
	underway := make(chan parcel, 1000)
	var arriving sync.WaitGroup
	defer arriving.Wait()
	defer close(underway)
	arriving.Go(func() {
		for p := range underway {
			time.Sleep(time.Until(p.due))
			to.Write(p.octets) // If nobody is there any more, the other way ends it.
		}
	})
	for {
		octets := make([]byte, 4096)
		n, err := from.Read(octets)
		if err != nil {
			return
		}
		underway <- parcel{octets[:n], time.Now().Add(takes())}
	}
}
