package dnssec

import (
	"context"
	"crypto"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// A world is a small signed DNS in memory, as a recursive resolver shows it.
// The zones are signed by a library, as they are asked for, so that each test
// can break what it wants to.
type world struct {
	t      testing.TB
	zones  map[name]*authority
	now    time.Time
	tamper func(q question, m *dns.Msg)             // may change every answer
	fails  func(q question) error                   // may take its place
	wire   func(q question, framed []byte) [][]byte // other pieces than the one framed message; nil: that

	turn  sync.Mutex // held while an answer is made
	mu    sync.Mutex // guards what follows
	asked []question
}

// An authority is a zone and what signs it.
type authority struct {
	apex    name
	records []dns.RR

	unsigned   bool
	noDS       bool // signed, and the parent does not say so
	algorithm  uint8
	digest     uint8
	nsec3      bool
	optOut     bool
	iterations uint16
	from, to   time.Duration // validity of signatures, from now

	ksk, zsk *signer
}

type signer struct {
	*dns.DNSKEY
	private crypto.Signer
}

var keysMade = struct {
	sync.Mutex
	all map[string]*signer
}{all: map[string]*signer{}}

// newSigner makes a key, the same one for the same use: RSA is slow to make.
func newSigner(t testing.TB, zone name, algorithm uint8, flags uint16, use string) *signer {
	keysMade.Lock()
	defer keysMade.Unlock()
	id := zone.String() + use + string(rune(algorithm))
	if s := keysMade.all[id]; s != nil {
		return s
	}
	k := &dns.DNSKEY{
		Hdr:   dns.RR_Header{Name: zone.String(), Rrtype: dns.TypeDNSKEY, Class: dns.ClassINET, Ttl: 3600},
		Flags: flags, Protocol: 3, Algorithm: algorithm,
	}
	bits := map[uint8]int{5: 2048, 7: 2048, 8: 2048, 10: 2048, 13: 256, 14: 384, 15: 256}[algorithm]
	private, err := k.Generate(bits)
	if err != nil {
		t.Fatal(err)
	}
	s := &signer{k, private.(crypto.Signer)}
	keysMade.all[id] = s
	return s
}

// sign signs a record set, as the zone of a name.
func (s *signer) sign(t testing.TB, set []dns.RR, zone name, inception, expiration time.Time) *dns.RRSIG {
	sig := &dns.RRSIG{
		Hdr:        dns.RR_Header{Ttl: set[0].Header().Ttl},
		Algorithm:  s.Algorithm,
		Inception:  uint32(inception.Unix()),
		Expiration: uint32(expiration.Unix()),
		KeyTag:     s.KeyTag(),
		SignerName: zone.String(),
	}
	if err := sig.Sign(s.private, set); err != nil {
		t.Fatalf("signing %v: %v", set, err)
	}
	return sig
}

// noon is when the tests take place.
var noon = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// zone describes a zone by lines of a zone file, relative to the apex.
func zoneOf(apex string, records string, options ...func(*authority)) *authority {
	n, err := parseName(apex)
	if err != nil {
		panic(err)
	}
	a := &authority{apex: n, algorithm: 13, digest: 2, from: -time.Hour, to: 7 * 24 * time.Hour}
	for _, o := range options {
		o(a)
	}
	a.parse("@ 3600 IN SOA ns. hostmaster. 1 7200 3600 1209600 300\n@ 3600 IN NS ns.\n" + records)
	return a
}

func (a *authority) parse(records string) {
	zp := dns.NewZoneParser(strings.NewReader(records), a.apex.String(), "")
	zp.SetDefaultTTL(3600)
	for rr, ok := zp.Next(); ok; rr, ok = zp.Next() {
		rr.Header().Name = strings.ToLower(rr.Header().Name)
		a.records = append(a.records, rr)
	}
	if err := zp.Err(); err != nil {
		panic(err)
	}
}

func unsigned(a *authority)               { a.unsigned = true }
func withoutDS(a *authority)              { a.noDS = true }
func withNSEC3(a *authority)              { a.nsec3 = true }
func withOptOut(a *authority)             { a.nsec3, a.optOut = true, true }
func algorithm(n uint8) func(*authority)  { return func(a *authority) { a.algorithm = n } }
func digestType(n uint8) func(*authority) { return func(a *authority) { a.digest = n } }
func iterations(n uint16) func(*authority) {
	return func(a *authority) { a.nsec3, a.iterations = true, n }
}
func valid(from, to time.Duration) func(*authority) {
	return func(a *authority) { a.from, a.to = from, to }
}

// newWorld makes a world of these zones and a root.
func newWorld(t testing.TB, zones ...*authority) *world {
	w := &world{t: t, zones: map[name]*authority{}, now: noon}
	if !slices.ContainsFunc(zones, func(a *authority) bool { return a.apex == root }) {
		zones = append(zones, zoneOf(".", ""))
	}
	for _, a := range zones {
		w.zones[a.apex] = a
		if a.unsigned {
			continue
		}
		a.ksk = newSigner(t, a.apex, a.algorithm, 257, "ksk")
		a.zsk = newSigner(t, a.apex, a.algorithm, 256, "zsk")
		a.records = append(a.records, a.ksk.DNSKEY, a.zsk.DNSKEY)
	}
	for _, a := range zones {
		w.delegate(a)
	}
	return w
}

// delegate puts NS and DS into the zone above.
func (w *world) delegate(a *authority) {
	if a.apex == root {
		return
	}
	parent := w.zoneFor(a.apex.parent())
	parent.parse(a.apex.String() + " 3600 IN NS ns.\n")
	if !a.unsigned && !a.noDS {
		parent.records = append(parent.records, a.ds())
	}
}

func (a *authority) ds() *dns.DS {
	ds := a.ksk.ToDS(a.digest)
	ds.Hdr.Ttl = 3600
	return ds
}

// zoneFor returns the zone that a name is in.
func (w *world) zoneFor(n name) *authority {
	for ; w.zones[n] == nil; n = n.parent() {
	}
	return w.zones[n]
}

func (w *world) anchors() []Anchor {
	a, err := anchorOf(w.zones[root].ds())
	if err != nil {
		w.t.Fatal(err)
	}
	return []Anchor{a}
}

// validator makes a validator that lives in this world.
func (w *world) validator(change ...func(*Options)) *Validator {
	o := Options{Anchors: w.anchors(), Now: func() time.Time { return w.now }}
	for _, c := range change {
		c(&o)
	}
	v, err := newValidator(o, w)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(v.Close)
	return v
}

// lookup asks one question of a fresh validator.
func (w *world) lookup(n string, qtype uint16) Answer {
	return w.validator().Lookup(context.Background(), n, qtype)
}

// ask is the resolver of this world.
func (w *world) ask(ctx context.Context, q question) (*reply, error) {
	w.mu.Lock()
	w.asked = append(w.asked, q)
	w.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if w.fails != nil {
		if err := w.fails(q); err != nil {
			return nil, err
		}
	}
	raw, err := w.answer(q).Pack()
	if err != nil {
		w.t.Errorf("packing the answer to %s %d: %v", q.name, q.rtype, err)
		return nil, err
	}
	return parseReply(raw, 4711, q)
}

// answer is what this world says. What tamper changes are copies.
func (w *world) answer(q question) *dns.Msg {
	w.turn.Lock()
	defer w.turn.Unlock()
	m := w.answerUntouched(q).Copy()
	if w.tamper != nil {
		w.tamper(q, m)
	}
	return m
}

func (w *world) answerUntouched(q question) *dns.Msg {
	m := new(dns.Msg)
	m.Id, m.Response, m.RecursionAvailable, m.CheckingDisabled, m.Compress = 4711, true, true, true, true
	m.Question = []dns.Question{{Name: q.name.String(), Qtype: q.rtype, Qclass: dns.ClassINET}}
	for n, steps := q.name, 0; n != "" && steps < 12; steps++ {
		zone := w.zoneFor(n)
		if q.rtype == dns.TypeDS && n != root {
			zone = w.zoneFor(n.parent())
		}
		n = w.authoritative(zone, question{n, q.rtype}, m)
	}
	return m
}

func (w *world) questions() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.asked)
}

