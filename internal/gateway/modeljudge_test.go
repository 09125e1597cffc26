package gateway

import (
	"bytes"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"smimea.example/internal/cms"
)

// judgeReply: what the sender is told at the end is what the policy says, or that
// the copies could not be handed over.
func (t *modelTransaction) judgeReply(v Verdict) error {
	w := t.w
	got := codes(v.Reply)
	if v.Fault != nil {
		return fmt.Errorf("the gateway's own mistake: %w", v.Fault)
	}
	needs := w.plan.end == ok250 && (w.plan.copies > 0 || !w.journal.empty())
	stuck := "451 4.3.0"
	if f := t.office.fault; f.kind == refused && f.code == 552 && f.command != "DOT" { // the copy is too long for the MTA
		stuck = "550 5.5.3"
	}
	if got != w.plan.end && !(needs && t.excused() && got == stuck) {
		return fmt.Errorf("in the end: %s (%s; %v), the policy says %s; fault: %v", got, v.Reply.Text, v.Trouble, w.plan.end, t.office.fault)
	}
	if got == stuck && t.office.fault.kind == journalFull {
		t.office.happens()
	}
	copies := len(t.office.mails())
	if v.Reply.Action == Accept && copies > w.plan.copies+1 {
		return fmt.Errorf("%d copies, where %d would do", copies, w.plan.copies)
	}
	if t.office.happened && t.office.fault.kind == refused && t.office.fault.command != "DOT" && copies > 0 {
		return fmt.Errorf("%d copies left after %v, before any dot", copies, t.office.fault)
	}
	if v.Reply.Action != Accept && copies > 0 && !t.office.happened {
		return errors.New("copies left, and nothing went wrong")
	}
	return nil
}

// excused: something has gone wrong that the sender may hear of.
func (t *modelTransaction) excused() bool {
	return t.office.happened || t.office.fault.kind == journalFull
}

// A modelDelivery is a mail that the MTA has taken.
type modelDelivery struct {
	to   []*modelRcpt
	text string
}

// deliver judges a mail that has left, and counts it.
func (w *modelWorld) deliver(d modelDelivery) error {
	head, body, ok := strings.Cut(d.text, "\r\n\r\n")
	if !ok {
		return errors.New("no header")
	}
	fates := make([]modelFate, len(d.to))
	for i, r := range d.to {
		at := slices.Index(w.plan.to, r)
		fates[i] = w.plan.fates[at]
		if fates[i].reply != ok250 {
			return fmt.Errorf("%s gets it, to whom the policy says %s", r.address, fates[i].reply)
		}
	}
	if err := w.judgeHeader(head, fates); err != nil {
		return err
	}
	var err error
	switch {
	case w.c.sealed:
		if body != w.c.body {
			err = errors.New("what the sender encrypted is not as it was")
		}
	case strings.Contains(head, "application/pkcs7-mime"):
		err = w.judgeEnvelope(d.to, fates, body)
	default:
		err = w.judgeClear(d.to, fates, body)
	}
	if err != nil {
		return err
	}
	return w.count(d.to)
}

// judgeHeader: nobody sees whom the sender hides, and everything else is there.
func (w *modelWorld) judgeHeader(head string, fates []modelFate) error {
	lines := strings.Split(head, "\r\n")
	count := func(name string) (n int) {
		for _, line := range lines {
			if strings.HasPrefix(strings.ToLower(line), name+":") {
				n++
			}
		}
		return n
	}
	for _, once := range []string{"from", "to", "subject", "message-id", "references", "content-type", "mime-version", "x-spam-score"} {
		if n := count(once); n != 1 {
			return fmt.Errorf("%d fields %s in %q", n, once, head)
		}
	}
	if count("bcc") > 0 {
		return fmt.Errorf("Bcc in %q", head)
	}
	for _, f := range w.plan.fates { // one mark, as far as it counted for anybody
		if f.marked != nil && f.reply == ok250 && strings.Contains(head, markInHeader(*f.marked)) {
			return fmt.Errorf("the mark is still there: %q", head)
		}
	}
	return nil
}

func markInHeader(m Mark) string {
	if m.Field == "Subject" {
		return m.Text
	}
	return m.Field
}

// judgeClear: only for whom the policy lets it.
func (w *modelWorld) judgeClear(to []*modelRcpt, fates []modelFate, body string) error {
	for i, r := range to {
		if !fates[i].plain || fates[i].marked != nil && !w.c.has(*fates[i].marked) {
			return fmt.Errorf("PLAINTEXT for %s", r.address)
		}
	}
	if body != w.c.body {
		return fmt.Errorf("the body is %q", body)
	}
	return nil
}

