package main_test

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"smimea.example/internal/cms"
	"smimea.example/tools/testnet"
)

// An awkwardMail is a mail of the corpus: what mail programs, other programs
// and people with bad intentions make, and what breaks gateways.
type awkwardMail struct {
	name string
	make func(m *maker) string // the mail as it goes over the wire, but for dots

	utf8 bool // announced by SMTPUTF8 (RFC 6531)
	bdat bool // sent by BDAT (RFC 3030), which needs no line end at the end

	untouched bool   // it is encrypted already, and must arrive as it was
	refused   string // the reply; the mail must not leave

	// read is what the recipient does with the entity, beside having it.
	read func(t *testing.T, l *lab, entity []byte)
}

// A maker is what mails are made of: the same numbers each time, and programs
// that sign and encrypt.
type maker struct {
	random *rand.ChaCha8
	lab    *lab
	to     string
}

// TestAwkward sends the corpus through Postfix and the milter. What OpenSSL
// makes of what comes out is what went in, byte for byte.
func TestAwkward(t *testing.T) { testAwkward(t, newPostfix(t, "for everything")) }

// TestAwkwardSendmail is the same with Sendmail.
func TestAwkwardSendmail(t *testing.T) { testAwkward(t, newSendmail(t)) }

func testAwkward(t *testing.T, m mta) {
	l := startLab(t, m)
	l.rules = "\n[[rule]]\nrecipient = [\"" + readsGCM + "\"]\naction = \"require\"\ncipher = \"aes256-gcm\"\n"
	l.startMilter(l.resolver)
	l.person("bob@house.test", "rsa")
	readers := []string{"rsa@good.test", "ec@good.test", readsGCM}
	var corpus []*sentMail
	for i, m := range awkwardMails() {
		s := &sentMail{awkwardMail: m, from: fmt.Sprintf("bob+%d@house.test", i), to: readers[i%len(readers)]}
		seed := sha256.Sum256([]byte(m.name))
		s.raw = m.make(&maker{rand.NewChaCha8(seed), l, s.to})
		corpus = append(corpus, s)
	}
	l.sendAll(corpus)
	arrived := l.arrived(corpus)
	for _, s := range corpus {
		l.sub(s.name, func(t *testing.T) { l.judge(t, s, arrived[s.from]) })
	}
	t.Logf("%d mails", len(corpus))
}

// readsGCM gets mail in another form than the others.
const readsGCM = "rsa2@good.test"

// A sentMail is a mail of the corpus on its way. Its envelope sender is its own.
type sentMail struct {
	awkwardMail
	from, to string
	raw      string
	reply    string // to the whole of it; "250 2.0.0 Ok: queued as ..." is just "250"
}

// sendAll sends the mails over a few connections.
func (l *lab) sendAll(corpus []*sentMail) {
	const connections = 4
	queue := make(chan *sentMail, len(corpus))
	for _, s := range corpus {
		queue <- s
	}
	close(queue)
	var all sync.WaitGroup
	for range connections {
		all.Go(func() {
			if err := l.sendQueue(queue); err != nil {
				l.t.Error(err)
			}
		})
	}
	all.Wait()
	if l.t.Failed() {
		l.t.FailNow()
	}
}

// sendQueue sends one mail after the other, on one connection for as long as all
// goes well.
func (l *lab) sendQueue(queue <-chan *sentMail) error {
	var c *rawSMTP
	defer func() { c.hangUp() }()
	for s := range queue {
		var err error
		if c == nil {
			if c, err = dialRaw(l.smtp); err != nil {
				return err
			}
		}
		if s.reply, err = c.send(s); err != nil {
			return fmt.Errorf("sending %q: %w", s.name, err)
		}
		if s.reply != "250" {
			c.hangUp()
			c = nil
		}
	}
	return nil
}

// arrived waits for the mails that were accepted, and returns them by their
// senders.
func (l *lab) arrived(corpus []*sentMail) map[string][]testnet.Delivery {
	l.t.Helper()
	accepted := 0
	for _, s := range corpus {
		if s.reply == "250" {
			accepted++
		}
	}
	all := make(map[string][]testnet.Delivery)
	for _, d := range l.sink.Wait(accepted, 2*time.Minute) {
		all[d.From] = append(all[d.From], d)
	}
	return all
}

