package smimea

import (
	"cmp"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"
)

// What a stranger's records may cost. crypto/x509 gives each search for paths a
// hundred signature checks, of which one takes half a millisecond at most, with
// P-521: little more than half a second in all.
const (
	maxSearches = 12
	maxSteps    = 10 // CA certificates out of the record set
)

// A judge holds what the records of one mailbox are judged by.
type judge struct {
	address    Address
	findings   []Finding
	candidates [][]byte
	trust      Trust
	steps      []*x509.Certificate // CAs that may stand in the middle of a path
	stepPool   *x509.CertPool      // made of steps when it is needed
	roots      *search
	searches   int // how many there were

	until time.Time // see Finding; of the record that is being judged
}

func newJudge(address Address, findings []Finding, candidates [][]byte, trust Trust) *judge {
	return &judge{
		address:    address,
		findings:   findings,
		candidates: gather(findings, candidates),
		trust:      trust,
		steps:      append(publishedCAs(findings), trust.Intermediates...),
		roots:      &search{anchors: trust.Roots},
	}
}

// publishedCAs returns the CA certificates that stand in the record set in full.
func publishedCAs(findings []Finding) []*x509.Certificate {
	var cas []*x509.Certificate
	for _, f := range findings {
		der := f.Record.Certificate()
		if f.Why != nil || der == nil {
			continue
		}
		ca, err := parseSigner(der)
		if err == nil && ca.IsCA && !slices.ContainsFunc(cas, ca.Equal) && len(cas) < maxSteps {
			cas = append(cas, ca)
		}
	}
	return cas
}

// A search looks for paths to some anchors. It remembers what it found: several
// records may ask the same.
type search struct {
	anchors []*x509.Certificate
	pool    *x509.CertPool // made of anchors when it is needed
	found   map[string]paths
}

// paths are the valid paths of a certificate. Each has at least two
// certificates, the last one being an anchor. Without any, why says why not.
type paths struct {
	all [][]*x509.Certificate
	why error
}

// anyPath is for who has no wish beyond validity.
func anyPath([]*x509.Certificate) error { return nil }

// path says why a certificate has no path to one of the anchors that fits, and
// whose certificates may all be used; nil if it has one.
func (j *judge) path(der []byte, to *search, fits func(path []*x509.Certificate) error) error {
	found, ok := to.found[string(der)]
	if !ok {
		found.all, found.why = j.search(der, to)
		if to.found == nil {
			to.found = make(map[string]paths)
		}
		to.found[string(der)] = found
	}
	why := found.why
	for _, path := range found.all {
		err := cmp.Or(fits(path), j.withinConstraints(path), j.notRevoked(path))
		if err == nil {
			j.endsWith(path)
			return nil
		}
		why = graver(why, err)
	}
	return why
}

// endsWith notes when a path that counts will count no more.
func (j *judge) endsWith(path []*x509.Certificate) {
	for _, cert := range path {
		if j.until.IsZero() || cert.NotAfter.Before(j.until) {
			j.until = cert.NotAfter
		}
	}
}

// search returns the valid paths from a certificate that names the address to
// one of the anchors. An anchor itself is nobody's mailbox.
func (j *judge) search(der []byte, to *search) ([][]*x509.Certificate, error) {
	if len(to.anchors) == 0 {
		return nil, errors.New("it asks for a path to a CA that is trusted here, and there is none")
	}
	cert, err := parseForPath(der)
	if err != nil {
		return nil, err
	}
	// RFC 7671, Section 5.2 and 5.3: here the name counts.
	if !j.address.NamedIn(cert) {
		return nil, errors.New("the certificate does not name the address")
	}
	chains, err := j.verify(cert, to)
	if err != nil {
		return nil, err
	}
	var all [][]*x509.Certificate
	for _, chain := range chains {
		if len(chain) > 1 {
			all = append(all, chain)
		}
	}
	if all == nil {
		return nil, errors.New("the certificate has no path but to itself")
	}
	return all, nil
}

func (j *judge) verify(cert *x509.Certificate, to *search) ([][]*x509.Certificate, error) {
	if j.searches++; j.searches > maxSearches {
		return nil, fmt.Errorf("after %d searches for a path no more are made", maxSearches)
	}
	if to.pool == nil {
		to.pool = pool(to.anchors)
	}
	if j.stepPool == nil {
		j.stepPool = pool(j.steps)
	}
	chains, err := cert.Verify(x509.VerifyOptions{
		Roots:         to.pool,
		Intermediates: j.stepPool,
		CurrentTime:   j.now(),
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection},
	})
	if err != nil {
		return nil, fmt.Errorf("the certificate has no valid path: %w", err)
	}
	return chains, nil
}

func (j *judge) now() time.Time {
	if j.trust.Now.IsZero() {
		return time.Now()
	}
	return j.trust.Now
}

func pool(certs []*x509.Certificate) *x509.CertPool {
	p := x509.NewCertPool()
	for _, cert := range certs {
		p.AddCert(cert)
	}
	return p
}

// withinConstraints refuses what crypto/x509 lets pass: it holds CAs' name
// constraints against every rfc822Name, but neither against a SmtpUTF8Mailbox
// (RFC 8398, Section 6) nor against an address that stands only in the subject
// (RFC 5280, Section 4.2.1.10). Nobody can say then whether the CA may speak for
// the address. And an excluded mailbox is excluded however its local part is
// written, since we take it for the same.
func (j *judge) withinConstraints(path []*x509.Certificate) error {
	checked := j.address.inRFC822Name(path[0])
	for _, ca := range path[1:] {
		if slices.ContainsFunc(ca.ExcludedEmailAddresses, j.address.is) {
			return fmt.Errorf("the CA %.100q may not speak for this address", ca.Subject.String())
		}
		if !checked && constrainsMail(ca) {
			return fmt.Errorf("the CA %.100q may speak for some addresses only, and that cannot be checked where the address stands in no rfc822Name",
				ca.Subject.String())
		}
	}
	return nil
}

// constrainsMail says whether a CA has name constraints for mail. One that is not
// critical, though it must be, may hold kinds that crypto/x509 passes over.
func constrainsMail(ca *x509.Certificate) bool {
	for _, ext := range ca.Extensions {
		if ext.Id.Equal(oidNameConstraints) && !ext.Critical {
			return true
		}
	}
	return len(ca.PermittedEmailAddresses) > 0 || len(ca.ExcludedEmailAddresses) > 0
}

// notRevoked asks about every certificate of a path but the anchor, which nobody
// can revoke.
func (j *judge) notRevoked(path []*x509.Certificate) error {
	if j.trust.Revoked == nil {
		return nil
	}
	var why error
	for i, cert := range path[:len(path)-1] {
		err := j.trust.Revoked(cert.Raw, j.now())
		if err == nil {
			continue
		}
		if i > 0 {
			err = fmt.Errorf("the CA certificate %.100q: %w", cert.Subject.String(), err)
		}
		if why = err; !errors.Is(err, ErrRevocationUnknown) {
			return err // which is the last word on this path
		}
	}
	return why
}

// notItsCA keeps a record of usage 0 or 2 from vouching for the CA that it, or
// another one of the set, is about: nobody encrypts to a CA's key.
func (j *judge) notItsCA(der []byte) error {
	for _, f := range j.findings {
		if usage := f.Record.Usage; (usage == PKIXTA || usage == DANETA) && f.Record.Matches(der) {
			return fmt.Errorf("a record of usage %d says that the certificate is a CA's", usage)
		}
	}
	return nil
}
