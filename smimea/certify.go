package smimea

import (
	"bytes"
	"cmp"
	"crypto/x509"
	"errors"
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

	// Until is when the first certificate ends of the paths by which it vouches.
	// Zero: it takes no path.
	Until time.Time

	// Why explains a record that vouches for nothing.
	Why error
}

// Trust is what is known besides the DNS. The zero Trust trusts nobody: then
// only usage 3 can vouch for anything.
type Trust struct {
	// Roots are the CAs that usage 0 and 1 may lead to.
	Roots []*x509.Certificate

	// Intermediates are CA certificates that help to build a path. For usage 2
	// they, those of the record set and Roots are where an anchor is found that
	// a record only names.
	Intermediates []*x509.Certificate

	// Revoked says why a certificate in DER must not be part of a path at that
	// time; nil if nothing is known against it. It is asked about every
	// certificate of a path but the anchor. An error that wraps
	// [ErrRevocationUnknown] says that this could not be found out. Nil:
	// nobody knows of any that is revoked.
	Revoked func(der []byte, at time.Time) error

	// Now is the time for which a path must be valid. Zero: the current time.
	Now time.Time
}

// ErrRevocationUnknown: a certificate might be revoked, and nobody could say.
// A record that fails for this reason alone makes a lookup fail, so that it is
// tried again.
var ErrRevocationUnknown = errors.New("it could not be found out whether it is revoked")

// maxCandidates bounds the certificates that records are held against.
const maxCandidates = 40

// Certify says what each of a mailbox's records means: whether it vouches for
// the certificate that it holds, or for one of the candidates, which are
// certificates in DER found elsewhere. The records must be proven to be the
// mailbox's, and be its complete set.
//
// Usage 3 asks neither for a path nor for a name (RFC 7671, Section 5.1).
// Usages 0, 1 and 2 ask for a valid path, and for the address in the
// certificate. The CA of a usage 0 or 2 record is never vouched for by such a
// record. CA certificates that stand in the set help to build paths, whatever
// their usage: a step of a path needs no trust.
func Certify(address Address, records []Record, candidates [][]byte, trust Trust) []Finding {
	findings := make([]Finding, len(records))
	for i, r := range records {
		findings[i] = Finding{Record: r, Why: r.check()}
	}
	dropWeakDigests(findings)
	j := newJudge(address, findings, candidates, trust)
	for i := range findings {
		if f := &findings[i]; f.Why == nil {
			j.until = time.Time{}
			j.decide(f)
			f.Until = j.until
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
		return j.path(der, j.roots, anyPath)
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
	to := &search{anchors: anchors}
	f.vouch(j.candidates, func(der []byte) error {
		return cmp.Or(j.path(der, to, anyPath), j.notItsCA(der))
	})
}

// anchors returns the CAs that a usage 2 record is about.
func (j *judge) anchors(r Record) ([]*x509.Certificate, error) {
	if der := r.Certificate(); der != nil {
		anchor, err := parseSigner(der)
		if err != nil {
			return nil, err
		}
		if !anchor.IsCA {
			return nil, errors.New("the certificate is not a CA's, and usage 2 vouches for no other")
		}
		return []*x509.Certificate{anchor}, nil
	}
	var anchors []*x509.Certificate
	for _, known := range [][]*x509.Certificate{j.steps, j.trust.Roots} {
		for _, ca := range known {
			if ca.IsCA && r.Matches(ca.Raw) {
				anchors = append(anchors, ca)
			}
		}
	}
	return anchors, nil
}

// constrainedCA: usage 0. The path to a root of ours must lead through the CA
// that the record is about (RFC 7671, Section 5.4).
func (j *judge) constrainedCA(f *Finding) {
	f.Verdict = Constraint
	through := func(path []*x509.Certificate) error {
		for _, ca := range path[1:] {
			if f.Record.Matches(ca.Raw) {
				return nil
			}
		}
		return errors.New("no path leads through the CA of the record")
	}
	f.vouch(j.candidates, func(der []byte) error {
		return cmp.Or(j.path(der, j.roots, through), j.notItsCA(der))
	})
}

var errElsewhere = errors.New("constraint only: the certificate has to come from elsewhere, and none at hand fits")

// vouch puts on record which of the certificates pass, and if none does, why
// not.
func (f *Finding) vouch(certificates [][]byte, check func(der []byte) error) {
	f.Why = errElsewhere
	for _, der := range certificates {
		if err := check(der); err != nil {
			f.Why = graver(f.Why, err)
			continue
		}
		f.Vouched = append(f.Vouched, der)
	}
	if f.Vouched != nil {
		f.Why = nil
	}
}

// graver returns the later of two reasons, unless the earlier one is that
// something could not be found out: then all may be well the next time.
func graver(earlier, later error) error {
	if errors.Is(earlier, ErrRevocationUnknown) {
		return earlier
	}
	return later
}

func matching(r Record, der []byte) error {
	if !r.Matches(der) {
		return errElsewhere
	}
	return nil
}