// authoritative adds a zone's answer; next is where an alias leads.
func (w *world) authoritative(a *authority, q question, m *dns.Msg) (next name) {
	if d := a.dnameAbove(q.name); d != nil {
		m.Answer = append(m.Answer, w.signed(a, []dns.RR{d})...)
		target, _ := q.name.replace(must(d.Hdr.Name), must(d.Target))
		m.Answer = append(m.Answer, &dns.CNAME{
			Hdr:    dns.RR_Header{Name: q.name.String(), Rrtype: dns.TypeCNAME, Class: dns.ClassINET, Ttl: 3600},
			Target: target.String(),
		})
		return target
	}
	owner, exists := q.name, a.exists(q.name)
	if !exists {
		owner, _ = a.encloser(q.name).wildcard()
	}
	for _, rtype := range []uint16{q.rtype, dns.TypeCNAME} {
		set := a.set(owner, rtype)
		if len(set) == 0 {
			continue
		}
		m.Answer = append(m.Answer, expand(w.signed(a, set), q.name)...)
		if !exists {
			m.Ns = append(m.Ns, w.cover(a, q.name)...)
		}
		if rtype != q.rtype {
			return must(set[0].(*dns.CNAME).Target)
		}
		return ""
	}
	w.deny(a, q, m)
	return ""
}

