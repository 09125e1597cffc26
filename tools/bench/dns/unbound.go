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
	dir     string
	address string
	client  dns.Client
	died    chan struct{}
	stop    context.CancelFunc
}

// unboundConf takes a directory, a port, the address and the port to forward to.
const unboundConf = `
server:
  directory: %[1]q
  username: ""
  chroot: ""
  pidfile: ""
  use-syslog: no
  logfile: ""
  num-threads: 1
  interface: 127.0.0.1
  port: %[2]d
  do-not-query-localhost: no
  local-zone: "test." nodefault
  module-config: "validator iterator"
  trust-anchor-file: "anchor"
  trust-anchor-signaling: no
remote-control:
  control-enable: yes
  control-interface: "%[1]s/control"
  control-use-cert: no
forward-zone:
  name: "."
  forward-addr: %[3]s@%[4]s
  forward-tcp-upstream: yes
`

// startUnbound starts Unbound in a directory of its own. It ends with ctx.
func startUnbound(ctx context.Context, program, anchor, upstream string) (*unbound, error) {
	dir, err := os.MkdirTemp("", "bench-dns")
	if err != nil {
		return nil, err
	}
	u := &unbound{dir: dir, client: dns.Client{Net: "tcp", Timeout: 10 * time.Second}, died: make(chan struct{})}
	ctx, u.stop = context.WithCancel(ctx)
	if err = u.start(ctx, program, anchor, upstream); err == nil {
		err = u.ready(ctx)
	}
	if err != nil {
		said, _ := os.ReadFile(u.path("log"))
		u.close()
		return nil, fmt.Errorf("starting unbound: %w\n%s", err, said)
	}
	return u, nil
}

func (u *unbound) start(ctx context.Context, program, anchor, upstream string) error {
	defer func() {
		if u.address == "" {
			close(u.died)
		}
	}()
	host, port, err := net.SplitHostPort(upstream)
	if err != nil {
		return err
	}
	own, err := freePort()
	if err != nil {
		return err
	}
	conf := fmt.Sprintf(unboundConf, u.dir, own, host, port)
	if err := errors.Join(os.WriteFile(u.path("anchor"), []byte(anchor+"\n"), 0o644), os.WriteFile(u.path("conf"), []byte(conf), 0o644)); err != nil {
		return err
	}
	log, err := os.Create(u.path("log"))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.CommandContext(ctx, program, "-d", "-c", u.path("conf"))
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 5 * time.Second // then it is killed
	if err := cmd.Start(); err != nil {
		return err
	}
	u.address = fmt.Sprintf("127.0.0.1:%d", own)
	go func() {
		defer close(u.died)
		cmd.Wait()
	}()
	return nil
}

func (u *unbound) path(name string) string { return filepath.Join(u.dir, name) }

// ready waits until Unbound listens.
func (u *unbound) ready(ctx context.Context) error {
	for range 200 {
		if conn, err := net.Dial("tcp", u.address); err == nil {
			return conn.Close()
		}
		select {
		case <-u.died:
			return errors.New("it has ended")
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
	return errors.New("it does not listen")
}

func (u *unbound) close() error {
	u.stop()
	<-u.died
	return os.RemoveAll(u.dir)
}

// forget empties the caches: answers, record sets and keys (unbound-control(8), flush_zone).
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

// lookup asks as a plain stub does that believes the AD bit.
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

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
