package main_test

import (
	"bufio"
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"smimea.example/internal/cms"
	"smimea.example/tools/testnet"
)

// The full form is what tools/load runs; without these flags TestLoad takes
// seconds.
var (
	loadMails  = flag.Int("load.mails", 12, "how many mails come at once")
	loadSize   = flag.Int("load.size", 4, "how long each is, in MB")
	loadMemory = flag.Int("load.memory", 64, "what the daemon may take, in MB")
	loadTable  = flag.Bool("load.table", false, "print the table")
)

// A loadRun is a number of mails that come at once.
type loadRun struct {
	name   string
	cipher string
	wait   time.Duration // of the daemon, for its share of the memory
	slow   time.Duration // of the MTA, before it reads the new body
	defers bool          // there are more mails than the memory is for
}

// TestLoad sends many large mails at the same time to the daemon, which must
// keep to its memory. Each either arrives encrypted and whole, or is deferred
// and arrives when it is sent again.
//
// It talks to the daemon as an MTA does, and not through one: Postfix would
// write each of them to its disk three times, and be what is measured. The
// mails are made, hashed and forgotten as they pass by.
func TestLoad(t *testing.T) {
	house := newLoadHouse(t)
	if *loadTable {
		fmt.Printf("mails      size  cipher      wait  seconds  peak MB  accepted  deferred\n")
	}
	for _, run := range []loadRun{
		{name: "CBC", cipher: "aes256-cbc", wait: time.Minute},
	} {
		t.Run(run.name, func(t *testing.T) { house.run(t, run) })
	}
	t.Run("Idle", house.idle)
}

// A loadHouse has a daemon, and a partner whose certificate is pinned.
type loadHouse struct {
	dir, binary string
	cert        *x509.Certificate
	key         crypto.PrivateKey
}

const loadPartner = "alice@good.test"

func newLoadHouse(t *testing.T) *loadHouse {
	dir := t.TempDir()
	h := &loadHouse{dir: dir, binary: filepath.Join(dir, "smimea-milter")}
	if out, err := exec.Command("go", "build", "-o", h.binary, "smimea.example/cmd/smimea-milter").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	der, key, err := testnet.NewCertificate(testnet.Subject{Address: loadPartner})
	if err != nil {
		t.Fatal(err)
	}
	h.key = key
	if h.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "pinned"), 0o755); err != nil {
		t.Fatal(err)
	}
	file := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := os.WriteFile(filepath.Join(dir, "pinned", "alice.pem"), file, 0o644); err != nil {
		t.Fatal(err)
	}
	return h
}

// A loadDaemon is the real program at its work.
type loadDaemon struct {
	socket string
	pid    int
}

