package gateway

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
)

var (
	modelCases = flag.Int("model.cases", 2000, "how many mails TestModel makes")
	modelSeed  = flag.Uint64("model.seed", 0, "the one mail that TestModel makes; 0: all from 1 on")
)

// TestModel sends random mails to random people, and has random things go wrong on
// the way: what the DNS says, the line to the MTA, the MTA, the journal, the
// process itself. The sender tries again, as senders do.
//
// Nobody gets in clear what must be encrypted for him. Everybody gets the mail
// once, or the sender is told about him. Nobody hears of a hidden recipient. Each
// reply is that of the policy, which modelpolicy_test.go has a second time. And
// once nothing goes wrong any more, everything arrives that can.
//
// One thing cannot be helped: of a copy that the MTA has taken, while the line or
// the process went away before it was known and written down, there may be a
// second one; and so there may, where the MTA fails when it has been told that the
// mail is accepted: no milter hears of that. Those are counted.
func TestModel(t *testing.T) {
	theT = t
	dir := modelDir(t.TempDir())
	t.Cleanup(func() { os.RemoveAll(dir) })
	seeds := make(chan uint64)
	go func() {
		defer close(seeds)
		if *modelSeed != 0 {
			seeds <- *modelSeed
			return
		}
		for seed := range uint64(*modelCases) {
			seeds <- seed + 1
		}
	}()
	modelPeople()
	var mu sync.Mutex
	sum := modelTally{faults: map[faultKind]int{}}
	var failed []*modelCase
	var workers sync.WaitGroup
	for range 4 * runtime.GOMAXPROCS(0) { // most of the time they wait for the journal
		workers.Go(func() {
			for seed := range seeds {
				c := newModelCase(seed)
				tally, err := c.run(dir)
				mu.Lock()
				sum.add(tally)
				if err != nil {
					failed = append(failed, c)
				}
				enough := len(failed) >= 3
				mu.Unlock()
				if enough {
					for range seeds { // the others go unseen
					}
				}
			}
		})
	}
	workers.Wait()
	for _, c := range failed {
		c, err := c.shrink(dir)
		t.Errorf("%v\n%s\nAgain: go test ./internal/gateway -run TestModel -model.seed=%d", err, c, c.seed)
	}
	t.Logf("%v", sum)
	if *modelSeed == 0 && len(failed) == 0 {
		sum.check(t)
	}
}

// run is what becomes of a case.
func (c *modelCase) run(dir string) (tally modelTally, err error) {
	w, err := newModelWorld(c, dir)
	if err != nil {
		return tally, err
	}
	defer w.close()
	if err := w.send(); err != nil {
		return w.tally, err
	}
	if len(c.tries) == 0 && !w.journal.empty() {
		return w.tally, fmt.Errorf("the journal keeps something of a mail that went through")
	}
	if !w.journal.empty() {
		return w.tally, nil
	}
	// An honest second sending is a mail of its own.
	c = c.again()
	w.c = c
	if err := w.send(); err != nil {
		return w.tally, fmt.Errorf("the second sending: %w", err)
	}
	return w.tally, nil
}

// again is the case, once nothing goes wrong any more.
func (c *modelCase) again() *modelCase {
	d := *c
	d.tries, d.patience = nil, 100
	return &d
}

// shrink leaves out of a case that fails what it fails without.
func (c *modelCase) shrink(dir string) (*modelCase, error) {
	fails := func(c *modelCase) error {
		for range 3 { // the order in which copies are taken is not the same each time
			if _, err := c.run(dir); err != nil {
				return err
			}
		}
		return nil
	}
	why := fails(c)
	if why == nil {
		return c, fmt.Errorf("it failed once, and not again")
	}
	for smaller := true; smaller; {
		smaller = false
		for _, d := range c.parts() {
			if err := fails(d); err != nil {
				c, why, smaller = d, err, true
				break
			}
		}
	}
	return c, why
}

