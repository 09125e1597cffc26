// Package gateway decides what becomes of a mail, and does it: the mail is
// encrypted, passed as it is, deferred or refused. It knows neither the milter
// protocol nor the settings file, and could as well stand behind an SMTP proxy.
//
// A [Mail] is told what arrives, in the order in which it arrives: sender,
// recipients, header fields, body, end. The policy itself is in policy.go:
// pure functions, with a table each. What it needs to know of a recipient is
// found in explain.go, what senders are told is in reply.go, and seal.go
// encrypts.
//
// Whatever goes wrong, and whatever nobody thought of, defers the mail: it
// stays with whoever has it, and comes again. Nothing goes out in clear but by
// a rule that says so. No plaintext is written anywhere, and none is kept in
// memory but the header and the piece at hand; or all of the mail, where it is to
// be encrypted with GCM.
package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"smimea.example/internal/message"
	"smimea.example/keystore"
)

// A Gateway holds what all mails have in common. Its fields are set once,
// before the first mail.
type Gateway struct {
	// Rules say how mail is to be treated. Where none matches it is deferred.
	Rules []Rule

	// Keys finds the recipients' certificates.
	Keys keystore.Source

	// Budget bounds everything that one recipient asks. Default: 7 s.
	Budget time.Duration

	// Spool is the directory for mails that are too long to be kept in memory.
	// They are encrypted there. Default: that of temporary files.
	Spool string

	// Memory is how many octets all the mails together may have that are needed
	// as a whole, as those in GCM are. Default: 128 MB.
	Memory int64

	// Wait is how long such a mail waits for its share of the memory. Default:
	// one minute.
	Wait time.Duration

	once   sync.Once    // guards what follows
	parsed []parsedRule // Rules, once the first mail has come

	onceMemory sync.Once
	shared     *memory
}

// A Sender is what is known of a mail before its first recipient.
type Sender struct {
	Address string // envelope sender without angle brackets; empty for <>

	// Pickup: the mail was submitted on the machine itself, so that nobody
	// listens for an answer to a single recipient. All recipients are accepted
	// at first, and the worst reply is given for the whole mail at its end.
	Pickup bool
}

// A Reply is what the sending side is told about a recipient or a mail. The
// zero Reply defers.
type Reply struct {
	Action Action
	Code   int    // SMTP reply code, RFC 5321: 451, 550
	Status string // enhanced status code, RFC 3463: "4.7.5"
	Text   string // one line of ASCII: who, why, what to do next
}

// An Action is what a [Reply] comes to.
type Action uint8

const (
	// Defer: not now, try again. The zero value.
	Defer Action = iota
	// Refuse: not so, and not later.
	Refuse
	// Accept: go on.
	Accept
)

// A Verdict is the last word on a mail. Unless Reply accepts, nothing else
// counts. The zero Verdict defers.
type Verdict struct {
	Reply Reply

	// Encrypted: the fields named in Replaces go, Header is put in their place,
	// and Body replaces the body. Otherwise the mail passes untouched.
	Encrypted bool
	Replaces  []string // as received and in their order, those that come twice twice
	Header    message.Header
	Body      io.Reader

	// Fault is a mistake of the gateway itself that has come to light, for the
	// postmaster. The mail is deferred.
	Fault error
}

// A Fate is what became of one recipient, for the log.
type Fate struct {
	Address  string
	Rule     string   // the rule's action; empty if there was none
	Outcome  string   // what the key store found; empty if it was not asked
	Reply    Reply    // even of pickup, whose sender did not hear it
	Sent     string   // "encrypted", "plain", "already encrypted"; empty if not sent
	Origin   string   // where the certificates came from
	Certs    []string // fingerprints of those that were encrypted to
	Cipher   string   // what they were encrypted with; empty without Certs
	Warnings []string
	Why      error // details that do not belong into a reply
}

// Bounds of one mail.
const (
	maxRecipients = 1000    // who are judged, whatever the reply
	maxHeader     = 4 << 20 // octets of a header that is kept
	perField      = 40      // octets that a field takes beside its own

	// maxReplaced is how many fields may go inside. Postfix takes them off one by
	// one, each time from the beginning: 1,000 take a second, 4,000 half a minute.
	maxReplaced = 1000
)

