package gateway

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"sync"
	"testing"
	"time"

	"smimea.example/internal/cms"
)

// A person has a certificate, and the key to it.
type person struct {
	address string
	key     crypto.PrivateKey
	to      cms.Recipient
}

// Keys take a while to make, so all persons of a kind share one; their
// certificates differ.
var (
	rsaKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })
	ecKey  = sync.OnceValues(func() (*ecdsa.PrivateKey, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) })
)

func newPerson(t testing.TB, kind cms.Kind, number int) person {
	t.Helper()
	p := person{address: fmt.Sprintf("person%d@example.net", number)}
	var signer crypto.Signer
	var err error
	if kind == cms.RSA {
		signer, err = rsaKey()
	} else {
		signer, err = ecKey()
	}
	p.key = signer
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber:   big.NewInt(int64(number) + 1),
		Subject:        pkix.Name{CommonName: p.address},
		EmailAddresses: []string{p.address},
		NotBefore:      time.Now().Add(-time.Hour),
		NotAfter:       time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, signer.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	if p.to, err = cms.NewRecipient(der); err != nil {
		t.Fatal(err)
	}
	return p
}
