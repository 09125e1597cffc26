package keystore

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"smimea.example/internal/cms"
	"smimea.example/tools/judges"
	"smimea.example/tools/testnet"
)

const alice = "alice@example.org"

func TestUsable(t *testing.T) {
	const (
		sign     = x509.KeyUsageDigitalSignature
		encipher = x509.KeyUsageKeyEncipherment
		agree    = x509.KeyUsageKeyAgreement
		deciph   = x509.KeyUsageDecipherOnly
		enciphO  = x509.KeyUsageEncipherOnly
	)
	const (
		mail = x509.ExtKeyUsageEmailProtection
		any  = x509.ExtKeyUsageAny
		web  = x509.ExtKeyUsageServerAuth
	)
	eku := func(all ...x509.ExtKeyUsage) []x509.ExtKeyUsage { return all }
	unknownName := []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Critical: true, Value: []byte{0x30, 3, 0x88, 1, 0x2a}}}
	unknown := []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Critical: true, Value: []byte{5, 0}}}

	for _, test := range []struct {
		name    string
		cert    cert
		why     string // empty: usable
		weak    bool
		warning string
	}{
		{name: "RSA without extensions"},
		{name: "EC without extensions", cert: cert{key: ecKey()}},
		{name: "RSA, named", cert: cert{emails: []string{"bob@example.org", "Alice@Example.org"}}},
		{name: "RSA, names others", cert: cert{emails: []string{"bob@example.org"}}, warning: `names only other addresses: "bob@example.org"`},
		{name: "CA", cert: cert{ca: true}, warning: "is a CA certificate"},

		{name: "expired", cert: cert{notAfter: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}, why: "expired on 2026-01-02"},
		{name: "expired a second ago", cert: cert{notAfter: noon.Add(-time.Second)}, why: "expired on 2026-06-01"},
		{name: "in its last second", cert: cert{notAfter: noon}},
		{name: "in its first second", cert: cert{notBefore: noon}},
		{name: "not yet valid", cert: cert{notBefore: noon.Add(time.Second)}, why: "not valid before 2026-06-01"},

		{name: "RSA for key encipherment", cert: cert{keyUsage: encipher}},
		{name: "RSA for both", cert: cert{keyUsage: encipher | sign}},
		{name: "RSA for signing", cert: cert{keyUsage: sign}, why: "keyEncipherment is missing"},
		{name: "RSA for agreement", cert: cert{keyUsage: agree}, why: "keyEncipherment is missing"},
		{name: "RSA for signing, EKU mail", cert: cert{keyUsage: sign, extKeyUsage: eku(mail)}, why: "keyEncipherment is missing"},
		{name: "EC for agreement", cert: cert{key: ecKey(), keyUsage: agree}},
		{name: "EC for agreement, encipherOnly", cert: cert{key: ecKey(), keyUsage: agree | enciphO}},
		{name: "EC for agreement, decipherOnly", cert: cert{key: ecKey(), keyUsage: agree | deciph}, why: "decipherOnly"},
		{name: "EC for signing", cert: cert{key: ecKey(), keyUsage: sign}, why: "keyAgreement is missing"},
		{name: "EC for key encipherment", cert: cert{key: ecKey(), keyUsage: encipher}, why: "keyAgreement is missing"},
		{name: "a key usage that allows nothing", cert: cert{extra: []pkix.Extension{{Id: oidKeyUsage, Value: []byte{3, 2, 7, 0}}}}, why: "keyEncipherment is missing"},

		{name: "EKU mail", cert: cert{extKeyUsage: eku(mail)}},
		{name: "EKU any", cert: cert{extKeyUsage: eku(any)}},
		{name: "EKU web and mail", cert: cert{extKeyUsage: eku(web, mail)}},
		{name: "EKU web", cert: cert{extKeyUsage: eku(web)}, why: "emailProtection is missing"},
		{name: "critical SAN with a name for us", cert: cert{extra: utf8Mailbox(t, "alice@example.org")}},
		{name: "critical SAN with another", cert: cert{extra: unknownName}, why: "critical extension"},
		{name: "unknown critical extension", cert: cert{extra: unknown}, why: "critical extension"},

		{name: "RSA of 1024 bits", cert: cert{key: weakKey()}, why: "1024", weak: true},
		{name: "EC P-224", cert: cert{key: p224Key()}, why: "P-224", weak: true},
		{name: "RSA of 1024 bits, expired", cert: cert{key: weakKey(), notAfter: noon.Add(-time.Hour)}, why: "expired"},
	} {
		der := test.cert.der(t)
		r, warnings, err := Usable(alice, der, noon)
		if test.why != "" {
			if err == nil || !strings.Contains(err.Error(), test.why) || isWeak(err) != test.weak || r.Certificate() != nil {
				t.Errorf("%s: %v (weak: %v), want %q", test.name, err, isWeak(err), test.why)
			}
			continue
		}
		if err != nil || r.Fingerprint() != cms.Fingerprint(der) {
			t.Errorf("%s: %v", test.name, err)
		}
		if got := strings.Join(warnings, "; "); (test.warning == "") != (got == "") || !strings.Contains(got, test.warning) {
			t.Errorf("%s: warnings %q, want %q", test.name, got, test.warning)
		}
	}
}

