package main_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"smimea.example/tools/testnet"
)

// TestSources sends mail in the ways in which it comes, beside the usual one.
func TestSources(t *testing.T) { testSources(t, newPostfix(t, "for everything")) }

// TestSourcesSendmail is the same with Sendmail.
func TestSourcesSendmail(t *testing.T) { testSources(t, newSendmail(t)) }

func testSources(t *testing.T, m mta) {
	l := startLab(t, m)
	l.splits()
	l.startMilter(l.resolver)
	l.sub("OneConnection", l.testOneConnection)
	l.sub("NullSender", l.testNullSender)
	l.sub("ThousandRecipients", l.testThousandRecipients)
	l.sub("SMTPUTF8", l.testUTF8Addresses)
}

// testOneConnection sends several mails on one connection, with others in between
// that are given up: at each step, and in the middle of the body.
func (l *lab) testOneConnection(t *testing.T) {
	before := len(l.sink.Delivered())
	c := l.talk(t)
	defer c.hangUp()
	text := func(to ...string) string { return dotted(mail(entity{plainText, secret + "\r\n"}, to...)) }
	c.says("MAIL FROM:<bob@house.test>", "250")
	c.says("RSET", "250")
	c.says("MAIL FROM:<bob@house.test>", "250")
	c.says("RCPT TO:<ec@good.test>", "250")
	c.says("RSET", "250")
	c.says("MAIL FROM:<bob@house.test>", "250")
	c.says("RCPT TO:<nobody@good.test>", "550")
	c.says("RCPT TO:<rsa@good.test>", "250") // the first mail that is sent
	c.says("DATA", "354")
	c.says(text("rsa@good.test"), "250")
	c.says("MAIL FROM:<bob@house.test>", "250")
	c.says("RCPT TO:<carol@friend.test>", "250") // the second, in clear
	c.says("DATA", "354")
	c.says(text("carol@friend.test"), "250")
	c.says("MAIL FROM:<bob@house.test>", "250")
	c.says("RCPT TO:<nobody@good.test>", "550")
	c.says("RSET", "250")
	c.says("MAIL FROM:<bob@house.test>", "250")
	c.says("RCPT TO:<rsa2@good.test>", "250") // the third, in two copies
	c.says("RCPT TO:<dave@friend.test>", "250")
	c.says("DATA", "354")
	c.says(text("rsa2@good.test", "dave@friend.test"), "250")
	c.says("MAIL FROM:<bob@house.test>", "250")
	c.says("RCPT TO:<ec@good.test>", "250")
	c.says("QUIT", "221")

	broken := l.talk(t)
	broken.says("MAIL FROM:<bob@house.test>", "250")
	broken.says("RCPT TO:<ec@good.test>", "250")
	broken.says("RCPT TO:<carol@friend.test>", "250")
	broken.says("DATA", "354")
	broken.W.WriteString(strings.TrimSuffix(text("ec@good.test", "carol@friend.test"), ".\r\n"))
	broken.W.Flush()
	broken.hangUp()

	l.gets(t, l.after(t, before, 4), entity{plainText, secret + "\r\n"}, "rsa@good.test", "carol@friend.test", "rsa2@good.test", "dave@friend.test")
}

// A talk is a connection whose replies are known.
type talk struct {
	*rawSMTP
	t *testing.T
}

func (l *lab) talk(t *testing.T) talk {
	t.Helper()
	c, err := dialRaw(l.smtp)
	if err != nil {
		t.Fatal(err)
	}
	return talk{c, t}
}

// says sends a command, or a text with its dot, and wants that reply.
func (c talk) says(line, reply string) {
	c.t.Helper()
	got, err := c.command(strings.TrimSuffix(line, "\r\n"))
	if err != nil || !strings.HasPrefix(got, reply+" ") {
		c.t.Fatalf("%.60q: %s, %v, want %s", line, got, err, reply)
	}
}

