package main

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"smimea.example/internal/config"
	"smimea.example/tools/testnet"
)

// A postmaster who has no listener for copies reads how to make one, as the README
// says it.
func TestCheckShowsTheListener(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, lines, _ := strings.Cut(string(readme), "```cfg\n# /etc/postfix/master.cf, for copies\n")
	lines, _, _ = strings.Cut(lines, "```")
	if got := listenerLines("127.0.0.1:10026", 100) + "\n"; got != lines {
		t.Errorf("-check shows\n%s, the README\n%s", got, lines)
	}
	out := checkCopies(t, "127.0.0.1:9", t.TempDir()) // where nobody listens
	if !strings.HasPrefix(out, "error: copies cannot go to 127.0.0.1:9, ") || !strings.Contains(out, "\n127.0.0.1:9 inet n - y - 110 smtpd\n  -o ") {
		t.Errorf("no listener: %s", out)
	}
}

func TestCheckAsksTheListener(t *testing.T) {
	good, err := testnet.StartMail("", "")
	if err != nil {
		t.Fatal(err)
	}
	defer good.Close()
	if out := checkCopies(t, good.Addr(), t.TempDir()); !strings.HasPrefix(out, "ok: copies go to "+good.Addr()+": ") {
		t.Errorf("a good one: %s", out)
	}
	if out := checkCopies(t, withoutDSN(t), t.TempDir()); !strings.Contains(out, "it does not offer DSN (smtpd_discard_ehlo_keywords)") {
		t.Errorf("without DSN: %s", out)
	}
}

// withoutDSN starts a listener where a bounce of a copy would quote what is in clear.
func withoutDSN(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		io.WriteString(conn, "220 mail.house.test\r\n")
		bufio.NewReader(conn).ReadString('\n')
		io.WriteString(conn, "250 mail.house.test\r\n")
	}()
	return l.Addr().String()
}

func TestCheckLooksAtTheJournal(t *testing.T) {
	open := t.TempDir()
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	missing := filepath.Join(t.TempDir(), "missing")
	for dir, want := range map[string]string{
		t.TempDir(): "ok: resubmit.journal: ",
		open:        "warning: resubmit.journal: others may write to " + open + " (chmod 700 ",
		missing:     "warning: resubmit.journal: there is no " + missing + "; ",
	} {
		if out := checkCopies(t, "127.0.0.1:9", dir); !strings.Contains(out, "\n"+want) {
			t.Errorf("%s: no line %q in\n%s", dir, want, out)
		}
	}
}

// checkCopies returns what -check says of copies.
func checkCopies(t *testing.T, listener, journal string) string {
	t.Helper()
	settings, err := config.Parse([]byte(neverRule+"\n[resubmit]\naddress = \"inet:"+listener+"\"\njournal = \""+journal+"/journal.db\"\n"), "smimea.toml")
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	r := report{w: &out}
	r.resubmit(settings)
	return out.String()
}
