package main_test

import (
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"smimea.example/tools/testnet"
)

var (
	modelMails = flag.Int("model.mails", 25, "how many mails TestModel sends")
	modelSeed  = flag.Uint64("model.seed", 0, "the one mail that TestModel sends; 0: all from 1 on")
)

// TestModel sends random mails to random people through Postfix, while random
// things go wrong: the line on which copies go back to Postfix, the DNS, the
// milter. The client comes again until everybody is served or refused. It is the
// TestModel of internal/gateway with real programs; that one has more faults, and
// a thousand times as many mails.
func TestModel(t *testing.T) {
	l := startLab(t, newPostfix(t, "for everything"))
	l.splits()
	l.copiesTap = l.tapCopies()
	front := l.tapBytes()
	dns := newModelDNS(t, l.resolver)
	m := &model{l: l, t: t, town: newModelTown(l), front: front, dns: dns, sent: map[string]*modelMail{}}
	l.startMilter(dns.address())
	var mails []*modelMail
	seeds := upTo(*modelMails)
	if *modelSeed != 0 {
		seeds = []int{int(*modelSeed) - 1}
	}
	for _, seed := range seeds {
		mail := m.newMail(uint64(seed) + 1)
		mails = append(mails, mail)
		if mail.wrong = mail.send(); mail.wrong != nil {
			break
		}
	}
	m.judge(mails)
	t.Logf("%d mails, %d tries, %d accepted; %d copies; %d copies of which nobody could know, and %d second ones; the milter died %d times",
		len(mails), m.tries, m.accepted, m.deliveries, m.doubtful, m.second, m.killed)
	if i := slices.IndexFunc(mails, func(mail *modelMail) bool { return mail.wrong != nil }); i >= 0 {
		t.Errorf("%v\n%s", mails[i].wrong, mails[i])
		smaller := mails[i].shrink()
		t.Errorf("and with fewer recipients: %v\n%s", smaller.wrong, smaller)
	}
}

// shrink sends the mail again, to fewer and fewer recipients, as long as it fails.
func (m *modelMail) shrink() *modelMail {
	for i := 0; i < len(m.to) && len(m.to) > 1; {
		d := m.newMail(m.seed)
		d.to = slices.Delete(slices.Clone(m.to), i, i+1)
		if d.wrong = d.send(); d.wrong == nil {
			d.judge([]*modelMail{d})
		}
		if d.wrong != nil {
			m = d
		} else {
			i++
		}
	}
	return m
}

// A model is the lab as the test sees it.
type model struct {
	l     *lab
	t     *testing.T
	town  *modelTown
	front *byteTap
	dns   *modelDNS

	sent map[string]*modelMail // by subject

	tries, accepted, deliveries, doubtful, second, killed int
}

// A modelMail is a mail, and what has become of it.
type modelMail struct {
	*model
	seed    uint64
	r       *rand.Rand
	to      []*modelPerson
	as      map[*modelPerson]string // how the client gives the address
	visible map[*modelPerson]bool
	marked  bool
	body    string
	subject string
	faults  []string // that there were
	wrong   error

	told  map[*modelPerson]string // why he does not get it
	got   map[*modelPerson]bool   // in a mail that was accepted
	extra map[*modelPerson]int    // copies more than one that there may be
}

func (m *model) newMail(seed uint64) *modelMail {
	r := rand.New(rand.NewPCG(seed, 6))
	mail := &modelMail{model: m, seed: seed, r: r, to: m.town.some(r), as: map[*modelPerson]string{}, visible: map[*modelPerson]bool{},
		told: map[*modelPerson]string{}, got: map[*modelPerson]bool{}, extra: map[*modelPerson]int{}}
	mail.marked = r.IntN(2) == 0
	hides := r.IntN(3)
	for _, p := range mail.to {
		mail.as[p] = p.address
		if len(p.spelt) > 0 && r.IntN(3) == 0 {
			mail.as[p] = p.spelt[r.IntN(len(p.spelt))]
		}
		mail.visible[p] = r.IntN(4) >= hides
	}
	mail.subject = fmt.Sprintf("model %d.", len(m.sent))
	m.sent[mail.subject] = mail
	mail.body = secret + "\r\n"
	if r.IntN(4) == 0 {
		mail.body += encoded(r.IntN(300_000))
	}
	return mail
}

