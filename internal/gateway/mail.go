package gateway

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"

	"smimea.example/internal/cms"
	"smimea.example/internal/message"
)

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
// called in the order of SMTP, by one goroutine at a time; Close at the end, always,
// and Accepted or Lost after a verdict that accepts. Calls in another order defer the
// mail.
type Mail struct {
	gateway *Gateway
	from    Sender
	stage   stage
	fates   []Fate      // of everybody who was judged
	to      []recipient // of those, who were accepted

	header message.Header // of a mail that is split, until it is
	octets int            // of header
	edit   edit           // of the header, whatever becomes of the mail
	groups []Group        // who share a copy; one, if all do

	already *recognizer  // nil if the mail goes in clear to everybody
	known   *fingerprint // nil if the journal has no part in the mail
	sealing *sealing     // the one envelope; nil if there are several, or none
	content *spool       // the body, in a mail that is split

	key    mailKey // in the journal, once the mail is there
	opened bool    // it is

	entered   bool // see Journal.enter
	accepting bool // the verdict accepts; Accepted or Lost follows

	committed bool // dots were sent, so that somebody may have his copy
	// unnoted is why copies that have left are not in the journal.
	unnoted error

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

// Recipient judges one recipient.
func (m *Mail) Recipient(ctx context.Context, to Rcpt) Reply {
	switch {
	case m.stage != atRecipients:
		return m.end(outOfOrder, errors.New("a recipient after the header"))
	case len(m.fates) == maxRecipients:
		return m.tooMany(to.Address)
	}
	e := m.gateway.Explain(ctx, m.from.Address, to.Address)
	next, reply := e.recipient(), e.Reply
	if reply.Action == Accept && m.gateway.Resubmit == nil {
		reply = join(m.to, next)
	}
	if reply.Action != Accept {
		next = recipient{}
	}
	if m.from.Pickup {
		reply = forGood(reply)
	}
	if reply.Action == Accept {
		next.fate, next.options, next.resolved = len(m.fates), to.Options, to.Resolved
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
	if m.last == nil {
		m.keep(f)
	}
}

// keep keeps a field, within the bound.
func (m *Mail) keep(f message.Field) {
	m.octets += len(f.Name) + len(f.Value) + perField
	switch {
	case m.octets <= maxHeader:
		m.header = append(m.header, f)
	case Group(m.to).passes():
		m.header = nil
	default:
		m.end(longHeader, nil)
	}
}

// EndHeader is called once between header and body, with the MTA's queue id, if
// it has one. A reply that does not accept ends the mail.
func (m *Mail) EndHeader(queueID string) Reply {
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
	if m.last == nil {
		m.prepare(queueID)
	}
	if m.last != nil && !m.from.Pickup {
		return *m.last
	}
	return accepted
}

// prepare gets ready for the body. Recipients who cannot share an envelope are
// no matter if the sender has made one already.
func (m *Mail) prepare(queueID string) {
	if missing, mark := unmarked(m.to, m.header); len(missing) > 0 {
		m.end(notMarked(missing, mark), nil)
		return
	}
	if m.edit = newEdit(m.header, m.to); len(m.edit.sealed) > maxReplaced && !Group(m.to).passes() {
		m.end(longHeader, nil)
		return
	}
	if hasBlank(m.edit.inClear) {
		m.end(strayBlank, nil)
		return
	}
	groups, reply := group(m.to, m.header, m.gateway.Resubmit.copies())
	if hasBlank(m.edit.sealed) {
		reply = strayBlank
	}
	m.groups = groups
	m.remember(queueID)
	if !slices.ContainsFunc(m.to, func(r recipient) bool { return !r.plain }) {
		m.header = nil
		return
	}
	m.already = newRecognizer(m.header)
	switch {
	case reply.Action != Accept:
		m.refusal = &reply
		m.watch(nil)
	case len(groups) == 1:
		m.seal(groups[0])
		m.header = nil
	default:
		m.split()
	}
}

// hasBlank says that a field's name has a blank before its colon: obsolete (RFC
// 5322, Section 4.5), and the milter protocol has no way to delete such a field.
func hasBlank(names []string) bool {
	return slices.ContainsFunc(names, func(name string) bool { return strings.ContainsAny(name, " \t") })
}

// passes says that everybody gets the mail as it is, by rules that ask for
// nothing.
func (g Group) passes() bool {
	return !slices.ContainsFunc(g, func(r recipient) bool { return !r.plain || r.mark.set() })
}

// seal begins the one envelope of a mail.
func (m *Mail) seal(to Group) {
	m.sealing = m.gateway.newSealing()
	if err := m.sealing.begin(m.gateway.Spool, to); err != nil {
		m.end(notSealed, err)
	} else if err := m.sealing.header(m.header); err != nil {
		m.end(noRoom, err)
	}
}

// split keeps the body, to make each copy of it at the end. Kept as it is, it is
// there once whatever their number; and what is on the disk is encrypted.
func (m *Mail) split() {
	v, err := newVeil()
	if err != nil {
		m.end(notSealed, err)
		return
	}
	m.content = &spool{dir: m.gateway.Spool, veil: v}
}

// remember takes the mail's fingerprint, if it is to be split, or if it may be
// one that was.
func (m *Mail) remember(queueID string) {
	r := m.gateway.Resubmit
	if r == nil || m.gateway.Shadow || len(m.groups) < 2 && r.Journal.empty() {
		return
	}
	var id string
	if e, err := newEnvelope(m.from); err == nil {
		id = e.options.EnvelopeID
	}
	p := newFingerprint(r.Journal.secret, m.from, id, queueID, m.header)
	m.known = &p
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
	if m.last == nil && m.known != nil {
		m.known.Write(p)
	}
	if m.last == nil && m.already != nil {
		m.encrypt(p)
	}
	if m.last != nil {
		return 0, errors.New("gateway: the mail has ended")
	}
	return len(p), nil
}

func (m *Mail) encrypt(p []byte) {
	m.watch(p)
	var err error
	switch {
	case m.last != nil:
	case m.sealing != nil:
		_, err = m.sealing.Write(p)
	case m.content != nil:
		_, err = m.store(p)
	}
	switch {
	case errors.Is(err, errTooLong):
		m.end(tooLong, err)
	case errors.Is(err, errTooMuch):
		m.end(tooMuch, err)
	case err != nil:
		m.end(noRoom, err)
	}
}

var errTooMuch = errors.New("the copies would be longer than resubmit allows")

// store keeps a piece of the body for the copies, as long as these may be so
// long together.
func (m *Mail) store(p []byte) (int, error) {
	if (m.content.size+int64(len(p)))*int64(len(m.groups)-1) > m.gateway.Resubmit.octets() {
		return 0, errTooMuch
	}
	return m.content.Write(p)
}

// End gives the verdict. Its Body may be read until Close.
//
// The message id is that which the MTA gives the mail, if it does not show it as a
// field. Its copies are the same mail.
func (m *Mail) End(ctx context.Context, messageID string) Verdict {
	switch {
	case m.stage != atBody:
		m.end(outOfOrder, errors.New("the end out of its place"))
	case ctx.Err() != nil:
		m.end(tooLate, ctx.Err())
	}
	m.stage = atEnd
	if m.last != nil {
		return Verdict{Reply: *m.last}
	}
	asItIs := ""
	switch {
	case m.already == nil:
		asItIs = "plain"
	case m.already.encrypted():
		asItIs = "already encrypted"
	case m.refusal != nil:
		return Verdict{Reply: *m.refusal}
	}
	d, err := m.divide(ctx, asItIs != "")
	if err != nil {
		return m.stuck(err)
	}
	if asItIs != "" {
		return m.pass(d, asItIs)
	}
	if m.content != nil && messageID != "" && len(m.header.Values("Message-ID")) == 0 {
		m.header = append(m.header, message.Field{Name: "Message-ID", Value: " " + messageID})
	}
	return m.send(ctx, d)
}

// pass is the verdict on a mail that goes on as it is.
func (m *Mail) pass(d division, how string) Verdict {
	return m.accept(d, how, Verdict{
		Replaces: m.edit.inClear,
		Header:   m.edit.instead,
	})
}

// accept is the verdict on a mail that goes on.
func (m *Mail) accept(d division, how string, v Verdict) Verdict {
	v.Reply, v.Nobody, v.Removes = accepted, len(d.hand) == 0, d.removed(m.from.Pickup)
	for i, copy := range d.copies {
		sent := "encrypted"
		if copy.plain() {
			sent = "plain"
		}
		m.sent(copy, sent, i+1)
	}
	m.sent(d.hand, how, 0)
	m.sent(d.served, "handed over before", 0)
	m.accepting = true // last: after a panic nobody would end it
	return v
}

func (m *Mail) sent(to Group, how string, copy int) {
	for _, r := range to {
		m.fates[r.fate].Sent, m.fates[r.fate].Copy = how, copy
	}
}

// send is the verdict on a mail that was encrypted.
func (m *Mail) send(ctx context.Context, d division) (v Verdict) {
	var unsealed error
	err := m.handOver(ctx, d, func(ctx context.Context) error {
		v, unsealed = m.sealed(ctx, d.hand)
		return unsealed
	})
	switch {
	case unsealed != nil:
		return m.unsent(unsealed, noRoom)
	case err != nil:
		return m.stuck(err)
	}
	v.Trouble = m.unnoted
	return m.accept(d, "encrypted", v)
}

// sealed makes of the mail in hand what its recipients get.
func (m *Mail) sealed(ctx context.Context, hand Group) (v Verdict, err error) {
	if len(hand) == 0 {
		return v, nil
	}
	all := Group(m.to) // who share the envelope that was begun at the header
	if m.sealing == nil {
		all = hand
		if err := m.sealFromContent(hand); err != nil {
			return v, err
		}
	}
	v.Body, err = m.sealing.finish(ctx, all.certs())
	v.Encrypted = true
	v.Replaces = m.edit.sealed
	v.Header = m.edit.envelope(all.cipher().Authenticated())
	return v, err
}

// sealFromContent makes the envelope of a mail that was split.
func (m *Mail) sealFromContent(to Group) error {
	m.seal(to)
	if m.last != nil {
		return m.why
	}
	body, err := m.content.content()
	if err != nil {
		return err
	}
	_, err = io.Copy(m.sealing, body)
	return err
}

// unsent is the verdict on a mail that could not be encrypted or handed over.
func (m *Mail) unsent(err error, otherwise Reply) Verdict {
	switch {
	case errors.Is(err, cms.ErrFault):
		return Verdict{Reply: m.end(notSealed, err), Fault: err}
	case errors.Is(err, errNoMemory):
		return Verdict{Reply: m.end(noMemory, err)}
	case errors.Is(err, errTooLong):
		return Verdict{Reply: m.end(tooLong, err)}
	case isTooLong(err) && !m.committed:
		return Verdict{Reply: m.end(tooMuch, err)}
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return Verdict{Reply: m.end(tooLate, err)}
	}
	return Verdict{Reply: m.end(otherwise, err)}
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
		m.Lost()
	}
	return *m.last
}

// Close drops everything that the mail holds. It may be called at any time,
// and more than once. After a verdict that accepts, Accepted or Lost must be called
// as well, before or after.
func (m *Mail) Close() {
	m.stage = atEnd
	m.drop()
	if !m.accepting {
		m.Lost()
	}
}

func (m *Mail) drop() {
	m.header = nil
	if m.sealing != nil {
		m.sealing.Close()
		m.sealing = nil
	}
	if m.content != nil {
		m.content.Close()
		m.content = nil
	}
}
