package gateway

import (
	"smimea.example/keystore"
	"smimea.example/smimea"
)

// A Replay judges the recipients of one mail again, from what a log says was
// found of them. It asks nobody.
//
// A log has neither certificates nor header. So nothing is said of who may share
// an envelope, and of who has to be hidden from whom.
type Replay struct {
	gateway *Gateway
	from    Sender
	to      []recipient // the first who was accepted
	unsure  bool        // somebody may have been accepted before him
}

// Replay begins a mail.
func (g *Gateway) Replay(from Sender) *Replay { return &Replay{gateway: g, from: from} }

// Recipient judges one recipient as [Mail.Recipient] does, if the key store were
// to find what was found. It is open what would become of him if that is not
// known and counts.
func (r *Replay) Recipient(address string, found keystore.Outcome, known bool) (e Explanation, open bool) {
	if !known {
		found = keystore.Found // who is turned away even then is so whatever there is
	}
	e = r.gateway.judge(r.from.Address, address, func(e *Explanation, _ smimea.Address) { e.Keys.Outcome = found })
	if e.Reply.Action == Accept {
		open = e.Asked && !known
		e.Reply, open = r.join(e, open)
	}
	if r.from.Pickup {
		e.Reply = forGood(e.Reply)
	}
	return e, open
}

// join is what becomes of one who would be accepted if he were alone. Where a mail
// cannot be split, the first one decides.
func (r *Replay) join(e Explanation, open bool) (Reply, bool) {
	switch {
	case r.gateway.Resubmit != nil:
	case len(r.to) == 0 && open:
		r.unsure = true
	case r.unsure:
		return e.Reply, true
	case len(r.to) == 0:
		r.to = append(r.to, e.recipient())
	case !open && parts(r.to, e.InClear()):
		return anotherFate(e.Address), false
	}
	return e.Reply, open
}
