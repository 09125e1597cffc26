package main_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"smimea.example/tools/testnet"
)

// once is the heading of the README's lines for what is sent on behind the
// gateway's back.
const once = "so that what leaves passes once more"

// waysOut are addresses of the house, all of which lead to rsa@good.test. The
// user "games" is one of Debian's, whom the lab gives a .forward of his own.
var waysOut = []struct{ name, to string }{
	{"alias", "sales@house.test"},
	{"virtual alias", "info@house.test"},
	{"forward", "games@house.test"},
	{"canonical map", "carl@house.test"},
	{"alias with a percent sign", "percent@house.test"},
	{"alias with a bang", "bang@house.test"},
	{"alias of an alias", "outside@house.test"},
	{"copy for somebody else", "lp@house.test"},
}

// TestBehind sends to addresses of the house that lead out of it, which Postfix
// finds out when it has asked the gateway.
func TestBehind(t *testing.T) {
	l := startBehind(t, "for everything")
	l.checkFinds("warning: alias_maps: sales leads to rsa@good.test\n",
		"warning: virtual_alias_maps: info@house.test leads to rsa@good.test\n",
		"warning: recipient_canonical_maps: carl@house.test leads to rsa@good.test\n",
		"warning: recipient_bcc_maps: lp@house.test leads to rsa@good.test\n",
		"warning: sender_bcc_maps: carol@house.test leads to rsa2@good.test\n",
		"warning: forward_path: ",
		"warning: what leads out of the house leaves in PLAINTEXT",
		"ok: allow_percent_hack = yes: the gateway refuses user%elsewhere@own")
	l.sub("Without the lines", l.testNotAgain)

	l.passOnceMore()
	l.checkFinds("ok: default_transport = smimea:",
		"ok: alias_maps: sales leads to rsa@good.test, through the gateway\n",
		"ok: virtual_alias_maps: info@house.test leads to rsa@good.test, through the gateway\n",
		"ok: forward_path: ")
	for _, way := range waysOut {
		l.sub(way.name, func(t *testing.T) { l.encryptedOnTheWay(t, way.to) })
	}
	l.sub("copy", l.testCopy)
	l.sub("list", l.testList)
	l.sub("no certificate", l.testBounce)
	l.sub("encrypted when it came", func(t *testing.T) {
		want := entity{"Content-Type: text/plain\r\n", secret + "\r\n"}
		if got := l.deliver(t, want, "rsa@good.test"); string(got) != want.String() {
			t.Errorf("decrypted %q, want %q", got, want.String())
		}
	})
	l.sub("refused when it came", func(t *testing.T) {
		l.refused(t, "nobody@good.test", 550, smtp.EnhancedCode{5, 7, 5})
		l.refused(t, "rsa%good.test@house.test", 550, smtp.EnhancedCode{5, 1, 3})
		l.refused(t, "good.test!rsa@house.test", 550, smtp.EnhancedCode{5, 1, 3})
	})
}

// TestBehindSubmission has Postfix ask about what comes by submission, and then
// about what leaves. What comes from outside is not asked about when it comes.
func TestBehindSubmission(t *testing.T) {
	l := startBehind(t, "for what your own people send")
	l.checkFinds("warning: allow_percent_hack = yes: user%elsewhere@own leads out of the house",
		"warning: swap_bangpath = yes: elsewhere!user@own leads out of the house")
	l.passOnceMore()
	for _, way := range slices.Concat(waysOut, []struct{ name, to string }{
		{"percent sign", "rsa%good.test@house.test"},
		{"bang", "good.test!rsa@house.test"},
		{"outside", "rsa@good.test"},
	}) {
		l.sub(way.name, func(t *testing.T) { l.encryptedOnTheWay(t, way.to) })
	}
	l.sub("the gateway is not there", l.testWaits)
}

// TestBehindSplit has mails in copies, each of which passes once more; perhaps before
// the mail that it was made of has its answer.
func TestBehindSplit(t *testing.T) {
	l := startLab(t, newPostfix(t, "for everything"))
	l.splits()
	l.leadOut()
	l.passOnceMore()
	for i := range 5 {
		before := len(l.sink.Delivered())
		want := entity{"Content-Type: text/plain\r\n", secret + "\r\n" + encoded(i*300_000)}
		to := []string{"rsa@good.test", "ec@good.test", "carol@friend.test", "info@house.test"}
		if err := l.send(fmt.Sprintf("Message-ID: <split%d@house.test>\r\n", i)+mail(want, to...), to...); err != nil {
			t.Fatal(err)
		}
		to[3] = "rsa@good.test"
		l.gets(t, l.after(t, before, 4), want, to...)
	}
}

