package cms

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"slices"

	"golang.org/x/crypto/cryptobyte/asn1"
)

// maxRecipients bounds the work that one message can ask for: a hundred P-521
// keys take a fifth of a second.
const maxRecipients = 100

// An Object is an encrypted object, all but its ciphertext, which is elsewhere:
// first Head, then Length octets of ciphertext, then Tail.
type Object struct {
	Head   []byte
	Length int64
	Tail   []byte
}

// Reader reads the whole object. The ciphertext comes from where it is.
func (o Object) Reader(ciphertext io.Reader) io.Reader {
	return io.MultiReader(bytes.NewReader(o.Head), ciphertext, bytes.NewReader(o.Tail))
}

// A frame is what is known of an object before its content.
type frame struct {
	cipher     Cipher
	version    byte
	recipients []byte // RecipientInfos
	algorithm  []byte // ContentEncryptionAlgorithmIdentifier
}

// secrets are what the content is encrypted with. They are made for one object.
type secrets struct {
	key   []byte
	start []byte // see Cipher.start
}

func newSecrets(c Cipher) secrets {
	return secrets{randomOctets(c.keySize()), randomOctets(c.start())}
}

// newFrame makes keys, and encrypts them to all the recipients, of whom there
// must be at least one and at most 100. A certificate that is there twice counts
// once.
func newFrame(to []Recipient, c Cipher) (frame, secrets, error) {
	to = distinct(to)
	if !slices.Contains(Ciphers, c) {
		return frame{}, secrets{}, fmt.Errorf("cms: there is no %s", c)
	}
	if len(to) == 0 {
		return frame{}, secrets{}, errors.New("cms: no recipients")
	}
	if len(to) > maxRecipients {
		return frame{}, secrets{}, fmt.Errorf("cms: %d recipients are more than %d", len(to), maxRecipients)
	}
	if err := clash(to); err != nil {
		return frame{}, secrets{}, err
	}
	s := newSecrets(c)
	recipients, err := recipientInfos(s.key, to)
	if err != nil {
		clear(s.key)
		return frame{}, secrets{}, err
	}
	return frame{c, versionFor(to, c), recipients, c.identifier(s.start)}, s, nil
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

// clash refuses certificates of one name: see Recipient.Clashes.
func clash(to []Recipient) error {
	seen := make(map[string]Recipient, len(to))
	for _, r := range to {
		if other, ok := seen[string(r.name)]; ok && r.Clashes(other) {
			return fmt.Errorf("cms: %s and %s have the same issuer and serial number", other.Fingerprint(), r.Fingerprint())
		}
		seen[string(r.name)] = r
	}
	return nil
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

// versionFor is the version of an EnvelopedData: RFC 5652, Section 6.1. It is 3
// with a recipient of the other kinds, as those of key encapsulation are, and 0
// when all RecipientInfos have version 0, as those for RSA do. That of an
// AuthEnvelopedData is always 0: RFC 5083, Section 2.1.
func versionFor(to []Recipient, c Cipher) byte {
	isKind := func(kinds ...Kind) func(Recipient) bool {
		return func(r Recipient) bool { return slices.Contains(kinds, r.kind) }
	}
	switch {
	case c.Authenticated():
		return 0
	case slices.ContainsFunc(to, isKind(MLKEM)):
		return 3
	case slices.ContainsFunc(to, isKind(EC, X25519)):
		return 2
	}
	return 0
}

// around makes the object for n octets of ciphertext, from the inside out:
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
//	AuthEnvelopedData ::= SEQUENCE {        -- RFC 5083, Section 2.1
//	  version, recipientInfos, authEncryptedContentInfo,
//	  mac                         OCTET STRING }
//
// The string is one primitive string: gpgsm reads no other.
func (f frame) around(n int64, mac []byte) Object {
	kind, tail := oidEnvelopedData, []byte(nil)
	if f.cipher.Authenticated() {
		kind, tail = oidAuthEnvelopedData, element(asn1.OCTET_STRING, mac)
	}
	b := header(string0, n)
	b = begin(asn1.SEQUENCE, n, objectID(oidData), f.algorithm, b)
	n += int64(len(tail))
	b = begin(asn1.SEQUENCE, n, integer(f.version), f.recipients, b)
	b = begin(field0, n, b)
	b = begin(asn1.SEQUENCE, n, objectID(kind), b)
	return Object{b, n - int64(len(tail)), tail}
}
