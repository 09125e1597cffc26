package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// A postfix is a Postfix of our own, in a directory of its own.
type postfix struct {
	dir     string
	version string
	pid     int // of its master
}

// mainCf tells this instance from the system's. Everybody here is on this
// machine, and nobody has a name.
const mainCf = `
compatibility_level = 3.6
queue_directory = %[1]s/spool
data_directory = %[1]s/data
maillog_file = %[1]s/postfix.log
maillog_file_prefixes = %[1]s
myhostname = mail.house.test
mydestination = house.test
mynetworks = 127.0.0.0/8
inet_interfaces = loopback-only
inet_protocols = ipv4
alias_maps =
alias_database =
local_recipient_maps =
smtpd_peername_lookup = no
disable_dns_lookups = yes
relayhost = [127.0.0.1]:%[2]d
message_size_limit = 73400320
milter_default_action = tempfail
# Mail that comes faster than it goes is not held back: a pause of a second
# for each would hide what milters cost.
in_flow_delay = 0
`

// masterCf is Debian's, but for the services that nobody uses here, and for
// chroot.
const masterCf = `
cleanup   unix  n - n - 0 cleanup
qmgr      unix  n - n 300 1 qmgr
rewrite   unix  - - n - - trivial-rewrite
bounce    unix  - - n - 0 bounce
defer     unix  - - n - 0 bounce
trace     unix  - - n - 0 bounce
flush     unix  n - n 1000? 0 flush
proxymap  unix  - - n - - proxymap
smtp      unix  - - n - - smtp
relay     unix  - - n - - smtp
error     unix  - - n - - error
retry     unix  - - n - - error
local     unix  - n n - - local
anvil     unix  - - n - 1 anvil
scache    unix  - - n - 1 scache
postlog   unix-dgram n - n - 1 postlogd
`

// startPostfix starts it with an SMTP service for each. It runs until stop, also
// when ctx ends.
func startPostfix(ctx context.Context, dir string, sink int, all []service) (*postfix, error) {
	if _, err := exec.LookPath("postfix"); err != nil {
		return nil, errors.New("there is no postfix in PATH: apt-get install postfix")
	}
	p := &postfix{dir: dir}
	if err := p.configure(sink, all); err != nil {
		return nil, err
	}
	version, err := p.command("postconf", "-h", "mail_version").Output()
	if err != nil {
		return nil, fmt.Errorf("asking Postfix for its version: %w", err)
	}
	p.version = strings.TrimSpace(string(version))
	if out, err := p.command("postfix", "start").CombinedOutput(); err != nil {
		return nil, errors.Join(fmt.Errorf("starting Postfix: %w\n%s", err, out), p.stop())
	}
	if err := p.ready(ctx, all); err != nil {
		return nil, errors.Join(fmt.Errorf("starting Postfix: %w", err), p.stop())
	}
	return p, nil
}

// command has our settings in place of the system's.
func (p *postfix) command(name string, args ...string) *exec.Cmd {
	return exec.Command(name, append([]string{"-c", filepath.Join(p.dir, "postfix")}, args...)...)
}

func (p *postfix) configure(sink int, all []service) error {
	var services strings.Builder
	for _, s := range all {
		milters := ""
		if s.socket != "" {
			milters = "unix:" + s.socket
		}
		fmt.Fprintf(&services, "%s inet n - n - - smtpd\n  -o smtpd_milters=%s\n", s.address, milters)
	}
	for name, content := range map[string]string{
		"postfix/main.cf":        fmt.Sprintf(mainCf, p.dir, sink),
		"postfix/master.cf":      services.String() + masterCf,
		"postfix/dynamicmaps.cf": "",
	} {
		if err := write(filepath.Join(p.dir, name), content); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Join(p.dir, "spool"), 0o755); err != nil {
		return err
	}
	return makeDir(filepath.Join(p.dir, "data"), "postfix", "postfix", 0o700)
}

// ready waits until it listens, and looks who its master is.
func (p *postfix) ready(ctx context.Context, all []service) (err error) {
	for _, s := range all {
		if err := until(ctx, "Postfix at "+s.address, func() bool { return answers("tcp", s.address) }); err != nil {
			return err
		}
	}
	pid, err := os.ReadFile(filepath.Join(p.dir, "spool/pid/master.pid"))
	if err == nil {
		p.pid, err = strconv.Atoi(strings.TrimSpace(string(pid)))
	}
	return err
}

// stop stops it, whoever is still connected, and waits for its end.
func (p *postfix) stop() error {
	if out, err := p.command("postfix", "abort").CombinedOutput(); err != nil {
		return fmt.Errorf("stopping Postfix: %w\n%s", err, out)
	}
	return until(context.Background(), "the end of Postfix", func() bool {
		_, err := readStat(p.pid)
		return p.pid == 0 || err != nil
	})
}

// answers says whether somebody listens.
func answers(network, address string) bool {
	conn, err := net.DialTimeout(network, address, time.Second)
	if err == nil {
		conn.Close()
	}
	return err == nil
}

// until waits until something holds, 20 seconds at most.
func until(ctx context.Context, what string, holds func() bool) error {
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if holds() {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return fmt.Errorf("waited in vain for %s", what)
}
