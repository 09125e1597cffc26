package gateway

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"smimea.example/internal/message"
)

// What the model's MTA has got in the end.

// takeCopies takes what the office took, and notes which copies nobody can know of.
func (t *modelTransaction) takeCopies() error {
	w := t.w
	doubtful := 0
	for _, p := range t.office.mails() {
		w.tally.copies++
		to, err := t.named(p.to)
		if err != nil {
			return err
		}
		d := modelDelivery{to: to, text: p.data}
		if err := w.deliver(d); err != nil {
			return fmt.Errorf("a copy: %w", err)
		}
		if t.office.happened && !t.isNoted(to) {
			w.tally.doubtful++
			if doubtful++; doubtful > 1 && t.office.fault.kind == cutOff {
				return errors.New("one line was cut, and more than one copy is not written down")
			}
			for _, r := range to {
				w.state[r.mailbox()].extra++
			}
		}
	}
	return nil
}

// isNoted: after a fault that keeps the gateway from knowing that the office has a
// copy, or from writing it down, the copy may come a second time.
func (t *modelTransaction) isNoted(to []*modelRcpt) bool {
	switch kind := t.office.fault.kind; {
	case kind == noteFails, t.office.isDead() && kind == dies, kind == cutOff || kind == hangs:
	default:
		return true
	}
	if kind := t.office.fault.kind; kind == noteFails {
		return false
	}
	journal := t.w.journal
	if t.snapshot != "" {
		path := t.snapshot + ".look"
		data, err := os.ReadFile(t.snapshot)
		if err == nil {
			err = os.WriteFile(path, data, 0o600)
		}
		if err == nil {
			journal, err = OpenJournal(path)
		}
		if err != nil {
			t.failure = err
			return false
		}
		defer journal.Close()
	}
	has, err := journal.served(t.mail.key)
	if err != nil {
		t.failure = err
		return false
	}
	return has(to[0].address)
}

// named finds whom an address belongs to.
func (t *modelTransaction) named(addresses []string) (to []*modelRcpt, err error) {
	for _, a := range addresses {
		i := slices.IndexFunc(t.in, func(r *modelRcpt) bool {
			return withoutQuotes(r.address) == strings.TrimSuffix(withoutQuotes(a), "@mail.corp.test")
		})
		if i < 0 {
			return nil, fmt.Errorf("a copy for %s, who is no recipient", a)
		}
		to = append(to, t.in[i])
	}
	return to, nil
}

// takeHand makes of the mail in hand what the verdict says, as a mail server does.
func (t *modelTransaction) takeHand(v Verdict, h message.Header) error {
	w := t.w
	w.tally.accepted++
	var to []*modelRcpt
	for _, r := range t.in {
		if !v.Nobody && !slices.ContainsFunc(v.Removes, func(name string) bool { return w.c.takesFor(r, name) }) {
			to = append(to, r)
		}
	}
	t.allowNamesakes(to)
	if len(to) > 0 {
		w.tally.hands++
		var text strings.Builder
		taken(h, v).WriteTo(&text)
		text.WriteString("\r\n")
		if v.Encrypted {
			if _, err := io.Copy(&text, v.Body); err != nil {
				return err
			}
		} else {
			text.WriteString(w.c.body)
		}
		if err := w.deliver(modelDelivery{to: to, text: text.String()}); err != nil {
			return fmt.Errorf("the mail in hand: %w", err)
		}
	}
	for _, r := range t.in {
		s := w.state[r.mailbox()]
		s.pending = false
		if s.copies == s.before {
			return fmt.Errorf("the mail was accepted, and %s has not got it", r.address)
		}
	}
	return nil
}

// allowNamesakes: whoever has got his copy stays on the mail in hand if an MTA could
// take him for somebody who has not; rather twice than not at all.
func (t *modelTransaction) allowNamesakes(to []*modelRcpt) {
	for _, r := range to {
		s := t.w.state[r.mailbox()]
		if s.copies > s.before && slices.ContainsFunc(to, func(o *modelRcpt) bool {
			return o.mailbox() != r.mailbox() && lower(o.local) == lower(r.local)
		}) {
			s.extra++
			t.w.tally.allowed++
		}
	}
}

// taken is the header that the verdict makes.
func taken(h message.Header, v Verdict) message.Header {
	h = slices.Clone(h)
	for _, name := range v.Replaces {
		if i := slices.IndexFunc(h, func(f message.Field) bool { return f.Name == name }); i >= 0 {
			h = slices.Delete(h, i, i+1)
		}
	}
	return append(h, v.Header...)
}

// takesFor says whether the MTA takes a name for that of a recipient.
func (c *modelCase) takesFor(r *modelRcpt, name string) bool {
	known := r.address
	if r.byName {
		known = r.local
	}
	return known == name || c.folding && !c.pickup && lower(r.address) == lower(name)
}
