package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"smimea.example/internal/message"
	"smimea.example/keystore"
)

// A modelWorld is where a case happens: a sender who tries again, an MTA that has
// the mail in hand and takes copies, the gateway between them, and its journal.
type modelWorld struct {
	c       *modelCase
	dir     string
	files   int // journals there have been
	journal *Journal
	gateway *Gateway

	tries    int
	faulty   bool                    // this try is
	findings map[string]modelFinding // of this try, by address
	plan     modelPlan               // of this try

	state map[string]*modelState // by mailbox
	tally modelTally
}

// A modelState is what is known of a mailbox.
type modelState struct {
	copies  int  // that have arrived
	extra   int  // more than one that there may be: see modelTally.doubtful
	told    bool // the sender was told that it does not arrive
	pending bool // the sender will try again
	before  int  // copies that had arrived when this sending began
}

// A modelTally counts what happened.
type modelTally struct {
	mails, tries, accepted, copies, hands int
	faults                                map[faultKind]int // that happened

	// doubtful are copies that the office took, without the gateway being able to
	// know or to write down that it did. More second copies are allowed to those whose
	// MTA has failed behind the verdict, or could take them for somebody else. second
	// are those that there were.
	doubtful, allowed, second int
}

func newModelWorld(c *modelCase, dir string) (*modelWorld, error) {
	w := &modelWorld{c: c, dir: dir, state: map[string]*modelState{}, tally: modelTally{mails: 1, faults: map[faultKind]int{}}}
	for _, r := range c.to {
		w.state[r.mailbox()] = &modelState{}
	}
	return w, w.start(w.path())
}

func (w *modelWorld) path() string {
	w.files++
	return filepath.Join(w.dir, fmt.Sprintf("journal%d.%d", w.c.seed, w.files))
}

// start starts the gateway with the journal that is in a file.
func (w *modelWorld) start(path string) error {
	if w.journal != nil {
		w.journal.Close()
		if w.journal.db.Path() != "" {
			os.Remove(w.journal.db.Path())
		}
	}
	journal, err := OpenJournal(path)
	if err != nil {
		return err
	}
	w.use(journal)
	return nil
}

func (w *modelWorld) use(journal *Journal) {
	w.journal = journal
	w.gateway = &Gateway{Keys: sourceFunc(w.find), Spool: w.dir}
	for _, rule := range w.c.rules {
		w.gateway.Rules = append(w.gateway.Rules, rule.Rule)
	}
	if w.c.resubmit {
		w.gateway.Resubmit = &Resubmission{Address: "the office", Journal: journal, Copies: w.c.copies}
	}
}

func (w *modelWorld) find(_ context.Context, address string) keystore.Keys {
	f := w.findings[address]
	keys := keystore.Keys{Outcome: f.outcome}
	for _, p := range f.certs {
		keys.Certs = append(keys.Certs, p.to)
	}
	return keys
}

func (w *modelWorld) close() {
	w.journal.Close()
	files, _ := filepath.Glob(filepath.Join(w.dir, fmt.Sprintf("journal%d.*", w.c.seed)))
	for _, f := range files {
		os.Remove(f)
	}
}

// send is the sender: he tries until everybody has got the mail or it is said why
// not, or until he loses patience.
func (w *modelWorld) send() error {
	for _, s := range w.state {
		s.pending, s.told, s.before, s.extra = true, false, s.copies, 0
	}
	idle := 0
	for try := 0; idle < 2 && try < w.c.patience; try++ {
		var now modelTry
		w.faulty = try < len(w.c.tries)
		if w.faulty {
			now = w.c.tries[try]
		}
		to := w.rcpts(now)
		if len(to) == 0 {
			if w.faulty {
				continue
			}
			break
		}
		before := w.pending()
		if err := w.try(to, now); err != nil {
			return fmt.Errorf("try %d: %w", try+1, err)
		}
		if !w.faulty && w.pending() == before {
			idle++
		}
	}
	for _, s := range w.state {
		s.told = s.told || s.pending // he gives up
	}
	return w.judgeAll()
}

func (w *modelWorld) pending() (n int) {
	for _, s := range w.state {
		if s.pending {
			n++
		}
	}
	return n
}

// rcpts are the recipients of a try.
func (w *modelWorld) rcpts(now modelTry) (to []*modelRcpt) {
	for i, r := range w.c.to {
		if w.state[r.mailbox()].pending && !now.absent[i] {
			to = append(to, r)
		}
	}
	return to
}

// try is one transaction of SMTP.
func (w *modelWorld) try(to []*modelRcpt, now modelTry) error {
	w.tries++
	w.tally.tries++
	w.findings = map[string]modelFinding{}
	find := func(r *modelRcpt) modelFinding {
		if f, ok := now.findings[r.number]; ok {
			return f
		}
		return r.finding
	}
	for _, r := range to {
		w.findings[r.address] = find(r)
	}
	w.plan = w.c.plan(to, find)
	office := newFaultyOffice(now.fault)
	if !w.faulty {
		office.fault.kind = noFault
	}
	t := &modelTransaction{w: w, office: office, to: to}
	err := t.run()
	if office.happened {
		w.tally.faults[now.fault.kind]++
	}
	return err
}

