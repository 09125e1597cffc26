package dnssec

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"math/big"

	"github.com/cloudflare/circl/sign/ed448"
)

// The algorithms that are understood. SHA-1 (5 and 7) is deprecated (RFC 9905),
// so a zone signed with it counts as unsigned (RFC 4035, Section 5.2; RFC 6840,
// Section 5.2).
const (
	algRSASHA256 = 8
	algRSASHA512 = 10
	algECDSAP256 = 13
	algECDSAP384 = 14
	algED25519   = 15
	algED448     = 16
)

// The digest types that are understood (RFC 4509; RFC 6605).
const (
	digestSHA256 = 2
	digestSHA384 = 4
)

func knownAlgorithm(a uint8) bool {
	switch a {
	case algRSASHA256, algRSASHA512, algECDSAP256, algECDSAP384, algED25519, algED448:
		return true
	}
	return false
}

func knownDigest(kind uint8) bool { return kind == digestSHA256 || kind == digestSHA384 }

// usable reports whether a DS can be followed at all.
func (d digest) usable() bool { return knownAlgorithm(d.algorithm) && knownDigest(d.kind) }

// matches reports whether a DS names this key of this zone (RFC 4034, Section 5.1.4).
func (d digest) matches(zone name, k key) bool {
	if d.tag != k.tag || d.algorithm != k.algorithm {
		return false
	}
	sum := digestOf(d.kind, zone, k.rdata)
	return sum != nil && bytes.Equal(sum, d.bytes)
}

func digestOf(kind uint8, zone name, rdata []byte) []byte {
	data := append([]byte(zone), rdata...)
	switch kind {
	case digestSHA256:
		sum := sha256.Sum256(data)
		return sum[:]
	case digestSHA384:
		sum := sha512.Sum384(data)
		return sum[:]
	}
	return nil
}

// verifies reports whether the key made this signature of the data.
func (k key) verifies(data, sig []byte) bool {
	switch k.algorithm {
	case algRSASHA256:
		sum := sha256.Sum256(data)
		return verifyRSA(k.public, crypto.SHA256, sum[:], sig)
	case algRSASHA512:
		sum := sha512.Sum512(data)
		return verifyRSA(k.public, crypto.SHA512, sum[:], sig)
	case algECDSAP256:
		sum := sha256.Sum256(data)
		return verifyECDSA(elliptic.P256(), k.public, sum[:], sig)
	case algECDSAP384:
		sum := sha512.Sum384(data)
		return verifyECDSA(elliptic.P384(), k.public, sum[:], sig)
	case algED25519: // RFC 8080
		return len(k.public) == ed25519.PublicKeySize && ed25519.Verify(k.public, data, sig)
	case algED448:
		return len(k.public) == ed448.PublicKeySize && len(sig) == ed448.SignatureSize && ed448.Verify(k.public, data, sig, "")
	}
	return false
}

func verifyRSA(public []byte, hash crypto.Hash, sum, sig []byte) bool {
	pub, ok := parseRSA(public)
	return ok && rsa.VerifyPKCS1v15(pub, hash, sum, sig) == nil
}

// maxModulus is what RFC 3110, Section 2, and RFC 5702, Section 2, allow.
const maxModulus = 4096 / 8

// parseRSA reads an RSA public key (RFC 3110, Section 2): the length of the
// exponent, the exponent, the modulus. An exponent above 2^31-1 is beyond
// Go's library; such a key verifies nothing.
func parseRSA(b []byte) (pub *rsa.PublicKey, ok bool) {
	if len(b) < 3 {
		return nil, false
	}
	length, b := int(b[0]), b[1:]
	if length == 0 {
		length, b = int(b[0])<<8|int(b[1]), b[2:]
	}
	if length < 1 || length >= len(b) {
		return nil, false
	}
	exponent, modulus := new(big.Int).SetBytes(b[:length]), bytes.TrimLeft(b[length:], "\x00")
	if exponent.BitLen() > 31 || len(modulus) == 0 || len(modulus) > maxModulus {
		return nil, false
	}
	return &rsa.PublicKey{N: new(big.Int).SetBytes(modulus), E: int(exponent.Int64())}, true
}

// verifyECDSA checks a signature of RFC 6605, Section 4: r and s, and a key of
// x and y, each as long as the field.
func verifyECDSA(curve elliptic.Curve, public, sum, sig []byte) bool {
	size := curve.Params().BitSize / 8
	if len(public) != 2*size || len(sig) != 2*size {
		return false
	}
	pub, err := ecdsa.ParseUncompressedPublicKey(curve, append([]byte{4}, public...))
	if err != nil { // not on the curve
		return false
	}
	return ecdsa.Verify(pub, sum, new(big.Int).SetBytes(sig[:size]), new(big.Int).SetBytes(sig[size:]))
}
