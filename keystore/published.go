package keystore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"smimea.example/smimea"
	"smimea.example/smimea/dnssec"
)

// Published finds what domains publish in the DNS: certificates (RFC 8162), or
// why there can be none.
type Published struct {
	Client smimea.Client

	// Now is the clock that certificates are held against. Default: time.Now.
	Now func() time.Time

	// CRLs tells what is revoked, of the certificates and of the CAs on their
	// paths. Default: nothing is.
	CRLs *CRLs
}

// Find implements [Source]. It asks for the address, and if there is proven
// to be nothing, for the domain's mail servers too.
func (p Published) Find(ctx context.Context, address string) Keys {
	client := p.Client
	if client.Trust.Now.IsZero() {
		client.Trust.Now = p.now()
	}
	if p.CRLs != nil {
		client.Trust.Revoked = p.CRLs.Check
	}
	result := client.Lookup(ctx, address)
	keys := p.read(result)
	if keys.Outcome == None && result.Owner != "" {
		keys = p.none(ctx, keys, address)
	}
	keys.Origin = "dns"
	if result.Owner != "" {
		keys.DNSSEC = result.Status.String()
	}
	return keys
}

// read makes Keys of what the DNS said of the address.
func (p Published) read(result smimea.Result) Keys {
	keys := Keys{Why: result.Why, Expires: result.Answer.Expires}
	switch result.Outcome {
	case smimea.Bogus:
		keys.Outcome = Bogus
	case smimea.None:
		keys.Outcome = None
	case smimea.Unusable:
		keys.Outcome = Unusable
	case smimea.Found:
		return p.found(result)
	}
	return keys
}

func (p Published) found(result smimea.Result) Keys {
	keys := choose(result.Address, result.Certificates(), p.now(), p.CRLs)
	keys.Expires = p.CRLs.until(p.now(), result.Answer.Expires)
	if until := result.Until(); !until.IsZero() {
		keys.Expires = earlier(keys.Expires, until)
	}
	if keys.Outcome == WeakOnly && !allUsable(result.Records) {
		keys.Outcome = Unusable // algorithms are not all that is at fault
	}
	if unknown := result.Unknown(); unknown != nil && keys.Outcome != Found {
		keys.Outcome, keys.Why = Failed, join(unknown, keys.Why)
	}
	if keys.Outcome == Found && result.Answer.Wildcard {
		keys.Warnings = append(keys.Warnings, "the record is a wildcard's: it speaks for the domain, not for this mailbox")
	}
	return keys
}

func allUsable(findings []smimea.Finding) bool {
	for _, f := range findings {
		if f.Verdict != smimea.Usable {
			return false
		}
	}
	return true
}

func (p Published) now() time.Time {
	if p.Now == nil {
		return time.Now()
	}
	return p.Now()
}

// nullMX is the RDATA of "MX 0 ." (RFC 7505, Section 3).
var nullMX = []byte{0, 0, 0}

// none tells why there is nothing: the domain does not exist, takes no mail,
// or publishes no certificate. That the second question fails changes nothing
// about the answer to the first.
func (p Published) none(ctx context.Context, keys Keys, address string) Keys {
	a, err := smimea.ParseAddress(address)
	if err != nil {
		return keys
	}
	answer := p.Client.Resolver.Lookup(ctx, a.ASCIIDomain+".", dnssec.TypeMX)
	secure := answer.Status == dnssec.Secure
	switch {
	case secure && answer.Outcome == dnssec.NXDomain:
		keys.Outcome, keys.Why = NoDomain, fmt.Errorf("%s does not exist (proven)", a.ASCIIDomain)
	case secure && answer.Outcome == dnssec.Data && isNullMX(answer.Data):
		keys.Outcome, keys.Why = NullMX, fmt.Errorf("%s takes no mail (null MX, proven)", a.ASCIIDomain)
	case !secure && isNullMX(answer.Unproven):
		// A forged answer must not bounce mail.
		keys.Outcome, keys.Why = Failed, errors.New("a null MX that is not proven")
	default:
		return keys
	}
	if answer.Expires.Before(keys.Expires) {
		keys.Expires = answer.Expires
	}
	return keys
}

// isNullMX: exactly one record; beside others, "." means nothing.
func isNullMX(data [][]byte) bool {
	return len(data) == 1 && bytes.Equal(data[0], nullMX)
}
