// Package cms writes and reads encrypted CMS objects (RFC 5652): bytes in,
// bytes out.
//
// It writes the one form that every reader tested opens: EnvelopedData with
// AES-256-CBC, RSA PKCS#1 v1.5 (RFC 3370) and ephemeral-static ECDH (RFC 5753)
// recipients named by issuer and serial number, definite-length DER, and the
// RecipientInfos in the order of a DER SET. Content is encrypted as it is
// written; what has to stand before it, the lengths above all, is made at the
// end: see [Writer].
//
// It reads more than it writes: see [Decrypt]. And it recognises an encrypted
// object that passes by without opening or keeping it: see [Scanner].
//
// There is no algorithm that a caller can set for the whole package, nothing
// weaker than the above, and no key is used for two objects.
//
// BUG: CBC without a signature inside is malleable (RFC 8551, Section 6).
package cms

import (
	"errors"
	"fmt"
)

// A Kind is a family of keys that readers must support as a whole. Objects
// for recipients of different kinds may be unreadable for some of them.
type Kind uint8

const (
	RSA Kind = iota + 1 // key transport, RFC 3370
	EC                  // P-256, P-384, P-521: key agreement, RFC 5753
)

// String returns the word that the settings use.
func (k Kind) String() string {
	switch k {
	case RSA:
		return "rsa"
	case EC:
		return "ec"
	}
	return "none"
}

// An UnsupportedError is a certificate, key or object that is sound, as far as
// we can see, and of a kind that this package does not do.
type UnsupportedError struct {
	What string // "Brainpool curve", "X25519 key", "signed-data", …
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
