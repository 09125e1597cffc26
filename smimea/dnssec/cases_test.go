package dnssec

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// This file and those beside it, cases_*_test.go, list what a validator may
// meet, by the rules that it must keep: answers of a sound world, and worlds
// that are broken, or answers changed by somebody on the way who has no key but
// his own. Many of these were once called secure, or insecure, by some validator.
//
// TestCases runs them in memory. TestJudged, in judged_test.go, runs them behind
// real resolvers, and asks Unbound and BIND what they think.

// A labCase is a question and what should become of it.
type labCase struct {
	rule    int
	what    string
	name    string
	qtype   uint16
	status  Status
	outcome Outcome                   // not looked at for Bogus
	why     string                    // part of the reason
	do      func(w *world)            // what happens to the world, and to its answers
	zones   func(t testing.TB) *world // nil: sound
	lasts   time.Duration             // how long the answer may be kept; 0: not looked at
	judges  map[string]Status         // a judge who says something else, see differs
}

// The rules, and the least number of cases for each.
var rules = [...]struct {
	what  string
	cases func() []labCase
}{
	{"a DNSKEY set is signed by a key that a DS or an anchor matches", rule1},
	{"a signer is at or above the owner, that of a DS strictly above", rule2},
	{"a key has the Zone Key flag, protocol 3, and the tag and algorithm of the signature", rule3},
	{"signatures have a beginning and an end", rule4},
	{"all signatures are tried, within limits", rule5},
	{"what is not understood is skipped, and SHA-1 is not understood", rule6},
	{"a wildcard answers only where it is proven that nothing closer exists", rule7},
	{"NSEC denies what its zone can deny", rule8},
	{"NSEC3 denies what its zone can deny", rule9},
	{"unsigned is only what is proven to be", rule10},
	{"an answer holds what was asked for, and for so long", rule11},
	{"a reply is a whole message, to this question, over TCP", rule12},
}

const casesOfARule = 8

func labCases() []labCase {
	var all []labCase
	for i, r := range rules {
		for _, c := range r.cases() {
			c.rule = i + 1
			all = append(all, c)
		}
	}
	return all
}

// id names a case as a test.
func (c labCase) id() string { return fmt.Sprintf("rule %d/%s", c.rule, c.what) }

func good(what, name string, qtype uint16, outcome Outcome, do func(w *world)) labCase {
	return labCase{what: what, name: name, qtype: qtype, status: Secure, outcome: outcome, do: do}
}

func plain(what, name string, qtype uint16, outcome Outcome, do func(w *world)) labCase {
	return labCase{what: what, name: name, qtype: qtype, status: Insecure, outcome: outcome, do: do}
}

func bad(what, name string, qtype uint16, why string, do func(w *world)) labCase {
	return labCase{what: what, name: name, qtype: qtype, status: Bogus, why: why, do: do}
}

func unsure(what, name string, qtype uint16, why string, do func(w *world)) labCase {
	return labCase{what: what, name: name, qtype: qtype, status: Indeterminate, why: why, do: do}
}

// in gives a case a world of its own.
func (c labCase) in(zones func(t testing.TB) *world) labCase {
	c.zones = zones
	return c
}

func (c labCase) lasting(d time.Duration) labCase {
	c.lasts = d
	return c
}

// differs says that a judge, "unbound" or "delv", has another opinion, or that
// we have one behind an upstream: "plain" or "validating" (Unbound), or "bind".
// A comment says why, and where it is written. None excuses Secure, see excuses.
func (c labCase) differs(judge string, says Status) labCase {
	judges := map[string]Status{judge: says}
	for j, s := range c.judges {
		judges[j] = s
	}
	c.judges = judges
	return c
}

// world makes the world of a case, at a time.
func (c labCase) world(t testing.TB, now time.Time) *world {
	zones := c.zones
	if zones == nil {
		zones = sound
	}
	w := zones(t)
	w.now = now
	if c.do != nil {
		c.do(w)
	}
	return w
}

// check compares an answer with what it should be.
func (c labCase) check(a Answer, now time.Time) error {
	if err := consistent(a); err != nil {
		return err
	}
	switch {
	case a.Status != c.status || a.Outcome != c.outcome && c.status != Bogus:
		return fmt.Errorf("%v, %v (%v), want %v, %v", a.Status, a.Outcome, a.Why, c.status, c.outcome)
	case c.why != "" && !strings.Contains(a.Why.Error(), c.why):
		return fmt.Errorf("why: %v, want %q", a.Why, c.why)
	case c.lasts != 0 && a.Expires.Sub(now) != max(c.lasts, 0):
		return fmt.Errorf("it lasts %v, want %v", a.Expires.Sub(now), c.lasts)
	}
	return nil
}

func TestCases(t *testing.T) {
	for _, c := range labCases() {
		t.Run(c.id(), func(t *testing.T) {
			w := c.world(t, noon)
			if err := c.check(w.lookupOn(c.name, c.qtype), w.now); err != nil {
				t.Error(err)
			}
		})
	}
}

// The table is what the issue asks for.
func TestTable(t *testing.T) {
	all := labCases()
	seen, count, sound := map[string]bool{}, map[int]int{}, map[int]int{}
	for _, c := range all {
		if seen[c.id()] {
			t.Errorf("%s: twice", c.id())
		}
		seen[c.id()] = true
		count[c.rule]++
		if c.status == Secure {
			sound[c.rule]++
		}
		if err := c.excuses(); err != nil {
			t.Errorf("%s: %v", c.id(), err)
		}
	}
	for i, r := range rules {
		t.Logf("rule %2d: %3d cases, %2d of them sound: %s", i+1, count[i+1], sound[i+1], r.what)
		if count[i+1] < casesOfARule || sound[i+1] == 0 || sound[i+1] == count[i+1] {
			t.Errorf("rule %d has %d cases, %d of them sound", i+1, count[i+1], sound[i+1])
		}
	}
	if len(all) < 150 {
		t.Errorf("%d cases", len(all))
	}
}

