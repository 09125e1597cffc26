package dnssec

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// Signatures hold for a time, give or take five minutes.
func TestTimes(t *testing.T) {
	const day = 24 * time.Hour
	for _, c := range []struct {
		what     string
		from, to time.Duration
		status   Status
		why      string
		ede      uint16
	}{
		{"valid", -day, day, Secure, "", 0},
		{"expired four minutes ago", -day, -4 * time.Minute, Secure, "", 0},
		{"expired six minutes ago", -day, -6 * time.Minute, Bogus, "the signature expired at 2026-06-01T11:54:00Z", 7},
		{"expired a year ago", -400 * day, -365 * day, Bogus, "the signature expired at 2025-06-01", 7},
		{"valid in four minutes", 4 * time.Minute, day, Secure, "", 0},
		{"valid in six minutes", 6 * time.Minute, day, Bogus, "the signature is not valid before 2026-06-01T12:06:00Z", 8},
		{"beyond 68 years, which is the past", -day, 69 * 366 * day, Bogus, "the signature expired", 7},
	} {
		w := newWorld(t, zoneOf("test.", "mail A 192.0.2.1", valid(c.from, c.to)))
		a := w.lookup("mail.test.", typeA)
		var f *Failure
		if a.Status != c.status || a.Why != nil && (!strings.Contains(a.Why.Error(), c.why) || !errors.As(a.Why, &f) || f.EDE != c.ede) {
			t.Errorf("%s: %v (%v), want %v", c.what, a.Status, a.Why, c.status)
		}
	}
}

// The year 2106 is as far as the 32 bits of a signature's time go.
func TestTimesAreSerialNumbers(t *testing.T) {
	w := newWorld(t, zoneOf("test.", "mail A 192.0.2.1", valid(-time.Hour, time.Hour)))
	w.now = time.Unix(1<<32, 0)
	if a := w.lookup("mail.test.", typeA); a.Status != Secure {
		t.Errorf("%v (%v)", a.Status, a.Why)
	}
}

func TestLifetime(t *testing.T) {
	long := valid(-time.Hour, 90*24*time.Hour)
	for _, c := range []struct {
		what  string
		do    func(w *world)
		name  string
		qtype uint16
		want  time.Duration
	}{
		{"the TTL", nil, "mail.test.", typeA, 600 * time.Second},
		{"the signature's TTL, if lower", func(w *world) {
			w.tamper = only("mail.test.", typeA, func(m *dns.Msg) { m.Answer[1].Header().Ttl = 60 })
		}, "mail.test.", typeA, time.Minute},
		{"the TTL left in a cache", func(w *world) {
			w.tamper = only("mail.test.", typeA, func(m *dns.Msg) { m.Answer[0].Header().Ttl, m.Answer[1].Header().Ttl = 7, 7 })
		}, "mail.test.", typeA, 7 * time.Second},
		{"the original TTL, if somebody raised the others", func(w *world) {
			w.tamper = only("mail.test.", typeA, func(m *dns.Msg) { m.Answer[0].Header().Ttl, m.Answer[1].Header().Ttl = 86400, 86400 })
		}, "mail.test.", typeA, 600 * time.Second},
		{"the end of the signature", func(w *world) { w.zones[must("test.")].to = 5 * time.Minute }, "mail.test.", typeA, 5 * time.Minute},
		{"the TTL of the zone's keys", func(w *world) {
			w.tamper = only("test.", dns.TypeDNSKEY, func(m *dns.Msg) { m.Answer[0].Header().Ttl = 90 })
		}, "mail.test.", typeA, 90 * time.Second},
		{"the TTL of a DS", func(w *world) {
			w.tamper = only("test.", dns.TypeDS, func(m *dns.Msg) { m.Answer[0].Header().Ttl = 30 })
		}, "mail.test.", typeA, 30 * time.Second},
		{"a TTL with the top bit set", func(w *world) {
			w.tamper = only("mail.test.", typeA, func(m *dns.Msg) { m.Answer[0].Header().Ttl = 1 << 31 })
		}, "mail.test.", typeA, 0},
		{"the SOA's last field, for a denial", nil, "none.test.", typeA, 300 * time.Second},
		{"the SOA's TTL, for a denial", func(w *world) {
			w.tamper = only("none.test.", typeA, func(m *dns.Msg) { m.Ns[0].Header().Ttl = 20 })
		}, "none.test.", typeA, 20 * time.Second},
		{"the shortest of an alias's steps", nil, "alias.test.", typeA, 100 * time.Second},
		{"a wildcard, no longer than the proof", nil, "any.wild.test.", typeA, 300 * time.Second},
		{"an unsigned record", nil, "mail.plain.test.", typeA, 200 * time.Second},
		{"an unsigned record, no longer than the proof", nil, "long.plain.test.", typeA, 300 * time.Second},
	} {
		w := newWorld(t, zoneOf(".", "", long), zoneOf("plain.test.", "mail 200 A 192.0.2.1\nlong 900 A 192.0.2.2", unsigned),
			zoneOf("test.", "mail 600 A 192.0.2.1\nalias 100 CNAME mail\n*.wild 600 A 192.0.2.1", long))
		if c.do != nil {
			c.do(w)
		}
		a := w.lookup(c.name, c.qtype)
		if a.Status < Insecure {
			t.Errorf("%s: %v (%v)", c.what, a.Status, a.Why)
		}
		if got := a.Expires.Sub(w.now); got != c.want {
			t.Errorf("%s: %v, want %v", c.what, got, c.want)
		}
	}
}

