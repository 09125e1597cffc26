package keystore

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"smimea.example/smimea"
	"smimea.example/smimea/dnssec"
	"smimea.example/tools/judges"
)

// What becomes of alice's certificates where some are revoked, or where a CRL is
// out of date; pinned ones and published ones alike.
func TestChooseWithCRLs(t *testing.T) {
	ca, fresh := newAuthority(t, "CA", nil), newAuthority(t, "Fresh CA", nil)
	stale := newAuthority(t, "Stale CA", nil)
	crls := openCRLs(t, map[string][]byte{
		"ca.crl":    ca.crl(t, revocation{serials: []int64{7, 8}}),
		"fresh.crl": fresh.crl(t, revocation{}),
		"stale.crl": stale.crl(t, revocation{days: -1, serials: []int64{7}}),
	}, ca, fresh, stale)
	over := func(c *x509.Certificate) { c.NotAfter = noon.AddDate(0, 0, -1) }
	revoked, good, unknown := ca.issue(t, 7), fresh.issue(t, 7), stale.issue(t, 8)
	expired, expiredUnknown := fresh.issue(t, 9, over), stale.issue(t, 9, over)
	nobodys := cert{}.der(t)
	weak := func(by *authority, number int64) []byte {
		der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
			SerialNumber: big.NewInt(number), NotBefore: noon.AddDate(0, -1, 0), NotAfter: noon.AddDate(0, 1, 0),
		}, by.Certificate, weakKey().Public(), by.key)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	for _, test := range []struct {
		name  string
		certs [][]byte
		want  Outcome
		why   string
	}{
		{"good", [][]byte{good}, Found, ""},
		{"no CRL of its issuer", [][]byte{nobodys}, Found, ""},
		{"revoked", [][]byte{revoked}, Unusable, "revoked on 2026-05-01"},
		{"revoked, the CRL is old", [][]byte{stale.issue(t, 7)}, Unusable, "revoked on 2026-05-01"},
		{"unknown", [][]byte{unknown}, Failed, "stale.crl ended on 2026-05-31"},
		{"revoked beside a good one", [][]byte{revoked, good}, Found, ""},
		{"unknown beside a good one", [][]byte{unknown, good}, Found, ""},
		{"unknown beside a revoked one", [][]byte{revoked, unknown}, Failed, "stale.crl"},
		{"unknown beside an expired one", [][]byte{unknown, expired}, Failed, "stale.crl"},
		{"unknown, and expired itself", [][]byte{expiredUnknown}, Unusable, "expired on"},
		{"revoked and expired", [][]byte{ca.issue(t, 8, over)}, Unusable, "expired on"},
		{"weak", [][]byte{weak(fresh, 5)}, WeakOnly, "1024"},
		{"weak and revoked", [][]byte{weak(ca, 7)}, Unusable, "revoked"},
		{"weak and unknown", [][]byte{weak(stale, 5)}, WeakOnly, "1024"},
	} {
		keys := choose(alice, test.certs, noon, crls)
		if keys.Outcome != test.want || (keys.Outcome == Found) != (keys.Why == nil) || (keys.Outcome == Found) != (len(keys.Certs) == 1) {
			t.Errorf("%s: %v, %d certificates (%v), want %v", test.name, keys.Outcome, len(keys.Certs), keys.Why, test.want)
		}
		if keys.Why != nil && !strings.Contains(keys.Why.Error(), test.why) {
			t.Errorf("%s: %v, want %q", test.name, keys.Why, test.why)
		}
		// Pinned, the same.
		files := make(map[string][]byte)
		var index string
		for i, der := range test.certs {
			files[string(rune('a'+i))+".der"] = der
			index += alice + " " + string(rune('a'+i)) + ".der\n"
		}
		files["index"] = []byte(index)
		d := open(t, directory(t, files))
		d.Now, d.CRLs = atNoon, crls
		if pinned := d.Find(t.Context(), alice); pinned.Outcome != test.want || len(pinned.Warnings) < len(pinned.Refused) {
			t.Errorf("%s, pinned: %v (%v), warnings %q", test.name, pinned.Outcome, pinned.Why, pinned.Warnings)
		}
		// Published, the same.
		var data [][]byte
		for _, der := range test.certs {
			data = append(data, smimea.Record{Usage: smimea.DANEEE, Data: der}.RDATA())
		}
		if published := publish(t, Published{CRLs: crls}, data...); published.Outcome != test.want {
			t.Errorf("%s, published: %v (%v)", test.name, published.Outcome, published.Why)
		}
		// Nobody may hide that it could not be found out, nor what is good.
		chain := Chain{source(func(context.Context, string) Keys { return keys }), answer(None)}
		if sum := chain.Find(t.Context(), alice); sum.Outcome != test.want {
			t.Errorf("%s, then nothing: %v", test.name, sum.Outcome)
		}
	}
}

