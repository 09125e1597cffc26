package gateway

import (
	"slices"
	"strings"

	"smimea.example/internal/cms"
	"smimea.example/keystore"
)

// What the policy says, written down a second time and more simply: for the
// people of a model, of whom everything is known. It calls nothing of the
// gateway. Where it and the gateway differ, one of them is wrong.

// A modelFate is what the policy has for one recipient of one try.
type modelFate struct {
	reply   string // at RCPT: code and status
	plain   bool   // gets the mail in clear
	marked  *Mark  // … if the mail has this mark
	rule    int    // number
	certs   []person
	cipher  cms.Cipher
	mixed   bool
	circle  string // hidden people of the same circle may know of one another
	archive *person
}

const ok250 = "250 2.1.5"

// fate is the policy's table, for one recipient.
func (c *modelCase) fate(r *modelRcpt, f modelFinding) modelFate {
	number := c.ruleFor(r)
	rule := modelRule{}
	if number >= 0 {
		rule = c.rules[number]
	}
	is := func(actions ...Treatment) bool { return slices.Contains(actions, rule.Action) }
	certs := rule.ofFirstKind(f.certs)
	fate := modelFate{rule: number, circle: r.mailbox()}
	switch {
	case r.spelling == isPostmaster:
		return modelFate{reply: ok250, plain: true, rule: -1, circle: r.mailbox()}
	case r.spelling == isBare || r.spelling == isBroken || r.spelling == isSourceRoute:
		fate.reply = "550 5.1.3"
	case r.spelling == isRouted && is(Never, Prefer):
		fate.reply = "550 5.1.3"
	case number < 0:
		fate.reply = "451 4.3.5"
	case is(Never):
		fate.reply, fate.plain = ok250, true
	case f.outcome == keystore.None && is(Prefer):
		fate.reply, fate.plain = ok250, true
	case f.outcome == keystore.None && rule.Mark != (Mark{}) && r.spelling == isRouted:
		fate.reply = "550 5.1.3"
	case f.outcome == keystore.None && rule.Mark != (Mark{}):
		fate.reply, fate.plain, fate.marked = ok250, true, &rule.Mark
	case f.outcome == keystore.Found && len(f.certs) == 0:
		fate.reply = "451 4.4.3"
	case f.outcome == keystore.Found && len(certs) == 0:
		fate.reply = "550 5.7.6"
	case f.outcome == keystore.Found:
		fate.reply, fate.certs, fate.mixed, fate.archive = ok250, certs, rule.Mixed, rule.archive
		fate.cipher = rule.cipherFor(certs)
		if rule.Together {
			fate.circle = "rule " + string(rune('A'+number))
		}
	default:
		fate.reply = map[keystore.Outcome]string{
			keystore.None:     "550 5.7.5",
			keystore.Unusable: "550 5.7.5",
			keystore.WeakOnly: "550 5.7.6",
			keystore.NoDomain: "550 5.1.2",
			keystore.NullMX:   "556 5.1.10",
			keystore.Bogus:    "451 4.7.5",
			keystore.Failed:   "451 4.4.3",
		}[f.outcome]
	}
	return fate
}

// ruleFor returns the place of the first rule that matches; -1 if none does.
func (c *modelCase) ruleFor(r *modelRcpt) int {
	if r.domain == "" {
		return -1
	}
	return slices.IndexFunc(c.rules, func(rule modelRule) bool {
		local, domain, _ := strings.Cut(c.from, "@")
		return anyPattern(rule.Recipients, r.local, r.domain) &&
			(len(rule.Senders) == 0 || anyPattern(rule.Senders, local, domain))
	})
}

func anyPattern(patterns []string, local, domain string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		return p == "*" || p == "<>" && local == "" || p == domain && domain != "" ||
			p[0] == '.' && strings.HasSuffix(domain, p) || p == strings.ToLower(local)+"@"+domain
	})
}

// ofFirstKind returns the certificates of the first kind that the rule takes.
func (r modelRule) ofFirstKind(certs []person) []person {
	kinds := r.Kinds
	if len(kinds) == 0 {
		kinds = []cms.Kind{cms.RSA, cms.EC, cms.X25519, cms.MLKEM}
	}
	for _, kind := range kinds {
		own := slices.DeleteFunc(slices.Clone(certs), func(p person) bool { return p.to.Kind() != kind })
		if len(own) > 0 {
			return own
		}
	}
	return nil
}

