package dnssec

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// A hostile server has the right answer to everything, and hands out one of
// its answers mangled. Whatever it does to which answer of the proof, what the
// validator then calls Secure is what is so, and a name that has a proven answer
// never becomes one that has none, or one whose zone need not be signed.

// disturbed are the lookups that are disturbed: one for each kind of answer.
var disturbed = []struct {
	what    string
	name    string
	qtype   uint16
	status  Status
	outcome Outcome
}{
	{"a record set", "mail.good.test.", typeA, Secure, Data},
	{"a certificate", "a._smimecert.good.test.", typeSMIMEA, Secure, Data},
	{"a zone in a zone", "www.child.good.test.", typeA, Secure, Data},
	{"a DS", "good.test.", dns.TypeDS, Secure, Data},
	{"keys", "good.test.", dns.TypeDNSKEY, Secure, Data},
	{"an alias to another zone", "far.good.test.", typeA, Secure, Data},
	{"an alias to nothing", "nowhere.good.test.", typeA, Secure, NXDomain},
	{"an alias from a wildcard", "any.alias.good.test.", typeA, Secure, Data},
	{"a renamed tree", "mail.tree.good.test.", typeA, Secure, Data},
	{"NSEC: a wildcard", "any.wild.good.test.", typeA, Secure, Data},
	{"NSEC: a name beside a wildcard", "x.wild.good.test.", typeA, Secure, Data},
	{"NSEC: another type", "mail.good.test.", typeSMIMEA, Secure, NoData},
	{"NSEC: another type of a wildcard", "any.wild.good.test.", typeSMIMEA, Secure, NoData},
	{"NSEC: an empty non-terminal", "_smimecert.good.test.", typeSMIMEA, Secure, NoData},
	{"NSEC: no such name", "b._smimecert.good.test.", typeSMIMEA, Secure, NXDomain},
	{"NSEC: no DS", "unsigned.test.", dns.TypeDS, Secure, NoData},
	{"NSEC3: a record", "mail.nsec3.test.", typeA, Secure, Data},
	{"NSEC3: a wildcard", "any.wild.nsec3.test.", typeA, Secure, Data},
	{"NSEC3: another type", "mail.nsec3.test.", typeSMIMEA, Secure, NoData},
	{"NSEC3: another type of a wildcard", "any.wild.nsec3.test.", typeSMIMEA, Secure, NoData},
	{"NSEC3: an empty non-terminal", "_smimecert.nsec3.test.", typeSMIMEA, Secure, NoData},
	{"NSEC3: no such name", "b._smimecert.nsec3.test.", typeSMIMEA, Secure, NXDomain},
	{"Opt-Out: a signed zone", "mail.signed.optout.test.", typeA, Secure, Data},
	{"Opt-Out: an unsigned zone", "mail.plain.optout.test.", typeA, Insecure, Data},
	{"Opt-Out: no such name", "none.optout.test.", typeA, Insecure, NXDomain},
	{"an unsigned zone", "mail.unsigned.test.", typeA, Insecure, Data},
	{"no such name in an unsigned zone", "none.unsigned.test.", typeA, Insecure, NXDomain},
	{"an alias into an unsigned zone", "away.good.test.", typeA, Insecure, Data},
}

// A truth is what a world answers, asked and signed once.
type truth struct {
	w *world

	mu    sync.Mutex // guards what follows, and the world
	known map[question][]byte
	above map[name][]dns.RR
}

func newTruth(w *world) *truth {
	return &truth{w: w, known: map[question][]byte{}, above: map[name][]dns.RR{}}
}

// reply returns the message that answers a question.
func (tr *truth) reply(q question) []byte {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if tr.known[q] == nil {
		raw, err := tr.w.answer(q).Pack()
		if err != nil {
			tr.w.t.Errorf("%s %s: %v", q.name, TypeName(q.rtype), err)
		}
		tr.known[q] = raw
	}
	return bytes.Clone(tr.known[q])
}

func (tr *truth) message(q question) *dns.Msg {
	m := new(dns.Msg)
	if err := m.Unpack(tr.reply(q)); err != nil {
		tr.w.t.Errorf("%s %s: %v", q.name, TypeName(q.rtype), err)
	}
	return m
}