// A zone counts as unsigned when nothing that names its keys is understood.
func TestUnknownAlgorithms(t *testing.T) {
	for _, c := range []struct {
		what   string
		change func(ds []*dns.DS) []*dns.DS
		status Status
	}{
		{"one DS", func(ds []*dns.DS) []*dns.DS { return ds }, Secure},
		{"an unknown digest type", func(ds []*dns.DS) []*dns.DS { ds[0].DigestType = 99; return ds }, Insecure},
		{"SHA-1", func(ds []*dns.DS) []*dns.DS { ds[0].DigestType = 1; ds[0].Digest = strings.Repeat("aa", 20); return ds }, Insecure},
		{"RSA/SHA-1", func(ds []*dns.DS) []*dns.DS { ds[0].Algorithm = 5; return ds }, Insecure},
		{"RSA/SHA-1 with NSEC3", func(ds []*dns.DS) []*dns.DS { ds[0].Algorithm = 7; return ds }, Insecure},
		{"an algorithm yet to come", func(ds []*dns.DS) []*dns.DS { ds[0].Algorithm = 17; return ds }, Insecure},
		{"RSA/MD5", func(ds []*dns.DS) []*dns.DS { ds[0].Algorithm = 1; return ds }, Insecure},
		{"an unknown one beside one that fits", func(ds []*dns.DS) []*dns.DS {
			other := *ds[0]
			other.DigestType = 99
			return []*dns.DS{&other, ds[0]}
		}, Secure},
		{"an unknown one beside one that does not", func(ds []*dns.DS) []*dns.DS {
			other := *ds[0]
			other.DigestType, ds[0].Digest = 99, strings.Repeat("aa", 32)
			return []*dns.DS{&other, ds[0]}
		}, Bogus},
		{"SHA-1 that fits beside SHA-256 that does not", func(ds []*dns.DS) []*dns.DS {
			old := *ds[0]
			old.DigestType, ds[0].Digest = 1, strings.Repeat("aa", 32)
			return []*dns.DS{&old, ds[0]}
		}, Bogus},
		{"a digest of the wrong length", func(ds []*dns.DS) []*dns.DS { ds[0].Digest = ds[0].Digest[:40]; return ds }, Bogus},
		{"another key tag", func(ds []*dns.DS) []*dns.DS { ds[0].KeyTag++; return ds }, Bogus},
	} {
		w := newWorld(t, zoneOf("test.", "mail A 192.0.2.1"))
		set := c.change([]*dns.DS{w.zones[must("test.")].ds()})
		w.tamper = only("test.", dns.TypeDS, func(m *dns.Msg) {
			var rrs []dns.RR
			for _, ds := range set {
				rrs = append(rrs, ds)
			}
			m.Answer = w.signed(w.zones[root], rrs)
		})
		a := w.lookup("mail.test.", typeA)
		if a.Status != c.status {
			t.Errorf("%s: %v (%v), want %v", c.what, a.Status, a.Why, c.status)
		}
	}
}

