package keystore

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"slices"
	"strings"
	"testing"
)

func TestReadCertificates(t *testing.T) {
	der := cert{emails: []string{alice}}.der(t)
	mine := pemOf(der)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(ecKey())
	if err != nil {
		t.Fatal(err)
	}
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
	good := func(name string, content []byte, n int) {
		t.Helper()
		certs, err := ReadCertificates(content)
		if err != nil || len(certs) != n || !bytes.Equal(certs[0], der) {
			t.Errorf("%s: %d certificates, %v; want %d", name, len(certs), err, n)
		}
	}
	bad := func(name string, content []byte, why string) {
		t.Helper()
		certs, err := ReadCertificates(content)
		if err == nil || !strings.Contains(err.Error(), why) || certs != nil {
			t.Errorf("%s: %d certificates, %v; want error %q", name, len(certs), err, why)
		}
	}
	good("PEM", mine, 1)
	good("DER", der, 1)
	good("two in PEM", slices.Concat(mine, pemOf(cert{}.der(t))), 2)
	good("text around it", append([]byte("Alice, 2026\n"), mine...), 1)
	good("an old name", bytes.ReplaceAll(mine, []byte(" CERTIFICATE"), []byte(" X509 CERTIFICATE")), 1)
	bad("nothing", nil, "holds no certificate")
	bad("text", []byte("hello"), "holds no certificate")
	bad("two in DER", slices.Concat(der, der), "holds no certificate")
	bad("noise behind a certificate", slices.Concat(mine, pemOf([]byte("noise"))), "holds no certificate")
	bad("cut off", append(mine[:len(mine):len(mine)], mine[:300]...), "cut off or damaged")
	bad("another kind of block", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST"}), "holds a certificate request")
	bad("too many", bytes.Repeat(mine, maxCertificates+1), "more than 100")
	bad("too large", make([]byte, maxFile+1), "larger than")
	bad("a key", key, "private key")
	bad("a key in DER", pkcs8, "private key")
	bad("a key behind the certificate", slices.Concat(mine, key), "private key")
	bad("a damaged key", slices.Concat(mine, bytes.Replace(key, []byte("-----END"), []byte("=====END"), 1)), "private key")
	bad("a key with a password", []byte("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"), "private key")
}

func FuzzReadCertificates(f *testing.F) {
	der := cert{}.der(f)
	f.Add(der)
	f.Add(pemOf(der))
	f.Add(slices.Concat(pemOf(der), pemOf(der)))
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		certs, err := ReadCertificates(content)
		if (err == nil) != (len(certs) > 0) {
			t.Errorf("%d certificates, %v", len(certs), err)
		}
		if err == nil && bytes.Contains(content, []byte("PRIVATE KEY-----")) {
			t.Error("a private key was let pass")
		}
		for _, der := range certs {
			if again, err := readCertificate(der); err == nil && !bytes.Equal(again, der) {
				t.Errorf("read %x, and out of that %x", der, again)
			}
			if keys := choose(alice, [][]byte{der}, noon, nil); (keys.Outcome == Found) != (keys.Why == nil) {
				t.Errorf("%v, %v", keys.Outcome, keys.Why)
			}
		}
	})
}
