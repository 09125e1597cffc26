package dnssec

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

func TestParseServer(t *testing.T) {
	for in, want := range map[string]string{
		"192.0.2.53":          "192.0.2.53:53",
		"192.0.2.53:5353":     "192.0.2.53:5353",
		"2001:db8::53":        "[2001:db8::53]:53",
		"[2001:db8::53]":      "[2001:db8::53]:53",
		"[2001:db8::53]:5353": "[2001:db8::53]:5353",
		"[fe80::1%eth0]:53":   "[fe80::1%eth0]:53",
		"unbound:53":          "unbound:53",
		"dns.example.net":     "dns.example.net:53",

		"tls://192.0.2.53":                           "tls://192.0.2.53:853#192.0.2.53",
		"tls://dns.example.net":                      "tls://dns.example.net:853#dns.example.net",
		"tls://192.0.2.53:8853#dns.example.net":      "tls://192.0.2.53:8853#dns.example.net",
		"tls://[2001:db8::53]#dns.example.net":       "tls://[2001:db8::53]:853#dns.example.net",
		"tls://192.0.2.53#pin-sha256=" + aPin:        "tls://192.0.2.53:853#pin-sha256=" + aPin,
		"tls://[2001:db8::53]:53#pin-sha256=" + aPin: "tls://[2001:db8::53]:53#pin-sha256=" + aPin,
	} {
		if got, err := ParseServer(in); err != nil || got != want {
			t.Errorf("ParseServer(%q) = %q, %v, want %q", in, got, err, want)
		}
	}
	for _, in := range []string{
		"", ":", ":53", "192.0.2.53:", "192.0.2.53:0", "192.0.2.53:65536", "192.0.2.53:dns", "a b", "a/b",
		"https://dns.example.net/", "192.0.2.53#53", "\u00e4.example", "tls://", "tls:192.0.2.53", "TLS://192.0.2.53",
		"tls://192.0.2.53:853#a b", "tls://192.0.2.53#pin-sha256=", "tls://192.0.2.53#pin-sha256=" + aPin[:40],
		"tls://192.0.2.53#pin-sha256=" + strings.Repeat("!", 44), "tls://192.0.2.53/#dns.example.net", "tls://tls://192.0.2.53",
	} {
		if got, err := ParseServer(in); err == nil {
			t.Errorf("ParseServer(%q) = %q", in, got)
		}
	}
}

// aPin is the SHA-256 of nothing.
const aPin = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="

