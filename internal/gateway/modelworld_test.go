package gateway

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
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