// A Mail is one mail on its way, made by [Gateway.Begin]. Its methods are
// called in the order of SMTP, by one goroutine; Close last, always. Calls in
// another order defer the mail.
type Mail struct {
	gateway *Gateway
	from    Sender
	stage   stage
	fates   []Fate      // of everybody who was judged
	to      []recipient // of those, who were accepted

	header   message.Header
	octets   int      // of header
	replaces []string // names of fields, see Verdict
	already  *recognizer
	sealing  *sealing // nil unless the mail gets encrypted

	// refusal is the reply, unless the mail turns out to be encrypted already.
	refusal *Reply
	// last is the reply, whatever comes.
	last *Reply
	// why explains last, for the log.
	why error
}

type stage uint8

const (
	atRecipients stage = iota
	atHeader
	atBody
	atEnd
)

// wait is the default of Gateway.Wait.
const wait = time.Minute

// newSealing makes one that shares the gateway's memory.
func (g *Gateway) newSealing() *sealing {
	g.onceMemory.Do(func() { g.shared = newMemory(g.Memory) })
	s := &sealing{memory: g.shared, wait: g.Wait}
	if s.wait <= 0 {
		s.wait = wait
	}
	return s
}

// Begin starts a mail.
func (g *Gateway) Begin(from Sender) *Mail {
	return &Mail{gateway: g, from: from}
}

// Recipient judges one recipient, given without angle brackets.
func (m *Mail) Recipient(ctx context.Context, address string) Reply {
	switch {
	case m.stage != atRecipients:
		return m.end(outOfOrder, errors.New("a recipient after the header"))
	case len(m.fates) == maxRecipients:
		return m.tooMany(address)
	}
	e := m.gateway.Explain(ctx, m.from.Address, address)
	next, reply := e.recipient(), e.Reply
	if reply.Action == Accept {
		reply = join(m.to, next)
	}
	if reply.Action != Accept {
		next = recipient{}
	}
	if m.from.Pickup {
		reply = forGood(reply)
	}
	if reply.Action == Accept {
		m.to = append(m.to, next)
	}
	m.fates = append(m.fates, e.fate(next, reply))
	if m.from.Pickup {
		return accepted
	}
	return reply
}

// tooMany turns away one recipient too many, and where nobody would hear of
// that, the mail.
func (m *Mail) tooMany(address string) Reply {
	if m.from.Pickup {
		return m.end(forGood(tooMany(address)), nil)
	}
	return tooMany(address)
}

// Header takes one header field, in the order received.
func (m *Mail) Header(f message.Field) {
	if m.stage > atHeader {
		m.end(outOfOrder, errors.New("a header field after the header"))
		return
	}
	m.stage = atHeader
	if m.last == nil && m.encrypts() {
		m.keep(f)
	}
}

// keep keeps a field, within the bound.
func (m *Mail) keep(f message.Field) {
	m.octets += len(f.Name) + len(f.Value) + perField
	if m.octets > maxHeader {
		m.end(longHeader, nil)
		return
	}
	m.header = append(m.header, f)
}

// EndHeader is called once between header and body. A reply that does not
// accept ends the mail.
func (m *Mail) EndHeader() Reply {
	sum := worst(m.fates)
	switch {
	case m.stage > atHeader:
		m.end(outOfOrder, errors.New("a second end of the header"))
	case m.from.Pickup && sum.Action != Accept:
		m.end(sum, nil)
	case len(m.to) == 0:
		m.end(outOfOrder, errors.New("a mail without recipients"))
	}
	m.stage = atBody
	if m.last == nil && m.encrypts() {
		m.prepare()
	}
	if m.last != nil && !m.from.Pickup {
		return *m.last
	}
	return accepted
}

// encrypts says whether the mail must not leave in clear.
func (m *Mail) encrypts() bool {
	return len(m.to) == 0 || !m.to[0].plain
}

