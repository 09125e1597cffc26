package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/emersion/go-smtp"
	"golang.org/x/sync/semaphore"
)

// A Resubmission is the way for copies of a mail back to the MTA: by SMTP to a
// listener that does not bring them here again. Its fields are set once.
type Resubmission struct {
	// Address is the listener's, on this machine: "127.0.0.1:10026".
	Address string

	// Journal remembers who has got his copy, across failures.
	Journal *Journal

	// Copies is how many copies of one mail there may be beside the mail itself,
	// and how many, and one, are on their way at a time. Default: 100.
	Copies int

	// Octets is how long they may be together. Default: 1 GB.
	Octets int64

	dial func(ctx context.Context) (net.Conn, error) // a test's way in

	once  sync.Once
	slots *semaphore.Weighted
}

const (
	defaultCopies = 100
	defaultOctets = 1e9
)

// copies is how many copies a gateway can make; 0 without a Resubmission.
func (r *Resubmission) copies() int {
	switch {
	case r == nil:
		return 0
	case r.Copies <= 0:
		return defaultCopies
	}
	return r.Copies
}

func (r *Resubmission) octets() int64 {
	if r.Octets <= 0 {
		return defaultOctets
	}
	return r.Octets
}

// reserve waits until so many sessions may be opened. They are asked for at
// once: mails that had some, and waited for the others, could wait for one another.
// A mail whose every recipient gets a copy needs one more than it may have beside
// itself.
func (r *Resubmission) reserve(ctx context.Context, sessions int) (release func(), err error) {
	if err := r.places().Acquire(ctx, int64(sessions)); err != nil {
		return nil, fmt.Errorf("too many copies are on their way: %w", err)
	}
	return func() { r.slots.Release(int64(sessions)) }, nil
}

func (r *Resubmission) places() *semaphore.Weighted {
	r.once.Do(func() {
		if r.slots == nil {
			r.slots = semaphore.NewWeighted(int64(r.copies()) + 1)
		}
	})
	return r.slots
}

// Succeed has it take the place of another one, of as many copies: both together
// keep one journal, and to one number of sessions. It is called before it is used.
func (r *Resubmission) Succeed(old *Resubmission) { r.Journal, r.slots = old.Journal, old.places() }

// A submission is one copy in an SMTP session, all of it but the dot that ends
// it. Until that is sent the MTA has nothing.
type submission struct {
	to      Group
	address string // of the listener, for what went wrong
	client  *smtp.Client
	data    *smtp.DataCommand
	stop    func() bool
}

// submit takes a copy as far as the dot. It is broken off when ctx ends.
func (r *Resubmission) submit(ctx context.Context, e envelope, to Group, message func(io.Writer) error) (*submission, error) {
	conn, err := r.connect(ctx)
	if err != nil {
		return nil, fmt.Errorf("resubmitting: %w", err)
	}
	s := &submission{to: to, address: r.Address, client: smtp.NewClient(conn)}
	s.stop = context.AfterFunc(ctx, func() { conn.Close() })
	if err := s.write(e, message); err != nil {
		s.abort()
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, fmt.Errorf("resubmitting to %s: %w", r.Address, err)
	}
	return s, nil
}

func (r *Resubmission) connect(ctx context.Context) (net.Conn, error) {
	if r.dial != nil {
		return r.dial(ctx)
	}
	d := net.Dialer{Timeout: 30 * time.Second}
	return d.DialContext(ctx, "tcp", r.Address)
}

func (s *submission) write(e envelope, message func(io.Writer) error) error {
	if err := s.client.Hello("localhost"); err != nil {
		return err
	}
	if ok, _ := s.client.Extension("DSN"); !ok {
		return errors.New("the listener does not offer DSN, so that a bounce could quote what is in clear; see smtpd_discard_ehlo_keywords")
	}
	if err := s.client.Mail(e.from, &e.options); err != nil {
		return fmt.Errorf("MAIL: %w", err)
	}
	for _, to := range s.to {
		if err := s.client.Rcpt(to.address, rcptOptions(to.options)); err != nil {
			return fmt.Errorf("RCPT %s: %w", shown(to.address), err)
		}
	}
	var err error
	if s.data, err = s.client.Data(); err != nil {
		return fmt.Errorf("DATA: %w", err)
	}
	return message(s.data)
}

// commit sends the dot. Without an error the MTA has taken the copy.
func (s *submission) commit(ctx context.Context) error {
	s.stop()
	conn := s.client
	s.stop = context.AfterFunc(ctx, func() { conn.Close() })
	if err := s.data.Close(); err != nil {
		return fmt.Errorf("resubmitting to %s: the dot: %w", s.address, err)
	}
	return nil
}

// goodbye is how long the MTA's answer to QUIT is waited for: the mail's own MTA waits
// meanwhile.
const goodbye = 2 * time.Second

// leave ends the session in good order.
func (s *submission) leave() {
	s.client.CommandTimeout = goodbye
	s.client.Quit()
	s.abort()
}

// abort breaks the session off. The MTA drops a copy that has had no dot.
func (s *submission) abort() {
	s.stop()
	s.client.Close()
}
