package cms

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"slices"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// maxCapabilities bounds how many are read of a list.
const maxCapabilities = 64

// capabilities are what the owner of a certificate says his programs can read,
// as far as this package can write it, in his order: RFC 4262, RFC 8551, Section
// 2.5.2.
type capabilities struct {
	ciphers []Cipher
	oaep    crypto.Hash // if he likes RSA-OAEP better than PKCS #1 v1.5
}

// readCapabilities reads the extension of a certificate. One that is missing, or
// cannot be read, says nothing; so does what is unknown in it.
func readCapabilities(cert *x509.Certificate) capabilities {
	for _, ext := range cert.Extensions {
		if ext.Id.String() == oidCapabilities {
			return parseCapabilities(ext.Value)
		}
	}
	return capabilities{}
}

// parseCapabilities reads SMIMECapabilities, a SEQUENCE of what has the form of
// AlgorithmIdentifiers: RFC 4262, Section 2.
func parseCapabilities(der cryptobyte.String) (able capabilities) {
	var list cryptobyte.String
	if !der.ReadASN1(&list, asn1.SEQUENCE) || !der.Empty() {
		return capabilities{}
	}
	rsa := false // a way for RSA has been found
	for n := 0; !list.Empty() && n < maxCapabilities; n++ {
		var one algorithm
		if !readAlgorithm(&list, &one) {
			return capabilities{}
		}
		if c, known := cipherOf(one.id); known && !slices.Contains(able.ciphers, c) {
			able.ciphers = append(able.ciphers, c)
		}
		if !rsa {
			rsa = able.readRSA(one)
		}
	}
	return able
}

func cipherOf(id string) (Cipher, bool) {
	i := slices.IndexFunc(Ciphers, func(c Cipher) bool { return c.oid() == id })
	return Cipher(max(i, 0)), i >= 0
}

// readRSA reads a capability for RSA, if this is one: RFC 3560, Section 5.
func (able *capabilities) readRSA(one algorithm) bool {
	switch one.id {
	case oidRSA:
		return true
	case oidOAEP:
		if one.parameters.Empty() { // QUIRK: should be an empty SEQUENCE
			able.oaep = crypto.SHA1
			return true
		}
		digest, ok := oaepDigest(one.parameters)
		// QUIRK: RFC 3560, Section 5, prints SHA-256 without the fields' tags.
		if bytes.Equal(one.parameters, untaggedSHA256()) {
			digest, ok = crypto.SHA256, true
		}
		if ok {
			able.oaep = digest
		}
		return ok
	}
	return false
}

func untaggedSHA256() []byte {
	digest := algorithmID(oidSHA256, null())
	return element(asn1.SEQUENCE, digest, algorithmID(oidMGF1, digest))
}
