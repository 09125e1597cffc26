package testnet

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// A Zone says what to serve under a name, and how well or badly to sign it.
type Zone struct {
	// Name is the apex: "good.test."; the last dot may be left out.
	Name string

	// Records are zone-file lines, with names relative to Name, of any type
	// (RFC 3597's TYPE53 too). SOA and NS are made when they are missing, and
	// so are NS and DS for zones below that are served too: a line of one's
	// own for the same name and type wins. A line without a TTL gets an hour.
	Records []string

	Unsigned  bool  // no keys here, and no DS above
	Algorithm uint8 // of the keys: 8, 10, 13 (also meant by 0), 14 or 15
	SplitKeys bool  // a key signing key and a zone signing key instead of one for both

	NSEC3      bool   // deny with hashed names (RFC 5155)
	OptOut     bool   // with NSEC3: unsigned delegations are not in the chain
	Iterations uint16 // with NSEC3
	Salt       string // with NSEC3, in hexadecimal

	// The time in which signatures hold: an hour ago to in two weeks, unless set.
	Inception, Expiration time.Time

	Fault Fault
}

// A Fault is one thing that is wrong with a zone.
type Fault uint8

const (
	// None: nothing is wrong.
	None Fault = iota
	// BadSignature: the signatures, but for the one over the keys, were made
	// over other bytes.
	BadSignature
	// Expired: the signatures ended two days ago.
	Expired
	// NotYetValid: the signatures begin in two days.
	NotYetValid
	// NoSignatures: the zone above promises signatures, and there are none.
	NoSignatures
	// WrongDS: the zone above vouches for some other key.
	WrongDS
	// NoDenial: NSEC and NSEC3 records are missing from the answers.
	NoDenial
	// Servfail: the resolver cannot reach the zone and says so.
	Servfail
	// Silent: the resolver never answers questions for the zone.
	Silent
)

// A zone is a Zone with its keys and, once built, all it serves. What is built
// is not changed afterwards, so that it may be read without a lock.
type zone struct {
	Zone
	keys   []*key
	data   []dns.RR // what Records says, names in lower case
	serial uint32

	nodes  map[string]node // by owner: authoritative names, cuts, empty non-terminals
	glue   []dns.RR        // below cuts: neither signed nor answered
	denial denial          // nil in an unsigned zone
}

// A node holds what there is at one name. An empty non-terminal has nothing.
type node map[uint16]*rrset

// An rrset is a record set and its signatures.
type rrset struct {
	rrs, sigs []dns.RR
}

// all returns the records, then the signatures.
func (s *rrset) all() []dns.RR { return slices.Concat(s.rrs, s.sigs) }

func newZone(spec Zone) (*zone, error) {
	if _, ok := dns.IsDomainName(spec.Name); !ok {
		return nil, fmt.Errorf("testnet: %q is no zone name", spec.Name)
	}
	z := &zone{Zone: spec}
	z.Name = dns.CanonicalName(spec.Name)
	if z.Algorithm == 0 {
		z.Algorithm = dns.ECDSAP256SHA256
	}
	var err error
	if z.data, err = z.parse(z.Records); err != nil {
		return nil, err
	}
	if !z.Unsigned {
		z.keys, err = newKeys(z.Zone)
	}
	return z, err
}

// parse reads zone-file lines into records with one spelling of each name.
func (z *zone) parse(lines []string) ([]dns.RR, error) {
	parser := dns.NewZoneParser(strings.NewReader(strings.Join(lines, "\n")+"\n"), z.Name, "")
	parser.SetDefaultTTL(3600)
	var rrs []dns.RR
	for rr, ok := parser.Next(); ok; rr, ok = parser.Next() {
		rr, err := respell(rr)
		if err != nil {
			return nil, fmt.Errorf("testnet: zone %s: %w", z.Name, err)
		}
		if !dns.IsSubDomain(z.Name, rr.Header().Name) {
			return nil, fmt.Errorf("testnet: zone %s: %s lies outside", z.Name, rr.Header().Name)
		}
		rrs = append(rrs, rr)
	}
	if err := parser.Err(); err != nil {
		return nil, fmt.Errorf("testnet: zone %s: %w", z.Name, err)
	}
	return rrs, nil
}

// respell sends a record through its wire form, for `\097` and `a` are the
// same name and a map must see it.
func respell(rr dns.RR) (dns.RR, error) {
	wire := make([]byte, dns.Len(rr)+1)
	n, err := dns.PackRR(rr, wire, 0, nil, false)
	if err != nil {
		return nil, err
	}
	if rr, _, err = dns.UnpackRR(wire[:n], 0); err != nil {
		return nil, err
	}
	rr.Header().Name = dns.CanonicalName(rr.Header().Name)
	return rr, nil
}

// without returns rrs less the record sets that others has.
func without(rrs, others []dns.RR) []dns.RR {
	return slices.DeleteFunc(slices.Clone(rrs), func(rr dns.RR) bool {
		return slices.ContainsFunc(others, func(other dns.RR) bool { return sameSet(rr, other) })
	})
}