// denialsAbove returns the denial records of the zone above the one of a name,
// those next to the cut first.
func (tr *truth) denialsAbove(n name) []dns.RR {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	child := tr.w.zoneFor(n).apex
	if tr.above[child] == nil {
		parent := tr.w.zoneFor(child.parent())
		all := append(tr.w.match(parent, child), tr.w.match(parent, parent.apex)...)
		for i := range parent.names() {
			if !parent.nsec3 {
				all = append(all, tr.w.nsecAt(parent, i)...)
			}
		}
		for i := range parent.hashes() {
			if parent.nsec3 {
				all = append(all, tr.w.nsec3At(parent, i)...)
			}
		}
		tr.above[child] = unique(all)
	}
	return copied(tr.above[child])
}

// older is a sound world of the past, which was changed since.
func older(t testing.TB, age time.Duration, change func(a *authority)) *truth {
	w := sound(t)
	w.now = noon.Add(-age)
	for _, a := range w.zones {
		change(a)
	}
	return newTruth(w)
}

// otherwise changes the data of a zone, and adds what is denied now.
func otherwise(a *authority) {
	for _, rr := range a.records {
		switch rr := rr.(type) {
		case *dns.A:
			rr.A = net.IPv4(192, 0, 2, 200)
		case *dns.SMIMEA:
			rr.Certificate = "ccdd"
		}
	}
	if a.apex.labels() == 2 {
		a.parse("mail SMIMEA 3 0 0 eeff\n_smimecert SMIMEA 3 0 0 eeff\nb._smimecert SMIMEA 3 0 0 eeff\n" +
			"*.wild SMIMEA 3 0 0 eeff\nnone A 192.0.2.201\nnothing A 192.0.2.201\n")
	}
}

// emptied takes all data from a zone.
func emptied(a *authority) {
	a.records = slices.DeleteFunc(a.records, func(rr dns.RR) bool {
		return rr.Header().Rrtype == typeA || rr.Header().Rrtype == typeSMIMEA
	})
}

// hostile is a server that answers one question in its own way.
type hostile struct {
	t              testing.TB
	truth          *truth
	changed, empty *truth // of the past, out of date
	addr           string

	mu    sync.Mutex // guards what follows
	at    question
	how   *mutation
	asked []question
}

// newHostile starts a server that says the truth until it is told otherwise.
func newHostile(t *testing.T, tr, changed, empty *truth) *hostile {
	h := &hostile{t: t, truth: tr, changed: changed, empty: empty}
	h.addr, _ = listen(t, func(conn net.Conn, query *dns.Msg, _ []byte) { h.serve(conn, query) })
	return h
}

func (h *hostile) serve(conn net.Conn, query *dns.Msg) {
	q := question{must(query.Question[0].Name), query.Question[0].Qtype}
	raw := h.truth.reply(q)
	binary.BigEndian.PutUint16(raw, query.Id)
	h.mu.Lock()
	h.asked = append(h.asked, q)
	how, here := h.how, h.how != nil && q == h.at
	h.mu.Unlock()
	if here {
		how.do(&mangled{h, q, conn, raw})
	} else {
		write(conn, raw)
	}
}

func (h *hostile) set(at question, how *mutation) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.at, h.how, h.asked = at, how, nil
}

// steps are the questions that were asked since, in order.
func (h *hostile) steps() []question {
	h.mu.Lock()
	defer h.mu.Unlock()
	var steps []question
	for _, q := range h.asked {
		if !slices.Contains(steps, q) {
			steps = append(steps, q)
		}
	}
	return steps
}

