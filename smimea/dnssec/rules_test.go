package dnssec

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// The year 2106 is as far as the 32 bits of a signature's time go.
func TestTimesAreSerialNumbers(t *testing.T) {
	w := newWorld(t, zoneOf("test.", "mail A 192.0.2.1", valid(-time.Hour, time.Hour)))
	w.now = time.Unix(1<<32, 0)
	if a := w.lookup("mail.test.", typeA); a.Status != Secure {
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
				m.Answer = []dns.RR{parseRR(w.t, "unsigned.test. 3600 IN DNAME forgotten.test.")}
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

// There is one good signature, or a full proof, and something odd around it.
// Unbound's validator says bogus to these. They stand here and not in the table
// of cases, where nothing excuses Secure against Unbound.
func TestOddAndProven(t *testing.T) {
	const mail = "mail.good.test."
	for _, c := range []struct {
		what    string
		name    string
		outcome Outcome
		change  func(w *world, m *dns.Msg)
	}{
		// RFC 4035, Section 5.3.3: any signature that holds will do. Unbound
		// looks at the first one's signer alone.
		{"a signature of another zone before the good one", mail, Data, func(_ *world, m *dns.Msg) {
			other := dns.Copy(m.Answer[2]).(*dns.RRSIG)
			other.SignerName = "nsec3.test."
			m.Answer = slices.Insert(m.Answer, 2, dns.RR(other))
		}},
		// Unbound and BIND refuse the message.
		{"a record of another class", mail, Data, func(_ *world, m *dns.Msg) {
			other := dns.Copy(m.Answer[0])
			other.Header().Class = dns.ClassCHAOS
			other.(*dns.A).A = other.(*dns.A).A.Mask([]byte{255, 255, 255, 0})
			m.Answer = append(m.Answer, other)
		}},
		// Unbound wants every record set of the answer section signed.
		{"an alias beside the record", mail, Data, func(w *world, m *dns.Msg) {
			m.Answer = append(m.Answer, parseRR(w.t, mail+" 1 IN CNAME x."))
		}},
		// The records prove more than the code says (RFC 4035, Section 5.4).
		// Unbound and BIND want the code to agree.
		{"a code that says too little", "none.good.test.", NXDomain, func(_ *world, m *dns.Msg) { m.Rcode = dns.RcodeSuccess }},
	} {
		w := sound(t)
		w.tamper = only(c.name, typeA, func(m *dns.Msg) { c.change(w, m) })
		a := w.lookup(c.name, typeA)
		if got := fmt.Sprint(a.Data); a.Status != Secure || a.Outcome != c.outcome || a.Outcome == Data && got != "[[192 0 2 1] [192 0 2 2]]" {
			t.Errorf("%s: %v, %v, %s (%v)", c.what, a.Status, a.Outcome, got, a.Why)
		}
	}
}
