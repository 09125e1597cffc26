package milter

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	dj "github.com/d--j/go-milter"

	"smimea.example/internal/gateway"
	"smimea.example/internal/message"
)

// mail is what a session needs of a [gateway.Mail]: a test's way in.
type mail interface {
	Recipient(ctx context.Context, to gateway.Rcpt) gateway.Reply
	Header(f message.Field)
	EndHeader(queueID string) gateway.Reply
	Write(p []byte) (int, error)
	End(ctx context.Context, messageID string) gateway.Verdict
	Accepted() error
	Lost()
	Fates() []gateway.Fate
	Close()
}

// A session is one connection of an MTA, with its mails one after the other.
// Its methods are called by the library, one at a time. One that returns an
// error ends the connection: the MTA then defers the mail, and that is the
// answer to everything unforeseen.
type session struct {
	dj.NoOpMilter
	server *Server
	client string       // name and address of the MTA's client, for the log
	pickup bool         // see gateway.Sender
	near   bool         // the client is on the MTA's own machine
	tx     *transaction // nil between mails

	// accepted is the last mail, if its verdict accepts and the MTA has not been heard
	// of since. Should the connection end now, the mail comes again.
	accepted mail
}

// A transaction is one mail, from MAIL to the answer at its end.
type transaction struct {
	mail  mail
	stage stage

	// answer, once known, is the last word on the mail: whatever comes after
	// it is not looked at. Those who hear nothing earlier get it at the end.
	answer *gateway.Reply

	// cut: a piece of the body did not get through. The gateway has to say so
	// at the end; a mail is never accepted without it.
	cut bool

	// late is a look-up that did not keep to its time, and is still using the
	// mail. There is none if it is nil.
	late <-chan judgement

	record record
}

// A stage is how far a mail has come.
type stage uint8

const (
	inEnvelope stage = iota
	inHeader
	inBody
)

// An MTA that sends commands out of order is not understood, and what is not
// understood is not answered.
var errOrder = errors.New("milter: command out of order")

// NewConnection is called first, and whenever the MTA uses its connection for
// another client.
func (s *session) NewConnection(dj.Modifier) (err error) {
	defer s.caught("new connection", &err)
	s.goesOn()
	s.abandon()
	s.client, s.pickup, s.near = "", false, false
	return nil
}

// Connect notes who is there. Mail that Postfix has picked up from its
// maildrop, or made itself, comes from "localhost" and port 0: no client
// waits for an answer. There a refused RCPT would leave the mail in the
// maildrop for ever, tried again each minute, and nobody is told; so what is to
// be refused is refused at the end, and Postfix returns it to its sender.
func (s *session) Connect(host, _ string, port uint16, addr string, _ dj.Modifier) (resp *dj.Response, err error) {
	defer s.caught("connect", &err)
	if strings.HasPrefix(host, "[") { // the MTA found no name
		host = "unknown"
	}
	s.client = host + "[" + addr + "]"
	s.pickup = port == 0 && (host == "localhost" || addr == "127.0.0.1" || addr == "::1")
	ip, err := netip.ParseAddr(addr)
	s.near = err == nil && ip.Unmap().IsLoopback()
	return dj.RespContinue, nil
}

// MailFrom begins a mail. MTAs do not always say that the last one has been
// given up. The library has taken the angle brackets off, here and in RcptTo;
// pickup sends none.
func (s *session) MailFrom(from, options string, m dj.Modifier) (resp *dj.Response, err error) {
	defer s.caught("mail", &err)
	s.goesOn()
	s.abandon()
	if s.near && m.Get(dj.MacroDaemonName) == ResubmitDaemon {
		return dj.RespAccept, nil
	}
	sender := gateway.Sender{Address: from, Options: options, Pickup: s.pickup}
	record := record{started: time.Now(), client: s.client, sender: sender, shadow: s.server.Shadow}
	record.see(m)
	mail, ok := s.server.start(sender)
	if !ok {
		record.reply = &tooManyMails
		s.server.ended(&record)
		return respond(tooManyMails), nil
	}
	s.tx = &transaction{mail: mail, record: record}
	return dj.RespContinue, nil
}

// ResubmitDaemon is the name of the MTA's listener for copies, as the macro
// {daemon_name} has it: what comes by it was here before. Only the MTA's own
// settings give that name. They may give it to a listener for all the world by
// mistake, so that it counts for clients of this machine alone, as we are one.
const ResubmitDaemon = "smimea-resubmit"

