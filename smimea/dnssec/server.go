package dnssec

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

// maxServers bounds the servers that are asked.
const maxServers = 8

// A server is where a recursive resolver listens, and how to be sure of it.
type server struct {
	addr string // host:port
	name string // over TLS: what the certificate is for; empty: plain TCP, or a pin
	pin  []byte // over TLS: the SHA-256 of the key that it must have
}

// pinPrefix is how a pin is told from a name (RFC 7858, Appendix A).
const pinPrefix = "pin-sha256="

// ParseServer checks where a recursive resolver listens, and returns it with
// its port. Plain TCP is "192.0.2.53", "192.0.2.53:53", "[2001:db8::53]:53",
// "2001:db8::53" or "host:port"; the port is 53 unless given. DNS over TLS (RFC
// 7858) is "tls://192.0.2.53:853#dns.example.net", where the certificate must be
// for the name, or for the host if there is none, and the port is 853 unless
// given; or "tls://192.0.2.53#pin-sha256=…", where it does not matter whom the
// certificate is for, but its public key (the SubjectPublicKeyInfo) must have
// this SHA-256 in base64.
func ParseServer(s string) (string, error) {
	parsed, err := parseServer(s)
	return parsed.String(), err
}

func parseServer(s string) (server, error) {
	rest, overTLS := strings.CutPrefix(s, "tls://")
	if scheme, _, other := strings.Cut(rest, "://"); other {
		return server{}, fmt.Errorf("dnssec: server %q: %s is not spoken; give HOST:PORT for TCP, or tls://HOST:PORT#NAME", s, scheme)
	}
	port, proof := "53", ""
	if overTLS {
		port = "853"
		rest, proof, _ = strings.Cut(rest, "#")
	}
	host, addr, err := hostPort(rest, port)
	if err != nil {
		return server{}, fmt.Errorf("dnssec: server %q: %w", s, err)
	}
	if !overTLS {
		return server{addr: addr}, nil
	}
	if proof == "" {
		return server{addr: addr, name: host}, nil
	}
	pin, pinned := strings.CutPrefix(proof, pinPrefix)
	if !pinned {
		if !isHost(proof) {
			return server{}, fmt.Errorf("dnssec: server %q: after the # comes the name in its certificate, or %sBASE64", s, pinPrefix)
		}
		return server{addr: addr, name: proof}, nil
	}
	sum, err := base64.StdEncoding.DecodeString(pin)
	if err != nil || len(sum) != sha256.Size {
		return server{}, fmt.Errorf("dnssec: server %q: the pin is not the 32 octets of a SHA-256 in base64", s)
	}
	return server{addr: addr, pin: sum}, nil
}

// hostPort adds the port if there is none.
func hostPort(s, standard string) (host, addr string, err error) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		host, port = s, standard
		if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") {
			host = s[1 : len(s)-1]
		}
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", "", errors.New("the port is no number from 1 to 65535")
	}
	if !isHost(host) {
		return "", "", errors.New("neither an IP address nor a host name")
	}
	return host, net.JoinHostPort(host, port), nil
}

// String returns what parseServer reads.
func (s server) String() string {
	switch {
	case s.pin != nil:
		return "tls://" + s.addr + "#" + pinPrefix + base64.StdEncoding.EncodeToString(s.pin)
	case s.name != "":
		return "tls://" + s.addr + "#" + s.name
	}
	return s.addr
}

// overTLS reports whether the server is spoken to over TLS.
func (s server) overTLS() bool { return s.name != "" || s.pin != nil }

// config is how its certificate is checked (RFC 8310, Sections 6.3 and 8.1).
func (s server) config(roots *x509.CertPool) *tls.Config {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: strings.TrimSuffix(s.name, "."), RootCAs: roots}
	if s.pin == nil {
		return c
	}
	// With a pin, the key is all that counts (RFC 7858, Section 4.2).
	c.InsecureSkipVerify = true
	c.VerifyConnection = func(state tls.ConnectionState) error {
		sum := sha256.Sum256(state.PeerCertificates[0].RawSubjectPublicKeyInfo)
		if !bytes.Equal(sum[:], s.pin) {
			return fmt.Errorf("the server's key is not the pinned one, but %s%s", pinPrefix, base64.StdEncoding.EncodeToString(sum[:]))
		}
		return nil
	}
	return c
}

func isHost(s string) bool {
	if addr, err := netip.ParseAddr(s); err == nil {
		return addr.Zone() == "" || isHost(addr.Zone())
	}
	_, err := parseName(s)
	return err == nil && !strings.ContainsFunc(s, func(r rune) bool {
		return r != '-' && r != '.' && r != '_' && !isDigit(byte(r)) && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	})
}

// SystemServers returns the servers of /etc/resolv.conf.
func SystemServers() ([]string, error) { return serversIn("/etc/resolv.conf") }

// serversIn reads the nameserver lines of a file (resolv.conf(5)).
func serversIn(path string) ([]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("dnssec: looking for the system's resolver: %w", err)
	}
	defer f.Close()
	var servers []string
	lines := bufio.NewScanner(f)
	for lines.Scan() && len(servers) < maxServers {
		words := strings.Fields(lines.Text())
		if len(words) < 2 || words[0] != "nameserver" {
			continue
		}
		if addr, err := netip.ParseAddr(words[1]); err == nil {
			servers = append(servers, netip.AddrPortFrom(addr, 53).String())
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("dnssec: reading %s: %w", path, err)
	}
	if len(servers) == 0 {
		return nil, errors.New("dnssec: " + path + " names no server")
	}
	return servers, nil
}