func must(s string) name {
	n, err := parseName(s)
	if err != nil {
		panic(err)
	}
	return n
}

// expand gives wildcard records the name that was asked for.
func expand(set []dns.RR, owner name) []dns.RR {
	var expanded []dns.RR
	for _, rr := range set {
		rr = dns.Copy(rr)
		rr.Header().Name = owner.String()
		expanded = append(expanded, rr)
	}
	return expanded
}

func (a *authority) set(owner name, rtype uint16) []dns.RR {
	var set []dns.RR
	for _, rr := range a.records {
		if rr.Header().Rrtype == rtype && must(rr.Header().Name) == owner {
			set = append(set, rr)
		}
	}
	return set
}

func (a *authority) dnameAbove(n name) *dns.DNAME {
	for _, rr := range a.records {
		if d, ok := rr.(*dns.DNAME); ok && n.below(must(d.Hdr.Name)) {
			return d
		}
	}
	return nil
}

// exists reports whether a name exists, empty non-terminals included.
func (a *authority) exists(n name) bool {
	return slices.ContainsFunc(a.records, func(rr dns.RR) bool { return must(rr.Header().Name).in(n) })
}

func (a *authority) encloser(n name) name {
	for !a.exists(n) {
		n = n.parent()
	}
	return n
}

// signed returns a set with its signature, if the zone signs it.
func (w *world) signed(a *authority, set []dns.RR) []dns.RR {
	h := set[0].Header()
	if a.unsigned || h.Rrtype == dns.TypeNS && must(h.Name) != a.apex {
		return set
	}
	by := a.zsk
	if h.Rrtype == dns.TypeDNSKEY {
		by = a.ksk
	}
	return append(slices.Clip(set), by.sign(w.t, set, a.apex, w.now.Add(a.from), w.now.Add(a.to)))
}

// deny adds what a zone says where it has nothing.
func (w *world) deny(a *authority, q question, m *dns.Msg) {
	m.Ns = append(m.Ns, w.signed(a, a.set(a.apex, dns.TypeSOA))...)
	if a.exists(q.name) {
		m.Ns = append(m.Ns, w.match(a, q.name)...)
		return
	}
	m.Ns = append(m.Ns, w.cover(a, q.name)...)
	wildcard, _ := a.encloser(q.name).wildcard()
	if a.exists(wildcard) {
		m.Ns = append(m.Ns, w.match(a, wildcard)...)
	} else {
		m.Ns = append(m.Ns, w.cover(a, wildcard)...)
		m.Rcode = dns.RcodeNameError
	}
	m.Ns = unique(m.Ns)
}

func unique(rrs []dns.RR) []dns.RR {
	seen := map[string]bool{}
	return slices.DeleteFunc(rrs, func(rr dns.RR) bool {
		id := rr.String()
		if sig, ok := rr.(*dns.RRSIG); ok {
			id = sig.Hdr.Name + dns.TypeToString[sig.TypeCovered]
		}
		known := seen[id]
		seen[id] = true
		return known
	})
}

// match returns the denial record of a name that exists.
func (w *world) match(a *authority, n name) []dns.RR {
	if a.unsigned {
		return nil
	}
	if a.nsec3 {
		h := a.hash(n)
		i := slices.IndexFunc(a.hashes(), func(l hashedName) bool { return l.hash == h })
		if i >= 0 {
			return w.nsec3At(a, i)
		}
		return w.cover(a, n) // left out by Opt-Out
	}
	if i := slices.Index(a.names(), n); i >= 0 {
		return w.nsecAt(a, i)
	}
	return w.cover(a, n) // an empty non-terminal
}

