package dnssec

import (
	"slices"
	"time"

	"github.com/miekg/dns"
)

// This file decides about one record set, or about its absence, together with
// the message that it came in: whose keys may prove it, and do they?

// A proof is what became of a record set.
type proof struct {
	finding
	wildcard bool
}

// prove authenticates a record set. A zone at or above top must have signed it.
func (s *session) prove(set rrset, r *reply, top name) proof {
	q := question{set.owner, set.rtype}
	failure := bogus(because(edeNoSignature, "there is no signature").at("", q).of(r), finding{})
	for _, signer := range s.signers(set.sigs, set.owner, top) {
		z := s.zone(signer)
		if z.status != Secure {
			failure = heavier(failure, z.finding)
			continue
		}
		p, why := proof{}, s.notFor(signer, q.name, top)
		if why == nil {
			p, why = s.proveBy(set, r, z)
		}
		if why == nil {
			return p
		}
		failure = heavier(failure, bogus(why.at(signer, q).of(r), z.finding))
	}
	return proof{finding: s.unlessUnsigned(top, top, failure)}
}

// notFor says why a zone may not sign for a name: another is in between.
func (s *session) notFor(zone, owner, top name) *reason {
	if s.speaksFor(zone, owner, top) {
		return nil
	}
	return because(edeBogus, "signed by %s, though another zone begins below it", zone)
}

// heavier keeps the failure that tells more. An insecure signer is none: where
// the signed part ends is for walk to say.
func heavier(old, new finding) finding {
	if new.status == Insecure || old.status == Indeterminate {
		return old
	}
	return new
}

// proveBy authenticates a record set by the keys of a zone.
func (s *session) proveBy(set rrset, r *reply, z zoneKeys) (proof, *reason) {
	p, why := verify(set, z.apex, z.keys, s.now, s.w)
	if why != nil {
		return proof{}, why
	}
	f := z.finding
	f.expires = earliest(f.expires, p.expires)
	f.chain = append(slices.Clip(f.chain), z.link(p.key))
	if !p.expanded(set.owner) {
		return proof{finding: f}, nil
	}
	return s.proveWildcard(set, r, z, f, set.owner.last(int(p.sig.labels)))
}

// proveWildcard looks for the proof that the wildcard below encloser had to
// answer for this name, because there is no closer one (RFC 4035, Section
// 5.3.4; RFC 5155, Section 8.8). Without it, a wildcard's records could be
// played to anybody who has records of his own.
func (s *session) proveWildcard(set rrset, r *reply, z zoneKeys, f finding, encloser name) (proof, *reason) {
	if set.rtype == dns.TypeDNAME {
		return proof{}, because(edeBogus, "a DNAME made from a wildcard is not followed") // RFC 6672, Section 3.3
	}
	records := s.denialRecords(r.denials(), z)
	f.expires = earliest(f.expires, records.expires)
	if noCloserByNSEC(z.apex, records.nsec, set.owner, encloser) {
		return proof{f, true}, nil
	}
	d := noCloserByNSEC3(z.apex, records.nsec3, set.owner, encloser, s.w)
	switch {
	case d.unsigned:
		q := question{set.owner, set.rtype}
		return proof{s.insecure(d.why.at(z.apex, q), f), true}, nil
	case d.outcome == Failed:
		return proof{}, because(edeNoDenial, "made from a wildcard, without a proof that there is no closer name")
	}
	return proof{f, true}, nil
}

// denialRecords are the validated denial records of a message and a zone.
type denialRecords struct {
	nsec    []nsec
	nsec3   []nsec3
	signed  key
	expires time.Time
	failure *reason // of the last record set that did not validate
}

// denialRecords validates the denial records that a zone has signed. One that
// was made from a wildcard is none (RFC 4035, Section 5.4).
func (s *session) denialRecords(sets []rrset, z zoneKeys) denialRecords {
	records := denialRecords{expires: s.now.Add(keepDenial)}
	for _, set := range sets {
		p, why := verify(set, z.apex, z.keys, s.now, s.w)
		if why != nil || len(set.data) != 1 || p.expanded(set.owner) {
			records.failure = why
			continue
		}
		if set.rtype == dns.TypeNSEC {
			if r, ok := parseNSEC(set.owner, set.data[0]); ok {
				records.nsec = append(records.nsec, r)
			}
		} else if r, ok := parseNSEC3(set.owner, set.data[0]); ok {
			records.nsec3 = append(records.nsec3, r)
		}
		records.signed = p.key
		records.expires = earliest(records.expires, p.expires)
	}
	return records
}

// A denied is what became of a question without an answer.
type denied struct {
	finding
	outcome    Outcome // for Secure: Failed never
	name       name    // for NXDomain: the next closer name
	delegation bool
	optOut     bool // Insecure by the zone's own word, not by one above
}

// deny authenticates that a question has no answer. What the response code
// says is not asked.
func (s *session) deny(q question, r *reply) denied {
	top, sets := topOf(q), r.denials()
	failure := bogus(because(edeNoDenial, "there is no proof that it does not exist").at("", q).of(r), finding{})
	var sigs []signature
	for _, set := range sets {
		sigs = append(sigs, set.sigs...)
	}
	for _, signer := range s.signers(sigs, q.name, top) {
		z := s.zone(signer)
		if z.status != Secure {
			failure = heavier(failure, z.finding)
			continue
		}
		d, why := denied{}, s.notFor(signer, q.name, top)
		if why == nil {
			d, why = s.denyBy(q, r, sets, z)
		}
		if why == nil {
			return d
		}
		failure = heavier(failure, bogus(why.at(signer, q).of(r), z.finding))
	}
	return denied{finding: s.unlessUnsigned(top, r.likelyZone(top), failure)}
}

func (s *session) denyBy(q question, r *reply, sets []rrset, z zoneKeys) (denied, *reason) {
	records := s.denialRecords(sets, z)
	d := denyByNSEC(z.apex, records.nsec, q)
	if d.outcome == Failed {
		d = denyByNSEC3(z.apex, records.nsec3, q, s.w)
	}
	f := z.finding
	f.expires = earliest(earliest(f.expires, records.expires), s.now.Add(seconds(r.negativeTTL())))
	f.chain = append(slices.Clip(f.chain), z.link(records.signed))
	switch {
	case d.unsigned:
		f.status, f.why = Insecure, d.why.at(z.apex, q)
		return denied{finding: f, optOut: true}, nil
	case d.outcome != Failed:
		return denied{finding: f, outcome: d.outcome, name: d.denied, delegation: d.delegation}, nil
	case records.failure != nil:
		return denied{}, records.failure
	}
	return denied{}, because(edeNoDenial, "the denial records prove something else")
}
