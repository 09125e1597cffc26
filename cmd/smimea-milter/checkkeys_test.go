package main

import (
	"bytes"
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
	"syscall"
	"testing"
	"time"

	"smimea.example/internal/cms"
	"smimea.example/internal/config"
	"smimea.example/internal/gateway"
	"smimea.example/keystore"
	"smimea.example/tools/testnet"
)

// keyFiles are the files that the table [keys] names: root.pem with a CA, and
// the directories alice and crls.
type keyFiles struct {
	t   *testing.T
	dir string
	key *ecdsa.PrivateKey
	ca  *x509.Certificate
}

func newKeyFiles(t *testing.T) *keyFiles {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	f := &keyFiles{t: t, dir: t.TempDir(), key: key}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "House CA"},
		NotBefore: time.Now().AddDate(0, 0, -10), NotAfter: time.Now().AddDate(0, 0, 10),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, BasicConstraintsValid: true, IsCA: true,
	}
	f.write("root.pem", "CERTIFICATE", f.create(template, template))
	for _, name := range []string{"alice", "crls"} {
		if err := os.Mkdir(filepath.Join(f.dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	alice := *template
	alice.IsCA, alice.KeyUsage, alice.EmailAddresses = false, 0, []string{"alice@example.org"}
	f.write("alice/alice.pem", "CERTIFICATE", f.create(&alice, f.ca))
	return f
}

// create makes a certificate; the first one is the CA's.
func (f *keyFiles) create(template, parent *x509.Certificate) []byte {
	f.t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, f.key.Public(), f.key)
	if err != nil {
		f.t.Fatal(err)
	}
	if f.ca == nil {
		if f.ca, err = x509.ParseCertificate(der); err != nil {
			f.t.Fatal(err)
		}
	}
	return der
}

// crl puts a CRL there that begins and ends so long from now.
func (f *keyFiles) crl(file string, begins, ends time.Duration, serials ...int64) {
	f.t.Helper()
	template := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now().Add(begins), NextUpdate: time.Now().Add(ends)}
	for _, n := range serials {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: big.NewInt(n), RevocationTime: time.Now()})
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, f.ca, f.key)
	if err != nil {
		f.t.Fatal(err)
	}
	f.write("crls/"+file, "X509 CRL", der)
}

func (f *keyFiles) write(name, kind string, der []byte) {
	f.t.Helper()
	content := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	if err := os.WriteFile(filepath.Join(f.dir, name), content, 0o600); err != nil {
		f.t.Fatal(err)
	}
}

