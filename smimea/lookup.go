package smimea

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"smimea.example/smimea/dnssec"
)

// A Client looks up the certificates of mailboxes.
type Client struct {
	// Resolver answers. Its word is believed.
	Resolver dnssec.Resolver

	// Trust is what may vouch besides the DNS.
	Trust Trust

	// Candidates returns certificates, in DER, that may be an address's. They
	// count if a record vouches for them. Nil: there are none.
	Candidates func(Address) [][]byte
}

// An Outcome is what became of a lookup.
type Outcome uint8

const (
	// Failed: could not find out. The zero value.
	Failed Outcome = iota
	// Bogus: there should be a proof, and it is missing, broken or expired.
	Bogus
	// None: it is proven that there are no records that count; or the DNS has
	// no room for any, as for an address literal.
	None
	// Unusable: there are records, and none vouches for a certificate. This
	// is not None: the domain meant to say something (RFC 7671, Section 10.3).
	// Nor is it Failed, as where a record might vouch for one if only it were
	// known that nothing is revoked.
	Unusable
	// Found: at least one record vouches for a certificate.
	Found
)

// String returns the word that the commands print.
func (o Outcome) String() string {
	switch o {
	case Bogus:
		return "bogus"
	case None:
		return "none"
	case Unusable:
		return "unusable"
	case Found:
		return "found"
	}
	return "failed"
}

// A Result is what is known of an address. The zero Result is a failed lookup.
type Result struct {
	Address string // as given
	Owner   string // the name that was asked for; empty if there is none
	Status  dnssec.Status
	Outcome Outcome
	Records []Finding // in a stable order; empty unless Secure
	Answer  dnssec.Answer
	Why     error // for every Outcome but Found
}

// Certificates returns the certificates, in DER, that the records vouch for,
// each once.
func (r Result) Certificates() [][]byte {
	var all [][]byte
	for _, f := range r.Records {
		for _, der := range f.Vouched {
			all = appendNew(all, der)
		}
	}
	return all
}

// What is read of an answer. More is no mailbox's honest need, and the sum
// bounds the work that a stranger's zone can cause.
const (
	maxRecords = 20
	maxAnswer  = 64 << 10 // octets of RDATA
)

// Lookup asks for the certificates of an address. It asks one question
// (RFC 8162, Section 4).
func (c Client) Lookup(ctx context.Context, address string) Result {
	result := Result{Address: address}
	a, err := ParseAddress(address)
	if err == nil {
		result.Owner, err = a.Owner()
	}
	if err != nil {
		result.Outcome, result.Why = nameless(address, err), err
		return result
	}
	result.Answer = c.Resolver.Lookup(ctx, result.Owner, dnssec.TypeSMIMEA)
	result.Status = result.Answer.Status
	c.interpret(&result, a)
	return result
}

// nameless says what it means that no owner name could be made. A literal has
// none, and what is too long for the DNS cannot be there. Of anything else we
// know nothing.
func nameless(address string, err error) Outcome {
	if errors.Is(err, ErrLiteral) || errors.Is(err, ErrTooLong) && len(address) <= maxAddress {
		return None
	}
	return Failed
}

// interpret says what an answer means (RFC 8162, Section 6; RFC 7672,
// Section 2.1.2).
func (c Client) interpret(r *Result, a Address) {
	answer := r.Answer
	switch {
	case answer.Status == dnssec.Insecure:
		// Its records never counted, so nobody gains by taking away the proof.
		r.Outcome, r.Why = None, unsigned(answer)
	case answer.Status == dnssec.Bogus:
		r.Outcome, r.Why = Bogus, because(answer.Why, "the answer is bogus")
	case answer.Status != dnssec.Secure:
		r.Why = because(answer.Why, "the answer could not be proven")
	case answer.Outcome == dnssec.NXDomain || answer.Outcome == dnssec.NoData:
		r.Outcome, r.Why = None, errors.New("no SMIMEA record is published (proven)")
	case answer.Outcome == dnssec.Data && len(answer.Data) > 0:
		c.certify(r, a)
	default:
		r.Why = because(answer.Why, "the answer holds nothing")
	}
}

func unsigned(answer dnssec.Answer) error {
	err := errors.New("the zone is not signed")
	if len(answer.Unproven) > 0 {
		err = fmt.Errorf("%w, and what it publishes does not count", err)
	}
	if answer.Why != nil {
		err = fmt.Errorf("%w: %w", err, answer.Why)
	}
	return err
}

func because(err error, otherwise string) error {
	if err == nil {
		return errors.New(otherwise)
	}
	return err
}

// certify judges the records of a proven answer.
func (c Client) certify(r *Result, a Address) {
	r.Outcome = Unusable
	if r.Why = tooMuch(r.Answer.Data); r.Why != nil {
		return
	}
	var candidates [][]byte
	if c.Candidates != nil {
		candidates = c.Candidates(a)
	}
	records, malformed := parseAll(r.Answer.Data)
	r.Records = append(Certify(a, records, candidates, c.Trust), malformed...)
	if r.Certificates() != nil {
		r.Outcome = Found
		return
	}
	if err := r.Unknown(); err != nil {
		r.Outcome, r.Why = Failed, err
		return
	}
	r.Why = fmt.Errorf("no record can be used: %w", firstReason(r.Records))
}

// Unknown returns why a record might vouch for a certificate, and does not only
// because something could not be found out: [ErrRevocationUnknown], wrapped. It
// is nil if there is no such record.
func (r Result) Unknown() error {
	for _, f := range r.Records {
		if errors.Is(f.Why, ErrRevocationUnknown) {
			return f.reason()
		}
	}
	return nil
}

// Until is when the first certificate ends of the paths by which records vouch.
// Zero: it takes no path.
func (r Result) Until() time.Time {
	var until time.Time
	for _, f := range r.Records {
		if len(f.Vouched) > 0 && !f.Until.IsZero() && (until.IsZero() || f.Until.Before(until)) {
			until = f.Until
		}
	}
	return until
}

func tooMuch(data [][]byte) error {
	size := 0
	for _, rdata := range data {
		size += len(rdata)
	}
	if len(data) > maxRecords || size > maxAnswer {
		return fmt.Errorf("%d records with %d octets, at most %d with %d are read", len(data), size, maxRecords, maxAnswer)
	}
	return nil
}

// parseAll reads records in an order that does not change from one answer to
// the next, and says which are none.
func parseAll(data [][]byte) (records []Record, malformed []Finding) {
	for _, rdata := range slices.SortedFunc(slices.Values(data), bytes.Compare) {
		if r, err := ParseRecord(rdata); err != nil {
			malformed = append(malformed, Finding{Record: r, Why: err})
		} else {
			records = append(records, r)
		}
	}
	return records, malformed
}

// firstReason returns why the record failed that came closest to being used.
func firstReason(findings []Finding) error {
	best := findings[0]
	for _, f := range findings {
		if f.Verdict > best.Verdict {
			best = f
		}
	}
	return best.reason()
}

func (f Finding) reason() error {
	r := f.Record
	return fmt.Errorf("%d %d %d: %w", r.Usage, r.Selector, r.Matching, f.Why)
}