func sameSet(a, b dns.RR) bool {
	return a.Header().Name == b.Header().Name && a.Header().Rrtype == b.Header().Rrtype
}

// build makes all that the zone serves, with delegations to the zones below.
func (z *zone) build(delegations []dns.RR, now time.Time) error {
	z.serial++
	made := append(z.apex(), delegations...)
	z.arrange(append(without(made, z.data), z.data...))
	if z.Unsigned {
		return nil
	}
	return z.sign(now)
}

// apex returns the records no zone can be without.
func (z *zone) apex() []dns.RR {
	return []dns.RR{
		&dns.SOA{Hdr: header(z.Name, dns.TypeSOA, 300), Ns: "ns.", Mbox: "hostmaster.",
			Serial: z.serial, Refresh: 7200, Retry: 3600, Expire: 1209600, Minttl: 300},
		&dns.NS{Hdr: header(z.Name, dns.TypeNS, 3600), Ns: "ns."},
	}
}

func header(name string, rrtype uint16, ttl uint32) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: rrtype, Class: dns.ClassINET, Ttl: ttl}
}

// delegation returns what the zone above says of z: NS and DS.
func (z *zone) delegation() []dns.RR {
	rrs := []dns.RR{&dns.NS{Hdr: header(z.Name, dns.TypeNS, 3600), Ns: "ns."}}
	if !z.Unsigned {
		rrs = append(rrs, z.ds())
	}
	return rrs
}

// arrange sorts records into nodes and glue.
func (z *zone) arrange(rrs []dns.RR) {
	cuts := make(map[string]bool)
	for _, rr := range rrs {
		if h := rr.Header(); h.Rrtype == dns.TypeNS && h.Name != z.Name {
			cuts[h.Name] = true
		}
	}
	z.nodes, z.glue = make(map[string]node), nil
	for _, rr := range rrs {
		if z.isGlue(rr, cuts) {
			z.glue = append(z.glue, rr)
			continue
		}
		z.add(dns.Copy(rr))
	}
}

// isGlue says whether a record belongs to a zone below: it lies under a cut,
// or at one and is neither NS nor DS (RFC 4035, Section 2.2).
func (z *zone) isGlue(rr dns.RR, cuts map[string]bool) bool {
	for name := range z.upwards(rr.Header().Name) {
		if !cuts[name] {
			continue
		}
		t := rr.Header().Rrtype
		if name != rr.Header().Name || t != dns.TypeNS && t != dns.TypeDS {
			return true
		}
	}
	return false
}

// add puts a record into its node, and makes the nodes above it.
func (z *zone) add(rr dns.RR) {
	for name := range z.upwards(rr.Header().Name) {
		if z.nodes[name] == nil {
			z.nodes[name] = make(node)
		}
	}
	n, t := z.nodes[rr.Header().Name], rr.Header().Rrtype
	if n[t] == nil {
		n[t] = new(rrset)
	}
	n[t].rrs = append(n[t].rrs, rr)
	rr.Header().Ttl = n[t].rrs[0].Header().Ttl // RFC 2181, Section 5.2: one TTL for a set
}

// upwards yields a name and those above it, up to the apex.
func (z *zone) upwards(name string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for dns.IsSubDomain(z.Name, name) && yield(name) && name != z.Name {
			name = parent(name)
		}
	}
}

// parent returns the name without its first label.
func parent(name string) string {
	i, end := dns.NextLabel(name, 0)
	if end {
		return "."
	}
	return name[i:]
}

// isCut says whether the zone ends at a name.
func (z *zone) isCut(name string) bool {
	return name != z.Name && z.nodes[name][dns.TypeNS] != nil
}

// names returns all names with records, in canonical order.
func (z *zone) names() []string {
	var names []string
	for name, n := range z.nodes {
		if len(n) > 0 {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, func(a, b string) int {
		return slices.Compare(canonicalLabels(a), canonicalLabels(b))
	})
	return names
}

// canonicalLabels returns the labels of a name from the root down, as bytes in
// lower case: compared one by one they give the order of RFC 4034, Section 6.1.
func canonicalLabels(name string) []string {
	wire := make([]byte, 256)
	if _, err := dns.PackDomainName(dns.CanonicalName(name), wire, 0, nil, false); err != nil {
		return nil
	}
	var labels []string
	for wire[0] != 0 {
		end := 1 + int(wire[0])
		labels, wire = append(labels, string(wire[1:end])), wire[end:]
	}
	slices.Reverse(labels)
	return labels
}

// String returns the zone file, SOA first.
func (z *zone) String() string {
	var b strings.Builder
	write := func(rrs []dns.RR) {
		for _, rr := range rrs {
			b.WriteString(rr.String() + "\n")
		}
	}
	write(z.nodes[z.Name][dns.TypeSOA].all())
	for _, name := range z.names() {
		for _, t := range slices.Sorted(maps.Keys(z.nodes[name])) {
			if t != dns.TypeSOA {
				write(z.nodes[name][t].all())
			}
		}
	}
	if hashed, ok := z.denial.(*nsec3Chain); ok {
		for _, l := range hashed.links {
			write(l.set.all())
		}
	}
	write(z.glue)
	return b.String()
}