// start starts the daemon, which asks no DNS: whom it knows is pinned.
func (h *loadHouse) start(t *testing.T, run loadRun) loadDaemon {
	t.Helper()
	d := loadDaemon{socket: filepath.Join(h.dir, "milter.sock")}
	os.Remove(d.socket)
	config := filepath.Join(h.dir, "smimea.toml")
	settings := fmt.Sprintf(`
listen = ["unix:%s"]

[dns]
upstreams = ["127.0.0.1:9"]

[keys]
pinned = %q

[limits]
wait = %q

[[rule]]
recipient = ["*"]
action = "require"
`, d.socket, filepath.Join(h.dir, "pinned"), run.wait)
	if err := os.WriteFile(config, []byte(settings), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(h.binary, "-config", config)
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.Env = append(os.Environ(), "TMPDIR="+h.dir) // the spool
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop(cmd)
		if t.Failed() {
			t.Logf("smimea-milter said:\n%.8000s", log.Bytes())
		}
	})
	wait(t, "the milter's socket", func() bool {
		conn, err := net.Dial("unix", d.socket)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	d.pid = cmd.Process.Pid
	return d
}

// memory returns a line of /proc/PID/status, in octets: VmRSS now, VmHWM at most.
func (d loadDaemon) memory(t *testing.T, line string) int {
	t.Helper()
	_, rest, _ := strings.Cut(readFile(t, fmt.Sprintf("/proc/%d/status", d.pid)), "\n"+line+":")
	fields := strings.Fields(rest)
	if len(fields) < 2 || fields[1] != "kB" {
		t.Fatalf("no line %s", line)
	}
	kilobytes, err := strconv.Atoi(fields[0])
	if err != nil {
		t.Fatal(err)
	}
	return kilobytes << 10
}

// run sends all mails at once, and those that were deferred again.
func (h *loadHouse) run(t *testing.T, run loadRun) {
	d := h.start(t, run)
	began := time.Now()
	deferred := h.send(t, d, upTo(*loadMails), run.slow)
	took := time.Since(began)
	peak := d.memory(t, "VmHWM")
	line := fmt.Sprintf("%5d  %5d MB  %-10s  %4s  %7.1f  %7.1f  %8d  %8d", *loadMails, *loadSize, run.cipher, run.wait,
		took.Seconds(), float64(peak)/(1<<20), *loadMails-len(deferred), len(deferred))
	t.Log(line)
	if *loadTable {
		fmt.Println(line)
	}
	if peak >= *loadMemory<<20 {
		t.Errorf("the daemon took %d MB, more than %d", peak>>20, *loadMemory)
	}
	if run.defers != (len(deferred) > 0) {
		t.Errorf("%d mails were deferred", len(deferred))
	}
	for tries := 0; len(deferred) > 0; tries++ {
		if tries == *loadMails {
			t.Fatalf("%d mails are deferred for ever", len(deferred))
		}
		deferred = h.send(t, d, deferred, 0)
	}
}

func upTo(n int) (all []int) {
	for i := range n {
		all = append(all, i)
	}
	return all
}

// readersAtOnce is how many new bodies are kept for a look at them. MTAs have
// disks for that.
const readersAtOnce = 4

// send sends mails at the same time, and returns the numbers of those that were
// deferred. The others have arrived.
func (h *loadHouse) send(t *testing.T, d loadDaemon, mails []int, slow time.Duration) (deferred []int) {
	t.Helper()
	readers := make(chan struct{}, readersAtOnce)
	errs := make([]error, len(mails))
	var all sync.WaitGroup
	for i, mail := range mails {
		all.Go(func() { errs[i] = h.mail(d, mail, slow, readers) })
	}
	all.Wait()
	for i, mail := range mails {
		var later *loadDeferred
		switch {
		case errors.As(errs[i], &later) && strings.HasPrefix(later.reply, "451 4.3.2 "):
			deferred = append(deferred, mail)
		case errs[i] != nil:
			t.Errorf("mail %d: %v", mail, errs[i])
		}
	}
	if t.Failed() {
		t.FailNow()
	}
	return deferred
}

// loadDeferred is what a client is told whose mail was not taken.
type loadDeferred struct{ reply string }

func (d *loadDeferred) Error() string { return "it was told " + d.reply }

// mail sends one mail and looks at what comes back: the entity, whole, in an
// object that the partner can open, and nothing else.
func (h *loadHouse) mail(d loadDaemon, number int, slow time.Duration, readers chan struct{}) error {
	m, err := dialMilter(d.socket)
	if err != nil {
		return err
	}
	defer m.Close()
	if err := m.begin(loadPartner); err != nil {
		return err
	}
	sent := sha256.New()
	io.WriteString(sent, loadFields+"\r\n")
	if err := m.body(io.TeeReader(newLoadBody(number, *loadSize<<20), sent)); err != nil {
		return err
	}
	time.Sleep(slow)
	object, err := m.end(readers)
	if err != nil {
		return err
	}
	defer func() { <-readers }()
	entity, err := cms.Decrypt(object, h.cert, h.key)
	if err != nil {
		return err
	}
	if got := sha256.Sum256(entity); !bytes.Equal(got[:], sent.Sum(nil)) {
		return fmt.Errorf("another entity of %d octets", len(entity))
	}
	return nil
}

const loadFields = "Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n"

// A loadBody is the body of a mail: base64, different in each piece of each
// mail, and quickly made.
type loadBody struct {
	head   string // of each piece
	piece  string
	number int
	rest   string // of the piece at hand
	left   int    // octets
}

func newLoadBody(mail, size int) io.Reader {
	octets := make([]byte, 57*400)
	rand.NewChaCha8([32]byte{byte(mail), byte(mail >> 8)}).Read(octets)
	var lines strings.Builder
	for ; len(octets) > 0; octets = octets[57:] {
		lines.WriteString(base64.StdEncoding.EncodeToString(octets[:57]) + "\r\n")
	}
	return &loadBody{head: fmt.Sprintf("mail/%08d/", mail), piece: lines.String(), left: size}
}

func (b *loadBody) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, io.EOF
	}
	if b.rest == "" {
		b.rest = fmt.Sprintf("%s%08d\r\n", b.head, b.number) + b.piece
		b.number++
	}
	n := copy(p[:min(len(p), b.left)], b.rest)
	b.rest = b.rest[n:]
	b.left -= n
	return n, nil
}

