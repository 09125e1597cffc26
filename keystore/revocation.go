package keystore

import (
	"cmp"
	"crypto/x509"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"smimea.example/smimea"
)

const (
	maxCRLs    = 1000     // files of a directory
	maxCRL     = 16 << 20 // octets of a file; reading one takes some ten times as much
	maxAllCRLs = 64 << 20 // octets of all files
)

// CRLs is a directory of certificate revocation lists (RFC 5280, Section 5) that
// the postmaster keeps fresh. Nobody else is asked about revocation: who fetched
// what a certificate names could be steered by whoever made it (RFC 8550,
// Section 6).
//
// Files that end in .crl, .pem or .der hold a CRL in DER, or some in PEM. They
// are read whole when the directory is opened, so a new one is best moved there
// under another name, which begins with a dot, and then renamed. Each must be
// signed by one of the CAs that are known.
//
// A CRL is about all certificates that bear its issuer's name. What it lists is
// revoked, on whatever grounds. What it does not list is so once it is out of
// date: then nobody knows. Where there is no CRL of an issuer nothing is known
// against its certificates, and they are used. Of several CRLs by the same key
// and for the same purpose (IssuingDistributionPoint) the newest counts.
//
// A nil *CRLs knows of nothing revoked.
type CRLs struct {
	path        string
	authorities []*x509.Certificate

	mu    sync.RWMutex // guards lists; what it points to does not change
	lists *lists
}

// OpenCRLs reads a directory. The authorities are the CAs whose CRLs count, those
// under which one might be revoked and the ones above them. The error names the
// file.
func OpenCRLs(path string, authorities []*x509.Certificate) (*CRLs, error) {
	c := &CRLs{path: path, authorities: authorities}
	if err := c.Reload(); err != nil {
		return nil, err
	}
	return c, nil
}

// Reload reads the directory again. On an error what was read before stays.
func (c *CRLs) Reload() error {
	lists, err := loadCRLs(c.path, c.authorities)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lists = lists
	return nil
}

func (c *CRLs) current() *lists {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.lists
}

// A CRL says what a list in a [CRLs] is.
type CRL struct {
	File       string // its name in the directory
	Issuer     string // as crypto/x509 prints it
	ThisUpdate time.Time
	NextUpdate time.Time // when there must be a newer one
	Revoked    int       // how many certificates it lists
	Outdone    bool      // there is a newer one for the same purpose, so this one does not count
}

// Err says why a CRL that does not list a certificate says nothing about it at
// that time; nil if it does.
func (c CRL) Err(at time.Time) error {
	switch {
	case at.After(c.NextUpdate):
		return fmt.Errorf("the CRL %s ended on %s (put a newer one in its place, and reload)", c.File, day(c.NextUpdate))
	case at.Add(skew).Before(c.ThisUpdate):
		return fmt.Errorf("the CRL %s begins on %s (look at the clock)", c.File, day(c.ThisUpdate))
	}
	return nil
}

// skew is how much a CA's clock may be ahead of ours.
const skew = 5 * time.Minute

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }

// List returns the CRLs, in the order of the file names.
func (c *CRLs) List() []CRL {
	var all []CRL
	for _, l := range c.current().all {
		all = append(all, l.CRL)
	}
	return all
}

// Check says why a certificate in DER must not be used at a given time: it is
// revoked (RFC 8162, Section 9), or nobody can say that it is not; then the error
// wraps [smimea.ErrRevocationUnknown]. It is nil if there is no reason.
func (c *CRLs) Check(der []byte, at time.Time) error {
	return cmp.Or(c.status(der, at))
}

// status is Check with the two kinds of reasons apart.
func (c *CRLs) status(der []byte, at time.Time) (revoked, unknown error) {
	if c == nil {
		return nil, nil
	}
	issuer, serial, ok := issuerAndSerial(der)
	if !ok {
		return errors.New("its issuer and serial number cannot be read, so that it might be revoked"), nil
	}
	for _, l := range c.current().by[nameKey(issuer)] {
		if when, ok := l.revoked[serial]; ok {
			return fmt.Errorf("revoked on %s", day(time.Unix(when, 0))), nil
		}
		if err := l.Err(at); err != nil {
			unknown = fmt.Errorf("%w: %w", smimea.ErrRevocationUnknown, err)
		}
	}
	return nil, unknown
}

func isUnknown(err error) bool { return errors.Is(err, smimea.ErrRevocationUnknown) }

// until says how long at most an answer holds that was given now: until the next
// CRL is out of date.
func (c *CRLs) until(now, most time.Time) time.Time {
	if c == nil {
		return most
	}
	for _, l := range c.current().all {
		if !l.Outdone && l.NextUpdate.After(now) {
			most = earlier(most, l.NextUpdate)
		}
	}
	return most
}

// lists is what a [CRLs] holds.
type lists struct {
	all []*crl            // in the order of the file names
	by  map[string][]*crl // those that count, by the nameKey of their issuer
}

// loadCRLs reads a directory.
func loadCRLs(path string, authorities []*x509.Certificate) (*lists, error) {
	names, err := listFiles(path, maxCRLs, isCRLFile)
	if err != nil {
		return nil, err
	}
	known := signersOf(authorities)
	found := &lists{by: make(map[string][]*crl)}
	left := int64(maxAllCRLs)
	for _, name := range names {
		file := filepath.Join(path, name)
		content, err := readFile(file, min(maxCRL, left))
		if err != nil {
			return nil, err
		}
		left -= int64(len(content))
		read, err := readCRLs(content, known)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		for _, l := range read {
			l.File = name
		}
		found.all = append(found.all, read...)
	}
	found.sort()
	return found, nil
}

// sort finds out which lists count.
func (ls *lists) sort() {
	newest := make(map[string]time.Time)
	for _, l := range ls.all {
		if l.ThisUpdate.After(newest[l.scope]) {
			newest[l.scope] = l.ThisUpdate
		}
	}
	for _, l := range ls.all {
		if l.Outdone = newest[l.scope].After(l.ThisUpdate); !l.Outdone {
			ls.by[l.issuer] = append(ls.by[l.issuer], l)
		}
	}
}

// signersOf sorts CAs by the nameKey of their subject.
func signersOf(authorities []*x509.Certificate) map[string][]*x509.Certificate {
	by := make(map[string][]*x509.Certificate)
	for _, ca := range authorities {
		key := nameKey(ca.RawSubject)
		if !slices.ContainsFunc(by[key], ca.Equal) {
			by[key] = append(by[key], ca)
		}
	}
	return by
}

// isCRLFile goes by what such files are mostly called.
func isCRLFile(name string) bool {
	if strings.HasPrefix(name, ".") {
		return false
	}
	switch strings.ToLower(filepath.Ext(name)) {
	case ".crl", ".pem", ".der":
		return true
	}
	return false
}
