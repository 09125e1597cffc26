package dnssec

import "github.com/miekg/dns"

// This file and nsec3.go say what denial records prove: pure functions over
// records whose signatures have been checked. They see no message, so the
// response code cannot mislead them.

// A denial is what the denial records of a zone prove about a question.
type denial struct {
	outcome Outcome // Failed, NoData or NXDomain

	// Unsigned: nothing is proven but that no signatures need be there. The
	// name is in an Opt-Out span (RFC 5155, Section 6), or the hash is one
	// that nobody should have to compute (RFC 9276, Section 3.2).
	unsigned bool
	why      *reason // for unsigned

	delegation bool // the record at the name has NS: for DS, an insecure cut
	denied     name // for NXDomain: the next closer name
}

// An nsec is a validated NSEC record (RFC 4034, Section 4).
type nsec struct {
	owner, next name
	types       bitmap
}

func parseNSEC(owner name, rdata []byte) (r nsec, ok bool) {
	next, rest, ok := readName(rdata)
	return nsec{owner, next, rest}, ok && bitmap(rest).valid()
}

// denyByNSEC judges a question by NSEC records of a zone (RFC 4035, Section 5.4).
func denyByNSEC(zone name, records []nsec, q question) denial {
	if r, ok := nsecAt(records, q.name); ok {
		return typesDeny(zone, q, r.types)
	}
	r, ok := nsecOver(zone, records, q.name)
	if !ok {
		return denial{}
	}
	if r.next.below(q.name) {
		return denial{outcome: NoData} // an empty non-terminal
	}
	return denyWildcard(zone, records, q, r.encloser(q.name))
}

// denyWildcard goes on where the name itself is proven not to exist.
func denyWildcard(zone name, records []nsec, q question, encloser name) denial {
	none := denial{outcome: NXDomain, denied: q.name.last(encloser.labels() + 1)}
	w, ok := encloser.wildcard()
	if !ok {
		return none
	}
	if r, ok := nsecAt(records, w); ok {
		return wildcardDenies(q, r.types)
	}
	r, ok := nsecOver(zone, records, w)
	switch {
	case !ok:
		return denial{}
	case r.next.below(w):
		return denial{outcome: NoData} // the wildcard is an empty non-terminal
	}
	return none
}

// noCloserByNSEC reports whether NSEC records prove that an answer for a name
// had to be made from the wildcard below encloser (RFC 4035, Section 5.3.4).
func noCloserByNSEC(zone name, records []nsec, n, encloser name) bool {
	r, ok := nsecOver(zone, records, n)
	return ok && r.encloser(n) == encloser
}

func nsecAt(records []nsec, n name) (nsec, bool) {
	for _, r := range records {
		if r.owner == n {
			return r, true
		}
	}
	return nsec{}, false
}

func nsecOver(zone name, records []nsec, n name) (nsec, bool) {
	for _, r := range records {
		if r.covers(zone, n) {
			return r, true
		}
	}
	return nsec{}, false
}

// covers reports whether a name lies strictly between owner and next, in the
// same zone. The last record of a zone leads back to the apex.
func (r nsec) covers(zone, n name) bool {
	if !n.in(zone) || !r.owner.in(zone) || !r.next.in(zone) || hides(r.owner, r.types, n) {
		return false
	}
	return compare(r.owner, n) < 0 && (r.next == zone || compare(n, r.next) < 0)
}

// encloser returns the closest encloser of a covered name: the deepest name
// above it that exists, as shown by its neighbours.
func (r nsec) encloser(n name) name {
	a, b := common(n, r.owner), common(n, r.next)
	if a.labels() > b.labels() {
		return a
	}
	return b
}

// hides reports whether a name lies below a zone cut or a DNAME at owner. The
// parent's records say nothing about what is there (RFC 6840, Section 4.1).
func hides(owner name, types bitmap, n name) bool {
	return n.below(owner) && (isCut(types) || types.has(dns.TypeDNAME))
}

// isCut reports whether these are the types of a name in the parent's zone
// that is delegated to another.
func isCut(types bitmap) bool { return types.has(dns.TypeNS) && !types.has(dns.TypeSOA) }

// typesDeny judges a question by the types that its name has.
func typesDeny(zone name, q question, types bitmap) denial {
	switch {
	case types.has(q.rtype), types.has(dns.TypeCNAME):
		return denial{}
	case q.rtype == dns.TypeDS:
		// A DS belongs to the parent, so only the parent can deny it (RFC 4035,
		// Section 5.4). The root has none.
		if types.has(dns.TypeSOA) && q.name != root {
			return denial{}
		}
		return denial{outcome: NoData, delegation: types.has(dns.TypeNS)}
	case isCut(types):
		return denial{}
	case q.name == zone && !types.has(dns.TypeSOA):
		return denial{} // at the apex there is always a SOA
	}
	return denial{outcome: NoData}
}

// wildcardDenies judges a question by the types of the wildcard that it would
// be answered from.
func wildcardDenies(q question, types bitmap) denial {
	if types.has(q.rtype) || types.has(dns.TypeCNAME) || types.has(dns.TypeNS) || types.has(dns.TypeDNAME) {
		return denial{}
	}
	return denial{outcome: NoData}
}