// Keys that crypto/x509 leaves out of its certificates: RFC 8410, Section 5; RFC
// 9935, Section 5.
func TestUsableOtherKeys(t *testing.T) {
	const (
		agree    = x509.KeyUsageKeyAgreement
		encipher = x509.KeyUsageKeyEncipherment
		sign     = x509.KeyUsageDigitalSignature
		deciph   = x509.KeyUsageDecipherOnly
	)
	for _, test := range []struct {
		kind  string
		usage x509.KeyUsage
		why   string // empty: usable
	}{
		{"x25519", agree, ""},
		{"x25519", agree | deciph, "decipherOnly"},
		{"x25519", encipher, "keyAgreement is missing"},
		{"mlkem", encipher, ""},
		{"mlkem1024", encipher, ""},
		{"mlkem", encipher | sign, "and nothing else"},
		{"mlkem1024", agree, "and nothing else"},
	} {
		der, _, err := testnet.NewCertificate(testnet.Subject{Address: alice, Kind: test.kind, KeyUsage: test.usage})
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = Usable(alice, der, time.Now())
		if (err == nil) != (test.why == "") || err != nil && (!strings.Contains(err.Error(), test.why) || isWeak(err)) {
			t.Errorf("%s with key usage %b: %v, want %q", test.kind, test.usage, err, test.why)
		}
	}
}

// utf8Mailbox makes a critical SubjectAltName of the kind that crypto/x509 does
// not know: RFC 8398, Section 3.
func utf8Mailbox(t *testing.T, mailbox string) []pkix.Extension {
	t.Helper()
	type otherName struct {
		ID    asn1.ObjectIdentifier
		Value string `asn1:"utf8,explicit,tag:0"`
	}
	name, err := asn1.MarshalWithParams(otherName{asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 8, 9}, mailbox}, "tag:0")
	if err != nil {
		t.Fatal(err)
	}
	san, err := asn1.Marshal([]asn1.RawValue{{FullBytes: name}})
	if err != nil {
		t.Fatal(err)
	}
	return []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Critical: true, Value: san}}
}

// withCurve is a certificate on P-256, signed by nobody any more, with another
// name for its curve, which is as long.
func withCurve(t *testing.T, c cert, curve []byte) []byte {
	t.Helper()
	c.key = ecKey()
	p256 := []byte{6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7}
	return bytes.Replace(c.der(t), p256, append([]byte{6, 8}, curve...), 1)
}

// A curve that crypto/x509 does not know is a matter of algorithms; that the
// certificate has expired, or is not sound, is not.
func TestChooseUnreadable(t *testing.T) {
	other := []byte{0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 0, 7}
	p256 := []byte{0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7}
	negative := func(der []byte) []byte {
		i := bytes.Index(der, []byte{0xa0, 3, 2, 1, 2, 2}) + 5 // behind the version
		der[i+2] |= 0x80
		return der
	}
	for _, test := range []struct {
		name string
		der  []byte
		want Outcome
		why  string
	}{
		{"an unknown curve", withCurve(t, cert{}, other), WeakOnly, "elliptic curve"},
		{"expired", withCurve(t, cert{notAfter: noon.AddDate(0, 0, -1)}, other), Unusable, "expired on 2026-05-31"},
		{"not valid yet", withCurve(t, cert{notBefore: noon.AddDate(0, 0, 1)}, other), Unusable, "not valid before 2026-06-02"},
		{"a negative serial number", negative(withCurve(t, cert{}, p256)), Unusable, "negative serial"},
		{"both", negative(withCurve(t, cert{}, other)), Unusable, "negative serial"},
	} {
		keys := choose(alice, [][]byte{test.der}, noon, nil)
		if keys.Outcome != test.want || keys.Why == nil || !strings.Contains(keys.Why.Error(), test.why) {
			t.Errorf("%s: %v (%v)", test.name, keys.Outcome, keys.Why)
		}
	}
}

func TestUsableRefusesNoise(t *testing.T) {
	for _, der := range [][]byte{nil, {0x30, 0}, []byte("certificate")} {
		if _, _, err := Usable(alice, der, noon); err == nil || isWeak(err) {
			t.Errorf("Usable(%q): %v", der, err)
		}
	}
}

