package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/emersion/go-smtp"

	"smimea.example/internal/cms"
	"smimea.example/internal/message"
)

// A mail for whose recipients one copy is not enough leaves in several. One of
// them is the mail that the MTA has in hand already; the others are handed over
// to it anew, in two steps: every copy as far as the dot that ends it, and when
// all stand there, the dots. Whatever goes wrong before that leaves nothing
// behind. Of what goes wrong later the journal knows who has got his copy when
// the mail comes again.

// commitTime is kept for the dots, of the time for the end of a mail.
const commitTime = time.Minute

// handOver gives the MTA all the copies, or says why it could not. After an
// error some may have been taken. It has the mail in hand sealed when the copies
// stand before their dots: their shares of the memory are given back by then, and
// a mail that had one and waited for another could wait for others that do so.
func (m *Mail) handOver(ctx context.Context, d division, seal func(context.Context) error) error {
	switch {
	case len(d.copies) == 0:
		return seal(ctx)
	case m.gateway.Shadow:
		return m.rehearse(ctx, d.copies, seal)
	}
	r := m.gateway.Resubmit
	prepare, cancel := withReserve(ctx)
	defer cancel()
	release, err := r.reserve(prepare, len(d.copies))
	if err != nil {
		return err
	}
	defer release()
	if err := r.Journal.begin(m.key); err != nil {
		return err
	}
	all, err := m.submitAll(prepare, d, seal)
	if err != nil && !m.opened {
		return errors.Join(err, r.Journal.settle(m.key, nil))
	}
	if err != nil {
		return err
	}
	m.opened, m.committed = true, true
	if err := m.commitAll(ctx, all); err != nil {
		return errors.Join(err, r.Journal.settle(m.key, nil)) // in case that nobody has got one
	}
	return nil
}

// rehearse makes the copies, as far as nobody sees it.
func (m *Mail) rehearse(ctx context.Context, copies []Group, seal func(context.Context) error) error {
	for _, to := range copies {
		if err := errors.Join(ctx.Err(), m.writeCopy(ctx, io.Discard, to)); err != nil {
			return err
		}
	}
	return seal(ctx)
}

// withReserve keeps time for the dots: once the first has been sent it is too
// late to give up.
func withReserve(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return context.WithCancel(ctx)
	}
	return context.WithDeadline(ctx, deadline.Add(-min(commitTime, time.Until(deadline)/4)))
}

// submitAll takes every copy as far as the dot, or none, and seals the mail in hand.
// An MTA for which that will be too long has to say so by then.
func (m *Mail) submitAll(ctx context.Context, d division, seal func(context.Context) error) (all []*submission, err error) {
	defer func() {
		if err != nil {
			for _, s := range all {
				s.abort()
			}
		}
	}()
	e, err := newEnvelope(m.from)
	if err != nil {
		return nil, err
	}
	for _, to := range d.copies {
		e.options.Size = max(m.copySize(to), m.copySize(d.hand))
		s, err := m.gateway.Resubmit.submit(ctx, e, to, func(w io.Writer) error { return m.writeCopy(ctx, w, to) })
		if err != nil {
			return all, err
		}
		all = append(all, s)
	}
	if err := seal(ctx); err != nil {
		return all, err
	}
	return all, ctx.Err() // which has closed their connections
}

// copySize is about how long a copy will be, so that an MTA for which it is too
// long says so before it has taken others.
func (m *Mail) copySize(to Group) int64 {
	const perCertificate = 600 // octets of an envelope
	size := m.content.size
	if len(to) > 0 && !to.plain() {
		size = (size + int64(len(to.certs())+1)*perCertificate) * 4 / 3 * 78 / 76
	}
	return int64(m.octets) + size
}

// commitAll sends the dots, and notes who has got his copy. If that cannot be noted
// it is no reason to defer the mail: it would come again, and nobody would know.
func (m *Mail) commitAll(ctx context.Context, all []*submission) error {
	failed, unnoted := make([]error, len(all)), make([]error, len(all))
	var wait sync.WaitGroup
	for i, s := range all {
		wait.Go(func() { failed[i], unnoted[i] = m.commit(ctx, s) })
	}
	wait.Wait()
	m.unnoted = errors.Join(unnoted...)
	if err := errors.Join(failed...); err != nil {
		return errors.Join(err, m.unnoted)
	}
	return nil
}

