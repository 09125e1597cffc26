package keystore

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"

	"smimea.example/smimea"
)

const (
	indexName = "index"
	maxFiles  = 100_000
	maxIndex  = 16 << 20 // octets
	maxNames  = 100      // addresses of one certificate

	// Blanks of ASCII only: the others may be part of an address, which would
	// be somebody else's without them.
	blanks = " \t\r\n"
	// notInFile is what a file that stands in the index cannot have in its name.
	notInFile = blanks + `/\`
)

// pins is what a [Dir] holds.
type pins struct {
	files []*Pinned // in the order of their names
	index []indexLine
	by    map[mailbox][]*Pinned

	// folded is by, with local parts in ASCII in lower case.
	folded map[mailbox][]*Pinned
}

// load reads a directory.
func load(path string) (*pins, error) {
	files, err := loadFiles(path)
	if err != nil {
		return nil, err
	}
	index, err := loadIndex(filepath.Join(path, indexName))
	if err != nil {
		return nil, err
	}
	p := &pins{files: files, index: index, by: make(map[mailbox][]*Pinned), folded: make(map[mailbox][]*Pinned)}
	if err := p.assign(path); err != nil {
		return nil, err
	}
	return p, nil
}

// loadFiles reads the certificates of a directory.
func loadFiles(path string) ([]*Pinned, error) {
	names, err := listFiles(path, maxFiles, isCertificateFile)
	if err != nil {
		return nil, err
	}
	var files []*Pinned
	for _, name := range names {
		content, err := readFile(filepath.Join(path, name), maxFile)
		if err != nil {
			return nil, err
		}
		der, err := readCertificate(content)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", filepath.Join(path, name), err)
		}
		files = append(files, &Pinned{File: name, DER: der})
	}
	return files, nil
}

// listFiles lists the files of a directory that are called as wanted. It holds so
// many files at most.
func listFiles(path string, most int, wanted func(name string) bool) ([]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	entries, err := f.ReadDir(most + 1)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if len(entries) > most {
		return nil, fmt.Errorf("%s: holds more than %d files", path, most)
	}
	var names []string
	for _, e := range entries {
		if !e.IsDir() && wanted(e.Name()) {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names, nil
}

// assign finds out whom the files are for: those of the index, or those whose
// addresses they hold.
func (p *pins) assign(path string) error {
	byName := make(map[string]*Pinned, len(p.files))
	for _, pinned := range p.files {
		byName[pinned.File] = pinned
	}
	for _, line := range p.index {
		pinned, ok := byName[line.file]
		if !ok {
			return fmt.Errorf("%s:%d: there is no certificate file %q", filepath.Join(path, indexName), line.number, line.file)
		}
		p.add(pinned, line.mailbox)
	}
	for _, pinned := range p.files {
		if len(pinned.For) > 0 {
			continue
		}
		mailboxes, err := mailboxesIn(pinned.DER)
		if err != nil {
			return fmt.Errorf("%s: %w, so name it in the file %q", filepath.Join(path, pinned.File), err, indexName)
		}
		for _, m := range mailboxes {
			p.add(pinned, m)
		}
	}
	return nil
}

func (p *pins) add(pinned *Pinned, m mailbox) {
	if s := m.String(); !slices.Contains(pinned.For, s) {
		pinned.For = append(pinned.For, s)
		p.by[m] = append(p.by[m], pinned)
		if m = m.fold(); !slices.Contains(p.folded[m], pinned) {
			p.folded[m] = append(p.folded[m], pinned)
		}
	}
}

// find returns what is there for a mailbox, or else for its domain, in DER.
func (p *pins) find(m mailbox, folded bool) [][]byte {
	by := p.by
	if folded {
		by = p.folded
	}
	found, ok := by[m]
	if !ok {
		found = by[m.wholeDomain()]
	}
	var certificates [][]byte
	for _, pinned := range found {
		certificates = append(certificates, pinned.DER)
	}
	return certificates
}

// mailboxesIn returns whom a certificate names.
func mailboxesIn(der []byte) ([]mailbox, error) {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("the certificate's names cannot be read (%w)", err)
	}
	var mailboxes []mailbox
	for _, name := range smimea.Names(cert) {
		if a, err := smimea.ParseAddress(name); err == nil && len(mailboxes) < maxNames {
			mailboxes = append(mailboxes, mailboxOf(a))
		}
	}
	if mailboxes == nil {
		return nil, errors.New("the certificate holds no mail address")
	}
	return mailboxes, nil
}

// An indexLine says that a file is for a mailbox, or for all of a domain.
type indexLine struct {
	number  int
	mailbox mailbox
	file    string
}

// loadIndex reads the index of a directory, which need not have one.
func loadIndex(path string) ([]indexLine, error) {
	content, err := readFile(path, maxIndex)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var index []indexLine
	number := 0
	for text := range strings.Lines(string(content)) {
		number++
		line, ok, err := parseIndexLine(text)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, number, err)
		}
		if ok {
			line.number = number
			index = append(index, line)
		}
	}
	return index, nil
}

// parseIndexLine reads a line of the index; not ok means that it says nothing.
// The file is what stands behind the last white space, since a quoted local
// part may hold some.
func parseIndexLine(text string) (line indexLine, ok bool, err error) {
	text = strings.Trim(text, blanks)
	if text == "" || text[0] == '#' {
		return indexLine{}, false, nil
	}
	i := strings.LastIndexAny(text, " \t")
	if i < 0 {
		return indexLine{}, false, errors.New("a line has an address or @domain, and a file")
	}
	line.file = text[i+1:]
	if strings.ContainsAny(line.file, notInFile) || !isCertificateFile(line.file) {
		return indexLine{}, false, fmt.Errorf("%q is not the bare name of a certificate file (.pem, .crt, .cer, .der)", line.file)
	}
	line.mailbox, err = parseMailbox(strings.TrimRight(text[:i], blanks))
	return line, err == nil, err
}

// A mailbox is one, or with all set, every one of a domain. What is equal is
// the same.
type mailbox struct {
	local, domain string
	all           bool
}

func mailboxOf(a smimea.Address) mailbox {
	if a.ASCIIDomain == "" {
		return mailbox{local: a.Local, domain: a.Domain} // an address literal
	}
	return mailbox{local: a.Local, domain: a.ASCIIDomain}
}

// fold is the same for all cases of a local part in ASCII.
func (m mailbox) fold() mailbox {
	if !strings.ContainsFunc(m.local, func(r rune) bool { return r > unicode.MaxASCII }) {
		m.local = strings.ToLower(m.local)
	}
	return m
}

func (m mailbox) wholeDomain() mailbox { return mailbox{domain: m.domain, all: true} }

// parseMailbox reads an address or "@domain".
func parseMailbox(s string) (mailbox, error) {
	if domain, ok := strings.CutPrefix(s, "@"); ok {
		a, err := smimea.ParseAddress("all@" + domain)
		if err != nil || a.Local != "all" {
			return mailbox{}, fmt.Errorf("%q is not @domain", s)
		}
		return mailboxOf(a).wholeDomain(), nil
	}
	a, err := smimea.ParseAddress(s)
	return mailboxOf(a), err
}

// String returns what parseMailbox reads.
func (m mailbox) String() string {
	if m.all {
		return "@" + m.domain
	}
	s := smimea.Address{Local: m.local, ASCIIDomain: m.domain}.String()
	if s[0] == '#' { // which would begin a comment in the index
		s = `"` + m.local + `"@` + m.domain
	}
	return s
}
