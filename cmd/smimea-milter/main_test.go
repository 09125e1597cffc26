package main

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	mta "github.com/emersion/go-milter"
)

// TestMain lets the test's own binary be the daemon.
func TestMain(m *testing.M) {
	if os.Getenv("SMIMEA_MILTER_IS_DAEMON") == "1" {
		main()
	}
	os.Exit(m.Run())
}

// A daemonProcess is a running daemon.
type daemonProcess struct {
	t        *testing.T
	cmd      *exec.Cmd
	socket   string
	settings string // their file
	log      *bufio.Reader
}

// startDaemon starts a daemon under which nothing is encrypted, so that no DNS
// is needed.
func startDaemon(t *testing.T) *daemonProcess {
	t.Helper()
	return startDaemonWith(t, "[dns]\nupstreams = [\"127.0.0.1:9\"]\n"+neverRule)
}

const neverRule = "[[rule]]\nrecipient = [\"*\"]\naction = \"never\"\n"

// startDaemonWith starts a daemon with settings for all but its socket.
func startDaemonWith(t *testing.T, more string) *daemonProcess {
	t.Helper()
	d := newDaemon(t, more)
	d.start()
	return d
}

// newDaemon makes one that is still to be started.
func newDaemon(t *testing.T, more string) *daemonProcess {
	t.Helper()
	dir := t.TempDir()
	d := &daemonProcess{t: t, socket: filepath.Join(dir, "milter.sock")}
	d.settings = filepath.Join(dir, "smimea.toml")
	d.write(more)
	d.cmd = exec.Command(os.Args[0], "-config", d.settings)
	d.cmd.Env = append(os.Environ(), "SMIMEA_MILTER_IS_DAEMON=1")
	return d
}

// start waits until the daemon is ready.
func (d *daemonProcess) start() {
	t := d.t
	t.Helper()
	stderr, err := d.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	d.log = bufio.NewReader(stderr)
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.cmd.Process.Kill() })
	time.AfterFunc(20*time.Second, func() { d.cmd.Process.Kill() }) // nothing below waits for ever
	d.waitFor(`"msg":"ready"`)
}

// write writes settings for all but the socket, as an editor does: all at once.
func (d *daemonProcess) write(more string) {
	d.t.Helper()
	err := os.WriteFile(d.settings+".new", []byte("listen = [\"unix:"+d.socket+"\"]\n"+more), 0o600)
	if err == nil {
		err = os.Rename(d.settings+".new", d.settings)
	}
	if err != nil {
		d.t.Fatal(err)
	}
}

// waitFor reads the log up to a line that holds text.
func (d *daemonProcess) waitFor(text string) {
	d.t.Helper()
	var all strings.Builder
	for {
		line, err := d.log.ReadString('\n')
		all.WriteString(line)
		if err != nil {
			d.t.Fatalf("waiting for %s: %v after\n%s", text, err, all.String())
		}
		if strings.Contains(line, text) {
			return
		}
	}
}

// begin brings a mail up to its end.
func (d *daemonProcess) begin() *mta.ClientSession {
	d.t.Helper()
	s := d.connect()
	d.step("mail", func() (*mta.Action, error) { return s.Mail("alice@example.org", nil) })
	d.step("rcpt", func() (*mta.Action, error) { return s.Rcpt("bob@example.net", nil) })
	d.step("end of header", s.HeaderEnd)
	d.step("body", func() (*mta.Action, error) { return s.BodyChunk([]byte("Hello\r\n")) })
	return s
}

// connect opens a connection for a client.
func (d *daemonProcess) connect() *mta.ClientSession {
	d.t.Helper()
	s, err := mta.NewClientWithOptions("unix", d.socket, mta.ClientOptions{
		ReadTimeout: 5 * time.Second, ActionMask: 0x1ff, ProtocolMask: 0x1fffff,
	}).Session()
	if err != nil {
		d.t.Fatal(err)
	}
	d.step("connect", func() (*mta.Action, error) { return s.Conn("client", mta.FamilyInet, 4711, "192.0.2.1") })
	return s
}

func (d *daemonProcess) step(name string, step func() (*mta.Action, error)) {
	d.t.Helper()
	if act, err := step(); err != nil || act.Code != mta.ActContinue {
		d.t.Fatalf("%s: %v, %v", name, act, err)
	}
}

func (d *daemonProcess) signal(s syscall.Signal) {
	d.t.Helper()
	if err := d.cmd.Process.Signal(s); err != nil {
		d.t.Fatal(err)
	}
}

func TestMailInFlightOutlivesSIGTERM(t *testing.T) {
	d := startDaemon(t)
	s := d.begin()
	d.signal(syscall.SIGHUP)
	d.waitFor(`"msg":"settings: taken over"`)
	d.signal(syscall.SIGTERM)
	d.waitFor(`"msg":"stopping"`)
	if _, act, err := s.End(); err != nil || act.Code != mta.ActAccept {
		t.Errorf("end of message: %v, %v", act, err)
	}
	d.waitFor(`"msg":"mail"`)
	io.Copy(io.Discard, d.log)
	if err := d.cmd.Wait(); err != nil {
		t.Errorf("the daemon: %v", err)
	}
	if _, err := os.Stat(d.socket); err == nil {
		t.Error("the socket is still there")
	}
}

func TestSecondSIGTERM(t *testing.T) {
	d := startDaemon(t)
	s := d.begin()
	d.signal(syscall.SIGTERM)
	d.waitFor(`"msg":"stopping"`)
	d.signal(syscall.SIGTERM)
	io.Copy(io.Discard, d.log)
	if err := d.cmd.Wait(); err == nil {
		t.Error("the daemon ended as if the mail had been finished")
	}
	if _, act, err := s.End(); err == nil {
		t.Errorf("the mail was answered: %c", act.Code)
	}
}
