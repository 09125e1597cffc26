package dnssec

import (
	"fmt"
	"slices"
	"time"

	"github.com/miekg/dns"
)

// This file goes down from a trust anchor: which zones are there on the way to
// a name, what are their keys, and where does the signed part end (RFC 4035,
// Section 5.2)? The parts call each other, always for a name further up:
//
//	zone(x)  the keys of x      needs cut(x)
//	cut(x)   the DS of x        needs prove or deny, by a zone strictly above x
//	walk(x)  is x signed?       needs cut of everything between anchor and x

// A finding says how far something may be believed, and what that rests on.
type finding struct {
	status  Status
	why     *Failure // for all but Secure
	expires time.Time
	chain   []Link
}

// zoneKeys is what is known of a zone: Secure with its keys, Insecure, or why not.
type zoneKeys struct {
	finding
	apex  name
	keys  []key
	entry string // what the keys hang on: "DS 12345" or "anchor 20326"
}

// A cut is what is known of a name as a place where a zone may begin.
type cut struct {
	finding // Insecure: everything from here on is unsigned
	kind    cutKind
	digests []digest
}

type cutKind uint8

const (
	noCut     cutKind = iota // proven: no zone begins here
	noName                   // proven: there is nothing here, and nothing below
	delegated                // a zone begins here, signed if the finding is Secure
)

// signers lists the zones that signatures of an owner's records claim to come
// from: at or above top, at or below the closest trust anchor, the deepest first.
func (s *session) signers(sigs []signature, owner, top name) []name {
	anchor, ok := s.v.anchors.above(top)
	var signers []name
	for _, sig := range sigs {
		if ok && top.in(sig.signer) && sig.signer.in(anchor) && !slices.Contains(signers, sig.signer) && len(signers) < maxSigners {
			signers = append(signers, sig.signer)
		}
	}
	slices.SortFunc(signers, func(a, b name) int { return b.labels() - a.labels() })
	for _, signer := range signers {
		s.expectZone(signer)
		s.expectBetween(signer, owner, top)
	}
	return signers
}

// speaksFor reports whether nothing is known to be delegated between a zone and
// a name: otherwise the zone cannot sign what is there (RFC 4035, Section
// 5.3.1). What lies between is asked for. Whether the name itself is a zone is
// not, as that would be one more question for each name, to catch a parent that
// could as well change the DS.
func (s *session) speaksFor(zone, owner, top name) bool {
	for k := zone.labels() + 1; k <= top.labels(); k++ {
		n := owner.last(k)
		c, known := s.knownCut(n)
		if !known && n != owner && mayBeCut(n) {
			c = s.cut(n)
		}
		if c.kind == delegated { // proven, and not one that an Opt-Out might hide
			return false
		}
	}
	return true
}

// mayBeCut reports whether it is worth asking if a zone begins at a name: those
// of services and protocols (RFC 8552) are hardly ever delegated.
func mayBeCut(n name) bool { return n.first()[0] != '_' }

// topOf is the deepest zone that may answer a question: the name's own, but
// for DS the one above (RFC 4035, Section 2.4).
func topOf(q question) name {
	if q.rtype == dns.TypeDS {
		return q.name.parent()
	}
	return q.name
}

// zone returns the keys of a zone.
func (s *session) zone(apex name) zoneKeys {
	if z, ok := s.zones[apex]; ok {
		return z
	}
	z, ok := s.v.zones.get(s.ctx, apex, func() (zoneKeys, time.Time, bool) {
		z := s.findZone(apex)
		return z, z.expires, s.shares(z.finding)
	})
	if !ok {
		z = zoneKeys{finding: s.late(question{apex, dns.TypeDNSKEY})}
	}
	s.zones[apex] = z
	return z
}

func (s *session) findZone(apex name) zoneKeys {
	q, entry := question{apex, dns.TypeDNSKEY}, "anchor"
	digests, expires, anchored := s.v.anchors.at(apex, s.now)
	base := finding{status: Secure, expires: expires}
	if anchored && len(digests) == 0 {
		return zoneKeys{finding: bogus(because(edeNoKey, "no trust anchor of the zone is valid now").at(apex, q), base)}
	}
	if !anchored {
		c := s.cut(apex)
		if c.status != Secure {
			return zoneKeys{finding: c.finding}
		}
		if c.kind != delegated {
			why := because(edeNoZoneKey, "%s signs as a zone, and is proven to be none", apex)
			return zoneKeys{finding: bogus(why.at("", q), c.finding)}
		}
		base, digests, entry = c.finding, c.digests, "DS"
	}
	r, failure := s.ask(q)
	if failure != nil {
		return zoneKeys{finding: failed(failure, base)}
	}
	return s.readZone(q, r, base, digests, entry)
}

