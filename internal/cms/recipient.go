package cms

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/mlkem"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/crypto/cryptobyte/asn1"
)

const (
	// maxCertificate is the longest certificate that is looked at, in octets.
	// A record in the DNS cannot hold more.
	maxCertificate = 64 << 10

	// RFC 8551, Section 4.4: shorter RSA keys are for history, and Section 6
	// warns of a denial of service by longer ones.
	minRSA = 2048
	maxRSA = 8192
)

// A Recipient is somebody to whom an object can be encrypted: a certificate
// whose key this package can use. Whether it may be used (validity, key usage,
// address) is for others to say. The zero Recipient is nobody, and is refused.
type Recipient struct {
	cert    *x509.Certificate
	print   string // the fingerprint
	name    []byte // IssuerAndSerialNumber
	kind    Kind
	key     publicKey
	ciphers []Cipher
}

// A publicKey encrypts a content-encryption key into a RecipientInfo. The name
// is the recipient's IssuerAndSerialNumber.
type publicKey interface {
	wrap(name, cek []byte) ([]byte, error)

	// wrapped says whether a key that was read is as wrap makes it, all but what
	// is random, for a content-encryption key of so many octets.
	wrapped(k sealedKey, size int) bool
}

// NewRecipient reads a certificate in DER, of which it keeps a copy. The error
// says why its key cannot be used; it is an [UnsupportedError] when another
// reader might.
func NewRecipient(der []byte) (Recipient, error) {
	if len(der) > maxCertificate {
		return Recipient{}, fmt.Errorf("cms: certificate of %d octets is too long", len(der))
	}
	der = bytes.Clone(der)
	sketch, ok := readSketch(der)
	if !ok {
		return Recipient{}, errors.New("cms: not a certificate")
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return Recipient{}, sketch.explain(err)
	}
	able := readCapabilities(cert)
	kind, key, err := sketch.publicKey(cert.PublicKey, able)
	if err != nil {
		return Recipient{}, err
	}
	return Recipient{
		cert:    cert,
		print:   Fingerprint(der),
		name:    issuerAndSerial(cert),
		kind:    kind,
		key:     key,
		ciphers: able.ciphers,
	}, nil
}

// publicKey makes the key of what crypto/x509 has read, or of what it leaves out.
func (s sketch) publicKey(parsed any, able capabilities) (Kind, publicKey, error) {
	switch key := parsed.(type) {
	case *rsa.PublicKey:
		return RSA, newTransportKey(key, able.oaep), checkRSA(key)
	case *ecdsa.PublicKey:
		point, err := checkEC(key)
		return EC, agreementKey{point}, err
	}
	switch s.key.id {
	case oidX25519:
		key, err := newX25519(s.bits)
		return X25519, agreementKey{key}, s.unsound(err)
	case oidMLKEM768:
		key, err := mlkem.NewEncapsulationKey768(s.bits)
		return MLKEM, encapsulationKey{oidMLKEM768, key}, s.unsound(err)
	case oidMLKEM1024:
		key, err := mlkem.NewEncapsulationKey1024(s.bits)
		return MLKEM, encapsulationKey{oidMLKEM1024, key}, s.unsound(err)
	case oidOAEP:
		return s.oaepKey(able)
	}
	return 0, nil, s.unsupportedKey()
}

// unsound says that a key is none of its algorithm.
func (s sketch) unsound(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("cms: %s is not sound: %w", otherKeys[s.key.id], err)
}

// checkRSA refuses keys of other sizes, and those that crypto/rsa would refuse
// only when it is too late, at the first use. With an exponent of 1 the
// ciphertext is the plaintext.
func checkRSA(key *rsa.PublicKey) error {
	if n := key.N.BitLen(); n < minRSA || n > maxRSA {
		return unsupported("RSA key of %d bits", n)
	}
	if key.N.Bit(0) == 0 || key.E < 3 || key.E&1 == 0 {
		return errors.New("cms: RSA key is not sound")
	}
	if int64(key.E) > 1<<31-1 {
		return unsupported("RSA key with exponent %d", key.E)
	}
	return nil
}

// checkEC leaves the three curves of crypto/ecdh, which checks the point.
func checkEC(key *ecdsa.PublicKey) (*ecdh.PublicKey, error) {
	if _, known := schemeOf(key.Curve.Params().Name); !known {
		return nil, unsupported("curve %s", key.Curve.Params().Name)
	}
	point, err := key.ECDH()
	if err != nil {
		return nil, fmt.Errorf("cms: elliptic curve key: %w", err)
	}
	return point, nil
}

// Kind is the family of the recipient's key.
func (r Recipient) Kind() Kind { return r.kind }

// Certificate is the recipient's certificate. It must not be changed.
func (r Recipient) Certificate() *x509.Certificate { return r.cert }

// Fingerprint is that of the certificate: see [Fingerprint]. It is empty for the
// zero Recipient.
func (r Recipient) Fingerprint() string { return r.print }

// Clashes says whether two certificates are not the same and yet bear the same
// issuer and serial number. In one object a reader takes the key of one for the
// other's, so they cannot share it.
func (r Recipient) Clashes(other Recipient) bool {
	return r.print != other.print && bytes.Equal(r.name, other.name)
}

// Fingerprint is the SHA-256 of a certificate in DER, in lower-case hex.
func Fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}

// Ciphers are those that the certificate says its owner can read (RFC 4262), the
// one he likes best first, as far as this package has them. It is empty if the
// certificate says nothing.
func (r Recipient) Ciphers() []Cipher { return slices.Clone(r.ciphers) }

// recipientInfo encrypts the content-encryption key to the recipient.
func (r Recipient) recipientInfo(cek []byte) ([]byte, error) {
	if r.key == nil {
		return nil, errors.New("cms: recipient without a certificate")
	}
	info, err := r.key.wrap(r.name, cek)
	if err != nil {
		return nil, fmt.Errorf("cms: encrypting to %s: %w", r.Fingerprint(), err)
	}
	return info, nil
}

// issuerAndSerial is the IssuerAndSerialNumber of RFC 5652, Section 10.2.4: the
// name that gpgsm insists on. Issuer and number are the very octets of the
// certificate, since readers compare octets.
func issuerAndSerial(cert *x509.Certificate) []byte {
	s, _ := readSketch(cert.Raw)
	return element(asn1.SEQUENCE, cert.RawIssuer, s.serial)
}