// publish finds alice's keys where these records are published.
func publish(t *testing.T, p Published, data ...[]byte) Keys {
	t.Helper()
	p.Now = atNoon
	p.Client.Resolver = zone{{owner(t, alice), dnssec.TypeSMIMEA}: dnssec.Answer{
		Status: dnssec.Secure, Outcome: dnssec.Data, Data: data, Expires: noon.AddDate(0, 0, 30)}}
	return p.Find(t.Context(), alice)
}

// On a path every certificate counts but the anchor.
func TestPublishedWithCRLs(t *testing.T) {
	root := newAuthority(t, "Root", nil)
	sub := newAuthority(t, "Sub", root, func(c *x509.Certificate) { c.SerialNumber = big.NewInt(70) })
	mine := sub.issue(t, 7)
	record := func(usage uint8, der []byte) []byte { return smimea.Record{Usage: usage, Data: der}.RDATA() }
	expired := cert{notAfter: noon.AddDate(0, 0, -1)}.der(t)
	weak := cert{key: weakKey()}.der(t)
	for _, test := range []struct {
		name  string
		crls  map[string][]byte
		data  [][]byte
		want  Outcome
		why   string
		until time.Time // when a CRL has to be renewed; zero: it does not matter
	}{
		{"usage 1", map[string][]byte{"root.crl": root.crl(t, revocation{days: 3}), "sub.crl": sub.crl(t, revocation{days: 2})},
			[][]byte{record(1, mine)}, Found, "", noon.AddDate(0, 0, 2)},
		{"usage 1 and no CRL", nil, [][]byte{record(1, mine)}, Found, "", noon.AddDate(0, 0, 30)},
		{"usage 1, revoked", map[string][]byte{"sub.crl": sub.crl(t, revocation{serials: []int64{7}})},
			[][]byte{record(1, mine)}, Unusable, "revoked on 2026-05-01", time.Time{}},
		{"usage 1, the CA revoked", map[string][]byte{"root.crl": root.crl(t, revocation{serials: []int64{70}})},
			[][]byte{record(1, mine)}, Unusable, `the CA certificate "CN=Sub": revoked on 2026-05-01`, time.Time{}},
		{"usage 1, the root on its own list", map[string][]byte{"root.crl": root.crl(t, revocation{serials: []int64{root.SerialNumber.Int64()}})},
			[][]byte{record(1, mine)}, Found, "", time.Time{}},
		{"usage 1, the CA unknown", map[string][]byte{"root.crl": root.crl(t, revocation{days: -1})},
			[][]byte{record(1, mine)}, Failed, "root.crl ended", time.Time{}},
		{"usage 1, the CA unknown, and usage 3 with the same", map[string][]byte{"root.crl": root.crl(t, revocation{days: -1})},
			[][]byte{record(1, mine), record(3, mine)}, Found, "", noon.AddDate(0, 0, 30)},
		{"usage 1, the CA unknown, and usage 3 expired", map[string][]byte{"root.crl": root.crl(t, revocation{days: -1})},
			[][]byte{record(1, mine), record(3, expired)}, Failed, "root.crl ended", time.Time{}},
		{"usage 1, the CA unknown, and usage 3 weak", map[string][]byte{"root.crl": root.crl(t, revocation{days: -1})},
			[][]byte{record(1, mine), record(3, weak)}, Failed, "root.crl ended", time.Time{}},
		{"usage 1, the CA revoked, and usage 3 weak", map[string][]byte{"root.crl": root.crl(t, revocation{serials: []int64{70}})},
			[][]byte{record(1, mine), record(3, weak)}, Unusable, "1024", time.Time{}},
		{"usage 2, a candidate", map[string][]byte{"sub.crl": sub.crl(t, revocation{})},
			[][]byte{record(2, sub.Raw)}, Found, "", time.Time{}},
		{"usage 2, the candidate revoked", map[string][]byte{"sub.crl": sub.crl(t, revocation{serials: []int64{7}})},
			[][]byte{record(2, sub.Raw)}, Unusable, "revoked", time.Time{}},
		{"usage 2, its CA revoked by whom nobody asks", map[string][]byte{"root.crl": root.crl(t, revocation{serials: []int64{70}})},
			[][]byte{record(2, sub.Raw)}, Found, "", time.Time{}},
		{"usage 0, the CA revoked", map[string][]byte{"root.crl": root.crl(t, revocation{serials: []int64{70}})},
			[][]byte{record(0, sub.Raw)}, Unusable, "revoked", time.Time{}},
	} {
		p := Published{
			Client: smimea.Client{
				Trust:      smimea.Trust{Roots: certificatesOf([]*authority{root}), Intermediates: certificatesOf([]*authority{sub})},
				Candidates: func(smimea.Address) [][]byte { return [][]byte{mine} },
			},
			CRLs: openCRLs(t, test.crls, root, sub),
		}
		keys := publish(t, p, test.data...)
		if keys.Outcome != test.want || (keys.Why == nil) != (test.why == "") || keys.Why != nil && !strings.Contains(keys.Why.Error(), test.why) {
			t.Errorf("%s: %v (%v), want %v, %q", test.name, keys.Outcome, keys.Why, test.want, test.why)
		}
		if !test.until.IsZero() && !keys.Expires.Equal(test.until) {
			t.Errorf("%s: expires %v, want %v", test.name, keys.Expires, test.until)
		}
	}
}

