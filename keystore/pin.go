package keystore

import (
	"bytes"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"smimea.example/internal/cms"
)

// ErrNotPinned: there is nothing to forget.
var ErrNotPinned = errors.New("no certificate is pinned")

// Pin adds a certificate, PEM or DER, to the directory: for an address, for
// "@domain", or where whom is empty, for the addresses that stand in it. It
// refuses one that [Usable] refuses. A running daemon has to Reload.
func (d *Dir) Pin(whom string, content []byte) (Pinned, error) {
	der, err := readCertificate(content)
	if err != nil {
		return Pinned{}, fmt.Errorf("the file %w", err)
	}
	if _, _, err := usable(whom, der, d.now(), d.CRLs); err != nil {
		return Pinned{}, fmt.Errorf("the certificate cannot be used: %w", err)
	}
	mailboxes, err := mailboxesFor(whom, der)
	if err != nil {
		return Pinned{}, err
	}
	unlock, err := d.edit()
	if err != nil {
		return Pinned{}, err
	}
	defer unlock()
	return d.pin(mailboxes, der)
}

func mailboxesFor(whom string, der []byte) ([]mailbox, error) {
	if whom == "" {
		return mailboxesIn(der)
	}
	m, err := parseMailbox(whom)
	return []mailbox{m}, err
}

func (d *Dir) pin(mailboxes []mailbox, der []byte) (Pinned, error) {
	pinned := Pinned{File: cms.Fingerprint(der) + ".pem", DER: der}
	files := d.current().files
	have := slices.IndexFunc(files, func(p *Pinned) bool { return bytes.Equal(p.DER, der) })
	if have >= 0 {
		pinned = *files[have]
	}
	pinned.For = slices.Clone(pinned.For)
	for _, m := range mailboxes {
		if s := m.String(); !slices.Contains(pinned.For, s) {
			pinned.For = append(pinned.For, s)
		}
	}
	// The index comes first, should the machine stop in between: a file without
	// its line would be pinned for all the addresses that it holds, while a line
	// without its file is an error.
	if err := d.writeIndex(pinned.File, pinned.For); err != nil {
		return Pinned{}, err
	}
	if have < 0 {
		block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
		if err := d.write(pinned.File, block); err != nil {
			return Pinned{}, join(err, d.writeIndex(pinned.File, nil))
		}
	}
	return pinned, d.reload()
}

// Forget takes back what is pinned for an address or "@domain", and returns
// it. A certificate that is for others too stays for them; otherwise its file
// is removed. The error is ErrNotPinned, wrapped, if there is nothing.
func (d *Dir) Forget(whom string) ([]Pinned, error) {
	m, err := parseMailbox(whom)
	if err != nil {
		return nil, err
	}
	unlock, err := d.edit()
	if err != nil {
		return nil, err
	}
	defer unlock()
	var forgotten []Pinned
	for _, p := range d.current().by[m] {
		if err := d.forget(p, m.String()); err != nil {
			return forgotten, err
		}
		forgotten = append(forgotten, *p)
	}
	if forgotten == nil {
		return nil, fmt.Errorf("%w for %s", ErrNotPinned, m)
	}
	return forgotten, d.reload()
}

func (d *Dir) forget(p *Pinned, whom string) error {
	rest := slices.DeleteFunc(slices.Clone(p.For), func(s string) bool { return s == whom })
	if len(rest) == 0 {
		// The file comes first: one that no line names would be pinned for the
		// addresses that it holds.
		if err := os.Remove(filepath.Join(d.path, p.File)); err != nil {
			return err
		}
	}
	return d.writeIndex(p.File, rest)
}

// edit keeps everybody else out of the directory, readers too, and looks at
// what is there now.
func (d *Dir) edit() (unlock func(), err error) {
	unlock, err = lock(d.path, syscall.LOCK_EX)
	if err != nil {
		return nil, err
	}
	if err := d.reload(); err != nil {
		unlock()
		return nil, err
	}
	return unlock, nil
}

// writeIndex makes the index say that a file is for these and nobody else.
// Its other lines stay as they are.
func (d *Dir) writeIndex(file string, whom []string) error {
	if len(whom) > 0 && strings.ContainsAny(file, notInFile) {
		return fmt.Errorf("the file %q needs a name without blanks and backslashes", file)
	}
	content, err := readFile(filepath.Join(d.path, indexName), maxIndex)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var b strings.Builder
	missing := slices.Clone(whom)
	for text := range strings.Lines(string(content)) {
		line, ok, _ := parseIndexLine(text)
		if ok && line.file == file {
			if !slices.Contains(whom, line.mailbox.String()) {
				continue
			}
			missing = slices.DeleteFunc(missing, func(s string) bool { return s == line.mailbox.String() })
		}
		b.WriteString(strings.TrimRight(text, "\r\n") + "\n")
	}
	for _, s := range missing {
		fmt.Fprintf(&b, "%s\t%s\n", s, file)
	}
	return d.write(indexName, []byte(b.String()))
}

// write puts a file into the directory whole or not at all.
func (d *Dir) write(name string, content []byte) (err error) {
	f, err := os.CreateTemp(d.path, ".new-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	if _, err = f.Write(content); err != nil {
		return err
	}
	// Certificates are public, and the daemon is another user.
	if err = f.Chmod(0o644); err != nil {
		return err
	}
	if err = f.Sync(); err != nil {
		return err
	}
	if err = f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), filepath.Join(d.path, name))
}