func TestChoose(t *testing.T) {
	good := cert{}.der(t)
	expired := cert{notAfter: noon.AddDate(0, 0, -1)}.der(t)
	weak := cert{key: weakKey()}.der(t)
	for _, test := range []struct {
		name    string
		certs   [][]byte
		want    Outcome
		refused int
	}{
		{"good", [][]byte{good}, Found, 0},
		{"good beside others", [][]byte{weak, good, expired}, Found, 2},
		{"expired", [][]byte{expired}, Unusable, 1},
		{"weak", [][]byte{weak, weak}, WeakOnly, 2},
		{"weak and expired", [][]byte{weak, expired}, Unusable, 2},
	} {
		keys := choose(alice, test.certs, noon, nil)
		if keys.Outcome != test.want || len(keys.Refused) != test.refused {
			t.Errorf("%s: %v, %d refused, want %v, %d", test.name, keys.Outcome, len(keys.Refused), test.want, test.refused)
		}
		if (keys.Outcome == Found) != (keys.Why == nil) || (keys.Outcome == Found) != (len(keys.Certs) > 0) {
			t.Errorf("%s: %d certificates, %v", test.name, len(keys.Certs), keys.Why)
		}
	}
}

func TestChooseNewestOfEachKind(t *testing.T) {
	var certs [][]byte
	for i := range 7 {
		certs = append(certs, cert{notBefore: noon.AddDate(0, 0, -10+i)}.der(t))
	}
	certs = append(certs, cert{key: ecKey(), notBefore: noon.AddDate(0, 0, -100)}.der(t))
	keys := choose(alice, certs, noon, nil)
	if len(keys.Certs) != 6 || len(keys.Warnings) != 1 {
		t.Fatalf("%d certificates, warnings %q", len(keys.Certs), keys.Warnings)
	}
	for i, r := range keys.Certs[:5] {
		if r.Fingerprint() != cms.Fingerprint(certs[6-i]) {
			t.Errorf("certificate %d is not the next newest", i)
		}
	}
	if keys.Certs[5].Fingerprint() != cms.Fingerprint(certs[7]) {
		t.Error("the EC certificate is missing")
	}
}

// The order of the DNS changes from one answer to the next; ours does not.
func TestChooseIsStable(t *testing.T) {
	var certs [][]byte
	for range 5 {
		certs = append(certs, cert{}.der(t))
	}
	first := choose(alice, certs, noon, nil)
	slices.Reverse(certs)
	second := choose(alice, certs, noon, nil)
	for i, r := range first.Certs {
		if r.Fingerprint() != second.Certs[i].Fingerprint() {
			t.Errorf("place %d goes to another certificate", i)
		}
	}
}

// Certificates that crypto/x509 cannot read are there all the same: the answer
// is "cannot use it", not "there is none".
func TestUsableKindsOfOpenSSL(t *testing.T) {
	openssl := judges.Find(t, "openssl")
	for _, test := range []struct {
		name string
		key  []string
		want Outcome
	}{
		{"P-256", []string{"ec", "-pkeyopt", "ec_paramgen_curve:P-256"}, Found},
		{"P-521", []string{"ec", "-pkeyopt", "ec_paramgen_curve:P-521"}, Found},
		{"RSA", []string{"rsa:2048"}, Found},
		{"Brainpool", []string{"ec", "-pkeyopt", "ec_paramgen_curve:brainpoolP256r1"}, WeakOnly},
		{"secp256k1", []string{"ec", "-pkeyopt", "ec_paramgen_curve:secp256k1"}, WeakOnly},
		{"Ed25519", []string{"ed25519"}, WeakOnly},
	} {
		dir := t.TempDir()
		file := filepath.Join(dir, "cert.pem")
		args := append([]string{"req", "-x509", "-nodes", "-keyout", filepath.Join(dir, "key"), "-out", file,
			"-days", "30", "-subj", "/CN=alice", "-addext", "subjectAltName=email:" + alice, "-newkey"}, test.key...)
		if out, err := exec.Command(openssl, args...).CombinedOutput(); err != nil {
			t.Fatalf("%s: openssl: %v\n%s", test.name, err, out)
		}
		if err := os.WriteFile(filepath.Join(dir, "index"), []byte(alice+" cert.pem\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		d, err := OpenDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		keys := d.Find(t.Context(), alice)
		if keys.Outcome != test.want || (keys.Outcome != Found && len(keys.Refused) != 1) {
			t.Errorf("%s: %v (%v), want %v", test.name, keys.Outcome, keys.Why, test.want)
		}
	}
}