// idle counts what connections cost that do nothing: opened, or in the middle
// of a mail.
func (h *loadHouse) idle(t *testing.T) {
	const connections = 100
	d := h.start(t, loadRun{wait: time.Minute})
	before := d.memory(t, "VmRSS")
	perConnection := func(what string, bound int) {
		time.Sleep(200 * time.Millisecond)
		now := d.memory(t, "VmRSS")
		line := fmt.Sprintf("%d connections, %s: %d kB each", connections, what, (now-before)/connections>>10)
		t.Log(line)
		if *loadTable {
			fmt.Println(line)
		}
		if now-before > connections*bound {
			t.Errorf("%s: more than %d kB each", what, bound>>10)
		}
	}
	var open []*milterConn
	for range connections {
		m, err := dialMilter(d.socket)
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		open = append(open, m)
	}
	perConnection("opened", 128<<10)
	for _, m := range open {
		if err := m.begin(loadPartner); err != nil {
			t.Fatal(err)
		}
	}
	perConnection("at the end of the header", 512<<10)
	for i, m := range open {
		if err := m.body(newLoadBody(i, 1<<20)); err != nil {
			t.Fatal(err)
		}
	}
	perConnection("in the middle of the body", 2<<20)
}

// A milterConn is the MTA's side of a milter connection. It does not keep what
// comes back, but for the body's octets.
type milterConn struct {
	net.Conn
	r *bufio.Reader
	w *bufio.Writer
}

// dialMilter opens a connection and offers what Postfix does.
func dialMilter(socket string) (*milterConn, error) {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return nil, err
	}
	conn.SetDeadline(time.Now().Add(10 * time.Minute))
	m := &milterConn{conn, bufio.NewReader(conn), bufio.NewWriterSize(conn, 8<<10)}
	offer := binary.BigEndian.AppendUint32(nil, 6)
	offer = binary.BigEndian.AppendUint32(offer, 0x1ff)
	offer = binary.BigEndian.AppendUint32(offer, 0x1fffff)
	m.put('O', offer)
	if _, err := m.want('O'); err != nil {
		conn.Close()
		return nil, err
	}
	if err := m.ask('C', "localhost\x00"+"4\x04\x00"+"127.0.0.1\x00"); err != nil {
		conn.Close()
		return nil, err
	}
	return m, nil
}

// put sends a frame, some time. An error comes again when a frame is read.
func (m *milterConn) put(command byte, data []byte) error {
	m.w.Write(binary.BigEndian.AppendUint32(nil, uint32(1+len(data))))
	m.w.WriteByte(command)
	_, err := m.w.Write(data)
	return err
}

