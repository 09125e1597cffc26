package main_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
)

// TestShadow sends mails through Postfix that would be encrypted, refused,
// deferred and split. They arrive as they were sent, and the log says what would
// have been.
func TestShadow(t *testing.T) {
	l := startLab(t, newPostfix(t, "for everything"))
	l.splits()
	l.mode = "shadow"
	l.startMilter(l.resolver)
	l.checkFinds(`warning: mode = "shadow"`, "ok: copies go to "+l.copies)
	l.testShadows()
	l.sub("Journal", func(t *testing.T) {
		if _, err := os.Stat(l.path("journal/journal.db")); err == nil {
			t.Error("there is a journal")
		}
	})
	l.sub("Replay", l.testReplay)
	l.sub("Enforcement", func(t *testing.T) { // a week later
		l.stopMilter()
		l.mode = ""
		l.startMilter(l.resolver)
		want := entity{"Content-Type: text/plain\r\n", secret + "\r\n"}
		if got := l.deliver(t, want, "rsa@good.test"); string(got) != want.String() {
			t.Errorf("decrypted %q", got)
		}
		l.refused(t, "nobody@good.test", 550, smtp.EnhancedCode{5, 7, 5})
	})
}

// TestShadowSendmail is the same with Sendmail, and with nobody to take copies,
// who need not be there.
func TestShadowSendmail(t *testing.T) {
	l := startLab(t, newSendmail(t))
	l.mode = "shadow"
	l.rules = "\n[resubmit]\naddress = \"inet:127.0.0.1:9\"\n[[rule]]\nrecipient = [\"friend.test\"]\naction = \"never\"\n"
	l.startMilter(l.resolver)
	l.testShadows()
	l.sub("Replay", l.testReplay)
}

func (l *lab) testShadows() {
	for _, tt := range []struct {
		name   string
		to     []string
		result string
		each   []string // of recipients: "sent copy", or the reply
	}{
		{"encrypted", []string{"rsa@good.test"}, "encrypted", []string{"encrypted 0"}},
		{"plain", []string{"carol@friend.test"}, "passed", []string{"plain 0"}},
		{"refused", []string{"nobody@good.test"}, "refused", []string{"550 5.7.5"}},
		{"null MX", []string{"x@silent.test"}, "refused", []string{"556 5.1.10"}},
		{"not signed", []string{"alice@unsigned.test"}, "refused", []string{"550 5.7.5"}},
		{"bogus", []string{"alice@broken.test"}, "deferred", []string{"451 4.7.5"}},
		{"a route", []string{"user%other@friend.test"}, "refused", []string{"550 5.1.3"}},
		{"two keys, one hidden, one in clear, one refused", []string{"rsa@good.test", "ec@good.test", "rsa2@good.test", "carol@friend.test", "nobody@good.test"},
			"encrypted", []string{"encrypted 0", "encrypted 1", "encrypted 2", "plain 3", "550 5.7.5"}},
	} {
		l.sub(tt.name, func(t *testing.T) {
			l.testShadow(t, tt.result, tt.each, tt.to...)
		})
	}
	l.sub("25 MB", func(t *testing.T) {
		text := "Date: Sat, 28 Nov 2026 09:00:00 +0000\r\nMessage-ID: <long@house.test>\r\n" +
			mail(entity{"Content-Type: text/plain\r\n", encoded(25 << 20 * 57 / 78)}, "rsa@good.test")
		l.untouched(t, text, "rsa@good.test")
		l.logged(t, "encrypted", []string{"encrypted 0"})
	})
	l.sub("Pickup", l.testShadowPickup)
	l.sub("DeadResolver", l.testShadowOfADeadResolver)
}

// testReplay: the rules of the log itself change nothing in it, and softer ones
// let mail go in clear.
func (l *lab) testReplay(t *testing.T) {
	replay := func(config string) (string, int) {
		cmd := exec.Command(l.bin+"/smimea", "replay", l.path("milter.log"), "--config", config)
		out, err := cmd.Output()
		if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		return string(out), cmd.ProcessState.ExitCode()
	}
	out, code := replay(l.path("smimea.toml"))
	if code != 0 || !strings.Contains(out, ": 0 would fare otherwise, of 0 nobody can tell") {
		t.Errorf("the same rules: exit code %d and\n%s", code, out)
	}
	softer := l.write("softer.toml", strings.ReplaceAll(readFile(t, l.path("smimea.toml")), `"require"`, `"prefer"`))
	out, code = replay(softer)
	if code != 3 || !strings.Contains(out, "  to          nobody@good.test\n  was         refused (550 5.7.5)\n  would be    in clear\n") {
		t.Errorf("softer rules: exit code %d and\n%s", code, out)
	}
}

