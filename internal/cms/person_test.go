package cms

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
	"io"
	"maps"
	"math/big"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// A person has a certificate and its key.
type person struct {
	recipient Recipient
	key       crypto.PrivateKey
}

func (p person) cert() *x509.Certificate { return p.recipient.Certificate() }

// newPerson makes a person with a key, and a certificate of the same making for
// all kinds: by an authority, since not every key can sign.
func newPerson(name string, key crypto.PrivateKey, extensions ...pkix.Extension) (person, error) {
	der, err := certify(name, key, extensions)
	if err != nil {
		return person{}, err
	}
	r, err := NewRecipient(der)
	return person{r, key}, err
}

// authority signs certificates.
var authority = sync.OnceValues(func() (*ecdsa.PrivateKey, error) {
	return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
})

// certify makes a certificate for any key: one for a key that crypto/x509 takes,
// in which the keys are then exchanged.
func certify(name string, key crypto.PrivateKey, extensions []pkix.Extension) ([]byte, error) {
	ca, err := authority()
	if err != nil {
		return nil, err
	}
	// The serial number has its high bit set, and so an octet more.
	serial := new(big.Int).SetBytes(append([]byte{0xc1}, randomOctets(15)...))
	template := &x509.Certificate{
		SerialNumber:    serial,
		Subject:         pkix.Name{CommonName: name, Organization: []string{"Example & Söhne"}},
		EmailAddresses:  []string{name + "@example.org"},
		NotBefore:       time.Now().Add(-time.Hour),
		NotAfter:        time.Now().Add(24 * time.Hour),
		KeyUsage:        usageOf(key),
		ExtKeyUsage:     []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection},
		SubjectKeyId:    randomOctets(20),
		ExtraExtensions: extensions,
	}
	parent := &x509.Certificate{Subject: pkix.Name{CommonName: "Authority", Organization: []string{"Example & Söhne"}}}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &ca.PublicKey, ca)
	if err != nil {
		return nil, err
	}
	return exchangeKey(der, infoOf(key), ca)
}

func usageOf(key crypto.PrivateKey) x509.KeyUsage {
	switch key.(type) {
	case *rsa.PrivateKey:
		return x509.KeyUsageKeyEncipherment | x509.KeyUsageDigitalSignature
	case *ecdsa.PrivateKey:
		return x509.KeyUsageKeyAgreement | x509.KeyUsageDigitalSignature
	case *ecdh.PrivateKey:
		return x509.KeyUsageKeyAgreement
	}
	return x509.KeyUsageKeyEncipherment
}

// infoOf makes the SubjectPublicKeyInfo of a key.
func infoOf(key crypto.PrivateKey) []byte {
	switch key := key.(type) {
	case *mlkem.DecapsulationKey768:
		return keyInfo(algorithmID(oidMLKEM768), key.EncapsulationKey().Bytes())
	case *mlkem.DecapsulationKey1024:
		return keyInfo(algorithmID(oidMLKEM1024), key.EncapsulationKey().Bytes())
	}
	der, err := x509.MarshalPKIXPublicKey(key.(interface{ Public() crypto.PublicKey }).Public())
	if err != nil {
		panic(err)
	}
	return der
}

// exchangeKey puts another SubjectPublicKeyInfo into a certificate, and signs it
// again.
func exchangeKey(der, info []byte, ca *ecdsa.PrivateKey) ([]byte, error) {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	fields := cryptobyte.String(cert.RawTBSCertificate)
	fields.ReadASN1(&fields, asn1.SEQUENCE)
	tbs := element(asn1.SEQUENCE, bytes.Replace(fields, cert.RawSubjectPublicKeyInfo, info, 1))
	digest := sha256.Sum256(tbs)
	signature, err := ca.Sign(rand.Reader, digest[:], crypto.SHA256)
	return element(asn1.SEQUENCE, tbs, algorithmID("1.2.840.10045.4.3.2"),
		element(asn1.BIT_STRING, []byte{0}, signature)), err
}

