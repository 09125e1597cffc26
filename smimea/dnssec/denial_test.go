package dnssec

import (
	"crypto/sha1"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// The zone of RFC 4035, Appendix A, in names and types.
func rfc4035(t *testing.T) []nsec {
	return nsecs(t,
		"example. NSEC a.example. NS SOA MX RRSIG NSEC DNSKEY",
		"a.example. NSEC ai.example. NS DS RRSIG NSEC",
		"ai.example. NSEC b.example. A HINFO AAAA RRSIG NSEC",
		"b.example. NSEC ns1.example. NS RRSIG NSEC",
		"ns1.example. NSEC ns2.example. A RRSIG NSEC",
		"ns2.example. NSEC *.w.example. A RRSIG NSEC",
		"*.w.example. NSEC x.w.example. MX RRSIG NSEC",
		"x.w.example. NSEC x.y.w.example. MX RRSIG NSEC",
		"x.y.w.example. NSEC xx.example. MX RRSIG NSEC",
		"xx.example. NSEC example. A HINFO AAAA RRSIG NSEC",
	)
}

func nsecs(t *testing.T, lines ...string) []nsec {
	t.Helper()
	var all []nsec
	for _, l := range lines {
		rr := parseRR(t, strings.Replace(l, " NSEC ", " 300 IN NSEC ", 1))
		rdata, ok := rdataOf(rr)
		if !ok {
			t.Fatal(l)
		}
		r, ok := parseNSEC(must(rr.Header().Name), rdata)
		if !ok {
			t.Fatal(l)
		}
		all = append(all, r)
	}
	return all
}

func TestDenyByNSEC(t *testing.T) {
	zone := must("example.")
	for _, c := range []struct {
		name    string
		rtype   uint16
		outcome Outcome
		denied  string
	}{
		{"ml.example.", dns.TypeA, NXDomain, "ml.example."}, // RFC 4035, B.2
		{"ns1.example.", dns.TypeMX, NoData, ""},            // B.3
		{"a.z.w.example.", dns.TypeAAAA, NoData, ""},        // B.7
		{"y.w.example.", dns.TypeA, NoData, ""},             // an empty non-terminal
		{"w.example.", dns.TypeA, NoData, ""},
		{"a.y.w.example.", dns.TypeA, NXDomain, "a.y.w.example."},
		{"zz.example.", dns.TypeA, NXDomain, "zz.example."},
		{"c.d.zz.example.", dns.TypeA, NXDomain, "zz.example."},
		{"b.example.", dns.TypeDS, NoData, ""}, // B.8, an unsigned delegation
		{"example.", dns.TypeTXT, NoData, ""},
		{"ns1.example.", dns.TypeA, Failed, ""},    // exists
		{"a.z.w.example.", dns.TypeMX, Failed, ""}, // the wildcard has it
		{"mc.b.example.", dns.TypeA, Failed, ""},   // below a cut
		{"a.example.", dns.TypeMX, Failed, ""},     // at a cut
		{"a.example.", dns.TypeDS, Failed, ""},     // exists
		{"example.", dns.TypeDS, Failed, ""},       // the apex is the parent's business
		{"other.", dns.TypeA, Failed, ""},          // not in the zone
		{".", dns.TypeA, Failed, ""},
		{"notexample.", dns.TypeA, Failed, ""},
	} {
		d := denyByNSEC(zone, rfc4035(t), question{must(c.name), c.rtype})
		denied := ""
		if d.denied != "" {
			denied = d.denied.String()
		}
		if d.outcome != c.outcome || denied != c.denied || d.unsigned {
			t.Errorf("%s %s: %v %s, want %v %s", c.name, TypeName(c.rtype), d.outcome, denied, c.outcome, c.denied)
		}
		if d.delegation != (c.name == "b.example.") {
			t.Errorf("%s: delegation %t", c.name, d.delegation)
		}
	}
}

// Every record of a proof is needed.
func TestDenyByNSECNeedsAll(t *testing.T) {
	all := rfc4035(t)
	q := question{must("ml.example."), dns.TypeA}
	for _, c := range []struct {
		what    string
		records []nsec
		want    Outcome
	}{
		{"name and wildcard", []nsec{all[0], all[3]}, NXDomain},
		{"only the name", []nsec{all[3]}, Failed},
		{"only the wildcard", []nsec{all[0]}, Failed},
		{"none", nil, Failed},
		{"a zone of one name", nsecs(t, "example. NSEC example. SOA NS"), NXDomain},
		{"the last of another zone", nsecs(t, "x.org. NSEC org. A"), Failed},
		{"a next name outside the zone", nsecs(t, "example. NSEC org. SOA NS"), Failed},
		{"a delegation as the apex", nsecs(t, "example. NSEC example. NS"), Failed},
		{"a DNAME as the apex", nsecs(t, "example. NSEC example. NS SOA DNAME"), Failed},
	} {
		if d := denyByNSEC(must("example."), c.records, q); d.outcome != c.want {
			t.Errorf("%s: %v, want %v", c.what, d.outcome, c.want)
		}
	}
}

// RFC 5155, Appendix A: H(example) with the salt aabbccdd and 12 iterations.
func TestHash(t *testing.T) {
	salt, _ := hex.DecodeString("aabbccdd")
	h := newHashed(must("example."), []nsec3{{zone: must("example."), iterations: 12, salt: string(salt)}}, newWork())
	for n, want := range map[string]string{
		"example.":       "0p9mhaveqvm6t7vbl5lop2u3t2rp3tom",
		"a.example.":     "35mthgpgcu1qg68fab165klnsnk3dpvl",
		"*.w.example.":   "r53bq7cc2uvmubfu5ocmm6pers9tk9en",
		"X.Y.w.example.": "2vptu5timamqttgl4luu9kg21e0aor3s",
	} {
		if got := strings.ToLower(base32hex.EncodeToString([]byte(h.hash(must(n))))); got != want {
			t.Errorf("H(%s) = %s, want %s", n, got, want)
		}
	}
}

// RFC 5155, Section 8.2: records of other parameters are no part of the proof,
// and one that is not directly below the apex is none of the zone's chain.
func TestNSEC3RecordsFitTogether(t *testing.T) {
	zone := must("test.")
	first := nsec3{zone: zone, iterations: 1, salt: "a"}
	for _, c := range []struct {
		what  string
		other nsec3
		want  int
	}{
		{"the same", first, 2},
		{"other iterations", nsec3{zone: zone, iterations: 2, salt: "a"}, 1},
		{"another salt", nsec3{zone: zone, iterations: 1, salt: "b"}, 1},
		{"another zone", nsec3{zone: must("sub.test."), iterations: 1, salt: "a"}, 1},
	} {
		if got := len(newHashed(zone, []nsec3{first, c.other}, newWork()).records); got != c.want {
			t.Errorf("%s: %d records", c.what, got)
		}
	}
}

// narrow makes a record that covers one name and nothing else.
func narrow(h *hashed, n name, optOut bool) nsec3 {
	owner, next := []byte(h.hash(n)), []byte(h.hash(n))
	owner[len(owner)-1]--
	next[len(next)-1]++
	return nsec3{zone: h.zone, owner: string(owner), next: string(next), optOut: optOut}
}

// Opt-Out over the next closer name, or over the wildcard, proves nothing but
// that no signature need be there.
func TestOptOut(t *testing.T) {
	zone, q := must("test."), question{must("none.test."), typeA}
	h := newHashed(zone, []nsec3{{zone: zone}}, newWork())
	apex := nsec3{zone: zone, owner: h.hash(zone), next: h.hash(zone) + "\x00"}
	for _, c := range []struct {
		what             string
		closer, wildcard bool
		want             Outcome
	}{
		{"none", false, false, NXDomain},
		{"over the name", true, false, Failed},
		{"over the wildcard", false, true, Failed},
	} {
		records := []nsec3{apex, narrow(h, q.name, c.closer), narrow(h, must("*.test."), c.wildcard)}
		d := denyByNSEC3(zone, records, q, newWork())
		if d.outcome != c.want || d.unsigned != (c.want == Failed) {
			t.Errorf("Opt-Out %s: %v, unsigned %t", c.what, d.outcome, d.unsigned)
		}
		d = noCloserByNSEC3(zone, records, q.name, zone, newWork())
		if d.unsigned != c.closer || (d.outcome == NXDomain) == c.closer {
			t.Errorf("Opt-Out %s, for a wildcard's answer: %v, unsigned %t", c.what, d.outcome, d.unsigned)
		}
	}
}

// Equality is no cover: there the name exists.
func TestNSEC3Covers(t *testing.T) {
	at := func(b byte) string { return strings.Repeat(string([]byte{b}), sha1.Size) }
	for _, c := range []struct {
		what              string
		owner, next, hash byte
		want              bool
	}{
		{"between", 1, 5, 3, true},
		{"the owner", 1, 5, 1, false},
		{"the next", 1, 5, 5, false},
		{"before", 3, 5, 1, false},
		{"after", 1, 3, 5, false},
		{"the last: after", 5, 1, 7, true},
		{"the last: before the first", 5, 2, 1, true},
		{"the last: the owner", 5, 1, 5, false},
		{"the last: the next", 5, 1, 1, false},
		{"the last: between next and owner", 5, 1, 3, false},
		{"the only one", 5, 5, 3, true},
		{"the only one: itself", 5, 5, 5, false},
	} {
		r := nsec3{owner: at(c.owner), next: at(c.next)}
		if got := r.covers(at(c.hash)); got != c.want {
			t.Errorf("%s: %t", c.what, got)
		}
	}
}

func TestBitmap(t *testing.T) {
	// RFC 4034, Section 4.3: A MX RRSIG NSEC TYPE1234.
	example, _ := hex.DecodeString("0006400100000003041b000000000000000000000000000000000000000000000000000020")
	m := bitmap(example)
	if !m.valid() {
		t.Fatal("the RFC's example is not valid")
	}
	for rtype, want := range map[uint16]bool{1: true, 15: true, 46: true, 47: true, 1234: true, 2: false, 0: false, 1233: false, 1235: false, 65535: false, 257: false} {
		if m.has(rtype) != want {
			t.Errorf("type %d: %t", rtype, !want)
		}
	}
	for what, s := range map[string]string{
		"no length": "00", "empty window": "0000", "too short": "000240", "33 octets": "0021" + strings.Repeat("01", 33),
		"windows twice": "000140000140", "windows in the wrong order": "010140000140",
	} {
		b, _ := hex.DecodeString(s)
		if bitmap(b).valid() {
			t.Errorf("%s: valid", what)
		}
	}
	if !bitmap(nil).valid() || bitmap(nil).has(1) {
		t.Error("an empty bitmap names nothing")
	}
}

// Whatever the records say, nothing that a record shows to exist is denied.
func FuzzDenial(f *testing.F) {
	f.Add([]byte("\x01a\x04test\x00"), []byte("\x01c\x04test\x00\x00\x01\x40"), []byte("\x01b\x04test\x00"), uint16(1))
	f.Add([]byte("\x20p9mhaveqvm6t7vbl5lop2u3t2rp3tom0\x04test\x00"), []byte("\x01\x01\x00\x00\x00\x14aaaaaaaaaaaaaaaaaaaa\x00\x01\x40"), []byte("\x01b\x04test\x00"), uint16(43))
	f.Fuzz(func(t *testing.T, ownerWire, rdata, qname []byte, rtype uint16) {
		owner, _, ok := readName(ownerWire)
		n, _, ok2 := readName(qname)
		if !ok || !ok2 {
			return
		}
		q, zone := question{n, rtype}, must("test.")
		if r, ok := parseNSEC(owner, rdata); ok {
			d := denyByNSEC(zone, []nsec{r}, q)
			if d.outcome != Failed && owner == n && bitmap(r.types).has(rtype) {
				t.Errorf("%s %d is denied by a record that names it", n, rtype)
			}
			if d.outcome != Failed && owner != n && !n.in(zone) {
				t.Errorf("%s is denied by another zone", n)
			}
			noCloserByNSEC(zone, []nsec{r}, n, n.parent())
		}
		if r, ok := parseNSEC3(owner, rdata); ok {
			for _, zone := range []name{zone, owner.parent()} {
				d := denyByNSEC3(zone, []nsec3{r, r}, q, newWork())
				if d.outcome != Failed && !n.in(zone) {
					t.Errorf("%s is denied by another zone", n)
				}
				if d.outcome == NXDomain && r.optOut {
					t.Errorf("%s is denied by Opt-Out", n)
				}
				noCloserByNSEC3(zone, []nsec3{r}, n, n.parent(), newWork())
			}
		}
	})
}
