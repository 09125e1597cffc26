package testnet

import (
	"bytes"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/mlkem"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"sync"
	"time"
)

// A Subject is whom a throwaway certificate is for.
type Subject struct {
	Address   string
	Kind      string    // "rsa" (2048 bits; the default), "ec" (P-256), "x25519", "mlkem" (ML-KEM-768) or "mlkem1024"
	NotBefore time.Time // default: an hour ago
	NotAfter  time.Time // default: a year after NotBefore

	KeyUsage x509.KeyUsage // default: what encrypting to such a key asks for

	// Capabilities are the object identifiers of ciphers that the certificate
	// says its owner can read (RFC 4262). Default: it says nothing.
	Capabilities []asn1.ObjectIdentifier
}

// Ciphers that a [Subject] may be capable of: RFC 3565, Section 4.1; RFC 5084,
// Section 3.2.
var (
	AES128CBC = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 2}
	AES256CBC = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 42}
	AES128GCM = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 6}
	AES256GCM = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 46}
)

// NewCertificate makes an S/MIME certificate and its key, for tests and the demo
// only. Keys that can sign sign their own certificate; for the others somebody
// does who is thrown away. All RSA subjects of a process have the same key: what
// is encrypted to one of them, the others can open.
func NewCertificate(s Subject) (der []byte, key crypto.PrivateKey, err error) {
	key, info, usage, err := newMailKey(s.Kind)
	if err != nil {
		return nil, nil, err
	}
	if s.KeyUsage == 0 {
		s.KeyUsage = usage
	}
	template, err := s.template()
	if err != nil {
		return nil, nil, err
	}
	if signer, ok := key.(crypto.Signer); ok {
		der, err = x509.CreateCertificate(rand.Reader, template, template, signer.Public(), signer)
		return der, key, err
	}
	der, err = certifyForeign(template, info)
	return der, key, err
}

func (s Subject) template() (*x509.Certificate, error) {
	if s.NotBefore.IsZero() {
		s.NotBefore = time.Now().Add(-time.Hour)
	}
	if s.NotAfter.IsZero() {
		s.NotAfter = s.NotBefore.AddDate(1, 0, 0)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 64))
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:   serial.Add(serial, big.NewInt(1)),
		Subject:        pkix.Name{CommonName: s.Address},
		NotBefore:      s.NotBefore,
		NotAfter:       s.NotAfter,
		EmailAddresses: []string{s.Address},
		ExtKeyUsage:    []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection},
		KeyUsage:       s.KeyUsage,
	}
	if len(s.Capabilities) > 0 {
		var list []pkix.AlgorithmIdentifier
		for _, id := range s.Capabilities {
			list = append(list, pkix.AlgorithmIdentifier{Algorithm: id})
		}
		value, err := asn1.Marshal(list)
		if err != nil {
			return nil, err
		}
		template.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 15}, Value: value}}
	}
	return template, nil
}

// rsaKey makes one key for the life of the process, and for all subjects: it
// takes a while, the more so under the race detector.
var rsaKey = sync.OnceValues(func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, 2048) })

// newMailKey makes a key. Of one that cannot sign it returns the
// SubjectPublicKeyInfo, which crypto/x509 does not make.
func newMailKey(kind string) (key crypto.PrivateKey, info []byte, usage x509.KeyUsage, err error) {
	const (
		agree    = x509.KeyUsageKeyAgreement
		encipher = x509.KeyUsageKeyEncipherment
		sign     = x509.KeyUsageDigitalSignature
	)
	switch kind {
	case "", "rsa":
		key, err = rsaKey()
		return key, nil, sign | encipher, err
	case "ec":
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		return key, nil, sign | agree, err
	case "x25519":
		key, err := ecdh.X25519().GenerateKey(rand.Reader)
		if err != nil {
			return nil, nil, 0, err
		}
		info, err = x509.MarshalPKIXPublicKey(key.Public())
		return key, info, agree, err
	case "mlkem":
		key, err := mlkem.GenerateKey768()
		if err != nil {
			return nil, nil, 0, err
		}
		info, err = mlkemInfo(2, key.EncapsulationKey().Bytes())
		return key, info, encipher, err
	case "mlkem1024":
		key, err := mlkem.GenerateKey1024()
		if err != nil {
			return nil, nil, 0, err
		}
		info, err = mlkemInfo(3, key.EncapsulationKey().Bytes())
		return key, info, encipher, err
	}
	return nil, nil, 0, fmt.Errorf("testnet: there are no keys of kind %q", kind)
}

// mlkemInfo makes the SubjectPublicKeyInfo of an ML-KEM key: RFC 9935, Section 3.
func mlkemInfo(set int, key []byte) ([]byte, error) {
	return asn1.Marshal(struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}{
		pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 4, set}},
		asn1.BitString{Bytes: key, BitLength: 8 * len(key)},
	})
}

// certifyForeign makes a certificate for a key that crypto/x509 has no name for:
// it makes one for the signer's, and exchanges the two.
func certifyForeign(template *x509.Certificate, info []byte) ([]byte, error) {
	signer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	parent := &x509.Certificate{Subject: pkix.Name{CommonName: "somebody who is thrown away"}}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, signer.Public(), signer)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	var tbs asn1.RawValue
	if _, err := asn1.Unmarshal(cert.RawTBSCertificate, &tbs); err != nil {
		return nil, err
	}
	tbs.FullBytes, tbs.Bytes = nil, bytes.Replace(tbs.Bytes, cert.RawSubjectPublicKeyInfo, info, 1)
	signed, err := asn1.Marshal(tbs)
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256(signed)
	signature, err := signer.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		return nil, err
	}
	return asn1.Marshal(struct {
		TBS       asn1.RawValue
		Algorithm pkix.AlgorithmIdentifier
		Signature asn1.BitString
	}{
		asn1.RawValue{FullBytes: signed},
		pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}}, // ECDSA with SHA-256
		asn1.BitString{Bytes: signature, BitLength: 8 * len(signature)},
	})
}
