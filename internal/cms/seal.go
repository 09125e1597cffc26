package cms

import (
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"fmt"
	"io"
)

// SealOverhead is how many octets of capacity [Seal] needs behind the content.
const SealOverhead = tagSize

// Seal makes an AuthEnvelopedData of content that is in memory, and encrypts it
// where it lies: afterwards content, of at least one octet, is the ciphertext of
// the object. There must be [SealOverhead] octets of room behind it. For the recipients the same holds
// as for [NewWriter]; the cipher is one of GCM.
//
// After an error the content may still be there in clear.
func Seal(content []byte, to []Recipient, c Cipher) (Object, error) {
	switch {
	case !c.Authenticated():
		return Object{}, fmt.Errorf("cms: %s does not authenticate", c)
	case len(content) == 0:
		return Object{}, errors.New("cms: no content")
	case cap(content)-len(content) < SealOverhead:
		return Object{}, errors.New("cms: no room behind the content")
	}
	f, s, err := newFrame(to, c)
	if err != nil {
		return Object{}, err
	}
	defer clear(s.key)
	block, err := aes.NewCipher(s.key)
	if err != nil {
		return Object{}, err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return Object{}, err
	}
	sealed := aead.Seal(content[:0], s.start, content, nil)
	return f.around(int64(len(content)), sealed[len(content):]), nil
}

// Encrypt writes a whole object for n octets of content. Since their number is
// known it needs no spool: with CBC it takes the same memory whatever the
// number, with GCM it holds the content in memory. For the recipients the same
// holds as for [NewWriter]. Content of another length is an error, and what has
// been written by then is of no use. An object that [Object.Check] finds fault
// with is not written at all.
func Encrypt(out io.Writer, content io.Reader, n int64, to []Recipient, c Cipher) error {
	if n < 0 || n > maxObject {
		return fmt.Errorf("cms: content of %d octets, at most %d are taken", n, maxObject)
	}
	if c.Authenticated() {
		return encryptWhole(out, content, n, to, c)
	}
	w, err := NewWriter(out, to, c)
	if err != nil {
		return err
	}
	object := w.around(c.length(n), nil)
	if err := object.Check(to, c, n); err != nil {
		return err
	}
	if _, err := out.Write(object.Head); err != nil {
		return err
	}
	if err := copyExactly(w, content, n); err != nil {
		return err
	}
	_, err = w.Close()
	return err
}

func encryptWhole(out io.Writer, content io.Reader, n int64, to []Recipient, c Cipher) error {
	whole := make([]byte, n, n+SealOverhead)
	if _, err := io.ReadFull(content, whole); err != nil {
		return fmt.Errorf("cms: content: %w", err)
	}
	if err := atEnd(content); err != nil {
		return err
	}
	object, err := Seal(whole, to, c)
	if err == nil {
		err = object.Check(to, c, n)
	}
	if err != nil {
		return err
	}
	for _, part := range [][]byte{object.Head, whole, object.Tail} {
		if _, err := out.Write(part); err != nil {
			return err
		}
	}
	return nil
}

// copyExactly copies n octets, which must be all there are.
func copyExactly(w io.Writer, content io.Reader, n int64) error {
	if _, err := io.CopyN(w, content, n); err != nil {
		return fmt.Errorf("cms: content: %w", err)
	}
	return atEnd(content)
}

func atEnd(content io.Reader) error {
	var one [1]byte
	switch _, err := io.ReadFull(content, one[:]); {
	case err == nil:
		return errors.New("cms: content is longer than was said")
	case !errors.Is(err, io.EOF):
		return fmt.Errorf("cms: content: %w", err)
	}
	return nil
}