// goesOn is called when the MTA is heard of again after it has been told that a
// mail is accepted.
func (s *session) goesOn() {
	m := s.accepted
	if m == nil {
		return
	}
	s.accepted = nil
	if err := m.Accepted(); err != nil {
		s.server.Log.Error("milter: the journal", "why", err.Error())
	}
}

// lost is called when the MTA will not be heard of again.
func (s *session) lost() {
	if m := s.accepted; m != nil {
		s.accepted = nil
		m.Lost()
	}
}

// RcptTo has the gateway judge a recipient.
func (s *session) RcptTo(to, options string, m dj.Modifier) (resp *dj.Response, err error) {
	defer s.caught("rcpt", &err)
	tx := s.tx
	if tx == nil || tx.stage != inEnvelope {
		return nil, errOrder
	}
	tx.record.see(m)
	reply, err := s.judge(tx, gateway.Rcpt{Address: to, Options: options, Resolved: resolved(m)})
	tx.record.fates = append(tx.record.fates, gateway.Fate{Address: to, Reply: reply, Why: err})
	switch {
	case err != nil:
		return nil, err
	case s.pickup:
		return dj.RespContinue, nil
	}
	return respond(reply), nil
}

// macroMessageID is Sendmail's: it does not show the field that it adds.
const macroMessageID = "{msg_id}"

// resolved is whom the MTA takes a recipient for. Sendmail has looked into its
// virtusertable by then.
func resolved(m dj.Macros) string {
	address, host := m.Get(dj.MacroRcptAddr), m.Get(dj.MacroRcptHost)
	if address == "" {
		return ""
	}
	return address + " " + host
}

// judge asks for a reply, and does not wait for it longer than an MTA does:
// Sendmail gives a milter 10 seconds. A look-up that is late has spoiled the
// whole mail, since its outcome can be told to nobody any more.
func (s *session) judge(tx *transaction, to gateway.Rcpt) (gateway.Reply, error) {
	if tx.answer != nil {
		return *tx.answer, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.server.Recipient)
	done := make(chan judgement, 1)
	go func() {
		defer cancel()
		done <- s.recipient(ctx, tx.mail, to)
	}()
	select {
	case j := <-done:
		return j.reply, j.err
	case <-ctx.Done():
	}
	select {
	case j := <-done: // just in time, and what ended the context
		return j.reply, j.err
	default:
		reply := gateway.TooSlow(to.Address)
		tx.late, tx.answer = done, &reply
		return reply, nil
	}
}

type judgement struct {
	reply gateway.Reply
	err   error // a panic
}

func (s *session) recipient(ctx context.Context, m mail, to gateway.Rcpt) (j judgement) {
	defer s.caught("recipient", &j.err)
	j.reply = m.Recipient(ctx, to)
	return j
}

// Header hands on a field.
func (s *session) Header(name, value string, _ dj.Modifier) (resp *dj.Response, err error) {
	defer s.caught("header", &err)
	tx := s.tx
	if tx == nil || tx.stage > inHeader {
		return nil, errOrder
	}
	tx.stage = inHeader
	if tx.answer == nil {
		tx.mail.Header(message.NewField(name, value))
	}
	return dj.RespContinue, nil
}

// Headers ends the header. Postfix keeps a refusal given here for the end of
// the message, and spares us the body.
func (s *session) Headers(m dj.Modifier) (resp *dj.Response, err error) {
	defer s.caught("end of header", &err)
	tx := s.tx
	if tx == nil || tx.stage > inHeader {
		return nil, errOrder
	}
	tx.record.see(m)
	tx.stage = inBody
	if tx.answer == nil {
		if reply := tx.mail.EndHeader(tx.record.queue); reply.Action != gateway.Accept {
			tx.answer = &reply
		}
	}
	if tx.answer == nil || s.pickup {
		return dj.RespContinue, nil
	}
	return s.finish(*tx.answer), nil
}

// BodyChunk hands on a piece of the body. What goes wrong is said at the end.
func (s *session) BodyChunk(chunk []byte, _ dj.Modifier) (resp *dj.Response, err error) {
	defer s.caught("body", &err)
	tx := s.tx
	if tx == nil || tx.stage != inBody {
		return nil, errOrder
	}
	tx.record.in += int64(len(chunk))
	if tx.answer == nil && !tx.cut {
		n, err := tx.mail.Write(chunk)
		tx.cut = err != nil || n < len(chunk)
	}
	return dj.RespContinue, nil
}

