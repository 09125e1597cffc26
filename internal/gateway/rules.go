package gateway

import (
	"errors"
	"fmt"
	"strings"

	"smimea.example/internal/cms"
	"smimea.example/smimea"
)

// A Rule says how mail is to be treated. Of several rules the first one counts
// whose patterns match both the recipient and the sender.
//
// A pattern is one of
//
//	alice@example.org   this mailbox
//	example.org         every mailbox of this domain, not of its subdomains
//	.example.org        every mailbox of its subdomains, not of the domain
//	*                   everybody
//	<>                  the null sender; for senders only
//
// Letters in ASCII match without regard to case, in local parts too: which
// rule holds for Alice@ must not hang on how somebody typed her. Domains are
// compared in A-labels.
type Rule struct {
	Recipients []string
	Senders    []string // empty: everybody
	Action     Treatment

	// Cipher is for recipients whose certificates do not say what they can read
	// (RFC 4262). Default: the one that every reader opens.
	Cipher cms.Cipher

	// Kinds are the kinds of keys that are encrypted to, the one to be preferred
	// first. Default: RSA, EC, X25519, ML-KEM, in the order in which readers have
	// learnt them.
	Kinds []cms.Kind

	// Mixed: recipients with RSA and with EC keys may share an envelope. Old
	// readers do not find their key in one.
	Mixed bool

	// Archive is a certificate with an RSA key that every envelope under this
	// rule is for, too (RFC 8162, Section 9). Without one it is the zero
	// Recipient.
	Archive cms.Recipient

	// Together: recipients of this rule who are in neither To nor Cc may share an
	// envelope with one another, and so learn of one another.
	Together bool

	// Mark, in a mail, says that its sender wants it to go in clear to those for
	// whom there is proven to be no certificate. Only under Require; the zero Mark
	// is none.
	Mark Mark
}

func (r Rule) kinds() []cms.Kind {
	if len(r.Kinds) == 0 {
		return cms.Kinds
	}
	return r.Kinds
}

// A Treatment is what a rule asks for, as the settings spell it. The zero
// Treatment is none: its mail is deferred.
type Treatment string

const (
	// Require: encrypted, or not at all.
	Require Treatment = "require"
	// Prefer: encrypted, or in clear where there is proven to be no certificate.
	Prefer Treatment = "prefer"
	// Never: passed as it is.
	Never Treatment = "never"
)

// Check says what is wrong with a rule. A rule with a fault defers every mail
// that gets as far as it.
func (r Rule) Check() error {
	switch r.Action {
	case Require, Prefer, Never:
	default:
		return fmt.Errorf("unknown action %q", r.Action)
	}
	if len(r.Recipients) == 0 {
		return errors.New("no recipients")
	}
	for _, s := range r.Recipients {
		if p, err := parsePattern(s); err != nil {
			return err
		} else if p.kind == nullSender {
			return errors.New(`"<>" is a sender, and no recipient`)
		}
	}
	for _, s := range r.Senders {
		if _, err := parsePattern(s); err != nil {
			return err
		}
	}
	return nil
}

// rules are those of the settings, taken apart once: a gateway may have many,
// and sees many mails.
func (g *Gateway) rules() []parsedRule {
	g.once.Do(func() {
		for _, r := range g.Rules {
			g.parsed = append(g.parsed, r.parse())
		}
	})
	return g.parsed
}

// A parsedRule is the patterns of a rule, taken apart.
type parsedRule struct {
	recipients []pattern
	senders    []pattern // empty: everybody
}

func (r Rule) parse() parsedRule {
	return parsedRule{parsePatterns(r.Recipients), parsePatterns(r.Senders)}
}

func parsePatterns(patterns []string) []pattern {
	var all []pattern
	for _, s := range patterns {
		p, err := parsePattern(s)
		p.fault = err
		all = append(all, p)
	}
	return all
}

