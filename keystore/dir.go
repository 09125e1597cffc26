package keystore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"smimea.example/smimea"
)

// A Dir is a directory of certificates that the postmaster has pinned: they
// are believed as they are. Or they are [Dir.Candidates], believed only if
// somebody else vouches for them.
//
// Files that end in .pem, .crt, .cer or .der hold a certificate each. It is
// for the addresses that stand in it, unless a file called "index" names it.
// Its lines say for whom a file is:
//
//	# partners
//	alice@example.org     alice-2026.pem
//	@example.com          gateway-of-example-com.der
//
// "@example.com" is every mailbox of the domain. The exact address wins over
// its domain. Local parts must be the same octet for octet once both are in NFC
// (RFC 8162, Section 3), domains compare without case. A file may have several
// lines, and an address several files.
//
// An address out of a mail is never made into a path: everything is read when
// the directory is opened. Readers hold a shared lock on the directory (flock),
// Pin and Forget an exclusive one: who saw a file and not its line would take
// the certificate for everybody's that it names.
type Dir struct {
	// Now is the clock. Default: time.Now.
	Now func() time.Time

	// CRLs tells what is revoked. Default: nothing is.
	CRLs *CRLs

	path string

	mu   sync.RWMutex // guards pins; what it points to does not change
	pins *pins
}

// OpenDir reads a directory. The error names the file and the line.
func OpenDir(path string) (*Dir, error) {
	d := &Dir{path: path}
	if err := d.Reload(); err != nil {
		return nil, err
	}
	return d, nil
}

// Reload reads the directory again. On an error what was read before stays.
func (d *Dir) Reload() error {
	unlock, err := lock(d.path, syscall.LOCK_SH)
	if err != nil {
		return err
	}
	defer unlock()
	return d.reload()
}

// reload is Reload for who holds the lock.
func (d *Dir) reload() error {
	p, err := load(d.path)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.pins = p
	return nil
}

// patience is how long a lock is waited for: whoever may read the directory can
// hold one for ever.
const patience = 10 * time.Second

// lock takes a lock on a directory, which need not be writable for that.
func lock(path string, how int) (unlock func(), err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		err = syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) || time.Now().After(end) {
			f.Close()
			return nil, fmt.Errorf("locking %s: %w", path, err)
		}
	}
}

func (d *Dir) current() *pins {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.pins
}

// A Pinned is a certificate in a [Dir].
type Pinned struct {
	File string   // its name in the directory
	For  []string // whom it is for: addresses and "@domain"
	DER  []byte
}

// List returns what is pinned, in the order of the file names.
func (d *Dir) List() []Pinned {
	var all []Pinned
	for _, p := range d.current().files {
		all = append(all, *p)
	}
	return all
}

// Find implements [Source]. Its None means that nothing is pinned. A pinned
// certificate that cannot be used is warned of.
func (d *Dir) Find(_ context.Context, address string) Keys {
	certificates, err := d.certificates(address)
	if err != nil {
		return Keys{Outcome: None, Origin: "pinned", Why: err}
	}
	keys := choose(address, certificates, d.now(), d.CRLs)
	keys.Origin = "pinned"
	for _, r := range keys.Refused {
		keys.Warnings = append(keys.Warnings, fmt.Sprintf("pinned certificate %.16s is not used: %v", r.Fingerprint, r.Why))
	}
	return keys
}

func (d *Dir) now() time.Time {
	if d.Now == nil {
		return time.Now()
	}
	return d.Now()
}

// Candidates returns the certificates for an address, in DER, usable or not. As
// somebody else has to vouch for them, local parts in ASCII compare without case
// (RFC 8550, Section 3).
func (d *Dir) Candidates(a smimea.Address) [][]byte {
	return d.current().find(mailboxOf(a).fold(), true)
}

func (d *Dir) certificates(address string) ([][]byte, error) {
	a, err := smimea.ParseAddress(address)
	if err != nil {
		return nil, err
	}
	certificates := d.current().find(mailboxOf(a), false)
	if certificates == nil {
		return nil, ErrNotPinned
	}
	return certificates, nil
}