// TestPostfixSplits has nothing but the second pass, for which Postfix makes of each
// recipient a mail of his own.
func TestPostfixSplits(t *testing.T) {
	l := startLab(t, newPostfix(t, "for everything"))
	l.rules = "[[rule]]\nsender = [\"<>\"]\nrecipient = [\"*\"]\naction = \"never\"\n[[rule]]\nrecipient = [\"friend.test\"]\naction = \"never\"\n"
	l.startMilter(l.resolver)
	l.unlist()
	l.passOnceMore()
	before := len(l.sink.Delivered())
	want := entity{"Content-Type: text/plain\r\n", secret + "\r\n"}
	to := []string{"rsa@good.test", "ec@good.test", "carol@friend.test", "rsa2@good.test"} // the last one in Bcc
	if err := l.sendFrom("bob@house.test", mail(want, to[:3]...), append(to, "nobody@good.test")...); err != nil {
		t.Fatal(err)
	}
	sent := l.after(t, before, len(to))
	l.gets(t, sent, want, to...)
	for _, d := range sent {
		if len(d.To) != 1 {
			t.Errorf("one mail for %q", d.To)
		}
	}
	l.sub("no certificate", func(t *testing.T) {
		before := len(l.sink.Delivered())
		if err := l.sendFrom("rsa@good.test", mail(want, "nobody@good.test"), "nobody@good.test"); err != nil {
			t.Fatal(err)
		}
		wait(t, "the bounce", func() bool { return len(l.sink.Delivered()) > before })
		bounce := l.sink.Delivered()[before]
		if bounce.From != "" || !bytes.Contains(bounce.Data, []byte("5.7.5")) || bytes.Contains(bounce.Data, []byte(secret)) {
			t.Errorf("not a bounce with the reason alone: %.4000s", bounce.Data)
		}
	})
}

// unlist takes the gateway out of main.cf.
func (l *lab) unlist() {
	l.t.Helper()
	main := readFile(l.t, l.path("postfix/main.cf"))
	for _, list := range []string{"smtpd_milters", "non_smtpd_milters"} {
		line := "\n" + list + " = unix:smimea/milter.sock\n"
		if !strings.Contains(main, line) {
			l.t.Fatalf("main.cf has no line %q", line)
		}
		main = strings.Replace(main, line, "\n", 1)
	}
	l.write("postfix/main.cf", main)
}

// startBehind starts a lab whose Postfix knows ways out of the house.
func startBehind(t *testing.T, heading string) *lab {
	t.Helper()
	l := startLab(t, newPostfix(t, heading))
	l.leadOut()
	return l
}

// leadOut gives Postfix ways out of the house, and starts the milter.
func (l *lab) leadOut() {
	l.t.Helper()
	l.rules += "[[rule]]\nsender = [\"<>\"]\nrecipient = [\"*\"]\naction = \"never\"\n"
	l.startMilter(l.resolver)
	l.write("aliases", `
sales: rsa@good.test
outside: sales
percent: rsa%good.test@house.test
bang: good.test!rsa@house.test
team: rsa@good.test, ec@good.test
lost: nobody@good.test
`)
	l.run("postalias", "-c", l.path("postfix"), "hash:"+l.path("aliases"))
	l.write("virtual", "info@house.test rsa@good.test\n")
	l.write("forward/games", "rsa@good.test\n")
	main := strings.Replace(readFile(l.t, l.path("postfix/main.cf")), "alias_maps =\n", "", 1)
	l.write("postfix/main.cf", main+fmt.Sprintf(`
myorigin = house.test
alias_maps = hash:%[1]s/aliases
virtual_alias_maps = texthash:%[1]s/virtual
forward_path = %[1]s/forward/$user
recipient_canonical_maps = inline:{ carl@house.test=rsa@good.test }
recipient_bcc_maps = inline:{ lp@house.test=rsa@good.test }
sender_bcc_maps = inline:{ carol@house.test=rsa2@good.test }
`, l.dir))
	l.restartPostfix()
}

// passOnceMore gives Postfix the README's lines, at a port that is free.
func (l *lab) passOnceMore() {
	l.t.Helper()
	port := fmt.Sprint(freePort(l.t))
	for _, file := range []string{"main.cf", "master.cf"} {
		lines := strings.ReplaceAll(readmeLines(l.t, "# /etc/postfix/"+file+", "+once), "10027", port)
		l.write("postfix/"+file, readFile(l.t, l.path("postfix/"+file))+lines)
	}
	l.restartPostfix()
	waitForPort(l.t, "127.0.0.1:"+port)
}

func (l *lab) restartPostfix() {
	l.t.Helper()
	l.run("postfix", "-c", l.path("postfix"), "stop")
	l.run("postfix", "-c", l.path("postfix"), "start")
	waitForPort(l.t, l.smtp)
}

// testNotAgain is why the lines are there: it fails when they are needed no
// more.
func (l *lab) testNotAgain(t *testing.T) {
	for _, way := range waysOut {
		if got := l.throughTheHouse(t, way.to); !bytes.Contains(got, []byte(secret)) {
			t.Errorf("%s: did not leave in clear: %.2000s", way.name, got)
		}
	}
}

