package dnssec

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// A session is one attempt at a lookup: what it asks, and what it has learnt.
type session struct {
	v     *Validator
	ctx   context.Context // ends with the session
	end   context.CancelFunc
	via   exchanger
	now   time.Time
	w     *work
	zones map[name]zoneKeys
	cuts  map[name]cut

	asked   map[question]*asked
	running sync.WaitGroup // the questions under way
	seen    [][]byte       // the replies that were read, if they are to be kept
}

// An asked is a question that was asked, and the reply once it is there.
type asked struct {
	done  chan struct{}
	reply *reply
	err   error
	read  bool
}

func (v *Validator) newSession(ctx context.Context, via exchanger, w *work) *session {
	s := &session{
		v: v, via: via, now: v.now(), w: w,
		zones: map[name]zoneKeys{}, cuts: map[name]cut{}, asked: map[question]*asked{},
	}
	s.ctx, s.end = context.WithCancel(ctx)
	return s
}

// close gives up the questions that nobody came back for.
func (s *session) close() {
	s.end()
	s.running.Wait()
}

// shares reports whether a finding may serve other lookups. Where the proof
// itself is to be kept, each lookup finds it all.
func (s *session) shares(f finding) bool { return f.status >= Insecure && !s.v.evidence }

// ask asks a question, or waits for the reply if it was asked before. That
// nobody answers properly is a Failure.
func (s *session) ask(q question) (*reply, *Failure) {
	if s.asked[q] == nil && !s.w.question() {
		return nil, because(0, "the lookup takes too many questions").at("", q)
	}
	a := s.start(q)
	select {
	case <-a.done:
	case <-s.ctx.Done():
		return nil, s.late(q).why
	}
	if a.err == nil {
		s.keep(a)
		return a.reply, nil
	}
	f := because(edeNetwork, "no server answered").at("", q)
	f.Err = a.err
	var rcode *rcodeError
	if errors.As(a.err, &rcode) {
		f.EDE = edeUnreachable
	}
	return nil, f
}

// start sends a question once.
func (s *session) start(q question) *asked {
	if a := s.asked[q]; a != nil {
		return a
	}
	a := &asked{done: make(chan struct{})}
	s.asked[q] = a
	s.running.Go(func() {
		defer close(a.done)
		// What was overlooked in a stranger's data must not end the process.
		defer func() {
			if p := recover(); p != nil {
				a.err = errMalformed
			}
		}()
		a.reply, a.err = s.via.ask(s.ctx, q)
	})
	return a
}

// firstLink finds what concerns a question in the reply to it.
func (s *session) firstLink(r *reply, q question) link {
	anchor, _ := s.v.anchors.above(topOf(q))
	return r.firstLink(q, anchor)
}

// keep remembers a reply as evidence.
func (s *session) keep(a *asked) {
	if s.v.evidence && !a.read {
		a.read = true
		s.seen = append(s.seen, a.reply.raw)
	}
}

// expect asks beforehand what will be asked: one round trip does for all of it.
// A guess is cheap, but not free, and so they end long before the limit.
func (s *session) expect(q question) {
	if s.asked[q] == nil && s.w.questions < maxExpected && s.w.question() {
		s.start(q)
	}
}

// expectZone expects the keys of a zone and of all that may be zones above it.
func (s *session) expectZone(apex name) {
	anchor, ok := s.v.anchors.above(apex)
	if !ok || s.knowsZone(apex) {
		return
	}
	s.expectCuts(anchor, apex)
	s.expectKeys(apex)
}

// expectCuts expects what is needed to go from a zone down to a name: a DS, or
// that there is none, for each name, and the keys that sign it.
func (s *session) expectCuts(from, to name) {
	for k := from.labels(); k < min(to.labels(), from.labels()+maxDepth); k++ {
		s.expectKeys(to.last(k))
		below := to.last(k + 1)
		c, known := s.knownCut(below)
		switch {
		case !known:
			s.expect(question{below, dns.TypeDS})
		case c.status == Insecure || c.kind == noName:
			return
		}
	}
}

// expectBetween expects what speaksFor will ask for.
func (s *session) expectBetween(zone, owner, top name) {
	for k := zone.labels() + 1; k <= top.labels(); k++ {
		n := owner.last(k)
		if _, known := s.knownCut(n); !known && n != owner && mayBeCut(n) {
			s.expect(question{n, dns.TypeDS})
		}
	}
}

func (s *session) expectKeys(apex name) {
	if !s.knowsZone(apex) {
		s.expect(question{apex, dns.TypeDNSKEY})
	}
}

func (s *session) knowsZone(apex name) bool {
	_, ok := s.zones[apex]
	return ok || s.v.zones.has(apex)
}

// knownCut returns a cut that is remembered. One that somebody else is finding
// out about counts as known, and is not asked for twice.
func (s *session) knownCut(x name) (c cut, known bool) {
	if c, ok := s.cuts[x]; ok {
		return c, true
	}
	if c, ok := s.v.cuts.peek(x); ok {
		return c, true
	}
	return cut{}, s.v.cuts.has(x)
}

// bury remembers a zone for which no answer came in time, so that a dead one
// does not cost the sender to each of its mailboxes all the time there is (RFC
// 9520, Section 3.2). It concerns questions of the same type only: there are
// servers that drop those they do not know (RFC 7672, Section 2.2.2).
func (s *session) bury(q question, failure *Failure) {
	zone, ok := s.knownZone(topOf(q))
	silent := errors.Is(failure, errUnanswered) || errors.Is(failure, errSilent)
	if ok && silent && !s.v.evidence {
		s.v.silent.put(question{zone, q.rtype}, failure, s.now.Add(keepFailure))
	}
}

// dead returns the zone of a question, and a failure if it was silent a moment
// ago.
func (s *session) dead(q question) (zone name, why *Failure) {
	zone, ok := s.knownZone(topOf(q))
	if !ok {
		return root, nil
	}
	failure, ok := s.v.silent.peek(question{zone, q.rtype})
	if !ok {
		return zone, nil
	}
	why = because(failure.EDE, "the zone did not answer a moment ago").at(zone, q)
	why.Err = failure
	return zone, why
}

// knownZone returns the deepest zone above a name that is remembered, or the
// name itself. An anchor's is none: too much is below it.
func (s *session) knownZone(n name) (zone name, ok bool) {
	for k := n.labels(); k > 0; k-- {
		c, known := s.knownCut(n.last(k))
		if known && (c.kind == delegated || c.status == Insecure) {
			return n.last(k), true
		}
	}
	return root, false
}

// late is the finding of a session that was not allowed to wait any longer.
func (s *session) late(q question) finding {
	f := because(edeUnreachable, "the time for the lookup is over").at("", q)
	f.Err = s.ctx.Err()
	return finding{why: f}
}
