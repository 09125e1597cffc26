package smimea

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"smimea.example/internal/cms"
)

// A Verdict says what a record is good for.
type Verdict uint8

const (
	// Ignored: nothing follows from the record. The others still count
	// (RFC 6698, Section 4.1).
	Ignored Verdict = iota
	// Constraint: the record is about a certificate that has to come from
	// somewhere else. It may vouch for one all the same, if one is at hand.
	Constraint
	// Usable: the record holds a certificate and vouches for it.
	Usable
)

// String returns the word that the commands print.
func (v Verdict) String() string {
	switch v {
	case Constraint:
		return "constraint"
	case Usable:
		return "usable"
	}
	return "unusable"
}

// A Finding is a record and what it means.
type Finding struct {
	Record  Record
	Verdict Verdict

	// Vouched are the certificates, in DER, that are the mailbox's on the
	// word of this record.
	Vouched [][]byte

	// Why explains a record that vouches for nothing.
	Why error
}

// Trust is what is known besides the DNS. The zero Trust trusts nobody: then
// only usage 3 can vouch for anything.
type Trust struct {
	// Roots are the CAs that usage 0 and 1 may lead to.
	Roots []*x509.Certificate

	// Intermediates are CA certificates that help to build a path. For usage 2
	// they and Roots are where an anchor is found that a record only names.
	Intermediates []*x509.Certificate

	// Now is the time for which a path must be valid. Zero: the current time.
	Now time.Time
}

// maxCandidates bounds the certificates that records are held against.
const maxCandidates = 40

// Certify says what each of a mailbox's records means: whether it vouches for
// the certificate that it holds, or for one of the candidates, which are
// certificates in DER found elsewhere. The records must be proven to be the
// mailbox's, and be its complete set.
//
// Usage 3 asks neither for a path nor for a name (RFC 7671, Section 5.1).
// Usages 0, 1 and 2 ask for a valid path, and for the address in the
// certificate. Nothing is ever vouched for by being the CA of a usage 0 or 2
// record itself.
func Certify(address Address, records []Record, candidates [][]byte, trust Trust) []Finding {
	findings := make([]Finding, len(records))
	for i, r := range records {
		findings[i] = Finding{Record: r, Why: r.check()}
	}
	dropWeakDigests(findings)
	j := judge{address, gather(findings, candidates), trust}
	for i := range findings {
		if f := &findings[i]; f.Why == nil {
			j.decide(f)
		}
	}
	return findings
}

// dropWeakDigests ignores SHA-256 where the same usage and selector has
// SHA-512 as well (RFC 7671, Section 9).
func dropWeakDigests(findings []Finding) {
	type key struct{ usage, selector uint8 }
	strong := make(map[key]bool)
	for _, f := range findings {
		if f.Why == nil && f.Record.Matching == SHA512 {
			strong[key{f.Record.Usage, f.Record.Selector}] = true
		}
	}
	for i, f := range findings {
		if f.Why == nil && f.Record.Matching == SHA256 && strong[key{f.Record.Usage, f.Record.Selector}] {
			findings[i].Why = errors.New("a record with a stronger digest takes its place")
		}
	}
}

// gather adds to the candidates the end-entity certificates of the record set
// itself: one record may vouch for what another holds. It leaves out what is
// no certificate.
func gather(findings []Finding, candidates [][]byte) [][]byte {
	var all [][]byte
	for _, f := range findings {
		if usage := f.Record.Usage; f.Why == nil && (usage == PKIXEE || usage == DANEEE) {
			all = append(all, f.Record.Certificate())
		}
	}
	all = append(all, candidates...)
	var kept [][]byte
	for _, der := range all {
		if cms.IsCertificate(der) && len(kept) < maxCandidates {
			kept = appendNew(kept, der)
		}
	}
	return kept
}

func appendNew(list [][]byte, der []byte) [][]byte {
	for _, have := range list {
		if bytes.Equal(have, der) {
			return list
		}
	}
	return append(list, der)
}

// A judge holds what the records of one mailbox are judged by.
type judge struct {
	address    Address
	candidates [][]byte
	trust      Trust
}

func (j *judge) decide(f *Finding) {
	switch f.Record.Usage {
	case DANEEE:
		j.domainIssued(f)
	case DANETA:
		j.domainAnchor(f)
	case PKIXEE:
		j.constrainedCertificate(f)
	case PKIXTA:
		j.constrainedCA(f)
	}
}

