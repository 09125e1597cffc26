package keystore

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
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
	if err != nil {
		t.Fatal(err)
	}
	return c
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

func TestCRLFaults(t *testing.T) {
	ca := newAuthority(t, "CA", nil)
	stranger := newAuthority(t, "Stranger", nil)
	impostor := newAuthority(t, "CA", nil)
	mute := newAuthority(t, "Mute", nil)
	muted := &authority{newAuthority(t, "Mute", nil, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCertSign }).Certificate, mute.key}
	good := ca.crl(t, revocation{serials: []int64{7}})
	unknown := asn1.ObjectIdentifier{1, 2, 3, 4}
	for _, test := range []struct {
		name    string
		content []byte
		want    string
	}{
		{"nothing", nil, "holds no CRL"},
		{"noise", []byte("hello"), "holds no CRL"},
		{"a certificate", ca.Raw, "holds a certificate, not a CRL"},
		{"a certificate in PEM", pemOf(ca.Raw), "holds a certificate, not a CRL"},
		{"cut off", good[:len(good)-1], "holds no CRL"},
		{"PEM, cut off", pemCRL(good)[:100], "cut off or damaged"},
		{"something behind it", append(good[:len(good):len(good)], 0), "something behind"},
		{"version 1", changeCRL(t, good, func(l *tbsCRL) { l.Version, l.Extensions = 0, nil }), "version 2"},
		{"no nextUpdate", changeCRL(t, good, func(l *tbsCRL) { l.NextUpdate = time.Time{} }), "nextUpdate"},
		{"changed", changeCRL(t, good, func(l *tbsCRL) { l.Revoked = nil }), `not signed by any of the 1 CAs called "CN=CA"`},
		{"a stranger's", stranger.crl(t, revocation{}), `issued by "CN=Stranger", and no CA of that name is known`},
		{"an impostor's", impostor.crl(t, revocation{}), "add the certificate of the CA's other key"},
		{"a CA that signs no CRLs", mute.crl(t, revocation{}), "not signed"},
		{"delta", ca.crl(t, revocation{extensions: critical(oidDeltaCRLIndicator, 2, 1, 1)}), "delta CRL"},
		{"indirect", ca.crl(t, revocation{extensions: critical(oidIssuingDistributionPoint, 0x30, 3, 0x84, 1, 0xff)}), "indirect CRL"},
		{"indirect, not critical", ca.crl(t, revocation{extensions: []pkix.Extension{{Id: oidIssuingDistributionPoint, Value: []byte{0x30, 3, 0x84, 1, 0xff}}}}), "indirect CRL"},
		{"indirect, entry by entry", ca.crl(t, revocation{serials: []int64{7}, ofEntries: critical(oidCertificateIssuer, 0x30, 0)}), "indirect CRL"},
		{"a distribution point that is none", ca.crl(t, revocation{extensions: critical(oidIssuingDistributionPoint, 4, 0)}), "indirect CRL"},
		{"a distribution point that lies", ca.crl(t, revocation{extensions: critical(oidIssuingDistributionPoint, 0x30, 2, 0x81, 9)}), "indirect CRL"},
		{"unknown and critical", ca.crl(t, revocation{extensions: critical(unknown)}), "1.2.3.4"},
		{"an entry unknown and critical", ca.crl(t, revocation{serials: []int64{7}, ofEntries: critical(unknown)}), "1.2.3.4"},
	} {
		path := directory(t, map[string][]byte{"x.crl": test.content})
		_, err := OpenCRLs(path, certificatesOf([]*authority{ca, muted}))
		if err == nil || !strings.Contains(err.Error(), test.want) || !strings.HasPrefix(err.Error(), filepath.Join(path, "x.crl")) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}
	if _, err := OpenCRLs(filepath.Join(t.TempDir(), "missing"), nil); !os.IsNotExist(err) {
		t.Errorf("no directory: %v", err)
	}
}

// A tbsCRL is the signed part of a CRL (RFC 5280, Section 5.1).
type tbsCRL struct {
	Version    int `asn1:"optional,default:0"`
	Signature  pkix.AlgorithmIdentifier
	Issuer     asn1.RawValue
	ThisUpdate time.Time
	NextUpdate time.Time        `asn1:"optional"`
	Revoked    []asn1.RawValue  `asn1:"optional"`
	Extensions []pkix.Extension `asn1:"optional,explicit,tag:0"`
}

