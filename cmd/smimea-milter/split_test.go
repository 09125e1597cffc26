package main_test

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"smimea.example/tools/testnet"
)

// TestSplit sends mails that need several copies through Postfix.
func TestSplit(t *testing.T) {
	l := startLab(t, newPostfix(t, "for everything"))
	l.splits()
	l.startMilter(l.resolver)
	l.checkFinds("ok: copies go to " + l.copies)
	l.testSplit()
	l.sub("FromElsewhere", l.testSplitFromElsewhere)
}

// TestSplitSendmail is the same with Sendmail.
func TestSplitSendmail(t *testing.T) {
	l := startLab(t, newSendmail(t))
	l.splits()
	l.startMilter(l.resolver)
	l.testSplit()
	l.sub("Virtual", l.testVirtual)
}

func (l *lab) testSplit() {
	l.sink.Refuse("refused@friend.test")
	l.sub("Fates", l.testFates)
	l.sub("Twice", l.testSplitTwice)
	l.sub("Pickup", l.testSplitPickup)
	l.sub("DSN", l.testSplitDSN)
	l.sub("Spellings", l.testSpellings)
	l.sub("Bounce", l.testSplitBounce)
	l.sub("Many", l.testManyHidden)
	l.sub("NoListener", l.testNoListener)
}

// splits has the mail server take copies back, and the milter settings for it,
// with a domain that gets its mail in clear.
func (l *lab) splits() {
	l.mta.takeBack(l)
	waitForPort(l.t, l.copies)
	if err := os.MkdirAll(l.path("journal"), 0o755); err != nil {
		l.t.Fatal(err)
	}
	l.own("journal", "nobody", "nogroup", 0o700)
	l.write("pinned/index", "@many.test many.pem\n")
	l.write("pinned/many.pem", readFile(l.t, l.person("many@many.test", "rsa").cert))
	l.rules = fmt.Sprintf(`
[keys]
pinned = %q

[resubmit]
address = "inet:%s"
journal = %q

[[rule]]
recipient = ["friend.test"]
action = "never"
`, l.path("pinned"), l.copies, l.path("journal/journal.db"))
}

// after waits until so many mails of Bob's have left, and a little for more.
func (l *lab) after(t *testing.T, before, mails int) []testnet.Delivery {
	t.Helper()
	sent := func() []testnet.Delivery {
		return slices.DeleteFunc(slices.Clone(l.sink.Delivered()[before:]), func(d testnet.Delivery) bool { return d.From != "bob@house.test" })
	}
	wait(t, fmt.Sprintf("%d mails", mails), func() bool { return len(sent()) >= mails })
	time.Sleep(300 * time.Millisecond)
	if n := len(sent()); n > mails {
		t.Errorf("%d mails left, not %d", n, mails)
	}
	return sent()
}

// gets checks that everybody got one mail, and could read it: the people with keys
// encrypted, the others in clear.
func (l *lab) gets(t *testing.T, sent []testnet.Delivery, want entity, people ...string) {
	t.Helper()
	var got []string
	for _, d := range sent {
		got = append(got, d.To...)
		for _, to := range d.To {
			_, hasKey := l.keys[to]
			clear := bytes.Contains(d.Data, []byte(secret))
			if clear == hasKey {
				t.Errorf("%s got it in clear: %v\n%.1500s", to, clear, d.Data)
			}
			if hasKey && string(l.decrypt(d.Data, to)) != want.String() {
				t.Errorf("%s cannot read it", to)
			}
		}
		for _, field := range []string{"\r\nBcc:", "\r\nX-Hidden"} {
			if bytes.Contains(d.Data, []byte(field)) {
				t.Errorf("a field %q left: %.1500s", field, d.Data)
			}
		}
		if !bytes.Contains(d.Data, []byte("\r\nSubject: a mail\r\n")) || bytes.Count(d.Data, []byte("Message-I")) != 1 {
			t.Errorf("header: %.1500s", d.Data)
		}
	}
	slices.Sort(got)
	slices.Sort(people)
	if !slices.Equal(got, people) {
		t.Errorf("it went to %q, want %q", got, people)
	}
}

