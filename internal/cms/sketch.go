package cms

import (
	"fmt"
	"strings"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// A sketch is the little of a certificate that tells what kind of key it holds.
// crypto/x509 reads no certificate at all whose curve it does not know; yet
// "there is a key, and we cannot use it" must not be mistaken for "there is no
// key".
type sketch struct {
	serial   []byte            // the INTEGER
	validity cryptobyte.String // the contents of Validity
	spki     []byte            // the SubjectPublicKeyInfo
	key      algorithm
	bits     []byte // the key itself
	curve    string // the named curve, if the key is on one
}

// readSketch reads a Certificate as far as its SubjectPublicKeyInfo: RFC 5280,
// Section 4.1. Nothing may follow the certificate.
func readSketch(der []byte) (s sketch, ok bool) {
	in := cryptobyte.String(der)
	var cert, tbs, serial, spki cryptobyte.String
	if !in.ReadASN1(&cert, asn1.SEQUENCE) || !in.Empty() ||
		!cert.ReadASN1(&tbs, asn1.SEQUENCE) ||
		!cert.SkipASN1(asn1.SEQUENCE) || // signatureAlgorithm
		!cert.SkipASN1(asn1.BIT_STRING) || !cert.Empty() ||
		!tbs.SkipOptionalASN1(field0) || // version
		!tbs.ReadASN1Element(&serial, asn1.INTEGER) ||
		!tbs.SkipASN1(asn1.SEQUENCE) || // signature
		!tbs.SkipASN1(asn1.SEQUENCE) || // issuer
		!tbs.ReadASN1(&s.validity, asn1.SEQUENCE) ||
		!tbs.SkipASN1(asn1.SEQUENCE) || // subject
		!tbs.ReadASN1Element(&spki, asn1.SEQUENCE) ||
		!readKey(spki, &s.key, &s.bits) {
		return sketch{}, false
	}
	s.serial, s.spki = serial, spki
	if s.key.id == oidECPublicKey {
		parameters := s.key.parameters
		readOID(&parameters, &s.curve)
	}
	return s, true
}

// readKey reads a SubjectPublicKeyInfo. The bits of a key that has not whole
// octets are nil: none that we know has.
func readKey(in cryptobyte.String, key *algorithm, bits *[]byte) bool {
	var spki, contents cryptobyte.String
	if !in.ReadASN1(&spki, asn1.SEQUENCE) || !in.Empty() ||
		!readAlgorithm(&spki, key) || !spki.ReadASN1(&contents, asn1.BIT_STRING) || !spki.Empty() {
		return false
	}
	if len(contents) > 0 && contents[0] == 0 {
		*bits = contents[1:]
	}
	return true
}

// IsCertificate says whether der has the outline of a certificate, and nothing
// behind it. crypto/x509 need not be able to read it.
func IsCertificate(der []byte) bool {
	_, ok := readSketch(der)
	return ok
}

// KindOf says of which kind the key of a certificate in DER is, be it one that
// this package can use or not; 0 if it is of none of them.
func KindOf(der []byte) Kind {
	s, _ := readSketch(der)
	switch s.key.id {
	case oidRSA, oidOAEP:
		return RSA
	case oidECPublicKey:
		return EC
	case oidX25519:
		return X25519
	case oidMLKEM512, oidMLKEM768, oidMLKEM1024:
		return MLKEM
	}
	return 0
}

// SubjectPublicKeyInfo returns the key of a certificate in DER as it stands
// there: RFC 5280, Section 4.1. It is nil if der is no certificate, see
// [IsCertificate].
func SubjectPublicKeyInfo(der []byte) []byte {
	s, _ := readSketch(der)
	return s.spki
}

// IsSubjectPublicKeyInfo says whether der has the outline of one.
func IsSubjectPublicKeyInfo(der []byte) bool { return readKey(der, new(algorithm), new([]byte)) }

// Validity reads from when until when a certificate in DER holds: RFC 5280,
// Section 4.1.2.5. It does so for certificates, too, whose curve crypto/x509 does
// not know.
func Validity(der []byte) (from, until time.Time, ok bool) {
	s, ok := readSketch(der)
	in := s.validity
	ok = ok && readTime(&in, &from) && readTime(&in, &until) && in.Empty()
	return from, until, ok
}

func readTime(in *cryptobyte.String, out *time.Time) bool {
	if in.PeekASN1Tag(asn1.UTCTime) {
		return in.ReadASN1UTCTime(out)
	}
	return in.ReadASN1GeneralizedTime(out)
}

// explain says why crypto/x509 could not read the certificate: a curve that it
// does not know, if nothing else is wrong with the number, or else its own
// error.
func (s sketch) explain(err error) error {
	if s.key.id == oidECPublicKey && !goCurves[s.curve] && !s.negative() {
		return s.unsupportedKey()
	}
	return fmt.Errorf("cms: reading certificate: %w", err)
}

// negative reports whether the serial number is, which RFC 5280, Section
// 4.1.2.2, forbids and crypto/x509 refuses.
func (s sketch) negative() bool {
	var contents cryptobyte.String
	serial := cryptobyte.String(s.serial)
	return serial.ReadASN1(&contents, asn1.INTEGER) && len(contents) > 0 && contents[0]&0x80 != 0
}

// unsupportedKey names a key that this package does not do.
func (s sketch) unsupportedKey() error {
	if s.key.id == oidECPublicKey {
		return unsupported("%s", curveName(s.curve))
	}
	if name, known := otherKeys[s.key.id]; known {
		return unsupported("%s", name)
	}
	return unsupported("key of algorithm %s", s.key.id)
}

func curveName(dotted string) string {
	switch {
	case dotted == "":
		return "elliptic curve with parameters of its own"
	case strings.HasPrefix(dotted, "1.3.36.3.3.2.8.1.1."):
		return "Brainpool curve"
	case dotted == "1.3.132.0.10":
		return "curve secp256k1"
	case dotted == "1.3.132.0.33":
		return "curve P-224"
	}
	return "elliptic curve " + dotted
}

// goCurves are the named curves that crypto/x509 reads: RFC 5480,
// Section 2.1.1.1.
var goCurves = map[string]bool{
	"1.3.132.0.33":        true, // P-224
	"1.2.840.10045.3.1.7": true, // P-256
	"1.3.132.0.34":        true, // P-384
	"1.3.132.0.35":        true, // P-521
}

// otherKeys names the keys of S/MIME certificates that are neither RSA nor on a
// NIST curve.
var otherKeys = map[string]string{
	oidX25519:                 "X25519 key",
	"1.3.101.111":             "X448 key",
	"1.3.101.112":             "Ed25519 key, which can only sign,",
	"1.3.101.113":             "Ed448 key, which can only sign,",
	"1.2.840.113549.1.1.10":   "RSA-PSS key, which can only sign,", // RFC 4055, Section 3
	oidOAEP:                   "RSA-OAEP key",                      // RFC 4055, Section 4
	"1.2.840.10040.4.1":       "DSA key, which can only sign,",
	"1.3.132.1.12":            "ECDH key", // RFC 5480, Section 2.1.2
	"1.3.132.1.13":            "ECMQV key",
	oidMLKEM512:               "ML-KEM-512 key",
	oidMLKEM768:               "ML-KEM-768 key",
	oidMLKEM1024:              "ML-KEM-1024 key",
	"2.16.840.1.101.3.4.3.17": "ML-DSA-44 key, which can only sign,",
	"2.16.840.1.101.3.4.3.18": "ML-DSA-65 key, which can only sign,",
	"2.16.840.1.101.3.4.3.19": "ML-DSA-87 key, which can only sign,",
}