func TestServersOfTheSystem(t *testing.T) {
	for in, want := range map[string]string{
		"# resolv.conf\nsearch example.org\nnameserver 192.0.2.1\nnameserver\t2001:db8::1 # second\noptions edns0\n": "[192.0.2.1:53 [2001:db8::1]:53]",
		"nameserver fe80::1%eth0\n":                              "[[fe80::1%eth0]:53]",
		"nameserver nonsense\nnameserver 127.0.0.53\nnameserver": "[127.0.0.53:53]",
		strings.Repeat("nameserver 192.0.2.1\n", 3):              "[192.0.2.1:53 192.0.2.1:53 192.0.2.1:53]",
		"; nothing\n": "",
	} {
		path := filepath.Join(t.TempDir(), "resolv.conf")
		if err := os.WriteFile(path, []byte(in), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := serversIn(path)
		if (err != nil) != (want == "") || want != "" && fmt.Sprint(got) != want {
			t.Errorf("%q: %v, %v, want %s", in, got, err, want)
		}
	}
	if _, err := serversIn(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a missing file names servers")
	}
}

func TestOptions(t *testing.T) {
	for _, o := range []Options{
		{},
		{Servers: []string{"https://192.0.2.53"}},
		{Servers: strings.Split(strings.Repeat("192.0.2.1 ", 9)+"192.0.2.1", " ")},
	} {
		if _, err := New(o); err == nil {
			t.Errorf("New(%+v) works", o)
		}
	}
}

// A secured server has a certificate of a CA of its own.
func secured(t *testing.T, names ...string) (addr string, roots *x509.CertPool, pin string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: names, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots = x509.NewCertPool()
	roots.AddCert(cert)
	sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	serve(l, right)
	return l.Addr().String(), roots, base64.StdEncoding.EncodeToString(sum[:])
}

func TestOverTLS(t *testing.T) {
	addr, roots, pin := secured(t, "dns.example.net")
	plain, _ := listen(t, right)
	for _, c := range []struct {
		server string
		roots  *x509.CertPool
		why    string // empty: there is an answer
	}{
		{"tls://" + addr + "#dns.example.net", roots, ""},
		{"tls://" + addr + "#dns.example.net.", roots, ""},
		{"tls://" + addr, roots, ""}, // by its address
		{"tls://" + addr + "#pin-sha256=" + pin, nil, ""},
		{"tls://" + addr + "#dns.example.org", roots, "certificate is valid for dns.example.net, not dns.example.org"},
		{"tls://" + addr + "#dns.example.net", nil, "unknown authority"},
		{"tls://" + addr + "#pin-sha256=" + aPin, roots, "the server's key is not the pinned one, but pin-sha256=" + pin},
		{"tls://" + plain + "#dns.example.net", roots, "deadline"}, // TLS to one that speaks TCP
		{addr, roots, "EOF"}, // TCP to a server that wants TLS
	} {
		parsed, err := parseServer(c.server)
		if err != nil {
			t.Fatal(err)
		}
		u := upstreams{servers: []*upstream{newUpstream(parsed, c.roots, time.Second)}}
		_, err = u.ask(context.Background(), mailA)
		if c.why == "" && err != nil || c.why != "" && (err == nil || !strings.Contains(err.Error(), c.why)) {
			t.Errorf("%s: %v, want %q", c.server, err, c.why)
		}
		u.close()
	}
}

// What is asked over TLS cannot be told by its length.
func TestQueriesArePadded(t *testing.T) {
	for _, n := range []string{".", "a.test.", "alice.example.org.", strings.Repeat("abcdefgh.", 20)} {
		raw, err := newQuery(4711, question{must(n), typeSMIMEA}, true)
		if err != nil || len(raw)%128 != 0 {
			t.Errorf("%s: %d octets, %v", n, len(raw), err)
		}
		if m := new(dns.Msg); m.Unpack(raw) != nil || m.Question[0].Name != n {
			t.Errorf("%s: %v", n, m)
		}
	}
}

// A real server over TLS: Unbound, with a certificate that OpenSSL made.
func TestUnboundOverTLS(t *testing.T) {
	p := newPrograms(t, "unbound", "openssl")
	p.run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", "tls.key", "-out", "tls.pem",
		"-days", "2", "-subj", "/CN=dns.example.net", "-addext", "subjectAltName=DNS:dns.example.net")
	pemBytes, err := os.ReadFile(p.path("tls.pem"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pemBytes) {
		t.Fatal("OpenSSL made no certificate")
	}
	block, _ := pem.Decode(pemBytes)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo)

	s := newStage(t)
	w := sound(t)
	w.now = time.Now()
	s.show(w)
	_, upstream, _ := net.SplitHostPort(s.addr)
	port := freePort(t)
	p.startUnbound("tls", "iterator", w.zones[root].ds().String()+"\n", fmt.Sprintf(`
forward-zone:
  name: "."
  forward-addr: 127.0.0.1@%s
  forward-tcp-upstream: yes
server:
  interface: 127.0.0.1@%d
  tls-port: %d
  tls-service-key: "tls.key"
  tls-service-pem: "tls.pem"
`, upstream, port, port))
	for _, c := range []struct {
		proof  string
		roots  *x509.CertPool
		status Status
	}{
		{"dns.example.net", roots, Secure},
		{"pin-sha256=" + base64.StdEncoding.EncodeToString(sum[:]), nil, Secure},
		{"dns.example.org", roots, Indeterminate},
		{"dns.example.net", nil, Indeterminate},
		{"pin-sha256=" + aPin, nil, Indeterminate},
	} {
		v, err := New(Options{Servers: []string{fmt.Sprintf("tls://127.0.0.1:%d#%s", port, c.proof)}, Roots: c.roots, Anchors: w.anchors()})
		if err != nil {
			t.Fatal(err)
		}
		if a := v.Lookup(context.Background(), "a._smimecert.good.test.", typeSMIMEA); a.Status != c.status {
			t.Errorf("%s: %v (%v), want %v", c.proof, a.Status, a.Why, c.status)
		}
		v.Close()
	}
}
