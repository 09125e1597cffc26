package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"smimea.example/smimea"
	"smimea.example/tools/testnet"
)

// A lab is everything that takes part.
type lab struct {
	ctx context.Context
	end context.CancelFunc

	dir      string
	people   []string // the recipients
	world    *testnet.Net
	asked    int // questions for their certificates before it began
	sink     *sink
	postfix  *postfix
	services [services]service
}

// A service is one of the ways through Postfix.
type service struct {
	name     string
	address  string    // host:port of its smtpd
	socket   string    // of its milter; empty: there is none
	milter   *exec.Cmd // nil: there is none
	encrypts bool
}

// The services, and how many there are.
const (
	none = iota
	nothing
	gateway
	services
)

// start starts them all, and sends some mail to each.
func (l *lab) start() (err error) {
	if l.dir, err = os.MkdirTemp("", "bench-milter-"); err != nil {
		return err
	}
	if err := os.Chmod(l.dir, 0o755); err != nil { // Postfix and the milters are other users
		return err
	}
	l.services = [services]service{
		{name: "no milter"},
		{name: "a milter that does nothing", socket: l.path("sockets/nothing")},
		{name: "the gateway", socket: l.path("sockets/gateway"), encrypts: true},
	}
	if err := l.publish(); err != nil {
		return err
	}
	if l.sink, err = startSink(); err != nil {
		return err
	}
	if err := l.startMilters(); err != nil {
		return err
	}
	if err := l.findPorts(); err != nil {
		return err
	}
	if l.postfix, err = startPostfix(l.ctx, l.dir, l.sink.port(), l.services[:]); err != nil {
		return err
	}
	for i := range l.services {
		if _, err := l.load(&l.services[i], load{size: tiny, connections: 1, mails: len(l.people)}); err != nil {
			return err
		}
	}
	l.asked = l.questions()
	return nil
}

// close stops whatever has been started.
func (l *lab) close() {
	if l.postfix != nil {
		if err := l.postfix.stop(); err != nil {
			fmt.Fprintf(os.Stderr, "bench/milter: error: %v\n", err)
		}
	}
	l.end() // of the milters
	for _, s := range l.services {
		if s.milter != nil {
			s.milter.Wait()
		}
	}
	if l.sink != nil {
		l.sink.close()
	}
	if l.world != nil {
		l.world.Close()
	}
	os.RemoveAll(l.dir)
}

func (l *lab) path(name string) string { return filepath.Join(l.dir, name) }

// publish makes certificates and the DNS that they are in.
func (l *lab) publish() (err error) {
	var records []string
	for i := range 20 {
		address := fmt.Sprintf("alice%02d@good.test", i)
		der, _, err := testnet.NewCertificate(testnet.Subject{Address: address})
		if err != nil {
			return err
		}
		owner, err := smimea.OwnerName(address)
		if err != nil {
			return err
		}
		record := smimea.Record{Usage: 3, Data: der}
		records = append(records, record.ZoneLine(owner, 3600))
		l.people = append(l.people, address)
	}
	l.world, err = testnet.Start(testnet.Zone{Name: "good.test.", Records: records})
	return err
}

// questions counts those for certificates.
func (l *lab) questions() (n int) {
	for _, q := range l.world.Questions() {
		if strings.HasSuffix(q, " SMIMEA") {
			n++
		}
	}
	return n
}

// remembered makes sure that the answers were: a look-up in the DNS is measured
// elsewhere.
func (l *lab) remembered() error {
	if n := l.questions() - l.asked; l.asked == 0 || n > 0 {
		return fmt.Errorf("the gateway asked for certificates %d times before it was measured and %d times meanwhile; these figures are of something else", l.asked, n)
	}
	return nil
}

const settings = `
listen = ["unix:%s"]

[dns]
upstreams = [%q]
trust_anchors = %q

[limits]
memory = "%dMB"

[[rule]]
recipient = ["*"]
action = "require"
`

