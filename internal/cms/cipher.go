package cms

import (
	"crypto/aes"
	"fmt"
	"slices"

	"golang.org/x/crypto/cryptobyte/asn1"
)

// A Cipher encrypts the content of an object. The zero Cipher is the one that
// every reader opens.
type Cipher uint8

const (
	AES256CBC Cipher = iota // in EnvelopedData: RFC 3565
	AES128CBC
	AES256GCM // in AuthEnvelopedData: RFC 5084
	AES128GCM
)

// Ciphers are all that there are.
var Ciphers = []Cipher{AES256CBC, AES128CBC, AES256GCM, AES128GCM}

const (
	nonceSize = 12 // octets; RFC 5084, Section 3.2 recommends it
	tagSize   = 16 // OpenSSL opens no other
)

// String returns the word that the settings use.
func (c Cipher) String() string {
	switch c {
	case AES256CBC:
		return "aes256-cbc"
	case AES128CBC:
		return "aes128-cbc"
	case AES256GCM:
		return "aes256-gcm"
	case AES128GCM:
		return "aes128-gcm"
	}
	return fmt.Sprintf("cipher %d", uint8(c))
}

// ParseCipher reads the word that the settings use.
func ParseCipher(word string) (c Cipher, ok bool) {
	i := slices.IndexFunc(Ciphers, func(c Cipher) bool { return c.String() == word })
	if i < 0 {
		return 0, false
	}
	return Ciphers[i], true
}

// Authenticated says whether the content cannot be altered unnoticed. Such
// content needs room in memory as a whole, see [Seal].
func (c Cipher) Authenticated() bool { return c == AES256GCM || c == AES128GCM }

// keySize is in octets.
func (c Cipher) keySize() int {
	if c == AES128CBC || c == AES128GCM {
		return 16
	}
	return 32
}

func (c Cipher) oid() string {
	switch c {
	case AES128CBC:
		return oidAES128CBC
	case AES256GCM:
		return oidAES256GCM
	case AES128GCM:
		return oidAES128GCM
	}
	return oidAES256CBC
}

// start is how much random there is beside the key: the initialization vector
// of CBC, the nonce of GCM.
func (c Cipher) start() int {
	if c.Authenticated() {
		return nonceSize
	}
	return aes.BlockSize
}

// identifier makes the ContentEncryptionAlgorithmIdentifier. The length of GCM's
// tag is written down, since without it a tag has 12 octets: RFC 3565, Section
// 4.1, RFC 5084, Section 3.2.
func (c Cipher) identifier(start []byte) []byte {
	parameters := element(asn1.OCTET_STRING, start)
	if c.Authenticated() {
		parameters = element(asn1.SEQUENCE, parameters, integer(tagSize))
	}
	return algorithmID(c.oid(), parameters)
}

// length is how long the ciphertext of so much content is, in octets, without
// GCM's tag. CBC adds one to sixteen octets: RFC 5652, Section 6.3.
func (c Cipher) length(content int64) int64 {
	if c.Authenticated() {
		return content
	}
	return content - content%aes.BlockSize + aes.BlockSize
}
