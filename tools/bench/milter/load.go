package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/textproto"
	"slices"
	"sync"
	"time"
)

// A load is what comes to one service in one run.
type load struct {
	size        int // of a mail, in octets
	connections int
	length      time.Duration // no mail begins later
	mails       int           // on each connection, at least
	each        int           // after which a client opens another connection; 0: never
}

// A sample is what one run showed.
type sample struct {
	mails   int
	took    time.Duration // until the last was at the sink
	p50     time.Duration
	p99     time.Duration
	milter  time.Duration // processor time for a mail
	postfix time.Duration
	peak    int64 // octets, of the milter
}

func (s sample) perSecond() float64 { return float64(s.mails) / s.took.Seconds() }

// load sends to a service, and waits until everything is at the sink.
func (l *lab) load(s *service, what load) (sample, error) {
	l.sink.restart()
	before, err := l.usage(s)
	if err != nil {
		return sample{}, err
	}
	began := time.Now()
	latencies, err := l.clients(s.address, what)
	if err != nil {
		return sample{}, fmt.Errorf("sending to Postfix with %s: %w", s.name, err)
	}
	last, encrypted, err := l.sink.wait(l.ctx, len(latencies))
	if err != nil {
		return sample{}, fmt.Errorf("sending through Postfix with %s: %w", s.name, err)
	}
	if want := map[bool]int{true: len(latencies)}[s.encrypts]; encrypted != want {
		return sample{}, fmt.Errorf("sending through Postfix with %s: of %d mails %d were encrypted, not %d", s.name, len(latencies), encrypted, want)
	}
	after, err := l.usage(s)
	if err != nil {
		return sample{}, err
	}
	mails := time.Duration(len(latencies))
	return sample{
		mails: len(latencies), took: last.Sub(began),
		p50: percentile(latencies, 50), p99: percentile(latencies, 99),
		milter: (after.milter - before.milter) / mails, postfix: (after.postfix - before.postfix) / mails,
		peak: after.peak,
	}, nil
}

// A usage is what has been used so far.
type usage struct {
	milter, postfix time.Duration
	peak            int64 // since the last time
}

func (l *lab) usage(s *service) (u usage, err error) {
	if u.postfix, err = familyTime(l.postfix.pid); err != nil || s.milter == nil {
		return u, err
	}
	pid := s.milter.Process.Pid
	stat, err := readStat(pid)
	if err != nil {
		return u, fmt.Errorf("%s: %w", s.name, err)
	}
	u.milter = stat.own
	if u.peak, err = peakMemory(pid); err != nil {
		return u, err
	}
	return u, forgetPeak(pid)
}

// clients sends over all connections, and returns how long each mail took. What
// goes wrong with one ends all.
func (l *lab) clients(address string, what load) ([]time.Duration, error) {
	ctx, cancel := context.WithCancelCause(l.ctx)
	defer cancel(nil)
	end := time.Now().Add(what.length)
	latencies := make([][]time.Duration, what.connections)
	body := mailBody(what.size - len(mailHead(l.people[0])))
	var all sync.WaitGroup
	for i := range what.connections {
		all.Go(func() {
			c := client{ctx: ctx, address: address, each: what.each, body: body}
			defer c.close()
			for sent := 0; sent < max(what.mails, 1) || time.Now().Before(end); sent++ {
				took, err := c.mail(l.people[(i+sent)%len(l.people)])
				if err != nil {
					cancel(err)
					return
				}
				latencies[i] = append(latencies[i], took)
			}
		})
	}
	all.Wait()
	return slices.Concat(latencies...), context.Cause(ctx)
}

// A client sends one mail after the other.
type client struct {
	ctx     context.Context
	address string
	each    int
	body    []byte // of each mail, its end included

	conn *textproto.Conn // nil: there is none
	raw  net.Conn        // below it
	free func() bool     // ctx does not cut it any more
	sent int             // on it
}

// mail sends one, and returns how long it took.
func (c *client) mail(to string) (time.Duration, error) {
	if c.each > 0 && c.sent == c.each {
		c.close()
	}
	began := time.Now()
	if c.conn == nil {
		if err := c.open(); err != nil {
			return 0, err
		}
		if c.each == 0 {
			began = time.Now()
		}
	}
	c.sent++
	if err := c.envelope(to); err != nil {
		return 0, err
	}
	buffers := net.Buffers{mailHead(to), c.body}
	if _, err := buffers.WriteTo(c.raw); err != nil {
		return 0, err
	}
	_, _, err := c.conn.ReadResponse(250)
	return time.Since(began), err
}

func (c *client) envelope(to string) error {
	for _, step := range []struct {
		command string
		reply   int
	}{
		{"MAIL FROM:<bob@house.test>", 250},
		{"RCPT TO:<" + to + ">", 250},
		{"DATA", 354},
	} {
		if err := c.conn.PrintfLine("%s", step.command); err != nil {
			return err
		}
		if _, _, err := c.conn.ReadResponse(step.reply); err != nil {
			return err
		}
	}
	return nil
}

func (c *client) open() error {
	raw, err := new(net.Dialer).DialContext(c.ctx, "tcp", c.address)
	if err != nil {
		return err
	}
	c.raw, c.conn, c.sent = raw, textproto.NewConn(raw), 0
	c.free = context.AfterFunc(c.ctx, func() { raw.Close() })
	if _, _, err := c.conn.ReadResponse(220); err != nil {
		return err
	}
	if err := c.conn.PrintfLine("EHLO client.test"); err != nil {
		return err
	}
	_, _, err = c.conn.ReadResponse(250)
	return err
}

// close says goodbye, without waiting for an answer.
func (c *client) close() {
	if c.conn == nil {
		return
	}
	c.free()
	c.conn.PrintfLine("QUIT")
	c.conn.Close()
	c.conn = nil
}

// mailHead is the header of a mail. It is equally long for all.
func mailHead(to string) []byte {
	return fmt.Appendf(nil, "From: bob@house.test\r\nTo: %s\r\nSubject: The figures of this week\r\n"+
		"Date: Sat, 28 Nov 2026 09:00:00 +0000\r\nMessage-ID: <figures@house.test>\r\n"+
		"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n", to)
}

// mailBody is so many octets of lines, and the end of a mail.
func mailBody(octets int) []byte {
	const line = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ+-*/0123456789\r\n"
	body := bytes.Repeat([]byte(line), octets/len(line))
	if rest := octets % len(line); rest > 2 {
		body = append(body, line[len(line)-rest:]...)
	}
	return append(body, ".\r\n"...)
}