// get reads a frame.
func (m *milterConn) get() (command byte, data []byte, err error) {
	if err := m.w.Flush(); err != nil {
		return 0, nil, err
	}
	var head [5]byte
	if _, err := io.ReadFull(m.r, head[:]); err != nil {
		return 0, nil, fmt.Errorf("the milter hangs up: %w", err)
	}
	n := binary.BigEndian.Uint32(head[:])
	if n == 0 || n > 1<<20 {
		return 0, nil, fmt.Errorf("a frame of %d octets", n)
	}
	data = make([]byte, n-1)
	_, err = io.ReadFull(m.r, data)
	return head[4], data, err
}

// want reads a frame that must be of that kind. A reply to the client in its
// place is a loadDeferred.
func (m *milterConn) want(wanted byte) ([]byte, error) {
	command, data, err := m.get()
	switch {
	case err != nil:
		return nil, err
	case command == 'y':
		return nil, &loadDeferred{strings.TrimSuffix(string(data), "\x00")}
	case command != wanted:
		return nil, fmt.Errorf("the milter says %q %.100q, want %q", command, data, wanted)
	}
	return data, nil
}

// ask sends a frame and is to hear "continue".
func (m *milterConn) ask(command byte, data string) error {
	if err := m.put(command, []byte(data)); err != nil {
		return err
	}
	_, err := m.want('c')
	return err
}

// begin begins a mail, up to the end of its header. Nobody hears of a single
// header field.
func (m *milterConn) begin(to string) error {
	if err := m.ask('M', "<bob@house.test>\x00"); err != nil {
		return err
	}
	if err := m.ask('R', "<"+to+">\x00"); err != nil {
		return err
	}
	for line := range strings.SplitSeq("To: "+to+"\r\nMIME-Version: 1.0\r\n"+loadFields, "\r\n") {
		if name, value, ok := strings.Cut(line, ":"); ok {
			if err := m.put('L', []byte(name+"\x00"+value+"\x00")); err != nil {
				return err
			}
		}
	}
	return m.ask('N', "")
}

// body sends the body in pieces as Postfix does.
func (m *milterConn) body(r io.Reader) error {
	piece := make([]byte, 65535)
	for {
		n, err := io.ReadFull(r, piece)
		if n > 0 {
			if err := m.put('B', piece[:n]); err != nil {
				return err
			}
		}
		if err != nil {
			return m.w.Flush()
		}
	}
}

// end ends the mail and returns the object that the new body is. Then it has
// taken a reader's place, to be given back.
func (m *milterConn) end(readers chan struct{}) (object []byte, err error) {
	if err := m.put('E', nil); err != nil {
		return nil, err
	}
	var text []byte
	for {
		command, data, err := m.get()
		if command == 'b' && text == nil {
			readers <- struct{}{}
			text = make([]byte, 0, *loadSize<<20*14/10)
			defer func() {
				if object == nil {
					<-readers
				}
			}()
		}
		switch {
		case err != nil:
			return nil, err
		case command == 'b':
			text = append(text, data...)
		case command == 'a' && text == nil:
			return nil, errors.New("it went on as it was")
		case command == 'a':
			return decodeLines(text)
		case command == 'y':
			return nil, &loadDeferred{strings.TrimSuffix(string(data), "\x00")}
		case strings.IndexByte("phm", command) < 0: // progress, and fields
			return nil, fmt.Errorf("the milter says %q %.100q at the end", command, data)
		}
	}
}

// decodeLines decodes base64 in place. There must be nothing else.
func decodeLines(text []byte) ([]byte, error) {
	lines := len(text)
	n, err := base64.StdEncoding.Strict().Decode(text, text)
	if err == nil && lines != base64.StdEncoding.EncodedLen(n)+(n+56)/57*2 {
		err = errors.New("the body is not in full lines")
	}
	if err != nil {
		return nil, err
	}
	return text[:n], nil
}
