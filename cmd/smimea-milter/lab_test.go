package main_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"smimea.example/tools/judges"
	"smimea.example/tools/testnet"
)

// A lab is a small company and its partners, made of real programs: NSD serves
// zones that ldns signed, Unbound resolves them, Postfix or Sendmail with
// Debian's own configuration and the README's lines takes the house's mail,
// smimea-milter runs beside it as a user of its own, and a sink stands for all
// mail servers out there. Everything listens on loopback and lives in one
// directory.
type lab struct {
	t    *testing.T
	dir  string
	bin  string               // where the two commands are
	keys map[string]recipient // by address: who can read what
	sink *testnet.MailServer
	mta  mta

	resolver string // Unbound, host:port
	smtp     string // the MTA, host:port
	submit   string // its submission service, host:port
	milter   *exec.Cmd
	mode     string // of its settings; empty for the default
	unbound  *exec.Cmd
	rules    string // of its settings, before the last one
	copies   string // where the MTA takes copies back, host:port

	copiesTap *tap // before that, where there is one
}

// A recipient is somebody out there: the certificate published, and the key.
type recipient struct{ cert, key string } // PEM files

// An mta is the mail server of the house.
type mta interface {
	// start starts it until the end of the test. It listens at l.smtp, asks the
	// milter at l.socket(), and sends everything but the house's own mail to
	// l.sink. It makes the directory of the socket for the milter, which runs as
	// the user nobody.
	start(l *lab)

	// command is the sendmail command, which submits what it reads.
	command(l *lab, from string, to ...string) *exec.Cmd

	// takeBack has it take copies of mails back, at l.copies.
	takeBack(l *lab)

	custom() custom

	// takes says what it shows a milter of a mail of the corpus, or the reply that
	// refuses the mail.
	takes(s *sentMail) (m takenMail, refused string)
}

// startLab starts everything but the milter.
func startLab(t *testing.T, m mta) *lab {
	t.Helper()
	if os.Getuid() != 0 {
		judges.Missing(t, "root, for the mail server")
	}
	for _, program := range []string{"nsd", "unbound", "ldns-signzone", "ldns-keygen", "ldns-key2ds", "openssl"} {
		judges.Find(t, program)
	}
	dir, err := os.MkdirTemp("", "smimea-lab")
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{t: t, dir: dir, bin: filepath.Join(dir, "bin"), keys: map[string]recipient{}, mta: m}
	t.Cleanup(func() {
		if t.Failed() {
			for _, who := range []string{"postfix", "sendmail", "milter"} {
				if log := tail(l.path(who + ".log")); log != "" {
					t.Logf("%s said:\n%s", who, log)
				}
			}
		}
		os.RemoveAll(dir)
	})
	if err := os.Chmod(dir, 0o755); err != nil { // the milter is another user, and so is Postfix
		t.Fatal(err)
	}
	l.run("go", "build", "-o", l.bin+"/", "smimea.example/cmd/smimea", "smimea.example/cmd/smimea-milter")
	l.startDNS()
	if l.sink, err = testnet.StartMail("", ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.sink.Close() })
	m.start(l)
	t.Cleanup(l.stopMilter)
	return l
}

// sub runs a part of the test, which the lab's complaints then belong to.
func (l *lab) sub(name string, test func(t *testing.T)) {
	whole := l.t
	whole.Run(name, func(t *testing.T) {
		l.t = t
		defer func() { l.t = whole }()
		test(t)
	})
}

// run runs a command to its end and returns its standard output.
func (l *lab) run(name string, args ...string) []byte {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	if name != "go" {
		cmd.Dir = l.dir
	}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		l.t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, out.Bytes(), errs.Bytes())
	}
	return out.Bytes()
}

// start starts a server that ends with the test.
func (l *lab) start(name string, args ...string) {
	l.t.Helper()
	cmd := l.launch(name, args...)
	l.t.Cleanup(func() { stop(cmd) })
}

