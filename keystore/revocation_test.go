package keystore

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// An authority is a CA of a test. It is valid for a year around noon.
type authority struct {
	*x509.Certificate
	key *ecdsa.PrivateKey
}

// newAuthority makes a CA, a root if it has no issuer.
func newAuthority(t testing.TB, name string, issuer *authority, change ...func(*x509.Certificate)) *authority {
	t.Helper()
	ca := &authority{key: newEC(elliptic.P256())}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(serial.Add(1)),
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             noon.AddDate(0, -6, 0),
		NotAfter:              noon.AddDate(0, 6, 0),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	for _, c := range change {
		c(template)
	}
	by := issuer
	if by == nil {
		by = &authority{template, ca.key}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by.Certificate, ca.key.Public(), by.key)
	if err != nil {
		t.Fatal(err)
	}
	if ca.Certificate, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return ca
}

// issue makes a certificate for alice, in DER, with an RSA key.
func (ca *authority) issue(t testing.TB, number int64, change ...func(*x509.Certificate)) []byte {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber:   big.NewInt(number),
		Subject:        pkix.Name{CommonName: "alice"},
		EmailAddresses: []string{alice},
		NotBefore:      noon.AddDate(0, -3, 0),
		NotAfter:       noon.AddDate(0, 3, 0),
	}
	for _, c := range change {
		c(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.Certificate, rsaKey().Public(), ca.key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// A revocation is a CRL for a test; the zero one is fresh at noon.
type revocation struct {
	serials    []int64
	days       int // from noon to NextUpdate; 0: 7
	begins     int // days from noon to ThisUpdate; 0: -7
	reason     int
	extensions []pkix.Extension
	ofEntries  []pkix.Extension
}

// crl makes a CRL in DER.
func (ca *authority) crl(t testing.TB, r revocation) []byte {
	t.Helper()
	if r.days == 0 {
		r.days = 7
	}
	if r.begins == 0 {
		r.begins = -7
	}
	template := &x509.RevocationList{
		Number:          big.NewInt(serial.Add(1)),
		ThisUpdate:      noon.AddDate(0, 0, r.begins),
		NextUpdate:      noon.AddDate(0, 0, r.days),
		ExtraExtensions: r.extensions,
	}
	for _, n := range r.serials {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries, x509.RevocationListEntry{
			SerialNumber: big.NewInt(n), RevocationTime: noon.AddDate(0, -1, 0), ReasonCode: r.reason, ExtraExtensions: r.ofEntries,
		})
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, ca.Certificate, ca.key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// openCRLs opens a directory of files.
func openCRLs(t *testing.T, files map[string][]byte, authorities ...*authority) *CRLs {
	t.Helper()
	c, err := OpenCRLs(directory(t, files), certificatesOf(authorities))
	if err != nil || len(c.Faults()) > 0 {
		t.Fatal(err, c.Faults())
	}
	return c
}

// faultsOf opens a directory whose files may be faulty.
func faultsOf(t *testing.T, path string, authorities ...*authority) error {
	t.Helper()
	c, err := OpenCRLs(path, certificatesOf(authorities))
	if err != nil {
		t.Fatal(err)
	}
	return errors.Join(c.Faults()...)
}

func certificatesOf(authorities []*authority) []*x509.Certificate {
	var all []*x509.Certificate
	for _, ca := range authorities {
		all = append(all, ca.Certificate)
	}
	return all
}

func critical(id asn1.ObjectIdentifier, value ...byte) []pkix.Extension {
	return []pkix.Extension{{Id: id, Critical: true, Value: value}}
}

// onlyUsers is an IssuingDistributionPoint: the list is about users' certificates.
func onlyUsers() []pkix.Extension {
	return critical(oidIssuingDistributionPoint, 0x30, 3, 0x81, 1, 0xff)
}

// What the CRLs say of alice's certificate, which has the number 7.
func TestCRLs(t *testing.T) {
	ca := newAuthority(t, "CA", nil)
	rolled := newAuthority(t, "CA", nil) // the same name, another key
	other := newAuthority(t, "Other CA", nil)
	loud := newAuthority(t, "", nil, func(c *x509.Certificate) { c.RawSubject = utf8Name(t, "ca ") })
	negative := ca.issue(t, 7)
	for _, test := range []struct {
		name  string
		files map[string][]byte
		want  string // of the error; empty if there is none
	}{
		{"no CRL", nil, ""},
		{"not listed", map[string][]byte{"ca.crl": ca.crl(t, revocation{serials: []int64{6, 8}})}, ""},
		{"an empty CRL", map[string][]byte{"ca.crl": ca.crl(t, revocation{})}, ""},
		{"listed", map[string][]byte{"ca.crl": ca.crl(t, revocation{serials: []int64{6, 7}})}, "revoked on 2026-05-01"},
		{"on hold", map[string][]byte{"ca.crl": ca.crl(t, revocation{serials: []int64{7}, reason: 6})}, "revoked on"},
		{"superseded", map[string][]byte{"ca.crl": ca.crl(t, revocation{serials: []int64{7}, reason: 4})}, "revoked on"},
		{"with what else may be said of an entry", map[string][]byte{"ca.crl": ca.crl(t, revocation{serials: []int64{7},
			ofEntries: critical(asn1.ObjectIdentifier{2, 5, 29, 24}, 0x18, 0)})}, "revoked on"},
		{"listed among users", map[string][]byte{"ca.crl": ca.crl(t, revocation{serials: []int64{7}, extensions: onlyUsers()})}, "revoked on"},
		{"listed by another issuer", map[string][]byte{"other.crl": other.crl(t, revocation{serials: []int64{7}})}, ""},
		{"listed under another key", map[string][]byte{"ca.crl": ca.crl(t, revocation{}), "new.crl": rolled.crl(t, revocation{serials: []int64{7}})}, "revoked on"},
		{"listed, the name spelt otherwise", map[string][]byte{"ca.crl": loud.crl(t, revocation{serials: []int64{7}})}, "revoked on"},
		{"PEM", map[string][]byte{"ca.pem": pemCRL(ca.crl(t, revocation{serials: []int64{7}}))}, "revoked on"},
		{"PEM, two of them", map[string][]byte{"all.crl": append(pemCRL(other.crl(t, revocation{})), pemCRL(ca.crl(t, revocation{serials: []int64{7}}))...)}, "revoked on"},
		{"DER called so", map[string][]byte{"ca.der": ca.crl(t, revocation{serials: []int64{7}})}, "revoked on"},
		{"other files", map[string][]byte{"ca.txt": []byte("hello"), ".new.crl": []byte("hello"), "crl": []byte("hello")}, ""},

		{"out of date", map[string][]byte{"ca.crl": ca.crl(t, revocation{days: -1})}, "the CRL ca.crl ended on 2026-05-31 (put a newer one"},
		{"out of date, and listed", map[string][]byte{"ca.crl": ca.crl(t, revocation{days: -1, serials: []int64{7}})}, "revoked on"},
		{"out of date, of another issuer", map[string][]byte{"other.crl": other.crl(t, revocation{days: -1})}, ""},
		{"out of date, of the other key", map[string][]byte{"ca.crl": ca.crl(t, revocation{}), "new.crl": rolled.crl(t, revocation{days: -1})}, "the CRL new.crl ended"},
		{"out of date, listed under the other key", map[string][]byte{"a.crl": ca.crl(t, revocation{days: -1}), "b.crl": rolled.crl(t, revocation{serials: []int64{7}})}, "revoked on"},
		{"from tomorrow on", map[string][]byte{"ca.crl": ca.crl(t, revocation{begins: 1})}, "begins on 2026-06-02"},

		{"a newer one is there", map[string][]byte{"a.crl": ca.crl(t, revocation{begins: -9, days: -1}), "b.crl": ca.crl(t, revocation{})}, ""},
		{"a newer one comes first", map[string][]byte{"b.crl": ca.crl(t, revocation{begins: -9, days: -1}), "a.crl": ca.crl(t, revocation{})}, ""},
		{"no longer on hold", map[string][]byte{"a.crl": ca.crl(t, revocation{begins: -9, serials: []int64{7}}), "b.crl": ca.crl(t, revocation{})}, ""},
		{"a newer one for another purpose", map[string][]byte{"a.crl": ca.crl(t, revocation{begins: -9, days: -1}), "b.crl": ca.crl(t, revocation{extensions: onlyUsers()})}, "a.crl ended"},
	} {
		c := openCRLs(t, test.files, ca, rolled, other, loud)
		err := c.Check(negative, noon)
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
		if unknown := strings.Contains(test.want, ".crl ") || strings.HasPrefix(test.want, "begins"); isUnknown(err) != unknown {
			t.Errorf("%s: unknown: %v (%v)", test.name, isUnknown(err), err)
		}
	}
}

func pemCRL(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})
}

// utf8Name is a name whose common name is an UTF8String, which x509 writes as
// a PrintableString.
func utf8Name(t testing.TB, name string) []byte {
	t.Helper()
	der, err := asn1.Marshal(pkix.RDNSequence{{{Type: asn1.ObjectIdentifier{2, 5, 4, 3},
		Value: asn1.RawValue{Tag: asn1.TagUTF8String, Bytes: []byte(name)}}}})
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestCRLsBounds(t *testing.T) {
	ca := newAuthority(t, "CA", nil)
	path := directory(t, map[string][]byte{"a.crl": ca.crl(t, revocation{})})
	large := filepath.Join(path, "b.crl")
	if err := os.WriteFile(large, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(large, maxCRL+1); err != nil {
		t.Fatal(err)
	}
	if err := faultsOf(t, path, ca); err == nil || !strings.Contains(err.Error(), "b.crl: is larger than") {
		t.Error("a file that is too large is read")
	}
	// All together may not be too much either. What stands around PEM is no matter.
	several := make(map[string][]byte)
	for _, name := range []string{"a.pem", "b.pem", "c.pem", "d.pem", "e.pem"} {
		several[name] = pemCRL(ca.crl(t, revocation{}))
	}
	all := directory(t, several)
	for name := range several {
		if err := os.Truncate(filepath.Join(all, name), maxAllCRLs/5+1); err != nil {
			t.Fatal(err)
		}
	}
	if err := faultsOf(t, all, ca); err == nil || !strings.Contains(err.Error(), "e.pem: is larger than") {
		t.Errorf("five files that are too large together: %v", err)
	}
	os.Remove(filepath.Join(all, "e.pem"))
	if err := faultsOf(t, all, ca); err != nil {
		t.Errorf("four of them: %v", err)
	}
	var serials []int64
	for n := range int64(20_000) {
		serials = append(serials, n+1000)
	}
	if err := os.WriteFile(large, ca.crl(t, revocation{serials: serials}), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := OpenCRLs(path, certificatesOf([]*authority{ca}))
	if err != nil {
		t.Fatal(err)
	}
	if c.Check(ca.issue(t, 20_999), noon) == nil || c.Check(ca.issue(t, 21_000), noon) != nil {
		t.Error("the wrong ones of many are revoked")
	}
}

func TestCRLsReload(t *testing.T) {
	ca := newAuthority(t, "CA", nil)
	path := directory(t, map[string][]byte{"ca.crl": ca.crl(t, revocation{})})
	c, err := OpenCRLs(path, certificatesOf([]*authority{ca}))
	if err != nil {
		t.Fatal(err)
	}
	write := func(content []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(path, "ca.crl"), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	mine := ca.issue(t, 7)
	write(ca.crl(t, revocation{serials: []int64{7}}))
	if err := c.Check(mine, noon); err != nil {
		t.Errorf("before: %v", err)
	}
	if err := c.Reload(); err != nil || c.Check(mine, noon) == nil {
		t.Errorf("after: %v, not revoked", err)
	}
	write([]byte("half a fi"))
	if err := c.Reload(); err == nil || c.Check(mine, noon) == nil {
		t.Errorf("broken: %v, and what was revoked is not any more", err)
	}
	if all := c.List(); len(all) != 1 || all[0].File != "ca.crl" || all[0].Issuer != "CN=CA" || all[0].Revoked != 1 || all[0].Outdone {
		t.Errorf("List = %+v", all)
	}
}

// A faulty file hides neither what others say nor what it said itself.
func TestCRLsFaultyFile(t *testing.T) {
	ca, other := newAuthority(t, "CA", nil), newAuthority(t, "Other", nil)
	path := directory(t, map[string][]byte{"ca.crl": ca.crl(t, revocation{}), "other.crl": other.crl(t, revocation{serials: []int64{8}})})
	authorities := certificatesOf([]*authority{ca, other})
	c, err := OpenCRLs(path, authorities)
	if err != nil || c.Faults() != nil {
		t.Fatal(err, c.Faults())
	}
	write := func(name string, content []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(path, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	wantFaults := func(step string, err error, c *CRLs, want ...string) {
		t.Helper()
		faults := c.Faults()
		good := len(faults) == len(want)
		for i := 0; good && i < len(want); i++ {
			good = strings.HasPrefix(faults[i].Error(), path) && strings.Contains(faults[i].Error(), want[i]) && err != nil && strings.Contains(err.Error(), want[i])
		}
		if !good || (err != nil) != (len(want) > 0) {
			t.Errorf("%s: %v, faults %v, want %q", step, err, faults, want)
		}
	}
	revoked := func(step string, c *CRLs, of *authority, number int64, want bool) {
		t.Helper()
		if err := c.Check(of.issue(t, number), noon); (err != nil) != want {
			t.Errorf("%s: number %d of %v: %v, revoked: %v", step, number, of.Subject, err, want)
		}
	}
	const kept, nothing = "(what it said before still counts)", "(nothing in it counts: "

	write("ca.crl", ca.crl(t, revocation{begins: -6, serials: []int64{7}}))
	write("other.crl", []byte("half a fi"))
	write("third.crl", []byte("hello"))
	for range 2 { // what was kept once is kept again
		err := c.Reload()
		wantFaults("two faulty files", err, c, "other.crl: holds no CRL of version 2 that could be read "+kept, "third.crl: holds no CRL of version 2 that could be read "+nothing)
		revoked("a new CRL beside them", c, ca, 7, true)
		revoked("what one said before", c, other, 8, true)
	}
	if all := c.List(); len(all) != 2 || all[0].File != "ca.crl" || all[1].File != "other.crl" {
		t.Errorf("List = %+v", all)
	}

	// A daemon that starts now has nothing from before.
	fresh, err := OpenCRLs(path, authorities)
	if err != nil {
		t.Fatal(err)
	}
	wantFaults("at start", errors.Join(fresh.Faults()...), fresh, "other.crl: holds no CRL of version 2 that could be read "+nothing, "third.crl: ")
	revoked("at start", fresh, ca, 7, true)
	revoked("at start, in the faulty file", fresh, other, 8, false)

	// What is kept gives way to what is newer, and goes with its file.
	write("third.crl", other.crl(t, revocation{begins: -6}))
	wantFaults("a newer one in another file", c.Reload(), c, "other.crl: ")
	revoked("a newer one in another file", c, other, 8, false)
	os.Remove(filepath.Join(path, "third.crl"))
	wantFaults("the newer one is gone", c.Reload(), c, "other.crl: ")
	revoked("the newer one is gone", c, other, 8, true)
	os.Remove(filepath.Join(path, "other.crl"))
	wantFaults("no faulty file", c.Reload(), c)
	revoked("no faulty file", c, other, 8, false)

	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
	if err := c.Reload(); !errors.Is(err, os.ErrNotExist) || len(c.Faults()) != 1 || !strings.Contains(err.Error(), "what was read before still counts") {
		t.Errorf("no directory: %v, faults %v", err, c.Faults())
	}
	revoked("no directory", c, ca, 7, true)
}

// Who holds what was looked up before sees no change in it.
func TestCRLsReloadLeavesTheOldAlone(t *testing.T) {
	ca := newAuthority(t, "CA", nil)
	path := directory(t, map[string][]byte{"a.crl": ca.crl(t, revocation{})})
	c, err := OpenCRLs(path, certificatesOf([]*authority{ca}))
	if err != nil {
		t.Fatal(err)
	}
	before := c.current()
	for name, content := range map[string][]byte{"a.crl": nil, "b.crl": ca.crl(t, revocation{begins: -6})} {
		if err := os.WriteFile(filepath.Join(path, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Reload(); err == nil || before.all[0].Outdone || !c.List()[0].Outdone {
		t.Errorf("%v, before %+v, now %+v", err, before.all[0].CRL, c.List())
	}
}

// A CA with a new key makes newer lists under it. What it revoked under the old
// one stays revoked.
func TestCRLsOfTwoKeys(t *testing.T) {
	old, rolled := newAuthority(t, "CA", nil), newAuthority(t, "CA", nil)
	c := openCRLs(t, map[string][]byte{
		"old.crl": old.crl(t, revocation{begins: -9, serials: []int64{7}}),
		"new.crl": rolled.crl(t, revocation{begins: -1}),
	}, old, rolled)
	if err := c.Check(old.issue(t, 7), noon); err == nil || isUnknown(err) {
		t.Errorf("on the old key's list: %v", err)
	}
	for _, l := range c.List() {
		if l.Outdone {
			t.Errorf("%s is outdone by another key's", l.File)
		}
	}
}

// The clock of a CA may be a little ahead.
func TestCRLErrAtItsBounds(t *testing.T) {
	l := CRL{File: "ca.crl", ThisUpdate: noon, NextUpdate: noon.Add(time.Hour)}
	for after, good := range map[time.Duration]bool{
		-6 * time.Minute: false, -5 * time.Minute: true, -4 * time.Minute: true, 0: true,
		time.Hour: true, time.Hour + time.Second: false, time.Hour + 4*time.Minute: false,
	} {
		if err := l.Err(noon.Add(after)); (err == nil) != good {
			t.Errorf("%v after it begins: %v, want good: %v", after, err, good)
		}
	}
}

func TestSerialKey(t *testing.T) {
	seen := make(map[string]int64)
	for _, n := range []int64{-256, -7, -1, 0, 1, 7, 256} {
		key := serialKey(big.NewInt(n))
		if other, ok := seen[key]; ok {
			t.Errorf("%d and %d are one", n, other)
		}
		seen[key] = n
	}
}

func TestNoCRLs(t *testing.T) {
	var c *CRLs
	if err := c.Check([]byte("no certificate"), noon); err != nil {
		t.Errorf("no directory: %v", err)
	}
	if until := c.until(noon, noon.Add(time.Hour)); !until.Equal(noon.Add(time.Hour)) {
		t.Errorf("no directory: until %v", until)
	}
	ca := newAuthority(t, "CA", nil)
	two := openCRLs(t, map[string][]byte{"a.crl": ca.crl(t, revocation{begins: -9, days: 1}), "b.crl": ca.crl(t, revocation{days: 5})}, ca)
	if until := two.until(noon, noon.AddDate(1, 0, 0)); !until.Equal(noon.AddDate(0, 0, 5)) {
		t.Errorf("until %v, want that of the newest CRL", until)
	}
	d := open(t, t.TempDir())
	d.Now, d.CRLs = atNoon, openCRLs(t, map[string][]byte{"a.crl": ca.crl(t, revocation{serials: []int64{7}})}, ca)
	if _, err := d.Pin(alice, ca.issue(t, 7)); err == nil || !strings.Contains(err.Error(), "revoked on") {
		t.Errorf("a revoked certificate is pinned: %v", err)
	}
	// What cannot be read may be on any list.
	some := openCRLs(t, nil)
	if err := some.Check([]byte("no certificate"), noon); err == nil || isUnknown(err) {
		t.Errorf("no certificate: %v", err)
	}
}
