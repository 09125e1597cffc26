package dnssec

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// Options say whom to ask, and whom to believe.
type Options struct {
	// Servers are recursive resolvers, as [ParseServer] reads them, in the
	// order in which they are asked. None of them is believed. At least one,
	// at most 8.
	Servers []string

	// Roots are the certificate authorities that vouch for servers asked over
	// TLS. Nil: the system's.
	Roots *x509.CertPool

	// Anchors are where trust begins. For a name the closest at or above it
	// counts. Nil: [BuiltinAnchors].
	Anchors []Anchor

	// Try is the time for one question to one server, Budget that for a whole
	// lookup. Zero: 2 seconds and 7 seconds.
	Try, Budget time.Duration

	// Now tells the time that signatures are judged by. Nil: time.Now.
	Now func() time.Time

	// Evidence keeps the messages that an answer rests on. Each lookup then
	// asks for all of them: nothing is remembered from one to the next.
	Evidence bool
}

// A Validator is a [Resolver] that believes what it can prove. It remembers
// answers, and the keys of zones, for as long as they hold. It may be used by
// many goroutines at once.
type Validator struct {
	anchors  anchors
	views    []exchanger // the same servers, each with another one first
	now      func() time.Time
	budget   time.Duration
	evidence bool

	answers *cache[question, Answer]
	zones   *cache[name, zoneKeys]
	cuts    *cache[name, cut]
	silent  *cache[question, *Failure] // zones, and the types that nobody answers for

	slots    chan struct{} // one for each lookup at work; who waits for another's needs none
	cores    chan struct{} // one for each signature being checked
	closing  context.Context
	shutdown context.CancelFunc
	hangUp   func()
	once     sync.Once

	entering sync.RWMutex   // held to close
	running  sync.WaitGroup // the lookups
}

// maxViews bounds how many servers are asked in turn when what they hand out
// cannot be proven.
const maxViews = 3

// New makes a Validator. It opens no connection yet.
func New(o Options) (*Validator, error) {
	if len(o.Servers) == 0 || len(o.Servers) > maxServers {
		return nil, fmt.Errorf("dnssec: %d servers to ask, 1 to %d are possible", len(o.Servers), maxServers)
	}
	var ups upstreams
	for _, s := range o.Servers {
		parsed, err := parseServer(s)
		if err != nil {
			return nil, err
		}
		ups.servers = append(ups.servers, newUpstream(parsed, o.Roots, positive(o.Try, 2*time.Second)))
	}
	var views []exchanger
	for i := range min(len(ups.servers), maxViews) {
		views = append(views, ups.beginning(i))
	}
	v, err := newValidator(o, views...)
	if err != nil {
		return nil, err
	}
	v.hangUp = ups.close
	return v, nil
}