// OpenSSL is asked the same about the same chains and CRLs. It wants a CRL for
// every CA, so each chain has all of its own.
func TestCRLsOfOpenSSL(t *testing.T) {
	openssl := judges.Find(t, "openssl")
	root := newAuthority(t, "Root", nil)
	stranger := newAuthority(t, "Stranger", nil)
	sub := newAuthority(t, "Sub", root, func(c *x509.Certificate) { c.SerialNumber = big.NewInt(70) })
	old := newAuthority(t, "Old", root, func(c *x509.Certificate) { c.NotAfter = noon.AddDate(0, 0, -1) })
	ofStranger := newAuthority(t, "Sub", stranger)
	mayFor := func(domain string) func(*x509.Certificate) {
		return func(c *x509.Certificate) {
			c.PermittedDNSDomainsCritical, c.PermittedEmailAddresses = true, []string{domain}
		}
	}
	within, beyond := newAuthority(t, "Within", root, mayFor("example.org")), newAuthority(t, "Beyond", root, mayFor("example.com"))
	web := func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }
	over := func(c *x509.Certificate) { c.NotAfter = noon.AddDate(0, 0, -1) }
	rootCRL, subCRL := root.crl(t, revocation{}), sub.crl(t, revocation{})
	for _, test := range []struct {
		name string
		der  []byte
		sub  *authority
		crls [][]byte
		want bool
	}{
		{"good", sub.issue(t, 7), sub, [][]byte{rootCRL, subCRL}, true},
		{"others revoked", sub.issue(t, 7), sub, [][]byte{rootCRL, sub.crl(t, revocation{serials: []int64{6, 8, 263}})}, true},
		{"revoked", sub.issue(t, 7), sub, [][]byte{rootCRL, sub.crl(t, revocation{serials: []int64{7}})}, false},
		{"on hold", sub.issue(t, 7), sub, [][]byte{rootCRL, sub.crl(t, revocation{serials: []int64{7}, reason: 6})}, false},
		{"its CA revoked", sub.issue(t, 7), sub, [][]byte{root.crl(t, revocation{serials: []int64{70}}), subCRL}, false},
		{"its number on the root's list", sub.issue(t, 7), sub, [][]byte{root.crl(t, revocation{serials: []int64{7}}), subCRL}, true},
		{"CRL out of date", sub.issue(t, 7), sub, [][]byte{rootCRL, sub.crl(t, revocation{days: -1})}, false},
		{"CA's CRL out of date", sub.issue(t, 7), sub, [][]byte{root.crl(t, revocation{days: -1}), subCRL}, false},
		{"expired", sub.issue(t, 7, over), sub, [][]byte{rootCRL, subCRL}, false},
		{"for the web", sub.issue(t, 7, web), sub, [][]byte{rootCRL, subCRL}, false},
		{"expired CA", old.issue(t, 7), old, [][]byte{rootCRL, old.crl(t, revocation{})}, false},
		{"another root", ofStranger.issue(t, 7), ofStranger, [][]byte{rootCRL, ofStranger.crl(t, revocation{})}, false},
		{"somebody else's", sub.issue(t, 7, func(c *x509.Certificate) { c.EmailAddresses = []string{"bob@example.org"} }), sub, [][]byte{rootCRL, subCRL}, false},
		{"beside somebody else's", sub.issue(t, 7, func(c *x509.Certificate) { c.EmailAddresses = []string{"bob@example.org", alice} }), sub, [][]byte{rootCRL, subCRL}, true},
		{"a CA that may speak for it", within.issue(t, 7), within, [][]byte{rootCRL, within.crl(t, revocation{})}, true},
		{"a CA that may speak for others", beyond.issue(t, 7), beyond, [][]byte{rootCRL, beyond.crl(t, revocation{})}, false},
		{"a large number", sub.issue(t, 1<<62), sub, [][]byte{rootCRL, sub.crl(t, revocation{serials: []int64{1 << 62}})}, false},
	} {
		files := map[string][]byte{"root.crl": test.crls[0], "sub.crl": test.crls[1]}
		p := Published{
			Client: smimea.Client{Trust: smimea.Trust{Roots: certificatesOf([]*authority{root}), Intermediates: certificatesOf([]*authority{test.sub})}},
			CRLs:   openCRLs(t, files, root, test.sub),
		}
		keys := publish(t, p, smimea.Record{Usage: smimea.PKIXEE, Data: test.der}.RDATA())
		if got := keys.Outcome == Found; got != test.want {
			t.Errorf("%s: %v (%v)", test.name, keys.Outcome, keys.Why)
		}
		dir := directory(t, map[string][]byte{
			"root": pemOf(root.Raw), "sub": pemOf(test.sub.Raw), "mine": pemOf(test.der),
			"crls": append(pemCRL(test.crls[0]), pemCRL(test.crls[1])...),
		})
		cmd := exec.Command(openssl, "verify", "-crl_check_all", "-purpose", "smimeencrypt", "-verify_email", alice, "-no-CApath", "-no-CAstore",
			"-attime", strconv.FormatInt(noon.Unix(), 10), "-CAfile", "root", "-untrusted", "sub", "-CRLfile", "crls", "mine")
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if got := err == nil; got != test.want {
			t.Errorf("%s: OpenSSL says %v\n%s", test.name, err, out)
		}
	}
}

