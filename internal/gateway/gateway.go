// Package gateway decides what becomes of a mail, and does it: the mail is
// encrypted, passed as it is, deferred or refused. It knows neither the milter
// protocol nor the settings file, and could as well stand behind an SMTP proxy.
//
// A [Mail] is told what arrives, in the order in which it arrives: sender,
// recipients, header fields, body, end. The policy itself is in policy.go:
// pure functions, with a table each. What it needs to know of a recipient is
// found in explain.go, what senders are told is in reply.go, and seal.go
// encrypts.
//
// Recipients of one mail may need different copies of it. One of them stays with
// the MTA as the mail that it has in hand; the others are handed over to it anew,
// all or none, before the mail is accepted: handover.go. Who has got his copy is
// in the journal until the sender will not come again.
//
// Whatever goes wrong, and whatever nobody thought of, defers the mail: it
// stays with whoever has it, and comes again. Nothing goes out in clear but by
// a rule that says so. No plaintext is written anywhere. In memory there is the
// header, and the piece at hand; of a mail that is split, or is to be encrypted with
// GCM, the first 256 KB (spool.go), and all of it while GCM needs it as a whole.
package gateway

import (
	"io"
	"sync"
	"time"

	"smimea.example/internal/message"
	"smimea.example/keystore"
)

// A Gateway holds what all mails have in common. Its fields are set once,
// before the first mail.
type Gateway struct {
	// Rules say how mail is to be treated. Where none matches it is deferred.
	Rules []Rule

	// Keys finds the recipients' certificates.
	Keys keystore.Source

	// Budget bounds everything that one recipient asks. Default: 7 s.
	Budget time.Duration

	// Spool is the directory for mails that are too long to be kept in memory.
	// They are encrypted there. Default: that of temporary files.
	Spool string

	// Memory is how many octets all the mails together may have that are needed
	// as a whole, as those in GCM are. Default: 128 MB.
	Memory int64

	// Wait is how long such a mail waits for its share of the memory. Default:
	// one minute.
	Wait time.Duration

	// Resubmit takes the copies of a mail whose recipients cannot share one.
	// Without it such recipients are told to be written to separately.
	Resubmit *Resubmission

	// Shadow: copies are made and handed over to nobody, and no journal is needed.
	// What becomes of the verdict is up to whoever asks for it.
	Shadow bool

	once   sync.Once    // guards what follows
	parsed []parsedRule // Rules, once the first mail has come

	onceMemory sync.Once
	shared     *memory
}

// A Sender is what is known of a mail before its first recipient.
type Sender struct {
	Address string // envelope sender without angle brackets; empty for <>
	Options string // ESMTP parameters of MAIL, as received

	// Pickup: the mail was submitted on the machine itself, so that nobody
	// listens for an answer to a single recipient. All recipients are accepted
	// at first, and the worst reply is given for the whole mail at its end.
	Pickup bool
}

// A Rcpt is a recipient as the MTA names him.
type Rcpt struct {
	Address string // as the client gave it, without angle brackets
	Options string // ESMTP parameters, as received

	// Resolved is whom the MTA takes him for, if it has looked up aliases before
	// it asks, as Sendmail does: it may take him for the same as another.
	Resolved string
}

// A Reply is what the sending side is told about a recipient or a mail. The
// zero Reply defers.
type Reply struct {
	Action Action
	Code   int    // SMTP reply code, RFC 5321: 451, 550
	Status string // enhanced status code, RFC 3463: "4.7.5"
	Text   string // one line of ASCII: who, why, what to do next
}

// An Action is what a [Reply] comes to.
type Action uint8

const (
	// Defer: not now, try again. The zero value.
	Defer Action = iota
	// Refuse: not so, and not later.
	Refuse
	// Accept: go on.
	Accept
)

// A Verdict is the last word on a mail. Unless Reply accepts, nothing else counts
// but Fault and Trouble. The zero Verdict defers.
type Verdict struct {
	Reply Reply

	// Removes are the recipients whom the mail in hand is not for, as the client
	// gave them: they have got copies of their own. Nobody, if all have: the mail
	// in hand is then for nobody, and is dropped.
	Removes []string
	Nobody  bool

	// The fields named in Replaces go, and Header is put in their place. Body
	// replaces the body if the mail is Encrypted; otherwise that stays.
	Replaces  []string // as received and in their order, those that come twice twice
	Header    message.Header
	Encrypted bool
	Body      io.Reader

	// Fault is a mistake of the gateway itself that has come to light, and Trouble
	// what keeps it from handing over copies; both are for the postmaster. The
	// mail is deferred, unless the trouble is with the journal alone and the copies
	// are out.
	Fault   error
	Trouble error
}

// A Fate is what became of one recipient, for the log.
type Fate struct {
	Address  string
	Rule     string   // the rule's action; empty if there was none
	Outcome  string   // what the key store found; empty if it was not asked
	Reply    Reply    // even of pickup, whose sender did not hear it
	Sent     string   // "encrypted", "plain", "already encrypted", "handed over before"; empty if not sent
	Copy     int      // by which copy: 0 is the mail itself
	Origin   string   // where the certificates came from
	DNSSEC   string   // the status of what the DNS said; empty if it was not asked
	Certs    []string // fingerprints of those that were encrypted to
	Cipher   string   // what they were encrypted with; empty without Certs
	Archive  string   // fingerprint of the certificate that his envelope is for, too
	Warnings []string
	Why      error // details that do not belong into a reply
}

// defaultWait is that of Gateway.Wait.
const defaultWait = time.Minute

// newSealing makes one that shares the gateway's memory.
func (g *Gateway) newSealing() *sealing {
	g.onceMemory.Do(func() { g.shared = newMemory(g.Memory) })
	s := &sealing{memory: g.shared, wait: g.Wait}
	if s.wait <= 0 {
		s.wait = defaultWait
	}
	return s
}

// Begin starts a mail.
func (g *Gateway) Begin(from Sender) *Mail {
	return &Mail{gateway: g, from: from}
}
