package testnet

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"sync"
	"time"
)

// A Subject is whom a throwaway certificate is for.
type Subject struct {
	Address   string
	Kind      string    // "rsa" (2048 bits; the default) or "ec" (P-256)
	NotBefore time.Time // default: an hour ago
	NotAfter  time.Time // default: a year after NotBefore
}

// NewCertificate makes a self-signed S/MIME certificate and its key, for tests
// and the demo only. All RSA subjects of a process have the same key: what is
// encrypted to one of them, the others can open.
func NewCertificate(s Subject) (der []byte, key crypto.PrivateKey, err error) {
	if s.NotBefore.IsZero() {
		s.NotBefore = time.Now().Add(-time.Hour)
	}
	if s.NotAfter.IsZero() {
		s.NotAfter = s.NotBefore.AddDate(1, 0, 0)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 64))
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber:   serial.Add(serial, big.NewInt(1)),
		Subject:        pkix.Name{CommonName: s.Address},
		NotBefore:      s.NotBefore,
		NotAfter:       s.NotAfter,
		EmailAddresses: []string{s.Address},
		ExtKeyUsage:    []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection},
		KeyUsage:       x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
	}
	var signer crypto.Signer
	if s.Kind == "ec" {
		template.KeyUsage = x509.KeyUsageDigitalSignature | x509.KeyUsageKeyAgreement
		signer, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	} else {
		signer, err = rsaKey()
	}
	if err != nil {
		return nil, nil, err
	}
	der, err = x509.CreateCertificate(rand.Reader, template, template, signer.Public(), signer)
	return der, signer, err
}

// rsaKey makes one key for the life of the process, and for all subjects: it
// takes a while, the more so under the race detector.
var rsaKey = sync.OnceValues(func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, 2048) })