// excuses checks that no comment excuses Secure where Unbound says something
// else, nor makes us say Secure behind a resolver.
func (c labCase) excuses() error {
	for judge, says := range c.judges {
		switch judge {
		case "unbound":
			if c.status == Secure {
				return fmt.Errorf("nothing excuses Secure where Unbound says %v", says)
			}
		case "bind", "plain", "validating":
			if says != Bogus {
				return fmt.Errorf("behind %s it can be lost, not become %v", judge, says)
			}
		case "delv":
		default:
			return fmt.Errorf("nobody is called %q", judge)
		}
	}
	return nil
}

// What cases do to a world.

// only changes the answers to one question.
func only(n string, qtype uint16, change func(m *dns.Msg)) func(question, *dns.Msg) {
	return func(q question, m *dns.Msg) {
		if q == (question{must(n), qtype}) {
			change(m)
		}
	}
}

// changing makes a case's world change the answers to one question.
func changing(n string, qtype uint16, change func(w *world, m *dns.Msg)) func(w *world) {
	return func(w *world) { w.tamper = only(n, qtype, func(m *dns.Msg) { change(w, m) }) }
}

// instead gives the answer to another question.
func instead(w *world, n string, qtype uint16) func(m *dns.Msg) {
	return func(m *dns.Msg) {
		other := w.answerUntouched(question{must(n), qtype}).Copy()
		m.Answer, m.Ns, m.Rcode = other.Answer, other.Ns, other.Rcode
	}
}

// without takes out records of these types, and their signatures.
func without(section []dns.RR, types ...uint16) []dns.RR {
	return slices.DeleteFunc(slices.Clone(section), func(rr dns.RR) bool {
		if sig, ok := rr.(*dns.RRSIG); ok {
			return slices.Contains(types, sig.TypeCovered) || slices.Contains(types, dns.TypeRRSIG)
		}
		return slices.Contains(types, rr.Header().Rrtype)
	})
}

func strip(_ question, m *dns.Msg) {
	m.Answer, m.Ns = without(m.Answer, dns.TypeRRSIG), without(m.Ns, dns.TypeRRSIG)
}

// stripped takes the signatures from a name's answers, and does something else.
func stripped(n string, also func(question, *dns.Msg)) func(question, *dns.Msg) {
	return func(q question, m *dns.Msg) {
		if q.name == must(n) {
			strip(q, m)
		}
		also(q, m)
	}
}

func records(section []dns.RR, rtype uint16) []dns.RR {
	return slices.DeleteFunc(slices.Clone(section), func(rr dns.RR) bool { return rr.Header().Rrtype != rtype })
}

// signature returns the first RRSIG of a section.
func signatureIn(section []dns.RR) *dns.RRSIG { return records(section, dns.TypeRRSIG)[0].(*dns.RRSIG) }

func parseRR(t testing.TB, s string) dns.RR {
	t.Helper()
	rr, err := dns.NewRR(s)
	if err != nil {
		t.Fatal(err)
	}
	return rr
}

// intruder is a key of somebody else, who would like to be good.test.
func intruder(w *world) *signer { return newSigner(w.t, must("good.test."), 13, 257, "intruder") }

// forged is what the intruder would like mail.good.test. to have.
func forged(w *world) []dns.RR {
	return []dns.RR{parseRR(w.t, "mail.good.test. 3600 IN A 192.0.2.99")}
}

func signedBy(w *world, s *signer, zone string, set []dns.RR) []dns.RR {
	return append(slices.Clip(set), s.sign(w.t, set, must(zone), w.now.Add(-time.Hour), w.now.Add(time.Hour)))
}

// replayWildcard gives a wildcard's answer for one name to another.
func replayWildcard(w *world, from, to string) func(m *dns.Msg) {
	return func(m *dns.Msg) {
		instead(w, from, typeA)(m)
		m.Answer = expand(m.Answer, must(to))
	}
}

// nsecOf returns a zone's own NSEC at a name.
func (w *world) nsecOf(zone, owner string) []dns.RR {
	a := w.zones[must(zone)]
	return w.nsecAt(a, slices.Index(a.names(), must(owner)))
}

// resigned changes NSEC3 records as their own zone might.
func (w *world) resigned(zone string, change func(*dns.NSEC3)) func(m *dns.Msg) {
	return func(m *dns.Msg) {
		var changed []dns.RR
		for _, rr := range records(m.Ns, dns.TypeNSEC3) {
			r := dns.Copy(rr).(*dns.NSEC3)
			change(r)
			changed = append(changed, w.signed(w.zones[must(zone)], []dns.RR{r})...)
		}
		m.Ns = changed
	}
}

// mailIn is a world of one zone, test., with one name in it.
func mailIn(options ...func(*authority)) func(t testing.TB) *world {
	return func(t testing.TB) *world { return newWorld(t, zoneOf("test.", "mail A 192.0.2.1", options...)) }
}

// failing makes a question fail.
func failing(n string, qtype uint16, err error) func(w *world) {
	return func(w *world) {
		w.fails = func(q question) error {
			if q == (question{must(n), qtype}) {
				return err
			}
			return nil
		}
	}
}
