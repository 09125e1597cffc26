package main_test

import (
	"bytes"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
)

// Minutes of it are for who wants to be sure.
var daySeconds = flag.Int("day.seconds", 3, "how long mails come while the daemon changes, for each way of changing")

// TestPostfixDay is what happens to a daemon in its life: settings change, it is
// started anew, and more mails come than it may have in hand. Mails go through
// Postfix all the while.
func TestPostfixDay(t *testing.T) { testDay(t, newPostfix(t, "for everything")) }

// TestSendmailDay is the same with Sendmail.
func TestSendmailDay(t *testing.T) { testDay(t, newSendmail(t)) }

func testDay(t *testing.T, m mta) {
	l := startLab(t, m)
	l.sub("OneMailTooMany", l.testOneMailTooMany)
	l.startMilter(l.resolver)
	l.sub("Reload", l.testReloadUnderLoad)
	l.sub("Restart", func(t *testing.T) {
		l.testRestartUnderLoad(t, func() { l.startMilter(l.resolver) })
	})
	l.stopMilter()
	l.sub("RestartWithSocket", l.testRestartWithSocket)
}

// testOneMailTooMany: its client is told to try again, and may; and the daemon
// that is told to stop does not wait for a mail that never began.
func (l *lab) testOneMailTooMany(t *testing.T) {
	l.rules = "\n[limits]\nmails = 1\n"
	l.startMilter(l.resolver)
	defer func() { l.rules = "" }()
	defer l.stopMilter()
	first := l.begin(t)
	defer first.Close()
	second, err := smtp.Dial(l.smtp)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	wantReply(t, second.Mail("bob@house.test", nil), 451, smtp.EnhancedCode{4, 3, 2})
	first.Quit() // Postfix would tell of RSET only with the next command
	before := len(l.sink.Delivered())
	wait(t, "a place for another mail", func() bool {
		return l.send(mail(entity{body: secret + "\r\n"}, "rsa@good.test"), "rsa@good.test") == nil
	})
	l.fromBob(t, before)
	start := time.Now()
	l.stopMilter()
	if took := time.Since(start); took > 3*time.Second {
		t.Errorf("it took %s to stop, and the second client has no mail", took)
	}
}

// testReloadUnderLoad changes the settings again and again, sometimes with a slip.
// Nobody notices.
func (l *lab) testReloadUnderLoad(t *testing.T) {
	good := readFile(t, l.path("smimea.toml"))
	variants := []string{
		strings.Replace(good, `"require"`, "\"require\"\ncipher = \"aes128-cbc\"", 1),
		good + "slip",
		good,
		strings.Replace(good, "listen = [", `listen = ["inet:127.0.0.1:1", `, 1),
	}
	deferred := l.traffic(t, 100*time.Millisecond, func(i int) {
		l.replace("smimea.toml", variants[i%len(variants)])
		l.milter.Process.Signal(syscall.SIGHUP)
	})
	if deferred > 0 {
		t.Errorf("%d mails were deferred at first", deferred)
	}
	log := readFile(t, l.path("milter.log"))
	for _, line := range []string{`"msg":"settings: taken over"`, `"msg":"settings: nothing was taken over; the old ones stay in force","why":"` + l.path("smimea.toml"),
		`"why":"listen: changed, and that takes a restart; `} {
		if !strings.Contains(log, line) {
			t.Errorf("the log has no line with %s", line)
		}
	}
	for _, trouble := range []string{"panic", "validator is closed"} {
		if strings.Contains(log, trouble) {
			t.Errorf("the log tells of %q", trouble)
		}
	}
	l.replace("smimea.toml", good)
}

// replace puts a file in the place of another one, whole.
func (l *lab) replace(name, content string) {
	l.t.Helper()
	if err := os.Rename(l.write(name+".new", content), l.path(name)); err != nil {
		l.t.Fatal(err)
	}
}

// testRestartUnderLoad starts the daemon anew, again and again. Some mails are
// deferred meanwhile, and none is lost, doubled or plain.
func (l *lab) testRestartUnderLoad(t *testing.T, start func()) {
	l.traffic(t, 500*time.Millisecond, func(int) {
		l.stopMilter()
		start()
	})
}

// testRestartWithSocket has somebody else keep the socket, as systemd does.
func (l *lab) testRestartWithSocket(t *testing.T) {
	path := l.socket()
	os.Remove(path)
	socket, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	l.own("spool/smimea/milter.sock", "nobody", "postfix", 0o660)
	start := func() { l.startWith(socket) }
	start()
	defer l.stopMilter()
	l.testRestartUnderLoad(t, start)
}

// startWith starts the daemon of the last settings with a socket that is there.
func (l *lab) startWith(socket *net.UnixListener) {
	l.t.Helper()
	file, err := socket.File()
	if err != nil {
		l.t.Fatal(err)
	}
	defer file.Close()
	// Only a shell knows the number of a process before there is one.
	cmd := exec.Command("sh", "-c", `LISTEN_FDS=1 LISTEN_PID=$$ exec "$0" "$@"`, l.bin+"/smimea-milter", "-config", l.path("smimea.toml"))
	cmd.ExtraFiles = []*os.File{file}
	l.runMilter(cmd)
}

// dayClients is how many send at the same time.
const dayClients = 20

// traffic sends mails while change is called again and again. Each must arrive
// once, and encrypted. It returns how many had to be sent again.
func (l *lab) traffic(t *testing.T, each time.Duration, change func(i int)) (deferred int) {
	t.Helper()
	before := len(l.sink.Delivered())
	var sent, again atomic.Int64
	done := make(chan struct{})
	var clients sync.WaitGroup
	for range dayClients {
		clients.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				number := sent.Add(1)
				text := strings.Replace(mail(entity{body: secret + "\r\n"}, "rsa@good.test"), "a mail", fmt.Sprintf("mail number %d.", number), 1)
				tries, err := l.untilTaken(text, "rsa@good.test")
				if err != nil {
					t.Errorf("mail number %d: %v", number, err)
					return
				}
				if tries > 1 {
					again.Add(1)
				}
			}
		})
	}
	end := time.Now().Add(time.Duration(*daySeconds) * time.Second)
	for i := 0; time.Now().Before(end); i++ {
		time.Sleep(each)
		change(i)
	}
	close(done)
	clients.Wait()
	l.arrivedOnce(t, before, int(sent.Load()))
	t.Logf("%d mails, %d of them sent again", sent.Load(), again.Load())
	return int(again.Load())
}

var mailNumber = regexp.MustCompile(`\r\nSubject: mail number (\d+)\.\r\n`)

// arrivedOnce looks at what the world got: each mail once, and encrypted.
func (l *lab) arrivedOnce(t *testing.T, before, sent int) {
	t.Helper()
	time.Sleep(200 * time.Millisecond) // for one too many
	times := map[string]int{}
	for _, d := range l.sink.Wait(before+sent, 30*time.Second)[before:] {
		number := mailNumber.FindSubmatch(d.Data)
		switch {
		case number == nil:
			t.Errorf("another mail arrived: %.1000s", d.Data)
			continue
		case bytes.Contains(d.Data, []byte(secret)), !bytes.Contains(d.Data, []byte("application/pkcs7-mime")):
			t.Errorf("in clear: %.1000s", d.Data)
		}
		times[string(number[1])]++
	}
	for number, n := range times {
		if n > 1 {
			t.Errorf("mail number %s arrived %d times", number, n)
		}
	}
	if len(times) != sent {
		t.Errorf("%d mails arrived, of %d", len(times), sent)
	}
}