// A key without the Zone Key flag, of another protocol, or revoked, signs nothing.
func TestKeysThatSignNothing(t *testing.T) {
	for _, c := range []struct {
		what   string
		change func(k *dns.DNSKEY)
		status Status
	}{
		{"not a secure entry point", func(k *dns.DNSKEY) { k.Flags = 256 }, Secure},
		{"no zone key", func(k *dns.DNSKEY) { k.Flags = 1 }, Bogus},
		{"another protocol", func(k *dns.DNSKEY) { k.Protocol = 4 }, Bogus},
		{"revoked", func(k *dns.DNSKEY) { k.Flags = 257 | 128 }, Bogus},
	} {
		w := newWorld(t, zoneOf("test.", "mail A 192.0.2.1"))
		zone := w.zones[must("test.")]
		key := *zone.ksk.DNSKEY
		c.change(&key)
		other := &signer{&key, zone.ksk.private}
		w.tamper = func(q question, m *dns.Msg) {
			switch q {
			case question{must("test."), dns.TypeDS}:
				ds := key.ToDS(2)
				ds.Hdr.Ttl = 3600
				m.Answer = w.signed(w.zones[root], []dns.RR{ds})
			case question{must("test."), dns.TypeDNSKEY}:
				set := []dns.RR{&key, zone.zsk.DNSKEY}
				m.Answer = append(set, other.sign(t, set, must("test."), w.now.Add(-time.Hour), w.now.Add(time.Hour)))
			}
		}
		if a := w.lookup("mail.test.", typeA); a.Status != c.status {
			t.Errorf("%s: %v (%v), want %v", c.what, a.Status, a.Why, c.status)
		}
	}
}

// RFC 9276, Section 3.2: many iterations make a denial worthless, not bogus,
// once the record is known to be the zone's.
func TestIterations(t *testing.T) {
	for _, c := range []struct {
		iterations uint16
		tamper     bool
		name       string
		status     Status
	}{
		{100, false, "none.test.", Secure},
		{101, false, "none.test.", Insecure},
		{101, false, "mail.test.", Secure},
		{101, false, "any.wild.test.", Insecure},
		{2500, false, "none.test.", Insecure},
		{101, true, "none.test.", Bogus},
	} {
		w := newWorld(t, zoneOf("test.", "mail A 192.0.2.1\n*.wild A 192.0.2.2", iterations(c.iterations)))
		if c.tamper {
			w.tamper = func(_ question, m *dns.Msg) {
				for _, rr := range m.Ns {
					if r, ok := rr.(*dns.NSEC3); ok {
						r.Iterations++
					}
				}
			}
		}
		if a := w.lookup(c.name, typeA); a.Status != c.status {
			t.Errorf("%d iterations, tampered %t, %s: %v (%v), want %v", c.iterations, c.tamper, c.name, a.Status, a.Why, c.status)
		}
	}
}

// What nobody answers is not bogus, and what a zone that is proven to be
// unsigned cannot say was never going to be proven (RFC 7672, Section 2.2.2).
func TestNoAnswer(t *testing.T) {
	servfail := &rcodeError{rcode: dns.RcodeServerFailure, ede: []uint16{22}}
	for _, c := range []struct {
		what   string
		fails  question
		err    error
		name   string
		status Status
	}{
		{"the question itself", question{must("mail.good.test."), typeA}, servfail, "mail.good.test.", Indeterminate},
		{"silence", question{must("mail.good.test."), typeA}, context.DeadlineExceeded, "mail.good.test.", Indeterminate},
		{"a malformed message", question{must("mail.good.test."), typeA}, errMalformed, "mail.good.test.", Indeterminate},
		{"the zone's keys", question{must("good.test."), dns.TypeDNSKEY}, servfail, "mail.good.test.", Indeterminate},
		{"the zone's DS", question{must("good.test."), dns.TypeDS}, servfail, "mail.good.test.", Indeterminate},
		{"the keys of a zone above", question{must("test."), dns.TypeDNSKEY}, servfail, "mail.good.test.", Indeterminate},
		{"the keys of the root", question{root, dns.TypeDNSKEY}, servfail, "mail.good.test.", Indeterminate},
		{"the DS of an unsigned zone", question{must("unsigned.test."), dns.TypeDS}, servfail, "mail.unsigned.test.", Indeterminate},
		{"the target of an alias", question{must("mail.good.test."), typeA}, servfail, "alias.good.test.", Indeterminate},
		{"a question to an unsigned zone", question{must("mail.unsigned.test."), typeA}, servfail, "mail.unsigned.test.", Insecure},
	} {
		w := sound(t)
		w.fails = func(q question) error {
			if q == c.fails {
				return c.err
			}
			return nil
		}
		a := w.lookup(c.name, typeA)
		if a.Status != c.status || a.Outcome != Failed || a.Data != nil || a.Unproven != nil {
			t.Errorf("%s: %v, %v (%v), want %v", c.what, a.Status, a.Outcome, a.Why, c.status)
		}
		if !errors.Is(a.Why, c.err) {
			t.Errorf("%s: why %v, want %v in it", c.what, a.Why, c.err)
		}
	}
}

