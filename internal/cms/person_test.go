package cms

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"sync"
	"testing"
	"time"
)

// A person has a certificate and its key.
type person struct {
	recipient Recipient
	key       crypto.Signer
}

func (p person) cert() *x509.Certificate { return p.recipient.Certificate() }

// newPerson makes a person with a key, and a certificate of his own making.
func newPerson(name string, key crypto.Signer) (person, error) {
	der, err := selfSigned(name, key)
	if err != nil {
		return person{}, err
	}
	r, err := NewRecipient(der)
	return person{r, key}, err
}

func selfSigned(name string, key crypto.Signer) ([]byte, error) {
	// The serial number has its high bit set, and so an octet more.
	serial := new(big.Int).SetBytes(append([]byte{0xc1}, randomOctets(15)...))
	usage := x509.KeyUsageKeyEncipherment
	if _, isRSA := key.(*rsa.PrivateKey); !isRSA {
		usage = x509.KeyUsageKeyAgreement
	}
	template := &x509.Certificate{
		SerialNumber:   serial,
		Subject:        pkix.Name{CommonName: name, Organization: []string{"Example & Söhne"}},
		EmailAddresses: []string{name + "@example.org"},
		NotBefore:      time.Now().Add(-time.Hour),
		NotAfter:       time.Now().Add(24 * time.Hour),
		KeyUsage:       usage | x509.KeyUsageDigitalSignature,
		ExtKeyUsage:    []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection},
		SubjectKeyId:   randomOctets(20),
	}
	return x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
}

// people are made once, since RSA keys take their time.
var people = map[string]func() (person, error){
	"rsa2048": sync.OnceValues(func() (person, error) { return rsaPerson("alice", 2048) }),
	"rsa4096": sync.OnceValues(func() (person, error) { return rsaPerson("carol", 4096) }),
	"p256":    sync.OnceValues(func() (person, error) { return ecPerson("bob", elliptic.P256()) }),
	"p384":    sync.OnceValues(func() (person, error) { return ecPerson("dave", elliptic.P384()) }),
	"p521":    sync.OnceValues(func() (person, error) { return ecPerson("erin", elliptic.P521()) }),
}

func rsaPerson(name string, bits int) (person, error) {
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		return person{}, err
	}
	return newPerson(name, key)
}

func ecPerson(name string, curve elliptic.Curve) (person, error) {
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		return person{}, err
	}
	return newPerson(name, key)
}

// the returns one of the people.
func the(t testing.TB, who string) person {
	t.Helper()
	p, err := people[who]()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// encrypt makes an object in pieces of the given length.
func encrypt(t testing.TB, content []byte, piece int, to ...person) []byte {
	t.Helper()
	var recipients []Recipient
	for _, p := range to {
		recipients = append(recipients, p.recipient)
	}
	var spool bytes.Buffer
	w, err := NewWriter(&spool, recipients)
	if err != nil {
		t.Fatal(err)
	}
	for rest := content; len(rest) > 0; {
		n, err := w.Write(rest[:min(piece, len(rest))])
		if err != nil {
			t.Fatal(err)
		}
		rest = rest[n:]
	}
	head, n, err := w.Close()
	if err != nil {
		t.Fatal(err)
	}
	if n != int64(spool.Len()) {
		t.Fatalf("Close says %d octets, the spool has %d", n, spool.Len())
	}
	return append(head, spool.Bytes()...)
}
