package main

import (
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// A proxy is the distance to a server. What passes takes its time, but does not
// wait for what was sent before: many octets may be under way.
type proxy struct {
	listener net.Listener
	to       string
	trip     atomic.Int64 // nanoseconds to the server and back

	living  context.Context // until close
	die     context.CancelFunc
	running sync.WaitGroup
}

func newProxy(to string) (*proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{listener: l, to: to}
	p.living, p.die = context.WithCancel(context.Background())
	p.running.Go(p.accept)
	return p, nil
}

func (p *proxy) address() string { return p.listener.Addr().String() }

func (p *proxy) close() {
	p.die()
	p.listener.Close()
	p.running.Wait()
}

func (p *proxy) accept() {
	for {
		near, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.running.Go(func() { p.serve(near) })
	}
}

// serve connects one client with the server, until one of them ends it.
func (p *proxy) serve(near net.Conn) {
	defer near.Close()
	far, err := net.Dial("tcp", p.to)
	if err != nil {
		return
	}
	ctx, end := context.WithCancel(p.living)
	defer context.AfterFunc(ctx, func() {
		near.Close()
		far.Close()
	})()
	var back sync.WaitGroup
	back.Go(func() {
		defer end()
		carry(near, far, p.oneWay)
	})
	carry(far, near, p.oneWay)
	end()
	back.Wait()
}

func (p *proxy) oneWay() time.Duration { return time.Duration(p.trip.Load()) / 2 }

// A parcel is what was read at once, and when it arrives.
type parcel struct {
	octets []byte
	due    time.Time
}

// carry copies octets, each of which takes its time.
func carry(to io.Writer, from io.Reader, oneWay func() time.Duration) {
	underway := make(chan parcel, 1000)
	var arriving sync.WaitGroup
	arriving.Go(func() {
		for p := range underway {
			time.Sleep(time.Until(p.due))
			to.Write(p.octets) // If nobody is there any more, the other direction ends it.
		}
	})
	buffer := make([]byte, 4096)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			underway <- parcel{append([]byte(nil), buffer[:n]...), time.Now().Add(oneWay())}
		}
		if err != nil {
			break
		}
	}
	close(underway)
	arriving.Wait()
}
