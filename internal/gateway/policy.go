package gateway

import (
	"slices"
	"strings"

	"smimea.example/internal/cms"
	"smimea.example/internal/message"
	"smimea.example/keystore"
	"smimea.example/smimea"
)

// What one object may hold.
const (
	maxCerts    = 5   // of one address
	maxEnvelope = 100 // of all recipients together; cms takes no more
)

// A Finding is what the policy has to know of a recipient.
type Finding struct {
	Address string           // as the client gave it
	Syntax  error            // why it is no address
	Routed  bool             // see smimea.Address
	Outcome keystore.Outcome // what the key store found, if it was asked
}

// decide says what one recipient is told, at RCPT.
func decide(rule Rule, f Finding) Reply {
	switch {
	case f.Syntax != nil:
		return badAddress(f.Address)
	case strings.HasPrefix(f.Address, "@"):
		// A source route (RFC 5321, Appendix C). Postfix knows such a recipient by
		// another name, and would not take him off a mail.
		return routedAddress(f.Address)
	case f.Routed && (rule.Action == Never || rule.Action == Prefer || rule.inClear(f.Outcome)):
		// The domain that it names need not be the one it goes to.
		return routedAddress(f.Address)
	case rule.Action == Never, rule.inClear(f.Outcome):
		return accepted
	case rule.Action == Require, rule.Action == Prefer:
		return require(f)
	}
	return noRule(f.Address)
}

// inClear says whether a rule lets the mail go in clear to a recipient of whom
// that was found; under Require if the mail has the mark. It is proven then that
// there is no certificate: whatever else was found is no reason.
func (r Rule) inClear(found keystore.Outcome) bool {
	return found == keystore.None && (r.Action == Prefer || r.Action == Require && r.Mark.set())
}

// require is the line of the table that allows no plaintext.
func require(f Finding) Reply {
	switch f.Outcome {
	case keystore.Found:
		return accepted
	case keystore.None:
		return noCertificate(f.Address)
	case keystore.Unusable:
		return unusable(f.Address)
	case keystore.WeakOnly:
		return tooWeak(f.Address)
	case keystore.NoDomain:
		return noDomain(f.Address)
	case keystore.NullMX:
		return takesNoMail(f.Address)
	case keystore.Bogus:
		return bogus(f.Address)
	}
	return notFoundOut(f.Address)
}

// A recipient is one who is accepted. The zero recipient gets nothing in clear.
type recipient struct {
	address string // as the client gave it
	fate    int    // his place among the fates of the mail

	options, resolved string // see Rcpt

	plain bool // a rule says that he gets the mail as it is
	mark  Mark // if the mail has it; the zero Mark: in any case
	sheds Mark // what his rule takes off a mail, whatever becomes of it
	certs []cms.Recipient
	form  form // of an envelope to certs

	// together is not 0 for those who may learn of one another, if it is the same.
	together int
}

// join says whether one more recipient can share the mail with those accepted
// before, the first of whom has decided what becomes of it. It is for mails that
// cannot be split.
func join(before []recipient, next recipient) Reply {
	switch {
	case parts(before, next.plain):
		return anotherFate(next.address)
	case next.plain:
		return accepted
	case size(append(slices.Clip(before), next)) > maxEnvelope:
		return tooMany(next.address)
	case len(next.certs) == 0, len(before) > 0 && !Group(before).admits(next):
		return anotherForm(next.address)
	}
	return accepted
}

// parts says that one more recipient, who gets the mail in clear or not, needs
// another copy of it than those before.
func parts(before []recipient, plain bool) bool {
	return len(before) > 0 && before[0].plain != plain
}

// size counts the certificates of an envelope, each once.
func size(recipients []recipient) int {
	seen := make(map[string]bool)
	for _, c := range Group(recipients).certs() {
		seen[c.Fingerprint()] = true
	}
	return len(seen)
}

// A Group is the recipients who share a copy of the mail: all of them in clear,
// or all in one envelope.
type Group []recipient

func (g Group) plain() bool { return g[0].plain }

