package dnssec

import (
	"crypto/sha1"
	"encoding/base32"
	"encoding/binary"
	"strings"
)

// An nsec3 is a validated NSEC3 record (RFC 5155, Section 3).
type nsec3 struct {
	zone       name
	owner      string // the hash in its owner name, 20 octets
	next       string
	optOut     bool
	iterations uint16
	salt       string
	types      bitmap
}

var base32hex = base32.HexEncoding.WithPadding(base32.NoPadding)

// parseNSEC3 reads a record. Unknown hashes and flags make it one to ignore
// (RFC 5155, Sections 8.1 and 8.2), and so does an owner that is no hash.
func parseNSEC3(owner name, rdata []byte) (r nsec3, ok bool) {
	if owner == root || len(rdata) < 5 || rdata[0] != 1 || rdata[1] > 1 {
		return r, false
	}
	salt, rest, ok := cutString(rdata[4:])
	next, types, ok2 := cutString(rest)
	hash, err := base32hex.DecodeString(strings.ToUpper(owner.first()))
	if !ok || !ok2 || err != nil || len(hash) != sha1.Size || len(next) != sha1.Size || !bitmap(types).valid() {
		return r, false
	}
	return nsec3{
		zone:       owner.parent(),
		owner:      string(hash),
		next:       string(next),
		optOut:     rdata[1] == 1,
		iterations: binary.BigEndian.Uint16(rdata[2:]),
		salt:       string(salt),
		types:      types,
	}, true
}

// cutString reads a string with its length in front.
func cutString(b []byte) (s, rest []byte, ok bool) {
	if len(b) < 1 || len(b) < 1+int(b[0]) {
		return nil, nil, false
	}
	return b[1 : 1+b[0]], b[1+b[0]:], true
}

// covers reports whether a hash lies strictly between owner and next. Equality
// is no cover: there the name exists.
func (r nsec3) covers(hash string) bool {
	if r.owner < r.next {
		return r.owner < hash && hash < r.next
	}
	// The last of the zone, or the only one.
	return hash > r.owner || hash < r.next
}

// A hashed is a set of NSEC3 records of one zone with the same parameters
// (RFC 5155, Section 8.2), and what is needed to ask it about names.
type hashed struct {
	zone    name
	records []nsec3
	known   map[name]string
	w       *work
}

func newHashed(zone name, records []nsec3, w *work) *hashed {
	h := &hashed{zone: zone, known: map[name]string{}, w: w}
	for _, r := range records {
		if r.zone == zone && r.iterations == records[0].iterations && r.salt == records[0].salt {
			h.records = append(h.records, r)
		}
	}
	return h
}

// tooCostly reports whether the zone asks for more iterations than is sane.
func (h *hashed) tooCostly() bool {
	return len(h.records) > 0 && h.records[0].iterations > maxIterations
}

// hash computes the hash of a name (RFC 5155, Section 5), or returns "" when
// the lookup has hashed enough: no record matches or covers that.
func (h *hashed) hash(n name) string {
	if known, ok := h.known[n]; ok {
		return known
	}
	if len(h.records) == 0 || h.tooCostly() || !h.w.hash() {
		return ""
	}
	salt := h.records[0].salt
	sum := sha1.Sum([]byte(string(n) + salt))
	for range h.records[0].iterations {
		sum = sha1.Sum(append(sum[:], salt...))
	}
	h.known[n] = string(sum[:])
	return h.known[n]
}

// at returns the record of a name: the name exists.
func (h *hashed) at(n name) (nsec3, bool) {
	hash := h.hash(n)
	for _, r := range h.records {
		if hash != "" && r.owner == hash {
			return r, true
		}
	}
	return nsec3{}, false
}

// over returns a record that covers a name: the name does not exist, or is an
// unsigned delegation in an Opt-Out span. One without Opt-Out says more.
func (h *hashed) over(n name) (found nsec3, ok bool) {
	hash := h.hash(n)
	if hash == "" {
		return nsec3{}, false
	}
	for _, r := range h.records {
		if r.covers(hash) && (!ok || found.optOut) {
			found, ok = r, true
		}
	}
	return found, ok
}

// encloser finds the closest encloser of a name and the record that covers the
// next closer name (RFC 5155, Section 8.3).
func (h *hashed) encloser(n name) (encloser name, closer nsec3, ok bool) {
	for k := n.labels() - 1; k >= h.zone.labels(); k-- {
		encloser = n.last(k)
		r, exists := h.at(encloser)
		if !exists {
			continue
		}
		if hides(encloser, r.types, n) {
			return root, nsec3{}, false
		}
		closer, ok = h.over(n.last(k + 1))
		return encloser, closer, ok
	}
	return root, nsec3{}, false
}

// denyByNSEC3 judges a question by NSEC3 records of a zone (RFC 5155, Section 8).
func denyByNSEC3(zone name, records []nsec3, q question, w *work) denial {
	h := newHashed(zone, records, w)
	if !q.name.in(zone) || len(h.records) == 0 {
		return denial{}
	}
	if h.tooCostly() {
		return denial{unsigned: true, why: tooManyIterations(h)}
	}
	if r, ok := h.at(q.name); ok {
		return typesDeny(zone, q, r.types)
	}
	encloser, closer, ok := h.encloser(q.name)
	switch {
	case !ok:
		return denial{}
	case closer.optOut:
		return denial{unsigned: true, why: inOptOut(q.name.last(encloser.labels() + 1))}
	}
	return h.denyWildcard(q, encloser)
}

func (h *hashed) denyWildcard(q question, encloser name) denial {
	none := denial{outcome: NXDomain, denied: q.name.last(encloser.labels() + 1)}
	w, ok := encloser.wildcard()
	if !ok {
		return none
	}
	if r, ok := h.at(w); ok {
		return wildcardDenies(q, r.types)
	}
	r, ok := h.over(w)
	switch {
	case !ok:
		return denial{}
	case r.optOut:
		return denial{unsigned: true, why: inOptOut(w)}
	}
	return none
}

// noCloserByNSEC3 judges whether NSEC3 records prove that an answer for a name
// had to be made from the wildcard below encloser (RFC 5155, Section 8.8). The
// denial is of the next closer name.
func noCloserByNSEC3(zone name, records []nsec3, n, encloser name, w *work) denial {
	h := newHashed(zone, records, w)
	closer := n.last(encloser.labels() + 1)
	if h.tooCostly() {
		return denial{unsigned: true, why: tooManyIterations(h)}
	}
	r, ok := h.over(closer)
	switch {
	case !ok:
		return denial{}
	case r.optOut:
		return denial{unsigned: true, why: inOptOut(closer)}
	}
	return denial{outcome: NXDomain, denied: closer}
}

func tooManyIterations(h *hashed) *reason {
	return because(edeIterations, "NSEC3 with %d iterations, which proves nothing", h.records[0].iterations)
}

func inOptOut(n name) *reason {
	return because(0, "%s may be an unsigned delegation (NSEC3 Opt-Out)", n)
}
