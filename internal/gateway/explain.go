package gateway

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"smimea.example/internal/cms"
	"smimea.example/internal/message"
	"smimea.example/keystore"
	"smimea.example/smimea"
)

// budget is the default of Gateway.Budget. MTAs wait 10 seconds for a milter
// (Sendmail), and their clients not for ever.
const budget = 7 * time.Second

// An Explanation says how a recipient is judged, and why.
type Explanation struct {
	Address string
	Owner   string // where SMIMEA records are looked for; empty if there is no such name
	Rule    Rule   // the rule that counts
	Number  int    // of the rule, counted from 1; 0 if none counts

	// Keys is what the key store found. It is not asked under Never.
	Keys  keystore.Keys
	Asked bool

	// Certs are those of Keys that a mail to this recipient is encrypted to, with
	// this Cipher.
	Certs  []cms.Recipient
	Cipher cms.Cipher
	form   form

	// Mark is what the mail must have to go in clear to the recipient; the zero Mark
	// if it is encrypted, or goes in clear without one.
	Mark Mark

	// Copy is which copy of a mail to several the recipient gets: 0 is the mail
	// itself. It counts if Reply accepts.
	Copy int

	Reply Reply
	Why   error // what is behind a reply that does not accept
}

// ExplainMail judges all recipients of one mail, as [Mail] does: to are those
// whom it names in To and Cc, hidden those whom it does not.
func (g *Gateway) ExplainMail(ctx context.Context, sender string, to, hidden []string) []Explanation {
	var all []Explanation
	var accepted []recipient
	for _, address := range slices.Concat(to, hidden) {
		e := g.Explain(ctx, sender, address)
		next := e.recipient()
		if e.Reply.Action == Accept && g.Resubmit == nil {
			e.Reply = join(accepted, next)
		}
		if e.Reply.Action == Accept {
			next.fate = len(all)
			accepted = append(accepted, next)
		}
		all = append(all, e)
	}
	groups, reply := group(accepted, message.Header{{Name: "To", Value: strings.Join(to, ", ")}}, g.Resubmit.copies())
	if reply.Action != Accept {
		for _, r := range accepted {
			all[r.fate].Reply = reply
		}
		return all
	}
	var d division
	d.deal(groups, len(groups) == 1, false)
	for i, c := range d.copies {
		for _, r := range c {
			all[r.fate].Copy = i + 1
		}
	}
	return all
}

// Explain judges a recipient, given without angle brackets, of a mail from
// sender. It is what [Mail.Recipient] does, the other recipients aside.
func (g *Gateway) Explain(ctx context.Context, sender, address string) Explanation {
	return g.judge(sender, address, func(e *Explanation, mailbox smimea.Address) { e.ask(ctx, g, mailbox) })
}

// judge judges a recipient; ask is called if his rule hangs on what the key store
// finds, and says so.
func (g *Gateway) judge(sender, address string, ask func(*Explanation, smimea.Address)) Explanation {
	e := Explanation{Address: address}
	if strings.EqualFold(address, "postmaster") {
		// RFC 5321, Section 4.5.1: without a domain it is the house's own
		// postmaster, and mail to him must be taken.
		e.Rule, e.Reply = Rule{Action: Never}, accepted
		return e
	}
	mailbox, err := smimea.ParseAddress(address)
	if err == nil {
		e.Number, e.Why = match(g.rules(), newSender(sender), party{mailbox: mailbox})
	}
	if e.Number > 0 {
		e.Rule = g.Rules[e.Number-1]
	}
	if e.Rule.Action == Require || e.Rule.Action == Prefer {
		e.Asked = true
		ask(&e, mailbox)
	}
	if err != nil {
		e.Why = err
	}
	if e.Asked && e.Rule.Action == Require && e.Rule.inClear(e.Keys.Outcome) {
		e.Mark = e.Rule.Mark
	}
	e.Reply = decide(e.Rule, Finding{address, err, mailbox.Routed, e.Keys.Outcome})
	return e
}

// ask asks the key store.
func (e *Explanation) ask(ctx context.Context, g *Gateway, mailbox smimea.Address) {
	e.Owner, _ = mailbox.Owner() // why there is none, the key store says too
	e.Keys = g.find(ctx, e.Address)
	e.Certs, e.form = pick(e.Keys.Certs, e.Rule)
	e.Cipher = e.form.cipher
	if e.Keys.Outcome == keystore.Found && len(e.Certs) == 0 {
		e.nothingOfAKind()
	}
	e.Why = e.Keys.Why
}

// nothingOfAKind says what it means that there are certificates, and none of the
// kinds that the rule wants.
func (e *Explanation) nothingOfAKind() {
	if len(e.Keys.Certs) == 0 {
		e.Keys = keystore.Keys{Why: errors.New("found, and yet there is no certificate")}
		return
	}
	e.Keys.Outcome = keystore.WeakOnly
	e.Keys.Why = fmt.Errorf("there are certificates, and none of a kind that the rule takes (%s)", words(e.Rule.kinds()))
}

func words(kinds []cms.Kind) string {
	var all []string
	for _, k := range kinds {
		all = append(all, k.String())
	}
	return strings.Join(all, ", ")
}

// find asks the key store within the budget.
func (g *Gateway) find(ctx context.Context, address string) keystore.Keys {
	if g.Keys == nil {
		return keystore.Keys{Why: errors.New("there is no key store")}
	}
	limit := g.Budget
	if limit <= 0 {
		limit = budget
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("no answer within %v", limit))
	defer cancel()
	return g.Keys.Find(ctx, address)
}

// InClear says that the mail goes to the recipient as it is, if it goes.
func (e Explanation) InClear() bool {
	return e.Rule.Action == Never || e.Asked && e.Rule.inClear(e.Keys.Outcome)
}

// recipient is the one explained.
func (e Explanation) recipient() recipient {
	r := recipient{
		address: e.Address,
		plain:   e.InClear(),
		mark:    e.Mark,
		sheds:   e.Rule.Mark,
		certs:   e.Certs,
		form:    e.form,
	}
	if e.Rule.Together {
		r.together = e.Number
	}
	return r
}

// fate is what the log says of the recipient.
func (e Explanation) fate(r recipient, reply Reply) Fate {
	f := Fate{
		Address:  e.Address,
		Rule:     string(e.Rule.Action),
		Reply:    reply,
		Origin:   e.Keys.Origin,
		DNSSEC:   e.Keys.DNSSEC,
		Warnings: e.Keys.Warnings,
		Why:      e.Why,
	}
	if e.Asked {
		f.Outcome = e.Keys.Outcome.String()
	}
	f.Archive = r.form.archive.Fingerprint()
	for _, c := range r.certs {
		f.Certs = append(f.Certs, c.Fingerprint())
		f.Cipher = r.form.cipher.String()
	}
	return f
}