// judge looks at what has become of a mail.
func (l *lab) judge(t *testing.T, s *sentMail, arrived []testnet.Delivery) {
	want, refused := l.mta.takes(s)
	if refused != "" {
		if !strings.HasPrefix(s.reply, refused) || len(arrived) > 0 {
			t.Errorf("the client was told %q, and %d mails arrived; want %q, and none", s.reply, len(arrived), refused)
		}
		return
	}
	if s.reply != "250" || len(arrived) != 1 {
		t.Fatalf("the client was told %q, and %d mails arrived", s.reply, len(arrived))
	}
	got := readOuter(arrived[0].Data)
	if s.untouched {
		got.wantUntouched(t, want)
		return
	}
	entity := []byte(want.entity())
	object := got.wantEnvelope(t, want, s.to == readsGCM)
	if opened := l.decrypt(arrived[0].Data, s.to); !bytes.Equal(opened, entity) {
		t.Errorf("OpenSSL: %s", difference(opened, entity))
	}
	if opened, err := l.openOurselves(object, s.to); err != nil || !bytes.Equal(opened, entity) {
		t.Errorf("our reader: %v, %s", err, difference(opened, entity))
	}
	if s.read != nil {
		s.read(t, l, entity)
	}
}

func (l *lab) openOurselves(object []byte, address string) ([]byte, error) {
	cert, err := x509.ParseCertificate(derOf(l.t, l.keys[address].cert))
	if err != nil {
		return nil, err
	}
	key, err := x509.ParsePKCS8PrivateKey(derOf(l.t, l.keys[address].key))
	if err != nil {
		return nil, err
	}
	return cms.Decrypt(object, cert, crypto.PrivateKey(key))
}

// difference shows where two entities part.
func difference(got, want []byte) string {
	at := 0
	for at < min(len(got), len(want)) && got[at] == want[at] {
		at++
	}
	around := func(b []byte) []byte { return b[max(0, min(len(b), at-40)):min(len(b), at+80)] }
	return fmt.Sprintf("%d octets, want %d; they part at %d:\n got %q\nwant %q", len(got), len(want), at, around(got), around(want))
}

// A takenMail is a mail taken apart: the fields with their folds, without the
// last line end, and the body.
type takenMail struct {
	fields []string
	body   string
}

// Field names, and where the colon of a header line may stand: RFC 5322,
// Sections 3.6.8 and 4.5.
var headerLine = regexp.MustCompile(`^([!-9;-~]+)[ \t]*:`)

// takes says what Postfix shows a milter of a mail, and what refuses it.
func (postfix) takes(s *sentMail) (m takenMail, refused string) {
	return asPostfix(s.raw, s.bdat), s.refused
}

// asPostfix takes a mail apart as Postfix 3.7 does before a milter sees it, and
// as its manual says: lines end in LF, with or without CRs before; a CR
// elsewhere becomes a blank (cleanup_replace_stray_cr_lf); the last line gets an
// end; blanks before a colon go. The header ends at an empty line, or before a
// line that cannot be in one.
func asPostfix(raw string, bdat bool) takenMail {
	var m takenMail
	if !bdat && raw != "" && !strings.HasSuffix(raw, "\n") {
		raw += "\r\n" // see dotted
	}
	rest := normalised(raw)
	if mailbox := strings.TrimLeft(rest, ">"); strings.HasPrefix(mailbox, "From ") {
		rest = "X-Mailbox-Line: " + rest // smtpd: a mailbox file's separator
	}
	for rest != "" {
		line, others, _ := strings.Cut(rest, "\r\n")
		named := headerLine.FindStringSubmatch(line)
		switch {
		case line == "":
			m.body = others
			return m.asKept()
		case len(m.fields) > 0 && strings.IndexAny(line, " \t") == 0:
			m.fields[len(m.fields)-1] += "\r\n" + line
		case named != nil:
			m.fields = append(m.fields, named[1]+":"+line[len(named[0]):])
		default:
			m.body = rest
			return m.asKept()
		}
		rest = others
	}
	return m.asKept()
}

func normalised(raw string) string {
	var b strings.Builder
	b.Grow(len(raw) + 2)
	for raw != "" {
		line, rest, ended := strings.Cut(raw, "\n")
		if ended {
			line = strings.TrimRight(line, "\r")
		}
		b.WriteString(strings.ReplaceAll(line, "\r", " ") + "\r\n")
		raw = rest
	}
	return b.String()
}

// maxField is how much of a field on one line Postfix keeps where there are
// milters, in octets, whatever header_size_limit says (its HISTORY, 20061123):
// the length of a milter's packets was 64 KB once.
const maxField = 60_000

var nulInHeader = regexp.MustCompile("\x00[^\r]*")

// asKept leaves out what Postfix drops of every mail (message_drop_headers),
// and cuts off what it does not keep: lines of a header end where strings of C do.
func (m takenMail) asKept() takenMail {
	var kept []string
	for _, f := range m.fields {
		switch fieldName(f) {
		case "bcc", "content-length", "resent-bcc", "return-path":
		default:
			f = nulInHeader.ReplaceAllString(f, "")
			kept = append(kept, f[:min(len(f), maxField)])
		}
	}
	m.fields = kept
	return m
}

