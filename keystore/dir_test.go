package keystore

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"smimea.example/internal/cms"

	"smimea.example/smimea"
)

// directory writes files and returns where.
func directory(t *testing.T, files map[string][]byte) string {
	t.Helper()
	path := t.TempDir()
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(path, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

func open(t *testing.T, path string) *Dir {
	t.Helper()
	d, err := OpenDir(path)
	if err != nil {
		t.Fatal(err)
	}
	d.Now = atNoon
	return d
}

func TestDirFind(t *testing.T) {
	mine := cert{emails: []string{alice, "sales@example.org"}}.der(t)
	bobs := cert{emails: []string{"bob@example.org"}}.der(t)
	gateway := cert{emails: []string{"gateway@example.com"}}.der(t)
	carols := cert{}.der(t)
	newer := cert{notBefore: noon.AddDate(0, 0, -1)}.der(t)
	old := cert{notAfter: noon.AddDate(0, 0, -1)}.der(t)
	d := open(t, directory(t, map[string][]byte{
		"alice.pem":   pemOf(mine),
		"bob.DER":     bobs,
		"gateway.crt": pemOf(gateway),
		"carol.cer":   carols,
		"newer.der":   newer,
		"old.der":     old,
		"README":      []byte("not a certificate"),
		".new-1.pem":  []byte("half a fil"),
		"index": []byte("# partners\n\n" +
			"@Example.COM\tgateway.crt\n" +
			"  carol@example.com   carol.cer\r\n" +
			"carol@example.com newer.der\n" +
			"\"a b\"@example.com carol.cer\n" +
			"@例え.テスト gateway.crt\n" +
			"@old.example old.der\n" +
			"dave@[192.0.2.1] carol.cer"),
	}))
	for _, test := range []struct {
		name, address string
		want          [][]byte
	}{
		{"named in the certificate", alice, [][]byte{mine}},
		{"named in it too", "sales@example.org", [][]byte{mine}},
		{"the domain has no case", "alice@EXAMPLE.ORG", [][]byte{mine}},
		{"the local part has", "Alice@example.org", nil},
		{"written differently", `(x)"alice"@example.org.`, [][]byte{mine}},
		{"DER", "bob@example.org", [][]byte{bobs}},
		{"a whole domain", "anybody@example.com", [][]byte{gateway}},
		{"not its subdomains", "anybody@sub.example.com", nil},
		{"the exact address wins", "carol@example.com", [][]byte{newer, carols}},
		{"quoted in the index", `"a b"@example.com`, [][]byte{carols}},
		{"a domain in A-labels", "anybody@xn--r8jz45g.xn--zckzah", [][]byte{gateway}},
		{"an address literal", "dave@[192.0.2.1]", [][]byte{carols}},
		{"the index speaks for a file alone", "gateway@example.org", nil},
		{"nobody's", "eve@example.org", nil},
		{"a path", "../alice.pem@example.org", nil},
		{"a path as domain", "alice@../../etc", nil},
		{"no address", "alice", nil},
		{"empty", "", nil},
	} {
		keys := d.Find(context.Background(), test.address)
		if test.want == nil {
			if keys.Outcome != None || keys.Why == nil || keys.Certs != nil {
				t.Errorf("%s: Find(%q) = %v (%v)", test.name, test.address, keys.Outcome, keys.Why)
			}
			continue
		}
		var got [][]byte
		for _, r := range keys.Certs {
			got = append(got, r.Certificate().Raw)
		}
		if keys.Outcome != Found || keys.Origin != "pinned" || !slices.EqualFunc(got, test.want, bytes.Equal) {
			t.Errorf("%s: Find(%q) = %v from %q (%v), %d certificates", test.name, test.address, keys.Outcome, keys.Origin, keys.Why, len(got))
		}
	}

	keys := d.Find(context.Background(), "x@old.example")
	if keys.Outcome != Unusable || len(keys.Warnings) != 1 || !strings.Contains(keys.Warnings[0], "expired on 2026-05-31") {
		t.Errorf("an expired pin: %v, warnings %q", keys.Outcome, keys.Warnings)
	}
	keys = Chain{d, answer(Found)}.Find(context.Background(), "x@old.example")
	if keys.Outcome != Found || len(keys.Warnings) != 2 || keys.Origin != "found" {
		t.Errorf("an expired pin before the DNS: %v from %q, warnings %q", keys.Outcome, keys.Origin, keys.Warnings)
	}
}

func TestDirRefusesToOpen(t *testing.T) {
	mine := pemOf(cert{emails: []string{alice}}.der(t))
	nameless := pemOf(cert{}.der(t))
	pkcs8, err := x509.MarshalPKCS8PrivateKey(ecKey())
	if err != nil {
		t.Fatal(err)
	}
	sec1, err := x509.MarshalECPrivateKey(ecKey())
	if err != nil {
		t.Fatal(err)
	}
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
	for _, test := range []struct {
		name  string
		files map[string][]byte
		want  string // at the end of the directory's path
	}{
		{"private key beside the certificate", map[string][]byte{"a.pem": slices.Concat(mine, key)}, "/a.pem: holds a private key"},
		{"private key before the certificate", map[string][]byte{"a.pem": slices.Concat(key, mine)}, "/a.pem: holds a private key"},
		{"private key in PKCS #8", map[string][]byte{"a.der": pkcs8}, "/a.der: holds a private key"},
		{"private key in SEC 1", map[string][]byte{"a.der": sec1}, "/a.der: holds a private key"},
		{"private key in PKCS #1", map[string][]byte{"a.der": x509.MarshalPKCS1PrivateKey(rsaKey())}, "/a.der: holds a private key"},
		{"noise", map[string][]byte{"a.crt": []byte("noise")}, "/a.crt: holds no certificate"},
		{"empty file", map[string][]byte{"a.crt": nil}, "/a.crt: holds no certificate"},
		{"PEM of something else", map[string][]byte{"a.pem": []byte("-----BEGIN X-----\nMAA=\n-----END X-----\n")}, "/a.pem: holds a x, not a certificate"},
		{"PEM that is cut off", map[string][]byte{"a.pem": mine[:len(mine)-5]}, "/a.pem: holds a PEM block that is cut off"},
		{"PEM of noise", map[string][]byte{"a.pem": pemOf([]byte("noise"))}, "/a.pem: holds no certificate"},
		{"too many certificates", map[string][]byte{"a.pem": bytes.Repeat(mine, maxCertificates+1)}, "/a.pem: holds more than 100"},
		{"several certificates", map[string][]byte{"a.pem": slices.Concat(mine, nameless)}, "/a.pem: holds several certificates"},
		{"too large", map[string][]byte{"a.pem": make([]byte, maxFile+1)}, "/a.pem: is larger than"},
		{"without a name", map[string][]byte{"a.pem": nameless}, "/a.pem: the certificate holds no mail address"},
		{"no such file", map[string][]byte{"index": []byte("#\n" + alice + " b.pem\n")}, `/index:2: there is no certificate file "b.pem"`},
		{"a path in the index", map[string][]byte{"a.pem": mine, "index": []byte(alice + " ../a.pem\n")}, `/index:1: "../a.pem" is not the bare name`},
		{"a hidden file in the index", map[string][]byte{"index": []byte(alice + " .a.pem\n")}, "/index:1: "},
		{"one word in the index", map[string][]byte{"index": []byte("\n\na.pem\n")}, "/index:3: a line has"},
		{"no address in the index", map[string][]byte{"a.pem": mine, "index": []byte("alice a.pem\n")}, "/index:1: "},
		{"a bare @ in the index", map[string][]byte{"a.pem": mine, "index": []byte("@ a.pem\n")}, "/index:1: "},
		{"a source route in the index", map[string][]byte{"a.pem": mine, "index": []byte("@x:alice@example.org a.pem\n")}, "/index:1: "},
	} {
		path := directory(t, test.files)
		_, err := OpenDir(path)
		if err == nil || !strings.HasPrefix(err.Error(), path+test.want) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
		if got, want := errors.Is(err, ErrPrivateKey), strings.Contains(test.name, "private key"); got != want {
			t.Errorf("%s: ErrPrivateKey: %v", test.name, got)
		}
	}
	if _, err := OpenDir(filepath.Join(t.TempDir(), "missing")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing directory: %v", err)
	}
	pipe := directory(t, nil)
	if err := syscall.Mkfifo(filepath.Join(pipe, "a.pem"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenDir(pipe); err == nil || !strings.Contains(err.Error(), "is not a file") {
		t.Errorf("a pipe: %v", err)
	}
}

// Of a candidate somebody else says whose it is, so letters in ASCII compare
// without case. Of one that is pinned nobody else does.
func TestDirCandidates(t *testing.T) {
	mine := cert{emails: []string{"Alice@Example.org"}}.der(t)
	d := open(t, directory(t, map[string][]byte{
		"alice.pem": pemOf(mine),
		"sato.pem":  pemOf(mine),
		"index":     []byte("Alice@example.org alice.pem\nALICE@example.org alice.pem\nÉtienne@example.org sato.pem\n@example.com sato.pem\n"),
	}))
	for address, want := range map[string][2]int{ // candidates, pinned
		"Alice@example.org":   {1, 1},
		"alice@EXAMPLE.org":   {1, 0},
		"Étienne@example.org": {1, 1},
		"étienne@example.org": {0, 0},
		"Bob@example.com":     {1, 1},
		"bob@example.org":     {0, 0},
	} {
		a, err := smimea.ParseAddress(address)
		if err != nil {
			t.Fatal(err)
		}
		pinned, _ := d.certificates(address)
		if got := [2]int{len(d.Candidates(a)), len(pinned)}; got != want {
			t.Errorf("%s: %v, want %v", address, got, want)
		}
	}
}

func TestDirReload(t *testing.T) {
	path := directory(t, nil)
	d := open(t, path)
	if keys := d.Find(context.Background(), alice); keys.Outcome != None {
		t.Fatalf("an empty directory: %v", keys.Outcome)
	}
	file := filepath.Join(path, "alice.pem")
	if err := os.WriteFile(file, pemOf(cert{emails: []string{alice}}.der(t)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := d.Reload(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := d.Reload(); err == nil {
		t.Error("a broken file was read")
	}
	if keys := d.Find(context.Background(), alice); keys.Outcome != Found {
		t.Errorf("after a failed Reload: %v (%v)", keys.Outcome, keys.Why)
	}
}

func TestPinAndForget(t *testing.T) {
	path := directory(t, map[string][]byte{"index": []byte("# mine\n")})
	d := open(t, path)
	ctx := context.Background()
	der := cert{emails: []string{"bob@example.org"}}.der(t)
	outcome := func(address string) Outcome { return open(t, path).Find(ctx, address).Outcome }

	pin := func(whom string, want ...string) {
		t.Helper()
		p, err := d.Pin(whom, pemOf(der))
		if err != nil || !slices.Equal(p.For, want) || p.File != cms.Fingerprint(der)+".pem" {
			t.Errorf("Pin(%q) = %q, %q, %v", whom, p.File, p.For, err)
		}
	}
	pin(alice, alice)
	if outcome(alice) != Found || outcome("bob@example.org") != None {
		t.Error("pinned for alice: alice", outcome(alice), "bob", outcome("bob@example.org"))
	}
	pin(alice, alice) // once more changes nothing
	pin("@Example.com", alice, "@example.com")
	pin("", alice, "@example.com", "bob@example.org")
	pin("#a@example.net", alice, "@example.com", "bob@example.org", `"#a"@example.net`)
	if outcome("x@example.com") != Found || outcome("bob@example.org") != Found || outcome("#a@example.net") != Found {
		t.Error("not all pins can be found")
	}
	if list := d.List(); len(list) != 1 || !bytes.Equal(list[0].DER, der) || len(list[0].For) != 4 {
		t.Errorf("List = %+v", list)
	}

	forget := func(whom string) {
		t.Helper()
		gone, err := d.Forget(whom)
		if err != nil || len(gone) != 1 || !bytes.Equal(gone[0].DER, der) {
			t.Errorf("Forget(%q) = %+v, %v", whom, gone, err)
		}
	}
	forget(`"alice"@EXAMPLE.org`)
	if outcome(alice) != None || outcome("bob@example.org") != Found {
		t.Error("alice", outcome(alice), "bob", outcome("bob@example.org"))
	}
	if _, err := d.Forget(alice); !errors.Is(err, ErrNotPinned) {
		t.Errorf("Forget again: %v", err)
	}
	forget("@example.com")
	forget("#a@example.net")
	forget("bob@example.org")
	entries, err := os.ReadDir(path)
	if err != nil || len(entries) != 1 || entries[0].Name() != "index" {
		t.Errorf("left: %v, %v", entries, err)
	}
	if index, err := os.ReadFile(filepath.Join(path, "index")); string(index) != "# mine\n" {
		t.Errorf("the index is %q, %v", index, err)
	}
}

// A file that was put there by hand has no line in the index until it needs one.
func TestForgetOneOfSeveralNames(t *testing.T) {
	path := directory(t, map[string][]byte{"both.pem": pemOf(cert{emails: []string{alice, "bob@example.org"}}.der(t))})
	d := open(t, path)
	if _, err := d.Forget(alice); err != nil {
		t.Fatal(err)
	}
	d = open(t, path)
	if got := d.Find(context.Background(), alice).Outcome; got != None {
		t.Errorf("alice: %v", got)
	}
	if got := d.Find(context.Background(), "bob@example.org").Outcome; got != Found {
		t.Errorf("bob: %v", got)
	}
}

// A blank that is not ASCII belongs to the address: without it the address is
// somebody else's.
func TestPinWithForeignBlanks(t *testing.T) {
	der := cert{}.der(t)
	for _, blank := range []string{"\u00a0", "\u3000", "\u2028"} {
		for _, whom := range []string{blank + alice, alice[:5] + blank + alice[5:]} {
			path := directory(t, nil)
			if _, err := open(t, path).Pin(whom, pemOf(der)); err != nil {
				t.Fatalf("Pin(%q): %v", whom, err)
			}
			d := open(t, path)
			if got := d.Find(context.Background(), whom).Outcome; got != Found {
				t.Errorf("pinned for %q: %v", whom, got)
			}
			if got := d.Find(context.Background(), alice).Outcome; got != None {
				t.Errorf("pinned for %q, and for alice: %v", whom, got)
			}
		}
	}
}

// What cannot be written leaves the directory as it was.
func TestPinFails(t *testing.T) {
	der := cert{}.der(t)
	index := alice + " a.pem\n"
	path := directory(t, map[string][]byte{"a.pem": pemOf(cert{}.der(t)), "index": []byte(index)})
	d := open(t, path)
	if err := os.Mkdir(filepath.Join(path, cms.Fingerprint(der)+".pem"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Pin(alice, pemOf(der)); err == nil {
		t.Fatal("a file took the place of a directory")
	}
	if content, err := os.ReadFile(filepath.Join(path, "index")); string(content) != index {
		t.Errorf("the index is %q, %v", content, err)
	}
	open(t, path)
}

func TestForgetOddFileNames(t *testing.T) {
	both := pemOf(cert{emails: []string{alice, "bob@example.org"}}.der(t))
	for _, name := range []string{"my cert.pem", "my\tcert.pem", "my\ncert.pem", `my\cert.pem`} {
		path := directory(t, map[string][]byte{name: pemOf(cert{emails: []string{alice}}.der(t))})
		if gone, err := open(t, path).Forget(alice); err != nil || len(gone) != 1 {
			t.Errorf("%q: %d forgotten, %v", name, len(gone), err)
		}
		if _, err := os.Stat(filepath.Join(path, name)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%q is still there: %v", name, err)
		}
		// One of its two names would need a line.
		path = directory(t, map[string][]byte{name: both})
		if _, err := open(t, path).Forget(alice); err == nil {
			t.Errorf("%q is in the index", name)
		}
		if got := open(t, path).Find(context.Background(), alice).Outcome; got != Found {
			t.Errorf("%q: alice %v", name, got)
		}
	}
}

// The daemon is another user.
func TestPinnedFilesCanBeRead(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o077))
	path := directory(t, nil)
	p, err := open(t, path).Pin(alice, pemOf(cert{}.der(t)))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{p.File, indexName} {
		info, err := os.Stat(filepath.Join(path, name))
		if err != nil || info.Mode().Perm() != 0o644 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
}

func TestDirBounds(t *testing.T) {
	path := directory(t, map[string][]byte{"a.pem": nil, "b": nil, "c": nil})
	if names, err := listFiles(path, 3, isCertificateFile); err != nil || len(names) != 1 {
		t.Errorf("3 files of 3: %q, %v", names, err)
	}
	if names, err := listFiles(path, 2, isCertificateFile); err == nil {
		t.Errorf("3 files of 2: %q", names)
	}
	var emails []string
	for i := range maxNames + 1 {
		emails = append(emails, fmt.Sprintf("a%d@example.org", i))
	}
	d := open(t, directory(t, map[string][]byte{"a.pem": pemOf(cert{emails: emails}.der(t))}))
	if n := len(d.List()[0].For); n != maxNames {
		t.Errorf("for %d addresses", n)
	}
	last := d.Find(context.Background(), emails[maxNames-1]).Outcome
	if more := d.Find(context.Background(), emails[maxNames]).Outcome; last != Found || more != None {
		t.Errorf("the last one %v, one more %v", last, more)
	}
}

func TestPinRefuses(t *testing.T) {
	good := cert{}.der(t)
	for _, test := range []struct {
		name, whom string
		content    []byte
		want       string
	}{
		{"an expired certificate", alice, cert{notAfter: noon.AddDate(0, 0, -1)}.der(t), "expired on 2026-05-31"},
		{"a signing certificate", alice, cert{keyUsage: x509.KeyUsageDigitalSignature}.der(t), "keyEncipherment"},
		{"a weak key", alice, cert{key: weakKey()}.der(t), "1024"},
		{"a private key", alice, x509.MarshalPKCS1PrivateKey(rsaKey()), "private key"},
		{"noise", alice, []byte("noise"), "holds no certificate"},
		{"no name", "", good, "holds no mail address"},
		{"no address", "alice", good, "not a mail address"},
		{"a line of its own", "alice@example.org x.pem\n@", good, "not a mail address"},
	} {
		path := directory(t, nil)
		_, err := open(t, path).Pin(test.whom, test.content)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
		if entries, err := os.ReadDir(path); err != nil || len(entries) != 0 {
			t.Errorf("%s: left behind %v, %v", test.name, entries, err)
		}
	}
}

func FuzzIndexLine(f *testing.F) {
	for _, s := range []string{"alice@example.org a.pem", "@example.com\tb.der", `"a b"@c.test x.crt`, "# x", `"#a"@b x.pem`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		line, ok, err := parseIndexLine(text)
		if err != nil || !ok {
			return
		}
		if filepath.Base(line.file) != line.file {
			t.Errorf("%q leads out of the directory: %q", text, line.file)
		}
		written := line.mailbox.String() + "\t" + line.file
		again, ok, err := parseIndexLine(written)
		if len(written) < 1000 && (err != nil || !ok || again != line) {
			t.Errorf("%q is %+v, written as %q it is %+v, %v", text, line, written, again, err)
		}
	})
}
