package cms

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/cryptobyte/asn1"
)

func TestNewRecipient(t *testing.T) {
	for who, kind := range map[string]Kind{
		"rsa2048": RSA, "rsa4096": RSA, "rsa-oaep-sha1": RSA, "rsa-oaep-sha256": RSA,
		"p256": EC, "p384": EC, "p521": EC, "x25519": X25519, "mlkem768": MLKEM, "mlkem1024": MLKEM,
	} {
		r := the(t, who).recipient
		if r.Kind() != kind || len(r.Fingerprint()) != 64 || r.Certificate() == nil {
			t.Errorf("%s: kind %s, fingerprint %q", who, r.Kind(), r.Fingerprint())
		}
	}
}

func TestZeroRecipient(t *testing.T) {
	var r Recipient
	if r.Kind().String() != "none" || r.Certificate() != nil || r.Fingerprint() != "" {
		t.Errorf("the zero recipient is somebody: %s %q", r.Kind(), r.Fingerprint())
	}
}

func TestRecipientKeepsACopy(t *testing.T) {
	der := bytes.Clone(the(t, "rsa2048").cert().Raw)
	r, err := NewRecipient(der)
	if err != nil {
		t.Fatal(err)
	}
	before := r.Fingerprint()
	clear(der)
	if r.Fingerprint() != before || r.Certificate().RawIssuer[0] == 0 {
		t.Error("the recipient changes with the caller's slice")
	}
}

// keyInfo makes a SubjectPublicKeyInfo.
func keyInfo(algorithm, key []byte) []byte {
	return element(asn1.SEQUENCE, algorithm, element(asn1.BIT_STRING, []byte{0}, key))
}

// rsaKey makes one of a modulus and an exponent.
func rsaKey(n *big.Int, e byte) []byte {
	modulus := n.Bytes()
	if modulus[0]&0x80 != 0 {
		modulus = append([]byte{0}, modulus...)
	}
	return keyInfo(algorithmID(oidRSA, null()),
		element(asn1.SEQUENCE, element(asn1.INTEGER, modulus), integer(e)))
}

// ecKey makes one on a named curve.
func ecKey(curve string, key []byte) []byte {
	return keyInfo(algorithmID(oidECPublicKey, objectID(curve)), key)
}

// certificateOf makes a certificate that nobody has signed.
func certificateOf(serial byte, key []byte) []byte {
	signature := algorithmID("1.2.840.113549.1.1.11", null())
	name := element(asn1.SEQUENCE)
	validity := element(asn1.SEQUENCE,
		element(asn1.UTCTime, []byte("260101000000Z")), element(asn1.UTCTime, []byte("360101000000Z")))
	tbs := element(asn1.SEQUENCE, element(field0, integer(2)), integer(serial),
		signature, name, validity, name, key)
	return element(asn1.SEQUENCE, tbs, signature, element(asn1.BIT_STRING, make([]byte, 257)))
}

// oaepOnly makes a key that is for RSA-OAEP alone.
func oaepOnly(p person, parameters ...[]byte) []byte {
	return keyInfo(algorithmID(oidOAEP, parameters...), x509.MarshalPKCS1PublicKey(&p.key.(*rsa.PrivateKey).PublicKey))
}

// otherOAEP makes RSAES-OAEP-params with another digest.
func otherOAEP(digest string) []byte {
	id := algorithmID(digest, null())
	return element(asn1.SEQUENCE, element(field0, id), element(field1, algorithmID(oidMGF1, id)))
}

