package main

import (
	"bytes"
	"encoding/pem"
	"strings"
	"testing"
)

func TestParseCertificates(t *testing.T) {
	f := newFixture(t)
	alice, key := f.files["alice.pem"], f.files["alice.key"]
	block, _ := pem.Decode(key)
	cut := bytes.Replace(key, []byte("-----END"), []byte("=====END"), 1)

	good := func(name string, content []byte, n int) {
		t.Helper()
		certs, err := parseCertificates(content)
		if err != nil || len(certs) != n {
			t.Errorf("%s: %d certificates, %v; want %d", name, len(certs), err, n)
		}
	}
	bad := func(name string, content []byte, why string) {
		t.Helper()
		certs, err := parseCertificates(content)
		if err == nil || !strings.Contains(err.Error(), why) || certs != nil {
			t.Errorf("%s: %d certificates, %v; want error %q", name, len(certs), err, why)
		}
	}
	good("PEM", alice, 1)
	good("DER", f.files["alice.der"], 1)
	good("two in PEM", f.files["both.pem"], 2)
	good("text around it", append([]byte("Alice, 2026\n"), alice...), 1)
	bad("nothing", nil, "neither PEM nor DER")
	bad("text", []byte("hello"), "neither PEM nor DER")
	bad("cut off", append(clone(alice), alice[:300]...), "cut off or damaged")
	bad("another kind of block", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST"}), "holds a certificate request")
	bad("too many", bytes.Repeat(alice, maxCertificates+1), "more than 100")
	bad("a key", key, "private key")
	bad("a key in DER", block.Bytes, "private key")
	bad("a key behind the certificate", f.files["leaky.pem"], "private key")
	bad("a damaged key", append(clone(alice), cut...), "private key")
	bad("a key with a password", []byte("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"), "private key")
}

func FuzzParseCertificates(f *testing.F) {
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"))
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n"))
	f.Add([]byte{0x30, 0})
	f.Fuzz(func(t *testing.T, content []byte) {
		certs, err := parseCertificates(content)
		if (err == nil) != (len(certs) > 0) {
			t.Errorf("%d certificates, %v", len(certs), err)
		}
		if err == nil && bytes.Contains(content, []byte("PRIVATE KEY-----")) {
			t.Error("a private key was let pass")
		}
		privateKey(content) // must not panic
	})
}