// testShadow sends a mail whose header names all recipients but rsa2.
func (l *lab) testShadow(t *testing.T, result string, each []string, to ...string) {
	visible := slices.DeleteFunc(slices.Clone(to), func(a string) bool { return strings.HasPrefix(a, "rsa2@") })
	text := "Date: Sat, 28 Nov 2026 09:00:00 +0000\r\nMessage-ID: <shadow@house.test>\r\nX-Blank:  two  \r\n" +
		mail(entity{"Content-Type: text/plain;\r\n\tcharset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n", "gr\u00fc\u00dfe, " + secret + "\r\n.\r\n"}, visible...)
	text = strings.ReplaceAll(text, ",\r\n ", ", ") // Sendmail folds To by itself
	l.untouched(t, text, to...)
	l.logged(t, result, each)
}

var received = regexp.MustCompile(`^Received: [^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*$`)

// untouched sends a mail that has all the fields that a mail server would add, and
// wants it to arrive with nothing but a trace field in front.
func (l *lab) untouched(t *testing.T, text string, to ...string) {
	t.Helper()
	before := len(l.sink.Delivered())
	if err := l.send(text, to...); err != nil {
		t.Fatal(err)
	}
	d := l.after(t, before, 1)[0]
	trace, ok := bytes.CutSuffix(d.Data, []byte(text))
	if !ok || !received.Match(trace) {
		t.Errorf("it was touched: %.3000q\nwant %.2000q", d.Data, text)
	}
	if got := slices.Sorted(slices.Values(d.To)); !slices.Equal(got, slices.Sorted(slices.Values(to))) {
		t.Errorf("it went to %q, want %q", d.To, to)
	}
}

// A shadowLine is the line of a mail in the log.
type shadowLine struct {
	Msg, Mode, Level, Result string
	Recipients               []struct {
		To, Reply, Sent string
		Copy            int
	}
}

// logged checks what the last line of a mail says.
func (l *lab) logged(t *testing.T, result string, each []string) {
	t.Helper()
	line := l.lastMail(t)
	var got []string
	for _, r := range line.Recipients {
		if r.Reply == "ok" {
			got = append(got, fmt.Sprintf("%s %d", r.Sent, r.Copy))
		} else {
			got = append(got, strings.Join(strings.Fields(r.Reply)[:2], " "))
		}
	}
	if line.Mode != "shadow" || line.Level != "INFO" || line.Result != result || !slices.Equal(got, each) {
		t.Errorf("the log says %+v, want %s and %q", line, result, each)
	}
}

func (l *lab) lastMail(t *testing.T) (last shadowLine) {
	t.Helper()
	scanner := bufio.NewScanner(strings.NewReader(readFile(t, l.path("milter.log"))))
	for scanner.Scan() {
		var line shadowLine
		if json.Unmarshal(scanner.Bytes(), &line) == nil && line.Msg == "mail" {
			last = line
		}
	}
	return last
}

// testShadowPickup: what would come back, or wait in the maildrop, leaves at once.
func (l *lab) testShadowPickup(t *testing.T) {
	for _, tt := range []struct{ to, result, each string }{
		{"rsa@good.test", "encrypted", "encrypted 0"},
		{"nobody@good.test", "refused", "550 5.7.5"},
		{"alice@broken.test", "deferred", "451 4.7.5"},
	} {
		before := len(l.sink.Delivered())
		l.sendmailFrom(t, "bob@house.test", 0, tt.to)
		d := l.after(t, before, 1)[0]
		if !bytes.Contains(d.Data, []byte("\r\nContent-Type: text/plain\r\n")) || !bytes.HasSuffix(d.Data, []byte("\r\n\r\n"+secret+"\r\n")) {
			t.Errorf("%s: it was touched: %.2000s", tt.to, d.Data)
		}
		l.logged(t, tt.result, []string{tt.each})
	}
}

// testShadowOfADeadResolver: a mail waits for the look-ups, and no longer.
func (l *lab) testShadowOfADeadResolver(t *testing.T) {
	l.stopMilter()
	l.startMilter(fmt.Sprintf("127.0.0.1:%d", freePort(t)))
	start := time.Now()
	l.testShadow(t, "deferred", []string{"451 4.4.3", "451 4.4.3"}, "rsa@good.test", "ec@good.test")
	if d := time.Since(start); d > 20*time.Second {
		t.Errorf("it took %s", d)
	}
}
