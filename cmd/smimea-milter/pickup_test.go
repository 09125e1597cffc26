package main_test

import (
	"bytes"
	"strings"
	"testing"
)

// A custom is a thing that the mail servers do each in its own way. All else in
// the suite must come out the same.
type custom struct {
	// The sendmail command's exit status, when its recipient is refused: Postfix's
	// puts the mail into the maildrop, and asks nobody. Sendmail's submits by SMTP,
	// and is told (67, EX_NOUSER).
	refused int

	// The bounce is encrypted to the sender, if he is out there. Postfix makes it
	// itself, and shows it to no milter. Sendmail's command makes it, and submits
	// it as any mail.
	sealed bool

	// The level of the line about a mail of this machine that has to wait. Nobody
	// else tells of one in Postfix's maildrop. Sendmail's is in a queue, where
	// mailq -Ac shows it.
	waiting string

	// The frame by which it is heard of again behind the answer to a mail, when its
	// client has gone. Postfix sends an Abort first.
	behind string
}

var (
	customsOfPostfix  = custom{refused: 0, sealed: false, waiting: "WARN", behind: ">A"}
	customsOfSendmail = custom{refused: 67, sealed: true, waiting: "INFO", behind: ">Q"}
)

// testPickup submits with the sendmail command, where nobody waits for a
// refusal: the good mail leaves encrypted, the other comes back as a bounce.
func (l *lab) testPickup(t *testing.T) {
	before := len(l.sink.Delivered())
	l.sendmail(t, "rsa@good.test", 0)
	wait(t, "the mail", func() bool { return len(l.sink.Delivered()) > before })
	got := l.decrypt(l.sink.Delivered()[before].Data, "rsa@good.test")
	if want := "Content-Type: text/plain\r\n\r\n" + secret + "\r\n"; string(got) != want {
		t.Errorf("decrypted %q, want %q", got, want)
	}

	before = len(l.sink.Delivered())
	l.sendmail(t, "nobody@good.test", l.mta.custom().refused)
	wait(t, "the bounce", func() bool { return len(l.sink.Delivered()) > before })
	bounce := l.sink.Delivered()[before]
	if bytes.Contains(bounce.Data, []byte(secret)) {
		t.Errorf("the bounce quotes the plaintext: %.4000s", bounce.Data)
	}
	if l.mta.custom().sealed {
		bounce.Data = l.decrypt(bounce.Data, "rsa@good.test")
	}
	if bounce.From != "" || !bytes.Contains(bounce.Data, []byte("5.7.5")) {
		t.Errorf("not a bounce with the reason: %.4000s", bounce.Data)
	}
}

// testCron submits what the machine itself has to say, to a bare "root".
func (l *lab) testCron(t *testing.T) {
	before := len(readFile(t, l.path("milter.log")))
	l.sendmail(t, "root", 0)
	wait(t, "a line about the mail, which passed", func() bool {
		for line := range strings.Lines(readFile(t, l.path("milter.log"))[before:]) {
			if strings.Contains(line, `"to":"root`) && strings.Contains(line, `"sent":"plain"`) {
				return true
			}
		}
		return false
	})
}

// sendmail submits a mail as programs on the machine do. The bounce goes to a
// sender under a rule that lets it leave for the sink.
func (l *lab) sendmail(t *testing.T, to string, status int) {
	t.Helper()
	l.sendmailFrom(t, "rsa@good.test", status, to)
}

func (l *lab) sendmailFrom(t *testing.T, from string, status int, to ...string) {
	t.Helper()
	cmd := l.mta.command(l, from, to...)
	cmd.Stdin = strings.NewReader("Subject: by command\nTo: " + strings.Join(to, ", ") + "\nMIME-Version: 1.0\nContent-Type: text/plain\n\n" + secret + "\n")
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != status {
		t.Fatalf("sendmail: %v, want status %d\n%s", err, status, out)
	}
}