// cover returns the denial records of a name that does not exist.
func (w *world) cover(a *authority, n name) []dns.RR {
	if a.unsigned {
		return nil
	}
	if !a.nsec3 {
		return w.nsecAt(a, before(a.names(), n))
	}
	encloser := a.encloser(n)
	for a.optOut && !a.isHashed(encloser) {
		encloser = encloser.parent()
	}
	return append(w.match(a, encloser), w.nsec3At(a, a.beforeHash(a.hash(n.last(encloser.labels()+1))))...)
}

// names lists the owners of a zone in order.
func (a *authority) names() []name {
	var names []name
	for _, rr := range a.records {
		names = append(names, must(rr.Header().Name))
	}
	slices.SortFunc(names, compare)
	return slices.Compact(names)
}

// before returns the index of the last name that is not after n.
func before(names []name, n name) int {
	i := len(names) - 1
	for i > 0 && compare(names[i], n) > 0 {
		i--
	}
	return i
}

func (a *authority) types(n name, also ...uint16) []uint16 {
	types := also
	for _, rr := range a.records {
		if must(rr.Header().Name) == n && !slices.Contains(types, rr.Header().Rrtype) {
			types = append(types, rr.Header().Rrtype)
		}
	}
	slices.Sort(types)
	return types
}

func (w *world) nsecAt(a *authority, i int) []dns.RR {
	names := a.names()
	return w.signed(a, []dns.RR{&dns.NSEC{
		Hdr:        dns.RR_Header{Name: names[i].String(), Rrtype: dns.TypeNSEC, Class: dns.ClassINET, Ttl: 300},
		NextDomain: names[(i+1)%len(names)].String(),
		TypeBitMap: a.types(names[i], dns.TypeNSEC, dns.TypeRRSIG),
	}})
}

type hashedName struct {
	hash string
	name name
}

func (a *authority) hash(n name) string {
	return strings.ToLower(dns.HashName(n.String(), dns.SHA1, a.iterations, "aabb"))
}

// isHashed reports whether Opt-Out leaves a name in.
func (a *authority) isHashed(n name) bool {
	return !a.optOut || slices.ContainsFunc(a.names(), func(m name) bool {
		types := a.types(m)
		unsigned := slices.Contains(types, dns.TypeNS) && !slices.Contains(types, dns.TypeDS) && m != a.apex
		return m.in(n) && !unsigned
	})
}

// hashes lists the hashes of a zone in order, empty non-terminals included.
func (a *authority) hashes() []hashedName {
	var all []hashedName
	for _, n := range a.names() {
		for ; n.in(a.apex); n = n.parent() {
			if a.isHashed(n) {
				all = append(all, hashedName{a.hash(n), n})
			}
			if n == root {
				break
			}
		}
	}
	slices.SortFunc(all, func(x, y hashedName) int { return strings.Compare(x.hash, y.hash) })
	return slices.Compact(all)
}

func (a *authority) beforeHash(hash string) int {
	all := a.hashes()
	i := len(all) - 1
	for i >= 0 && all[i].hash > hash {
		i--
	}
	return (i + len(all)) % len(all)
}

func (w *world) nsec3At(a *authority, i int) []dns.RR {
	all := a.hashes()
	rr := a.nsec3Record(all[i].hash, all[(i+1)%len(all)].hash, a.types(all[i].name, a.also(all[i].name)...))
	return w.signed(a, []dns.RR{rr})
}

// also is what a name has beside its records.
func (a *authority) also(n name) []uint16 {
	types := a.types(n)
	if len(types) == 0 || len(types) == 1 && types[0] == dns.TypeNS {
		return nil
	}
	return []uint16{dns.TypeRRSIG}
}

func (a *authority) nsec3Record(hash, next string, types []uint16) *dns.NSEC3 {
	flags := uint8(0)
	if a.optOut {
		flags = 1
	}
	zone := a.apex.String()
	if zone == "." {
		zone = ""
	}
	return &dns.NSEC3{
		Hdr:  dns.RR_Header{Name: hash + "." + zone, Rrtype: dns.TypeNSEC3, Class: dns.ClassINET, Ttl: 300},
		Hash: dns.SHA1, Flags: flags, Iterations: a.iterations, SaltLength: 2, Salt: "aabb",
		HashLength: 20, NextDomain: strings.ToUpper(next), TypeBitMap: types,
	}
}
