package gateway

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"smimea.example/internal/cms"
	"smimea.example/internal/message"
	"smimea.example/keystore"
)

// A modelCase is one mail, and everything that happens to it.
type modelCase struct {
	seed     uint64
	from     string
	options  string // of MAIL
	rules    []modelRule
	to       []*modelRcpt
	resubmit bool
	copies   int // limit
	pickup   bool
	header   message.Header // without To and Cc, which come of the recipients
	unread   bool           // To cannot be read
	sealed   bool           // by the sender
	body     string
	folding  bool       // an MTA for which Bob@ is bob@
	tries    []modelTry // with faults; those behind them have none
	patience int        // tries, after which the sender gives up
}

// A modelRule is a rule whose archive is somebody known.
type modelRule struct {
	Rule
	archive *person
}

// A modelRcpt is a recipient of whom everything is known.
type modelRcpt struct {
	number   int
	address  string // as the client gives it
	local    string // as it is hashed
	domain   string // in A-labels and lower case; "" where there is none
	spelling modelSpelling
	visible  bool
	byName   bool // at pickup: was typed without a domain
	finding  modelFinding
}

func (r *modelRcpt) mailbox() string { return r.local + "@" + r.domain }

type modelSpelling uint8

const (
	isProper modelSpelling = iota
	isRouted               // % or ! or a second @ in the local part
	isSourceRoute
	isBare
	isBroken
	isPostmaster
)

// A modelFinding is what the key store has of somebody.
type modelFinding struct {
	outcome keystore.Outcome
	certs   []person
}

// A modelTry is what is other than it should be when the mail is sent.
type modelTry struct {
	findings map[int]modelFinding // of a recipient by number, other than his own
	absent   map[int]bool         // who is not among the recipients this time
	fault    modelFault
}

// modelPeople are all who have certificates: thirty of each kind, by number.
var modelPeople = sync.OnceValue(func() map[string][]person {
	all := make(map[string][]person)
	for kind, n := range map[string]int{"rsa": maxModelRcpts + 1, "rsa gcm": maxModelRcpts, "ec": maxModelRcpts, "ec gcm": maxModelRcpts, "x25519": maxModelRcpts, "mlkem": maxModelRcpts} {
		for i := range n {
			key, list, _ := strings.Cut(kind, " ")
			p := able(theT, key, list)
			p.address = fmt.Sprintf("%s %d %s", key, i, list)
			all[kind] = append(all[kind], p)
		}
	}
	return all
})

// theT is for what fails before any case.
var theT testing.TB

const maxModelRcpts = 30

// modelKinds are what may be found of somebody, some of it more often.
var modelKinds = strings.Split("rsa,rsa,rsa,rsa,rsa,rsa,ec,ec,ec,ec,rsa gcm,ec gcm,x25519,mlkem,several,several,role,none,none,none,none,unusable,weak,bogus,failed,nullmx,nodomain,empty", ",")

// withoutKeys are those of them that come without a certificate.
var withoutKeys = map[string]keystore.Outcome{
	"none":     keystore.None,
	"unusable": keystore.Unusable,
	"weak":     keystore.WeakOnly,
	"bogus":    keystore.Bogus,
	"failed":   keystore.Failed,
	"nullmx":   keystore.NullMX,
	"nodomain": keystore.NoDomain,
	"empty":    keystore.Found,
}

func findingOf(r *rand.Rand, number int) modelFinding {
	people := modelPeople()
	kind := modelKinds[r.IntN(len(modelKinds))]
	if outcome, ok := withoutKeys[kind]; ok {
		return modelFinding{outcome: outcome}
	}
	switch kind {
	case "role": // several people read with the same key
		return modelFinding{keystore.Found, people["rsa"][maxModelRcpts:]}
	case "several":
		certs := []person{people["rsa"][number], people["rsa gcm"][number], people["ec"][number], people["mlkem"][number]}
		r.Shuffle(len(certs), func(i, j int) { certs[i], certs[j] = certs[j], certs[i] })
		return modelFinding{keystore.Found, certs[:2+r.IntN(3)]}
	default:
		return modelFinding{keystore.Found, people[kind][number : number+1]}
	}
}

