package cms

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"fmt"
	"io"
)

// bufferSize is how much plaintext a Writer holds, in octets, and firstBuffer how
// much it has room for at first: most mails are short. Multiples of the block size.
const (
	bufferSize  = 32 << 10
	firstBuffer = 8 << 10
)

var errClosed = errors.New("cms: writer is closed")

// A Writer encrypts content as it is written. The ciphertext goes to the
// spool; Close returns what stands around it.
//
// A Writer takes the same memory whatever the length of the content. It is not
// for use by several goroutines at once.
type Writer struct {
	frame
	spool     io.Writer
	encrypter cipher.BlockMode
	buffer    []byte // plaintext that waits to be encrypted where it lies
	spooled   int64
	err       error // of all that follows
}

// NewWriter starts an EnvelopedData for all the recipients, of whom there must
// be at least one and at most 100. A certificate that is there twice counts
// once. The cipher is one of CBC: content in GCM cannot be let go before all of
// it is there, see [Seal].
func NewWriter(spool io.Writer, to []Recipient, c Cipher) (*Writer, error) {
	if c.Authenticated() {
		return nil, fmt.Errorf("cms: %s does not encrypt in pieces", c)
	}
	f, s, err := newFrame(to, c)
	if err != nil {
		return nil, err
	}
	defer clear(s.key)
	block, err := aes.NewCipher(s.key)
	if err != nil {
		return nil, err
	}
	return &Writer{
		frame:     f,
		spool:     spool,
		encrypter: cipher.NewCBCEncrypter(block, s.start),
		buffer:    make([]byte, 0, firstBuffer),
	}, nil
}

// Write encrypts p. It keeps no part of p. An error of the spool is returned
// by every call that follows.
func (w *Writer) Write(p []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	written := 0
	for written < len(p) {
		free := w.buffer[len(w.buffer):cap(w.buffer)]
		n := copy(free, p[written:])
		w.buffer = w.buffer[:len(w.buffer)+n]
		if n == len(free) {
			if err := w.flush(); err != nil {
				return written, err
			}
		}
		written += n
	}
	return written, nil
}

// ReadFrom implements [io.ReaderFrom]: it encrypts what it reads where it lies.
func (w *Writer) ReadFrom(r io.Reader) (int64, error) {
	for read := int64(0); ; {
		if w.err != nil {
			return read, w.err
		}
		n, err := r.Read(w.buffer[len(w.buffer):cap(w.buffer)])
		w.buffer = w.buffer[:len(w.buffer)+n]
		read += int64(n)
		if len(w.buffer) == cap(w.buffer) {
			if err := w.flush(); err != nil {
				return read, err
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return read, nil
		case err != nil:
			return read, err
		}
	}
}

// flush encrypts the buffer, which holds whole blocks, and spools it.
func (w *Writer) flush() error {
	w.encrypter.CryptBlocks(w.buffer, w.buffer)
	n, err := w.spool.Write(w.buffer)
	w.spooled += int64(n)
	if err == nil && n < len(w.buffer) {
		err = io.ErrShortWrite
	}
	if len(w.buffer) == cap(w.buffer) && cap(w.buffer) < bufferSize { // it is no short mail
		w.buffer = make([]byte, 0, bufferSize)
	}
	w.buffer = w.buffer[:0]
	if err != nil {
		w.err = fmt.Errorf("cms: spooling: %w", err)
	}
	return w.err
}

// Close ends the content. It returns the object whose ciphertext is what went
// to the spool. It does not close the spool. After an error the object must be
// thrown away.
func (w *Writer) Close() (Object, error) {
	if w.err != nil {
		return Object{}, w.err
	}
	// RFC 5652, Section 6.3: one to sixteen octets, each their number. Write
	// leaves room for them.
	pad := aes.BlockSize - len(w.buffer)%aes.BlockSize
	w.buffer = append(w.buffer, bytes.Repeat([]byte{byte(pad)}, pad)...)
	if err := w.flush(); err != nil {
		return Object{}, err
	}
	w.err = errClosed
	return w.around(w.spooled, nil), nil
}
