package dnssec

import (
	"bufio"
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

// ParseServer reads where a recursive resolver listens: "192.0.2.53",
// "192.0.2.53:53", "[2001:db8::53]:53", "2001:db8::53" or "host:port". The
// port is 53 unless given. DNS over TLS is not spoken.
func ParseServer(s string) (hostport string, err error) {
	if scheme, _, ok := strings.Cut(s, "://"); ok {
		return "", fmt.Errorf("dnssec: server %q: %s is not spoken yet, give HOST:PORT of a resolver that answers plain TCP", s, scheme)
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		host, port = s, "53"
		if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") {
			host = s[1 : len(s)-1]
		}
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", fmt.Errorf("dnssec: server %q: the port is no number from 1 to 65535", s)
	}
	if !isHost(host) {
		return "", fmt.Errorf("dnssec: server %q: neither an IP address nor a host name", s)
	}
	return net.JoinHostPort(host, port), nil
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
