package dnssec

import (
	"encoding/hex"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// A model of denial: small random zones in plain data, what a server would say
// of each name by RFC 1034, Section 4.3.2, and RFC 4592, and the denial records
// that a signer makes of them. What denial.go and nsec3.go conclude from the
// records must be what the zone's own data says. Nothing here uses their code
// but to read the records, and names in wire form as keys.

// A model is a zone: the types of each name, and the names above them.
type model struct {
	types   map[string][]uint16
	exists  map[string]bool // empty non-terminals included
	optOut  bool
	salt    string // in hexadecimal
	repeats uint16
}

const modelApex = "z."

func parentOf(n string) string { return n[strings.Index(n, ".")+1:] }

// above lists the names above n in the zone, the closest first.
func above(n string) (all []string) {
	for n != modelApex {
		n = parentOf(n)
		all = append(all, n)
	}
	return all
}

var modelLabels = []string{"a", "b", "*"}

// modelNames lists the apex and all names below it, so many labels deep.
func modelNames(depth int) []string {
	all := []string{modelApex}
	for level := all; depth > 0; depth-- {
		var next []string
		for _, n := range level {
			for _, l := range modelLabels {
				next = append(next, l+"."+n)
			}
		}
		all, level = append(all, next...), next
	}
	return all
}

var (
	leaves = [][]uint16{{dns.TypeA}, {dns.TypeTXT}, {dns.TypeA, dns.TypeTXT}, {dns.TypeCNAME}}
	cuts   = [][]uint16{{dns.TypeNS}, {dns.TypeNS, dns.TypeDS}, {dns.TypeDNAME}, {dns.TypeA, dns.TypeDNAME}}
)

// newModel makes a zone. No wildcard is delegated or renamed (RFC 4592,
// Sections 4.2 and 4.4), and nothing is below what is.
func newModel(random *rand.Rand) *model {
	z := &model{
		types:  map[string][]uint16{modelApex: {dns.TypeNS, dns.TypeSOA}},
		exists: map[string]bool{},
		optOut: random.IntN(2) == 0, salt: []string{"", "aabb", "00"}[random.IntN(3)], repeats: uint16(random.IntN(3)),
	}
	names := modelNames(3)[1:]
	for range random.IntN(8) {
		n := names[random.IntN(len(names))]
		kinds := leaves
		if n[0] != '*' {
			kinds = slices.Concat(leaves, cuts)
		}
		z.types[n] = kinds[random.IntN(len(kinds))]
	}
	for n := range z.types {
		if slices.ContainsFunc(above(n), z.leadsAway) {
			delete(z.types, n)
		}
	}
	for n := range z.types {
		for _, n := range append(above(n), n) {
			z.exists[n] = true
		}
	}
	return z
}

func (z *model) has(n string, rtype uint16) bool { return slices.Contains(z.types[n], rtype) }
func (z *model) isCut(n string) bool             { return n != modelApex && z.has(n, dns.TypeNS) }
func (z *model) leadsAway(n string) bool         { return z.isCut(n) || z.has(n, dns.TypeDNAME) }

// encloser is the closest name above n that exists.
func (z *model) encloser(n string) string {
	all := above(n)
	return all[slices.IndexFunc(all, func(n string) bool { return z.exists[n] })]
}

// nextCloser is the name above n, or n itself, that is a child of encloser.
func nextCloser(n, encloser string) string {
	for parentOf(n) != encloser {
		n = parentOf(n)
	}
	return n
}

// A conclusion is what there is to conclude about a question.
type conclusion struct {
	outcome    Outcome // Failed: there is something, or it is not the zone's to say
	unsigned   bool
	delegation bool
	denied     string
}

// truth is what the zone's data says.
func (z *model) truth(n string, rtype uint16) conclusion {
	switch {
	case rtype == dns.TypeDS && n == modelApex, slices.ContainsFunc(above(n), z.leadsAway):
		return conclusion{}
	case z.isCut(n) && rtype != dns.TypeDS:
		return conclusion{}
	case z.exists[n]:
		return z.noData(n, rtype)
	}
	encloser := z.encloser(n)
	if z.exists["*."+encloser] {
		return z.noData("*."+encloser, rtype)
	}
	return conclusion{outcome: NXDomain, denied: nextCloser(n, encloser)}
}

func (z *model) noData(owner string, rtype uint16) conclusion {
	if z.has(owner, rtype) || z.has(owner, dns.TypeCNAME) {
		return conclusion{}
	}
	return conclusion{outcome: NoData, delegation: z.isCut(owner)}
}

// truthNSEC3 is what NSEC3 records can say of it: nothing below a name where
// those that are left out by Opt-Out may be.
func (z *model) truthNSEC3(n string, rtype uint16) conclusion {
	if !z.optOut || z.hashed(n) {
		return z.truth(n, rtype)
	}
	all := above(n)
	provable := all[slices.IndexFunc(all, z.hashed)]
	return conclusion{unsigned: !z.leadsAway(provable)}
}

// hashed reports whether a name has an NSEC3 record (RFC 5155, Section 7.1).
func (z *model) hashed(n string) bool {
	for owner := range z.types {
		insecure := z.isCut(owner) && !z.has(owner, dns.TypeDS)
		if (owner == n || strings.HasSuffix(owner, "."+n)) && !(z.optOut && insecure) {
			return true
		}
	}
	return false
}

// bits writes a type bitmap, of types below 256 (RFC 4034, Section 4.1.2).
func bits(types ...uint16) []byte {
	if len(types) == 0 {
		return nil
	}
	window := make([]byte, slices.Max(types)/8+1)
	for _, t := range types {
		window[t/8] |= 0x80 >> (t % 8)
	}
	return append([]byte{0, byte(len(window))}, window...)
}

// nsecChain makes the NSEC records (RFC 4034, Section 4, in the order of 6.1).
func (z *model) nsecChain(t *testing.T) (chain []nsec) {
	var owners [][]string
	for n := range z.types {
		labels := strings.Split(strings.TrimSuffix(n, "."), ".")
		slices.Reverse(labels)
		owners = append(owners, labels)
	}
	slices.SortFunc(owners, slices.Compare)
	presented := func(i int) string {
		labels := slices.Clone(owners[i%len(owners)])
		slices.Reverse(labels)
		return strings.Join(labels, ".") + "."
	}
	for i := range owners {
		n := presented(i)
		rdata := append([]byte(must(presented(i+1))), bits(append(slices.Clone(z.types[n]), dns.TypeNSEC, dns.TypeRRSIG)...)...)
		r, ok := parseNSEC(must(n), rdata)
		if !ok {
			t.Fatalf("the NSEC of %s cannot be read", n)
		}
		chain = append(chain, r)
	}
	return chain
}

// nsec3Chain makes the NSEC3 records (RFC 5155, Section 7.1).
func (z *model) nsec3Chain(t *testing.T) (chain []nsec3) {
	types, flags := map[string][]uint16{}, byte(0)
	for n := range z.exists {
		if z.hashed(n) {
			types[dns.HashName(n, dns.SHA1, z.repeats, z.salt)] = z.types[n]
		}
	}
	if z.optOut {
		flags = 1
	}
	var hashes []string
	for h := range types {
		hashes = append(hashes, h)
	}
	slices.Sort(hashes)
	salt, _ := hex.DecodeString(z.salt)
	for i, h := range hashes {
		next, _ := base32hex.DecodeString(hashes[(i+1)%len(hashes)])
		rdata := append([]byte{1, flags, 0, byte(z.repeats), byte(len(salt))}, salt...)
		rdata = append(append(append(rdata, byte(len(next))), next...), bits(types[h]...)...)
		r, ok := parseNSEC3(must(h+"."+modelApex), rdata)
		if !ok {
			t.Fatalf("the NSEC3 %s cannot be read", h)
		}
		chain = append(chain, r)
	}
	return chain
}

// strangers are NSEC3 records of the zones below and above, which have
// something to say of every name, and must not be heard.
func (z *model) strangers(own nsec3) (all []nsec3) {
	for _, zone := range []string{".", "a." + modelApex, "b." + modelApex} {
		r := own
		r.zone, r.owner, r.next = must(zone), strings.Repeat("\x00", 20), strings.Repeat("\x00", 20)
		all = append(all, r)
	}
	return all
}

func concluded(d denial) conclusion {
	c := conclusion{d.outcome, d.unsigned, d.delegation, ""}
	if d.denied != "" {
		c.denied = d.denied.String()
	}
	return c
}

// some returns about half of the records.
func some[R any](random *rand.Rand, records []R) []R {
	return slices.DeleteFunc(slices.Clone(records), func(R) bool { return random.IntN(2) == 0 })
}

// check compares what the records of a zone prove with what is so: all of it
// by all of them, and by some of them all of it or nothing.
func (z *model) check(t *testing.T, random *rand.Rand) {
	apex, all, all3 := must(modelApex), z.nsecChain(t), z.nsec3Chain(t)
	part, part3 := some(random, all), append(some(random, all3), z.strangers(all3[0])...)
	all3 = append(all3, z.strangers(all3[0])...)
	for _, n := range modelNames(4) {
		for _, rtype := range []uint16{dns.TypeA, dns.TypeTXT, dns.TypeDS, dns.TypeNS, dns.TypeSOA, dns.TypeCNAME} {
			q := question{must(n), rtype}
			want, want3 := z.truth(n, rtype), z.truthNSEC3(n, rtype)
			if got := concluded(denyByNSEC(apex, all, q)); got != want {
				t.Errorf("NSEC: %s %s is %+v, want %+v: %v", n, TypeName(rtype), got, want, z)
			}
			if got := concluded(denyByNSEC(apex, part, q)); got != want && got != (conclusion{}) {
				t.Errorf("some NSEC: %s %s is %+v, want %+v or nothing: %v", n, TypeName(rtype), got, want, z)
			}
			if got := concluded(denyByNSEC3(apex, all3, q, newWork())); got != want3 {
				t.Errorf("NSEC3: %s %s is %+v, want %+v: %v", n, TypeName(rtype), got, want3, z)
			}
			if got := concluded(denyByNSEC3(apex, part3, q, newWork())); got != want3 && got != (conclusion{}) {
				t.Errorf("some NSEC3: %s %s is %+v, want %+v or nothing: %v", n, TypeName(rtype), got, want3, z)
			}
		}
		z.checkCuts(t, n, all)
		for _, e := range above(n) {
			// There is a wildcard only where a name is, in this zone.
			if z.exists[e] && !slices.ContainsFunc(append(above(e), e), z.leadsAway) {
				z.checkWildcard(t, n, e, all, part, all3, part3)
			}
		}
	}
}

// checkCuts checks that the records of the parent's side, taken for the
// child's, deny nothing of what is the child's to say.
func (z *model) checkCuts(t *testing.T, n string, all []nsec) {
	for _, cut := range append(above(n), n) {
		if d := denyByNSEC(must(cut), all, question{must(n), dns.TypeMX}); z.isCut(cut) && concluded(d) != (conclusion{}) {
			t.Errorf("%s is denied from above the cut at %s: %+v: %v", n, cut, concluded(d), z)
		}
	}
}

// checkWildcard checks whether a name may have been made from the wildcard
// below a name above it.
func (z *model) checkWildcard(t *testing.T, n, e string, all, part []nsec, all3, part3 []nsec3) {
	apex, owner, encloser := must(modelApex), must(n), must(e)
	closer := nextCloser(n, e)
	want, want3 := !z.exists[closer], conclusion{}
	switch {
	case z.optOut && !z.hashed(closer):
		want3.unsigned = true
	case want:
		want3 = conclusion{outcome: NXDomain, denied: closer}
	}
	if got := noCloserByNSEC(apex, all, owner, encloser); got != want {
		t.Errorf("NSEC: %s from *.%s: %t, want %t: %v", n, e, got, want, z)
	}
	if noCloserByNSEC(apex, part, owner, encloser) && !want {
		t.Errorf("some NSEC: %s from *.%s: %v", n, e, z)
	}
	if got := concluded(noCloserByNSEC3(apex, all3, owner, encloser, newWork())); got != want3 {
		t.Errorf("NSEC3: %s from *.%s: %+v, want %+v: %v", n, e, got, want3, z)
	}
	if got := concluded(noCloserByNSEC3(apex, part3, owner, encloser, newWork())); got != want3 && got != (conclusion{}) {
		t.Errorf("some NSEC3: %s from *.%s: %+v, want %+v or nothing: %v", n, e, got, want3, z)
	}
}

// Small random zones, one for each number.
func FuzzDenialModel(f *testing.F) {
	for i := range uint64(200) {
		f.Add(i, 3*i)
	}
	f.Fuzz(func(t *testing.T, a, b uint64) {
		random := rand.New(rand.NewPCG(a, b))
		newModel(random).check(t, random)
	})
}
