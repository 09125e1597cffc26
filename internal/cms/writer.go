package cms

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"slices"

	"golang.org/x/crypto/cryptobyte/asn1"
)

const (
	// maxRecipients bounds the work that one message can ask for: a hundred
	// P-521 keys take a fifth of a second.
	maxRecipients = 100

	// keySize is that of AES-256, in octets: of the content's key and of the
	// key it is wrapped in.
	keySize = 32

	// bufferSize is how much plaintext a Writer holds, in octets. A multiple of
	// the block size.
	bufferSize = 32 << 10
)

var errClosed = errors.New("cms: writer is closed")

// A Writer encrypts content as it is written. The ciphertext goes to the
// spool; Close returns the DER that stands before it. Head and spool, one
// after the other, are the whole object.
//
// A Writer takes the same memory whatever the length of the content. It is not
// for use by several goroutines at once.
type Writer struct {
	spool      io.Writer
	encrypter  cipher.BlockMode
	version    byte
	recipients []byte // RecipientInfos
	algorithm  []byte // ContentEncryptionAlgorithmIdentifier
	buffer     []byte // plaintext that waits to be encrypted where it lies
	spooled    int64
	err        error // of all that follows
}

// NewWriter starts an EnvelopedData for all the recipients, of whom there must
// be at least one and at most 100. A certificate that is there twice counts
// once.
func NewWriter(spool io.Writer, to []Recipient) (*Writer, error) {
	to = distinct(to)
	if len(to) == 0 {
		return nil, errors.New("cms: no recipients")
	}
	if len(to) > maxRecipients {
		return nil, fmt.Errorf("cms: %d recipients are more than %d", len(to), maxRecipients)
	}
	cek := randomOctets(keySize)
	defer clear(cek)
	recipients, err := recipientInfos(cek, to)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(cek)
	if err != nil {
		return nil, err
	}
	iv := randomOctets(aes.BlockSize)
	return &Writer{
		spool:      spool,
		encrypter:  cipher.NewCBCEncrypter(block, iv),
		version:    versionFor(to),
		recipients: recipients,
		// RFC 3565, Section 4.1.
		algorithm: algorithmID(oidAES256CBC, element(asn1.OCTET_STRING, iv)),
		buffer:    make([]byte, 0, bufferSize),
	}, nil
}

// distinct leaves out certificates that are there already.
func distinct(to []Recipient) []Recipient {
	seen := make(map[string]bool)
	return slices.DeleteFunc(slices.Clone(to), func(r Recipient) bool {
		fingerprint := r.Fingerprint()
		again := seen[fingerprint]
		seen[fingerprint] = true
		return again
	})
}

// randomOctets returns n octets from crypto/rand, which does not fail.
func randomOctets(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

// recipientInfos encrypts the key to each recipient. RFC 5652, Section 6.1: a
// SET, and the order of DER also puts RSA recipients first, without which some
// readers do not find theirs.
func recipientInfos(cek []byte, to []Recipient) ([]byte, error) {
	infos := make([][]byte, 0, len(to))
	for _, r := range to {
		info, err := r.recipientInfo(cek)
		if err != nil {
			return nil, err
		}
		infos = append(infos, info)
	}
	return setOf(infos), nil
}

// versionFor is the version of the EnvelopedData: RFC 5652, Section 6.1. It is 0
// when all RecipientInfos have version 0, as those for RSA do.
func versionFor(to []Recipient) byte {
	if slices.ContainsFunc(to, func(r Recipient) bool { return r.kind != RSA }) {
		return 2
	}
	return 0
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

// flush encrypts the buffer, which holds whole blocks, and spools it.
func (w *Writer) flush() error {
	w.encrypter.CryptBlocks(w.buffer, w.buffer)
	n, err := w.spool.Write(w.buffer)
	w.spooled += int64(n)
	if err == nil && n < len(w.buffer) {
		err = io.ErrShortWrite
	}
	w.buffer = w.buffer[:0]
	if err != nil {
		w.err = fmt.Errorf("cms: spooling: %w", err)
	}
	return w.err
}

// Close ends the content. It returns the head, and the length of what went to
// the spool. It does not close the spool. After an error the object must be
// thrown away.
func (w *Writer) Close() (head []byte, n int64, err error) {
	if w.err != nil {
		return nil, 0, w.err
	}
	// RFC 5652, Section 6.3: one to sixteen octets, each their number. Write
	// leaves room for them.
	pad := aes.BlockSize - len(w.buffer)%aes.BlockSize
	w.buffer = append(w.buffer, bytes.Repeat([]byte{byte(pad)}, pad)...)
	if err := w.flush(); err != nil {
		return nil, 0, err
	}
	w.err = errClosed
	return w.head(), w.spooled, nil
}

// head makes what stands before the ciphertext, from the inside out:
//
//	ContentInfo ::= SEQUENCE {              -- RFC 5652, Section 3
//	  contentType  id-envelopedData,
//	  content      [0] EXPLICIT EnvelopedData }
//	EnvelopedData ::= SEQUENCE {            -- Section 6.1
//	  version, recipientInfos, encryptedContentInfo }
//	EncryptedContentInfo ::= SEQUENCE {
//	  contentType                 id-data,
//	  contentEncryptionAlgorithm,
//	  encryptedContent            [0] IMPLICIT OCTET STRING }
//
// The string is one primitive string: gpgsm reads no other.
func (w *Writer) head() []byte {
	b := header(string0, w.spooled)
	b = begin(asn1.SEQUENCE, w.spooled, objectID(oidData), w.algorithm, b)
	b = begin(asn1.SEQUENCE, w.spooled, integer(w.version), w.recipients, b)
	b = begin(field0, w.spooled, b)
	return begin(asn1.SEQUENCE, w.spooled, objectID(oidEnvelopedData), b)
}
