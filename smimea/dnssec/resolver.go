// Package dnssec gets answers from the DNS that one may believe.
//
// # What a validating stub is
//
// A program that asks the DNS mostly asks a recursive resolver nearby, and takes
// what it says. That it validated the answer is one bit in the reply (AD), which
// anybody on the way, and the resolver itself, can set. A validating stub (RFC
// 4033, Section 2) asks the same resolver, but for the signatures as well, and
// judges by itself. Nobody in between needs to be trusted then; all they can do
// is to keep an answer back.
//
// What it judges by is a chain. It begins with a trust anchor, a key that is
// believed because it came with the program: the root's. That key signs the
// root's set of keys (DNSKEY), and those sign the digest (DS) of a key of the
// next zone, and so on, down to the keys that signed the answer. At each step it
// may turn out that there is no DS, which is signed too: from there on nothing is
// signed, and what is found proves nothing. An answer without records has a proof
// as well: a signed record (NSEC, NSEC3) that names the neighbours of the name
// asked for, or the types that it has.
//
// # What is promised
//
// A lookup ends in one of four states (RFC 4035, Section 4.3), and never in an
// error beside them, because they lead to different actions and must not be mixed
// up. An [Answer] holds data only in the first.
//
//   - [Secure]: there is an unbroken chain from the anchor to the answer, or to
//     the proof that there is none.
//   - [Insecure]: there is an unbroken chain to the proof that nothing from some
//     zone on is signed. No resolver, whether broken, silent or lying, can cause
//     this for a zone that is.
//   - [Bogus]: there should be a chain, and a link is missing, wrong or expired.
//   - [Indeterminate]: nobody answered, or the lookup was too costly.
//
// The zero value of all types is the cautious one, and Why says which record set
// of which zone broke which rule, with the code of RFC 8914 that fits. What a
// stranger's zone can make us do is bounded (limits.go): questions, signatures,
// hashes, aliases, octets and time.
//
// Answers, keys and delegations are remembered for as long as all that they rest
// on holds (RFC 4035, Section 5.3.3), and not a second longer. However many ask
// the same at the same time, one of them does the work.
//
// # How it asks
//
// Over TCP or TLS, never UDP: with DO, for the signatures, and CD, so that the
// resolver hands out what it would itself reject. Many questions are under way
// on one connection at once. The first asks for the answer; the name that signed
// it tells which keys and delegations are needed, and these are asked for
// together. So a lookup from nothing waits for two round trips.
//
// Of several servers the next is asked when one is silent, cannot answer, or
// hands out what proves nothing.
//
// # The files
//
//	validate.go   the lookup: one step, or several where aliases lead on
//	session.go    what one lookup asks, beforehand too; exchange.go asks the
//	              servers, pipe.go one connection, message.go reads a reply
//	prove.go      whose keys prove a record set, or that there is none?
//	chain.go      from the trust anchor down: zones, their keys, cuts between them
//	verify.go     one record set and the keys of a zone; crypto.go one signature
//	denial.go     what NSEC records prove; nsec3.go the same for NSEC3
//	limits.go     how much of all this one question may cause
//	evidence.go   the messages that prove an answer, kept and judged again
//
// Of a message only the part that concerns the name asked for is read, and where
// an alias leads is asked anew. All comparing is done on names in wire form
// (name.go), and what is read of a record is what was signed (record.go). No type
// of a DNS library leaves this package: names are presentation strings, data is
// RDATA in wire form.
//
// # What is left out
//
// SHA-1 (algorithms 5 and 7, digest 1): a zone that has nothing else counts as
// unsigned, and no key can be had from it (RFC 9905). More than 100 iterations of
// NSEC3 prove nothing (RFC 9276, Section 3.2). Trust anchors do not follow a
// rollover by themselves (RFC 5011): they come with the program or a file. There
// are no negative anchors: what is broken stays broken until it is mended. No
// denial is drawn from an older one (RFC 8198): it would spare a question now and
// then, at the price of the rule that each answer rests on what was asked for it.
package dnssec

