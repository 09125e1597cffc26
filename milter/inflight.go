package milter

import (
	"sync/atomic"
	"time"

	"smimea.example/internal/gateway"
)

// A Load says how busy a [Server] is. Anybody may look at it at any time.
type Load struct {
	connections, mails atomic.Int64
}

// Connections is how many connections of MTAs are open.
func (l *Load) Connections() int { return int(l.connections.Load()) }

// Mails is how many mails are in flight, from MAIL to the answer at their end.
func (l *Load) Mails() int { return int(l.mails.Load()) }

// tooManyMails is for who comes when as many are in flight as there may be. An
// MTA that is told so at MAIL keeps the mail, or tells its client; one that is
// left waiting holds a process for it.
var tooManyMails = gateway.Reply{Action: gateway.Defer, Code: 451, Status: "4.3.2",
	Text: "the encryption gateway has as many mails in hand as it may; try again later"}

// start begins a mail, if there is a place for it. It is given back when the
// mail is closed.
func (s *Server) start(from gateway.Sender) (m mail, ok bool) {
	defer func() {
		if m == nil { // no place, or a panic
			s.Load.mails.Add(-1)
		}
	}()
	if s.Load.mails.Add(1) > int64(s.Mails) {
		return nil, false
	}
	return counted{s.begin(from), s.Load}, true
}

// counted is a mail that has a place.
type counted struct {
	mail
	load *Load
}

func (c counted) Close() {
	defer c.load.mails.Add(-1)
	c.mail.Close()
}

// held is a mail whose gateway is needed for as long as it lasts.
type held struct {
	*gateway.Mail
	release func()
}

func (h held) Close() {
	defer h.release()
	h.Mail.Close()
}

// hold begins a mail with the gateway of this moment.
func (s *Server) hold(from gateway.Sender) mail {
	if s.Enter == nil {
		return s.Gateway.Begin(from)
	}
	g, release := s.Enter()
	return held{g.Begin(from), release}
}

// A Summary is what became of a mail, for those who count. It names nobody; that
// is for the log.
type Summary struct {
	Result     string // that of the log
	Recipients []Recipient
	In, Out    int64 // octets of body, received and put in its place
	Took       time.Duration
}

// A Recipient is one of a [Summary].
type Recipient struct {
	Outcome string // what the key store found; empty if it was not asked
	Reply   gateway.Reply
	Sent    string // how the mail went to him, in the log's words; empty if it did not
}

func (r *record) summary() Summary {
	sum := Summary{Result: r.result(), In: r.in, Out: r.out, Took: time.Since(r.started)}
	for _, f := range r.fates {
		one := Recipient{Outcome: f.Outcome, Reply: f.Reply}
		if r.sent() {
			one.Sent = f.Sent
		}
		sum.Recipients = append(sum.Recipients, one)
	}
	return sum
}

// ended logs a mail, and tells those who count.
func (s *Server) ended(r *record) {
	r.log(s.Log)
	if s.Done != nil {
		s.Done(r.summary())
	}
}