// testNullSender: what has no sender, as bounces and vacation notes, is treated as
// the rules say for everybody.
func (l *lab) testNullSender(t *testing.T) {
	before := len(l.sink.Delivered())
	want := entity{plainText, secret + "\r\n"}
	to := []string{"rsa@good.test", "carol@friend.test"}
	if err := l.sendFrom("", mail(want, to...), to...); err != nil {
		t.Fatal(err)
	}
	wait(t, "two mails", func() bool { return len(l.sink.Delivered()) >= before+2 })
	sent := l.sink.Delivered()[before:]
	for _, d := range sent {
		if d.From != "" {
			t.Errorf("%q got it from %q", d.To, d.From)
		}
	}
	l.gets(t, sent, want, to...)
}

// testThousandRecipients is one mail to as many as Postfix takes at a time: nearly
// all in one envelope, one in clear, and one in Bcc.
func (l *lab) testThousandRecipients(t *testing.T) {
	const hidden, inClear = "hidden@many.test", "carol@friend.test"
	people := []string{inClear}
	for i := range 998 {
		people = append(people, fmt.Sprintf("%d@many.test", i))
	}
	before := len(l.sink.Delivered())
	want := entity{plainText, secret + "\r\n"}
	text := mail(want, people...)
	people = append(people, hidden)
	if err := l.send(text, people...); err != nil {
		t.Fatal(err)
	}
	var got []string
	wait(t, "everybody to get it", func() bool {
		got = nil
		for _, d := range l.sink.Delivered()[before:] {
			got = append(got, d.To...)
		}
		return len(got) >= len(people)
	})
	slices.Sort(got)
	slices.Sort(people)
	if !slices.Equal(got, people) {
		t.Errorf("%d got it, not each of %d once", len(got), len(people))
	}
	for _, d := range l.sink.Delivered()[before:] {
		l.wantShared(t, d, want, hidden, inClear)
	}
}

// wantShared wants a delivery to be for one of these alone, or for none of them; and
// in clear for one alone.
func (l *lab) wantShared(t *testing.T, d testnet.Delivery, want entity, hidden, inClear string) {
	t.Helper()
	for _, alone := range []string{hidden, inClear} {
		if slices.Contains(d.To, alone) && len(d.To) > 1 {
			t.Errorf("%s is not alone, but beside %d", alone, len(d.To)-1)
		}
	}
	if clear := bytes.Contains(d.Data, []byte(secret)); clear != slices.Contains(d.To, inClear) {
		t.Errorf("%.3q got it in clear: %v", d.To, clear)
	} else if !clear && string(l.decrypt(d.Data, "many@many.test")) != want.String() {
		t.Errorf("%.3q cannot read it", d.To)
	}
}

// testUTF8Addresses: such addresses go with copies, too. Debian's Sendmail has been
// built without them.
func (l *lab) testUTF8Addresses(t *testing.T) {
	if _, ok := l.mta.(*sendmail); ok {
		c := l.talk(t)
		defer c.hangUp()
		c.says("MAIL FROM:<bob@house.test> SMTPUTF8", "555")
		return
	}
	// Postfix 3.7 writes them into ORCPT as no RFC has it, which the sink refuses.
	l.write("postfix/main.cf", readFile(t, l.path("postfix/main.cf"))+"\nsmtp_discard_ehlo_keywords = dsn\n")
	l.restartPostfix()
	before := len(l.sink.Delivered())
	c := l.talk(t)
	defer c.hangUp()
	to := []string{"grüße@many.test", "käthe@friend.test", "日本@many.test"}
	c.says("MAIL FROM:<bob@house.test> BODY=8BITMIME SMTPUTF8", "250")
	for _, address := range to {
		c.says("RCPT TO:<"+address+">", "250")
	}
	c.says("DATA", "354")
	want := entity{plainText, secret + "\r\n"}
	c.says(dotted(mail(want, to[:2]...)), "250") // the third is in Bcc
	var got []string
	for _, d := range l.after(t, before, 3) {
		got = append(got, d.To...)
		l.wantShared(t, d, want, to[2], to[1])
	}
	slices.Sort(got)
	slices.Sort(to)
	if !slices.Equal(got, to) {
		t.Errorf("it went to %q", got)
	}
}
