// Package keystore answers one question: which certificates may we use today
// for this address, and if none, why not?
//
// Everything that knows certificates is a [Source]: a directory of pinned
// ones ([Dir]), what a domain publishes in the DNS ([Published]), a memory in
// front of it ([Cache]), and several sources in order ([Chain]). Whatever the
// source, a certificate has passed usable.go before it gets out: it is
// neither expired nor weak, nor revoked as far as is known ([CRLs]), may
// encrypt, and its key is of a kind that we can use.
package keystore

import (
	"context"
	"errors"
	"slices"
	"time"

	"smimea.example/internal/cms"
)

// A Source finds the certificates of an address.
type Source interface {
	// Find never fails silently: what it could not find out is an Outcome.
	// The address is taken as it stands; nothing in it is folded or mapped
	// (RFC 8162, Section 4).
	Find(ctx context.Context, address string) Keys
}

// Keys is what a source knows of an address. The zero Keys is a failed lookup.
type Keys struct {
	Outcome Outcome

	// Certs are the usable certificates, newest first. Empty unless Found.
	Certs []cms.Recipient

	// Refused are the certificates that were found and cannot be used.
	Refused []Refused

	// Warnings are remarks that do not stand in the way of using Certs.
	Warnings []string

	// Origin names the source, for logs and people: "pinned", "dns".
	Origin string

	// DNSSEC is the status of the answer about the address, if one was had:
	// "secure", "insecure", "bogus" or "indeterminate". For logs and people.
	DNSSEC string

	// Expires is when this must be asked again. Zero: it holds no longer than
	// the mail at hand.
	Expires time.Time

	// Why explains every Outcome but Found.
	Why error
}

// An Outcome is what became of the search.
type Outcome uint8

const (
	// Failed: could not find out. The zero value.
	Failed Outcome = iota
	// Bogus: the answer is there and is not to be believed.
	Bogus
	// None: it is proven that no certificate is published: by a secure denial,
	// or because the zone is proven to be unsigned.
	None
	// NoDomain: None, and the domain itself is proven not to exist.
	NoDomain
	// NullMX: None, and the domain proves that it takes no mail (RFC 7505).
	NullMX
	// Unusable: there are records or certificates, and none can be used.
	Unusable
	// WeakOnly: Unusable, and only because of their algorithms.
	WeakOnly
	// Found: Certs holds at least one certificate.
	Found
)

// String returns the word that logs and commands print.
func (o Outcome) String() string {
	switch o {
	case Bogus:
		return "bogus"
	case None:
		return "none"
	case NoDomain:
		return "no domain"
	case NullMX:
		return "null mx"
	case Unusable:
		return "unusable"
	case WeakOnly:
		return "weak"
	case Found:
		return "found"
	}
	return "failed"
}

// ParseOutcome reads what String returns.
func ParseOutcome(word string) (o Outcome, ok bool) {
	for o := Failed; o <= Found; o++ {
		if o.String() == word {
			return o, true
		}
	}
	return Failed, false
}

// A Refused certificate was found and cannot be used.
type Refused struct {
	Fingerprint string // SHA-256 of the certificate in lower-case hex; empty if there is none
	Subject     string // as crypto/x509 prints it; empty if it could not be read
	Why         error
}

// A Chain asks several sources in order. The first that has found a
// certificate wins; otherwise the worst answer does, so that no source can
// hide another's failure. What the sources before the winner refused and
// warned of is passed on.
type Chain []Source

// Find implements [Source].
func (c Chain) Find(ctx context.Context, address string) Keys {
	if len(c) == 0 {
		return Keys{Why: errors.New("there is no source of certificates")}
	}
	sum := c[0].Find(ctx, address)
	for _, source := range c[1:] {
		if sum.Outcome == Found {
			break
		}
		sum = sum.and(source.Find(ctx, address))
	}
	return sum
}

// and adds the answer of the next source to that of those before, which found
// nothing.
func (k Keys) and(next Keys) Keys {
	sum := next
	if next.Outcome != Found {
		sum.Outcome, sum.Origin = worst(k, next)
		sum.Why = join(k.Why, next.Why)
	}
	sum.Refused = slices.Concat(k.Refused, next.Refused)
	sum.Warnings = slices.Concat(k.Warnings, next.Warnings)
	if k.Expires.Before(next.Expires) {
		sum.Expires = k.Expires // the zero time, too, is the earliest
	}
	return sum
}

func worst(a, b Keys) (Outcome, string) {
	if a.Outcome.severity() > b.Outcome.severity() {
		return a.Outcome, a.Origin
	}
	return b.Outcome, b.Origin
}

// severity orders the outcomes: where two sources disagree, the one who stands
// more in the way of the mail is right. That there is none is the least, and
// says less than why there can be none.
func (o Outcome) severity() int {
	switch o {
	case Found:
		return 0
	case None:
		return 1
	case NoDomain:
		return 2
	case NullMX:
		return 3
	case WeakOnly:
		return 4
	case Unusable:
		return 5
	case Bogus:
		return 6
	}
	return 7
}