func TestUnsupportedKeys(t *testing.T) {
	modulus := func(bits uint) *big.Int {
		n := new(big.Int).Lsh(big.NewInt(1), bits-1)
		return n.SetBit(n, 0, 1)
	}
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	point, err := p224.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	octets := make([]byte, 32)
	for want, key := range map[string][]byte{
		"RSA key of 1024 bits":       rsaKey(modulus(1024), 3),
		"RSA key of 2047 bits":       rsaKey(modulus(2047), 3),
		"RSA key of 8193 bits":       rsaKey(modulus(8193), 3),
		"RSA-PSS key":                keyInfo(algorithmID("1.2.840.113549.1.1.10"), octets),
		"RSA-OAEP key with these":    oaepOnly(the(t, "rsa2048"), otherOAEP(oidSHA512)),
		"curve P-224":                ecKey("1.3.132.0.33", point),
		"Brainpool curve":            ecKey("1.3.36.3.3.2.8.1.1.7", octets),
		"curve secp256k1":            ecKey("1.3.132.0.10", octets),
		"elliptic curve 1.3.132.0.1": ecKey("1.3.132.0.1", octets),
		"parameters of its own":      keyInfo(algorithmID(oidECPublicKey, element(asn1.SEQUENCE)), octets),
		"X448 key":                   keyInfo(algorithmID("1.3.101.111"), octets),
		"Ed25519 key":                keyInfo(algorithmID("1.3.101.112"), octets),
		"ML-KEM-512 key":             keyInfo(algorithmID(oidMLKEM512), octets),
		"key of algorithm 1.2.3.4":   keyInfo(algorithmID("1.2.3.4"), octets),
	} {
		checkUnsupported(t, want, certificateOf(1, key))
	}
}

func checkUnsupported(t *testing.T, want string, der []byte) {
	t.Helper()
	_, err := NewRecipient(der)
	var unsupported *UnsupportedError
	if !errors.As(err, &unsupported) || !strings.Contains(err.Error(), want) {
		t.Errorf("%s: %v", want, err)
	}
}