// A signature that fails does not make it bogus that the keys for another one
// could not be had.
func TestNoAnswerOutweighsABadSignature(t *testing.T) {
	w := sound(t)
	w.fails = func(q question) error {
		if q == (question{must("good.test."), dns.TypeDNSKEY}) {
			return context.DeadlineExceeded
		}
		return nil
	}
	w.tamper = only("mail.good.test.", typeA, func(m *dns.Msg) {
		bad := dns.Copy(m.Answer[2]).(*dns.RRSIG)
		bad.SignerName = "test."
		m.Answer = append(m.Answer, bad)
	})
	if a := w.lookup("mail.good.test.", typeA); a.Status != Indeterminate {
		t.Errorf("%v (%v)", a.Status, a.Why)
	}
}

// A name that is proven not to exist has nothing below it to ask for.
func TestWalkEndsWhereNothingIs(t *testing.T) {
	w := sound(t)
	w.tamper = only("a.b.c.d.e.f.none.test.", typeA, func(m *dns.Msg) { m.Ns = nil })
	a := w.lookup("a.b.c.d.e.f.none.test.", typeA)
	if a.Status != Bogus || w.questions() != 5 { // it, and the keys of two zones, and two DS
		t.Errorf("%v (%v) after %v", a.Status, a.Why, w.asked)
	}
}

// A trust anchor need not be the root's. The closest one counts, and makes what
// is said above it worthless.
func TestPrivateAnchors(t *testing.T) {
	for _, c := range []struct {
		what    string
		name    string
		anchors func(w *world) []Anchor
		tamper  func(w *world) func(question, *dns.Msg)
		status  Status
	}{
		{"an island below an unsigned zone", "mail.below.unsigned.test.", nil, nil, Secure},
		{"beside the island", "mail.unsigned.test.", nil, nil, Insecure},
		{"the island, all around it gone", "mail.below.unsigned.test.", nil, func(w *world) func(question, *dns.Msg) {
			return func(q question, m *dns.Msg) {
				if !q.name.in(must("below.unsigned.test.")) {
					m.Answer, m.Ns = nil, nil
				}
			}
		}, Secure},
		{"an unsigned DNAME above the island", "mail.below.unsigned.test.", nil, func(w *world) func(question, *dns.Msg) {
			return only("mail.below.unsigned.test.", typeA, func(m *dns.Msg) {
				m.Answer = []dns.RR{parseRR(w.t.(*testing.T), "unsigned.test. 3600 IN DNAME forgotten.test.")}
			})
		}, Bogus},
		{"stripped in the island", "mail.below.unsigned.test.", nil, func(*world) func(question, *dns.Msg) { return strip }, Bogus},
		{"signed from above the anchor", "mail.below.unsigned.test.", nil, func(w *world) func(question, *dns.Msg) {
			return only("mail.below.unsigned.test.", typeA, func(m *dns.Msg) {
				m.Answer = append(without(m.Answer, dns.TypeRRSIG), w.zones[root].zsk.sign(w.t, m.Answer[:1], root, w.now.Add(-time.Hour), w.now.Add(time.Hour)))
			})
		}, Bogus},
		{"no anchor above", "mail.good.test.", func(w *world) []Anchor { return w.anchorsOf("below.unsigned.test.") }, nil, Indeterminate},
	} {
		w := sound(t)
		if c.tamper != nil {
			w.tamper = c.tamper(w)
		}
		anchors := append(w.anchors(), w.anchorsOf("below.unsigned.test.")...)
		if c.anchors != nil {
			anchors = c.anchors(w)
		}
		a := w.validator(func(o *Options) { o.Anchors = anchors }).Lookup(context.Background(), c.name, typeA)
		if a.Status != c.status {
			t.Errorf("%s: %v (%v), want %v", c.what, a.Status, a.Why, c.status)
		}
	}
}

func (w *world) anchorsOf(zone string) []Anchor {
	a, err := anchorOf(w.zones[must(zone)].ds())
	if err != nil {
		w.t.Fatal(err)
	}
	return []Anchor{a}
}

