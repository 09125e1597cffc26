package main

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	mta "github.com/emersion/go-milter"

	"smimea.example/internal/config"
)

// A systemd is what of it a daemon can see: the socket at which it listens for
// news.
type systemd struct {
	t    *testing.T
	conn *net.UnixConn
}

func newSystemd(t *testing.T, d *daemonProcess) *systemd {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	d.cmd.Env = append(d.cmd.Env, "NOTIFY_SOCKET="+path)
	return &systemd{t, conn}
}

// hears returns the next message, or nothing if there is none in time.
func (s *systemd) hears(within time.Duration) string {
	s.t.Helper()
	buf := make([]byte, 4096)
	s.conn.SetReadDeadline(time.Now().Add(within))
	n, err := s.conn.Read(buf)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(buf[:n]))
}

func (s *systemd) want(message string) {
	s.t.Helper()
	if got := s.hears(5 * time.Second); got != message {
		s.t.Errorf("systemd hears %q, want %q", got, message)
	}
}

func TestSystemdHearsOfReloading(t *testing.T) {
	d := newDaemon(t, "[dns]\nupstreams = [\"127.0.0.1:9\"]\n"+neverRule)
	s := newSystemd(t, d)
	d.start()
	s.want("READY=1")
	d.signal(syscall.SIGHUP)
	reloading, when, _ := strings.Cut(s.hears(5*time.Second), "\nMONOTONIC_USEC=")
	if usec, err := strconv.ParseInt(when, 10, 64); reloading != "RELOADING=1" || err != nil || usec <= 0 {
		t.Errorf("systemd hears %q since %q", reloading, when)
	}
	s.want("READY=1\nSTATUS=the settings of the file are in force")
	d.write("slip")
	d.signal(syscall.SIGHUP)
	s.hears(5 * time.Second)
	s.want("READY=1\nSTATUS=older settings are in force than those of the file: see the log")
	d.signal(syscall.SIGTERM)
	s.want("STOPPING=1")
}

// The watchdog hears of the daemon while mail servers are answered, while it
// drains too, and not when nobody finds it.
func TestWatchdog(t *testing.T) {
	d := newDaemon(t, "[dns]\nupstreams = [\"127.0.0.1:9\"]\n"+neverRule)
	s := newSystemd(t, d)
	const patience = 300 * time.Millisecond
	d.cmd.Env = append(d.cmd.Env, "WATCHDOG_USEC="+strconv.Itoa(int(patience.Microseconds())))
	d.start()
	s.want("READY=1")
	for range 3 {
		s.want("WATCHDOG=1")
	}
	hidden := d.socket + ".hidden"
	if err := os.Rename(d.socket, hidden); err != nil {
		t.Fatal(err)
	}
	d.waitFor(`"level":"ERROR","msg":"mail servers are not answered; unless that changes, systemd starts the daemon anew","why":"self-check: dial unix `)
	for s.hears(10*time.Millisecond) != "" { // those of before
	}
	if got := s.hears(2 * patience); got != "" {
		t.Errorf("systemd hears %q of a daemon that nobody finds", got)
	}
	if err := os.Rename(hidden, d.socket); err != nil {
		t.Fatal(err)
	}
	d.waitFor(`"msg":"mail servers are answered again"`)
	s.want("WATCHDOG=1")

	mail := d.begin()
	d.signal(syscall.SIGTERM)
	d.waitFor(`"msg":"stopping"`)
	for heard := 0; heard < 3; {
		switch got := s.hears(5 * time.Second); got {
		case "WATCHDOG=1":
			heard++
		case "":
			t.Fatal("systemd hears nothing while the daemon drains")
		}
	}
	if _, act, err := mail.End(); err != nil || act.Code != mta.ActAccept {
		t.Errorf("the mail in flight: %v, %v", act, err)
	}
}

// give passes on a listening socket, as systemd does.
func (d *daemonProcess) give(l interface{ File() (*os.File, error) }) {
	d.t.Helper()
	f, err := l.File()
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { f.Close() })
	d.cmd.ExtraFiles = append(d.cmd.ExtraFiles, f)
	// Only a shell knows the number of a process before there is one.
	d.cmd.Args = append([]string{"sh", "-c", `LISTEN_PID=$$ exec "$0" "$@"`}, d.cmd.Args...)
	d.cmd.Path = "/bin/sh"
	d.cmd.Env = append(d.cmd.Env, "LISTEN_FDS="+strconv.Itoa(len(d.cmd.ExtraFiles)))
}