// readZone believes a zone's keys if the set of them is signed by a key that a
// digest matches. A set that only holds such a key may be anybody's.
func (s *session) readZone(q question, r *reply, base finding, digests []digest, entry string) zoneKeys {
	set := find(r.answer, q.name, q.rtype)
	keys := zoneSigningKeys(set)
	p, why := verify(set, q.name, entryKeys(q.name, keys, digests), s.now, s.w)
	switch {
	case len(set.data) == 0:
		why = because(edeNoKey, "the zone has no keys")
	case len(set.sigs) == 0 && entry == "anchor":
		why = s.stripped(r)
	case why == nil && p.expanded(q.name):
		why = because(edeBogus, "the keys were made from a wildcard")
	case why != nil:
		why = because(why.ede, "no key that the %s matches has signed the keys: %s", entry, why.text)
	}
	if why != nil {
		return zoneKeys{finding: bogus(why.at(q.name, q).of(r), base)}
	}
	base.expires = earliest(base.expires, p.expires)
	return zoneKeys{base, q.name, keys, fmt.Sprintf("%s %d", entry, p.key.tag)}
}

// stripped tells of a server that hands out the keys of an anchored zone, which
// are signed for certain, without signatures: it can prove nothing.
func (s *session) stripped(r *reply) *reason {
	if r.useless != nil {
		r.useless()
	}
	return because(edeNoSignature, "the server leaves out signatures: no answer of it can be proven")
}

// zoneSigningKeys returns the keys of a set that may sign and are understood.
func zoneSigningKeys(set rrset) []key {
	var keys []key
	for _, rdata := range set.data {
		if k, ok := parseKey(rdata); ok && k.signsZones() && knownAlgorithm(k.algorithm) {
			keys = append(keys, k)
		}
	}
	return keys
}

// entryKeys returns the keys that a DS or an anchor names.
func entryKeys(zone name, keys []key, digests []digest) []key {
	var matched []key
	computed := 0
	for _, k := range keys {
		for _, d := range digests {
			if d.tag != k.tag || d.algorithm != k.algorithm {
				continue
			}
			if computed++; computed > maxDigests {
				return matched
			}
			if d.matches(zone, k) {
				matched = append(matched, k)
				break
			}
		}
	}
	return matched
}

// link describes the zone, as the one whose key proved something.
func (z zoneKeys) link(signed key) Link {
	note := fmt.Sprintf("%s → key %d, algorithm %d", z.entry, signed.tag, signed.algorithm)
	return Link{Kind: Zone, Name: z.apex.String(), Status: Secure, Note: note}
}

// cut returns what is known of a name as the beginning of a zone.
func (s *session) cut(x name) cut {
	if c, ok := s.cuts[x]; ok {
		return c
	}
	c, ok := s.v.cuts.get(s.ctx, x, func() (cut, time.Time, bool) {
		c := s.findCut(x)
		return c, c.expires, s.shares(c.finding)
	})
	if !ok {
		c = cut{finding: s.late(question{x, dns.TypeDS})}
	}
	s.cuts[x] = c
	return c
}

func (s *session) findCut(x name) cut {
	q := question{x, dns.TypeDS}
	r, failure := s.ask(q)
	if failure != nil {
		return cut{finding: failed(failure, finding{})}
	}
	l := s.firstLink(r, q)
	switch l.kind {
	case data:
		return s.signedCut(q, s.prove(l.set, r, x.parent()), l.set)
	case cname:
		// An alias is no zone. It is not looked at from below, where the next
		// thing to ask would be this DS again.
		return s.uncut(s.prove(l.set, r, x.parent()).finding, noCut)
	case dname:
		return s.uncut(s.prove(l.set, r, l.set.owner).finding, noName)
	}
	return s.unsignedCut(q, s.deny(q, r))
}