// Records of another class, of other names and twice the same do not get into
// an answer, and one signature that holds is enough.
func TestWhatIsInAnAnswer(t *testing.T) {
	for _, c := range []struct {
		what   string
		change func(w *world, m *dns.Msg)
	}{
		{"another class", func(w *world, m *dns.Msg) {
			other := dns.Copy(m.Answer[0])
			other.Header().Class = dns.ClassCHAOS
			other.(*dns.A).A = other.(*dns.A).A.Mask([]byte{255, 255, 255, 0})
			m.Answer = append(m.Answer, other)
		}},
		{"another name", func(w *world, m *dns.Msg) { m.Answer = append(m.Answer, parseRR(t, "x. 1 IN A 192.0.2.9")) }},
		{"another type", func(w *world, m *dns.Msg) {
			m.Answer = append(m.Answer, parseRR(t, "mail.good.test. 1 IN TXT x"), parseRR(t, "mail.good.test. 1 IN CNAME x."))
		}},
		{"records twice", func(w *world, m *dns.Msg) { m.Answer = append(m.Answer, m.Answer...) }},
		{"another order", func(w *world, m *dns.Msg) { slices.Reverse(m.Answer) }},
		{"upper case", func(w *world, m *dns.Msg) { m.Answer[0].Header().Name = "MAIL.good.TEST." }},
		{"broken signatures beside the good one", func(w *world, m *dns.Msg) {
			for i := range 4 {
				bad := dns.Copy(m.Answer[2]).(*dns.RRSIG)
				bad.KeyTag += uint16(i % 2)
				bad.Signature = strings.Repeat("AAAA", 21) + "AAA="
				m.Answer = slices.Insert(m.Answer, 2, dns.RR(bad))
			}
		}},
		{"an expired signature beside the good one", func(w *world, m *dns.Msg) {
			old := dns.Copy(m.Answer[2]).(*dns.RRSIG)
			old.Expiration = old.Inception
			m.Answer = slices.Insert(m.Answer, 2, dns.RR(old))
		}},
		{"a signature of an unknown algorithm beside the good one", func(w *world, m *dns.Msg) {
			other := dns.Copy(m.Answer[2]).(*dns.RRSIG)
			other.Algorithm = 200
			m.Answer = slices.Insert(m.Answer, 2, dns.RR(other))
		}},
		{"the rest of the message full of junk", func(w *world, m *dns.Msg) {
			m.Extra = append(m.Extra, parseRR(t, "mail.good.test. 1 IN A 192.0.2.66"))
			m.Ns = append(m.Ns, parseRR(t, "good.test. 1 IN NS ns.intruder.test."))
		}},
	} {
		w := sound(t)
		w.tamper = only("mail.good.test.", typeA, func(m *dns.Msg) { c.change(w, m) })
		a := w.lookup("mail.good.test.", typeA)
		if got := fmt.Sprint(a.Data); a.Status != Secure || got != "[[192 0 2 1] [192 0 2 2]]" {
			t.Errorf("%s: %v, %s (%v)", c.what, a.Status, got, a.Why)
		}
	}
}

func TestWildcardIsTold(t *testing.T) {
	w := sound(t)
	for n, want := range map[string]bool{
		"any.wild.good.test.":  true,
		"any.wild.nsec3.test.": true,
		"any.alias.good.test.": true, // the alias is
		"*.wild.good.test.":    false,
		"x.wild.good.test.":    false,
	} {
		if a := w.lookup(n, typeA); a.Wildcard != want {
			t.Errorf("%s: wildcard %t", n, a.Wildcard)
		}
	}
}

// Denied is the highest name that does not exist: it tells a missing mailbox
// from a missing domain.
func TestDenied(t *testing.T) {
	w := sound(t)
	for n, want := range map[string]string{
		"b._smimecert.good.test.":  "b._smimecert.good.test.",
		"b._smimecert.nsec3.test.": "b._smimecert.nsec3.test.",
		"b._smimecert.x.y.test.":   "y.test.",
		"b._smimecert.none.":       "none.",
		"a.b.c.nsec3.test.":        "c.nsec3.test.",
	} {
		if a := w.lookup(n, typeSMIMEA); a.Denied != want {
			t.Errorf("%s: denied %q, want %q (%v, %v)", n, a.Denied, want, a.Status, a.Why)
		}
	}
}

func TestWhatCannotBeAsked(t *testing.T) {
	w := sound(t)
	for _, c := range []struct {
		name  string
		qtype uint16
	}{
		{"", typeA}, {"a..test.", typeA}, {strings.Repeat("a", 64) + ".test.", typeA}, {`a\`, typeA},
		{"mail.good.test.", dns.TypeANY}, {"mail.good.test.", dns.TypeAXFR}, {"mail.good.test.", dns.TypeRRSIG},
		{"mail.good.test.", dns.TypeOPT}, {"mail.good.test.", 0},
	} {
		a := w.lookup(c.name, c.qtype)
		if a.Status != Indeterminate || a.Outcome != Failed || a.Why == nil {
			t.Errorf("%q %d: %v, %v (%v)", c.name, c.qtype, a.Status, a.Outcome, a.Why)
		}
	}
	if w.questions() != 0 {
		t.Errorf("%d questions were asked", w.questions())
	}
}
