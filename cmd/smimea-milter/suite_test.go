package main_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"smimea.example/tools/testnet"
)

// secret stands in every body: where it turns up, plaintext has turned up.
const secret = "the password is swordfish"

// TestPostfix is the main job with real programs at every point.
func TestPostfix(t *testing.T) {
	l := startLab(t, newPostfix(t, "for everything"))
	l.startMilter(l.resolver)
	l.checkFinds("ok: upstream "+l.resolver+": the root's keys are secure", "ok: smtpd_milters", "ok: non_smtpd_milters",
		"ok: milter_default_action = tempfail", "ok: message_size_limit", "ok: Postfix's own domains")
	l.testEverything()
}

// TestSendmail is the same with Sendmail.
func TestSendmail(t *testing.T) {
	l := startLab(t, newSendmail(t))
	l.startMilter(l.resolver)
	l.testEverything()
}

func (l *lab) testEverything() {
	l.sub("Mails", l.testMails)
	l.sub("Several", l.testSeveral)
	l.sub("Refusals", l.testRefusals)
	l.sub("Pickup", l.testPickup)
	l.sub("Cron", l.testCron)
	l.sub("Garbage", l.testGarbage)
	l.sub("Killed", l.testKilled)
	l.sub("DeadResolver", l.testDeadResolver)
}

// TestSubmission has Postfix ask about what the house's own people send, and
// about nothing else.
func TestSubmission(t *testing.T) {
	l := startLab(t, newPostfix(t, "for what your own people send"))
	l.startMilter(l.resolver)
	l.checkFinds("ok: "+l.submit+"/inet/smtpd_milters", "ok: non_smtpd_milters", "ok: message_size_limit")
	l.sub("Pickup", l.testPickup)
	l.sub("Incoming", func(t *testing.T) { // goes its way, as it did before
		if err := l.send(mail(entity{body: secret + "\r\n"}, "nobody@good.test"), "nobody@good.test"); err != nil {
			t.Error(err)
		}
		wait(t, "the mail", func() bool { return len(l.sink.Delivered()) > 2 })
	})
	l.smtp = l.submit
	l.sub("Submission", func(t *testing.T) {
		want := entity{"Content-Type: text/plain\r\n", secret + "\r\n"}
		if got := l.deliver(t, want, "rsa@good.test"); string(got) != want.String() {
			t.Errorf("decrypted %q, want %q", got, want.String())
		}
		l.refused(t, "nobody@good.test", 550, smtp.EnhancedCode{5, 7, 5})
	})
}

// An entity is what must come out of the envelope, byte for byte: the mail's
// own Content-* fields, an empty line, the body.
type entity struct{ fields, body string }

func (e entity) String() string { return e.fields + "\r\n" + e.body }

func (l *lab) testMails(t *testing.T) {
	cases := map[string]entity{
		"plain ASCII": {"Content-Type: text/plain; charset=us-ascii\r\n", secret + "\r\n"},
		"no fields":   {"", secret + "\r\n"},
		"ISO-2022-JP": {"Content-Type: text/plain; charset=ISO-2022-JP\r\nContent-Transfer-Encoding: 7bit\r\n",
			"\x1b$B$3$s$K$A$O\x1b(B\r\n" + secret + "\r\n"},
		"Shift_JIS attachment": multipart(
			"Content-Type: text/plain; charset=Shift_JIS\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\x82\xb1\x82\xf1\x82\xc9\x82\xbf\x82\xcd\r\n"+secret,
			"Content-Type: text/csv; charset=Shift_JIS; name=\"=?Shift_JIS?B?k/qWey5jc3Y=?=\"\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\x93\xfa\x96\x7b,\x83\\\r\n"),
		"binary attachment": multipart(
			"Content-Type: text/plain\r\n\r\n"+secret,
			"Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n"+encoded(100_000)),
		"folded fields": {"Content-Type: text/plain;\r\n\tcharset=utf-8;\r\n  format=flowed\r\nContent-Language:  de\r\n", "gr\u00fc\u00dfe\r\n" + secret + "\r\n"},
		"empty body":    {"Content-Type: text/plain\r\n", ""},
		"dots":          {"Content-Type: text/plain\r\n", ".\r\n..\r\n. " + secret + "\r\n"},
		"25 MB":         {"Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n", encoded(25 << 20 * 57 / 78)},
	}
	for name, want := range cases {
		for _, to := range []string{"rsa@good.test", "ec@good.test"} {
			l.sub(name+" to "+to, func(t *testing.T) {
				got := l.deliver(t, want, to)
				if !bytes.Equal(got, []byte(want.String())) {
					t.Errorf("decrypted %d octets: %.200q\nwant %d octets: %.200q", len(got), got, len(want.String()), want.String())
				}
			})
		}
	}
	l.sub("no final newline", func(t *testing.T) {
		// SMTP cannot carry it but with BDAT, and there Postfix adds one.
		want := entity{"Content-Type: text/plain\r\n", secret}
		if got := l.deliver(t, want, "rsa@good.test"); string(got) != want.String()+"\r\n" {
			t.Errorf("decrypted %q", got)
		}
	})
	l.sub("signed inside", l.testSigned)
}

