package dnssec

import (
	"fmt"
	"strings"

	"github.com/miekg/dns"
)

// A Failure is the Why of an answer that is not Secure: which record set of
// which zone broke which rule, or lacks which proof.
type Failure struct {
	Zone string // whose keys should have proven it; empty if it did not get that far
	Name string // the owner of the record set
	Type uint16
	Rule string // a clause, "the signature expired at 2026-01-01T00:00:00Z"
	EDE  uint16 // RFC 8914, Section 4; 0 where no code says more

	Server string // whose reply it was; empty if there was none, or it does not matter
	Err    error  // from below, of the connection for one; may be nil
}

// Error returns one line: the record set, the rule, the zone, and the server.
func (f *Failure) Error() string {
	s := f.Name + " " + TypeName(f.Type) + ": " + f.Rule
	var where []string
	if f.Zone != "" && f.Zone != f.Name {
		where = append(where, "zone "+f.Zone)
	}
	if f.Server != "" {
		where = append(where, "reply of "+f.Server)
	}
	if where != nil {
		s += " (" + strings.Join(where, ", ") + ")"
	}
	if f.Err != nil {
		s += ": " + f.Err.Error()
	}
	return s
}

// Extended returns the code of RFC 8914 and its name, "7 (Signature Expired)";
// empty where no code says more.
func (f *Failure) Extended() string {
	if f.EDE == 0 {
		return ""
	}
	return fmt.Sprintf("%d (%s)", f.EDE, dns.ExtendedErrorCodeToString[f.EDE])
}

// Unwrap returns the error from below.
func (f *Failure) Unwrap() error { return f.Err }

// Extended DNS errors (RFC 8914, Section 4).
const (
	edeAlgorithm   = 1
	edeDigest      = 2
	edeBogus       = 6
	edeExpired     = 7
	edeNotYetValid = 8
	edeNoKey       = 9
	edeNoSignature = 10
	edeNoZoneKey   = 11
	edeNoDenial    = 12
	edeUnreachable = 22
	edeNetwork     = 23
	edeIterations  = 27
)

// A reason is a rule that was broken, before it is known where.
type reason struct {
	ede  uint16
	text string
}

func because(ede uint16, format string, args ...any) *reason {
	return &reason{ede, fmt.Sprintf(format, args...)}
}

// at makes the Failure of a reason.
func (r *reason) at(zone name, q question) *Failure {
	f := &Failure{Name: q.name.String(), Type: q.rtype, Rule: r.text, EDE: r.ede}
	if zone != "" {
		f.Zone = zone.String()
	}
	return f
}

// short is the rule up to the first colon: the rest explains it.
func (f *Failure) short() string {
	rule, _, _ := strings.Cut(f.Rule, ":")
	return rule
}

// of tells whose reply it was.
func (f *Failure) of(r *reply) *Failure {
	f.Server = r.from
	return f
}
