package dnssec

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"smimea.example/tools/judges"
)

// Programs are real ones, at work in a directory of their own. They end with
// the test.
type programs struct {
	t   *testing.T
	dir string
}

// newPrograms looks for the programs that a test needs.
func newPrograms(t *testing.T, names ...string) programs {
	for _, n := range names {
		judges.Find(t, n)
	}
	return programs{t, t.TempDir()}
}

func (p programs) path(name string) string { return filepath.Join(p.dir, name) }

func (p programs) write(name, content string) string {
	if err := os.WriteFile(p.path(name), []byte(content), 0o644); err != nil {
		p.t.Fatal(err)
	}
	return p.path(name)
}

func (p programs) run(program string, args ...string) string {
	p.t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Dir = p.dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		p.t.Fatalf("%s %v: %v\n%s", program, args, err, out)
	}
	return string(out)
}

// start starts a program, and stops it at the end of the test.
func (p programs) start(program string, args ...string) {
	p.t.Helper()
	log, err := os.Create(p.path(filepath.Base(args[len(args)-1]) + ".log"))
	if err != nil {
		p.t.Fatal(err)
	}
	cmd := exec.Command(program, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = p.dir, log, log
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() {
		cmd.Process.Signal(os.Interrupt)
		stop := time.AfterFunc(5*time.Second, func() { cmd.Process.Kill() })
		cmd.Wait()
		stop.Stop()
		log.Close()
		if content, err := os.ReadFile(log.Name()); err == nil && p.t.Failed() {
			p.t.Logf("%s: …%s", program, content[max(0, len(content)-2000):])
		}
	})
}

// startUnbound starts an Unbound that finds the DNS as the zones say: stub or
// forward zones. It allows for the skew and the iterations that we allow for,
// and asks as it is asked.
func (p programs) startUnbound(name, modules, anchor, zones string) (addr string) {
	port := freePort(p.t)
	p.start("unbound", "-d", "-c", p.write(name+".conf", fmt.Sprintf(`
server:
  directory: %[1]q
  username: ""
  chroot: ""
  pidfile: ""
  use-syslog: no
  num-threads: 1
  interface: 127.0.0.1
  port: %[2]d
  do-not-query-localhost: no
  local-zone: "test." nodefault
  module-config: %[3]q
  trust-anchor-file: %[4]q
  qname-minimisation: no
  aggressive-nsec: no
  val-sig-skew-min: 300
  val-sig-skew-max: 300
  val-nsec3-keysize-iterations: "1024 100 2048 100 4096 100"
  val-max-restart: 1
  tcp-auth-query-timeout: 1000
  outbound-msg-retry: 2
remote-control:
  control-enable: yes
  control-interface: %[5]q
  control-use-cert: no
%[6]s`, p.dir, port, modules, p.write(name+".ds", anchor), p.control(name), zones)))
	addr = fmt.Sprintf("127.0.0.1:%d", port)
	waitFor(p.t, addr)
	return addr
}

// control is where an Unbound takes orders.
func (p programs) control(name string) string { return p.path(name + ".control") }

// startNamed starts a BIND that finds the DNS as these options say.
func (p programs) startNamed(name, anchor, options, zones string) (addr string) {
	port, control := freePort(p.t), freePort(p.t)
	key := "key \"rndc-key\" { algorithm hmac-sha256; secret \"c21pbWVhLCBsYWJvcmF0b3J5IG9ubHk=\"; };\n"
	p.write(name+".rndc", key+fmt.Sprintf("options { default-server 127.0.0.1; default-port %d; default-key \"rndc-key\"; };\n", control))
	p.start("named", "-g", "-n", "1", "-c", p.write(name+".conf", fmt.Sprintf(`
options {
  directory %[1]q;
  listen-on port %[2]d { 127.0.0.1; };
  listen-on-v6 { none; };
  pid-file none;
  lock-file none;
  session-keyfile none;
  recursion yes;
  dnssec-validation yes;
  qname-minimization off;
  synth-from-dnssec no;
  empty-zones-enable no;
  servfail-ttl 0;
  resolver-query-timeout 3000;
  %[3]s
};
trust-anchors { %[4]s };
controls { inet 127.0.0.1 port %[5]d allow { 127.0.0.1; } keys { "rndc-key"; }; };
%[6]s%[7]s`, p.dir, port, options, staticDS(p.t, anchor), control, key, zones)))
	addr = fmt.Sprintf("127.0.0.1:%d", port)
	waitFor(p.t, addr)
	waitFor(p.t, fmt.Sprintf("127.0.0.1:%d", control))
	return addr
}

// staticDS writes DS records as BIND's trust anchors.
func staticDS(t *testing.T, anchor string) string {
	s := ""
	zp := dns.NewZoneParser(strings.NewReader(anchor), ".", "")
	zp.SetDefaultTTL(3600)
	for rr, ok := zp.Next(); ok; rr, ok = zp.Next() {
		ds := rr.(*dns.DS)
		s += fmt.Sprintf("%q static-ds %d %d %d %q; ", ds.Hdr.Name, ds.KeyTag, ds.Algorithm, ds.DigestType, ds.Digest)
	}
	if err := zp.Err(); err != nil || s == "" {
		t.Fatalf("anchors %q: %v", anchor, err)
	}
	return s
}

func freePort(t *testing.T) int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func waitFor(t *testing.T, addr string) {
	t.Helper()
	for range 100 {
		if conn, err := net.Dial("tcp", addr); err == nil {
			conn.Close()
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatalf("nobody listens on %s", addr)
}