// testFates: two with keys of different kinds, one in clear, one in Bcc.
func (l *lab) testFates(t *testing.T) {
	before := len(l.sink.Delivered())
	want := entity{"Content-Type: text/plain\r\n", secret + "\r\n"}
	everybody := []string{"rsa@good.test", "ec@good.test", "carol@friend.test", "rsa2@good.test"}
	text := "Message-ID: <split@house.test>\r\nBcc: rsa2@good.test\r\n" + mail(want, everybody[:3]...)
	if err := l.send(text, everybody...); err != nil {
		t.Fatal(err)
	}
	sent := l.after(t, before, 4)
	l.gets(t, sent, want, everybody...)
	ids := map[string]bool{}
	for _, d := range sent {
		_, id, _ := strings.Cut(string(d.Data), "Message-ID:")
		id, _, _ = strings.Cut(id, "\r\n")
		ids[id] = true
	}
	if len(ids) != 1 {
		t.Errorf("Message-IDs %v", ids)
	}
}

// testSplitTwice: a mail that was accepted may be sent again, and is another mail
// then. Nobody is taken for somebody who has his copy already.
func (l *lab) testSplitTwice(t *testing.T) {
	before := len(l.sink.Delivered())
	to := []string{"rsa@good.test", "ec@good.test", "carol@friend.test"}
	text := "Message-ID: <twice@house.test>\r\nDate: Mon, 1 Jan 2024 00:00:00 +0000\r\n" + mail(entity{body: secret + "\r\n"}, to...)
	for i := range 2 {
		if err := l.send(text, to...); err != nil {
			t.Fatal(err)
		}
		l.after(t, before, 3*(i+1))
	}
}

func (l *lab) testSplitPickup(t *testing.T) {
	before := len(l.sink.Delivered())
	l.sendmailFrom(t, "bob@house.test", 0, "rsa@good.test", "carol@friend.test")
	for _, d := range l.after(t, before, 2) {
		if clear := bytes.Contains(d.Data, []byte(secret)); clear != (d.To[0] == "carol@friend.test") {
			t.Errorf("%q got it in clear: %v", d.To, clear)
		}
	}
}

// testSplitFromElsewhere: to Postfix the gateway is a client of this machine, and in
// the headers of such it completes what is missing. A client from elsewhere, for whose
// mail it does not, must not get other headers into the copies than into the mail.
func (l *lab) testSplitFromElsewhere(t *testing.T) {
	service := l.smtp + "/inet/local_header_rewrite_clients"
	l.run("postconf", "-c", l.path("postfix"), "-P", service+"=")
	l.run("postfix", "-c", l.path("postfix"), "reload")
	defer l.run("postfix", "-c", l.path("postfix"), "reload")
	defer l.run("postconf", "-c", l.path("postfix"), "-PX", service)
	time.Sleep(2 * time.Second) // old processes serve for a moment
	before := len(l.sink.Delivered())
	if err := l.send("Cc: somebody\r\n"+mail(entity{body: secret + "\r\n"}, "rsa@good.test", "carol@friend.test"), "rsa@good.test", "carol@friend.test"); err != nil {
		t.Fatal(err)
	}
	for _, d := range l.after(t, before, 2) {
		if bytes.Contains(bytes.ToLower(d.Data), []byte("\nmessage-id:")) || !bytes.Contains(d.Data, []byte("Cc: somebody\r\n")) {
			t.Errorf("%q: %.1500s", d.To, d.Data)
		}
	}
}

// testSplitDSN: what the client asked for goes with each copy.
func (l *lab) testSplitDSN(t *testing.T) {
	before := len(l.sink.Delivered())
	c, err := smtp.Dial(l.smtp)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Mail("bob@house.test", &smtp.MailOptions{EnvelopeID: "QQ314159", Return: smtp.DSNReturnFull}); err != nil {
		t.Fatal(err)
	}
	for _, to := range []string{"rsa@good.test", "carol@friend.test"} {
		o := &smtp.RcptOptions{Notify: []smtp.DSNNotify{smtp.DSNNotifyFailure, smtp.DSNNotifyDelayed}, OriginalRecipientType: smtp.DSNAddressTypeRFC822, OriginalRecipient: "old-" + to}
		if err := c.Rcpt(to, o); err != nil {
			t.Fatal(err)
		}
	}
	w, err := c.Data()
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(w, mail(entity{body: secret + "\r\n"}, "rsa@good.test", "carol@friend.test"))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for _, d := range l.after(t, before, 2) {
		if d.EnvelopeID != "QQ314159" {
			t.Errorf("%q: ENVID %q", d.To, d.EnvelopeID)
		}
		ret := smtp.DSNReturnFull
		if d.To[0] == "carol@friend.test" { // the copy
			ret = smtp.DSNReturnHeaders
		}
		if d.Return != ret {
			t.Errorf("%q: RET %q, want %q", d.To, d.Return, ret)
		}
	}
}