// lookup asks servers over TCP, with a fresh validator.
func lookup(t *testing.T, anchors []Anchor, n string, qtype uint16, try time.Duration, servers ...string) Answer {
	v, err := New(Options{
		Servers: servers, Anchors: anchors, Now: func() time.Time { return noon },
		Try: try, Budget: 30 * time.Second, Evidence: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	return v.Lookup(context.Background(), n, qtype)
}

const (
	longTry  = 20 * time.Second // for what is answered: no test may depend on it
	shortTry = 40 * time.Millisecond
)

func (m *mutation) try() time.Duration {
	if m.slow {
		return shortTry
	}
	return longTry
}

func questionsOf(messages [][]byte) []question {
	var all []question
	for _, raw := range messages {
		q, _ := questionOf(raw)
		all = append(all, q)
	}
	return all
}

// unchanging is what must not change.
func unchanging(a Answer) string {
	return fmt.Sprintf("%v %v %x %x %q %t", a.Status, a.Outcome, a.Data, a.Unproven, a.Denied, a.Wildcard)
}

// judge says what is wrong with the answer of a mangled lookup.
func judge(m *mutation, want, got Answer) error {
	if err := consistent(got); err != nil {
		return err
	}
	same := unchanging(want) == unchanging(got)
	switch {
	case m.codes && want.Status == Insecure && got.Status == Insecure:
		return nil
	case m.becomes == nil && !same:
		return fmt.Errorf("harmless, and no longer %s", unchanging(want))
	case got.Status == Secure && !same:
		return fmt.Errorf("secure, and not %s", unchanging(want))
	case want.Status == Secure && !same && !slices.Contains(m.becomes, got.Status):
		return fmt.Errorf("want one of %v", m.becomes)
	case got.Status >= Insecure && got.Expires.After(want.Expires):
		return fmt.Errorf("it is kept until %v, and was until %v", got.Expires, want.Expires)
	}
	return nil
}

// TestHostile tries every mutation at every step of every lookup. A later step
// that many lookups share, as the keys of the root, is mangled once for each
// status that a lookup has.
func TestHostile(t *testing.T) {
	w := sound(t)
	anchors, tr := w.anchors(), newTruth(w)
	changed, empty := older(t, 30*24*time.Hour, otherwise), older(t, 30*24*time.Hour, emptied)
	type shared struct {
		at     question
		status Status
	}
	mangled, bites := map[shared]bool{}, newCounter()
	t.Run("lookup", func(t *testing.T) {
		for _, c := range disturbed {
			h := newHostile(t, tr, changed, empty)
			want := lookup(t, anchors, c.name, c.qtype, longTry, h.addr)
			if want.Status != c.status || want.Outcome != c.outcome {
				t.Fatalf("%s, undisturbed: %v, %v (%v)", c.what, want.Status, want.Outcome, want.Why)
			}
			own := question{must(c.name), c.qtype}
			// What was guessed at beforehand and never read is no step.
			steps := slices.DeleteFunc(questionsOf(want.Evidence), func(q question) bool {
				s := shared{q, c.status}
				known := mangled[s]
				mangled[s] = true
				return known && q != own
			})
			t.Run(c.what, func(t *testing.T) {
				t.Parallel()
				for i, at := range steps {
					for _, m := range slices.Concat(harmless, harmful) {
						if m.slow && i > 0 && c.name != disturbed[0].name {
							continue // it is no other silence at another step
						}
						h.set(at, &m)
						got := lookup(t, anchors, c.name, c.qtype, m.try(), h.addr)
						if err := judge(&m, want, got); err != nil {
							t.Errorf("%s %s, %s: %v, %v (%v): %v", at.name, TypeName(at.rtype), m.what, got.Status, got.Outcome, got.Why, err)
						}
						if !slices.Contains(h.steps(), at) {
							t.Errorf("%s %s, %s: it was not asked", at.name, TypeName(at.rtype), m.what)
						}
						if unchanging(got) != unchanging(want) {
							bites.add(m.what)
						}
					}
				}
			})
		}
	})
	for _, m := range harmful {
		if bites.of(m.what) == 0 && !m.chance {
			t.Errorf("%s: it does nothing to any lookup", m.what)
		}
	}
}

// A counter counts what parallel tests have seen.
type counter struct {
	sync.Mutex
	seen map[string]int
}

func newCounter() *counter { return &counter{seen: map[string]int{}} }

func (c *counter) add(what string) {
	c.Lock()
	defer c.Unlock()
	c.seen[what]++
}

func (c *counter) of(what string) int {
	c.Lock()
	defer c.Unlock()
	return c.seen[what]
}

// An old answer whose signatures still hold is as good as the new one: nothing
// in RFC 4035 tells them apart, and a cache may hand it out just as well. So a
// replay is Secure, with the data of then, no longer than its signatures hold,
// and it is never half of the one and half of the other.
func TestHostileReplay(t *testing.T) {
	w := sound(t)
	anchors, tr := w.anchors(), newTruth(w)
	const age = 6 * 24 * time.Hour // of the seven that signatures hold
	replay := mutation{do: old(func(h *hostile) *truth { return h.changed })}
	seen := newCounter()
	for what, past := range map[string]*truth{"otherwise": older(t, age, otherwise), "emptied": older(t, age, emptied)} {
		then := newHostile(t, past, nil, nil)
		for _, c := range disturbed {
			h := newHostile(t, tr, past, nil)
			now, before := lookup(t, anchors, c.name, c.qtype, longTry, h.addr), lookup(t, anchors, c.name, c.qtype, longTry, then.addr)
			for _, at := range h.steps() {
				h.set(at, &replay)
				got := lookup(t, anchors, c.name, c.qtype, longTry, h.addr)
				if v := unchanging(got); v != unchanging(now) && v != unchanging(before) {
					t.Errorf("%s, %s %s as it was %s: %s (%v), now %s, then %s", c.what, at.name, TypeName(at.rtype), what, v, got.Why, unchanging(now), unchanging(before))
				} else if v != unchanging(now) {
					seen.add(what)
				}
				if end := noon.Add(24*time.Hour + skew); got.Expires.After(end) {
					t.Errorf("%s, %s %s as it was %s: kept until %v", c.what, at.name, TypeName(at.rtype), what, got.Expires)
				}
			}
		}
		if seen.of(what) < 5 {
			t.Errorf("%s: only %d replays made a difference", what, seen.of(what))
		}
	}
}

// One honest server is enough: where the first one's data proves nothing, or
// is none, the next one is asked (and the third, where two are hostile, each
// in another way).
func TestHostileBesideHonest(t *testing.T) {
	w := sound(t)
	anchors, tr := w.anchors(), newTruth(w)
	changed, empty := older(t, 30*24*time.Hour, otherwise), older(t, 30*24*time.Hour, emptied)
	for _, c := range disturbed {
		if c.status != Secure || strings.HasPrefix(c.what, "NSEC:") {
			continue
		}
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			honest, first, second := newHostile(t, tr, nil, nil), newHostile(t, tr, changed, empty), newHostile(t, tr, changed, empty)
			want := lookup(t, anchors, c.name, c.qtype, longTry, honest.addr)
			steps := honest.steps()
			for i, m := range harmful {
				if m.slow {
					continue // see TestHostileSilence
				}
				first.set(steps[0], &m)
				servers := []string{first.addr, honest.addr}
				if i%2 == 1 {
					second.set(steps[len(steps)-1], &harmful[0])
					servers = []string{first.addr, second.addr, honest.addr}
				}
				got := lookup(t, anchors, c.name, c.qtype, longTry, servers...)
				same := unchanging(got) == unchanging(want)
				if !same {
					t.Errorf("%s, %d servers: %s (%v), want %s", m.what, len(servers), unchanging(got), got.Why, unchanging(want))
				}
			}
		})
	}
}

// A server that falls silent costs one try, and one that leaves half a message
// behind no answer.
func TestHostileSilence(t *testing.T) {
	w := sound(t)
	tr := newTruth(w)
	honest := newHostile(t, tr, nil, nil)
	for _, m := range harmful {
		if !m.slow {
			continue
		}
		first := newHostile(t, tr, nil, nil)
		first.set(question{must("mail.good.test."), typeA}, &m)
		got := lookup(t, w.anchors(), "mail.good.test.", typeA, 500*time.Millisecond, first.addr, honest.addr)
		if got.Status != Secure || len(got.Data) != 2 {
			t.Errorf("%s: %v, %v (%v)", m.what, got.Status, got.Outcome, got.Why)
		}
		if n := len(first.steps()); n != 1 && strings.HasPrefix(m.what, "silence") {
			t.Errorf("%s: the silent server was asked %d questions", m.what, n)
		}
	}
}