// parts are the cases that have a recipient, a fault, a rule or a finding less.
func (c *modelCase) parts() (all []*modelCase) {
	without := func(change func(d *modelCase)) {
		d := *c
		change(&d)
		all = append(all, &d)
	}
	for i := range c.to {
		if len(c.to) > 1 {
			without(func(d *modelCase) { d.to = slices.Delete(slices.Clone(c.to), i, i+1) })
		}
	}
	for i := range c.tries {
		without(func(d *modelCase) { d.tries = slices.Delete(slices.Clone(c.tries), i, i+1) })
		if c.tries[i].fault.kind != noFault {
			without(func(d *modelCase) {
				d.tries = slices.Clone(c.tries)
				d.tries[i].fault = modelFault{kind: noFault}
			})
		}
		if len(c.tries[i].findings) > 0 || len(c.tries[i].absent) > 0 {
			without(func(d *modelCase) {
				d.tries = slices.Clone(c.tries)
				d.tries[i].findings, d.tries[i].absent = nil, nil
			})
		}
	}
	for i := range c.rules {
		without(func(d *modelCase) { d.rules = slices.Delete(slices.Clone(c.rules), i, i+1) })
	}
	return all
}

func (c *modelCase) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d: from <%s> %s, resubmit %v, at most %d copies, pickup %v, To unreadable %v, encrypted already %v, folding %v, patience %d, %d octets\n",
		c.seed, c.from, c.options, c.resubmit, c.copies, c.pickup, c.unread, c.sealed, c.folding, c.patience, len(c.body))
	for _, f := range c.header {
		fmt.Fprintf(&b, "  %s:%s\n", f.Name, f.Value)
	}
	for i, r := range c.rules {
		fmt.Fprintf(&b, "  rule %d: %s for %q from %q, cipher %s, kinds %v, mixed %v, together %v, archive %v, mark %v\n",
			i, r.Action, r.Recipients, r.Senders, r.Cipher, r.Kinds, r.Mixed, r.Together, r.archive != nil, r.Mark)
	}
	for _, r := range c.to {
		fmt.Fprintf(&b, "  to %d <%s>, shown %v: %v\n", r.number, r.address, c.shows(r), r.finding)
	}
	for i, try := range c.tries {
		fmt.Fprintf(&b, "  try %d: %v, absent %v", i+1, try.fault, try.absent)
		for _, n := range slices.Sorted(maps.Keys(try.findings)) {
			fmt.Fprintf(&b, ", %d: %v", n, try.findings[n])
		}
		b.WriteString("\n")
	}
	return b.String()
}

func (f modelFinding) String() string {
	var names []string
	for _, p := range f.certs {
		names = append(names, p.address)
	}
	return fmt.Sprintf("%v %q", f.outcome, names)
}

func (a *modelTally) add(b modelTally) {
	a.mails += b.mails
	a.tries += b.tries
	a.accepted += b.accepted
	a.copies += b.copies
	a.hands += b.hands
	a.doubtful += b.doubtful
	a.allowed += b.allowed
	a.second += b.second
	for kind, n := range b.faults {
		a.faults[kind] += n
	}
}

func (a modelTally) String() string {
	return fmt.Sprintf("%d mails, tried %d times, accepted %d times; %d copies beside %d in hand; %d copies of which nobody could know, %d times a second one was allowed otherwise, and %d second ones; faults: %v",
		a.mails, a.tries, a.accepted, a.copies, a.hands, a.doubtful, a.allowed, a.second, a.faults)
}

// check: the test has seen what it is about, and second copies are few.
func (a modelTally) check(t *testing.T) {
	t.Helper()
	for _, kind := range []faultKind{refused, cutOff, hangs, dies, diesBefore, diesAfter, diesLate, handLost, handFails, journalFull, noteFails} {
		if a.mails >= 1000 && a.faults[kind] == 0 {
			t.Errorf("it never happened that: %s", kind)
		}
	}
	if a.doubtful > a.copies/20 || a.allowed > a.copies/10 {
		t.Error("too many copies of which nobody could know")
	}
}