// domainIssued: usage 3. The record is all it takes.
func (j *judge) domainIssued(f *Finding) {
	if der := f.Record.Certificate(); der != nil {
		f.Verdict, f.Vouched = Usable, [][]byte{der}
		return
	}
	f.Verdict = Constraint
	f.vouch(j.candidates, func(der []byte) error {
		return matching(f.Record, der)
	})
}

// constrainedCertificate: usage 1. The certificate must also have a path to a
// root of ours.
func (j *judge) constrainedCertificate(f *Finding) {
	proven := func(der []byte) error {
		if err := matching(f.Record, der); err != nil {
			return err
		}
		_, err := j.paths(der, j.trust.Roots)
		return err
	}
	if der := f.Record.Certificate(); der != nil {
		if f.vouch([][]byte{der}, proven); f.Why == nil {
			f.Verdict = Usable
		}
		return
	}
	f.Verdict = Constraint
	f.vouch(j.candidates, proven)
}

// domainAnchor: usage 2. The certificate must have a path to the CA that the
// record holds or names (RFC 7671, Section 5.2).
func (j *judge) domainAnchor(f *Finding) {
	anchors, err := j.anchors(f.Record)
	if err != nil {
		f.Why = err
		return
	}
	f.Verdict = Constraint
	f.vouch(j.candidates, func(der []byte) error {
		_, err := j.paths(der, anchors)
		return err
	})
}

// anchors returns the CAs that a usage 2 record is about.
func (j *judge) anchors(r Record) ([]*x509.Certificate, error) {
	if der := r.Certificate(); der != nil {
		anchor, err := parseForPath(der)
		if err != nil {
			return nil, err
		}
		if !anchor.IsCA {
			return nil, errors.New("the certificate is not a CA's, and usage 2 vouches for no other")
		}
		return []*x509.Certificate{anchor}, nil
	}
	var anchors []*x509.Certificate
	for _, known := range [][]*x509.Certificate{j.trust.Intermediates, j.trust.Roots} {
		for _, ca := range known {
			if ca.IsCA && r.Matches(ca.Raw) {
				anchors = append(anchors, ca)
			}
		}
	}
	return anchors, nil
}

// constrainedCA: usage 0. The path to a root of ours must lead through the CA
// that the record is about.
func (j *judge) constrainedCA(f *Finding) {
	f.Verdict = Constraint
	f.vouch(j.candidates, func(der []byte) error {
		paths, err := j.paths(der, j.trust.Roots)
		if err != nil {
			return err
		}
		for _, path := range paths {
			for _, ca := range path[1:] {
				if f.Record.Matches(ca.Raw) {
					return nil
				}
			}
		}
		return errors.New("no path leads through the CA of the record")
	})
}

var errElsewhere = errors.New("constraint only: the certificate has to come from elsewhere, and none at hand fits")

// vouch puts on record which of the certificates pass, and if none does, why
// not.
func (f *Finding) vouch(certificates [][]byte, check func(der []byte) error) {
	f.Why = errElsewhere
	for _, der := range certificates {
		if err := check(der); err != nil {
			f.Why = err
			continue
		}
		f.Vouched = append(f.Vouched, der)
	}
	if f.Vouched != nil {
		f.Why = nil
	}
}

func matching(r Record, der []byte) error {
	if !r.Matches(der) {
		return errElsewhere
	}
	return nil
}

// paths returns the valid paths from a certificate that names the address to
// one of the anchors. Each has at least two certificates: an anchor is nobody's
// mailbox.
func (j *judge) paths(der []byte, anchors []*x509.Certificate) ([][]*x509.Certificate, error) {
	if len(anchors) == 0 {
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
	chains, err := cert.Verify(x509.VerifyOptions{
		Roots:         pool(anchors),
		Intermediates: pool(j.trust.Intermediates),
		CurrentTime:   j.trust.Now,
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection},
	})
	if err != nil {
		return nil, fmt.Errorf("the certificate has no valid path: %w", err)
	}
	var paths [][]*x509.Certificate
	for _, chain := range chains {
		if len(chain) > 1 {
			paths = append(paths, chain)
		}
	}
	if paths == nil {
		return nil, errors.New("the certificate has no path but to itself")
	}
	return paths, nil
}

func pool(certs []*x509.Certificate) *x509.CertPool {
	p := x509.NewCertPool()
	for _, cert := range certs {
		p.AddCert(cert)
	}
	return p
}
