package gateway

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"smimea.example/internal/cms"
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

	// Keys is what the key store found. It is asked under Require only.
	Keys  keystore.Keys
	Asked bool

	// Certs are those of Keys that a mail to this recipient alone is encrypted
	// to.
	Certs []cms.Recipient

	Reply Reply
	Why   error // what is behind a reply that does not accept
}

// Explain judges a recipient, given without angle brackets, of a mail from
// sender. It is what [Mail.Recipient] does, the other recipients aside.
func (g *Gateway) Explain(ctx context.Context, sender, address string) Explanation {
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
	if e.Rule.Action == Require {
		e.ask(ctx, g, mailbox)
	}
	if err != nil {
		e.Why = err
	}
	e.Reply = decide(e.Rule, Finding{address, err, mailbox.Routed, e.Keys.Outcome})
	return e
}

// ask asks the key store.
func (e *Explanation) ask(ctx context.Context, g *Gateway, mailbox smimea.Address) {
	e.Owner, _ = mailbox.Owner() // why there is none, the key store says too
	e.Keys, e.Asked = g.find(ctx, e.Address), true
	e.Certs = ofKind(e.Keys.Certs, preferred(e.Keys.Certs))
	if e.Keys.Outcome == keystore.Found && len(e.Certs) == 0 {
		e.Keys = keystore.Keys{Why: errors.New("found, and yet no certificate of a kind that is known")}
	}
	e.Why = e.Keys.Why
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

// recipient is the one explained, with all his usable certificates.
func (e Explanation) recipient() recipient {
	return recipient{
		address: e.Address,
		plain:   e.Rule.Action == Never,
		certs:   e.Keys.Certs,
	}
}

// fate is what the log says of the recipient.
func (e Explanation) fate(r recipient, reply Reply) Fate {
	f := Fate{
		Address:  e.Address,
		Rule:     string(e.Rule.Action),
		Reply:    reply,
		Origin:   e.Keys.Origin,
		Warnings: e.Keys.Warnings,
		Why:      e.Why,
	}
	if e.Asked {
		f.Outcome = e.Keys.Outcome.String()
	}
	for _, c := range r.certs {
		f.Certs = append(f.Certs, c.Fingerprint())
	}
	return f
}
