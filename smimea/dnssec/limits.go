package dnssec

import "time"

// The bounds of one lookup. A stranger's zone can ask for much work, and all
// of it is done while a mail waits. Sound zones stay far below.
const (
	maxQuestions  = 120 // to upstream servers, repetitions included
	maxExpected   = 60  // of which no more are guesses
	maxDepth      = 5   // labels below the anchor that are guessed at
	maxAliases    = 8   // CNAME and DNAME steps
	maxChecks     = 64  // signatures checked
	maxFailed     = 8   // of which may fail for one record set
	maxTagged     = 4   // keys tried for one signature: tags are not unique
	maxDigests    = 16  // digests computed for a zone's keys
	maxSigners    = 3   // zones that a record set claims to come from
	maxDenials    = 12  // NSEC and NSEC3 record sets looked at in a message
	maxIterations = 100 // of an NSEC3 hash (RFC 9276, Section 3.2)
	maxHashes     = 200 // NSEC3 hashes computed
	maxLookups    = 256 // at once; more wait
)

// How long things are remembered at most.
const (
	keepData    = 24 * time.Hour
	keepDenial  = time.Hour        // also for insecure delegations
	keepFailure = 10 * time.Second // RFC 9520, Section 3.2; long enough to spare, short enough to repair
)

// skew is how far the clocks of signer and validator may be apart.
const skew = 5 * time.Minute

// work counts what a lookup has done.
type work struct {
	questions, checks, hashes int
	exhausted                 bool // some limit was reached: asking elsewhere helps nobody

	cores chan struct{} // one for each signature being checked, of all lookups; nil: no limit
}

// spend counts one more, and reports whether that is still allowed.
func (w *work) spend(counter *int, limit int) bool {
	if *counter >= limit {
		w.exhausted = true
		return false
	}
	*counter++
	return true
}

func (w *work) question() bool { return w.spend(&w.questions, maxQuestions) }
func (w *work) check() bool    { return w.spend(&w.checks, maxChecks) }

// checking runs a check of a signature when a core is free for it: what a
// stranger's zone costs must not take all threads of the process.
func (w *work) checking(check func() bool) bool {
	if w.cores != nil {
		w.cores <- struct{}{}
		defer func() { <-w.cores }()
	}
	return check()
}

func (w *work) hash() bool { return w.spend(&w.hashes, maxHashes) }