// judgeEnvelope: everybody can read it, nobody else can, nobody hears of anybody
// who is hidden, and nobody locks another one out.
func (w *modelWorld) judgeEnvelope(to []*modelRcpt, fates []modelFate, body string) error {
	object, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(body, "\r\n", ""))
	if err != nil {
		return err
	}
	named := w.namedIn(object)
	for i, r := range to {
		if fates[i].plain {
			return fmt.Errorf("%s gets it encrypted, who has no key", r.address)
		}
		for _, p := range fates[i].certs {
			if !slices.Contains(named, p.address) {
				return fmt.Errorf("%s cannot read it: it is for %q", r.address, named)
			}
		}
		if archive := fates[i].archive; archive != nil && !slices.Contains(named, archive.address) {
			return fmt.Errorf("it is not for the archive of %s", r.address)
		}
		if authenticated := bytes.Contains(object[:40], authEnvelopedData); authenticated != (fates[i].cipher == cms.AES256GCM) {
			return fmt.Errorf("%s gets it in another cipher than %s", r.address, fates[i].cipher)
		}
	}
	if err := w.judgeNames(to, fates, named); err != nil {
		return err
	}
	entity := "content-type: text/plain;\r\n\tcharset=us-ascii\r\n\r\n" + w.c.body
	who := fates[0].certs[w.tries%len(fates[0].certs)]
	if got, err := cms.Decrypt(object, who.to.Certificate(), who.key); err != nil || string(got) != entity {
		return fmt.Errorf("%s reads %q, %v", to[0].address, got, err)
	}
	return nil
}

var authEnvelopedData, _ = asn1.Marshal(asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 1, 23})

// judgeNames looks at everybody whose certificate the envelope names: whoever has
// that certificate, all of them may be named to one another.
func (w *modelWorld) judgeNames(to []*modelRcpt, fates []modelFate, named []string) error {
	left := slices.Clone(named)
	drop := func(certs ...person) {
		for _, p := range certs {
			left = slices.DeleteFunc(left, func(name string) bool { return name == p.address })
		}
	}
	for i, a := range to {
		drop(fates[i].certs...)
		if fates[i].archive != nil {
			drop(*fates[i].archive)
		}
		for j, b := range to[:i] {
			if !w.maySee(a, fates[i], b, fates[j]) {
				return fmt.Errorf("%s and %s hear of one another", a.address, b.address)
			}
			if !fates[i].readsWith(fates[j]) {
				return fmt.Errorf("%s and %s share an envelope, and one may not be able to read it", a.address, b.address)
			}
		}
	}
	// Those who have got a copy already may be named in the envelope of the mail in
	// hand, if it was made for them too.
	for i, r := range w.plan.to {
		f := w.plan.fates[i]
		if f.reply == ok250 && !f.plain && w.maySee(r, f, to[0], fates[0]) && f.readsWith(fates[0]) {
			drop(f.certs...)
		}
	}
	if len(left) > 0 {
		return fmt.Errorf("it names %q to %s", left, to[0].address)
	}
	return nil
}

// maySee: two may hear of one another who are both in To or Cc, or one and the
// same, or both hidden under a rule that lets them.
func (w *modelWorld) maySee(a *modelRcpt, f modelFate, b *modelRcpt, g modelFate) bool {
	switch {
	case a.mailbox() == b.mailbox():
		return true
	case w.c.shows(a) && w.c.shows(b):
		return true
	}
	return !w.c.shows(a) && !w.c.shows(b) && f.circle == g.circle
}

// namedIn returns the certificates of this case that an object names: issuer and
// serial number, RFC 5652, Section 10.2.4.
func (w *modelWorld) namedIn(object []byte) (names []string) {
	head := object[:min(len(object), 100_000)]
	seen := map[string]bool{}
	for _, p := range w.c.everybody() {
		if seen[p.address] {
			continue
		}
		seen[p.address] = true
		cert := p.to.Certificate()
		name, err := asn1.Marshal(struct {
			Issuer asn1.RawValue
			Serial *big.Int
		}{asn1.RawValue{FullBytes: cert.RawIssuer}, cert.SerialNumber})
		if err == nil && bytes.Contains(head, name) {
			names = append(names, p.address)
		}
	}
	return names
}

// everybody returns all who have to do with the case and have a certificate.
func (c *modelCase) everybody() []person {
	var all []person
	for _, r := range c.to {
		all = append(all, r.finding.certs...)
	}
	for _, t := range c.tries {
		for _, f := range t.findings {
			all = append(all, f.certs...)
		}
	}
	for _, r := range c.rules {
		if r.archive != nil {
			all = append(all, *r.archive)
		}
	}
	return all
}

// count counts a copy for each mailbox.
func (w *modelWorld) count(to []*modelRcpt) error {
	seen := map[string]bool{}
	for _, r := range to {
		box := r.mailbox()
		if seen[box] {
			continue
		}
		seen[box] = true
		s := w.state[box]
		s.copies++
		switch n := s.copies - s.before; {
		case n > 1+s.extra:
			return fmt.Errorf("%s gets it %d times", r.address, n)
		case n > 1:
			w.tally.second++
		}
	}
	return nil
}

// judgeAll: in the end everybody has got the mail, or the sender knows of him.
func (w *modelWorld) judgeAll() error {
	for box, s := range w.state {
		if s.copies == s.before && !s.told {
			return fmt.Errorf("%s has not got it, and the sender does not know", box)
		}
	}
	return nil
}