// changeCRL changes a CRL, whose signature does not hold any longer then.
func changeCRL(t *testing.T, der []byte, change func(*tbsCRL)) []byte {
	t.Helper()
	var l struct {
		TBS       tbsCRL
		Algorithm pkix.AlgorithmIdentifier
		Signature asn1.BitString
	}
	if _, err := asn1.Unmarshal(der, &l); err != nil {
		t.Fatal(err)
	}
	change(&l.TBS)
	changed, err := asn1.Marshal(l)
	if err != nil {
		t.Fatal(err)
	}
	return changed
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
	if _, err := OpenCRLs(path, nil); err == nil {
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
	if _, err := OpenCRLs(all, certificatesOf([]*authority{ca})); err == nil || !strings.Contains(err.Error(), "e.pem: is larger than") {
		t.Errorf("five files that are too large together: %v", err)
	}
	os.Remove(filepath.Join(all, "e.pem"))
	if _, err := OpenCRLs(all, certificatesOf([]*authority{ca})); err != nil {
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

func TestNameKey(t *testing.T) {
	of := func(kind asn1.ObjectIdentifier, tag int, value string) pkix.AttributeTypeAndValue {
		return pkix.AttributeTypeAndValue{Type: kind, Value: asn1.RawValue{Tag: tag, Bytes: []byte(value)}}
	}
	cn, o := asn1.ObjectIdentifier{2, 5, 4, 3}, asn1.ObjectIdentifier{2, 5, 4, 10}
	key := func(rdns ...pkix.RelativeDistinguishedNameSET) string {
		der, err := asn1.Marshal(pkix.RDNSequence(rdns))
		if err != nil {
			t.Fatal(err)
		}
		return nameKey(der)
	}
	want := key(pkix.RelativeDistinguishedNameSET{of(cn, asn1.TagPrintableString, "My CA")})
	for _, test := range []struct {
		name string
		key  string
		same bool
	}{
		{"UTF8String", key(pkix.RelativeDistinguishedNameSET{of(cn, asn1.TagUTF8String, "My CA")}), true},
		{"T61String", key(pkix.RelativeDistinguishedNameSET{of(cn, asn1.TagT61String, "My CA")}), true},
		{"BMPString", key(pkix.RelativeDistinguishedNameSET{of(cn, asn1.TagBMPString, "\x00M\x00y\x00 \x00C\x00A")}), true},
		{"case", key(pkix.RelativeDistinguishedNameSET{of(cn, asn1.TagPrintableString, "MY ca")}), true},
		{"blanks", key(pkix.RelativeDistinguishedNameSET{of(cn, asn1.TagPrintableString, " My  CA ")}), true},
		{"another word", key(pkix.RelativeDistinguishedNameSET{of(cn, asn1.TagPrintableString, "My CB")}), false},
		{"one word", key(pkix.RelativeDistinguishedNameSET{of(cn, asn1.TagPrintableString, "MyCA")}), false},
		{"another attribute", key(pkix.RelativeDistinguishedNameSET{of(o, asn1.TagPrintableString, "My CA")}), false},
		{"no string", key(pkix.RelativeDistinguishedNameSET{of(cn, asn1.TagOctetString, "My CA")}), false},
		{"one more", key(pkix.RelativeDistinguishedNameSET{of(cn, asn1.TagPrintableString, "My CA")},
			pkix.RelativeDistinguishedNameSET{of(o, asn1.TagPrintableString, "X")}), false},
	} {
		if got := test.key == want; got != test.same {
			t.Errorf("%s: the same: %v", test.name, got)
		}
	}
	// The order within a part is that of the octets, which differ.
	if key(pkix.RelativeDistinguishedNameSET{of(cn, asn1.TagPrintableString, "ab"), of(o, asn1.TagPrintableString, "b")}) !=
		key(pkix.RelativeDistinguishedNameSET{of(cn, asn1.TagPrintableString, "ab"), of(o, asn1.TagBMPString, "\x00b")}) {
		t.Error("another kind of string changes the order")
	}
	together := key(pkix.RelativeDistinguishedNameSET{of(cn, asn1.TagPrintableString, "a"), of(o, asn1.TagPrintableString, "b")})
	apart := key(pkix.RelativeDistinguishedNameSET{of(cn, asn1.TagPrintableString, "a")}, pkix.RelativeDistinguishedNameSET{of(o, asn1.TagPrintableString, "b")})
	if together == apart {
		t.Error("two attributes of one part are the same as two parts")
	}
	if nameKey([]byte("x")) != "x" || nameKey(nil) != "" {
		t.Error("what cannot be read equals something else")
	}
}

func FuzzReadCRLs(f *testing.F) {
	ca := newAuthority(f, "CA", nil)
	known := signersOf(certificatesOf([]*authority{ca}))
	for _, r := range []revocation{{}, {serials: []int64{7, 1 << 40}, reason: 1}, {extensions: onlyUsers()},
		{serials: []int64{7}, ofEntries: critical(oidCertificateIssuer, 0x30, 0)}} {
		f.Add(ca.crl(f, r))
		f.Add(pemCRL(ca.crl(f, r)))
	}
	f.Add(ca.Raw)
	f.Fuzz(func(t *testing.T, content []byte) {
		all, err := readCRLs(content, known)
		if err == nil && len(all) == 0 {
			t.Error("neither a CRL nor an error")
		}
		for _, l := range all {
			if l.issuer != nameKey(ca.RawSubject) || l.NextUpdate.IsZero() {
				t.Errorf("%+v is believed", l.CRL)
			}
		}
		// What is no genuine CRL is read all the same.
		if parsed, err := x509.ParseRevocationList(content); err == nil {
			acceptable(parsed)
			nameKey(parsed.RawIssuer)
		}
	})
}

// What is read of a certificate here is what crypto/x509 reads of it.
func FuzzIssuerAndSerial(f *testing.F) {
	f.Add(newAuthority(f, "CA", nil).Raw)
	f.Add(cert{emails: []string{alice}}.der(f))
	f.Fuzz(func(t *testing.T, der []byte) {
		issuer, number, ok := issuerAndSerial(der)
		nameKey(issuer)
		parsed, err := x509.ParseCertificate(der)
		if err == nil && (!ok || string(issuer) != string(parsed.RawIssuer) || number != serialKey(parsed.SerialNumber)) {
			t.Errorf("%x, %x, %v", issuer, number, ok)
		}
	})
}