// testSpellings: the MTA takes off the mail in hand exactly whom it should, in
// whatever spelling.
func (l *lab) testSpellings(t *testing.T) {
	for _, other := range []string{"Carol@Friend.test", "CAROL@friend.TEST", `"carol"@friend.test`} {
		before := len(l.sink.Delivered())
		want := entity{"Content-Type: text/plain\r\n", secret + "\r\n"}
		if err := l.send("Message-ID: <split@house.test>\r\n"+mail(want, "rsa@good.test", other), "rsa@good.test", other); err != nil {
			t.Fatal(err)
		}
		for _, d := range l.after(t, before, 2) {
			clear := bytes.Contains(d.Data, []byte(secret))
			if clear == (d.To[0] == "rsa@good.test") || len(d.To) != 1 {
				t.Errorf("%s: %q got it in clear: %v", other, d.To, clear)
			}
		}
	}
}

// testVirtual writes to somebody by two names, one of which Sendmail's
// virtusertable has turned into the other when it asks. It would take both of them
// off a mail for one. He gets a mail by each name.
func (l *lab) testVirtual(t *testing.T) {
	before := len(l.sink.Delivered())
	to := []string{"sales@house.test", "rsa@good.test"}
	if err := l.send(mail(entity{body: secret + "\r\n"}, to...), to...); err != nil {
		t.Fatal(err)
	}
	clear := 0
	for _, d := range l.after(t, before, 2) {
		if len(d.To) != 1 || d.To[0] != "rsa@good.test" {
			t.Errorf("it went to %q", d.To)
		}
		clear += bytes.Count(d.Data, []byte(secret))
	}
	if clear != 1 {
		t.Errorf("%d of them are in clear, want that to the house", clear)
	}
}

// testSplitBounce: of a copy that cannot be delivered only the header comes back.
func (l *lab) testSplitBounce(t *testing.T) {
	before := len(l.sink.Delivered())
	// The bounce goes to a sender in the world, and a copy in clear is refused there.
	if err := l.sendFrom("rsa@good.test", mail(entity{body: secret + "\r\n"}, "rsa@good.test", "refused@friend.test"), "rsa@good.test", "refused@friend.test"); err != nil {
		t.Fatal(err)
	}
	var bounce testnet.Delivery
	wait(t, "the bounce", func() bool {
		for _, d := range l.sink.Delivered()[before:] {
			if d.From == "" {
				bounce = d
			}
		}
		return bounce.Data != nil
	})
	if !bytes.Contains(bounce.Data, []byte("refused@friend.test")) || bytes.Contains(bounce.Data, []byte(secret)) {
		t.Errorf("the bounce: %s", bounce.Data)
	}
}

// testManyHidden writes to a hundred people, none of whom is to hear of another: as
// many copies as there may be, at once.
func (l *lab) testManyHidden(t *testing.T) {
	before := len(l.sink.Delivered())
	want := entity{"Content-Type: text/plain\r\n", secret + "\r\n" + encoded(20_000)}
	var people []string
	for i := range 101 {
		people = append(people, fmt.Sprintf("%d@many.test", i))
	}
	if err := l.send(mail(want, "undisclosed-recipients:;"), people...); err != nil {
		t.Fatal(err)
	}
	sent := l.after(t, before, len(people))
	var got []string
	for _, d := range sent {
		got = append(got, d.To...)
		if bytes.Contains(d.Data, []byte(secret)) {
			t.Errorf("%q got it in clear", d.To)
		}
	}
	slices.Sort(got)
	slices.Sort(people)
	if !slices.Equal(got, people) {
		t.Errorf("%d people got it: %q", len(got), got)
	}
	if got := l.decrypt(sent[len(sent)-1].Data, "many@many.test"); string(got) != want.String() {
		t.Error("the last of them cannot read it")
	}
	err := l.send(mail(want, "undisclosed-recipients:;"), append(people, "onemore@many.test")...)
	wantReply(t, err, 550, smtp.EnhancedCode{5, 5, 3})
}

// testNoListener: while copies cannot be handed over nobody gets anything.
func (l *lab) testNoListener(t *testing.T) {
	rules := l.rules
	defer func() {
		l.rules = rules
		l.stopMilter()
		l.startMilter(l.resolver)
	}()
	l.stopMilter()
	l.rules = strings.Replace(rules, l.copies, fmt.Sprintf("127.0.0.1:%d", freePort(t)), 1)
	l.startMilter(l.resolver)
	before := len(l.sink.Delivered())
	to := []string{"rsa@good.test", "carol@friend.test"}
	wantReply(t, l.send(mail(entity{body: secret + "\r\n"}, to...), to...), 451, smtp.EnhancedCode{4, 3, 0})
	l.nothingLeft(t, before)
}
