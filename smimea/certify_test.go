package smimea

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"strings"
	"testing"
	"time"
)

var noon = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// cert describes a certificate for a test; the zero one is an end entity's,
// signed by itself, valid for a year around noon.
type cert struct {
	emails  []string
	subject pkix.Name
	extra   []pkix.Extension
	ca      bool
	issuer  *issued
	expired bool
	use     []x509.ExtKeyUsage
	public  any // the public key; nil: one of its own
	change  func(*x509.Certificate)
}

type issued struct {
	*x509.Certificate
	key *ecdsa.PrivateKey
}

func newCert(t testing.TB, c cert) *issued {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(time.Now().UnixNano()),
		Subject:               c.subject,
		EmailAddresses:        c.emails,
		ExtraExtensions:       c.extra,
		ExtKeyUsage:           c.use,
		NotBefore:             noon.AddDate(0, -6, 0),
		NotAfter:              noon.AddDate(0, 6, 0),
		IsCA:                  c.ca,
		BasicConstraintsValid: true,
	}
	if c.expired {
		template.NotAfter = noon.AddDate(0, 0, -1)
	}
	if template.Subject.CommonName == "" {
		template.Subject.CommonName = "test " + template.SerialNumber.String()
	}
	if c.change != nil {
		c.change(template)
	}
	parent, signer := template, key
	if c.issuer != nil {
		parent, signer = c.issuer.Certificate, c.issuer.key
	}
	if c.public == nil {
		c.public = key.Public()
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, c.public, signer)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &issued{parsed, key}
}

// record makes a record about a certificate.
func record(usage, selector, matching uint8, about *issued) Record {
	data := about.Raw
	if selector == SPKI {
		data = about.RawSubjectPublicKeyInfo
	}
	switch matching {
	case SHA256:
		sum := sha256.Sum256(data)
		data = sum[:]
	case SHA512:
		sum := sha512.Sum512(data)
		data = sum[:]
	}
	return Record{usage, selector, matching, data}
}