// match returns the number of the first rule that matches, counted from 1; 0
// if none does. An error is a broken pattern on the way there, behind which
// nothing can be said.
func match(rules []parsedRule, from, to party) (int, error) {
	for i, rule := range rules {
		ok, err := rule.matches(from, to)
		if err != nil {
			return 0, fmt.Errorf("rule %d: %w", i+1, err)
		}
		if ok {
			return i + 1, nil
		}
	}
	return 0, nil
}

func (r parsedRule) matches(from, to party) (bool, error) {
	if ok, err := anyMatches(r.recipients, to); !ok || err != nil {
		return false, err
	}
	if len(r.senders) == 0 {
		return true, nil
	}
	return anyMatches(r.senders, from)
}

func anyMatches(patterns []pattern, who party) (bool, error) {
	for _, p := range patterns {
		if p.fault != nil {
			return false, p.fault
		}
		if p.matches(who) {
			return true, nil
		}
	}
	return false, nil
}

// A party is a sender or a recipient, as patterns see it.
type party struct {
	mailbox smimea.Address // zero if there is none, or none that could be read
	null    bool           // the null sender
}

// newSender reads a sender. One that cannot be read is matched by "*" alone.
func newSender(address string) party {
	mailbox, err := smimea.ParseAddress(address)
	if err != nil {
		mailbox = smimea.Address{}
	}
	return party{mailbox: mailbox, null: address == ""}
}

// A pattern is a pattern of a rule, taken apart.
type pattern struct {
	kind  patternKind
	local string // of a mailbox
	ascii string // the domain in A-labels, without a dot in front
	fault error  // why it is no pattern; nil if it is one
}

type patternKind uint8

const (
	everybody patternKind = iota + 1
	nullSender
	oneMailbox
	oneDomain
	subdomains
)

func (p pattern) matches(who party) bool {
	domain := who.mailbox.ASCIIDomain
	switch p.kind {
	case everybody:
		return true
	case nullSender:
		return who.null
	case oneMailbox:
		return domain == p.ascii && lower(who.mailbox.Local) == lower(p.local)
	case oneDomain:
		return domain == p.ascii
	case subdomains:
		return strings.HasSuffix(domain, "."+p.ascii)
	}
	return false
}

// lower is strings.ToLower for ASCII alone: Unicode has letters that become
// these (the long s), and no pattern means those.
func lower(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}

func parsePattern(s string) (pattern, error) {
	switch {
	case s == "*":
		return pattern{kind: everybody}, nil
	case s == "<>":
		return pattern{kind: nullSender}, nil
	case strings.HasPrefix(s, "*."):
		return pattern{}, fmt.Errorf("pattern %q: subdomains are written with a dot alone, %q", s, s[1:])
	case strings.HasPrefix(s, "@"), strings.HasPrefix(s, "*@"):
		return pattern{}, fmt.Errorf("pattern %q: a domain is written alone, %q", s, s[strings.Index(s, "@")+1:])
	case strings.Contains(s, "@"):
		return parseMailbox(s)
	case strings.HasPrefix(s, "."):
		return parseDomain(subdomains, s, s[1:])
	}
	return parseDomain(oneDomain, s, s)
}

func parseMailbox(s string) (pattern, error) {
	a, err := smimea.ParseAddress(s)
	switch {
	case err != nil:
		return pattern{}, fmt.Errorf("pattern %q: %w", s, err)
	case a.Routed || a.ASCIIDomain == "":
		return pattern{}, fmt.Errorf("pattern %q: not one mailbox of one domain", s)
	}
	return pattern{kind: oneMailbox, local: a.Local, ascii: a.ASCIIDomain}, nil
}

func parseDomain(kind patternKind, s, domain string) (pattern, error) {
	a, err := smimea.ParseAddress("x@" + domain)
	if err != nil || a.ASCIIDomain == "" || strings.ContainsAny(domain, " \t(") {
		return pattern{}, fmt.Errorf(`pattern %q: neither an address, nor a domain, nor a domain behind a dot, nor "*"`, s)
	}
	return pattern{kind: kind, ascii: a.ASCIIDomain}, nil
}
