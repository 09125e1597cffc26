package config

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"smimea.example/keystore"
	"smimea.example/smimea"
	"smimea.example/smimea/dnssec"
)

const bob = "bob@example.net"

// A house has a root, an intermediate CA, and bob's certificate below it.
type house struct {
	dir            string // with root.pem, sub.pem, bobs/bob.pem and empty crls
	key            *ecdsa.PrivateKey
	root, sub, bob *x509.Certificate
}

func newHouse(t *testing.T) *house {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	h := &house{dir: t.TempDir(), key: key}
	h.root = h.issue(t, "Root", true, nil)
	h.sub = h.issue(t, "Sub", true, h.root)
	h.bob = h.issue(t, "bob", false, h.sub)
	for _, name := range []string{"bobs", "crls"} {
		if err := os.Mkdir(filepath.Join(h.dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	h.write(t, "root.pem", "CERTIFICATE", h.root.Raw)
	h.write(t, "sub.pem", "CERTIFICATE", h.sub.Raw)
	h.write(t, "bobs/bob.pem", "CERTIFICATE", h.bob.Raw)
	return h
}

func (h *house) issue(t *testing.T, name string, ca bool, issuer *x509.Certificate) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(7),
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(time.Hour),
		BasicConstraintsValid: true,
		IsCA:                  ca,
	}
	if ca {
		template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	} else {
		template.EmailAddresses = []string{bob}
	}
	if issuer == nil {
		issuer = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, h.key.Public(), h.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// revoke writes the CRL of the intermediate CA.
func (h *house) revoke(t *testing.T, serials ...int64) {
	t.Helper()
	template := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: time.Now().Add(time.Hour)}
	for _, n := range serials {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: big.NewInt(n), RevocationTime: time.Now()})
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, h.sub, h.key)
	if err != nil {
		t.Fatal(err)
	}
	h.write(t, "crls/sub.crl", "X509 CRL", der)
}

func (h *house) write(t *testing.T, name, kind string, der []byte) {
	t.Helper()
	content := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	if err := os.WriteFile(filepath.Join(h.dir, name), content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// answering is a resolver that has one record for everybody.
type answering smimea.Record

func (r answering) Lookup(_ context.Context, _ string, qtype uint16) dnssec.Answer {
	if qtype != dnssec.TypeSMIMEA {
		return dnssec.Answer{Status: dnssec.Secure, Outcome: dnssec.NoData}
	}
	return dnssec.Answer{Status: dnssec.Secure, Outcome: dnssec.Data, Data: [][]byte{smimea.Record(r).RDATA()}}
}

// Each setting does what it is for.
func TestKeys(t *testing.T) {
	h := newHouse(t)
	all := Keys{
		Candidates:    filepath.Join(h.dir, "bobs"),
		Roots:         filepath.Join(h.dir, "root.pem"),
		Intermediates: filepath.Join(h.dir, "sub.pem"),
		CRLs:          filepath.Join(h.dir, "crls"),
	}
	but := func(change func(*Keys)) Keys {
		keys := all
		change(&keys)
		return keys
	}
	usage1 := smimea.Record{Usage: smimea.PKIXEE, Data: h.bob.Raw}
	usage2 := smimea.Record{Usage: smimea.DANETA, Data: h.sub.Raw}
	for _, test := range []struct {
		name    string
		keys    Keys
		record  smimea.Record
		revoked bool
		want    keystore.Outcome
	}{
		{"usage 1", all, usage1, false, keystore.Found},
		{"usage 1, no roots", but(func(k *Keys) { k.Roots = "" }), usage1, false, keystore.Unusable},
		{"usage 1, no intermediates", but(func(k *Keys) { k.Intermediates, k.CRLs = "", "" }), usage1, false, keystore.Unusable},
		{"usage 1, revoked", all, usage1, true, keystore.Unusable},
		{"usage 1, revoked, no CRLs", but(func(k *Keys) { k.CRLs = "" }), usage1, true, keystore.Found},
		{"usage 2", all, usage2, false, keystore.Found},
		{"usage 2, no candidates", but(func(k *Keys) { k.Candidates = "" }), usage2, false, keystore.Unusable},
		{"usage 2, revoked", all, usage2, true, keystore.Unusable},
		{"nothing", Keys{}, usage2, false, keystore.Unusable},
	} {
		if h.revoke(t); test.revoked {
			h.revoke(t, 7)
		}
		certificates, err := test.keys.open()
		if err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		keys := certificates.published(answering(test.record)).Find(t.Context(), bob)
		if keys.Outcome != test.want {
			t.Errorf("%s: %v (%v), want %v", test.name, keys.Outcome, keys.Why, test.want)
		}
	}
	h.revoke(t, 7)
	pinned, err := but(func(k *Keys) { k.Pinned = k.Candidates }).open()
	if err != nil {
		t.Fatal(err)
	}
	if keys := pinned.Pinned.Find(t.Context(), bob); keys.Outcome != keystore.Unusable {
		t.Errorf("pinned and revoked: %v", keys.Outcome)
	}
}

func TestKeysFaults(t *testing.T) {
	h := newHouse(t)
	h.revoke(t)
	missing := filepath.Join(h.dir, "missing")
	bobs, root, sub := filepath.Join(h.dir, "bobs"), filepath.Join(h.dir, "root.pem"), filepath.Join(h.dir, "sub.pem")
	for setting, test := range map[string]struct {
		keys Keys
		want string
	}{
		"keys.pinned":        {Keys{Pinned: missing}, "no such file"},
		"keys.candidates":    {Keys{Candidates: missing}, "no such file"},
		"keys.roots":         {Keys{Roots: missing}, "no such file"},
		"keys.intermediates": {Keys{Roots: root, Intermediates: filepath.Join(bobs, "bob.pem")}, "is not a CA's"},
		"keys.crls":          {Keys{Intermediates: sub, CRLs: missing}, "no such file"},
	} {
		settings := fmt.Sprintf("[keys]\npinned = %q\ncandidates = %q\nroots = %q\nintermediates = %q\ncrls = %q\n",
			test.keys.Pinned, test.keys.Candidates, test.keys.Roots, test.keys.Intermediates, test.keys.CRLs)
		_, err := parse(t, settings+twoRules).Build()
		if err == nil || !strings.HasPrefix(err.Error(), setting) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", setting, err, test.want)
		}
	}
}