// The table of what each record means: usage, selector, matching; what is at
// hand; what follows.
func TestCertify(t *testing.T) {
	alice := []string{"alice@example.org"}
	root := newCert(t, cert{ca: true})
	sub := newCert(t, cert{ca: true, issuer: root})
	good := newCert(t, cert{emails: alice, issuer: sub})
	direct := newCert(t, cert{emails: alice, issuer: root})
	other := newCert(t, cert{emails: []string{"bob@example.org"}, issuer: sub})
	expired := newCert(t, cert{emails: alice, issuer: sub, expired: true})
	self := newCert(t, cert{emails: alice})
	nameless := newCert(t, cert{})
	caWithName := newCert(t, cert{emails: alice, ca: true})
	web := newCert(t, cert{emails: alice, issuer: root, use: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	huge := newCert(t, cert{emails: alice, issuer: root, public: hugeKey()})

	trusting := Trust{Roots: certs(root), Intermediates: certs(sub), Now: noon}
	knowing := Trust{Intermediates: certs(sub, root), Now: noon}
	nobody := Trust{Now: noon}

	for _, test := range []struct {
		name       string
		record     Record
		candidates []*issued
		trust      Trust
		verdict    Verdict
		vouched    *issued
		why        string
	}{
		{"3 0 0", record(3, 0, 0, self), nil, nobody, Usable, self, ""},
		{"3 0 0 for somebody else (R2)", record(3, 0, 0, other), nil, nobody, Usable, other, ""},
		{"3 0 0 without a name (R2)", record(3, 0, 0, nameless), nil, nobody, Usable, nameless, ""},
		{"3 0 0 of a CA", record(3, 0, 0, caWithName), nil, nobody, Usable, caWithName, ""},
		{"3 0 1 alone", record(3, 0, 1, self), nil, nobody, Constraint, nil, "constraint only"},
		{"3 0 1 with its certificate", record(3, 0, 1, self), []*issued{other, self}, nobody, Constraint, self, ""},
		{"3 0 1 with others", record(3, 0, 1, self), []*issued{other}, nobody, Constraint, nil, "constraint only"},
		{"3 0 2 with its certificate", record(3, 0, 2, self), []*issued{self}, nobody, Constraint, self, ""},
		{"3 1 0 alone", record(3, 1, 0, self), nil, nobody, Constraint, nil, "constraint only"},
		{"3 1 0 with its certificate", record(3, 1, 0, self), []*issued{self}, nobody, Constraint, self, ""},
		{"3 1 1 alone (R5)", record(3, 1, 1, self), nil, nobody, Constraint, nil, "constraint only"},
		{"3 1 1 with its certificate", record(3, 1, 1, self), []*issued{self}, nobody, Constraint, self, ""},
		{"3 1 2 with its certificate", record(3, 1, 2, self), []*issued{self}, nobody, Constraint, self, ""},

		{"1 0 0 with a path", record(1, 0, 0, good), nil, trusting, Usable, good, ""},
		{"1 0 0 without roots", record(1, 0, 0, good), nil, nobody, Ignored, nil, "no"},
		{"1 0 0 self-signed (R4)", record(1, 0, 0, self), nil, trusting, Ignored, nil, "no valid path"},
		{"1 0 0 self-signed and a root itself", record(1, 0, 0, self), nil, Trust{Roots: certs(self), Now: noon}, Ignored, nil, "no path"},
		{"1 0 0 without its intermediate", record(1, 0, 0, good), nil, Trust{Roots: certs(root), Now: noon}, Ignored, nil, "no valid path"},
		{"1 0 0 for somebody else", record(1, 0, 0, other), nil, trusting, Ignored, nil, "does not name the address"},
		{"1 0 0 expired", record(1, 0, 0, expired), nil, trusting, Ignored, nil, "expired"},
		{"1 0 0 for the web", record(1, 0, 0, web), nil, trusting, Ignored, nil, "incompatible key usage"},
		{"1 0 0 with a huge key", record(1, 0, 0, huge), nil, trusting, Ignored, nil, "8193 bits"},
		{"1 0 1 with a path", record(1, 0, 1, good), []*issued{good}, trusting, Constraint, good, ""},
		{"1 1 1 with a path", record(1, 1, 1, good), []*issued{good}, trusting, Constraint, good, ""},
		{"1 1 1 without roots", record(1, 1, 1, good), []*issued{good}, nobody, Constraint, nil, "no"},
		{"1 1 1 for another key", record(1, 1, 1, self), []*issued{good}, trusting, Constraint, nil, "constraint only"},

		{"2 0 0 alone (R1)", record(2, 0, 0, root), nil, nobody, Constraint, nil, "constraint only"},
		{"2 0 0 that names the address (R1)", record(2, 0, 0, caWithName), []*issued{caWithName}, nobody, Constraint, nil, "no path but to itself"},
		{"2 0 0 of no CA", record(2, 0, 0, self), []*issued{self}, nobody, Ignored, nil, "not a CA's"},
		{"2 0 0 with what it issued", record(2, 0, 0, root), []*issued{direct}, nobody, Constraint, direct, ""},
		{"2 0 0 with a longer path", record(2, 0, 0, root), []*issued{good}, knowing, Constraint, good, ""},
		{"2 0 0 of an intermediate", record(2, 0, 0, sub), []*issued{good}, nobody, Constraint, good, ""},
		{"2 0 0 with somebody else's", record(2, 0, 0, sub), []*issued{other}, nobody, Constraint, nil, "does not name"},
		{"2 0 0 with an expired one", record(2, 0, 0, sub), []*issued{expired}, nobody, Constraint, nil, "expired"},
		{"2 0 1 and the CA is at hand", record(2, 0, 1, root), []*issued{good}, knowing, Constraint, good, ""},
		{"2 0 1 and what is at hand is no CA", record(2, 0, 1, self), []*issued{self}, Trust{Intermediates: certs(self), Now: noon}, Constraint, nil, "there is none"},
		{"2 1 1 and the CA is not at hand", record(2, 1, 1, root), []*issued{good}, nobody, Constraint, nil, "no"},
		{"2 1 0 and the CA is at hand", record(2, 1, 0, sub), []*issued{good}, knowing, Constraint, good, ""},

		{"0 0 0 alone (R1)", record(0, 0, 0, root), nil, trusting, Constraint, nil, "constraint only"},
		{"0 0 0 with a path through it", record(0, 0, 0, sub), []*issued{good}, trusting, Constraint, good, ""},
		{"0 0 0 and its own certificate (R1)", record(0, 0, 0, good), []*issued{good}, trusting, Constraint, nil, "no path leads"},
		{"0 0 1 with a path beside it", record(0, 0, 1, sub), []*issued{direct}, trusting, Constraint, nil, "no path leads"},
		{"0 1 1 of the root", record(0, 1, 1, root), []*issued{good}, trusting, Constraint, good, ""},
		{"0 0 0 without roots", record(0, 0, 0, sub), []*issued{good}, knowing, Constraint, nil, "no"},

		{"255 0 0 (R6)", record(255, 0, 0, self), nil, nobody, Ignored, nil, "usage 255"},
		{"3 255 0 (R6)", record(3, 255, 0, self), nil, nobody, Ignored, nil, "selector 255"},
		{"3 0 255 (R6)", record(3, 0, 255, self), nil, nobody, Ignored, nil, "matching type 255"},
		{"no data (R6)", Record{3, 0, 0, nil}, nil, nobody, Ignored, nil, "not a certificate"},
		{"SHA-256 of 31 octets (R6)", Record{3, 1, 1, make([]byte, 31)}, nil, nobody, Ignored, nil, "31 octets"},
		{"SHA-512 of 32 octets (R6)", Record{3, 1, 2, make([]byte, 32)}, nil, nobody, Ignored, nil, "32 octets"},
		{"noise (R6)", Record{3, 0, 0, []byte("certificate")}, nil, nobody, Ignored, nil, "not a certificate"},
		{"something behind the certificate (R6)", Record{3, 0, 0, append(self.Raw[:len(self.Raw):len(self.Raw)], 0)}, nil, nobody, Ignored, nil, "not a certificate"},
		{"a key where a certificate belongs (R6)", Record{3, 0, 0, self.RawSubjectPublicKeyInfo}, nil, nobody, Ignored, nil, "not a certificate"},
		{"a certificate where a key belongs (R6)", Record{3, 1, 0, self.Raw}, nil, nobody, Ignored, nil, "not a public key"},
	} {
		var candidates [][]byte
		for _, c := range test.candidates {
			candidates = append(candidates, c.Raw)
		}
		f := Certify(address(t, "alice@example.org"), []Record{test.record}, candidates, test.trust)[0]
		if f.Verdict != test.verdict {
			t.Errorf("%s: %v (%v), want %v", test.name, f.Verdict, f.Why, test.verdict)
		}
		switch {
		case test.vouched == nil && f.Vouched != nil:
			t.Errorf("%s: vouches for %d certificates", test.name, len(f.Vouched))
		case test.vouched == nil && (f.Why == nil || !strings.Contains(f.Why.Error(), test.why)):
			t.Errorf("%s: why is %v, want %q", test.name, f.Why, test.why)
		case test.vouched != nil && (len(f.Vouched) != 1 || string(f.Vouched[0]) != string(test.vouched.Raw) || f.Why != nil):
			t.Errorf("%s: vouches for %d certificates (%v)", test.name, len(f.Vouched), f.Why)
		}
	}
}

// A SubjectAltName may be critical, and crypto/x509 does not know all names.
func TestCertifyCriticalNames(t *testing.T) {
	root := newCert(t, cert{ca: true})
	trust := Trust{Roots: certs(root), Now: noon}
	critical := func(ext pkix.Extension) *issued {
		ext.Critical = true
		return newCert(t, cert{issuer: root, extra: []pkix.Extension{ext}})
	}
	mailbox := critical(extension(t, "佐藤@example.org")[0])
	f := Certify(address(t, "佐藤@example.org"), []Record{record(1, 0, 0, mailbox)}, nil, trust)[0]
	if f.Verdict != Usable {
		t.Errorf("SmtpUTF8Mailbox: %v (%v)", f.Verdict, f.Why)
	}
	// Only registeredID, and the address in the subject.
	other := newCert(t, cert{issuer: root,
		subject: pkix.Name{ExtraNames: []pkix.AttributeTypeAndValue{{Type: oidEmailAddress, Value: "alice@example.org"}}},
		extra:   []pkix.Extension{{Id: oidSubjectAltName, Critical: true, Value: []byte{0x30, 3, 0x88, 1, 0x2a}}}})
	f = Certify(address(t, "alice@example.org"), []Record{record(1, 0, 0, other)}, nil, trust)[0]
	if f.Verdict != Ignored || !strings.Contains(f.Why.Error(), "critical extension") {
		t.Errorf("registeredID: %v (%v)", f.Verdict, f.Why)
	}
}

func TestMaxCandidates(t *testing.T) {
	mine := newCert(t, cert{})
	var others [][]byte
	for range maxCandidates {
		others = append(others, newCert(t, cert{}).Raw)
	}
	for n, want := range map[int]int{maxCandidates - 1: 1, maxCandidates: 0} {
		candidates := append(others[:n:n], mine.Raw)
		f := Certify(address(t, "alice@example.org"), []Record{record(3, 0, 1, mine)}, candidates, Trust{Now: noon})[0]
		if len(f.Vouched) != want {
			t.Errorf("behind %d others: vouched for %d", n, len(f.Vouched))
		}
	}
}

// hugeKey is longer than any whose signatures are checked, and nobody's.
func hugeKey() *rsa.PublicKey { return keyOf(maxRSA + 1) }

// keyOf is a key of so many bits that is nobody's.
func keyOf(bits uint) *rsa.PublicKey {
	n := new(big.Int).Lsh(big.NewInt(1), bits-1)
	return &rsa.PublicKey{N: n.SetBit(n, 0, 1), E: 65537}
}

// One record vouches for what another of the set holds.
func TestCertifyAcrossRecords(t *testing.T) {
	root := newCert(t, cert{ca: true})
	ee := newCert(t, cert{emails: []string{"alice@example.org"}, issuer: root})
	findings := Certify(address(t, "alice@example.org"),
		[]Record{record(1, 0, 0, ee), record(2, 0, 0, root)}, nil, Trust{Now: noon})
	if findings[0].Vouched != nil || len(findings[1].Vouched) != 1 {
		t.Errorf("1 0 0: %v; 2 0 0: %v", findings[0].Why, findings[1].Why)
	}
	if string(findings[1].Vouched[0]) != string(ee.Raw) {
		t.Error("2 0 0 vouches for something else")
	}
}

// RFC 7671, Section 9: the weaker digest does not count beside the stronger.
func TestDigestAgility(t *testing.T) {
	a, b := newCert(t, cert{}), newCert(t, cert{})
	candidates := [][]byte{a.Raw, b.Raw}
	broken := Record{3, 1, 2, make([]byte, 3)}
	for _, test := range []struct {
		name    string
		records []Record
		want    bool // the first record counts
	}{
		{"same selector", []Record{record(3, 1, 1, a), record(3, 1, 2, b)}, false},
		{"other selector", []Record{record(3, 1, 1, a), record(3, 0, 2, b)}, true},
		{"other usage", []Record{record(3, 1, 1, a), record(1, 1, 2, b)}, true},
		{"full is no digest", []Record{record(3, 0, 0, a), record(3, 0, 2, b)}, true},
		{"the stronger is malformed", []Record{record(3, 1, 1, a), broken}, true},
	} {
		f := Certify(address(t, "alice@example.org"), test.records, candidates, Trust{Now: noon})[0]
		if got := len(f.Vouched) == 1; got != test.want {
			t.Errorf("%s: counts: %v (%v)", test.name, got, f.Why)
		}
	}
}

func TestNamedIn(t *testing.T) {
	utf8 := extension(t, "佐藤@example.org")
	for _, test := range []struct {
		name, address string
		cert          cert
		want          bool
	}{
		{"the same", "alice@example.org", cert{emails: []string{"alice@example.org"}}, true},
		{"case of the domain", "alice@example.org", cert{emails: []string{"alice@EXAMPLE.org"}}, true},
		{"case of the local part", "Alice@example.org", cert{emails: []string{"aLICE@example.org"}}, true},
		{"one of several", "alice@example.org", cert{emails: []string{"bob@example.org", "alice@example.org"}}, true},
		{"another mailbox", "alice@example.org", cert{emails: []string{"bob@example.org"}}, false},
		{"another domain", "alice@example.org", cert{emails: []string{"alice@example.com"}}, false},
		{"none", "alice@example.org", cert{}, false},
		{"only the domain", "alice@example.org", cert{emails: []string{"example.org"}}, false},
		{"in the subject", "alice@example.org", cert{subject: inSubject("alice@example.org")}, true},
		{"SmtpUTF8Mailbox", "佐藤@example.org", cert{extra: utf8}, true},
		{"another SmtpUTF8Mailbox", "佐々木@example.org", cert{extra: utf8}, false},
		{"beyond ASCII case counts", "É@example.org", cert{extra: extension(t, "é@example.org")}, false},
		{"beyond ASCII its case counts too", "Aé@example.org", cert{extra: extension(t, "aé@example.org")}, false},
		{"case of the domain of a SmtpUTF8Mailbox", "é@example.org", cert{extra: extension(t, "é@EXAMPLE.org")}, true},
		{"A-label and U-label", "é@xn--bcher-kva.example", cert{extra: extension(t, "é@bücher.example")}, true},
		{"composed", "e\u0301@example.org", cert{extra: extension(t, "\u00e9@example.org")}, true},
		{"decomposed in the certificate", "\u00e9@example.org", cert{extra: extension(t, "e\u0301@example.org")}, false},
		{"beyond ASCII in the subject", "é@example.org", cert{subject: inSubject("é@example.org")}, false},
		{"Kelvin is no k", "k@example.org", cert{extra: extension(t, "\u212a@example.org")}, false},
		{"a source route", "alice@example.org", cert{subject: inSubject("@example.com:alice@example.org")}, false},
	} {
		if got := address(t, test.address).NamedIn(newCert(t, test.cert).Certificate); got != test.want {
			t.Errorf("%s: NamedIn = %v", test.name, got)
		}
	}
}

func inSubject(address string) pkix.Name {
	return pkix.Name{ExtraNames: []pkix.AttributeTypeAndValue{{Type: oidEmailAddress, Value: address}}}
}

// extension makes a SubjectAltName with an SmtpUTF8Mailbox.
func extension(t *testing.T, mailbox string) []pkix.Extension {
	t.Helper()
	type otherName struct {
		ID    asn1.ObjectIdentifier
		Value string `asn1:"utf8,explicit,tag:0"`
	}
	name, err := asn1.MarshalWithParams(otherName{oidSmtpUTF8Mailbox, mailbox}, "tag:0")
	if err != nil {
		t.Fatal(err)
	}
	san, err := asn1.Marshal([]asn1.RawValue{{FullBytes: name}})
	if err != nil {
		t.Fatal(err)
	}
	return []pkix.Extension{{Id: oidSubjectAltName, Value: san}}
}

func FuzzCertify(f *testing.F) {
	root := newCert(f, cert{ca: true})
	ee := newCert(f, cert{emails: []string{"alice@example.org"}, issuer: root})
	f.Add(record(3, 0, 0, ee).RDATA(), ee.Raw)
	f.Add(record(1, 0, 0, ee).RDATA(), root.Raw)
	f.Add(record(2, 0, 0, root).RDATA(), ee.Raw)
	f.Add(record(0, 1, 1, root).RDATA(), ee.Raw)
	f.Add(record(3, 1, 0, ee).RDATA(), ee.Raw)
	trust := Trust{Roots: certs(root), Now: noon}
	f.Fuzz(func(t *testing.T, rdata, candidate []byte) {
		r, err := ParseRecord(rdata)
		if err != nil {
			return
		}
		finding := Certify(Address{Local: "alice", ASCIIDomain: "example.org"}, []Record{r}, [][]byte{candidate}, trust)[0]
		if (finding.Why == nil) != (len(finding.Vouched) > 0) {
			t.Errorf("%d vouched, why: %v", len(finding.Vouched), finding.Why)
		}
		for _, der := range finding.Vouched {
			if string(der) == string(r.Data) && r.Usage%2 == 0 {
				t.Errorf("usage %d vouches for its own certificate", r.Usage)
			}
		}
	})
}

func certs(all ...*issued) []*x509.Certificate {
	var list []*x509.Certificate
	for _, c := range all {
		list = append(list, c.Certificate)
	}
	return list
}

func address(t *testing.T, s string) Address {
	t.Helper()
	a, err := ParseAddress(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}