// A modelTransaction is a try on its way.
type modelTransaction struct {
	w        *modelWorld
	office   *faultyOffice
	to       []*modelRcpt
	in       []*modelRcpt // accepted at RCPT
	mail     *Mail
	snapshot string // the journal at the time when the process died
	failure  error
}

func (t *modelTransaction) run() error {
	w := t.w
	if err := t.prepare(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // what waits longer waits for ever
	defer cancel()
	t.office.giveUp = cancel
	t.office.die = func() { t.snapshot = w.path(); t.failure = w.journal.copyTo(t.snapshot) }
	t.office.closeDB = func() { w.journal.db.Close() }
	m := w.gateway.Begin(Sender{Address: w.c.from, Options: w.c.options, Pickup: w.c.pickup})
	t.mail = m
	defer m.Close()
	defer m.Lost()
	if err := t.envelope(ctx); err != nil {
		return err
	}
	if len(t.in) == 0 {
		return t.restart()
	}
	h := w.c.mail(w.tries)
	v, ended := t.content(ctx, h)
	if t.failure != nil {
		return t.failure
	}
	if ended && !t.office.isDead() {
		if err := t.judgeReply(v); err != nil {
			return err
		}
	}
	return t.conclude(v, h, ended)
}

// prepare brings about the faults that are there from the beginning.
func (t *modelTransaction) prepare() error {
	w := t.w
	if t.office.fault.kind == journalFull {
		full, err := w.journal.readOnly()
		if err != nil {
			return err
		}
		w.use(full)
	}
	if w.gateway.Resubmit != nil {
		w.gateway.Resubmit.dial = t.office.open
	}
	return nil
}

// envelope gives the recipients, and hears what is said to each.
func (t *modelTransaction) envelope(ctx context.Context) error {
	for i, r := range t.to {
		rcpt := Rcpt{Address: r.address}
		if t.w.c.folding {
			rcpt.Resolved = lower(r.address)
		}
		reply := t.mail.Recipient(ctx, rcpt)
		if got := codes(reply); got != t.w.plan.said[i] {
			return fmt.Errorf("RCPT %s: %s (%s), the policy says %s", r.address, got, reply.Text, t.w.plan.said[i])
		}
		switch reply.Action {
		case Accept:
			t.in = append(t.in, r)
		case Refuse:
			t.w.tell(r)
		}
	}
	return nil
}

func (w *modelWorld) tell(to ...*modelRcpt) {
	for _, r := range to {
		w.state[r.mailbox()].told, w.state[r.mailbox()].pending = true, false
	}
}

// content gives header and body. It has ended if there is a last word.
func (t *modelTransaction) content(ctx context.Context, h message.Header) (v Verdict, ended bool) {
	for _, f := range h {
		t.mail.Header(f)
	}
	reply := t.mail.EndHeader(queueID(t.w.tries))
	if reply.Action != Accept {
		return Verdict{Reply: reply}, true
	}
	body := t.w.c.body
	for half := len(body) / 2; len(body) > 0; body, half = body[half:], len(body)-half {
		if _, err := t.mail.Write([]byte(body[:half])); err != nil {
			break
		}
		if half == 0 {
			half = len(body)
		}
	}
	if t.office.fault.kind == diesBefore {
		t.office.kill()
		return v, false
	}
	return t.mail.End(ctx, ""), true
}

// conclude is what the MTA makes of a verdict, and of none.
func (t *modelTransaction) conclude(v Verdict, h message.Header, ended bool) error {
	kind := t.office.fault.kind
	accepts := ended && v.Reply.Action == Accept && !t.office.isDead()
	if accepts && kind == diesAfter {
		t.office.kill()
		accepts = false
	}
	if accepts && kind == handLost {
		t.office.happens()
		accepts = false
	}
	if err := t.takeCopies(); err != nil {
		return err
	}
	if accepts && kind == handFails {
		accepts = false
		t.handFails(v)
	}
	if accepts {
		if err := t.takeHand(v, h); err != nil {
			return err
		}
		if kind == diesLate {
			t.office.kill()
		} else if err := t.mail.Accepted(); err != nil && kind != journalFull && kind != noteFails {
			return fmt.Errorf("the journal: %w", err)
		}
	}
	if ended && v.Reply.Action == Refuse && !t.office.isDead() {
		t.w.tell(t.in...)
	}
	return t.restart()
}

// handFails: the gateway hears what it hears of a mail that went through.
func (t *modelTransaction) handFails(v Verdict) {
	t.office.happens()
	t.mail.Accepted()
	for _, r := range t.in {
		s := t.w.state[r.mailbox()]
		if s.copies > s.before {
			s.extra++
			t.w.tally.allowed++
		}
	}
}

// restart starts the gateway anew, if it has died or has no journal.
func (t *modelTransaction) restart() error {
	w := t.w
	switch {
	case t.office.isDead():
		if t.failure != nil {
			return t.failure
		}
		old := w.journal
		err := w.start(t.snapshot)
		old.Close()
		return err
	case t.office.fault.kind == journalFull, t.office.fault.kind == noteFails && t.office.happened:
		path := w.journal.db.Path()
		if path == "" { // closed
			path = filepath.Join(w.dir, fmt.Sprintf("journal%d.%d", w.c.seed, w.files))
		}
		w.journal.Close()
		again, err := OpenJournal(path)
		if err != nil {
			return err
		}
		w.use(again)
	}
	return nil
}

// takeCopies takes what the office took, and notes which copies nobody can know of.
func (t *modelTransaction) takeCopies() error {
	w := t.w
	doubtful := 0
	for _, p := range t.office.mails() {
		w.tally.copies++
		to, err := t.named(p.to)
		if err != nil {
			return err
		}
		d := modelDelivery{to: to, text: p.data}
		if err := w.deliver(d); err != nil {
			return fmt.Errorf("a copy: %w", err)
		}
		if t.office.happened && !t.isNoted(to) {
			w.tally.doubtful++
			if doubtful++; doubtful > 1 && t.office.fault.kind == cutOff {
				return errors.New("one line was cut, and more than one copy is not written down")
			}
			for _, r := range to {
				w.state[r.mailbox()].extra++
			}
		}
	}
	return nil
}

// isNoted: after a fault that keeps the gateway from knowing that the office has a
// copy, or from writing it down, the copy may come a second time.
func (t *modelTransaction) isNoted(to []*modelRcpt) bool {
	switch kind := t.office.fault.kind; {
	case kind == noteFails, t.office.isDead() && kind == dies, kind == cutOff || kind == hangs:
	default:
		return true
	}
	if kind := t.office.fault.kind; kind == noteFails {
		return false
	}
	journal := t.w.journal
	if t.snapshot != "" {
		path := t.snapshot + ".look"
		data, err := os.ReadFile(t.snapshot)
		if err == nil {
			err = os.WriteFile(path, data, 0o600)
		}
		if err == nil {
			journal, err = OpenJournal(path)
		}
		if err != nil {
			t.failure = err
			return false
		}
		defer journal.Close()
	}
	has, err := journal.served(t.mail.key)
	if err != nil {
		t.failure = err
		return false
	}
	return has(to[0].address)
}

// named finds whom an address belongs to.
func (t *modelTransaction) named(addresses []string) (to []*modelRcpt, err error) {
	for _, a := range addresses {
		i := slices.IndexFunc(t.in, func(r *modelRcpt) bool {
			return withoutQuotes(r.address) == strings.TrimSuffix(withoutQuotes(a), "@mail.corp.test")
		})
		if i < 0 {
			return nil, fmt.Errorf("a copy for %s, who is no recipient", a)
		}
		to = append(to, t.in[i])
	}
	return to, nil
}

// takeHand makes of the mail in hand what the verdict says, as a mail server does.
func (t *modelTransaction) takeHand(v Verdict, h message.Header) error {
	w := t.w
	w.tally.accepted++
	var to []*modelRcpt
	for _, r := range t.in {
		if !v.Nobody && !slices.ContainsFunc(v.Removes, func(name string) bool { return w.c.takesFor(r, name) }) {
			to = append(to, r)
		}
	}
	t.allowNamesakes(to)
	if len(to) > 0 {
		w.tally.hands++
		var text strings.Builder
		taken(h, v).WriteTo(&text)
		text.WriteString("\r\n")
		if v.Encrypted {
			if _, err := io.Copy(&text, v.Body); err != nil {
				return err
			}
		} else {
			text.WriteString(w.c.body)
		}
		if err := w.deliver(modelDelivery{to: to, text: text.String()}); err != nil {
			return fmt.Errorf("the mail in hand: %w", err)
		}
	}
	for _, r := range t.in {
		s := w.state[r.mailbox()]
		s.pending = false
		if s.copies == s.before {
			return fmt.Errorf("the mail was accepted, and %s has not got it", r.address)
		}
	}
	return nil
}

// allowNamesakes: whoever has got his copy stays on the mail in hand if an MTA could
// take him for somebody who has not; rather twice than not at all.
func (t *modelTransaction) allowNamesakes(to []*modelRcpt) {
	for _, r := range to {
		s := t.w.state[r.mailbox()]
		if s.copies > s.before && slices.ContainsFunc(to, func(o *modelRcpt) bool {
			return o.mailbox() != r.mailbox() && lower(o.local) == lower(r.local)
		}) {
			s.extra++
			t.w.tally.allowed++
		}
	}
}

// taken is the header that the verdict makes.
func taken(h message.Header, v Verdict) message.Header {
	h = slices.Clone(h)
	for _, name := range v.Replaces {
		if i := slices.IndexFunc(h, func(f message.Field) bool { return f.Name == name }); i >= 0 {
			h = slices.Delete(h, i, i+1)
		}
	}
	return append(h, v.Header...)
}

// takesFor says whether the MTA takes a name for that of a recipient.
func (c *modelCase) takesFor(r *modelRcpt, name string) bool {
	known := r.address
	if r.byName {
		known = r.local
	}
	return known == name || c.folding && !c.pickup && lower(r.address) == lower(name)
}
