package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"software.sslmate.com/src/go-pkcs12"

	"smimea.example/smimea"
	"smimea.example/tools/testnet"
)

// A fixture is what every script finds in its directory:
//
//	alice.pem, .der, .key     RSA, alice@good.test
//	bob.pem, .key             P-256, bob@good.test
//	xena.pem, .key            X25519, xena@good.test
//	karl.pem, .key            ML-KEM-768, karl@good.test
//	able.pem                  Alice's, who reads AES-128 in GCM and in CBC
//	both.pem                  the certificates of Alice and Bob
//	expired.pem               was Alice's until yesterday
//	next.pem                  will be Alice's from tomorrow on
//	signing.pem               may sign and not encrypt
//	short.pem                 RSA with 1024 bits
//	ca.pem                    a CA
//	carol.pem                 issued by that CA, carol@good.test
//	terminal.pem              its subject holds commands for a terminal
//	leaky.pem                 Alice's certificate together with her key
//	chain.p12                 Bob's key and certificate and ca.pem, by go-pkcs12
//	anchor.ds                 the key of the root of the test's Internet
//
// $RESOLVER is the address of a resolver of that Internet:
//
//	good.test       publishes certificates for alice@, bob@ and terminal@, an
//	                expired one for late@, a digest for digest@, nonsense for
//	                odd@, one for carol@ with usage 1, and one certificate for everybody else below
//	                wild.good.test
//	unsigned.test   publishes a certificate for alice@, and is not signed
//	broken.test     publishes one as well, and its signatures are wrong
//	failing.test    answers every question with SERVFAIL
//	null.test       takes no mail
type fixture struct {
	files    map[string][]byte
	resolver string
}

const aDay = 24 * time.Hour

func newFixture(t *testing.T) *fixture {
	t.Helper()
	lan := &fixture{files: map[string][]byte{}}
	alice, bob := newRSA(t, 2048), newEC(t)
	now := time.Now()
	lan.add(t, "alice", alice, certificate("Alice", "alice@good.test", now))
	lan.add(t, "bob", bob, certificate("Bob", "bob@good.test", now))
	lan.add(t, "expired", alice, certificate("Alice", "alice@good.test", now.Add(-366*aDay)))
	lan.add(t, "next", alice, certificate("Alice", "alice@good.test", now.Add(2*aDay)))
	lan.add(t, "short", newRSA(t, 1024), certificate("Alice", "alice@good.test", now))
	signing := certificate("Alice", "alice@good.test", now)
	signing.KeyUsage = x509.KeyUsageDigitalSignature
	lan.add(t, "signing", alice, signing)
	ca := certificate("Good CA", "", now)
	ca.IsCA, ca.BasicConstraintsValid = true, true
	lan.add(t, "ca", alice, ca)

	carol, err := x509.CreateCertificate(rand.Reader, certificate("Carol", "carol@good.test", now), ca, bob.Public(), alice)
	if err != nil {
		t.Fatal(err)
	}
	lan.files["carol.pem"] = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: carol})

	terminal := certificate("\x1b]0;owned\a \u009b31m \u202e \x7f \U000e0041", "terminal@good.test", now)
	lan.add(t, "terminal", bob, terminal)

	able := certificate("Alice", "alice@good.test", now)
	able.ExtraExtensions = []pkix.Extension{capabilities(aes128GCM, aes128CBC)}
	lan.add(t, "able", alice, able)
	lan.addUnsigning(t, "xena", newX25519(t), certificate("Xena", "xena@good.test", now))
	lan.addUnsigning(t, "karl", newMLKEM(t), certificate("Karl", "karl@good.test", now))

	lan.files["alice.der"] = lan.der("alice")
	lan.files["both.pem"] = append(clone(lan.files["alice.pem"]), lan.files["bob.pem"]...)
	lan.files["leaky.pem"] = append(clone(lan.files["alice.pem"]), lan.files["alice.key"]...)
	lan.files["chain.p12"] = lan.bag(t, bob, "bob", "ca")
	lan.startNet(t)
	return lan
}