// newModelCase makes the case that a seed stands for.
func newModelCase(seed uint64) *modelCase {
	r := rand.New(rand.NewPCG(seed, 5))
	c := &modelCase{seed: seed, copies: 100, resubmit: r.IntN(8) > 0, pickup: r.IntN(8) == 0, folding: r.IntN(4) == 0, unread: r.IntN(30) == 0}
	c.from = pickOf(r, "alice@corp.test", "alice@corp.test", "bob@sub.corp.test", "")
	c.options = pickOf(r, "", "", "SIZE=100 BODY=8BITMIME", "RET=FULL ENVID=QQ+2B314159")
	if c.resubmit && r.IntN(5) == 0 {
		c.copies = 1 + r.IntN(5)
	}
	c.makeRules(r)
	c.makeRcpts(r)
	c.makeMail(r)
	if r.IntN(3) > 0 {
		for range 1 + r.IntN(3) {
			c.tries = append(c.tries, c.newTry(r))
		}
	}
	c.patience = 100
	if r.IntN(6) == 0 {
		c.patience = 1 + r.IntN(3)
	}
	return c
}

func pickOf[T any](r *rand.Rand, all ...T) T { return all[r.IntN(len(all))] }

var modelDomains = []string{"house.test", "a.test", "b.test", "c.test", "sub.c.test", "xn--bcher-kva.test"}

const modelMark = "X-Encryption: off"

// makeRules makes a rule for each domain, some for single people and senders before
// them, and one for everybody.
func (c *modelCase) makeRules(r *rand.Rand) {
	mixed := r.IntN(3) == 0
	add := func(recipients ...string) {
		rule := modelRule{Rule: Rule{Recipients: recipients, Action: pickOf(r, Require, Require, Require, Prefer, Prefer, Never)}}
		rule.Cipher = pickOf(r, cms.AES256CBC, cms.AES256CBC, cms.AES128CBC, cms.AES256GCM)
		rule.Kinds = pickOf(r, nil, nil, []cms.Kind{cms.EC, cms.RSA}, []cms.Kind{cms.MLKEM, cms.X25519})
		rule.Mixed = mixed
		if c.copies == 100 && c.resubmit {
			rule.Mixed = r.IntN(2) == 0
		}
		rule.Together = r.IntN(4) == 0
		if r.IntN(5) == 0 {
			rule.archive = &modelPeople()["rsa"][0] // who may be a recipient as well
			rule.Archive = rule.archive.to
		}
		if rule.Action == Require && r.IntN(3) == 0 {
			mark, err := ParseMark(pickOf(r, modelMark, "subject: [plain]"))
			if err != nil {
				panic(err)
			}
			rule.Mark = mark
		}
		if r.IntN(6) == 0 {
			rule.Senders = []string{pickOf(r, "alice@corp.test", "corp.test", ".corp.test", "<>", "*")}
		}
		c.rules = append(c.rules, rule)
	}
	for range r.IntN(3) {
		add(fmt.Sprintf("p%d@%s", r.IntN(8), pickOf(r, modelDomains...)))
	}
	c.rules = append(c.rules, modelRule{Rule: Rule{Recipients: []string{"house.test", ".house.test"}, Action: Never}})
	add("a.test")
	add("b.test", "xn--bcher-kva.test")
	add(".c.test")
	if r.IntN(4) > 0 {
		add("*")
	}
}

func (c *modelCase) makeRcpts(r *rand.Rand) {
	n := 1 + r.IntN(8)
	if r.IntN(6) == 0 {
		n = 1 + r.IntN(maxModelRcpts)
	}
	hides := r.IntN(3) // nobody, some, many
	for i := range n {
		to := &modelRcpt{number: i, local: fmt.Sprintf("p%d", i), domain: pickOf(r, modelDomains...), visible: r.IntN(4) >= hides}
		to.finding = findingOf(r, i)
		to.spell(r)
		if i > 0 && r.IntN(12) == 0 { // the same again, or almost
			*to = *c.to[i-1]
			if upper := strings.ToUpper(to.local); to.spelling == isProper && upper != to.local && r.IntN(2) == 0 {
				to.local, to.number = upper, i
				to.address = to.local + "@" + to.domain
				to.finding = findingOf(r, i)
			}
		}
		to.byName = c.pickup && to.domain == "house.test" && to.address == to.local+"@house.test" && r.IntN(2) == 0
		c.to = append(c.to, to)
	}
}

