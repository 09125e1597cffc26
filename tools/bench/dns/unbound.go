package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// An unbound is a running Unbound that validates.
type unbound struct {
	dir, address string
	client       dns.Client
	end          context.CancelFunc
	ended        chan struct{}
}

const unboundConf = `
server:
  directory: %[1]q
  username: ""
  chroot: ""
  pidfile: ""
  use-syslog: no
  num-threads: 1
  interface: 127.0.0.1@%[2]s
  do-not-query-localhost: no
  local-zone: "test." nodefault
  module-config: "validator iterator"
  trust-anchor: %[3]q
  trust-anchor-signaling: no
remote-control:
  control-enable: yes
  control-interface: "%[1]s/control"
  control-use-cert: no
forward-zone:
  name: "."
  forward-addr: %[4]s
  forward-tcp-upstream: yes
`

// startUnbound starts Unbound in a directory of its own. It runs until close,
// or until ctx ends.
func startUnbound(ctx context.Context, program, anchor, resolver string) (*unbound, error) {
	dir, err := os.MkdirTemp("", "bench-dns")
	if err != nil {
		return nil, err
	}
	u := &unbound{dir: dir, client: dns.Client{Net: "tcp", Timeout: 10 * time.Second}, ended: make(chan struct{})}
	ctx, u.end = context.WithCancel(ctx)
	said := new(strings.Builder)
	cmd := exec.CommandContext(ctx, program, "-d", "-c", u.path("conf"))
	cmd.Stdout, cmd.Stderr = said, said
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 5 * time.Second // then it is killed
	if err = u.configure(anchor, resolver); err == nil {
		err = cmd.Start()
	}
	if err != nil {
		close(u.ended)
		return nil, errors.Join(err, u.close())
	}
	go func() {
		defer close(u.ended)
		defer u.end()
		cmd.Wait()
	}()
	if err := u.ready(ctx); err != nil {
		u.close()
		return nil, fmt.Errorf("starting unbound: %w\n%s", err, said)
	}
	return u, nil
}

func (u *unbound) path(name string) string { return filepath.Join(u.dir, name) }

// configure finds a free port, and writes the settings.
func (u *unbound) configure(anchor, resolver string) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer l.Close()
	u.address = l.Addr().String()
	_, port, _ := net.SplitHostPort(u.address)
	conf := fmt.Sprintf(unboundConf, u.dir, port, strings.ReplaceAll(anchor, "\t", " "), strings.Replace(resolver, ":", "@", 1))
	return os.WriteFile(u.path("conf"), []byte(conf), 0o644)
}

// ready waits until Unbound listens.
func (u *unbound) ready(ctx context.Context) error {
	for range 500 {
		if conn, err := net.Dial("tcp", u.address); err == nil {
			return conn.Close()
		}
		if ctx.Err() != nil {
			return errors.New("it has ended")
		}
		time.Sleep(20 * time.Millisecond)
	}
	return errors.New("it does not listen")
}

func (u *unbound) close() error {
	u.end()
	<-u.ended
	return os.RemoveAll(u.dir)
}

// forget empties the caches of answers, record sets and keys: flush_zone of
// unbound-control(8).
func (u *unbound) forget() error {
	conn, err := net.Dial("unix", u.path("control"))
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(conn, "UBCT1 flush_zone .\n"); err != nil {
		return err
	}
	said, err := io.ReadAll(conn)
	if err == nil && !strings.HasPrefix(string(said), "ok") {
		err = fmt.Errorf("flush_zone: %s", said)
	}
	return err
}

// lookup asks as a plain stub does, which believes the AD bit.
func (u *unbound) lookup(conn *dns.Conn) error {
	q := new(dns.Msg).SetQuestion(owner, dns.TypeSMIMEA)
	q.AuthenticatedData = true // RFC 6840, Section 5.7
	a, _, err := u.client.ExchangeWithConn(q, conn)
	if err != nil {
		return fmt.Errorf("asking unbound: %w", err)
	}
	if !a.AuthenticatedData || len(a.Answer) != 1 {
		return fmt.Errorf("unbound does not answer securely: %v", a)
	}
	return nil
}