// A CRL that OpenSSL has made is read.
func TestCRLMadeByOpenSSL(t *testing.T) {
	openssl := judges.Find(t, "openssl")
	dir := directory(t, map[string][]byte{
		"index.txt": []byte("R\t270101000000Z\t260501120000Z,keyCompromise\t07\tunknown\t/CN=alice\n"),
		"number":    []byte("01\n"),
		"cnf": []byte("[ca]\ndefault_ca=x\n[x]\ndatabase=index.txt\ncrlnumber=number\ndefault_md=sha256\ndefault_crl_days=30\n" +
			"crl_extensions=e\n[e]\nauthorityKeyIdentifier=keyid\n[req]\ndistinguished_name=n\n[n]\n"),
	})
	for _, args := range [][]string{
		{"req", "-x509", "-config", "cnf", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "key", "-out", "ca",
			"-subj", "/CN=Made by OpenSSL", "-days", "30", "-addext", "subjectKeyIdentifier=hash", "-addext", "basicConstraints=critical,CA:true"},
		{"ca", "-gencrl", "-config", "cnf", "-keyfile", "key", "-cert", "ca", "-out", "made.crl"},
	} {
		cmd := exec.Command(openssl, args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("openssl %q: %v\n%s", args, err, out)
		}
	}
	authorities, err := LoadAuthorities(filepath.Join(dir, "ca"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"index.txt", "number", "cnf", "key", "ca"} {
		os.Remove(filepath.Join(dir, name))
	}
	c, err := OpenCRLs(dir, authorities)
	if err != nil {
		t.Fatal(err)
	}
	ca := &authority{authorities[0], newAuthority(t, "x", nil).key}
	withoutKey := func(number int64) []byte { // names the issuer; nobody looks at who signed it
		der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(number)},
			&x509.Certificate{RawSubject: ca.RawSubject}, rsaKey().Public(), ca.key)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	now := time.Now()
	if err := c.Check(withoutKey(7), now); err == nil || err.Error() != "revoked on 2026-05-01" {
		t.Errorf("number 7: %v", err)
	}
	if err := c.Check(withoutKey(8), now); err != nil {
		t.Errorf("number 8: %v", err)
	}
	if err := c.Check(withoutKey(8), now.AddDate(0, 0, 31)); !isUnknown(err) {
		t.Errorf("number 8, later: %v", err)
	}
}
