package main_test

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
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
	loadSize   = flag.Int("load.size", 4, "how long each is, in `MB`")
	loadMemory = flag.Int("load.memory", 64, "what the daemon may take, in `MB`")
	loadTable  = flag.Bool("load.table", false, "print the table")
)

const megabyte = 1_000_000 // as in the settings

// A loadRun is a number of mails that come at once.
type loadRun struct {
	name, cipher string
	wait         time.Duration // of the daemon, for its share of the memory
	slow         time.Duration // the MTA is, before it reads a new body
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
		{name: "GCM", cipher: "aes256-gcm", wait: 3 * time.Minute},
		// All want memory at the same time, and nobody who has some gives it back
		// while the others wait.
		{name: "Impatient", cipher: "aes256-gcm", wait: time.Second, slow: 2 * time.Second},
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
memory = "%dMB"
wait = %q

[[rule]]
recipient = ["*"]
action = "require"
cipher = %q
`, d.socket, filepath.Join(h.dir, "pinned"), *loadMemory, run.wait, run.cipher)
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
	deferred := h.send(t, d, run, upTo(*loadMails), *loadMails)
	took := time.Since(began)
	peak := d.memory(t, "VmHWM")
	tell(t, "%5d  %5d MB  %-10s  %4.0fs  %7.1f  %7.1f  %8d  %8d", *loadMails, *loadSize, run.cipher, run.wait.Seconds(),
		took.Seconds(), float64(peak)/megabyte, *loadMails-len(deferred), len(deferred))
	if impatient := run.slow > 0; impatient != (len(deferred) > 0) || len(deferred) == *loadMails {
		t.Errorf("%d of %d mails were deferred", len(deferred), *loadMails)
	}
	run.slow = 0
	if again := h.send(t, d, run, deferred, 2); len(again) > 0 {
		t.Errorf("%d mails were deferred again, two at a time", len(again))
	}
	if peak := d.memory(t, "VmHWM"); peak > *loadMemory*megabyte {
		t.Errorf("the daemon took %d MB, more than %d", peak/megabyte, *loadMemory)
	}
}

// tell adds a line to the table.
func tell(t *testing.T, format string, args ...any) {
	t.Helper()
	t.Logf(format, args...)
	if *loadTable {
		fmt.Printf(format+"\n", args...)
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

// send sends mails, some at the same time, and returns the numbers of those that
// were deferred. The others have arrived.
func (h *loadHouse) send(t *testing.T, d loadDaemon, run loadRun, mails []int, atOnce int) (deferred []int) {
	t.Helper()
	mta := &loadMTA{run: run, readers: make(chan struct{}, readersAtOnce)}
	if run.slow > 0 {
		mta.together.Add(len(mails))
	}
	errs := make([]error, len(mails))
	places := make(chan struct{}, atOnce)
	var all sync.WaitGroup
	for i, mail := range mails {
		places <- struct{}{}
		all.Go(func() {
			errs[i] = h.mail(d, mail, mta)
			<-places
		})
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

// A loadMTA is what the connections of an MTA have in common.
type loadMTA struct {
	run      loadRun
	readers  chan struct{}  // a place for each new body that is being read
	together sync.WaitGroup // waits for all bodies to be there, where that counts
}

// loadDeferred is what a client is told whose mail was not taken.
type loadDeferred struct{ reply string }

func (d *loadDeferred) Error() string { return "it was told " + d.reply }

// mail sends one mail and looks at what comes back: the entity, whole, in an
// object that the partner can open, and nothing else.
func (h *loadHouse) mail(d loadDaemon, number int, mta *loadMTA) error {
	m, sent, err := startMail(d, number)
	if mta.run.slow > 0 {
		mta.together.Done()
		mta.together.Wait()
	}
	if err != nil {
		return err
	}
	defer m.Close()
	reading := false
	defer func() {
		if reading {
			<-mta.readers
		}
	}()
	object, err := m.end(func() {
		time.Sleep(mta.run.slow)
		mta.readers <- struct{}{}
		reading = true
	})
	if err != nil {
		return err
	}
	if kind := objectKinds[mta.run.cipher]; !bytes.Contains(object[:min(len(object), 30)], kind) {
		return fmt.Errorf("not in %s: %x", mta.run.cipher, object[:min(len(object), 30)])
	}
	entity, err := cms.Decrypt(object, h.cert, h.key)
	if err != nil {
		return err
	}
	if got := sha256.Sum256(entity); !bytes.Equal(got[:], sent) {
		return fmt.Errorf("another entity of %d octets", len(entity))
	}
	return nil
}

// objectKinds are the content types: RFC 5652, Section 6.1, and RFC 5083,
// Section 2.1.
var objectKinds = map[string][]byte{
	"aes256-cbc": {6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 7, 3},
	"aes256-gcm": {6, 11, 0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 9, 16, 1, 23},
}

// startMail sends a mail, but for its end, and returns the hash of its entity.
func startMail(d loadDaemon, number int) (m *milterConn, sent []byte, err error) {
	m, err = dialMilter(d.socket)
	if err != nil {
		return nil, nil, err
	}
	hash := sha256.New()
	io.WriteString(hash, loadFields+"\r\n")
	err = m.begin(loadPartner)
	if err == nil {
		err = m.body(io.TeeReader(newLoadBody(number, *loadSize*megabyte), hash))
	}
	if err != nil {
		m.Close()
		return nil, nil, err
	}
	return m, hash.Sum(nil), nil
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
	d := h.start(t, loadRun{cipher: "aes256-cbc", wait: time.Minute})
	before := d.memory(t, "VmRSS")
	perConnection := func(what string, bound int) {
		time.Sleep(200 * time.Millisecond)
		each := (d.memory(t, "VmRSS") - before) / connections / 1000
		tell(t, "%d connections, %s: %d kB each", connections, what, each)
		if each > bound {
			t.Errorf("%s: more than %d kB each", what, bound)
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
	perConnection("opened", 100)
	for _, m := range open {
		if err := m.begin(loadPartner); err != nil {
			t.Fatal(err)
		}
	}
	perConnection("at the end of the header", 300)
	for i, m := range open {
		if err := m.body(newLoadBody(i, 1<<20)); err != nil {
			t.Fatal(err)
		}
	}
	perConnection("in the middle of the body", 1000)
}