// cipherFor: GCM if everybody who says what he reads says GCM, and the rule says it
// for those who say nothing; the rule's cipher if nobody says anything; otherwise
// what everybody reads.
func (r modelRule) cipherFor(certs []person) cms.Cipher {
	silent := 0
	for _, p := range certs {
		if !p.wishesGCM() {
			silent++
		}
	}
	switch {
	case silent == 0:
		return cms.AES256GCM
	case silent == len(certs), r.Cipher == cms.AES256GCM:
		return r.Cipher
	}
	return cms.AES256CBC
}

func (p person) wishesGCM() bool { return strings.HasSuffix(p.address, "gcm") }

// readsWith says whether two may share an envelope, leaving aside whether each may
// hear of the other.
func (f modelFate) readsWith(g modelFate) bool {
	if f.cipher != g.cipher || f.archive != g.archive {
		return false
	}
	if slices.EqualFunc(f.certs, g.certs, func(a, b person) bool { return a.address == b.address }) {
		return true
	}
	classic := func(k cms.Kind) bool { return k == cms.RSA || k == cms.EC }
	a, b := f.certs[0].to.Kind(), g.certs[0].to.Kind()
	return classic(a) && classic(b) && (a == b || f.mixed && g.mixed)
}

// A modelPlan is what the policy has for a mail: what each recipient is told at
// RCPT, and what the sender is told at the end.
type modelPlan struct {
	to     []*modelRcpt
	fates  []modelFate // of each
	said   []string    // to each at RCPT
	end    string
	copies int // beside the mail in hand
}

// plan is the policy for one mail.
func (c *modelCase) plan(to []*modelRcpt, find func(*modelRcpt) modelFinding) modelPlan {
	p := modelPlan{to: to, end: ok250}
	var in []int
	for i, r := range to {
		f := c.fate(r, find(r))
		if f.reply == ok250 && !c.resubmit && !p.joins(in, f) {
			f.reply = "452 4.5.3"
		}
		p.fates = append(p.fates, f)
		if f.reply == ok250 {
			in = append(in, i)
		}
		p.said = append(p.said, f.reply)
	}
	if c.pickup {
		p.pickup()
	}
	if p.end == ok250 {
		p.atEnd(c, in)
	}
	return p
}

// joins: without copies the first recipient decides.
func (p *modelPlan) joins(in []int, f modelFate) bool {
	for _, i := range in {
		if p.fates[i].plain != f.plain || !f.plain && !p.fates[i].readsWith(f) {
			return false
		}
	}
	return true
}

// pickup: nobody listens at RCPT, and all stands or falls with the worst.
func (p *modelPlan) pickup() {
	lasting := map[string]string{"452 4.5.3": "550 5.5.3", "451 4.3.5": "550 5.3.5"}
	for i, f := range p.fates {
		p.said[i] = ok250
		reply := f.reply
		if other, ok := lasting[reply]; ok {
			reply = other
		}
		if reply != ok250 && (p.end == ok250 || p.end[0] == '4' && reply[0] == '5') {
			p.end = reply
		}
	}
}

// atEnd is what the header shows.
func (p *modelPlan) atEnd(c *modelCase, in []int) {
	circles := map[string][]modelFate{}
	people := map[string]bool{}
	plain := 0
	for _, i := range in {
		f := p.fates[i]
		if f.marked != nil && !c.has(*f.marked) {
			p.end = "550 5.7.5"
			return
		}
		if f.plain {
			plain = 1
		} else {
			people[p.to[i].mailbox()] = true
		}
	}
	if c.sealed {
		return // by its sender: one copy for all
	}
	hidden := false
	for _, i := range in {
		f := p.fates[i]
		switch {
		case f.plain:
			continue
		case len(people) > 1 && !c.shows(p.to[i]):
			hidden = true
		default:
			f.circle = ""
		}
		if !slices.ContainsFunc(circles[f.circle], f.readsWith) {
			circles[f.circle] = append(circles[f.circle], f)
		}
	}
	groups := plain
	for _, some := range circles {
		groups += len(some)
	}
	p.copies = max(0, groups-1)
	switch {
	case !c.resubmit && hidden && groups > 1:
		p.end = "550 5.7.3"
	case c.resubmit && p.copies > c.copies:
		p.end = "550 5.5.3"
	}
}