const modelFields = "Content-Type: text/plain\r\n"

func (m *modelMail) text() string {
	var seen, blind []string
	for _, p := range m.to {
		if m.visible[p] {
			seen = append(seen, p.address)
		} else {
			blind = append(blind, p.address)
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "From: Bob <bob@house.test>\r\nSubject: %s\r\n", m.subject)
	if m.seed%2 == 0 {
		fmt.Fprintf(&b, "Message-ID: <%s@house.test>\r\n", strings.ReplaceAll(m.subject, " ", ""))
	}
	if len(seen) == 0 {
		seen = []string{"undisclosed-recipients:;"}
	}
	fmt.Fprintf(&b, "To: %s\r\n", strings.Join(seen, ",\r\n "))
	if len(blind) > 0 {
		fmt.Fprintf(&b, "Bcc: %s\r\n", strings.Join(blind, ",\r\n "))
	}
	if m.marked {
		b.WriteString("X-Encryption: off\r\n")
	}
	b.WriteString("MIME-Version: 1.0\r\n" + modelFields + "\r\n" + m.body)
	return b.String()
}

// send is the client, who comes again. Nothing goes wrong after the third try; what
// can be served then is served at the next one.
func (m *modelMail) send() error {
	for try := 0; len(m.pending()) > 0; try++ {
		calm := try >= 3 || m.seed%3 == 0
		f := modelFault{}
		if !calm {
			f = m.newFault()
		}
		for calm && m.dns.wasDown() {
			time.Sleep(100 * time.Millisecond)
		}
		m.faults = append(m.faults, f.String())
		before := len(m.pending())
		if err := m.try(f); err != nil {
			return fmt.Errorf("try %d, %v: %w", try+1, f, err)
		}
		if calm && len(m.pending()) == before {
			break
		}
	}
	for _, p := range m.pending() {
		if p.reply[0] != '4' {
			return fmt.Errorf("%s has not got it, when nothing went wrong any more", p.address)
		}
		m.told[p] = "gave up"
	}
	return nil
}

func (m *modelMail) pending() []*modelPerson {
	return slices.DeleteFunc(slices.Clone(m.to), func(p *modelPerson) bool { return m.got[p] || m.told[p] != "" })
}

// A modelReplies is what a client heard: "" is nothing.
type modelReplies struct {
	rcpt map[*modelPerson]string
	end  string
}

// try is one try, with its fault, until everything works again.
func (m *modelMail) try(f modelFault) error {
	m.tries++
	stop := m.begin(f)
	said := m.transaction()
	disturbed, copies := stop()
	for _, c := range copies {
		if c.taken && !c.left {
			m.doubt(c.to)
		}
	}
	return m.compare(f, said, disturbed)
}

// doubt: of a copy that Postfix has taken, while the milter could not hear of it,
// there may be a second one.
func (m *modelMail) doubt(to []string) {
	m.doubtful++
	for _, p := range m.to {
		if slices.Contains(to, m.as[p]) || slices.Contains(to, p.address) {
			m.extra[p]++
		}
	}
}

// transaction is the client's side of one try.
func (m *modelMail) transaction() (said modelReplies) {
	said.rcpt = map[*modelPerson]string{}
	c, err := smtp.Dial(m.l.smtp)
	if err != nil {
		return said
	}
	defer c.Close()
	if err := c.Mail("bob@house.test", nil); err != nil {
		return said
	}
	some := false
	for _, p := range m.pending() {
		said.rcpt[p] = code(c.Rcpt(m.as[p], nil))
		some = some || said.rcpt[p] == modelAccepted
	}
	if !some {
		c.Quit()
		return said
	}
	w, err := c.Data()
	if err != nil {
		said.end = code(err)
		return said
	}
	fmt.Fprint(w, m.text())
	said.end = code(w.Close())
	c.Quit()
	return said
}

// code is what an error says; "" if it is not a reply.
func code(err error) string {
	var reply *smtp.SMTPError
	switch {
	case err == nil:
		return modelAccepted
	case errors.As(err, &reply):
		return fmt.Sprintf("%d %d.%d.%d", reply.Code, reply.EnhancedCode[0], reply.EnhancedCode[1], reply.EnhancedCode[2])
	}
	return ""
}

// compare compares what was said with what the policy says, and notes who is
// served.
func (m *modelMail) compare(f modelFault, said modelReplies, disturbed bool) error {
	later := func(reply string) bool { return reply == "" || reply[0] == '4' }
	in := []*modelPerson{}
	want := modelAccepted
	for _, p := range m.pending() {
		reply := said.rcpt[p]
		excused := disturbed && f.kills() || p.asked && m.dns.wasDown()
		if reply != p.reply && !(excused && later(reply)) {
			return fmt.Errorf("RCPT %s: %q, the policy says %s", p.address, reply, p.reply)
		}
		switch {
		case reply == modelAccepted:
			in = append(in, p)
			if p.marked && !m.marked {
				want = "550 5.7.5"
			}
		case reply != "" && reply[0] == '5':
			m.told[p] = reply
		}
	}
	if len(in) == 0 {
		return nil
	}
	switch {
	case said.end == want:
	case disturbed && later(said.end) && want == modelAccepted:
	case disturbed && f.kills() && later(said.end):
	default:
		return fmt.Errorf("in the end: %q, the policy says %s", said.end, want)
	}
	for _, p := range in {
		switch {
		case said.end == modelAccepted:
			m.got[p] = true
		case said.end != "" && said.end[0] == '5':
			m.told[p] = said.end
		}
	}
	if said.end == modelAccepted {
		m.accepted++
	}
	return nil
}

// judge looks at what has left, when nothing more will come.
func (m *model) judge(mails []*modelMail) {
	wait(m.t, "Postfix' queue to be empty", func() bool {
		return strings.Contains(string(m.l.run("postqueue", "-c", m.l.path("postfix"), "-p")), "queue is empty")
	})
	time.Sleep(time.Second)
	copies := map[*modelMail]map[*modelPerson]int{}
	for _, mail := range mails {
		copies[mail] = map[*modelPerson]int{}
	}
	for _, d := range m.l.sink.Delivered() {
		_, subject, _ := strings.Cut(string(d.Data), "\r\nSubject: ")
		subject, _, _ = strings.Cut(subject, "\r\n")
		mail := m.sent[subject]
		if mail == nil {
			m.t.Errorf("a mail that nobody sent: %.500s", d.Data)
			continue
		}
		if copies[mail] == nil {
			continue
		}
		m.deliveries++
		to, err := mail.judgeDelivery(d)
		if err != nil {
			mail.wrong = errors.Join(mail.wrong, fmt.Errorf("%w\n%.1500s", err, d.Data))
		}
		for _, p := range to {
			copies[mail][p]++
		}
	}
	for _, mail := range mails {
		for _, p := range mail.to {
			mail.wrong = errors.Join(mail.wrong, mail.judgeCount(p, copies[mail][p]))
		}
	}
}

// judgeCount: once, or the sender knows.
func (m *modelMail) judgeCount(p *modelPerson, n int) error {
	switch {
	case n == 0 && m.got[p]:
		return fmt.Errorf("%s has not got it, and it was accepted", p.address)
	case n == 0 && m.told[p] == "" && m.wrong == nil:
		return fmt.Errorf("%s has not got it, and the sender does not know", p.address)
	case n > 1+m.extra[p]:
		return fmt.Errorf("%s got it %d times", p.address, n)
	case n > 1:
		m.second++
	}
	return nil
}

// judgeDelivery judges a mail that has left.
func (m *modelMail) judgeDelivery(d testnet.Delivery) (to []*modelPerson, err error) {
	for _, address := range d.To {
		i := slices.IndexFunc(m.to, func(p *modelPerson) bool {
			return p.address == address || strings.ReplaceAll(m.as[p], `"`, "") == strings.ReplaceAll(address, `"`, "")
		})
		if i < 0 {
			return to, fmt.Errorf("%s gets it, who is no recipient", address)
		}
		to = append(to, m.to[i])
	}
	head, body, _ := strings.Cut(string(d.Data), "\r\n\r\n")
	if low := strings.ToLower("\r\n" + head); strings.Contains(low, "\r\nbcc:") || strings.Count(low, "\r\nmessage-id:") != 1 || strings.Count(low, "\r\ncontent-type:") != 1 {
		return to, fmt.Errorf("the header: %s", head)
	}
	if !strings.Contains(head, "application/pkcs7-mime") {
		for _, p := range to {
			if !p.plain || p.marked && !m.marked {
				return to, fmt.Errorf("PLAINTEXT for %s", p.address)
			}
			if p.marked && strings.Contains(head, "X-Encryption") {
				return to, errors.New("the mark is still there")
			}
		}
		if body != m.body {
			return to, fmt.Errorf("in clear: %.200q", body)
		}
		return to, nil
	}
	return to, m.judgeObject(to, body)
}

// judgeObject: everybody can read it, and nobody hears of anybody who is hidden.
func (m *modelMail) judgeObject(to []*modelPerson, body string) error {
	object, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(body, "\r\n", ""))
	if err != nil {
		return err
	}
	for _, p := range to {
		if p.plain {
			return fmt.Errorf("%s gets it encrypted, who has no key", p.address)
		}
		if !p.certs[0].isIn(object) {
			return fmt.Errorf("it is not for the certificate of %s", p.address)
		}
		if text, err := p.certs[0].opens(object); err != nil || text != modelFields+"\r\n"+m.body {
			return fmt.Errorf("%s reads %.100q, %v", p.address, text, err)
		}
		if p.archive != m.town.archive.isIn(object) {
			return fmt.Errorf("for the archive, beside %s: %v", p.address, !p.archive)
		}
		for _, q := range m.to {
			if q.plain || len(q.certs) == 0 || !q.certs[0].isIn(object) {
				continue
			}
			if !m.maySee(p, q) {
				return fmt.Errorf("%s hears of %s", p.address, q.address)
			}
			if !p.mayShare(q) {
				return fmt.Errorf("%s and %s share an envelope", p.address, q.address)
			}
		}
	}
	return nil
}

// maySee says whether a recipient may see the certificate of another: it is that of
// somebody who is in To or Cc as he is, or is hidden under a rule that lets them.
func (m *modelMail) maySee(p, q *modelPerson) bool {
	return slices.ContainsFunc(m.to, func(owner *modelPerson) bool {
		switch {
		case len(owner.certs) == 0 || owner.certs[0].cert != q.certs[0].cert:
			return false
		case owner == p:
			return true
		}
		return m.visible[p] && m.visible[owner] || !m.visible[p] && !m.visible[owner] && p.circle != "" && p.circle == owner.circle
	})
}

func (m *modelMail) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "mail %d, marked %v, %d octets, faults %q\n", m.seed, m.marked, len(m.body), m.faults)
	for _, p := range m.to {
		fmt.Fprintf(&b, "  <%s> visible %v, policy %s %s, told %q, accepted %v, may come %d times more\n",
			m.as[p], m.visible[p], p.reply, p.reads, m.told[p], m.got[p], m.extra[p])
	}
	fmt.Fprintf(&b, "Again: go test ./cmd/smimea-milter -run 'TestModel$' -model.seed=%d\n", m.seed)
	return b.String()
}
