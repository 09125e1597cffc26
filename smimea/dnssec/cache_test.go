package dnssec

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

func TestAnswersAreRemembered(t *testing.T) {
	for _, c := range []struct {
		what  string
		name  string
		after time.Duration
		again bool // the question is asked again
	}{
		{"data, within its TTL", "mail.good.test.", 3599 * time.Second, false},
		{"data, after it", "mail.good.test.", 3600 * time.Second, true},
		{"a denial, within its TTL", "none.good.test.", 299 * time.Second, false},
		{"a denial, after it", "none.good.test.", 300 * time.Second, true},
		{"something bogus, at once", "broken.good.test.", 5 * time.Second, false},
		{"something bogus, a little later", "broken.good.test.", 10 * time.Second, true},
		{"no answer, at once", "silent.good.test.", 5 * time.Second, false},
		{"no answer, a little later", "silent.good.test.", 10 * time.Second, true},
	} {
		w := sound(t)
		w.tamper = only("broken.good.test.", typeA, func(m *dns.Msg) { m.Ns = nil })
		w.fails = func(q question) error {
			if q.name == must("silent.good.test.") && q.rtype == typeA {
				return context.DeadlineExceeded
			}
			return nil
		}
		v := w.validator()
		first := v.Lookup(context.Background(), c.name, typeA)
		asked := w.questions()
		w.now = w.now.Add(c.after)
		second := v.Lookup(context.Background(), c.name, typeA)
		if again := w.questions() > asked; again != c.again || first.Status != second.Status {
			t.Errorf("%s: asked again %t, %v and then %v", c.what, again, first.Status, second.Status)
		}
	}
}

func TestZoneKeysAreRemembered(t *testing.T) {
	w := sound(t)
	v := w.validator()
	v.Lookup(context.Background(), "mail.good.test.", typeA)
	asked := w.questions()
	v.Lookup(context.Background(), "a._smimecert.good.test.", typeSMIMEA)
	if more := w.questions() - asked; more != 1 {
		t.Errorf("%d questions for a second name in a known zone", more)
	}
}

// A repair shows soon: what was found bogus on the way is not kept.
func TestBrokenZonesAreNotRemembered(t *testing.T) {
	w := sound(t)
	v := w.validator()
	w.tamper = strip
	if a := v.Lookup(context.Background(), "mail.good.test.", typeA); a.Status != Bogus {
		t.Fatalf("%v", a.Status)
	}
	w.tamper = nil
	if a := v.Lookup(context.Background(), "a._smimecert.good.test.", typeSMIMEA); a.Status != Secure {
		t.Errorf("%v (%v)", a.Status, a.Why)
	}
}

// A zone that is dead is waited for once, and asked again soon.
func TestDeadZone(t *testing.T) {
	w := sound(t)
	v := w.validator(func(o *Options) { o.Budget = 200 * time.Millisecond })
	dead := func(q question) bool {
		return q.rtype == typeSMIMEA && (q.name.in(must("good.test.")) || q.name.in(must("unsigned.test.")))
	}
	w.fails = func(q question) error {
		if dead(q) {
			return errUnanswered
		}
		return nil
	}
	for _, c := range []struct {
		what, name string
		qtype      uint16
		status     Status
		asked      bool // for it
	}{
		{"the first", "a._smimecert.good.test.", typeSMIMEA, Indeterminate, true},
		{"another mailbox", "b._smimecert.good.test.", typeSMIMEA, Indeterminate, false},
		{"another type", "mail.good.test.", typeA, Secure, true},
		{"another zone", "a._smimecert.nsec3.test.", typeSMIMEA, Secure, true},
		{"a zone that is not signed", "a._smimecert.unsigned.test.", typeSMIMEA, Insecure, true},
		{"another mailbox of it", "b._smimecert.unsigned.test.", typeSMIMEA, Insecure, false},
		{"a child zone is another one", "a.child.good.test.", typeSMIMEA, Indeterminate, false},
	} {
		before := len(w.asked)
		a := v.Lookup(context.Background(), c.name, c.qtype)
		if a.Status != c.status {
			t.Errorf("%s: %v (%v)", c.what, a.Status, a.Why)
		}
		if asked := slices.Contains(w.asked[before:], question{must(c.name), c.qtype}); asked != c.asked {
			t.Errorf("%s: asked for: %v", c.what, asked)
		}
	}
	w.fails = nil
	w.now = w.now.Add(keepFailure)
	if a := v.Lookup(context.Background(), "b._smimecert.good.test.", typeSMIMEA); a.Status != Secure {
		t.Errorf("later: %v (%v)", a.Status, a.Why)
	}
}

func TestAnswersAreNotShared(t *testing.T) {
	w := sound(t)
	v := w.validator(func(o *Options) { o.Evidence = true })
	first := v.Lookup(context.Background(), "mail.good.test.", typeA)
	first.Data[0][0], first.Chain[0].Name, first.Evidence[0][0] = 0, "changed", 0xff
	first.Data[1] = nil
	second := v.Lookup(context.Background(), "mail.good.test.", typeA)
	if second.Data[0][0] != 192 || second.Data[1] == nil || second.Chain[0].Name != "." || second.Evidence[0][0] == 0xff {
		t.Errorf("one caller changed another's answer: %v %v", second.Data, second.Chain)
	}
}

// gated lets questions through when it is told to.
type gated struct {
	*world
	open chan struct{}
}

