package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/emersion/go-smtp"
	bolt "go.etcd.io/bbolt"
)

// A modelFault is what goes wrong in one try.
type modelFault struct {
	kind faultKind

	// At a command to the office: the first that names the recipient, or the one
	// of that number.
	command   string
	recipient string
	nth       int
	code      int // of a refusal

	// On the line to the office: of that session, behind so many octets.
	session, octets int
	inbound         bool // octets of the office
}

func (f modelFault) String() string {
	switch {
	case f.command != "":
		return fmt.Sprintf("%s at %s %s%d (%d)", f.kind, f.command, f.recipient, f.nth, f.code)
	case f.session > 0:
		return fmt.Sprintf("%s in session %d behind octet %d (inbound: %v)", f.kind, f.session, f.octets, f.inbound)
	}
	return string(f.kind)
}

// enhanced: 552 is a copy that is too long.
func (f modelFault) enhanced() smtp.EnhancedCode {
	if f.code == 552 {
		return smtp.EnhancedCode{5, 3, 4}
	}
	return smtp.EnhancedCode{f.code / 100, 3, 0}
}

type faultKind string

const (
	noFault     faultKind = "none"
	refused     faultKind = "refused"                     // a command
	cutOff      faultKind = "cut"                         // a line
	hangs       faultKind = "hangs"                       // a line, until the time is over
	dies        faultKind = "process dies"                // at a command, or on a line
	diesBefore  faultKind = "process dies before the end" // of the mail
	diesAfter   faultKind = "process dies after its verdict, which the MTA does not get"
	diesLate    faultKind = "process dies when the MTA has accepted, and does not know of it"
	handLost    faultKind = "MTA dies after the verdict"
	handFails   faultKind = "MTA fails after the verdict, and only its client hears of it"
	journalFull faultKind = "journal cannot be written to"
	noteFails   faultKind = "journal fails when the office has a copy"
)

// newTry makes a try at which something may be wrong.
func (c *modelCase) newTry(r *rand.Rand) modelTry {
	t := modelTry{findings: map[int]modelFinding{}, absent: map[int]bool{}, fault: c.newFault(r)}
	some := pickOf(r, 3, 10, 1000)
	for _, to := range c.to {
		if r.IntN(some) == 0 {
			t.findings[to.number] = findingOf(r, to.number)
		}
	}
	if !c.pickup && r.IntN(6) == 0 {
		for i := range c.to {
			t.absent[i] = r.IntN(2) == 0
		}
	}
	return t
}

func (c *modelCase) newFault(r *rand.Rand) modelFault {
	f := modelFault{kind: pickOf(r, noFault, refused, refused, refused, cutOff, cutOff, cutOff, cutOff, hangs, hangs, dies, dies, dies, dies, diesBefore, diesAfter, diesLate, handLost, handFails, journalFull, noteFails)}
	switch f.kind {
	case refused, dies:
		if f.kind == dies && r.IntN(2) == 0 {
			break
		}
		f.code = pickOf(r, 451, 452, 550, 552)
		f.command = pickOf(r, "CONNECT", "MAIL", "RCPT", "DATA", "DOT", "DOT")
		if f.command == "CONNECT" || f.command == "MAIL" {
			f.nth = 1 + r.IntN(1+r.IntN(3))
		} else {
			f.recipient = c.to[r.IntN(len(c.to))].address
		}
		return f
	case cutOff, hangs:
	default:
		return f
	}
	f.session, f.inbound = 1+r.IntN(1+r.IntN(3)), r.IntN(2) == 0
	if f.octets = r.IntN(350); !f.inbound {
		f.octets = r.IntN(pickOf(r, 300, 2500))
	}
	return f
}

// A faultyOffice is a postOffice with a fault, and the process that hands copies
// over to it.
type faultyOffice struct {
	postOffice
	fault  modelFault
	giveUp context.CancelFunc // ends the time that the mail has

	die     func() // takes down what is on the disk now
	once    sync.Once
	closeDB func()

	guard    sync.Mutex // guards what follows
	commands map[string]int
	sessions int
	dead     bool
	happened bool // the fault
	dotsSeen bool
}

func newFaultyOffice(f modelFault) *faultyOffice {
	o := &faultyOffice{fault: f, commands: map[string]int{}}
	o.postOffice.fails = func(command, argument string) error {
		if command == "DATA" { // too late: the library has asked for the text
			return nil
		}
		return o.command(command, argument)
	}
	return o
}

var errDead = errors.New("the process is dead")

// command is what a command comes to.
func (o *faultyOffice) command(command, argument string) error {
	o.guard.Lock()
	dead := o.dead
	o.commands[command]++
	nth := o.commands[command]
	o.dotsSeen = o.dotsSeen || command == "DOT"
	o.guard.Unlock()
	f := o.fault
	switch {
	case dead:
		return errDead
	case f.kind == noteFails && command == "DOT":
		o.happens()
		o.once.Do(o.closeDB)
	case f.command != command, f.nth != 0 && f.nth != nth,
		f.recipient != "" && !slices.Contains(strings.Split(argument, " "), withoutQuotes(f.recipient)):
	case f.kind == refused:
		o.happens()
		return &smtp.SMTPError{Code: f.code, EnhancedCode: f.enhanced(), Message: "no"}
	case f.kind == dies:
		o.kill()
		return errDead
	}
	return nil
}