func fieldName(f string) string {
	name, _, _ := strings.Cut(f, ":")
	return strings.ToLower(name)
}

func isContent(f string) bool { return strings.HasPrefix(fieldName(f), "content-") }

// entity is what the recipient must find in the envelope (RFC 8551, Section
// 3.1): the Content-* fields, an empty line, the body.
func (m takenMail) entity() string {
	var b strings.Builder
	for _, f := range m.fields {
		if isContent(f) {
			b.WriteString(f + "\r\n")
		}
	}
	return b.String() + "\r\n" + m.body
}

// outside are the fields that an encrypted mail must still have.
func (m takenMail) outside() []string {
	var kept []string
	for _, f := range m.fields {
		if !isContent(f) && fieldName(f) != "mime-version" {
			kept = append(kept, f)
		}
	}
	return kept
}

// readOuter takes a delivered mail apart, whose header is sound.
func readOuter(data []byte) takenMail {
	header, body, _ := strings.Cut(string(data), "\r\n\r\n")
	var m takenMail
	for line := range strings.SplitSeq(header, "\r\n") {
		if n := len(m.fields); n > 0 && strings.IndexAny(line, " \t") == 0 {
			m.fields[n-1] += "\r\n" + line
		} else {
			m.fields = append(m.fields, line)
		}
	}
	m.body = body
	return m
}

// The only fields of their kind that an encrypted mail may have (RFC 8551,
// Section 3.3).
var envelopeFields = map[string]string{
	"mime-version":              "MIME-Version: 1.0",
	"content-type":              "Content-Type: application/pkcs7-mime; smime-type=enveloped-data; name=smime.p7m",
	"content-transfer-encoding": "Content-Transfer-Encoding: base64",
	"content-disposition":       "Content-Disposition: attachment; filename=smime.p7m",
}

// wantEnvelope looks at a mail as the network sees it: there must be nothing of
// the old mail but the fields that stay outside, and nothing beside the
// ciphertext. It returns the object.
func (m takenMail) wantEnvelope(t *testing.T, sent takenMail, gcm bool) (object []byte) {
	t.Helper()
	seen := make(map[string]int)
	for _, f := range m.fields {
		name := fieldName(f)
		seen[name]++
		exact, ours := envelopeFields[name]
		if gcm {
			exact = strings.Replace(exact, "=enveloped-data", "=authEnveloped-data", 1)
		}
		if ours && !sameField(strings.ReplaceAll(f, "\r\n", ""), exact) {
			t.Errorf("outside: %.200q, want %q", f, exact)
		} else if !ours && isContent(f) {
			t.Errorf("left outside: %.200q", f)
		}
	}
	for name := range envelopeFields {
		if seen[name] != 1 {
			t.Errorf("outside: %d fields %s", seen[name], name)
		}
	}
	m.wantInOrder(t, sent.outside())
	lines := strings.Split(strings.TrimSuffix(m.body, "\r\n"), "\r\n")
	for i, line := range lines {
		if last := i == len(lines)-1; len(line) > 76 || !last && len(line) < 76 {
			t.Fatalf("line %d of %d of the body has %d columns: %.100q", i+1, len(lines), len(line), line)
		}
	}
	object, err := base64.StdEncoding.Strict().DecodeString(strings.Join(lines, ""))
	if err != nil || !strings.HasSuffix(m.body, "\r\n") {
		t.Fatalf("the body is more than base64: %v: %.200q", err, m.body)
	}
	return object
}

// sameField compares two fields. Sendmail keeps an old one's way to write its
// name.
func sameField(a, b string) bool {
	n := strings.Index(a, ":")
	return n > 0 && len(a) == len(b) && strings.EqualFold(a[:n], b[:n]) && a[n:] == b[n:]
}

// wantInOrder wants these fields in their order; the MTA adds some of its own.
func (m takenMail) wantInOrder(t *testing.T, fields []string) {
	t.Helper()
	rest := m.fields
	for _, f := range fields {
		i := 0
		for i < len(rest) && rest[i] != f {
			i++
		}
		if i == len(rest) {
			t.Errorf("missing outside, or in another order: %.200q", f)
			return
		}
		rest = rest[i+1:]
	}
}

// wantUntouched wants the mail as it was sent.
func (m takenMail) wantUntouched(t *testing.T, sent takenMail) {
	t.Helper()
	m.wantInOrder(t, sent.fields)
	if m.body != sent.body {
		t.Errorf("touched: %s", difference([]byte(m.body), []byte(sent.body)))
	}
}