func TestKeysFindings(t *testing.T) {
	const day = 24 * time.Hour
	f := newKeyFiles(t)
	root := filepath.Join(f.dir, "root.pem")
	roots, err := keystore.LoadAuthorities(root)
	if err != nil {
		t.Fatal(err)
	}
	alice, err := keystore.OpenDir(filepath.Join(f.dir, "alice"))
	if err != nil {
		t.Fatal(err)
	}
	type crl struct {
		file         string
		begins, ends time.Duration
	}
	for _, tt := range []struct {
		name  string
		found config.Certificates
		crls  []crl // with two entries each
		after time.Duration
		want  []string // lines, by how they begin
	}{
		{"nothing", config.Certificates{}, nil, 0, nil},
		{"pinned", config.Certificates{Pinned: alice}, nil, 0, []string{"ok: pinned: 1 certificate in PINNED\n"}},
		{"candidates", config.Certificates{Candidates: alice}, nil, 0, []string{"ok: candidates: 1 certificate in CANDIDATES\n"}},
		{"roots, no CRLs", config.Certificates{Roots: roots}, nil, 0,
			[]string{"ok: roots: 1 CA in ROOTS\n", "warning: crls: there are none, so that nobody sees"}},
		{"intermediates", config.Certificates{Intermediates: roots}, nil, 0, []string{"ok: intermediates: 1 CA in INTERMEDIATES\n"}},
		{"expired", config.Certificates{Intermediates: roots}, nil, 11 * day,
			[]string{"ok: intermediates: 1 CA", `warning: intermediates: "CN=House CA" has expired on `}},
		{"not yet valid", config.Certificates{Intermediates: roots}, nil, -11 * day,
			[]string{"ok: intermediates: 1 CA", `warning: intermediates: "CN=House CA" is not valid before `}},
		{"CRLs", config.Certificates{Roots: roots}, []crl{{"a.crl", -day, 5 * day}}, 0,
			[]string{"ok: roots: 1 CA", "ok: crls: 1 CRL in CRLS, with 2 entries\n"}},
		{"an empty directory", config.Certificates{Roots: roots}, []crl{}, 0,
			[]string{"ok: roots: 1 CA", "warning: crls: there is none in CRLS (put"}},
		{"a CRL that ends soon", config.Certificates{Roots: roots}, []crl{{"a.crl", -day, day}}, 0,
			[]string{"ok: roots: 1 CA", "ok: crls: 1 CRL in CRLS", `warning: crls: a.crl, of "CN=House CA", ends on `}},
		{"a CRL out of date", config.Certificates{Roots: roots}, []crl{{"a.crl", -day, day}}, 2 * day,
			[]string{"ok: roots: 1 CA", "ok: crls: 1 CRL in CRLS", `warning: crls: mail to holders of certificates of "CN=House CA" is deferred: the CRL a.crl ended on `}},
		{"an old CRL beside a new one", config.Certificates{Roots: roots}, []crl{{"a.crl", -2 * day, -day}, {"b.crl", -day, 5 * day}}, 0,
			[]string{"ok: roots: 1 CA", "ok: crls: 2 CRLs in CRLS, with 2 entries\n", "ok: crls: a.crl: there is a newer one"}},
	} {
		dir := filepath.Join(f.dir, "crls")
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if tt.crls != nil {
			for _, c := range tt.crls {
				f.crl(c.file, c.begins, c.ends, 7, 8)
			}
			if tt.found.CRLs, err = keystore.OpenCRLs(dir, roots); err != nil {
				t.Fatal(err)
			}
		}
		var out bytes.Buffer
		r := report{w: &out}
		r.keys(config.Keys{Pinned: "PINNED", Candidates: "CANDIDATES", Roots: "ROOTS", Intermediates: "INTERMEDIATES", CRLs: "CRLS"},
			tt.found, time.Now().Add(tt.after))
		lines := strings.SplitAfter(out.String(), "\n")
		good := len(lines) == len(tt.want)+1
		for i := range tt.want {
			good = good && strings.HasPrefix(lines[i], tt.want[i])
		}
		if !good || r.failed {
			t.Errorf("%s: got\n%swant\n%s", tt.name, out.String(), strings.Join(tt.want, "\n"))
		}
	}
}

// A running daemon is told of new candidates and CRLs, and is not harmed by
// broken ones.
func TestReloadKeys(t *testing.T) {
	f := newKeyFiles(t)
	f.crl("ca.crl", -time.Hour, time.Hour)
	d := startDaemonWith(t, fmt.Sprintf("[dns]\nupstreams = [\"127.0.0.1:9\"]\n[keys]\ncandidates = %q\nroots = %q\ncrls = %q\n",
		filepath.Join(f.dir, "alice"), filepath.Join(f.dir, "root.pem"), filepath.Join(f.dir, "crls"))+neverRule)
	d.signal(syscall.SIGHUP)
	d.waitFor(`"msg":"read the candidates","number":1`)
	d.waitFor(`"msg":"read the CRLs","number":1`)
	if err := os.WriteFile(filepath.Join(f.dir, "alice", "alice.pem"), []byte("half a"), 0o600); err != nil {
		t.Fatal(err)
	}
	f.crl("old.crl", -3*time.Hour, -2*time.Hour)
	f.crl("ca.crl", -4*time.Hour, -3*time.Hour)
	d.signal(syscall.SIGHUP)
	d.waitFor(`"msg":"reading the candidates; the old ones stay in force"`)
	d.waitFor(`"msg":"read the CRLs","number":2`) // whatever becomes of the candidates
	d.waitFor(`the CRL old.crl ended on`)
	f.write("crls/old.crl", "X509 CRL", []byte("half a"))
	d.signal(syscall.SIGHUP)
	d.waitFor(`old.crl: holds no CRL of version 2 that could be read`)
}

// One bad file does not keep the daemon from starting, and is told of.
func TestStartWithAFaultyCRL(t *testing.T) {
	f := newKeyFiles(t)
	f.crl("ca.crl", -time.Hour, time.Hour)
	f.write("crls/other.crl", "X509 CRL", []byte("half a"))
	d := startDaemonWith(t, fmt.Sprintf("[dns]\nupstreams = [\"127.0.0.1:9\"]\n[keys]\nroots = %q\ncrls = %q\n",
		filepath.Join(f.dir, "root.pem"), filepath.Join(f.dir, "crls"))+neverRule)
	d.signal(syscall.SIGHUP)
	d.waitFor(`"msg":"reading the CRLs; revoked certificates may be used"`)
}