// throughTheHouse sends to an address of the house, and returns what leaves.
func (l *lab) throughTheHouse(t *testing.T, to string) []byte {
	t.Helper()
	before := len(l.sink.Delivered())
	if err := l.send(mail(entity{"Content-Type: text/plain\r\n", secret + "\r\n"}, to), to); err != nil {
		t.Fatal(err)
	}
	got := l.fromBob(t, before)
	if !slices.Equal(got.To, []string{"rsa@good.test"}) {
		t.Errorf("it went to %q", got.To)
	}
	return got.Data
}

// encryptedOnTheWay wants a mail to arrive out there encrypted, and so that it
// can be read.
func (l *lab) encryptedOnTheWay(t *testing.T, to string) {
	t.Helper()
	l.wantSealed(t, l.throughTheHouse(t, to), "rsa@good.test")
}

func (l *lab) wantSealed(t *testing.T, sealed []byte, reader string) {
	t.Helper()
	if bytes.Contains(sealed, []byte(secret)) {
		t.Fatalf("it left in clear: %.2000s", sealed)
	}
	if got, want := string(l.decrypt(sealed, reader)), "Content-Type: text/plain\r\n\r\n"+secret+"\r\n"; got != want {
		t.Errorf("%s reads %q, want %q", reader, got, want)
	}
}

// testCopy sends for somebody whose mail somebody outside gets a copy of: one
// copy, to be read by him.
func (l *lab) testCopy(t *testing.T) {
	l.wantTwo(t, "carol@house.test", "info@house.test", "rsa2@good.test", "rsa@good.test")
}

// testList sends to an alias for two, with different kinds of keys, neither of
// whom is to see the other.
func (l *lab) testList(t *testing.T) {
	l.wantTwo(t, "bob@house.test", "team@house.test", "ec@good.test", "rsa@good.test")
}

// wantTwo sends a mail, and wants two to arrive, each sealed for its recipient.
func (l *lab) wantTwo(t *testing.T, from, to string, readers ...string) {
	t.Helper()
	before := len(l.sink.Delivered())
	if err := l.sendFrom(from, mail(entity{"Content-Type: text/plain\r\n", secret + "\r\n"}, to), to); err != nil {
		t.Fatal(err)
	}
	wait(t, "two mails", func() bool { return len(l.sink.Delivered()) >= before+2 })
	time.Sleep(300 * time.Millisecond) // there must be no third
	var got []string
	for _, d := range l.sink.Delivered()[before:] {
		got = append(got, d.To...)
		l.wantSealed(t, d.Data, d.To[0])
	}
	slices.Sort(got)
	if !slices.Equal(got, readers) {
		t.Errorf("it went to %q, want %q", got, readers)
	}
}

// testBounce forwards to somebody without a certificate. Nothing reaches him,
// and the sender, who is outside, hears why.
func (l *lab) testBounce(t *testing.T) {
	before := len(l.sink.Delivered())
	text := mail(entity{"Content-Type: text/plain\r\n", secret + "\r\n"}, "lost@house.test")
	if err := l.sendFrom("rsa@good.test", text, "lost@house.test"); err != nil {
		t.Fatal(err)
	}
	wait(t, "the bounce", func() bool { return len(l.sink.Delivered()) > before })
	time.Sleep(300 * time.Millisecond)
	for _, d := range l.sink.Delivered()[before:] {
		if d.From != "" || !slices.Equal(d.To, []string{"rsa@good.test"}) || !bytes.Contains(d.Data, []byte("5.7.5")) {
			t.Errorf("from %q to %q, which is not a bounce with the reason: %.4000s", d.From, d.To, d.Data)
		}
		if bytes.Contains(d.Data, []byte(secret)) {
			t.Errorf("the bounce quotes the plaintext: %.4000s", d.Data)
		}
	}
}

// testWaits sends while the gateway is not there: the mail waits in the queue,
// and leaves encrypted when it is back.
func (l *lab) testWaits(t *testing.T) {
	l.stopMilter()
	before := len(l.sink.Delivered())
	if err := l.send(mail(entity{"Content-Type: text/plain\r\n", secret + "\r\n"}, "sales@house.test"), "sales@house.test"); err != nil {
		t.Fatal(err)
	}
	wait(t, "the mail to be deferred", func() bool {
		return strings.Contains(readFile(t, l.path("postfix.log")), "status=deferred")
	})
	l.nothingLeft(t, before)
	l.startMilter(l.resolver)
	var got testnet.Delivery
	wait(t, "the mail", func() bool {
		l.run("postqueue", "-c", l.path("postfix"), "-f")
		left := l.sink.Delivered()[before:]
		if len(left) > 0 {
			got = left[0]
		}
		return len(left) > 0
	})
	l.wantSealed(t, got.Data, "rsa@good.test")
}