// prepare gets ready for the body of a mail to encrypt. Recipients who cannot
// share an envelope are no matter if the sender has made one already.
func (m *Mail) prepare() {
	m.already = newRecognizer(m.header)
	if m.replaces = m.header.Replaced(); len(m.replaces) > maxReplaced {
		m.end(longHeader, nil)
		return
	}
	groups, reply := group(m.to, m.header)
	if reply.Action != Accept {
		m.refusal = &reply
		m.watch(nil)
		return
	}
	if len(groups) != 1 { // all who were accepted share one: see join
		m.end(notSealed, fmt.Errorf("%d groups of recipients, and one copy", len(groups)))
		return
	}
	m.sealing = m.gateway.newSealing()
	if err := m.sealing.begin(m.gateway.Spool, groups[0]); err != nil {
		m.end(notSealed, err)
	} else if err := m.sealing.header(m.header); err != nil {
		m.end(noRoom, err)
	}
	m.header = nil
}

// watch looks whether the mail is encrypted already, as long as it may be.
func (m *Mail) watch(p []byte) {
	m.already.Write(p)
	if m.refusal != nil && m.already.hopeless() {
		m.end(*m.refusal, nil)
	}
}

// Write takes a piece of the body. An error ends the mail: the reply to give
// is what End returns.
func (m *Mail) Write(p []byte) (int, error) {
	if m.stage != atBody {
		m.end(outOfOrder, errors.New("a body out of its place"))
	}
	if m.last == nil && m.encrypts() {
		m.encrypt(p)
	}
	if m.last != nil {
		return 0, errors.New("gateway: the mail has ended")
	}
	return len(p), nil
}

func (m *Mail) encrypt(p []byte) {
	m.watch(p)
	if m.last != nil || m.sealing == nil {
		return
	}
	switch _, err := m.sealing.Write(p); {
	case errors.Is(err, errTooLong):
		m.end(tooLong, err)
	case err != nil:
		m.end(noRoom, err)
	}
}

// End gives the verdict. Its Body may be read until Close.
func (m *Mail) End(ctx context.Context) Verdict {
	switch {
	case m.stage != atBody:
		m.end(outOfOrder, errors.New("the end out of its place"))
	case ctx.Err() != nil:
		m.end(tooLate, ctx.Err())
	}
	m.stage = atEnd
	switch {
	case m.last != nil:
		return Verdict{Reply: *m.last}
	case !m.encrypts():
		return m.passed("plain")
	case m.already.encrypted():
		return m.passed("already encrypted")
	case m.refusal != nil:
		return Verdict{Reply: *m.refusal}
	}
	return m.sealed(ctx)
}

// sealed is the verdict on a mail that was encrypted.
func (m *Mail) sealed(ctx context.Context) Verdict {
	authenticated := m.sealing.group.cipher().Authenticated()
	body, err := m.sealing.finish(ctx, Group(m.to).certs())
	if err != nil {
		return m.unsealed(err)
	}
	v := m.passed("encrypted")
	v.Encrypted, v.Replaces, v.Header, v.Body = true, m.replaces, message.Envelope(authenticated), body
	return v
}

// unsealed is the verdict on a mail that could not be encrypted.
func (m *Mail) unsealed(err error) Verdict {
	var fault faultError
	switch {
	case errors.As(err, &fault):
		return Verdict{Reply: m.end(notSealed, err), Fault: fault}
	case errors.Is(err, errNoMemory):
		return Verdict{Reply: m.end(noMemory, err)}
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return Verdict{Reply: m.end(tooLate, err)}
	}
	return Verdict{Reply: m.end(noRoom, err)}
}

// passed is the verdict on a mail that goes on.
func (m *Mail) passed(how string) Verdict {
	for i := range m.fates {
		if m.fates[i].Reply.Action == Accept {
			m.fates[i].Sent = how
		}
	}
	return Verdict{Reply: accepted}
}

// Fates explains, for the log, what has been decided for each recipient so far.
func (m *Mail) Fates() []Fate {
	fates := slices.Clone(m.fates)
	for i := range fates {
		if fates[i].Why == nil {
			fates[i].Why = m.why
		}
	}
	return fates
}

// end gives the last word on the mail, unless that has been spoken, and drops
// what it has kept.
func (m *Mail) end(reply Reply, why error) Reply {
	if m.last == nil {
		m.last, m.why = &reply, why
		m.drop()
	}
	return *m.last
}

// Close drops everything that the mail holds. It may be called at any time,
// and more than once.
func (m *Mail) Close() {
	m.stage = atEnd
	m.drop()
}

func (m *Mail) drop() {
	m.header, m.replaces = nil, nil
	if m.sealing != nil {
		m.sealing.Close()
		m.sealing = nil
	}
}
