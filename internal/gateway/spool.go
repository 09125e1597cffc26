package gateway

import (
	"bytes"
	"io"
	"os"
)

// spoolMemory is how much of a mail is kept in memory, in octets. The rest
// goes to a file.
const spoolMemory = 256 << 10

// A spool holds the ciphertext of one mail until its length is known. The file
// has no name from the start of its life, so that nothing is left of it,
// however the process ends. Plaintext never gets here.
type spool struct {
	dir    string // for the file; empty: where temporary files go
	memory bytes.Buffer
	file   *os.File // nil until it is needed
}

// Write takes a piece of ciphertext.
func (s *spool) Write(p []byte) (int, error) {
	head := p[:min(len(p), spoolMemory-s.memory.Len())]
	s.memory.Write(head)
	rest := p[len(head):]
	if len(rest) == 0 {
		return len(p), nil
	}
	if err := s.open(); err != nil {
		return len(head), err
	}
	n, err := s.file.Write(rest)
	return len(head) + n, err
}

func (s *spool) open() error {
	if s.file != nil {
		return nil
	}
	f, err := os.CreateTemp(s.dir, "smimea-*")
	if err != nil {
		return err
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return err
	}
	s.file = f
	return nil
}

// content returns a reader of everything written, from its start. There can
// be one at a time.
func (s *spool) content() (io.Reader, error) {
	memory := bytes.NewReader(s.memory.Bytes())
	if s.file == nil {
		return memory, nil
	}
	if _, err := s.file.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	return io.MultiReader(memory, s.file), nil
}

// Close drops everything. A reader of the content must not be used any more.
func (s *spool) Close() {
	s.memory = bytes.Buffer{}
	if s.file != nil {
		s.file.Close()
		s.file = nil
	}
}
