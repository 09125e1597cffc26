package testnet

import (
	"crypto"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// A key signs for one zone.
type key struct {
	public *dns.DNSKEY
	signer crypto.Signer
}

// Flags of a DNSKEY (RFC 4034, Section 2.1.1).
const (
	zoneKey        = dns.ZONE
	secureEntryKey = dns.ZONE | dns.SEP
)

// newKeys makes the keys of a zone. The first one is what the DS names, and
// signs the keys; the last one signs all else.
func newKeys(z Zone) ([]*key, error) {
	flags := []uint16{secureEntryKey}
	if z.SplitKeys {
		flags = append(flags, zoneKey)
	}
	var keys []*key
	for _, f := range flags {
		k, err := newKey(z.Name, f, z.Algorithm)
		if err != nil {
			return nil, fmt.Errorf("testnet: zone %s: %w", z.Name, err)
		}
		keys = append(keys, k)
	}
	return keys, nil
}

func newKey(zone string, flags uint16, algorithm uint8) (*key, error) {
	public := &dns.DNSKEY{Hdr: header(zone, dns.TypeDNSKEY, 3600),
		Flags: flags, Protocol: 3, Algorithm: algorithm}
	switch algorithm {
	case dns.RSASHA256, dns.RSASHA512:
		shared, err := sharedRSA()
		if err != nil {
			return nil, err
		}
		public.PublicKey = shared.public.PublicKey
		return &key{public, shared.signer}, nil
	}
	bits := map[uint8]int{dns.ECDSAP256SHA256: 256, dns.ECDSAP384SHA384: 384, dns.ED25519: 256}[algorithm]
	private, err := public.Generate(bits)
	if err != nil {
		return nil, fmt.Errorf("key of algorithm %d: %w", algorithm, err)
	}
	return &key{public, private.(crypto.Signer)}, nil
}

// sharedRSA returns the one RSA key, which all zones share: making it takes
// seconds under the race detector.
var sharedRSA = sync.OnceValues(func() (*key, error) {
	public := &dns.DNSKEY{Algorithm: dns.RSASHA256}
	private, err := public.Generate(2048)
	if err != nil {
		return nil, err
	}
	return &key{public, private.(crypto.Signer)}, nil
})

// ds returns what the zone above publishes of z's key.
func (z *zone) ds() *dns.DS {
	ds := z.keys[0].public.ToDS(dns.SHA256)
	ds.Hdr = header(z.Name, dns.TypeDS, 3600)
	if z.Fault == WrongDS {
		ds.Digest = strings.Repeat("00", 32)
	}
	return ds
}

// sign adds keys, the denial chain and signatures to a zone that is arranged.
func (z *zone) sign(now time.Time) error {
	for _, k := range z.keys {
		z.add(dns.Copy(k.public))
	}
	z.chain()
	if z.Fault == NoSignatures {
		return nil
	}
	p := z.period(now)
	for name, n := range z.nodes {
		for t, set := range n {
			// RFC 4035, Section 2.2: a delegation is the child's to sign.
			if t == dns.TypeNS && z.isCut(name) {
				continue
			}
			if err := z.signSet(set, p); err != nil {
				return err
			}
		}
	}
	if hashed, ok := z.denial.(*nsec3Chain); ok {
		for _, l := range hashed.links {
			if err := z.signSet(l.set, p); err != nil {
				return err
			}
		}
	}
	return nil
}

// A period is the time in which a signature holds.
type period struct{ from, to time.Time }

func (z *zone) period(now time.Time) period {
	const day = 24 * time.Hour
	p := period{now.Add(-time.Hour), now.Add(14 * day)}
	switch z.Fault { // by more than the day of skew that Unbound allows at most
	case Expired:
		p = period{now.Add(-16 * day), now.Add(-2 * day)}
	case NotYetValid:
		p = period{now.Add(2 * day), now.Add(16 * day)}
	}
	if !z.Inception.IsZero() {
		p.from = z.Inception
	}
	if !z.Expiration.IsZero() {
		p.to = z.Expiration
	}
	return p
}

// signSet signs one record set.
func (z *zone) signSet(set *rrset, p period) error {
	k := z.keys[len(z.keys)-1]
	h := set.rrs[0].Header()
	if h.Rrtype == dns.TypeDNSKEY {
		k = z.keys[0]
	}
	sig := &dns.RRSIG{
		Hdr:        header(h.Name, dns.TypeRRSIG, h.Ttl),
		Algorithm:  k.public.Algorithm,
		KeyTag:     k.public.KeyTag(),
		SignerName: z.Name,
		Inception:  uint32(p.from.Unix()), // serial arithmetic: RFC 4034, Section 3.1.5
		Expiration: uint32(p.to.Unix()),
	}
	if err := sig.Sign(k.signer, set.rrs); err != nil {
		return fmt.Errorf("testnet: signing %s %s: %w", h.Name, dns.TypeToString[h.Rrtype], err)
	}
	if z.Fault == BadSignature && h.Rrtype != dns.TypeDNSKEY {
		sig.OrigTtl++ // signed, and so no longer what was signed
	}
	set.sigs = []dns.RR{sig}
	return nil
}

// chain makes the NSEC or NSEC3 records.
func (z *zone) chain() {
	if z.NSEC3 {
		z.chainNSEC3()
	} else {
		z.chainNSEC()
	}
}

// chainNSEC links all names with records (RFC 4034, Section 4; RFC 4035, Section 2.3).
func (z *zone) chainNSEC() {
	names := z.names()
	c := new(nsecChain)
	for i, name := range names {
		types := z.types(name)
		types = append(types, dns.TypeRRSIG, dns.TypeNSEC)
		slices.Sort(types)
		z.add(&dns.NSEC{
			Hdr:        header(name, dns.TypeNSEC, z.negativeTTL()),
			NextDomain: names[(i+1)%len(names)],
			TypeBitMap: types,
		})
		c.links = append(c.links, link{canonicalLabels(name), z.nodes[name][dns.TypeNSEC]})
	}
	z.denial = c
}

// chainNSEC3 links the hashes of all names, those without records included
// (RFC 5155, Section 7.1).
func (z *zone) chainNSEC3() {
	z.add(&dns.NSEC3PARAM{Hdr: header(z.Name, dns.TypeNSEC3PARAM, 0),
		Hash: dns.SHA1, Iterations: z.Iterations, SaltLength: z.saltLength(), Salt: z.Salt})
	c := &nsec3Chain{zone: z}
	for name := range z.hashedNames() {
		rr := &dns.NSEC3{
			Hdr:  header(strings.ToLower(c.hash(name))+"."+strings.TrimPrefix(z.Name, "."), dns.TypeNSEC3, z.negativeTTL()),
			Hash: dns.SHA1, Iterations: z.Iterations, SaltLength: z.saltLength(), Salt: z.Salt,
			HashLength: 20, TypeBitMap: z.types(name),
		}
		if z.OptOut {
			rr.Flags = 1
		}
		if z.hasSignatures(name) {
			rr.TypeBitMap = append(rr.TypeBitMap, dns.TypeRRSIG)
			slices.Sort(rr.TypeBitMap)
		}
		c.links = append(c.links, link{[]string{c.hash(name)}, &rrset{rrs: []dns.RR{rr}}})
	}
	slices.SortFunc(c.links, func(a, b link) int { return slices.Compare(a.key, b.key) })
	for i, l := range c.links {
		l.set.rrs[0].(*dns.NSEC3).NextDomain = c.links[(i+1)%len(c.links)].key[0]
	}
	z.denial = c
}

func (z *zone) saltLength() uint8 { return uint8(len(z.Salt) / 2) }

// hashedNames returns the names that an NSEC3 chain holds: all, or with
// Opt-Out all but unsigned delegations and what leads to nothing else.
func (z *zone) hashedNames() map[string]bool {
	names := make(map[string]bool)
	for name, n := range z.nodes {
		if len(n) == 0 || z.OptOut && z.isCut(name) && n[dns.TypeDS] == nil {
			continue
		}
		for up := range z.upwards(name) {
			names[up] = true
		}
	}
	return names
}

// hasSignatures says whether anything at a name is signed, a hashed denial aside.
func (z *zone) hasSignatures(name string) bool {
	n := z.nodes[name]
	return len(n) > 0 && (!z.isCut(name) || n[dns.TypeDS] != nil)
}

// types returns the types at a name, in ascending order.
func (z *zone) types(name string) []uint16 {
	return slices.Sorted(maps.Keys(z.nodes[name]))
}

// negativeTTL is how long "there is nothing" may be kept (RFC 9077, Section 3).
func (z *zone) negativeTTL() uint32 {
	soa := z.nodes[z.Name][dns.TypeSOA].rrs[0].(*dns.SOA)
	return min(soa.Hdr.Ttl, soa.Minttl)
}