// certs returns whom the copy is encrypted to, the archives included.
func (g Group) certs() []cms.Recipient {
	var all []cms.Recipient
	for _, r := range g {
		all = append(all, r.certs...)
		if r.form.archived() {
			all = append(all, r.form.archive)
		}
	}
	return all
}

// cipher is what the copy is encrypted with. It is the same for everybody.
func (g Group) cipher() cms.Cipher { return g[0].form.cipher }

// group divides the recipients of a mail, at the end of its header, into those
// who share a copy; there may be so many copies beside the mail itself. Those
// who get it in clear are the last group.
//
// An envelope names everybody it is for, so it must not hold a recipient whom
// the others do not see in To or Cc (RFC 5322, Section 3.6.3): each of those gets
// a copy for himself, unless his rule lets him learn of others who are hidden.
// Where To or Cc cannot be read everybody may be hidden. One recipient alone has
// nobody to hide from.
func group(recipients []recipient, header message.Header, copies int) ([]Group, Reply) {
	sealed, plain := apart(recipients)
	hidden, err := hiddenOf(sealed, header)
	groups := share(without(sealed, hidden))
	for _, some := range confidants(hidden) {
		groups = append(groups, share(some)...)
	}
	if len(plain) > 0 {
		groups = append(groups, plain)
	}
	switch {
	case len(groups) <= 1+copies:
		return groups, accepted
	case copies > 0:
		return nil, tooManyCopies(len(groups)-1, copies)
	case err != nil:
		return nil, unreadable(distinct(recipients))
	}
	return nil, sendSeparately(distinct(hidden))
}

// apart parts those who get the mail in clear from the others.
func apart(recipients []recipient) (sealed, plain []recipient) {
	for _, r := range recipients {
		if r.plain {
			plain = append(plain, r)
		} else {
			sealed = append(sealed, r)
		}
	}
	return sealed, plain
}

// hiddenOf returns the recipients whom the others must not hear of. An error
// says why these are all of them.
func hiddenOf(sealed []recipient, header message.Header) ([]recipient, error) {
	if len(distinct(sealed)) < 2 {
		return nil, nil
	}
	visible, err := header.Visible()
	if err != nil {
		return sealed, err
	}
	among := make(map[string]bool)
	for _, address := range visible {
		among[mailboxName(address)] = true
	}
	return slices.DeleteFunc(slices.Clone(sealed), func(r recipient) bool { return among[mailboxName(r.address)] }), nil
}

// without returns the recipients who are not among others.
func without(recipients, others []recipient) []recipient {
	among := make(map[string]bool)
	for _, other := range others {
		among[other.address] = true
	}
	return slices.DeleteFunc(slices.Clone(recipients), func(r recipient) bool { return among[r.address] })
}

// confidants divides hidden recipients into those who may learn of one another.
// Whoever is there twice is so with himself.
func confidants(hidden []recipient) [][]recipient {
	var all [][]recipient
	place := make(map[any]int)
	for _, r := range hidden {
		var circle any = mailboxName(r.address)
		if r.together != 0 {
			circle = r.together
		}
		i, ok := place[circle]
		if !ok {
			i = len(all)
			place[circle] = i
			all = append(all, nil)
		}
		all[i] = append(all[i], r)
	}
	return all
}

// distinct returns the addresses of the recipients, each mailbox once.
func distinct(recipients []recipient) []string {
	var names []string
	seen := make(map[string]bool)
	for _, r := range recipients {
		if name := mailboxName(r.address); !seen[name] {
			seen[name] = true
			names = append(names, r.address)
		}
	}
	return names
}

// mailboxName is the same for all spellings of a mailbox: quotes that need not
// be, U-labels, the case of the domain. The local part's case is kept: only its
// own host may say that Alice@ is alice@ (RFC 5321, Section 2.4), and a wrong
// guess would show a Bcc recipient to the others.
func mailboxName(address string) string {
	a, err := smimea.ParseAddress(address)
	if err != nil {
		return address
	}
	return a.String()
}