// commit waits for the disk before it goes on, so that only a crash between the
// MTA's answer and this note can give somebody a second copy. Nobody else would catch
// a panic here, and it would cost the process.
func (m *Mail) commit(ctx context.Context, s *submission) (failed, unnoted error) {
	defer func() {
		if p := recover(); p != nil {
			s.abort()
			failed = fmt.Errorf("handing over a copy: panic: %v", p)
		}
	}()
	if err := s.commit(ctx); err != nil {
		s.abort()
		return err, nil
	}
	unnoted = m.gateway.Resubmit.Journal.note(m.key, s.to)
	s.leave()
	return nil, unnoted
}

// Accepted is called when the MTA has gone on after a verdict that accepts, so
// that the mail will not come again: another one like it is a mail of its own.
func (m *Mail) Accepted() error {
	defer m.Lost()
	if !m.opened || m.gateway.Shadow {
		return nil
	}
	m.opened = false
	return m.gateway.Resubmit.Journal.settle(m.key, m.to)
}

// Lost is called instead when nothing was heard of the MTA after such a verdict:
// perhaps the mail comes again.
func (m *Mail) Lost() {
	if m.entered {
		m.entered = false
		m.gateway.Resubmit.Journal.leave(m.key, m.to)
	}
}

// isTooLong says whether the MTA has refused a copy for its length (RFC 1870,
// Section 6.1; RFC 3463, Section 3.4), which no later try will change.
func isTooLong(err error) bool {
	var refused *smtp.SMTPError
	return errors.As(err, &refused) && refused.Code == 552 && refused.EnhancedCode == smtp.EnhancedCode{5, 3, 4}
}

// stuck is the verdict on a mail whose copies could not be handed over.
func (m *Mail) stuck(err error) Verdict {
	if errors.Is(err, errBusy) { // which is nobody's trouble
		return Verdict{Reply: m.end(onItsWay, err)}
	}
	v := m.unsent(err, notSplit)
	if v.Fault == nil {
		v.Trouble = err
	}
	return v
}

// writeCopy writes a whole copy of the mail.
func (m *Mail) writeCopy(ctx context.Context, w io.Writer, to Group) error {
	body, err := m.content.content()
	if err != nil {
		return err
	}
	outside := slices.Concat(message.Header{handedOver(time.Now())}, m.edit.header(m.header, !to.plain()))
	if !to.plain() {
		outside = append(outside, message.Envelope(to.cipher().Authenticated())...)
	}
	if err := writeHeader(w, outside); err != nil {
		return err
	}
	if to.plain() {
		_, err := io.Copy(w, body)
		return err
	}
	var inside bytes.Buffer
	if err := writeHeader(&inside, m.header.Entity()); err != nil {
		return err
	}
	length := int64(inside.Len()) + m.content.size
	encoder := message.NewBase64Writer(w)
	if err := m.encryptCopy(ctx, encoder, to, io.MultiReader(&inside, body), length); err != nil {
		return err
	}
	return encoder.Close()
}

// writeHeader writes the fields, and the empty line behind them.
func writeHeader(w io.Writer, h message.Header) error {
	if _, err := h.WriteTo(w); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\r\n")
	return err
}

func (m *Mail) encryptCopy(ctx context.Context, w io.Writer, to Group, entity io.Reader, length int64) error {
	if !to.cipher().Authenticated() {
		return cms.Encrypt(w, entity, length, to.certs(), to.cipher())
	}
	s := m.gateway.newSealing()
	defer s.Close()
	if length+cms.SealOverhead > s.memory.size {
		return errTooLong
	}
	s.group, s.size = to, length
	object, ciphertext, err := s.sealWhole(ctx, entity)
	if err == nil {
		err = object.Check(to.certs(), to.cipher(), length)
	}
	if err == nil {
		_, err = io.Copy(w, object.Reader(ciphertext))
	}
	return err
}
