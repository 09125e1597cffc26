package main_test

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"smimea.example/tools/judges"
	"smimea.example/tools/testnet"
)

// TestDKIM has OpenDKIM sign what leaves: behind the gateway in the README's
// order, and copies by their own listener. What arrives verifies.
func TestDKIM(t *testing.T) {
	l := startLab(t, newPostfix(t, "for everything"))
	l.splits()
	signer := freePort(t)
	l.startSigner(signer)
	l.signWith(signer)
	l.startMilter(l.resolver)
	l.checkFinds("ok: smtpd_milters", "ok: non_smtpd_milters", "ok: "+l.copies+": copies do not come back to the gateway")
	l.testDKIM()
}

// TestDKIMSendmail is the same with Sendmail.
func TestDKIMSendmail(t *testing.T) {
	m := newSendmail(t)
	m.signer = freePort(t)
	l := startLab(t, m)
	l.splits()
	l.startSigner(m.signer)
	l.startMilter(l.resolver)
	l.testDKIM()
}

func (l *lab) testDKIM() {
	want := entity{"Content-Type: text/plain\r\n", secret + "\r\n"}
	l.sub("Encrypted", func(t *testing.T) {
		before := len(l.sink.Delivered())
		l.deliver(t, want, "rsa@good.test")
		sent := l.after(t, before, 1)
		l.verifies(t, sent)
		sent[0].Data = bytes.Replace(sent[0].Data, []byte("\r\n\r\nMI"), []byte("\r\n\r\nMJ"), 1)
		if said := l.verify(sent[0].Data); !strings.Contains(said, "signature verification failed") {
			t.Errorf("another body: %s", said)
		}
	})
	l.sub("Plain", func(t *testing.T) {
		before := len(l.sink.Delivered())
		if err := l.send(mail(want, "carol@friend.test"), "carol@friend.test"); err != nil {
			t.Fatal(err)
		}
		l.verifies(t, l.after(t, before, 1))
	})
	l.sub("Split", func(t *testing.T) {
		before := len(l.sink.Delivered())
		newSplitMail(0, 100_000).deliver(t, l)
		l.verifies(t, l.after(t, before, len(splitPeople)))
	})
	l.sub("Pickup", func(t *testing.T) {
		before := len(l.sink.Delivered())
		l.sendmailFrom(t, "bob@house.test", 0, "rsa@good.test", "carol@friend.test")
		l.verifies(t, l.after(t, before, 2))
	})
}

// startSigner starts OpenDKIM with a key of the house's.
func (l *lab) startSigner(port int) {
	l.t.Helper()
	judges.Find(l.t, "opendkim")
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		l.t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		l.t.Fatal(err)
	}
	file := l.write("dkim.key", string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})))
	l.write("dkim.public", "2026._domainkey.house.test v=DKIM1; k=rsa; p="+base64.StdEncoding.EncodeToString(public)+"\n")
	l.write("verify.conf", fmt.Sprintf("Mode v\nTestPublicKeys %s\n", l.path("dkim.public")))
	// OpenDKIM wants keys in a directory into which nobody else may write; that of
	// temporary files is none.
	l.start("opendkim", "-f", "-x", l.write("opendkim.conf", fmt.Sprintf(`
Mode s
Canonicalization relaxed/simple
Domain house.test
Selector 2026
KeyFile %s
RequireSafeKeys no
Socket inet:%d@127.0.0.1
`, file, port)))
	waitForPort(l.t, fmt.Sprintf("127.0.0.1:%d", port))
}

// signWith gives Postfix the README's lines for a signer.
func (l *lab) signWith(port int) {
	l.t.Helper()
	const signer = "inet:127.0.0.1:8891"
	ours := fmt.Sprintf("inet:127.0.0.1:%d", port)
	l.unlist() // once each
	main, master := readFile(l.t, l.path("postfix/main.cf")), readFile(l.t, l.path("postfix/master.cf"))
	main += strings.ReplaceAll(readmeLines(l.t, "# /etc/postfix/main.cf, with a DKIM signer"), signer, ours)
	asks := strings.ReplaceAll(readmeLines(l.t, "# /etc/postfix/master.cf, for copies, with a DKIM signer"), signer, ours)
	l.write("postfix/main.cf", main)
	l.write("postfix/master.cf", strings.Replace(master, "  -o smtpd_milters=\n", asks, 1))
	l.restartPostfix()
	waitForPort(l.t, l.copies)
}

// verifies has OpenDKIM verify mails, each of which has one signature.
func (l *lab) verifies(t *testing.T, sent []testnet.Delivery) {
	t.Helper()
	for _, d := range sent {
		if n := bytes.Count(d.Data, []byte("DKIM-Signature:")); n != 1 {
			t.Errorf("%q: %d signatures", d.To, n)
		}
		if said := l.verify(d.Data); !strings.Contains(said, "d=house.test") || !strings.Contains(said, "succeeded") {
			t.Errorf("%q: OpenDKIM says: %s\n%.3000s", d.To, said, d.Data)
		}
	}
}

func (l *lab) verify(mail []byte) (said string) {
	l.t.Helper()
	cmd := exec.Command("opendkim", "-x", l.path("verify.conf"), "-v", "-t", l.write("signed.eml", string(mail)))
	out, err := cmd.CombinedOutput()
	if err != nil {
		l.t.Fatalf("opendkim: %v\n%s", err, out)
	}
	return string(out)
}