import (
	"context"
	"time"
)

// A Resolver answers one question. [Validator] is the real one, [Fake] one for tests.
type Resolver interface {
	// Lookup asks for the record set of a type at a name. It returns when
	// ctx is done at the latest, and says so in the answer.
	Lookup(ctx context.Context, name string, qtype uint16) Answer
}

// A Status says how far an answer may be believed (RFC 4035, Section 4.3).
type Status uint8

const (
	// Indeterminate: it could not be found out. Nobody answered, or not with
	// what a proof needs.
	Indeterminate Status = iota
	// Bogus: there should be a proof, and it is missing, broken or expired.
	Bogus
	// Insecure: it is proven that nothing here is signed.
	Insecure
	// Secure: proven from the trust anchor to the answer.
	Secure
)

// String returns the lower-case word that the commands print.
func (s Status) String() string {
	switch s {
	case Bogus:
		return "bogus"
	case Insecure:
		return "insecure"
	case Secure:
		return "secure"
	}
	return "indeterminate"
}

// An Outcome says what an answer holds. Data, NoData and NXDomain mean no
// more than the Status beside them: only with Secure are they proven.
type Outcome uint8

const (
	// Failed: there is no answer.
	Failed Outcome = iota
	// Data: the record set exists.
	Data
	// NoData: the name exists and has no records of the type.
	NoData
	// NXDomain: the name does not exist.
	NXDomain
)

// String returns the lower-case word that the commands print.
func (o Outcome) String() string {
	switch o {
	case Data:
		return "data"
	case NoData:
		return "nodata"
	case NXDomain:
		return "nxdomain"
	}
	return "failed"
}

// An Answer is what became of one question. The zero Answer is a failed lookup.
type Answer struct {
	Status  Status
	Outcome Outcome

	// Data is the RDATA of the record set, without duplicates. It is nil
	// unless the answer is Secure, so that a caller cannot use what was not
	// proven.
	Data [][]byte

	// Unproven is RDATA that came with an insecure or bogus answer. It is for
	// display, and for what need not be proven; never for a key.
	Unproven [][]byte

	// Wildcard says that the data was expanded from a wildcard: it speaks for
	// many names, not for this one (RFC 4034, Section 3.1.3).
	Wildcard bool

	// Denied is, for a Secure NXDomain, the closest name proven not to exist:
	// the next closer name of RFC 5155, Section 1.3.
	Denied string

	// Expires is when the answer must be forgotten: no later than any TTL,
	// signature or key it rests on (RFC 4035, Section 5.3.3).
	Expires time.Time

	// Chain lists the zones and aliases that the answer went through, in order.
	Chain []Link

	// Evidence holds the messages that prove the answer, in wire form, when
	// the resolver was asked to keep them.
	Evidence [][]byte

	// Why explains everything that is not Secure: zone, record set and the
	// rule that was broken. It is nil for a Secure answer.
	Why error
}

// A Link is one step on the way to an answer: a zone whose keys were proven
// (or proven to be absent), or an alias that was followed.
type Link struct {
	Kind   LinkKind
	Name   string // the zone's apex, or the owner of the alias
	Target string // where the alias leads; empty for a zone
	Status Status
	Note   string // for people: which key proved it, or why nothing did
}

// A LinkKind tells the kinds of [Link] apart.
type LinkKind uint8

const (
	Zone LinkKind = iota
	CNAME
	DNAME
)

// String returns the lower-case word that the commands print.
func (k LinkKind) String() string {
	switch k {
	case CNAME:
		return "cname"
	case DNAME:
		return "dname"
	}
	return "zone"
}

// Record types that this module asks for by number (IANA, Resource Record TYPEs).
const (
	TypeMX     uint16 = 15
	TypeSMIMEA uint16 = 53
)