// capable makes the extension in which a certificate says what its owner reads.
func capable(capabilities ...[]byte) pkix.Extension {
	return pkix.Extension{Id: []int{1, 2, 840, 113549, 1, 9, 15}, Value: element(asn1.SEQUENCE, capabilities...)}
}

var (
	oaepSHA1   = algorithmID(oidOAEP, oaepParameters(crypto.SHA1))
	oaepSHA256 = algorithmID(oidOAEP, oaepParameters(crypto.SHA256))
)

// people are made once, since RSA keys take their time.
var people = map[string]func() (person, error){
	"rsa2048":         sync.OnceValues(func() (person, error) { return rsaPerson("alice", 2048) }),
	"rsa4096":         sync.OnceValues(func() (person, error) { return rsaPerson("carol", 4096) }),
	"rsa-oaep-sha256": sync.OnceValues(func() (person, error) { return rsaPerson("oscar", 2048, capable(oaepSHA256)) }),
	"rsa-oaep-sha1":   sync.OnceValues(func() (person, error) { return rsaPerson("olivia", 2048, capable(oaepSHA1)) }),
	"p256":            sync.OnceValues(func() (person, error) { return ecPerson("bob", elliptic.P256()) }),
	"p384":            sync.OnceValues(func() (person, error) { return ecPerson("dave", elliptic.P384()) }),
	"p521":            sync.OnceValues(func() (person, error) { return ecPerson("erin", elliptic.P521()) }),
	"x25519":          sync.OnceValues(func() (person, error) { return person25519("frank") }),
	"mlkem768":        sync.OnceValues(func() (person, error) { return kemPerson("grace", mlkem.GenerateKey768) }),
	"mlkem1024":       sync.OnceValues(func() (person, error) { return kemPerson("heidi", mlkem.GenerateKey1024) }),
}

// everybody are the names of people, in an order.
func everybody() []string { return slices.Sorted(maps.Keys(people)) }

func rsaPerson(name string, bits int, extensions ...pkix.Extension) (person, error) {
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		return person{}, err
	}
	return newPerson(name, key, extensions...)
}

func ecPerson(name string, curve elliptic.Curve) (person, error) {
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		return person{}, err
	}
	return newPerson(name, key)
}

func person25519(name string) (person, error) {
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return person{}, err
	}
	return newPerson(name, key)
}

func kemPerson[K any](name string, generate func() (K, error)) (person, error) {
	key, err := generate()
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

// recipientsOf are those of people.
func recipientsOf(to ...person) []Recipient {
	var all []Recipient
	for _, p := range to {
		all = append(all, p.recipient)
	}
	return all
}

// encryptAs makes an object with any cipher.
func encryptAs(t testing.TB, c Cipher, content []byte, to ...person) []byte {
	t.Helper()
	var object bytes.Buffer
	if err := Encrypt(&object, bytes.NewReader(content), int64(len(content)), recipientsOf(to...), c); err != nil {
		t.Fatal(err)
	}
	return object.Bytes()
}

// encrypt makes an object in pieces of the given length.
func encrypt(t testing.TB, content []byte, piece int, to ...person) []byte {
	t.Helper()
	var spool bytes.Buffer
	w, err := NewWriter(&spool, recipientsOf(to...), AES256CBC)
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
	o, err := w.Close()
	if err != nil {
		t.Fatal(err)
	}
	if o.Length != int64(spool.Len()) {
		t.Fatalf("Close says %d octets, the spool has %d", o.Length, spool.Len())
	}
	if err := o.Check(recipientsOf(to...), AES256CBC, int64(len(content))); err != nil {
		t.Fatal(err)
	}
	object, err := io.ReadAll(o.Reader(&spool))
	if err != nil {
		t.Fatal(err)
	}
	return object
}
