// Package cms writes and reads encrypted CMS objects (RFC 5652): bytes in,
// bytes out.
//
// By default it writes the one form that every reader tested opens:
// EnvelopedData with AES-256-CBC, RSA PKCS #1 v1.5 (RFC 3370) and
// ephemeral-static ECDH (RFC 5753) recipients named by issuer and serial number,
// definite-length DER, and the RecipientInfos in the order of a DER SET. What
// else there is asks for a certificate that wants it, or for a caller who knows
// his readers: AES-128; AES-GCM in AuthEnvelopedData (RFC 5083, RFC 5084);
// RSA-OAEP (RFC 3560); X25519 (RFC 8418); ML-KEM (RFC 9629, RFC 9936).
//
// CBC encrypts as the content comes, in constant memory: see [Writer]. GCM needs
// all of it at once: see [Seal]. What stands before the ciphertext, the lengths
// above all, is made at the end; where the length of the content is known
// beforehand, [Encrypt] writes object after object without keeping any.
// [Object.Check] reads back what was written.
//
// The package reads more than it writes: see [Decrypt]. And it recognises an
// encrypted object that passes by without opening or keeping it: see [Scanner].
//
// There is no algorithm that a caller can set for the whole package, nothing
// weaker than the above, and no key is used for two objects.
//
// BUG: CBC without a signature inside is malleable (RFC 8551, Section 6).
package cms

import (
	"errors"
	"fmt"
	"slices"
)

// A Kind is a family of keys that readers must support as a whole. Objects
// for recipients of different kinds may be unreadable for some of them.
type Kind uint8

const (
	RSA    Kind = iota + 1 // key transport, RFC 3370
	EC                     // P-256, P-384, P-521: key agreement, RFC 5753
	X25519                 // key agreement, RFC 8418
	MLKEM                  // ML-KEM-768, ML-KEM-1024: key encapsulation, RFC 9936
)

// Kinds are all that there are.
var Kinds = []Kind{RSA, EC, X25519, MLKEM}

// String returns the word that the settings use.
func (k Kind) String() string {
	switch k {
	case RSA:
		return "rsa"
	case EC:
		return "ec"
	case X25519:
		return "x25519"
	case MLKEM:
		return "mlkem"
	}
	return "none"
}

// ParseKind reads the word that the settings use.
func ParseKind(word string) (k Kind, ok bool) {
	i := slices.IndexFunc(Kinds, func(k Kind) bool { return k.String() == word })
	if i < 0 {
		return 0, false
	}
	return Kinds[i], true
}

// An UnsupportedError is a certificate, key or object that is sound, as far as
// we can see, and of a kind that this package does not do.
type UnsupportedError struct {
	What string // "Brainpool curve", "X448 key", "signed-data", …
}

func (e *UnsupportedError) Error() string { return "cms: " + e.What + " is not supported" }

func unsupported(format string, a ...any) error {
	return &UnsupportedError{What: fmt.Sprintf(format, a...)}
}

var (
	// ErrNotRecipient: the object is encrypted, and not to this certificate.
	ErrNotRecipient = errors.New("cms: not encrypted to this certificate")

	// ErrDamaged: the object is cut short, altered, or was never one.
	ErrDamaged = errors.New("cms: object is damaged")
)

// damaged says in which part an object is damaged. The content and the keys
// have one text each, whatever is wrong with them, so that the error is no
// padding oracle.
func damaged(part string) error { return fmt.Errorf("%w: %s", ErrDamaged, part) }