// Systemd's socket is used, and stays when the daemon goes: who comes before the
// next one is there waits, and is not turned away.
func TestSocketActivation(t *testing.T) {
	const settings = "[dns]\nupstreams = [\"127.0.0.1:9\"]\n" + neverRule
	d := newDaemon(t, settings)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: d.socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	d.give(l)
	d.start()
	if err := d.mail(); err != nil {
		t.Fatal(err)
	}
	d.signal(syscall.SIGTERM)
	io.Copy(io.Discard, d.log)
	if err := d.cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	between := make(chan error, 1)
	go func() { between <- d.mail() }()
	select {
	case err := <-between:
		t.Fatalf("nobody is there, and a mail server hears %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	next := newDaemon(t, settings)
	next.socket = d.socket
	next.write(settings)
	next.give(l)
	next.start()
	if err := <-between; err != nil {
		t.Errorf("the mail server that came between two daemons: %v", err)
	}
}

// A socket at which nobody would answer is an error, as is what cannot be one.
func TestSocketsThatNobodyNames(t *testing.T) {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	udp, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	for _, tt := range []struct {
		name string
		give interface{ File() (*os.File, error) }
		want string
	}{
		{"not in listen", tcp.(*net.TCPListener), "systemd passes on the socket " + tcp.Addr().String() + ", which listen does not name"},
		{"UDP", udp, "systemd passes on something that is no listening stream socket"},
	} {
		d := newDaemon(t, neverRule)
		d.give(tt.give)
		if out, err := d.cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), tt.want) {
			t.Errorf("%s: %v\n%s", tt.name, err, out)
		}
		if _, err := os.Lstat(d.socket); err == nil {
			t.Errorf("%s: the daemon's own socket is still there", tt.name)
		}
	}
}

func TestSameSocket(t *testing.T) {
	tcp := func(ip string) net.Addr { return &net.TCPAddr{IP: net.ParseIP(ip), Port: 8893} }
	unix := func(path string) net.Addr { return &net.UnixAddr{Name: path, Net: "unix"} }
	for _, tt := range []struct {
		have             net.Addr
		network, address string
		want             bool
	}{
		{unix("/run/a"), "unix", "/run/a", true},
		{unix("/run/a"), "unix", "/run/b", false},
		{tcp("127.0.0.1"), "tcp", "127.0.0.1:8893", true},
		{tcp("127.0.0.1"), "tcp", "localhost:8893", true},
		{tcp("::1"), "tcp", "[::1]:8893", true},
		{tcp("::"), "tcp", "0.0.0.0:8893", true}, // ListenStream=8893 takes both families
		{tcp("127.0.0.1"), "tcp", "127.0.0.1:8894", false},
		{tcp("127.0.0.1"), "tcp", "0.0.0.0:8893", false},
		{tcp("127.0.0.1"), "unix", "127.0.0.1:8893", false},
	} {
		if got := isAt(tt.have, tt.network, tt.address); got != tt.want {
			t.Errorf("%s, %s: %v, want %v", tt.have, tt.address, got, tt.want)
		}
	}
}

// The units that come with the program fit its defaults.
func TestUnits(t *testing.T) {
	settings, err := config.Parse([]byte(neverRule), "smimea.toml")
	if err != nil {
		t.Fatal(err)
	}
	unit := func(file, key string) string {
		t.Helper()
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		_, rest, ok := strings.Cut(string(content), "\n"+key+"=")
		if !ok {
			t.Fatalf("%s: no %s=", file, key)
		}
		value, _, _ := strings.Cut(rest, "\n")
		return value
	}
	if socket := "unix:" + unit("smimea-milter.socket", "ListenStream"); socket != settings.Listen[0] {
		t.Errorf("the socket unit opens %s, and the settings name %s", socket, settings.Listen[0])
	}
	seconds := func(key string) time.Duration {
		d, err := time.ParseDuration(unit("smimea-milter.service", key))
		if err != nil {
			t.Error(err)
		}
		return d
	}
	if stop := seconds("TimeoutStopSec"); stop <= settings.Limits.Wait.Duration {
		t.Errorf("systemd waits %s for mails in flight, which have %s", stop, settings.Limits.Wait.Duration)
	}
	if patience := seconds("WatchdogSec"); patience < 6*selfCheckTime {
		t.Errorf("the watchdog's %s are short for self-checks of %s", patience, selfCheckTime)
	}
}
