package milter

import (
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"testing"
)

func TestParseSpec(t *testing.T) {
	good := func(spec, network, address, why string) {
		t.Helper()
		n, a, err := ParseSpec(spec)
		if err != nil || n != network || a != address {
			t.Errorf("ParseSpec(%q) = %q, %q, %v; want %q, %q: %s", spec, n, a, err, network, address, why)
		}
	}
	bad := func(spec, why string) {
		t.Helper()
		if n, a, err := ParseSpec(spec); err == nil {
			t.Errorf("ParseSpec(%q) = %q, %q, but %s", spec, n, a, why)
		}
	}
	good("unix:/run/smimea/milter.sock", "unix", "/run/smimea/milter.sock", "Postfix's way")
	good("local:/run/smimea/milter.sock", "unix", "/run/smimea/milter.sock", "Sendmail's way")
	good("inet:127.0.0.1:8893", "tcp", "127.0.0.1:8893", "Postfix's way")
	good("inet:8893@127.0.0.1", "tcp", "127.0.0.1:8893", "Sendmail's way")
	good("inet:[::1]:8893", "tcp", "[::1]:8893", "IPv6 in Postfix's way")
	good("inet6:8893@[::1]", "tcp", "[::1]:8893", "IPv6 in Sendmail's way")
	good("inet:localhost:8893", "tcp", "localhost:8893", "a name")
	bad("unix:smimea/milter.sock", "it depends on where the daemon was started")
	bad("unix:", "the path is missing")
	bad("inet::8893", "it would listen everywhere, unsaid")
	bad("inet:8893", "the host is missing")
	bad("inet:127.0.0.1:", "the port is missing")
	bad("inet:8893@", "the host is missing")
	bad("127.0.0.1:8893", "the kind is missing")
	bad("", "there is nothing")
}

func TestListenUnix(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "milter.sock")
	l, err := Listen("unix:" + path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	info, err := os.Stat(path)
	if err != nil || info.Mode() != fs.ModeSocket|0o660 {
		t.Errorf("%v, %v; want a socket of mode 0660", info.Mode(), err)
	}
	if _, err := Listen("unix:" + path); err == nil {
		t.Error("took a socket that is in use")
	}

	// What a killed process leaves behind.
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	l, err = Listen("unix:" + path)
	if err != nil {
		t.Fatalf("a stale socket: %v", err)
	}
	l.Close()

	for name, make := range map[string]func(string) error{
		"file":      func(p string) error { return os.WriteFile(p, []byte("precious"), 0o600) },
		"directory": func(p string) error { return os.Mkdir(p, 0o700) },
		"symlink":   func(p string) error { return os.Symlink("elsewhere", p) },
	} {
		path := filepath.Join(dir, name)
		if err := make(path); err != nil {
			t.Fatal(err)
		}
		if _, err := Listen("unix:" + path); err == nil {
			t.Errorf("%s: listened at it", name)
		}
		if _, err := os.Lstat(path); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
