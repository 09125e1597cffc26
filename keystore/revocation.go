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
// A file that cannot be read or believed does not keep the others from counting
// ([CRLs.Faults]). What it said before goes on to count. If it was never read,
// nothing is known from it: certificates that no other file is about are used,
// as where there is no CRL. To hold up all mail instead would give whoever can
// spoil one file the whole gateway.
//
// A nil *CRLs knows of nothing revoked.
type CRLs struct {
	path        string
	authorities []*x509.Certificate

	mu     sync.RWMutex // guards what follows; what they point to does not change
	lists  *lists
	faults []error
}

// OpenCRLs reads a directory. The authorities are the CAs whose CRLs count, those
// under which one might be revoked and the ones above them. It is an error that
// the directory cannot be listed. Faulty files are none: ask [CRLs.Faults], and
// tell somebody.
func OpenCRLs(path string, authorities []*x509.Certificate) (*CRLs, error) {
	c := &CRLs{path: path, authorities: authorities, lists: &lists{}}
	names, err := listFiles(path, maxCRLs, isCRLFile)
	if err != nil {
		return nil, err
	}
	c.load(names)
	return c, nil
}

// Reload reads the directory again. The error is all of [CRLs.Faults]. What a
// faulty file said before stays; all that was read before stays if the directory
// cannot be listed.
func (c *CRLs) Reload() error {
	names, err := listFiles(c.path, maxCRLs, isCRLFile)
	if err == nil {
		return c.load(names)
	}
	err = fmt.Errorf("%w (what was read before still counts)", err)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faults = []error{err}
	return err
}

// load reads files of the directory.
func (c *CRLs) load(names []string) error {
	lists, faults := loadCRLs(c.path, names, c.authorities, c.current())
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lists, c.faults = lists, faults
	return errors.Join(faults...)
}

// Faults says what went wrong when the directory was read last: an error for each
// file, in the order of their names, which says what counts instead; or the one
// of the directory.
func (c *CRLs) Faults() []error {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return slices.Clone(c.faults)
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

// Covers says whether a CRL that counts is by a CA.
func (c *CRLs) Covers(ca *x509.Certificate) bool {
	return c != nil && len(c.current().by[nameKey(ca.RawSubject)]) > 0
}

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
	all    []*crl            // in the order of the file names
	by     map[string][]*crl // those that count, by the nameKey of their issuer
	octets map[string]int64  // of each file that was read, by its name
}

// loadCRLs reads files of a directory. Of those that are faulty it takes what
// they said before.
func loadCRLs(path string, names []string, authorities []*x509.Certificate, before *lists) (found *lists, faults []error) {
	known := signersOf(authorities)
	found = &lists{by: make(map[string][]*crl), octets: make(map[string]int64)}
	left, spare := int64(maxAllCRLs), int64(maxAllCRLs) // for what is new, and what is not
	for _, name := range names {
		read, octets, err := readCRLFile(filepath.Join(path, name), left, known)
		if err == nil {
			left -= octets
			found.add(name, read, octets)
			continue
		}
		octets, ok := before.octets[name]
		if !ok || octets > spare {
			faults = append(faults, fmt.Errorf("%w (nothing in it counts: certificates that no other CRL is about are used)", err))
			continue
		}
		spare -= octets
		found.add(name, before.of(name), octets)
		faults = append(faults, fmt.Errorf("%w (what it said before still counts)", err))
	}
	found.sort()
	return found, faults
}

// readCRLFile also says how long the file is, which is at most left.
func readCRLFile(file string, left int64, known map[string][]*x509.Certificate) (read []*crl, octets int64, err error) {
	content, err := readFile(file, min(maxCRL, left))
	if err != nil {
		return nil, 0, err
	}
	if read, err = readCRLs(content, known); err != nil {
		return nil, 0, fmt.Errorf("%s: %w", file, err)
	}
	return read, int64(len(content)), nil
}

// add adds what a file holds.
func (ls *lists) add(name string, read []*crl, octets int64) {
	ls.octets[name] = octets
	for _, l := range read {
		l.File = name
		ls.all = append(ls.all, l)
	}
}

// of returns what a file held. They are copies, since which of them count may
// change.
func (ls *lists) of(name string) []*crl {
	var held []*crl
	for _, l := range ls.all {
		if l.File == name {
			c := *l
			held = append(held, &c)
		}
	}
	return held
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