// testSigned sends what a mail program signed: the signature must survive.
func (l *lab) testSigned(t *testing.T) {
	signer := l.person("bob@house.test", "rsa")
	plain := l.write("plain.txt", "Content-Type: text/plain\r\n\r\n"+secret+"\r\n")
	signed := l.run("openssl", "cms", "-sign", "-binary", "-crlfeol", "-in", plain, "-signer", signer.cert, "-inkey", signer.key)
	signed = bytes.ReplaceAll(bytes.ReplaceAll(signed, []byte("\r\n"), []byte("\n")), []byte("\n"), []byte("\r\n"))
	header, body, _ := strings.Cut(string(signed), "\r\n\r\n")
	_, contentType, _ := strings.Cut(header, "\r\n") // MIME-Version comes first, and stays outside
	want := entity{contentType + "\r\n", body}

	got := l.deliver(t, want, "ec@good.test")
	if string(got) != want.String() {
		t.Errorf("decrypted %q\nwant %q", got, want.String())
	}
	inner := l.write("inner.eml", string(got))
	l.run("openssl", "cms", "-verify", "-in", inner, "-CAfile", signer.cert, "-purpose", "any")
}

// deliver sends a mail through the MTA and returns what its recipient reads.
func (l *lab) deliver(t *testing.T, e entity, to string) []byte {
	t.Helper()
	before := len(l.sink.Delivered())
	if err := l.send(mail(e, to), to); err != nil {
		t.Fatal(err)
	}
	got := l.fromBob(t, before)
	for _, part := range []string{secret, "Content-Language", "flowed"} {
		if bytes.Contains(got.Data, []byte(part)) {
			t.Errorf("%q left in clear", part)
		}
	}
	if !bytes.Contains(got.Data, []byte("Subject: a mail\r\n")) {
		t.Errorf("the Subject is gone: %.1000s", got.Data)
	}
	return l.decrypt(got.Data, to)
}

// fromBob waits for Bob's next mail to leave; bounces leave, too.
func (l *lab) fromBob(t *testing.T, before int) (d testnet.Delivery) {
	t.Helper()
	wait(t, "the mail", func() bool {
		left := l.sink.Delivered()[before:]
		i := slices.IndexFunc(left, func(d testnet.Delivery) bool { return d.From == "bob@house.test" })
		if i >= 0 {
			d = left[i]
		}
		return i >= 0
	})
	return d
}

// mail is a whole mail around an entity.
func mail(e entity, to ...string) string {
	version := "MIME-Version: 1.0\r\n"
	if e.fields == "" {
		version = ""
	}
	return "From: Bob <bob@house.test>\r\nTo: " + strings.Join(to, ",\r\n ") + "\r\nSubject: a mail\r\n" +
		version + e.String()
}

// send hands a mail of Bob's to the MTA by SMTP; the error is what the client is
// told.
func (l *lab) send(mail string, to ...string) error { return l.sendFrom("bob@house.test", mail, to...) }