func (o *faultyOffice) happens() {
	o.guard.Lock()
	defer o.guard.Unlock()
	o.happened = true
}

// kill has the process die: nothing that it does from now on counts.
func (o *faultyOffice) kill() {
	o.once.Do(func() {
		o.guard.Lock()
		o.dead, o.happened = true, true
		o.guard.Unlock()
		o.die()
	})
}

func (o *faultyOffice) isDead() bool {
	o.guard.Lock()
	defer o.guard.Unlock()
	return o.dead
}

// open opens a session over a line that may break.
func (o *faultyOffice) open(ctx context.Context) (net.Conn, error) {
	conn, err := o.postOffice.open(ctx)
	if err != nil {
		return nil, err
	}
	o.guard.Lock()
	defer o.guard.Unlock()
	o.sessions++
	return &faultyLine{Conn: conn, office: o, faulty: o.sessions == o.fault.session, left: o.fault.octets, closed: make(chan struct{})}, nil
}

// A faultyLine has a fault behind so many octets in one direction, or at DATA.
type faultyLine struct {
	net.Conn
	office *faultyOffice
	faulty bool
	left   int
	to     []string
	reply  string // that the client reads next
	once   sync.Once
	closed chan struct{}
}

func (l *faultyLine) Read(p []byte) (int, error) {
	if l.reply != "" {
		n := copy(p, l.reply)
		l.reply = l.reply[n:]
		return n, nil
	}
	return l.pass(p, l.Conn.Read, true)
}

func (l *faultyLine) Write(p []byte) (int, error) { return l.pass(p, l.send, false) }

// send does what the library of the office does not: it refuses DATA, and knows the
// house's own postmaster, who has no domain (RFC 5321, Section 4.5.1).
func (l *faultyLine) send(p []byte) (int, error) {
	if path, ok := bytes.CutPrefix(p, []byte("RCPT TO:<")); ok {
		address, options, _ := strings.Cut(string(path), ">")
		l.to = append(l.to, withoutQuotes(address))
		if address == "Postmaster" {
			_, err := l.Conn.Write([]byte("RCPT TO:<Postmaster@mail.corp.test>" + options))
			return len(p), err
		}
	}
	if string(p) == "DATA\r\n" {
		if err := l.office.command("DATA", strings.Join(l.to, " ")); errors.Is(err, errDead) {
			return 0, err
		} else if err != nil {
			f := l.office.fault
			e := f.enhanced()
			l.reply = fmt.Sprintf("%d %d.%d.%d no\r\n", f.code, e[0], e[1], e[2])
			return len(p), nil
		}
	}
	return l.Conn.Write(p)
}

func (l *faultyLine) pass(p []byte, through func([]byte) (int, error), inbound bool) (int, error) {
	if !l.faulty || inbound != l.office.fault.inbound {
		return through(p)
	}
	n := min(len(p), l.left)
	if n > 0 {
		var err error
		if n, err = through(p[:n]); err != nil {
			return n, err
		}
		l.left -= n
	}
	if n > 0 && (n == len(p) || inbound) {
		return n, nil
	}
	return n, l.fail()
}

func (l *faultyLine) fail() error {
	l.office.happens()
	switch l.office.fault.kind {
	case dies:
		l.office.kill()
	case hangs:
		l.office.giveUp()
		<-l.closed
	}
	l.Conn.Close()
	return errors.New("the line is cut")
}

func (l *faultyLine) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Conn.Close()
}

// readOnly is a journal on a disk that takes nothing any more.
func (j *Journal) readOnly() (*Journal, error) {
	path := j.db.Path()
	if err := j.Close(); err != nil {
		return nil, err
	}
	db, err := bolt.Open(path, 0o600, &bolt.Options{ReadOnly: true})
	if err != nil {
		return nil, err
	}
	full := &Journal{db: db, secret: j.secret, now: j.now, busy: map[string]bool{}}
	full.mails.Store(j.mails.Load())
	return full, nil
}

// copyTo writes down what is on the disk now.
func (j *Journal) copyTo(path string) error {
	return j.db.View(func(tx *bolt.Tx) error { return tx.CopyFile(path, 0o600) })
}

// modelDir is a directory for journals, in memory if there is such a place: what
// is tried out is the end of a process, not of a machine.
func modelDir(otherwise string) string {
	if dir, err := os.MkdirTemp("/dev/shm", "smimea-model"); err == nil {
		return dir
	}
	return otherwise
}

func withoutQuotes(address string) string { return strings.ReplaceAll(address, `"`, "") }
