package cms

import (
	"bytes"
	"crypto/aes"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// Check reads an object back with the reader that [Decrypt] has, as far as that
// goes without a private key, and says what is not as it should be for the
// recipients, the cipher and so many octets of content: the structure and each
// length in it; that these recipients and nobody else can open it, by the
// algorithms of their keys, and stand in the order of DER; the cipher and its
// parameters. What is random cannot be checked.
//
// It is for whoever is about to let go of a plaintext: a mail that nobody can
// open is lost. It does not look at the ciphertext, and so takes the same time
// whatever the length.
func (o Object) Check(to []Recipient, c Cipher, content int64) error {
	err := o.checkLengths(c, content)
	if err == nil {
		var env *envelope
		if env, err = o.outline(); err == nil {
			err = errors.Join(env.checkForm(to, c), env.checkCipher(c), checkRecipients(env.recipients, to, c))
		}
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrFault, err)
	}
	return nil
}

// ErrFault is in what [Object.Check] complains of: a mistake of this package.
var ErrFault = errors.New("cms: written badly")

// checkLengths asks a Scanner.
func (o Object) checkLengths(c Cipher, content int64) error {
	if want := c.length(content); o.Length != want {
		return fmt.Errorf("%d octets of ciphertext, want %d", o.Length, want)
	}
	var s Scanner
	s.Write(o.Head)
	s.pass(o.Length)
	s.Write(o.Tail)
	if !s.Encrypted() {
		return errors.New("not one whole encrypted object")
	}
	return nil
}

// outline reads the envelope, with one octet in the place of the ciphertext.
func (o Object) outline() (*envelope, error) {
	around, ok := o.around()
	if !ok {
		return nil, damaged("its elements do not end where they should")
	}
	// From the inside out, and from the end to the beginning.
	b := make([]byte, len(o.Head)+len(o.Tail)+1)
	at := len(b)
	prepend := func(p []byte) { at -= copy(b[at-len(p):], p) }
	prepend(o.Tail)
	prepend([]byte{0})
	size := 1
	for _, e := range slices.Backward(around) {
		if e.tail {
			size += len(o.Tail)
		}
		prepend(e.before)
		size += len(e.before)
		h := header(e.tag, int64(size))
		prepend(h)
		size += len(h)
	}
	return readEnvelope(b[at:])
}

// An enclosing element is one around the ciphertext, or the ciphertext itself.
type enclosing struct {
	tag    asn1.Tag
	before []byte // the elements in it that come before the next enclosing one
	tail   bool   // the object's tail comes behind that
}

// around finds the elements around the ciphertext, from the outermost: those that
// do not end where the head does.
func (o Object) around() (all []enclosing, ok bool) {
	ciphertext := int64(len(o.Head)) + o.Length // where it ends
	total := ciphertext + int64(len(o.Tail))
	end := total // of the element at hand
	for rest := o.Head; ; {
		start := rest
		h, size := nextOutside(&rest)
		if size == 0 || len(all) == maxDepth {
			return nil, false
		}
		before := start[:len(start)-len(rest)]
		inner := int64(len(o.Head)-len(rest)) + size
		tail := inner == ciphertext && end == total && inner != end
		if inner != end && !tail {
			return nil, false
		}
		if n := len(all); n > 0 {
			all[n-1].before, all[n-1].tail = before, tail
		} else if len(before) > 0 || tail {
			return nil, false
		}
		all = append(all, enclosing{tag: h.tag})
		rest, end = rest[h.size:], inner
		if len(rest) == 0 {
			return all, end == ciphertext
		}
	}
}

// nextOutside passes over the elements that are all there, and returns the header
// and the size of the one that is not. The size is 0 if there is none.
func nextOutside(rest *[]byte) (h berHeader, size int64) {
	for {
		h, state := parseHeader(*rest)
		if state != headerDone || h.indefinite {
			return h, 0
		}
		size := int64(h.size) + h.length
		if size > int64(len(*rest)) {
			return h, size
		}
		*rest = (*rest)[size:]
	}
}

// checkForm holds what is around the ciphertext against what we write.
func (e *envelope) checkForm(to []Recipient, c Cipher) error {
	switch {
	case e.version != versionFor(to, c):
		return fmt.Errorf("version %d", e.version)
	case e.inside != oidData:
		return fmt.Errorf("content of type %s", e.inside)
	case e.hasAttributes:
		return errors.New("it has attributes")
	}
	return nil
}

// checkCipher holds the algorithm against the cipher.
func (e *envelope) checkCipher(c Cipher) error {
	if e.authenticated != c.Authenticated() || e.algorithm.id != c.oid() {
		return fmt.Errorf("cipher %s, want %s", e.algorithm.id, c)
	}
	if !c.Authenticated() {
		var iv cryptobyte.String
		parameters := e.algorithm.parameters
		if !parameters.ReadASN1(&iv, asn1.OCTET_STRING) || len(iv) != aes.BlockSize {
			return damaged("initialization vector")
		}
		return nil
	}
	if len(e.mac) != tagSize {
		return fmt.Errorf("tag of %d octets", len(e.mac))
	}
	_, err := e.nonce()
	return err
}

// checkRecipients holds the recipients against those it is for.
func checkRecipients(infos cryptobyte.String, to []Recipient, c Cipher) error {
	missing := make(map[string]*Recipient, len(to))
	for i := range to {
		missing[string(to[i].name)] = &to[i]
	}
	var before []byte
	for k, err := range sealedKeys(infos) {
		if err != nil {
			return err
		}
		r := missing[string(k.name)]
		switch {
		case r == nil:
			return errors.New("a recipient whom it is not for")
		case !r.key.wrapped(k, c.keySize()):
			return fmt.Errorf("a key of another form for %s", r.Fingerprint())
		case bytes.Compare(before, k.raw) >= 0:
			return errors.New("its recipients are out of order")
		}
		delete(missing, string(k.name))
		before = k.raw
	}
	for _, r := range missing {
		return fmt.Errorf("no key for %s", r.Fingerprint())
	}
	return nil
}
