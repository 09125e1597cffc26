package cms

import (
	"bytes"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/mlkem"
	"crypto/rsa"
	"crypto/x509"
	"errors"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// ParsePrivateKey reads a private key in DER: PKCS #8 (RFC 5958), PKCS #1 (RFC
// 8017, Appendix A.1.2) or SEC 1 (RFC 5915). It is one of those that [Decrypt]
// takes; an [UnsupportedError] says that it is of another kind.
func ParsePrivateKey(der []byte) (crypto.PrivateKey, error) {
	if key, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		if _, err := newOpener(key); err != nil {
			return nil, err
		}
		return key, nil
	}
	if key, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return key, nil
	}
	if key, err := x509.ParseECPrivateKey(der); err == nil {
		return key, nil
	}
	return parsePKCS8(der)
}

// parsePKCS8 reads the keys that crypto/x509 does not know.
func parsePKCS8(der cryptobyte.String) (crypto.PrivateKey, error) {
	var info, octets cryptobyte.String
	var kind algorithm
	if !der.ReadASN1(&info, asn1.SEQUENCE) || !der.Empty() ||
		!info.SkipASN1(asn1.INTEGER) || !readAlgorithm(&info, &kind) ||
		!info.ReadASN1(&octets, asn1.OCTET_STRING) {
		return nil, errors.New("cms: not a private key")
	}
	switch kind.id {
	case oidMLKEM768:
		return seedKey(octets, mlkem.NewDecapsulationKey768)
	case oidMLKEM1024:
		return seedKey(octets, mlkem.NewDecapsulationKey1024)
	}
	if name, known := otherKeys[kind.id]; known {
		return nil, unsupported("%s", name)
	}
	return nil, unsupported("private key of algorithm %s", kind.id)
}

// seedKey makes a key of its seed, which may stand alone or before the expanded
// key: RFC 9935, Section 6. The expanded key is not looked at: it says the same,
// or it is damaged.
//
//	PrivateKey ::= CHOICE {
//	  seed [0] OCTET STRING, expandedKey OCTET STRING,
//	  both SEQUENCE { seed OCTET STRING, expandedKey OCTET STRING } }
func seedKey[K crypto.PrivateKey](octets cryptobyte.String, newKey func(seed []byte) (K, error)) (crypto.PrivateKey, error) {
	var seed, both cryptobyte.String
	switch anyTag(octets) {
	case string0:
		if !octets.ReadASN1(&seed, string0) {
			return nil, errors.New("cms: not an ML-KEM key")
		}
	case asn1.SEQUENCE:
		if !octets.ReadASN1(&both, asn1.SEQUENCE) || !both.ReadASN1(&seed, asn1.OCTET_STRING) {
			return nil, errors.New("cms: not an ML-KEM key")
		}
	default:
		return nil, unsupported("ML-KEM key without its seed")
	}
	key, err := newKey(seed)
	if err != nil {
		return nil, errors.New("cms: not an ML-KEM key")
	}
	return key, nil
}

// Belongs says whether a certificate is for a private key. It is so, too, for
// keys that crypto/x509 does not read in a certificate.
func Belongs(key crypto.PrivateKey, cert *x509.Certificate) bool {
	s, ok := readSketch(cert.Raw)
	if !ok {
		return false
	}
	switch key := key.(type) {
	case *rsa.PrivateKey:
		public, err := s.rsaKey()
		return err == nil && key.PublicKey.Equal(public)
	case *ecdsa.PrivateKey:
		return key.PublicKey.Equal(cert.PublicKey)
	case *ecdh.PrivateKey:
		return isPointOf(cert, s, key.PublicKey())
	case *mlkem.DecapsulationKey768:
		return s.key.id == oidMLKEM768 && bytes.Equal(s.bits, key.EncapsulationKey().Bytes())
	case *mlkem.DecapsulationKey1024:
		return s.key.id == oidMLKEM1024 && bytes.Equal(s.bits, key.EncapsulationKey().Bytes())
	}
	return false
}

// rsaKey reads the key of a certificate for RSA or for RSA-OAEP alone.
func (s sketch) rsaKey() (*rsa.PublicKey, error) {
	if s.key.id != oidRSA && s.key.id != oidOAEP {
		return nil, errors.New("cms: not an RSA key")
	}
	return x509.ParsePKCS1PublicKey(s.bits)
}

func isPointOf(cert *x509.Certificate, s sketch, point *ecdh.PublicKey) bool {
	if s.key.id == oidX25519 {
		return point.Curve() == ecdh.X25519() && bytes.Equal(s.bits, point.Bytes())
	}
	key, ok := cert.PublicKey.(*ecdsa.PublicKey)
	if !ok {
		return false
	}
	certified, err := key.ECDH()
	return err == nil && point.Equal(certified)
}