func TestCheckTellsOfKeys(t *testing.T) {
	f := newKeyFiles(t)
	settings := filepath.Join(f.dir, "smimea.toml")
	check := func() string {
		t.Helper()
		content := fmt.Sprintf("listen = [\"inet:127.0.0.1:8893\"]\n[dns]\nupstreams = [%q]\ntry = \"200ms\"\nbudget = \"1s\"\n[keys]\nroots = %q\ncrls = %q\n%s",
			deadPort(t), filepath.Join(f.dir, "root.pem"), filepath.Join(f.dir, "crls"), neverRule)
		if err := os.WriteFile(settings, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		checkAll(settings, &out)
		return out.String()
	}
	f.crl("ca.crl", -time.Hour, time.Hour)
	if out := check(); !strings.Contains(out, "\nok: roots: 1 CA in ") || !strings.Contains(out, "\nwarning: crls: ca.crl, of ") {
		t.Errorf("roots and a CRL that ends soon:\n%s", out)
	}
	f.write("crls/ca.crl", "CERTIFICATE", f.ca.Raw)
	f.crl("b.crl", -time.Hour, time.Hour)
	if out := check(); !strings.Contains(out, "\nerror: crls: "+filepath.Join(f.dir, "crls", "ca.crl")+": holds a certificate, not a CRL (nothing in it counts") ||
		!strings.Contains(out, "\nok: crls: 1 CRL in ") {
		t.Errorf("a certificate in the place of a CRL:\n%s", out)
	}
	// What else there is, is looked at all the same.
	if err := os.WriteFile(filepath.Join(f.dir, "root.pem"), []byte("half a"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := check(); !strings.Contains(out, "error: "+settings+": keys.roots: ") || !strings.Contains(out, "\nok: "+settings+": 1 rule\n") ||
		!strings.Contains(out, "\nerror: upstream ") || !strings.Contains(out, "\nok: socket ") {
		t.Errorf("roots that cannot be read:\n%s", out)
	}
}

// What will never do what somebody may hope of it.
func TestCheckKeysInVain(t *testing.T) {
	f := newKeyFiles(t)
	other, err := x509.ParseCertificate(f.create(&x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "Other CA"}, NotAfter: time.Now().AddDate(0, 0, 10),
		BasicConstraintsValid: true, IsCA: true,
	}, f.ca))
	if err != nil {
		t.Fatal(err)
	}
	f.crl("ca.crl", -time.Hour, 100*time.Hour)
	out := func(now time.Time) string {
		t.Helper()
		crls, err := keystore.OpenCRLs(filepath.Join(f.dir, "crls"), []*x509.Certificate{f.ca})
		if err != nil {
			t.Fatal(err)
		}
		alice, err := keystore.OpenDir(filepath.Join(f.dir, "alice"))
		if err != nil {
			t.Fatal(err)
		}
		var text bytes.Buffer
		r := &report{w: &text}
		r.keys(config.Keys{}, config.Certificates{Candidates: alice, Roots: []*x509.Certificate{f.ca, other}, CRLs: crls}, now)
		return text.String()
	}
	const uncovered = `warning: crls: none is by "Other CA": what these revoke is not seen`
	if got := out(time.Now()); !strings.Contains(got, uncovered) || strings.Contains(got, "cannot be used") {
		t.Errorf("one CA with a CRL, and one without:\n%s", got)
	}
	if got := out(time.Now().AddDate(0, 1, 0)); !strings.Contains(got, "warning: candidates: alice.pem cannot be used: expired on ") {
		t.Errorf("an expired candidate:\n%s", got)
	}
}

// An archive goes on getting envelopes when its certificate has ended, and somebody
// should hear of that.
func TestCheckArchives(t *testing.T) {
	now := time.Now()
	archive := func(until time.Time) gateway.Rule {
		der, _, err := testnet.NewCertificate(testnet.Subject{Address: "archive@example.org", NotBefore: now.AddDate(-2, 0, 0), NotAfter: until})
		if err != nil {
			t.Fatal(err)
		}
		c, err := cms.NewRecipient(der)
		if err != nil {
			t.Fatal(err)
		}
		return gateway.Rule{Archive: c}
	}
	var out bytes.Buffer
	(&report{w: &out}).archives([]gateway.Rule{{}, archive(now.AddDate(1, 0, 0)), archive(now.AddDate(-1, 0, 0))}, now)
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 2 || !strings.HasPrefix(lines[0], "ok: rule 2: archive: ") || !strings.HasPrefix(lines[1], "warning: rule 3: archive: ") {
		t.Errorf("%s", out.String())
	}
}
