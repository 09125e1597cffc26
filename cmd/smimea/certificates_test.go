package main

import (
	"bytes"
	"crypto"
	"crypto/ecdh"
	"crypto/mlkem"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"testing"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// Certificates for keys that can decrypt and not sign. crypto/x509 makes none
// for ML-KEM: it makes one for another key, and the keys are exchanged.

// Algorithms: RFC 9935, Section 3; RFC 4262, Section 2.
var (
	mlkem768  = algorithm([]int{2, 16, 840, 1, 101, 3, 4, 4, 2})
	aes128CBC = algorithm([]int{2, 16, 840, 1, 101, 3, 4, 1, 2})
	aes128GCM = algorithm([]int{2, 16, 840, 1, 101, 3, 4, 1, 6})
)

// capabilities are what the owner of a certificate can read.
func capabilities(list ...[]byte) pkix.Extension {
	return pkix.Extension{Id: []int{1, 2, 840, 113549, 1, 9, 15}, Value: der(asn1.SEQUENCE, list...)}
}

func newX25519(t *testing.T) crypto.PrivateKey {
	t.Helper()
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newMLKEM(t *testing.T) crypto.PrivateKey {
	t.Helper()
	key, err := mlkem.GenerateKey768()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// pkcs8 is a private key in DER. That of ML-KEM is its seed: RFC 9935, Section 6.
func pkcs8(t *testing.T, key crypto.PrivateKey) []byte {
	t.Helper()
	if key, ok := key.(*mlkem.DecapsulationKey768); ok {
		return der(asn1.SEQUENCE, number(0), mlkem768, der(asn1.OCTET_STRING, der(asn1.Tag(0).ContextSpecific(), key.Bytes())))
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return private
}

// publicInfo is the SubjectPublicKeyInfo of a key.
func publicInfo(t *testing.T, key crypto.PrivateKey) []byte {
	t.Helper()
	if key, ok := key.(*mlkem.DecapsulationKey768); ok {
		return der(asn1.SEQUENCE, mlkem768, der(asn1.BIT_STRING, []byte{0}, key.EncapsulationKey().Bytes()))
	}
	info, err := x509.MarshalPKIXPublicKey(key.(*ecdh.PrivateKey).PublicKey())
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// addUnsigning makes a certificate, name.pem, for a key that cannot sign it, and
// its name.key.
func (f *fixture) addUnsigning(t *testing.T, name string, key crypto.PrivateKey, template *x509.Certificate) {
	t.Helper()
	ca := newEC(t)
	made, err := x509.CreateCertificate(rand.Reader, template, template, ca.Public(), ca)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(made)
	if err != nil {
		t.Fatal(err)
	}
	fields := cryptobyte.String(parsed.RawTBSCertificate)
	fields.ReadASN1(&fields, asn1.SEQUENCE)
	tbs := der(asn1.SEQUENCE, bytes.Replace(fields, parsed.RawSubjectPublicKeyInfo, publicInfo(t, key), 1))
	digest := sha256.Sum256(tbs)
	signature, err := ca.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	ecdsaWithSHA256 := algorithm([]int{1, 2, 840, 10045, 4, 3, 2})
	f.keep(name, der(asn1.SEQUENCE, tbs, ecdsaWithSHA256, der(asn1.BIT_STRING, []byte{0}, signature)), pkcs8(t, key))
}
