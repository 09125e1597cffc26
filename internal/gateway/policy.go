package gateway

import (
	"slices"

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
	case rule.Action == Never && f.Routed:
		// The domain that it names need not be the one it goes to.
		return routedAddress(f.Address)
	case rule.Action == Never:
		return accepted
	case rule.Action == Require:
		return require(f)
	}
	return noRule(f.Address)
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
	plain   bool   // a rule says that he gets the mail as it is
	certs   []cms.Recipient
	form    form // of an envelope to certs
}

// join says whether one more recipient can share the mail with those accepted
// before, the first of whom has decided what becomes of it.
func join(before []recipient, next recipient) Reply {
	switch {
	case len(before) > 0 && before[0].plain != next.plain:
		return anotherFate(next.address)
	case next.plain:
		return accepted
	case len(next.certs) == 0, len(before) > 0 && !Group(before).admits(next):
		return anotherForm(next.address)
	case size(append(slices.Clip(before), next)) > maxEnvelope:
		return tooMany(next.address)
	}
	return accepted
}

// size counts the certificates of an envelope, each once.
func size(recipients []recipient) int {
	seen := make(map[string]bool)
	for _, r := range recipients {
		for _, c := range r.certs {
			seen[c.Fingerprint()] = true
		}
	}
	return len(seen)
}

// A Group is the recipients who share an encrypted copy of the mail.
type Group []recipient

// certs returns whom the copy is encrypted to.
func (g Group) certs() []cms.Recipient {
	var all []cms.Recipient
	for _, r := range g {
		all = append(all, r.certs...)
	}
	return all
}

// cipher is what the copy is encrypted with. It is the same for everybody.
func (g Group) cipher() cms.Cipher { return g[0].form.cipher }

// group divides the recipients of an encrypted mail, at the end of its header.
// An envelope names everybody it is for, so it must not hold a recipient whom
// the others do not see in To or Cc (RFC 5322, Section 3.6.3). With a copy for
// each of those not being built, they are refused; one recipient alone has
// nobody to hide from.
func group(recipients []recipient, header message.Header) ([]Group, Reply) {
	names := distinct(recipients)
	if len(names) < 2 {
		return share(recipients), accepted
	}
	visible, err := header.Visible()
	if err != nil {
		return nil, unreadable(names)
	}
	if hidden := without(names, visible); len(hidden) > 0 {
		return nil, sendSeparately(hidden)
	}
	return share(recipients), accepted
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

// without returns the addresses that are not among others.
func without(addresses, others []string) []string {
	among := make(map[string]bool)
	for _, other := range others {
		among[mailboxName(other)] = true
	}
	return slices.DeleteFunc(slices.Clone(addresses), func(address string) bool {
		return among[mailboxName(address)]
	})
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