// newValidator makes a Validator that asks in whatever way.
func newValidator(o Options, views ...exchanger) (*Validator, error) {
	if o.Anchors == nil {
		o.Anchors = BuiltinAnchors()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	trusted, err := newAnchors(o.Anchors, o.Now())
	if err != nil {
		return nil, err
	}
	v := &Validator{
		anchors: trusted, views: views, now: o.Now, evidence: o.Evidence,
		budget:  positive(o.Budget, 7*time.Second),
		answers: newCache[question](10000, 64<<20, Answer.size, o.Now),
		zones:   newCache[name](2000, 32<<20, zoneKeys.size, o.Now),
		cuts:    newCache[name](10000, 32<<20, cut.size, o.Now),
		silent:  newCache[question](1000, 1<<20, func(*Failure) int { return 1000 }, o.Now),
		slots:   make(chan struct{}, maxLookups),
		cores:   make(chan struct{}, runtime.GOMAXPROCS(0)),
		hangUp:  func() {},
	}
	v.closing, v.shutdown = context.WithCancel(context.Background())
	return v, nil
}

func positive(d, otherwise time.Duration) time.Duration {
	if d <= 0 {
		return otherwise
	}
	return d
}

var errClosed = errors.New("dnssec: the validator is closed")

// Close ends the lookups at work, closes all connections and waits until both
// are done. Lookups after it fail.
func (v *Validator) Close() {
	v.once.Do(func() {
		v.entering.Lock()
		v.shutdown()
		v.entering.Unlock()
		v.running.Wait()
		v.hangUp()
	})
}

// Lookup implements [Resolver]. The work goes on when ctx ends before it is
// done: others may be waiting for the same answer, or come back for it.
func (v *Validator) Lookup(ctx context.Context, name string, qtype uint16) Answer {
	n, err := parseName(name)
	if err != nil {
		return Answer{Why: err}
	}
	q := question{n, qtype}
	if !isData(qtype) {
		return Answer{Why: because(0, "no type that a zone holds").at("", q)}
	}
	if a, ok := v.answers.peek(q); ok && v.closing.Err() == nil {
		return a.clone()
	}
	done := make(chan Answer, 1)
	if !v.enter(func() { done <- v.answer(context.WithoutCancel(ctx), q) }) {
		return unfinished(q, errClosed)
	}
	select {
	case a := <-done:
		return a.clone()
	case <-ctx.Done():
		return unfinished(q, ctx.Err())
	}
}

// enter starts a lookup, unless the validator is closed.
func (v *Validator) enter(lookup func()) bool {
	v.entering.RLock()
	defer v.entering.RUnlock()
	if v.closing.Err() != nil {
		return false
	}
	v.running.Go(lookup)
	return true
}

func unfinished(q question, err error) Answer {
	f := because(edeUnreachable, "the lookup was given up").at("", q)
	f.Err = err
	return Answer{Why: f}
}

// answer returns what is remembered, or finds it out.
func (v *Validator) answer(ctx context.Context, q question) Answer {
	ctx, cancel := context.WithTimeout(ctx, v.budget)
	defer cancel()
	defer context.AfterFunc(v.closing, cancel)()
	a, ok := v.answers.get(ctx, q, func() (Answer, time.Time, bool) {
		a := v.resolve(ctx, q)
		return a, a.Expires, !v.evidence
	})
	if !ok {
		return unfinished(q, ctx.Err())
	}
	return a
}

// resolve finds out. Where one server's data proves nothing, because it strips
// signatures for one, another may do better: any proof is as good.
func (v *Validator) resolve(ctx context.Context, q question) (a Answer) {
	// What was overlooked in a stranger's data must not end the process.
	defer func() {
		if p := recover(); p != nil {
			a = Answer{Why: because(0, "internal error: %v", p).at("", q), Expires: v.now().Add(keepFailure)}
		}
	}()
	select {
	case v.slots <- struct{}{}:
		defer func() { <-v.slots }()
	case <-ctx.Done():
		return unfinished(q, ctx.Err())
	}
	w := &work{cores: v.cores}
	for i, via := range v.views {
		s := v.newSession(ctx, via, w)
		next := s.follow(q)
		s.close()
		if i == 0 || next.Status >= Insecure {
			next.Evidence = s.seen
			a = next
		}
		if a.Status != Bogus || w.exhausted || ctx.Err() != nil {
			break
		}
	}
	return a
}

// follow answers a question, going along aliases. Each is asked for anew, and
// the worst of the steps decides how far the answer is believed (RFC 4035,
// Section 3.2.3; RFC 6672, Section 5.3.3).
func (s *session) follow(q question) Answer {
	a := Answer{Status: Secure, Expires: s.now.Add(keepData)}
	asked := q
	for range maxAliases + 1 {
		st := s.step(q)
		s.add(&a, st)
		if st.next == "" {
			return a
		}
		q.name = st.next
	}
	why := because(0, "more than %d aliases follow each other", maxAliases).at("", asked)
	s.add(&a, step{finding: finding{why: why}})
	return a
}

// A step is one link of the way to an answer.
type step struct {
	finding
	outcome  Outcome
	data     [][]byte
	wildcard bool
	denied   name
	alias    Link
	next     name // where an alias leads; empty: this is the end
}

// add joins a step to the answer.
func (s *session) add(a *Answer, st step) {
	if st.why != nil && (st.status < a.Status || a.Why == nil) {
		a.Why = st.why
	}
	a.Status = min(a.Status, st.status)
	a.Outcome = st.outcome
	a.Expires = earliest(a.Expires, st.expires)
	a.Wildcard = a.Wildcard || st.wildcard
	for _, l := range st.chain {
		if !slices.ContainsFunc(a.Chain, func(old Link) bool { return old.Kind == l.Kind && old.Name == l.Name }) {
			a.Chain = append(a.Chain, l)
		}
	}
	if st.alias.Name != "" {
		a.Chain = append(a.Chain, st.alias)
	}
	switch a.Status {
	case Secure:
		a.Data = st.data
		if st.outcome == NXDomain {
			a.Denied = st.denied.String()
		}
	case Insecure:
		a.Unproven = st.data
	case Bogus:
		a.Unproven, a.Expires = st.data, s.now.Add(keepFailure)
	case Indeterminate:
		a.Outcome, a.Expires = Failed, s.now.Add(keepFailure)
	}
}

// step asks one question and proves the answer to it.
func (s *session) step(q question) step {
	if zone, failure := s.dead(q); failure != nil {
		return s.unanswered(zone, failure)
	}
	r, failure := s.ask(q)
	if failure != nil {
		defer s.bury(q, failure)
		return s.unanswered(topOf(q), failure)
	}
	l := s.firstLink(r, q)
	switch l.kind {
	case data:
		p := s.prove(l.set, r, topOf(q))
		st := step{finding: p.finding, outcome: Data, data: l.set.data, wildcard: p.wildcard}
		st.expires = earliest(st.expires, s.now.Add(seconds(l.set.ttl)))
		return st
	case cname, dname:
		return s.follows(q, r, l)
	}
	return s.absent(q, r)
}

// unanswered is the step of a question that nobody answered. Some servers fail
// on types that they do not know (RFC 7672, Sections 2.1.2 and 2.2.2): where top
// is proven to be unsigned, there was nothing to be proven.
func (s *session) unanswered(top name, failure *Failure) step {
	if s.w.exhausted || s.ctx.Err() != nil {
		return step{finding: failed(failure, finding{})}
	}
	f, _ := s.walk(top, top)
	if f.status != Insecure {
		return step{finding: failed(failure, f)}
	}
	why := *f.why
	why.Err = failure
	f.why, f.expires = &why, earliest(f.expires, s.now.Add(keepFailure))
	return step{finding: f}
}

// absent is the step of a question without an answer.
func (s *session) absent(q question, r *reply) step {
	d := s.deny(q, r)
	st := step{finding: d.finding, outcome: d.outcome, denied: d.name}
	if d.status != Secure {
		st.outcome = NoData
		if r.nxdomain {
			st.outcome = NXDomain
		}
		st.expires = earliest(st.expires, s.now.Add(seconds(r.negativeTTL())))
	}
	return st
}

// follows is the step over an alias.
func (s *session) follows(q question, r *reply, l link) step {
	st := step{alias: Link{Kind: CNAME, Name: l.set.owner.String()}}
	if l.kind == dname {
		st.alias.Kind = DNAME
	}
	target, next, why := l.leads(q.name)
	if why == nil && len(l.set.sigs) > 0 && q.rtype != dns.TypeDS {
		s.expect(question{next, q.rtype})
	}
	p := s.prove(l.set, r, l.set.owner)
	st.finding, st.wildcard = p.finding, p.wildcard
	st.expires = earliest(st.expires, s.now.Add(seconds(l.set.ttl)))
	set := question{l.set.owner, l.set.rtype}
	switch {
	case p.status < Insecure:
	case why != nil:
		st.finding = failed(why.at("", set), p.finding)
	default:
		st.next, st.alias.Target = next, target.String()
	}
	st.alias.Status = st.status
	return st
}

// clone copies everything that a caller could change.
func (a Answer) clone() Answer {
	a.Data, a.Unproven, a.Evidence = cloneAll(a.Data), cloneAll(a.Unproven), cloneAll(a.Evidence)
	a.Chain = slices.Clone(a.Chain)
	if f, ok := a.Why.(*Failure); ok {
		why := *f
		a.Why = &why
	}
	return a
}

func cloneAll(all [][]byte) [][]byte {
	if all == nil {
		return nil
	}
	copied := make([][]byte, len(all))
	for i, b := range all {
		copied[i] = slices.Clone(b)
	}
	return copied
}

// size estimates the octets that an answer takes.
func (a Answer) size() int {
	return 500 + 200*len(a.Chain) + sizeOf(a.Data) + sizeOf(a.Unproven)
}

func (f finding) size() int { return 500 + 200*len(f.chain) }

func (z zoneKeys) size() int {
	total := z.finding.size()
	for _, k := range z.keys {
		total += 100 + len(k.rdata)
	}
	return total
}

func (c cut) size() int { return c.finding.size() + 100*len(c.digests) }

func sizeOf(all [][]byte) int {
	total := 0
	for _, b := range all {
		total += 24 + len(b)
	}
	return total
}
