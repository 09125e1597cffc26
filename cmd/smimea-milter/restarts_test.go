package main_test

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"smimea.example/internal/cms"
	"smimea.example/tools/testnet"
)

// The full form, of a minute, is what tools/load runs.
var restartsFor = flag.Duration("load.restarts", 6*time.Second, "how long the milter is started anew, under load")

const (
	restartClients = 20
	restartEvery   = time.Second
)

// testRestarts stops the milter in good order, kills it, and starts it anew, again
// and again, while clients send mails of all sorts, each until it is taken. In the
// end everybody has got every mail once, and as he must. There is one exception:
// copies that the MTA had taken, when the milter was killed before the journal
// knew.
func (l *lab) testRestarts(t *testing.T) {
	before := len(l.sink.Delivered())
	l.copiesTap.set(nil)
	c := restartLoad{lab: l, until: time.Now().Add(*restartsFor), sent: make(map[string][]string)}
	var clients sync.WaitGroup
	for i := range restartClients {
		clients.Go(func() { c.run(t, i) })
	}
	restarts := 0
	for time.Now().Before(c.until) {
		time.Sleep(restartEvery)
		if restarts%2 == 0 {
			l.killMilter()
		} else {
			l.stopMilter()
		}
		l.startMilter(l.resolver)
		restarts++
	}
	clients.Wait()
	arrived, excused := c.arrives(t, before), l.unknownToTheJournal()
	twice := c.check(t, arrived, excused)
	t.Logf("%d mails were sent %d times, while the milter was started %d times; %d copies came twice, of %d that might",
		len(c.sent), c.tries, restarts, twice, len(excused))
}

// A restartLoad is what the clients send.
type restartLoad struct {
	lab   *lab
	until time.Time

	mu    sync.Mutex // guards what follows
	sent  map[string][]string
	tries int
}

// run sends one mail after the other, each until it is taken.
func (c *restartLoad) run(t *testing.T, client int) {
	for i := 0; time.Now().Before(c.until); i++ {
		subject := fmt.Sprintf("mail %d of client %d", i, client)
		to, octets := restartMails[i%len(restartMails)].to, restartMails[i%len(restartMails)].octets
		text := fmt.Sprintf("Message-ID: <%d.%d@house.test>\r\nFrom: Bob <bob@house.test>\r\nTo: %s\r\nSubject: %s\r\n\r\n%s\r\n%s",
			client, i, strings.Join(to, ", "), subject, secret, encoded(octets))
		tries, err := c.lab.untilTaken(text, to...)
		if err != nil {
			t.Errorf("%s: %v", subject, err)
			return
		}
		c.mu.Lock()
		c.tries += tries
		c.sent[subject] = to
		c.mu.Unlock()
	}
}

var restartMails = []struct {
	to     []string
	octets int
}{
	{splitPeople, 3000},
	{[]string{"rsa@good.test"}, 3000},
	{[]string{"carol@friend.test"}, 3000},
	{[]string{"rsa@good.test", "rsa2@good.test", "dave@friend.test"}, 300_000}, // needs the spool
	{[]string{"ec@good.test", "carol@friend.test", "dave@friend.test"}, 3000},
}

// arrives waits until everything has arrived that was accepted, and a little for
// more.
func (c *restartLoad) arrives(t *testing.T, before int) []testnet.Delivery {
	t.Helper()
	var arrived []testnet.Delivery
	missing := make(map[string]bool)
	for subject, people := range c.sent {
		for _, to := range people {
			missing[subject+" to "+to] = true
		}
	}
	for end := time.Now().Add(patience); len(missing) > 0 && time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		arrived = c.lab.sink.Delivered()[before:]
		for _, d := range arrived {
			for _, to := range d.To {
				delete(missing, subjectOf(d)+" to "+to)
			}
		}
	}
	for quiet := 0; quiet < 10; quiet++ {
		time.Sleep(100 * time.Millisecond)
		if now := c.lab.sink.Delivered()[before:]; len(now) > len(arrived) {
			arrived, quiet = now, 0
		}
	}
	return arrived
}

func subjectOf(d testnet.Delivery) string {
	_, subject, _ := strings.Cut(string(d.Data), "\r\nSubject: ")
	subject, _, _ = strings.Cut(subject, "\r\n")
	return subject
}

// unknownToTheJournal returns the copies that the MTA took from a milter that died
// before it had noted that: "subject to address".
func (l *lab) unknownToTheJournal() map[string]bool {
	excused := make(map[string]bool)
	for _, c := range l.copiesTap.seen() {
		if c.taken && !c.left {
			for _, to := range c.to {
				excused[c.subject+" to "+to] = true
			}
		}
	}
	return excused
}

// check wants that everybody has got everything, and returns how many got
// something twice that are excused.
func (c *restartLoad) check(t *testing.T, arrived []testnet.Delivery, excused map[string]bool) (twice int) {
	t.Helper()
	reader := newReader(t, c.lab)
	got := make(map[string]int)
	for _, d := range arrived {
		subject := subjectOf(d)
		for _, to := range d.To {
			got[subject+" to "+to]++
			if err := reader.reads(to, d.Data); err != nil {
				t.Errorf("%s to %s: %v", subject, to, err)
			}
		}
	}
	for subject, people := range c.sent {
		for _, to := range people {
			what := subject + " to " + to
			switch n := got[what]; {
			case n == 2 && excused[what]:
				twice++
			case n != 1:
				t.Errorf("%s arrived %d times", what, n)
			}
			delete(got, what)
		}
	}
	for _, what := range slices.Sorted(maps.Keys(got)) {
		t.Errorf("%s: nobody sent that", what)
	}
	return twice
}

// A reader opens what people get, in this process: there are many.
type reader map[string]keyPair // by address

type keyPair struct {
	cert *x509.Certificate
	key  any
}

func newReader(t *testing.T, l *lab) reader {
	t.Helper()
	r := make(reader)
	for address, files := range l.keys {
		cert, err := x509.ParseCertificate(derOf(t, files.cert))
		if err != nil {
			t.Fatal(err)
		}
		key, err := x509.ParsePKCS8PrivateKey(derOf(t, files.key))
		if err != nil {
			t.Fatal(err)
		}
		r[address] = keyPair{cert, key}
	}
	return r
}

func derOf(t *testing.T, file string) []byte {
	t.Helper()
	block, _ := pem.Decode([]byte(readFile(t, file)))
	if block == nil {
		t.Fatalf("%s is not in PEM", file)
	}
	return block.Bytes
}

// reads says what is wrong with a mail that somebody got.
func (r reader) reads(address string, mail []byte) error {
	_, body, _ := bytes.Cut(mail, []byte("\r\n\r\n"))
	pair, ok := r[address]
	if !ok {
		if !bytes.HasPrefix(body, []byte(secret)) {
			return errors.New("not in clear")
		}
		return nil
	}
	if bytes.Contains(mail, []byte(secret)) {
		return errors.New("in clear")
	}
	object, err := base64.StdEncoding.DecodeString(string(body))
	if err != nil {
		return err
	}
	text, err := cms.Decrypt(object, pair.cert, pair.key)
	if err == nil && !bytes.Contains(text, []byte(secret)) {
		err = errors.New("not what was sent")
	}
	return err
}
