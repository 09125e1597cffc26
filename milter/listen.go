package milter

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"
	"time"
)

// Listen opens the socket that spec names, in Postfix's spelling or in
// Sendmail's:
//
//	unix:/var/spool/postfix/smimea/milter.sock   (also local:…)
//	inet:127.0.0.1:8893                          (also inet:8893@127.0.0.1)
//
// A UNIX-domain socket gets mode 0660; its group is that of the directory, if
// that is setgid. What is left of an earlier process is replaced: a socket, at
// which nobody answers. The milter protocol knows no password, so a TCP socket
// must name its address: everyone who reaches it may ask.
func Listen(spec string) (net.Listener, error) {
	network, address, err := ParseSpec(spec)
	if err != nil {
		return nil, err
	}
	if network == "unix" {
		return listenUnix(address)
	}
	return net.Listen(network, address)
}

// ParseSpec takes the name of a socket apart: "unix" and a path, or "tcp" and
// host:port.
func ParseSpec(spec string) (network, address string, err error) {
	kind, rest, _ := strings.Cut(spec, ":")
	switch kind {
	case "unix", "local":
		if !strings.HasPrefix(rest, "/") {
			return "", "", fmt.Errorf("socket %q: the path must begin with a slash", spec)
		}
		return "unix", rest, nil
	case "inet", "inet6":
		address, err := parseInet(rest)
		if err != nil {
			return "", "", fmt.Errorf("socket %q: %w", spec, err)
		}
		return "tcp", address, nil
	}
	return "", "", fmt.Errorf("socket %q: neither unix:/path nor inet:host:port", spec)
}

func parseInet(s string) (string, error) {
	host, port, err := net.SplitHostPort(s)
	if p, h, ok := strings.Cut(s, "@"); ok {
		host, port, err = strings.Trim(h, "[]"), p, nil
	}
	if err != nil {
		return "", errors.New("not host:port")
	}
	if host == "" || port == "" {
		return "", errors.New("host and port must both be given")
	}
	return net.JoinHostPort(host, port), nil
}

func listenUnix(path string) (net.Listener, error) {
	if err := removeStale(path); err != nil {
		return nil, err
	}
	// bind(2) gives the mode, so that the socket is never open to others.
	defer syscall.Umask(syscall.Umask(0o117))
	return net.Listen("unix", path)
}

// removeStale removes a socket that nobody listens at, and nothing else.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s is there and is not a socket", path)
	}
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		conn.Close()
		return fmt.Errorf("%s is in use: somebody answers there", path)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return err
	}
	return os.Remove(path)
}
