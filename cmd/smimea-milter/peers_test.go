package main_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"smimea.example/tools/testnet"
)

// TestPeersBugs has a name for each mistake that other gateways make, or made:
// with each of them plaintext left, mail was lost, or nobody could read it.
func TestPeersBugs(t *testing.T) { testPeersBugs(t, newPostfix(t, "for everything")) }

// TestPeersBugsSendmail is the same with Sendmail.
func TestPeersBugsSendmail(t *testing.T) { testPeersBugs(t, newSendmail(t)) }

func testPeersBugs(t *testing.T, m mta) {
	t.Parallel() // most of its time it waits for a resolver that is not there
	l := startLab(t, m)
	l.startMilter(l.resolver)
	text := "Content-Type: text/plain; charset=utf-8\r\n"
	whole := func(e entity) func(*testing.T) {
		return func(t *testing.T) {
			if got := l.deliver(t, e, "rsa@good.test"); string(got) != e.String() {
				t.Errorf("decrypted %.300q, want %.300q", got, e.String())
			}
		}
	}
	for _, bug := range []struct {
		name string
		test func(t *testing.T)
	}{
		{"a stale answer while the DNS is down, and a timeout that passes for absence", l.testResolverGone},
		{"SERVFAIL passes for absence", func(t *testing.T) {
			l.refused(t, "alice@failing.test", 451, smtp.EnhancedCode{4, 4, 3})
			if !strings.Contains(readFile(t, l.path("milter.log")), "SERVFAIL") {
				t.Error("it was not SERVFAIL")
			}
		}},
		{"bogus passes for absence", func(t *testing.T) {
			l.refused(t, "alice@broken.test", 451, smtp.EnhancedCode{4, 7, 5})
		}},
		{"an expired certificate hides a valid one", l.testExpiredBesideValid},
		{"a TLS server's certificate is encrypted to", func(t *testing.T) {
			l.refused(t, "www@good.test", 550, smtp.EnhancedCode{5, 7, 5})
		}},
		{"a rejected recipient makes the others forgotten", l.testOthersGoOn},
		{"a % in a reply is a format", l.testPercent},
		{"a body with PGP in it passes for encrypted", whole(entity{text,
			"-----BEGIN PGP MESSAGE-----\r\n\r\n" + encoded(300) + "-----END PGP MESSAGE-----\r\n\r\n" + secret + "\r\n"})},
		{"a plain part under multipart/encrypted passes for encrypted", whole(entity{
			"Content-Type: multipart/encrypted; protocol=\"application/pgp-encrypted\"; boundary=b\r\n",
			"--b\r\nContent-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n--b\r\nContent-Type: application/octet-stream\r\n\r\n" + secret + "\r\n--b--\r\n"})},
		{"a plain tail behind an envelope passes for encrypted", func(t *testing.T) {
			whole(l.envelopeWith("\r\nP.S.: " + secret + "\r\n"))(t)
		}},
		{"a character across two chunks is damaged", whole(entity{text, acrossChunks()})},
	} {
		l.sub(bug.name, bug.test)
	}
}

// mistakes are lines of a zone as postmasters make them: an expired certificate
// beside a valid one, and that of a web server.
func (l *lab) mistakes() string {
	l.t.Helper()
	valid := l.published("mixed@good.test", "rsa")
	then := time.Now().AddDate(-2, 0, 0)
	expired, _, err := testnet.NewCertificate(testnet.Subject{Address: "mixed@good.test", NotBefore: then, NotAfter: then.AddDate(1, 0, 0)})
	if err != nil {
		l.t.Fatal(err)
	}
	somebody := l.published("www@good.test", "ec")
	l.run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "www.key", "-out", "www.pem",
		"-days", "30", "-subj", "/CN=www.good.test", "-addext", "subjectAltName=DNS:www.good.test,email:www@good.test", "-addext", "extendedKeyUsage=serverAuth")
	return strings.Replace(valid, l.hexOf("mixed@good.test.pem"), hex.EncodeToString(expired), 1) + valid +
		strings.Replace(somebody, l.hexOf("www@good.test.pem"), l.hexOf("www.pem"), 1)
}

// hexOf returns a certificate as a zone has it.
func (l *lab) hexOf(file string) string {
	l.t.Helper()
	return hex.EncodeToString(derOf(l.t, l.path(file)))
}

// testExpiredBesideValid: the valid one is used, and that alone.
func (l *lab) testExpiredBesideValid(t *testing.T) {
	want := entity{"Content-Type: text/plain\r\n", secret + "\r\n"}
	before := len(readFile(t, l.path("milter.log")))
	if got := l.deliver(t, want, "mixed@good.test"); string(got) != want.String() {
		t.Errorf("decrypted %q", got)
	}
	valid := sha256.Sum256(derOf(t, l.path("mixed@good.test.pem")))
	if log := readFile(t, l.path("milter.log"))[before:]; !strings.Contains(log, fmt.Sprintf(`"certs":["%x"]`, valid)) {
		t.Errorf("it was not encrypted to the valid one alone: %s", log)
	}
}

// testPercent: a reply names the recipient as he was given.
func (l *lab) testPercent(t *testing.T) {
	const to = "100%off%s%25%n@good.test"
	err := l.send(mail(entity{body: secret + "\r\n"}, to), to)
	wantReply(t, err, 550, smtp.EnhancedCode{5, 7, 5})
	var reply *smtp.SMTPError
	if errors.As(err, &reply); !strings.Contains(reply.Message, "<"+to+">: not sent") {
		t.Errorf("the reply is %q", reply.Message)
	}
}

// envelopeWith is what openssl has encrypted, with something behind it.
func (l *lab) envelopeWith(tail string) entity {
	l.t.Helper()
	plain := l.write("plain.txt", "Content-Type: text/plain\r\n\r\nhello\r\n")
	object := l.run("openssl", "cms", "-encrypt", "-binary", "-aes256", "-outform", "DER", "-in", plain, l.keys["rsa@good.test"].cert)
	return entity{"Content-Type: application/pkcs7-mime; smime-type=enveloped-data; name=smime.p7m\r\nContent-Transfer-Encoding: base64\r\n",
		inLines(object) + tail}
}

// acrossChunks is a body with a character at each place where the milter protocol
// cuts bodies into chunks: neither its first nor its last octet begins one.
func acrossChunks() string {
	const chunk = 65535
	var body []byte
	for i := range 3 {
		end := (i + 1) * chunk
		for len(body) < end-1 {
			line := min(70, end-1-len(body)-2)
			if line < 0 {
				body = append(body, 'x')
				continue
			}
			body = append(append(body, strings.Repeat("x", line)...), "\r\n"...)
		}
		body = append(body, "\u20ac"...)
	}
	return string(slices.Concat(body, []byte("\r\n"+secret+"\r\n")))
}