// sendFrom is send for another sender than Bob.
func (l *lab) sendFrom(from, mail string, to ...string) error {
	c, err := smtp.Dial(l.smtp)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Mail(from, nil); err != nil {
		return err
	}
	for _, address := range to {
		if err := c.Rcpt(address, nil); err != nil {
			return err
		}
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write([]byte(mail)); err != nil {
		return err
	}
	return w.Close()
}

// untilTaken sends a mail of Bob's again for as long as its client is told to, and says
// how often that was.
func (l *lab) untilTaken(mail string, to ...string) (tries int, err error) {
	for late := time.Now().Add(2 * patience); ; time.Sleep(50 * time.Millisecond) {
		tries++
		err := l.send(mail, to...)
		var reply *smtp.SMTPError
		if err == nil || !errors.As(err, &reply) || reply.Code/100 != 4 || time.Now().After(late) {
			return tries, err
		}
	}
}

// testSeveral sends one mail to several people.
func (l *lab) testSeveral(t *testing.T) {
	l.sub("one envelope for two", func(t *testing.T) {
		before := len(l.sink.Delivered())
		want := entity{"Content-Type: text/plain\r\n", secret + "\r\n"}
		if err := l.send(mail(want, "rsa@good.test", "rsa2@good.test"), "rsa@good.test", "rsa2@good.test"); err != nil {
			t.Fatal(err)
		}
		sent := l.fromBob(t, before)
		for _, who := range []string{"rsa@good.test", "rsa2@good.test"} {
			if got := l.decrypt(sent.Data, who); string(got) != want.String() {
				t.Errorf("%s reads %q, want %q", who, got, want.String())
			}
		}
	})
	l.sub("the house reads it in clear", func(t *testing.T) {
		err := l.send(mail(entity{body: secret + "\r\n"}, "rsa@good.test"), "rsa@good.test", "root@house.test")
		wantReply(t, err, 452, smtp.EnhancedCode{4, 5, 3})
	})
	l.sub("another kind of key", func(t *testing.T) {
		err := l.send(mail(entity{body: secret + "\r\n"}, "rsa@good.test"), "rsa@good.test", "ec@good.test")
		wantReply(t, err, 452, smtp.EnhancedCode{4, 5, 3})
	})
	l.sub("Bcc", func(t *testing.T) {
		before := len(l.sink.Delivered())
		err := l.send(mail(entity{body: secret + "\r\n"}, "rsa@good.test"), "rsa@good.test", "rsa2@good.test")
		wantReply(t, err, 550, smtp.EnhancedCode{5, 7, 3})
		l.nothingLeft(t, before)
	})
	l.sub("encrypted already", func(t *testing.T) {
		plain := l.write("plain.txt", "Content-Type: text/plain\r\n\r\n"+secret+"\r\n")
		sealed := string(l.run("openssl", "cms", "-encrypt", "-binary", "-aes256", "-in", plain, l.keys["rsa@good.test"].cert))
		sealed = strings.ReplaceAll(strings.ReplaceAll(sealed, "\r\n", "\n"), "\n", "\r\n")
		before := len(l.sink.Delivered())
		if err := l.send("To: rsa@good.test\r\n"+sealed, "rsa@good.test"); err != nil {
			t.Fatal(err)
		}
		got := l.fromBob(t, before).Data
		_, body, _ := strings.Cut(sealed, "\r\n\r\n")
		if !bytes.HasSuffix(got, []byte("\r\n\r\n"+body)) {
			t.Errorf("it was touched: %.2000s", got)
		}
	})
}

// begin begins a mail of Bob's.
func (l *lab) begin(t *testing.T) *smtp.Client {
	t.Helper()
	c, err := smtp.Dial(l.smtp)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Mail("bob@house.test", nil); err != nil {
		c.Close()
		t.Fatal(err)
	}
	return c
}

func (l *lab) testRefusals(t *testing.T) {
	for _, c := range []struct {
		name, to string
		code     int
		enhanced smtp.EnhancedCode
	}{
		{"no record", "nobody@good.test", 550, smtp.EnhancedCode{5, 7, 5}},
		{"unsigned zone", "alice@unsigned.test", 550, smtp.EnhancedCode{5, 7, 5}},
		{"no such domain", "alice@nowhere.test", 550, smtp.EnhancedCode{5, 1, 2}},
		{"takes no mail", "alice@silent.test", 556, smtp.EnhancedCode{5, 1, 10}},
		{"routed through the house", "alice%good.test@house.test", 550, smtp.EnhancedCode{5, 1, 3}},
	} {
		l.sub(c.name, func(t *testing.T) { l.refused(t, c.to, c.code, c.enhanced) })
	}
}

// testOthersGoOn has one recipient refused, and the mail go on to the other
// alone.
func (l *lab) testOthersGoOn(t *testing.T) {
	before := len(l.sink.Delivered())
	c := l.begin(t)
	defer c.Close()
	wantReply(t, c.Rcpt("nobody@good.test", nil), 550, smtp.EnhancedCode{5, 7, 5})
	if err := c.Rcpt("rsa@good.test", nil); err != nil {
		t.Fatalf("the recipient after him: %v", err)
	}
	w, err := c.Data()
	if err != nil {
		t.Fatal(err)
	}
	want := entity{"Content-Type: text/plain\r\n", secret + "\r\n"}
	fmt.Fprint(w, mail(want, "nobody@good.test", "rsa@good.test"))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	sent := l.fromBob(t, before)
	if !slices.Equal(sent.To, []string{"rsa@good.test"}) {
		t.Errorf("it went to %q", sent.To)
	}
	if got := l.decrypt(sent.Data, "rsa@good.test"); string(got) != want.String() {
		t.Errorf("decrypted %q, want %q", got, want.String())
	}
}

// refused sends to one recipient, expects a refusal, and that nothing leaves.
func (l *lab) refused(t *testing.T, to string, code int, enhanced smtp.EnhancedCode) {
	t.Helper()
	before := len(l.sink.Delivered())
	wantReply(t, l.send(mail(entity{body: secret + "\r\n"}, to), to), code, enhanced)
	l.nothingLeft(t, before)
}

// wantReply compares what a client was told.
func wantReply(t *testing.T, err error, code int, enhanced smtp.EnhancedCode) {
	t.Helper()
	var reply *smtp.SMTPError
	if !errors.As(err, &reply) {
		t.Fatalf("the client was told %v", err)
	}
	t.Logf("%d %v %s", reply.Code, reply.EnhancedCode, reply.Message)
	if reply.Code != code || reply.EnhancedCode != enhanced {
		t.Errorf("%d %v, want %d %v", reply.Code, reply.EnhancedCode, code, enhanced)
	}
}

// nothingLeft makes sure that no plaintext has reached the sink since.
func (l *lab) nothingLeft(t *testing.T, before int) {
	t.Helper()
	time.Sleep(300 * time.Millisecond)
	for _, d := range l.sink.Delivered()[before:] {
		t.Errorf("a mail left: %.2000s", d.Data)
	}
}

// testGarbage talks nonsense at the milter's socket. The process lives on, and
// serves those who know how to talk.
func (l *lab) testGarbage(t *testing.T) {
	noise := make([]byte, 1<<20)
	rand.NewChaCha8([32]byte{2}).Read(noise)
	for name, garbage := range map[string][]byte{
		"four zero octets":    {0, 0, 0, 0},
		"unterminated string": []byte("\x00\x00\x00\x05Malic"),
		"512 MB promised":     {0x20, 0, 0, 0, 'B'},
		"a megabyte of noise": noise,
	} {
		conn, err := net.Dial("unix", l.socket())
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		conn.SetDeadline(time.Now().Add(5 * time.Second))
		conn.Write(garbage) // the other side may hang up in between
		io.Copy(io.Discard, conn)
		conn.Close()
	}
	l.deliver(t, entity{body: secret + "\r\n"}, "rsa@good.test")
	if err := l.milter.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("the process is gone: %v", err)
	}
}