// startNet starts the Internet in which the certificates are published.
func (f *fixture) startNet(t *testing.T) {
	t.Helper()
	digest := sha256.Sum256(f.der("alice"))
	net, err := testnet.Start(
		testnet.Zone{Name: "good.test.", NSEC3: true, Records: []string{
			f.published(t, "alice@good.test", smimea.Record{Usage: 3, Data: f.der("alice")}),
			f.published(t, "bob@good.test", smimea.Record{Usage: 3, Data: f.der("bob")}),
			f.published(t, "late@good.test", smimea.Record{Usage: 3, Data: f.der("expired")}),
			f.published(t, "terminal@good.test", smimea.Record{Usage: 3, Data: f.der("terminal")}),
			f.published(t, "digest@good.test", smimea.Record{Usage: 3, Matching: 1, Data: digest[:]}),
			f.published(t, "carol@good.test", smimea.Record{Usage: 1, Data: f.der("carol")}),
			f.published(t, "odd@good.test", smimea.Record{Usage: 255, Data: []byte{1, 2, 3}}),
			smimea.Record{Usage: 3, Data: f.der("alice")}.ZoneLine("*._smimecert.wild.good.test.", 3600),
			"@ 300 IN MX 10 mx.good.test.",
			"mx 300 IN A 192.0.2.25",
		}},
		testnet.Zone{Name: "unsigned.test.", Unsigned: true, Records: []string{
			f.published(t, "alice@unsigned.test", smimea.Record{Usage: 3, Data: f.der("alice")}),
		}},
		testnet.Zone{Name: "broken.test.", Fault: testnet.BadSignature, Records: []string{
			f.published(t, "alice@broken.test", smimea.Record{Usage: 3, Data: f.der("alice")}),
		}},
		testnet.Zone{Name: "failing.test.", Fault: testnet.Servfail},
		testnet.Zone{Name: "null.test.", Records: []string{"@ 300 IN MX 0 ."}},
	)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { net.Close() })
	f.resolver = net.Resolver()
	f.files["anchor.ds"] = []byte(net.TrustAnchor() + "\n")
}

// published is a line of a zone.
func (f *fixture) published(t *testing.T, address string, record smimea.Record) string {
	t.Helper()
	owner, err := smimea.OwnerName(address)
	if err != nil {
		t.Fatal(err)
	}
	return record.ZoneLine(owner, 3600)
}

// der is a certificate of the fixture.
func (f *fixture) der(name string) []byte {
	block, _ := pem.Decode(f.files[name+".pem"])
	return block.Bytes
}

// bag puts a key and certificates into a PKCS #12 file with the password
// "secret".
func (f *fixture) bag(t *testing.T, key crypto.Signer, names ...string) []byte {
	t.Helper()
	var certs []*x509.Certificate
	for _, name := range names {
		cert, err := x509.ParseCertificate(f.der(name))
		if err != nil {
			t.Fatal(err)
		}
		certs = append(certs, cert)
	}
	bag, err := pkcs12.Modern2023.Encode(key, certs[0], certs[1:], "secret")
	if err != nil {
		t.Fatal(err)
	}
	return bag
}

// setup fills the directory of one script.
func (f *fixture) setup(env *testscript.Env) error {
	env.Setenv("RESOLVER", f.resolver)
	for name, content := range f.files {
		if err := os.WriteFile(filepath.Join(env.WorkDir, name), content, 0o600); err != nil {
			return err
		}
	}
	return nil
}

var serial atomic.Int64

// certificate is a template for a certificate that is valid for a year from the
// day before the given time on.
func certificate(name, address string, from time.Time) *x509.Certificate {
	c := &x509.Certificate{
		SerialNumber: big.NewInt(serial.Add(1)),
		Subject:      pkix.Name{CommonName: name, Organization: []string{"Good Test"}},
		NotBefore:    from.Add(-aDay),
		NotAfter:     from.Add(364 * aDay),
	}
	if address != "" {
		c.EmailAddresses = []string{address}
	}
	return c
}

// add makes a self-signed certificate, name.pem, and its name.key.
func (f *fixture) add(t *testing.T, name string, key crypto.Signer, template *x509.Certificate) {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	f.keep(name, der, pkcs8(t, key))
}

// keep keeps a certificate and its key as PEM.
func (f *fixture) keep(name string, cert, key []byte) {
	f.files[name+".pem"] = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})
	f.files[name+".key"] = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})
}

func newRSA(t *testing.T, bits int) crypto.Signer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newEC(t *testing.T) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func clone(b []byte) []byte { return append([]byte(nil), b...) }
