package cms

import (
	"bytes"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/mlkem"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"testing"

	"golang.org/x/crypto/cryptobyte/asn1"
)

// pkcs8 makes a PrivateKeyInfo: RFC 5958, Section 2.
func pkcs8(algorithm []byte, key ...[]byte) []byte {
	return element(asn1.SEQUENCE, integer(0), algorithm, element(asn1.OCTET_STRING, key...))
}

func marshalKey(t testing.TB, key crypto.PrivateKey) []byte {
	t.Helper()
	switch key := key.(type) {
	case *mlkem.DecapsulationKey768:
		return pkcs8(algorithmID(oidMLKEM768), element(string0, key.Bytes()))
	case *mlkem.DecapsulationKey1024:
		return pkcs8(algorithmID(oidMLKEM1024), element(string0, key.Bytes()))
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestParsePrivateKey(t *testing.T) {
	for _, who := range everybody() {
		p := the(t, who)
		key, err := ParsePrivateKey(marshalKey(t, p.key))
		if err != nil {
			t.Errorf("%s: %v", who, err)
			continue
		}
		for _, other := range everybody() {
			if Belongs(key, the(t, other).cert()) != (who == other) {
				t.Errorf("the key of %s, the certificate of %s: Belongs says otherwise", who, other)
			}
		}
		checkOpens(t, encryptAs(t, AES256GCM, entity, p), entity, person{p.recipient, key})
	}
	key := the(t, "rsa2048").key.(*rsa.PrivateKey)
	if got, err := ParsePrivateKey(x509.MarshalPKCS1PrivateKey(key)); err != nil || !key.Equal(got) {
		t.Errorf("PKCS #1: %v", err)
	}
	point := the(t, "p384").key.(*ecdsa.PrivateKey)
	sec1, err := x509.MarshalECPrivateKey(point)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ParsePrivateKey(sec1); err != nil || !point.Equal(got) {
		t.Errorf("SEC 1: %v", err)
	}
}

// RFC 9935, Section 6: three forms.
func TestParseSeeds(t *testing.T) {
	own := the(t, "mlkem768").key.(*mlkem.DecapsulationKey768)
	seed, expanded := own.Bytes(), element(asn1.OCTET_STRING, make([]byte, 2400))
	id := algorithmID(oidMLKEM768)
	both := element(asn1.SEQUENCE, element(asn1.OCTET_STRING, seed), expanded)
	for name, der := range map[string][]byte{
		"the seed": pkcs8(id, element(string0, seed)),
		"both":     pkcs8(id, both),
	} {
		key, err := ParsePrivateKey(der)
		if err != nil || !bytes.Equal(key.(*mlkem.DecapsulationKey768).Bytes(), seed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, ed, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		der         []byte
		unsupported bool
	}{
		"no seed":                  {pkcs8(id, expanded), true},
		"ML-KEM-512":               {pkcs8(algorithmID(oidMLKEM512), element(string0, seed)), true},
		"Ed25519":                  {marshalKey(t, ed), true},
		"another algorithm":        {pkcs8(algorithmID("1.2.3.4"), seed), true},
		"half a seed":              {pkcs8(id, element(string0, seed[:32])), false},
		"an empty key":             {pkcs8(id), true},
		"both, and nothing in it":  {pkcs8(id, element(asn1.SEQUENCE)), false},
		"nothing":                  {nil, false},
		"a certificate":            {the(t, "p256").cert().Raw, false},
		"an octet more":            {append(pkcs8(id, both), 0), false},
		"a seed longer than it is": {pkcs8(id, []byte{byte(string0), 64, 1}), false},
	} {
		_, err := ParsePrivateKey(c.der)
		if err == nil || errors.As(err, new(*UnsupportedError)) != c.unsupported {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The keys of a real program.
func TestParseOpenSSLKeys(t *testing.T) {
	t.Parallel()
	w := newWorkshop(t, "openssl")
	for _, args := range [][]string{
		{"RSA"}, {"X25519"}, {"EC", "-pkeyopt", "ec_paramgen_curve:P-521"},
	} {
		der := w.run("openssl", append([]string{"genpkey", "-outform", "DER", "-algorithm"}, args...)...)
		if _, err := ParsePrivateKey(der); err != nil {
			t.Errorf("%s: %v", args, err)
		}
		block, _ := pem.Decode(w.run("openssl", append([]string{"genpkey", "-algorithm"}, args...)...))
		if _, err := ParsePrivateKey(block.Bytes); err != nil {
			t.Errorf("%s in PEM: %v", args, err)
		}
	}
	der := w.run("openssl", "genpkey", "-outform", "DER", "-algorithm", "X448")
	if _, err := ParsePrivateKey(der); !errors.As(err, new(*UnsupportedError)) {
		t.Errorf("X448: %v", err)
	}
}

func FuzzParsePrivateKey(f *testing.F) {
	for _, who := range []string{"p256", "x25519", "mlkem768"} {
		f.Add(marshalKey(f, the(f, who).key))
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		key, err := ParsePrivateKey(der)
		if (key == nil) == (err == nil) {
			t.Errorf("%T, %v", key, err)
		}
		if _, ok := key.(*ecdh.PrivateKey); ok && err == nil {
			if _, err := newOpener(key); err != nil {
				t.Errorf("parsed, and then: %v", err)
			}
		}
	})
}