// startMilters builds and starts both. The one that does nothing negotiates what
// the gateway does.
func (l *lab) startMilters() error {
	build := exec.CommandContext(l.ctx, "go", "build", "-o", l.path("bin")+"/",
		"smimea.example/cmd/smimea-milter", "smimea.example/tools/bench/milter/nothing")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("building the milters: %w\n%s", err, out)
	}
	// As the README has it: the milter's user makes the socket, Postfix' group
	// opens it.
	if err := makeDir(l.path("sockets"), "nobody", "postfix", 0o750|os.ModeSetgid); err != nil {
		return err
	}
	if err := makeDir(l.path("tmp"), "nobody", "postfix", 0o700); err != nil { // the gateway's spool
		return err
	}
	if err := write(l.path("anchors"), l.world.TrustAnchor()); err != nil {
		return err
	}
	g, n := &l.services[gateway], &l.services[nothing]
	conf := fmt.Sprintf(settings, g.socket, l.world.Resolver(), l.path("anchors"), int(memoryLimit/1e6))
	if err := write(l.path("smimea.toml"), conf); err != nil {
		return err
	}
	if err := l.startMilter(g, "smimea-milter", "-config", l.path("smimea.toml")); err != nil {
		return err
	}
	wanted, err := negotiate(g.socket)
	if err != nil {
		return err
	}
	if err := l.startMilter(n, "nothing", "unix:"+n.socket, wanted.number(1), wanted.number(2)); err != nil {
		return err
	}
	other, err := negotiate(n.socket)
	if err == nil && !bytes.Equal(other, wanted) {
		err = fmt.Errorf("the gateway negotiates %x, and the milter that does nothing %x", wanted, other)
	}
	return err
}

// startMilter starts one as a user who is not root. It runs until close, or until
// the lab is over.
func (l *lab) startMilter(s *service, program string, args ...string) error {
	uid, gid, err := ids("nobody", "nogroup")
	if err != nil {
		return err
	}
	log, err := os.Create(l.path(program + ".log"))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.CommandContext(l.ctx, l.path("bin/"+program), args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(os.Environ(), "TMPDIR="+l.path("tmp"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second // then it is killed
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting %s: %w", s.name, err)
	}
	s.milter = cmd
	return until(l.ctx, s.name, func() bool { return answers("unix", s.socket) })
}

// A negotiation is what a milter answers to an MTA's offer: version, actions,
// protocol.
type negotiation []byte

func (n negotiation) number(i int) string {
	return fmt.Sprintf("%#x", binary.BigEndian.Uint32(n[4*i:]))
}

// negotiate offers what Postfix does.
func negotiate(socket string) (negotiation, error) {
	conn, err := net.DialTimeout("unix", socket, time.Second)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	offer := []byte{0, 0, 0, 13, 'O', 0, 0, 0, 6, 0, 0, 1, 0xff, 0, 0x1f, 0xff, 0xff}
	if _, err := conn.Write(offer); err != nil {
		return nil, err
	}
	var head [5]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return nil, fmt.Errorf("negotiating at %s: %w", socket, err)
	}
	n := binary.BigEndian.Uint32(head[:])
	if head[4] != 'O' || n < 13 || n > 1000 {
		return nil, fmt.Errorf("negotiating at %s: the answer is %q", socket, head)
	}
	answer := make(negotiation, n-1)
	_, err = io.ReadFull(conn, answer)
	return answer, err
}

// findPorts finds free ones.
func (l *lab) findPorts() error {
	for i := range l.services {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		defer listener.Close() // not before all are found
		l.services[i].address = listener.Addr().String()
	}
	return nil
}

// complain adds the ends of the logs.
func (l *lab) complain(err error) error {
	for _, name := range []string{"postfix.log", "smimea-milter.log", "nothing.log"} {
		if said := tail(l.path(name)); said != "" {
			err = fmt.Errorf("%w\n%s ends with:\n%s", err, name, said)
		}
	}
	return err
}

// tail returns the last lines of a file.
func tail(path string) string {
	content, _ := os.ReadFile(path) // nobody has written anything
	return string(content[max(0, len(content)-2000):])
}

func write(path, content string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(content), 0o644)
}

// makeDir makes a directory that belongs to a user and a group.
func makeDir(path, owner, group string, mode os.FileMode) error {
	uid, gid, err := ids(owner, group)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(path, 0o755); err != nil {
		return err
	}
	if err := os.Chown(path, uid, gid); err != nil {
		return err
	}
	return os.Chmod(path, mode)
}

func ids(owner, group string) (uid, gid int, err error) {
	u, err := user.Lookup(owner)
	if err != nil {
		return 0, 0, err
	}
	g, err := user.LookupGroup(group)
	if err != nil {
		return 0, 0, err
	}
	uid, err1 := strconv.Atoi(u.Uid)
	gid, err2 := strconv.Atoi(g.Gid)
	return uid, gid, errors.Join(err1, err2)
}
