package gateway

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"io"
	"os"
)

// spoolMemory is how much of a mail is kept in memory, in octets. The rest
// goes to a file.
const spoolMemory = 256 << 10

// A spool holds a mail until its length is known. The file has no name from the
// start of its life, so that nothing is left of it, however the process ends.
//
// Plaintext never gets into the file. A spool for what is not encrypted yet has
// a veil: its file is encrypted with a key that is nowhere else but in memory.
type spool struct {
	dir    string // for the file; empty: where temporary files go
	veil   *veil  // nil: what is written is ciphertext
	memory bytes.Buffer
	file   *os.File // nil until it is needed
	size   int64    // of everything written, in octets
}

// Write takes a piece of the mail.
func (s *spool) Write(p []byte) (n int, err error) {
	defer func() { s.size += int64(n) }()
	if s.veil != nil && s.memory.Cap() == 0 {
		s.memory.Grow(spoolMemory) // in one place, to be wiped there
	}
	head := p[:min(len(p), spoolMemory-s.memory.Len())]
	s.memory.Write(head)
	rest := p[len(head):]
	if len(rest) == 0 {
		return len(p), nil
	}
	if err := s.open(); err != nil {
		return len(head), err
	}
	n, err = s.veil.writer(s.file).Write(rest)
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
	return io.MultiReader(memory, s.veil.reader(s.file)), nil
}

// Close drops everything. A reader of the content must not be used any more.
func (s *spool) Close() {
	if s.veil != nil {
		clear(s.memory.Bytes())
	}
	s.memory = bytes.Buffer{}
	if s.file != nil {
		s.file.Close()
		s.file = nil
	}
}

// A veil encrypts a file on its way out, and decrypts it on its way back, with
// AES-256 in counter mode and a key of its own. The nil veil does neither.
type veil struct {
	block  cipher.Block
	stream cipher.Stream // of what is written
	piece  []byte
}

func newVeil() (*veil, error) {
	key := make([]byte, 32)
	rand.Read(key)
	defer clear(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return &veil{block: block, stream: counter(block), piece: make([]byte, 32<<10)}, nil
}

// counter begins at zero: the key is for one file.
func counter(block cipher.Block) cipher.Stream {
	return cipher.NewCTR(block, make([]byte, aes.BlockSize))
}

func (v *veil) writer(w io.Writer) io.Writer {
	if v == nil {
		return w
	}
	return veiled{v, w}
}

func (v *veil) reader(r io.Reader) io.Reader {
	if v == nil {
		return r
	}
	return cipher.StreamReader{S: counter(v.block), R: r}
}

// veiled writes through a veil, and leaves what it is given as it is.
type veiled struct {
	*veil
	to io.Writer
}

func (v veiled) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		piece := v.piece[:min(len(rest), len(v.piece))]
		v.stream.XORKeyStream(piece, rest[:len(piece)])
		if _, err := v.to.Write(piece); err != nil {
			return len(p) - len(rest), err
		}
		rest = rest[len(piece):]
	}
	return len(p), nil
}