func TestBadCertificates(t *testing.T) {
	good := the(t, "p256").cert().Raw
	even := new(big.Int).Lsh(big.NewInt(1), 2047)
	odd := new(big.Int).SetBit(even, 0, 1)
	for name, der := range map[string][]byte{
		"nothing":               nil,
		"an empty sequence":     {0x30, 0},
		"an octet behind it":    append(bytes.Clone(good), 0),
		"cut short":             good[:len(good)-1],
		"twice":                 append(bytes.Clone(good), good...),
		"only a key":            the(t, "p256").cert().RawSubjectPublicKeyInfo,
		"very long":             append(bytes.Clone(good), make([]byte, maxCertificate)...),
		"an even RSA modulus":   certificateOf(1, rsaKey(new(big.Int).Lsh(big.NewInt(1), 2047), 3)),
		"an RSA exponent of 1":  certificateOf(1, rsaKey(odd, 1)),
		"an RSA exponent of 4":  certificateOf(1, rsaKey(odd, 4)),
		"a negative number":     certificateOf(0x81, rsaKey(odd, 3)),
		"another, Brainpool":    certificateOf(0x81, ecKey("1.3.36.3.3.2.8.1.1.7", make([]byte, 65))),
		"no point of P-256":     certificateOf(1, ecKey("1.2.840.10045.3.1.7", make([]byte, 65))),
		"an X25519 key of zero": certificateOf(1, keyInfo(algorithmID(oidX25519), make([]byte, 32))),
		"a short X25519 key":    certificateOf(1, keyInfo(algorithmID(oidX25519), make([]byte, 31))),
		"a long ML-KEM key":     certificateOf(1, keyInfo(algorithmID(oidMLKEM768), make([]byte, 1185))),
		"no ML-KEM-1024 key":    certificateOf(1, keyInfo(algorithmID(oidMLKEM1024), bytes.Repeat([]byte{0xff}, 1568))),
		"no RSA-OAEP key":       certificateOf(1, keyInfo(algorithmID(oidOAEP), make([]byte, 32))),
	} {
		_, err := NewRecipient(der)
		if err == nil || errors.As(err, new(*UnsupportedError)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// That of a key which crypto/x509 does not know can be read as well.
func TestValidity(t *testing.T) {
	from, until, ok := Validity(certificateOf(1, ecKey("1.3.36.3.3.2.8.1.1.7", make([]byte, 65))))
	if !ok || from.Format(time.DateOnly) != "2026-01-01" || until.Format(time.DateOnly) != "2036-01-01" {
		t.Errorf("from %v until %v, %v", from, until, ok)
	}
	late := bytes.Replace(certificateOf(1, ecKey("1.3.36.3.3.2.8.1.1.7", make([]byte, 65))),
		element(asn1.UTCTime, []byte("360101000000Z")), element(asn1.GeneralizedTime, []byte("20600101000Z")), 1)
	if _, _, ok := Validity(late); ok {
		t.Error("a broken time is read")
	}
	if _, until, ok := Validity(selfSignedUntil(t, 2060)); !ok || until.Year() != 2060 {
		t.Errorf("until %v, %v", until, ok)
	}
	if _, _, ok := Validity(nil); ok {
		t.Error("of nothing")
	}
}

func selfSignedUntil(t *testing.T, year int) []byte {
	t.Helper()
	p := the(t, "p256")
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &p.key.(*ecdsa.PrivateKey).PublicKey, p.key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// The certificates of a real program, for keys that we cannot use.
func TestUnsupportedOpenSSL(t *testing.T) {
	t.Parallel()
	w := newWorkshop(t, "openssl")
	w.run("openssl", "genpkey", "-algorithm", "ED25519", "-out", "ca.key")
	w.run("openssl", "req", "-x509", "-new", "-key", "ca.key", "-subj", "/CN=CA", "-out", "ca.crt")
	for want, how := range map[string][]string{
		"Brainpool curve":       {"EC", "-pkeyopt", "ec_paramgen_curve:brainpoolP256r1"},
		"secp256k1":             {"EC", "-pkeyopt", "ec_paramgen_curve:secp256k1"},
		"parameters of its own": {"EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-pkeyopt", "ec_param_enc:explicit"},
		"P-224":                 {"EC", "-pkeyopt", "ec_paramgen_curve:P-224"},
		"X448":                  {"X448"},
		"RSA-PSS":               {"RSA-PSS"},
		"RSA key of 1024":       {"RSA", "-pkeyopt", "rsa_keygen_bits:1024"},
		"Ed25519":               {"ED25519"},
		"Ed448":                 {"ED448"},
	} {
		w.run("openssl", append([]string{"genpkey", "-out", "one.key", "-algorithm"}, how...)...)
		w.run("openssl", "pkey", "-in", "one.key", "-pubout", "-out", "one.pub")
		text := w.run("openssl", "x509", "-new", "-subj", "/CN=alice", "-force_pubkey", "one.pub", "-CA", "ca.crt", "-CAkey", "ca.key")
		block, _ := pem.Decode(text)
		checkUnsupported(t, want, block.Bytes)
	}
}

func FuzzNewRecipient(f *testing.F) {
	for _, who := range []string{"rsa2048", "rsa-oaep-sha256", "p256", "p521", "x25519", "mlkem768"} {
		f.Add(the(f, who).cert().Raw)
	}
	f.Add(certificateOf(0x81, ecKey("1.3.36.3.3.2.8.1.1.7", make([]byte, 65))))
	f.Fuzz(func(t *testing.T, der []byte) {
		r, err := NewRecipient(der)
		if err != nil {
			if r.Kind() != 0 || r.Certificate() != nil {
				t.Error("a recipient and an error")
			}
			return
		}
		if !bytes.Equal(r.Certificate().Raw, der) {
			t.Error("the certificate is not the one given")
		}
		// Whoever is accepted can be encrypted to.
		if _, err := NewWriter(&bytes.Buffer{}, []Recipient{r}, AES256CBC); err != nil {
			t.Errorf("accepted, and then: %v", err)
		}
	})
}