// EndOfMessage asks for the verdict and carries it out. An error on the way
// ends the connection: half a mail has been replaced then, and only an MTA that
// hears nothing more throws it away.
func (s *session) EndOfMessage(m dj.Modifier) (resp *dj.Response, err error) {
	defer s.caught("end of message", &err)
	tx := s.tx
	if tx == nil || tx.stage != inBody {
		return nil, errOrder
	}
	tx.record.see(m)
	if tx.answer != nil {
		return s.finish(*tx.answer), nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.server.End)
	defer cancel()
	verdict := s.verdict(ctx, tx.mail, m)
	if verdict.Fault != nil {
		s.server.Log.Error("milter: the gateway made a mistake, and let nothing out; tell its authors",
			"queue_id", tx.record.queue, "why", verdict.Fault.Error())
	}
	if verdict.Trouble != nil {
		s.server.Log.Error("milter: handing over copies", "queue_id", tx.record.queue, "why", verdict.Trouble.Error())
	}
	if verdict.Reply.Action != gateway.Accept {
		return s.finish(verdict.Reply), nil
	}
	s.accepted = tx.mail
	if tx.cut {
		return nil, errors.New("milter: accepted without its whole body")
	}
	return s.carryOut(ctx, m, verdict)
}

// carryOut makes the mail at the MTA that of a verdict that accepts.
func (s *session) carryOut(ctx context.Context, m dj.Modifier, v gateway.Verdict) (*dj.Response, error) {
	record := &s.tx.record
	record.encrypted = v.Encrypted
	if v.Nobody {
		s.finish(v.Reply)
		return dj.RespDiscard, nil
	}
	var err error
	if record.out, err = rewrite(ctx, m, v); err != nil {
		s.server.Log.Error("milter: replacing the message", "queue_id", record.queue, "why", err.Error())
		return nil, err
	}
	return s.finish(v.Reply), nil
}

// verdict shows the MTA signs of life while the gateway works, for as long as
// it may.
func (s *session) verdict(ctx context.Context, mail mail, m dj.Modifier) gateway.Verdict {
	ctx, cancel := context.WithCancel(ctx)
	var alive sync.WaitGroup
	alive.Go(func() { s.showLife(ctx, cancel, m) })
	defer alive.Wait()
	defer cancel()
	return mail.End(ctx, m.Get(macroMessageID))
}

// showLife gives up what nobody waits for any more.
func (s *session) showLife(ctx context.Context, giveUp func(), m dj.Modifier) {
	var err error
	defer s.caught("progress", &err)
	tick := time.NewTicker(s.server.progress)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if m.Progress() != nil {
				giveUp()
				return
			}
		}
	}
}

// Abort gives the mail up. Postfix sends one after the end of a mail, too.
func (s *session) Abort(dj.Modifier) (err error) {
	defer s.caught("abort", &err)
	s.goesOn()
	s.abandon()
	return nil
}

// Cleanup ends the connection.
func (s *session) Cleanup(dj.Modifier) {
	var err error
	defer s.caught("cleanup", &err)
	s.lost()
	s.abandon()
}

// finish ends the mail with a reply.
func (s *session) finish(reply gateway.Reply) *dj.Response {
	resp := respond(reply)
	s.tx.record.reply = &reply
	s.abandon()
	return resp
}

// abandon drops the mail, if there is one, and logs it.
func (s *session) abandon() {
	tx := s.tx
	if tx == nil {
		return
	}
	s.tx = nil
	if tx.late == nil {
		defer tx.mail.Close()
		tx.record.explain(tx.mail.Fates())
		s.server.ended(&tx.record)
		return
	}
	s.server.ended(&tx.record)
	go func() {
		var err error
		defer s.caught("close", &err)
		<-tx.late
		tx.mail.Close()
	}()
}

// caught is deferred by everything that runs code of ours: a panic costs the
// connection, and its mail is deferred, never the process.
func (s *session) caught(where string, err *error) {
	p := recover()
	if p == nil {
		return
	}
	*err = fmt.Errorf("milter: panic: %v", p)
	s.server.Log.Error("milter: panic", "where", where, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
}

// respond puts a reply into the protocol's words. It never discards, never
// shuts down (Postfix would accept the mail and lose it), and sends no text
// but printable ASCII.
func respond(r gateway.Reply) *dj.Response {
	if r.Action == gateway.Accept {
		return dj.RespContinue
	}
	if r.Code/100 != 5 && r.Code/100 != 4 || r.Action == gateway.Defer && r.Code/100 != 4 {
		return dj.RespTempFail
	}
	resp, err := dj.RejectWithCodeAndReason(uint16(r.Code), printable(r.Status+" "+r.Text))
	if err != nil {
		return dj.RespTempFail
	}
	return resp
}

// maxText keeps a reply within one line (RFC 5321, Section 4.5.3.1.5).
const maxText = 480

func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
	return s[:min(len(s), maxText)]
}
