package keystore

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"smimea.example/smimea"
	"smimea.example/smimea/dnssec"
)

var noon = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

func atNoon() time.Time { return noon }

// cert describes a certificate for a test. The zero one is an RSA
// certificate without names, valid for a year around noon.
type cert struct {
	emails              []string
	key                 crypto.Signer
	notBefore, notAfter time.Time
	keyUsage            x509.KeyUsage
	extKeyUsage         []x509.ExtKeyUsage
	ca                  bool
	extra               []pkix.Extension
}

var serial atomic.Int64

// der makes the certificate, signed by itself.
func (c cert) der(t testing.TB) []byte {
	t.Helper()
	if c.key == nil {
		c.key = rsaKey()
	}
	if c.notBefore.IsZero() {
		c.notBefore = noon.AddDate(0, -6, 0)
	}
	if c.notAfter.IsZero() {
		c.notAfter = noon.AddDate(0, 6, 0)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber:          big.NewInt(serial.Add(1)),
		Subject:               pkix.Name{CommonName: "test"},
		EmailAddresses:        c.emails,
		NotBefore:             c.notBefore,
		NotAfter:              c.notAfter,
		KeyUsage:              c.keyUsage,
		ExtKeyUsage:           c.extKeyUsage,
		BasicConstraintsValid: true,
		IsCA:                  c.ca,
		ExtraExtensions:       c.extra,
	}, &x509.Certificate{Subject: pkix.Name{CommonName: "test"}}, c.key.Public(), c.key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func pemOf(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// Keys are made once: it takes a while.
var (
	rsaKey  = sync.OnceValue(func() *rsa.PrivateKey { return newRSA(2048) })
	weakKey = sync.OnceValue(func() *rsa.PrivateKey { return newRSA(1024) })
	ecKey   = sync.OnceValue(func() *ecdsa.PrivateKey { return newEC(elliptic.P256()) })
	p224Key = sync.OnceValue(func() *ecdsa.PrivateKey { return newEC(elliptic.P224()) })
)

func newRSA(bits int) *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		panic(err)
	}
	return key
}

func newEC(curve elliptic.Curve) *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		panic(err)
	}
	return key
}

// source is a Source made of a function.
type source func(ctx context.Context, address string) Keys

func (s source) Find(ctx context.Context, address string) Keys { return s(ctx, address) }

// zone is a Resolver made of a map from name to answer, by type; what it does
// not hold is not answered.
type zone map[question]dnssec.Answer

type question struct {
	name  string
	qtype uint16
}

func (z zone) Lookup(_ context.Context, name string, qtype uint16) dnssec.Answer {
	return z[question{name, qtype}]
}

func owner(t testing.TB, address string) string {
	t.Helper()
	name, err := smimea.OwnerName(address)
	if err != nil {
		t.Fatal(err)
	}
	return name
}