func (g gated) ask(ctx context.Context, q question) (*reply, error) {
	select {
	case <-g.open:
		return g.world.ask(ctx, q)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func TestOneQuestionForMany(t *testing.T) {
	w := sound(t)
	g := gated{w, make(chan struct{})}
	v, err := newValidator(Options{Anchors: w.anchors(), Now: func() time.Time { return noon }}, g)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	var wait sync.WaitGroup
	for i := range 50 {
		name := "mail.good.test."
		if i%2 == 1 {
			name = "a._smimecert.good.test."
		}
		wait.Go(func() {
			if a := v.Lookup(context.Background(), name, typeA); a.Status != Secure {
				t.Errorf("%s: %v (%v)", name, a.Status, a.Why)
			}
		})
	}
	close(g.open)
	wait.Wait()
	// Two names, and DS or DNSKEY of three zones: each once.
	if n := w.questions(); n != 7 {
		t.Errorf("%d questions: %v", n, w.asked)
	}
}

func TestImpatientCaller(t *testing.T) {
	w := sound(t)
	g := gated{w, make(chan struct{})}
	v, err := newValidator(Options{Anchors: w.anchors(), Now: func() time.Time { return noon }}, g)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	ctx, cancel := context.WithCancel(context.Background())
	impatient, patient := make(chan Answer), make(chan Answer)
	go func() { impatient <- v.Lookup(ctx, "mail.good.test.", typeA) }()
	go func() { patient <- v.Lookup(context.Background(), "mail.good.test.", typeA) }()
	cancel()
	if a := <-impatient; a.Status != Indeterminate || !errors.Is(a.Why, context.Canceled) {
		t.Errorf("the impatient caller got %v (%v)", a.Status, a.Why)
	}
	close(g.open)
	if a := <-patient; a.Status != Secure {
		t.Errorf("the patient caller got %v (%v)", a.Status, a.Why)
	}
}

func TestClosed(t *testing.T) {
	w := sound(t)
	v, err := newValidator(Options{Anchors: w.anchors()}, silent{})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan Answer)
	go func() { done <- v.Lookup(context.Background(), "mail.good.test.", typeA) }()
	for len(v.slots) == 0 {
		time.Sleep(time.Millisecond)
	}
	v.Close()
	v.Close()
	if a := <-done; a.Status != Indeterminate {
		t.Errorf("%v (%v)", a.Status, a.Why)
	}
	if a := v.Lookup(context.Background(), "mail.good.test.", typeA); !errors.Is(a.Why, errClosed) {
		t.Errorf("after Close: %v", a.Why)
	}
}

// What was overlooked must not end the process.
func TestPanicIsAnAnswer(t *testing.T) {
	w := sound(t)
	v, err := newValidator(Options{Anchors: w.anchors()}, panicking{})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	a := v.Lookup(context.Background(), "mail.good.test.", typeA)
	if a.Status != Indeterminate || a.Why == nil {
		t.Errorf("%v (%v)", a.Status, a.Why)
	}
}

type panicking struct{}

func (panicking) ask(context.Context, question) (*reply, error) { panic("overlooked") }

func TestCacheIsBounded(t *testing.T) {
	now := noon
	c := newCache[int](10, 100, func(s string) int { return len(s) }, func() time.Time { return now })
	put := func(key, size int, life time.Duration) {
		c.get(context.Background(), key, func() (string, time.Time, bool) {
			return strings.Repeat("x", size), now.Add(life), true
		})
	}
	has := func(key int) bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		_, ok := c.fresh(key)
		return ok
	}
	for i := range 12 {
		put(i, 1, time.Hour)
	}
	if has(0) || has(1) || !has(2) || !has(11) || c.size != 10 {
		t.Errorf("after 12 entries of 10: size %d", c.size)
	}
	put(2, 1, time.Hour) // used: the oldest is 3 now
	put(12, 1, time.Hour)
	if !has(2) || has(3) {
		t.Error("the entry used last went first")
	}
	put(13, 95, time.Hour)
	if !has(13) || len(c.known) != 6 || c.size != 100 {
		t.Errorf("after a large entry: %d entries, %d octets", len(c.known), c.size)
	}
	put(14, 101, time.Hour)
	put(15, 1, 0)
	if has(14) || has(15) {
		t.Error("too large, or over at once, and kept")
	}
	now = now.Add(time.Hour)
	if has(13) || has(12) {
		t.Error("kept beyond its time")
	}
}

func TestAnotherServerMayProveIt(t *testing.T) {
	for _, c := range []struct {
		what   string
		tamper func(question, *dns.Msg)
	}{
		{"strips signatures", strip},
		{"hides what exists", only("mail.good.test.", typeA, func(m *dns.Msg) { m.Answer = nil })},
	} {
		bad, good := sound(t), sound(t)
		bad.tamper = c.tamper
		v, err := newValidator(Options{Anchors: good.anchors(), Now: func() time.Time { return noon }}, bad, good)
		if err != nil {
			t.Fatal(err)
		}
		defer v.Close()
		if a := v.Lookup(context.Background(), "mail.good.test.", typeA); a.Status != Secure {
			t.Errorf("one server %s, and another does not: %v (%v)", c.what, a.Status, a.Why)
		}
	}
}

// But its silence does not undo that something was forged.
func TestAnotherServersSilenceProvesNothing(t *testing.T) {
	bad := sound(t)
	bad.tamper = strip
	v, err := newValidator(Options{Anchors: bad.anchors(), Now: func() time.Time { return noon }}, bad, scripted{})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if a := v.Lookup(context.Background(), "mail.good.test.", typeA); a.Status != Bogus {
		t.Errorf("%v (%v)", a.Status, a.Why)
	}
}