// launch starts a server.
func (l *lab) launch(name string, args ...string) *exec.Cmd {
	l.t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = l.dir
	log, err := os.Create(l.path(filepath.Base(name) + ".log"))
	if err != nil {
		l.t.Fatal(err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	return cmd
}

// stop asks a process to end, and makes it end.
func stop(cmd *exec.Cmd) {
	cmd.Process.Signal(syscall.SIGTERM)
	ended := make(chan struct{})
	go func() { cmd.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		cmd.Process.Kill()
		<-ended
	}
}

// socket is where the MTA finds the milter.
func (l *lab) socket() string { return l.path("spool/smimea/milter.sock") }

func (l *lab) path(name string) string { return filepath.Join(l.dir, name) }

func (l *lab) write(name, content string) string {
	l.t.Helper()
	path := l.path(name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		l.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		l.t.Fatal(err)
	}
	return path
}

// person makes a certificate and a key for an address.
func (l *lab) person(address, kind string) recipient {
	l.t.Helper()
	der, key, err := testnet.NewCertificate(testnet.Subject{Address: address, Kind: kind})
	if err != nil {
		l.t.Fatal(err)
	}
	r := recipient{
		cert: l.write(address+".pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))),
		key:  l.write(address+".key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8(l.t, key)}))),
	}
	l.keys[address] = r
	return r
}

func pkcs8(t *testing.T, key crypto.PrivateKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// published returns what `smimea publish` prints for a new person.
func (l *lab) published(address, kind string, flags ...string) string {
	l.t.Helper()
	args := append([]string{"publish", address, l.person(address, kind).cert}, flags...)
	return string(l.run(l.bin+"/smimea", args...))
}

// startDNS signs the zones with ldns, serves them with NSD, and resolves them
// with Unbound.
func (l *lab) startDNS() {
	authority, recursor := freePort(l.t), freePort(l.t)
	l.resolver = fmt.Sprintf("127.0.0.1:%d", recursor)

	broken := l.signZone("broken.test.", zoneHead("broken.test.")+l.published("alice@broken.test", "rsa"))
	l.forge("zones/broken.test.signed")
	good := l.signZone("good.test.", zoneHead("good.test.")+
		l.published("rsa@good.test", "rsa")+l.published("rsa2@good.test", "rsa")+l.published("ec@good.test", "ec")+
		l.published("brief@good.test", "rsa", "--ttl", "1")+l.mistakes())
	failing := l.signZone("failing.test.", zoneHead("failing.test.")+l.published("alice@failing.test", "rsa"))
	os.Remove(l.path("zones/failing.test.signed"))                                                                 // so that NSD answers with SERVFAIL
	silent := l.signZone("silent.test.", strings.Replace(zoneHead("silent.test."), "MX 10 ns.test.", "MX 0 .", 1)) // RFC 7505
	l.write("zones/unsigned.test.signed", zoneHead("unsigned.test.")+l.published("alice@unsigned.test", "rsa"))
	test := l.signZone("test.", zoneHead("test.")+
		"good.test. NS ns.test.\n"+good+"silent.test. NS ns.test.\n"+silent+"broken.test. NS ns.test.\n"+broken+"unsigned.test. NS ns.test.\nfailing.test. NS ns.test.\n"+failing+"ns.test. A 127.0.0.1\n")
	root := l.signZone(".", zoneHead(".")+"test. NS ns.test.\n"+test+"ns.test. A 127.0.0.1\n")
	l.write("root.ds", root)

	var zones, stubs strings.Builder
	for _, zone := range []string{".", "test.", "good.test.", "silent.test.", "broken.test.", "failing.test.", "unsigned.test."} {
		fmt.Fprintf(&zones, "zone:\n  name: %q\n  zonefile: %q\n", zone, zoneFile(zone)+".signed")
		fmt.Fprintf(&stubs, "stub-zone:\n  name: %q\n  stub-addr: 127.0.0.1@%d\n", zone, authority)
	}
	l.start("nsd", "-d", "-c", l.write("nsd.conf", fmt.Sprintf(`
server:
  ip-address: 127.0.0.1@%d
  username: ""
  server-count: 1
  zonesdir: %q
  database: ""
  zonelistfile: %q
  xfrdfile: %q
  pidfile: %q
remote-control:
  control-enable: no
%s`, authority, l.path("zones"), l.path("zone.list"), l.path("xfrd.state"), l.path("nsd.pid"), zones.String())))
	l.unbound = l.launch("unbound", "-d", "-c", l.write("unbound.conf", fmt.Sprintf(`
server:
  directory: %q
  username: ""
  chroot: ""
  pidfile: ""
  use-syslog: no
  interface: 127.0.0.1
  port: %d
  do-not-query-localhost: no
  local-zone: "test." nodefault
  trust-anchor-file: %q
remote-control:
  control-enable: no
%s`, l.dir, recursor, l.path("root.ds"), stubs.String())))
	l.t.Cleanup(func() { stop(l.unbound) }) // perhaps another one by then
	waitForPort(l.t, fmt.Sprintf("127.0.0.1:%d", authority))
	waitForPort(l.t, l.resolver)
}

func zoneHead(zone string) string {
	return fmt.Sprintf("$ORIGIN %s\n$TTL 300\n@ SOA ns.test. hostmaster.test. 1 3600 600 86400 300\n@ NS ns.test.\n@ MX 10 ns.test.\n", zone)
}

func zoneFile(zone string) string {
	if zone == "." {
		return "root"
	}
	return strings.TrimSuffix(zone, ".")
}

// signZone signs a zone and returns its DS line.
func (l *lab) signZone(zone, content string) (ds string) {
	file := "zones/" + zoneFile(zone)
	l.write(file, content)
	ksk := strings.TrimSpace(string(l.run("ldns-keygen", "-k", "-a", "ECDSAP256SHA256", zone)))
	zsk := strings.TrimSpace(string(l.run("ldns-keygen", "-a", "ECDSAP256SHA256", zone)))
	l.run("ldns-signzone", "-n", "-f", file+".signed", file, zsk, ksk)
	return string(l.run("ldns-key2ds", "-n", "-2", ksk+".key"))
}

// forge changes a certificate in a signed zone, and leaves its signature.
func (l *lab) forge(name string) {
	l.t.Helper()
	signed, err := os.ReadFile(l.path(name))
	if err != nil {
		l.t.Fatal(err)
	}
	record := regexp.MustCompile(`(?i)\t(SMIMEA|TYPE53)\t.*`)
	forged := record.ReplaceAllFunc(signed, func(line []byte) []byte {
		last := line[len(line)-1]
		if last == '0' {
			last = '1'
		} else {
			last = '0'
		}
		return append(line[:len(line)-1:len(line)-1], last)
	})
	if bytes.Equal(forged, signed) {
		l.t.Fatalf("no SMIMEA record in %s", name)
	}
	l.write(name, string(forged))
}

// own gives a directory to a user and a group.
func (l *lab) own(name, owner, group string, mode os.FileMode) {
	l.t.Helper()
	u, err := user.Lookup(owner)
	if err != nil {
		l.t.Fatal(err)
	}
	g, err := user.LookupGroup(group)
	if err != nil {
		l.t.Fatal(err)
	}
	if err := os.Chown(l.path(name), number(u.Uid), number(g.Gid)); err != nil {
		l.t.Fatal(err)
	}
	if err := os.Chmod(l.path(name), mode); err != nil {
		l.t.Fatal(err)
	}
}

func number(id string) int {
	n, err := strconv.Atoi(id)
	if err != nil {
		panic(err)
	}
	return n
}

// readmeLines returns the lines of the README that belong into a file, below
// its name in a comment.
func readmeLines(t *testing.T, comment string) string {
	t.Helper()
	readme := readFile(t, "../../README.md")
	_, rest, ok := strings.Cut(readme, "```cfg\n"+comment+"\n")
	lines, _, closed := strings.Cut(rest, "```")
	if !ok || !closed {
		t.Fatalf("README.md has no lines for %q", comment)
	}
	return lines
}

// startMilter starts smimea-milter as a user who is not root, asking resolver.
func (l *lab) startMilter(resolver string) {
	l.t.Helper()
	socket := l.socket()
	mode := ""
	if l.mode != "" {
		mode = fmt.Sprintf("mode = %q", l.mode)
	}
	config := l.write("smimea.toml", fmt.Sprintf(`
listen = ["unix:%s"]
%s

[dns]
upstreams = [%q]
trust_anchors = %q

[[rule]]
recipient = ["house.test", ".house.test"]
action = "never"
%s
[[rule]]
recipient = ["*"]
action = "require"
`, socket, mode, resolver, l.path("root.ds"), l.rules))
	l.runMilter(exec.Command(l.bin+"/smimea-milter", "-config", config))
	wait(l.t, "the milter's socket", func() bool {
		conn, err := net.Dial("unix", socket)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

// runMilter starts a command that is the milter.
func (l *lab) runMilter(cmd *exec.Cmd) {
	l.t.Helper()
	nobody, err := user.Lookup("nobody")
	if err != nil {
		l.t.Fatal(err)
	}
	log, err := os.OpenFile(l.path("milter.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		l.t.Fatal(err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{
		Uid: uint32(number(nobody.Uid)), Gid: uint32(number(nobody.Gid))}}
	if err := cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	l.milter = cmd
}

func (l *lab) stopMilter() {
	if l.milter != nil {
		stop(l.milter)
		l.milter = nil
	}
}

// decrypt opens a delivered mail with OpenSSL.
func (l *lab) decrypt(mail []byte, address string) []byte {
	l.t.Helper()
	who := l.keys[address]
	file := l.write("delivered.eml", string(mail))
	return l.run("openssl", "cms", "-decrypt", "-binary", "-in", file, "-recip", who.cert, "-inkey", who.key)
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// tail returns the end of a log file, if there is one.
func tail(path string) string {
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	if err != nil {
		return err.Error()
	}
	return string(content[max(0, len(content)-8000):])
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func waitForPort(t *testing.T, address string) {
	t.Helper()
	wait(t, address, func() bool {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

// patience is how long something may take on a busy machine.
const patience = time.Minute

// wait waits until a condition holds, and not for ever.
func wait(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if holds() {
			return
		}
	}
	t.Fatalf("waited in vain for %s", what)
}