// testKilled kills the milter while it reads a mail.
func (l *lab) testKilled(t *testing.T) {
	before := len(l.sink.Delivered())
	c := l.begin(t)
	defer c.Close()
	if err := c.Rcpt("rsa@good.test", nil); err != nil {
		t.Fatal(err)
	}
	w, err := c.Data()
	if err != nil {
		t.Fatal(err)
	}
	// Stopped first, so that it is certain to die in the middle of the body.
	milter := l.milter.Process
	milter.Signal(syscall.SIGSTOP)
	fmt.Fprint(w, mail(entity{"", secret + "\r\n" + encoded(8<<20)}, "rsa@good.test"))
	time.AfterFunc(time.Second, func() { milter.Kill() })
	err = w.Close()
	var reply *smtp.SMTPError
	if !errors.As(err, &reply) || reply.Code/100 != 4 {
		t.Errorf("the client was told %v, want a 4xx", err)
	}
	l.nothingLeft(t, before)
	l.milter.Wait()
	l.milter = nil
	l.startMilter(l.resolver)
	l.deliver(t, entity{body: secret + "\r\n"}, "rsa@good.test") // once it is back
}

func (l *lab) testDeadResolver(t *testing.T) {
	l.stopMilter()
	l.startMilter(fmt.Sprintf("127.0.0.1:%d", freePort(t)))
	l.refused(t, "rsa@good.test", 451, smtp.EnhancedCode{4, 4, 3})
	before := len(l.sink.Delivered())
	told := len(readFile(t, l.path("milter.log")))
	l.sendmail(t, "rsa@good.test", 0) // stays on the machine, and nobody is told
	wait(t, "a line in the log", func() bool {
		said := readFile(t, l.path("milter.log"))[told:]
		return strings.Contains(said, `"level":"`+l.mta.custom().waiting+`","msg":"mail"`) && strings.Contains(said, `"result":"deferred"`)
	})
	l.nothingLeft(t, before)
}

// multipart makes a multipart/mixed entity.
func multipart(parts ...string) entity {
	var body strings.Builder
	for _, part := range parts {
		body.WriteString("--=_b\r\n" + part + "\r\n")
	}
	return entity{"Content-Type: multipart/mixed; boundary=\"=_b\"\r\n", body.String() + "--=_b--\r\n"}
}

// encoded is base64 of n random octets, in lines.
func encoded(n int) string {
	octets := make([]byte, n)
	rand.NewChaCha8([32]byte{1}).Read(octets)
	return inLines(octets)
}

// inLines is base64 in lines.
func inLines(octets []byte) string {
	text := base64.StdEncoding.EncodeToString(octets)
	var lines strings.Builder
	lines.Grow(len(text) * 78 / 76)
	for len(text) > 0 {
		line := text[:min(76, len(text))]
		text = text[len(line):]
		lines.WriteString(line + "\r\n")
	}
	return lines.String()
}