// signedCut reads a proven DS set. Without a single DS that is understood, the
// zone counts as unsigned (RFC 4035, Section 5.2; RFC 6840, Section 5.2).
func (s *session) signedCut(q question, p proof, set rrset) cut {
	switch {
	case p.status != Secure:
		return cut{finding: p.finding}
	case p.wildcard:
		return cut{finding: bogus(because(edeBogus, "the DS was made from a wildcard").at("", q), p.finding)}
	}
	c := cut{finding: p.finding, kind: delegated}
	for _, rdata := range set.data {
		if d, ok := parseDigest(rdata); ok && d.usable() {
			c.digests = append(c.digests, d)
		}
	}
	if len(c.digests) == 0 {
		why := because(edeAlgorithm, "no DS has an algorithm and a digest that are understood")
		c.finding = s.insecure(why.at("", q), c.finding)
	}
	return c
}

// unsignedCut reads a denial of DS.
func (s *session) unsignedCut(q question, d denied) cut {
	switch {
	case d.status == Secure && d.delegation:
		why := because(0, "the zone is not signed: it is proven that there is none")
		return cut{finding: s.insecure(why.at("", q), d.finding), kind: delegated}
	case d.status == Insecure && d.optOut:
		return cut{finding: s.insecure(d.why, d.finding)}
	case d.outcome == NXDomain:
		return s.uncut(d.finding, noName)
	}
	return s.uncut(d.finding, noCut)
}

func (s *session) uncut(f finding, kind cutKind) cut {
	f.expires = earliest(f.expires, s.now.Add(keepDenial))
	return cut{finding: f, kind: kind}
}

// insecure ends a chain of trust, by proof.
func (s *session) insecure(why *Failure, base finding) finding {
	base.status, base.why = Insecure, why
	base.expires = earliest(base.expires, s.now.Add(keepDenial))
	base.chain = append(slices.Clip(base.chain), Link{Kind: Zone, Name: why.Name, Status: Insecure, Note: why.short()})
	return base
}

// walk looks from the trust anchor down whether a name is in a signed zone:
// Secure if all cuts on the way are signed, Insecure if one is proven not to be.
// last is the deepest zone that should be signed. It asks for DS only: NS records
// at a cut are never signed. What is needed down to the likely end is asked for
// at once.
func (s *session) walk(top, likely name) (f finding, last name) {
	anchor, ok := s.v.anchors.above(top)
	if !ok {
		return finding{why: because(0, "no trust anchor is above it").at("", question{top, dns.TypeDS})}, root
	}
	last = anchor
	s.expectCuts(anchor, likely)
	for k := anchor.labels() + 1; k <= top.labels(); k++ {
		c := s.cut(top.last(k))
		switch {
		case c.status != Secure:
			return c.finding, last
		case c.kind == noName:
			return finding{status: Secure}, last
		case c.kind == delegated:
			last = top.last(k)
		}
	}
	return finding{status: Secure}, last
}

// unlessUnsigned decides what a missing or broken proof means: nothing, where
// it is proven that none need be there. Otherwise the failure stands.
func (s *session) unlessUnsigned(top, likely name, failure finding) finding {
	walked, last := s.walk(top, likely)
	switch {
	case walked.status == Insecure:
		return walked
	case failure.status == Indeterminate:
		return failure
	case walked.status == Indeterminate:
		return walked
	case failure.why.EDE != edeNoSignature && failure.why.EDE != edeNoDenial:
		return failure
	}
	// Where a proof is missing, what is wrong further up says more: perhaps this
	// server never has any, or the zone has no keys.
	anchor, _ := s.v.anchors.above(top)
	for _, apex := range []name{anchor, last} {
		if z := s.zone(apex); z.status == Bogus {
			return z.finding
		}
	}
	if walked.status == Bogus {
		return walked
	}
	return failure
}

// bogus makes a finding of a broken rule; how far the proof got is kept.
func bogus(why *Failure, base finding) finding {
	return finding{status: Bogus, why: why, chain: brokenChain(base.chain, why, Bogus)}
}

// failed makes a finding of a question that nobody answered.
func failed(why *Failure, base finding) finding {
	return finding{status: Indeterminate, why: why, chain: brokenChain(base.chain, why, Indeterminate)}
}

// brokenChain adds the zone whose keys could not be had.
func brokenChain(chain []Link, why *Failure, status Status) []Link {
	if why.Type != dns.TypeDNSKEY {
		return chain
	}
	return append(slices.Clip(chain), Link{Kind: Zone, Name: why.Name, Status: status, Note: why.short()})
}

func earliest(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
