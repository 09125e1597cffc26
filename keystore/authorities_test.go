package keystore

import (
	"bytes"
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLoadAuthorities(t *testing.T) {
	root := newAuthority(t, "Root", nil)
	sub := newAuthority(t, "Sub", root)
	person := sub.issue(t, 7)
	key := []byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
	many := bytes.Repeat(pemOf(root.Raw), maxAuthorities+1)
	for _, test := range []struct {
		name    string
		content []byte
		number  int
		want    string // of the error
	}{
		{"one", pemOf(root.Raw), 1, ""},
		{"two, with words between", append(append([]byte("# Root\n"), pemOf(root.Raw)...), append([]byte("# Sub\n"), pemOf(sub.Raw)...)...), 2, ""},
		{"as many as may be", many[:len(many)/(maxAuthorities+1)*maxAuthorities], maxAuthorities, ""},
		{"too many", many, 0, "more than 1000 certificates"},
		{"DER", root.Raw, 0, "openssl x509 -inform DER"},
		{"nothing", nil, 0, "holds no PEM"},
		{"a person", append(pemOf(root.Raw), pemOf(person)...), 0, "certificate 2 (CN=alice) is not a CA's: take it out"},
		{"a private key", append(pemOf(root.Raw), key...), 0, "private key"},
		{"a CRL", pemCRL(root.crl(t, revocation{})), 0, "holds a x509 crl, not a certificate"},
		{"damaged", pemOf(root.Raw)[:100], 0, "cut off or damaged"},
		{"noise in PEM", pemOf([]byte("hello")), 0, "certificate 1 cannot be read"},
	} {
		file := filepath.Join(t.TempDir(), "ca.pem")
		if err := os.WriteFile(file, test.content, 0o600); err != nil {
			t.Fatal(err)
		}
		authorities, err := LoadAuthorities(file)
		if len(authorities) != test.number || (err == nil) != (test.want == "") || err != nil &&
			(!strings.Contains(err.Error(), test.want) || !strings.HasPrefix(err.Error(), file)) {
			t.Errorf("%s: %d, %v, want %d, %q", test.name, len(authorities), err, test.number, test.want)
		}
	}
	if _, err := LoadAuthorities(filepath.Join(t.TempDir(), "missing")); !os.IsNotExist(err) {
		t.Errorf("no file: %v", err)
	}
}

// Old roots have version 1, in which nobody can say that he is a CA.
func TestOldRoot(t *testing.T) {
	root := newAuthority(t, "Root", nil)
	for _, test := range []struct {
		name string
		cert x509.Certificate
		want bool
	}{
		{"version 3", *root.Certificate, true},
		{"version 1", x509.Certificate{Version: 1, RawIssuer: root.RawSubject, RawSubject: root.RawSubject}, true},
		{"version 1, not signed by itself", x509.Certificate{Version: 1, RawIssuer: root.RawSubject}, false},
		{"version 3, no CA", x509.Certificate{Version: 3, RawIssuer: root.RawSubject, RawSubject: root.RawSubject}, false},
	} {
		if got := isAuthority(&test.cert); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}