// spell writes an address as people and programs do.
func (to *modelRcpt) spell(r *rand.Rand) {
	plain := to.local + "@" + to.domain
	to.address = plain
	odd := func(s modelSpelling, address, local string) {
		to.spelling, to.address, to.local = s, address, local
	}
	switch r.IntN(36) {
	case 0, 1:
		to.address = to.local + "@" + strings.ToUpper(to.domain)
	case 2:
		to.address = `"` + to.local + `"@` + to.domain
	case 3:
		if to.domain == "xn--bcher-kva.test" {
			to.address = to.local + "@bücher.test"
		}
	case 4:
		odd(isRouted, to.local+"%else.test@"+to.domain, to.local+"%else.test")
	case 5:
		odd(isRouted, "else.test!"+plain, "else.test!"+to.local)
	case 6:
		odd(isRouted, to.local+"@else.test@"+to.domain, to.local+"@else.test")
	case 7:
		odd(isSourceRoute, "@else.test:"+plain, to.local)
	case 8:
		odd(isBare, to.local, to.local)
		to.domain = ""
	case 9:
		odd(isBroken, to.local+"@", to.local)
		to.domain = ""
	case 10:
		odd(isPostmaster, "Postmaster", "Postmaster")
		to.domain = ""
	}
}

const modelSecret = "the secret of the mail"

func (c *modelCase) makeMail(r *rand.Rand) {
	add := func(name, value string) { c.header = append(c.header, message.Field{Name: name, Value: " " + value}) }
	add("From", "Alice <alice@corp.test>")
	subject := "a mail"
	if r.IntN(3) == 0 {
		subject = "[plain] a mail"
	}
	add("Subject", subject)
	if r.IntN(3) == 0 {
		add("X-Encryption", "Off")
	}
	if r.IntN(2) == 0 {
		add("Message-ID", fmt.Sprintf("<%d@corp.test>", c.seed))
	}
	for range r.IntN(3) {
		add(pickOf(r, "Bcc", "bcc"), "somebody@else.test,\r\n else@else.test")
	}
	add("References", "<1@corp.test>\r\n\t<2@corp.test>")
	c.body = strings.Repeat(modelSecret+"\r\n", 1+r.IntN(pickOf(r, 2, 100)))
	if c.sealed = r.IntN(30) == 0; c.sealed {
		c.header = append(c.header, message.Envelope(false)...)
		c.body = inBase64(modelSealed())
		return
	}
	add("MIME-Version", "1.0")
	add("content-type", "text/plain;\r\n\tcharset=us-ascii")
}

// modelSealed is an object that somebody else has made.
var modelSealed = sync.OnceValue(func() []byte { return sealed(theT.(*testing.T), modelSecret) })

// has says whether the mail has a mark.
func (c *modelCase) has(mark Mark) bool {
	for _, f := range c.header {
		if f.Name == mark.Field && (f.Name == "X-Encryption" || strings.Contains(f.Value, mark.Text)) {
			return true
		}
	}
	return false
}

// shows says whether a recipient is in To or Cc.
func (c *modelCase) shows(r *modelRcpt) bool {
	return !c.unread && slices.ContainsFunc(c.to, func(o *modelRcpt) bool {
		return o.inHeader() && o.mailbox() == r.mailbox()
	})
}

// inHeader: what is no address is not in the header either.
func (r *modelRcpt) inHeader() bool {
	return r.visible && (r.spelling == isProper || r.spelling == isRouted && !strings.Contains(r.local, "@"))
}

// mail is the header of one try, with what the mail servers on the way put in.
func (c *modelCase) mail(try int) message.Header {
	var fields [2][]string
	for i, r := range c.to {
		if r.inHeader() {
			fields[i%2] = append(fields[i%2], r.local+"@"+r.domain)
		}
	}
	h := message.Header{{Name: "Received", Value: fmt.Sprintf(" by mail.corp.test; try %d", try)}, {Name: "X-Spam-Score", Value: fmt.Sprintf(" 0.%d", try)}}
	h = append(h, c.header...)
	for i, name := range []string{"To", "Cc"} {
		value := strings.Join(fields[i], ",\r\n ")
		if name == "To" && c.unread {
			value = "<<<"
		}
		if name == "To" || value != "" {
			h = append(h, message.Field{Name: name, Value: " " + value})
		}
	}
	if len(h.Values("Message-ID")) == 0 { // as Postfix does
		h = append(h, message.Field{Name: "Message-Id", Value: " <20261128." + queueID(try) + "@mail.corp.test>"},
			message.Field{Name: "Date", Value: fmt.Sprintf(" Sat, 28 Nov 2026 11:%02d:00 +0000", try)})
	}
	return h
}

func queueID(try int) string { return fmt.Sprintf("4XYZ%03d", try) }
