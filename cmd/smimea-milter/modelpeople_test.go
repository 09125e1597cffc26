package main_test

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"math/big"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"smimea.example/internal/cms"
	"smimea.example/tools/testnet"
)

// A modelPerson is a recipient, and what the policy has for him.
type modelPerson struct {
	address string
	spelt   []string // how else the client may give the address
	reply   string   // at RCPT
	plain   bool     // gets it in clear
	marked  bool     // … if the mail has the mark, and otherwise nobody gets it
	reads   string   // who has the same here may share an envelope
	circle  string   // who has the same here may know of one another, hidden; "" for nobody
	asked   bool     // of the DNS
	certs   []modelCert
	archive bool
}

// A modelCert is a certificate and its key.
type modelCert struct {
	cert *x509.Certificate
	key  crypto.PrivateKey
}

const modelAccepted = "250 2.1.5"

// A modelTown is everybody who may get mail.
type modelTown struct {
	people  []*modelPerson
	archive modelCert
}

// newModelTown makes the people: those who publish in the lab's zones, and those
// who are pinned; and gives the milter its rules.
func newModelTown(l *lab) *modelTown {
	town := &modelTown{archive: newModelCert(l.t, "archive@house.test", "rsa")}
	l.write("archive.pem", town.archive.pem())
	l.rules += fmt.Sprintf(`
[[rule]]
recipient = ["prefer.test", "prefer1@good.test", "prefer2@good.test", "broken.test"]
action = "prefer"

[[rule]]
recipient = ["decline.test", "decline1@good.test", "decline2@good.test"]
action = "require"
sender_may_decline = "X-Encryption: off"

[[rule]]
recipient = ["list.test"]
action = "require"
bcc = "together"

[[rule]]
recipient = ["archive.test"]
action = "require"
archive = %q

[[rule]]
recipient = ["mixed.test"]
action = "require"
mixed = true
`, l.path("archive.pem"))
	for _, p := range []modelPerson{
		{address: "none@good.test", reply: "550 5.7.5", asked: true},
		{address: "alice@unsigned.test", reply: "550 5.7.5", asked: true},
		{address: "alice@broken.test", reply: "451 4.7.5", asked: true},
		{address: "bob@silent.test", reply: "556 5.1.10", asked: true},
		{address: "bob@nowhere.test", reply: "550 5.1.2", asked: true},
		{address: "carol%good.test@friend.test", reply: "550 5.1.3"},
		{address: "prefer1@good.test", reply: modelAccepted, plain: true, asked: true},
		{address: "prefer2@good.test", reply: modelAccepted, plain: true, asked: true},
		{address: "decline1@good.test", reply: modelAccepted, plain: true, marked: true, asked: true},
		{address: "decline2@good.test", reply: modelAccepted, plain: true, marked: true, asked: true},
		{address: "carol@friend.test", reply: modelAccepted, plain: true, spelt: []string{"carol@FRIEND.test", `"carol"@friend.test`}},
		{address: "dave@friend.test", reply: modelAccepted, plain: true},
	} {
		town.people = append(town.people, &p)
	}
	for _, who := range []string{"rsa@good.test", "rsa2@good.test", "ec@good.test"} {
		town.add(who, strings.TrimRight(strings.TrimSuffix(who, "@good.test"), "2")+" cbc", l.modelCertOf(who)).asked = true
	}
	town.pin(l)
	return town
}

func (town *modelTown) add(address, reads string, certs ...modelCert) *modelPerson {
	p := &modelPerson{address: address, reply: modelAccepted, reads: reads, certs: certs}
	town.people = append(town.people, p)
	return p
}

// pin gives the milter certificates by hand.
func (town *modelTown) pin(l *lab) {
	index := readFile(l.t, l.path("pinned/index"))
	var same modelCert
	for _, who := range strings.Fields(`
		rsa1@pinned.test rsa2@pinned.test ec1@pinned.test ec2@pinned.test gcm1@pinned.test gcm2@pinned.test x25519@pinned.test mlkem@pinned.test
		both@pinned.test role1@pinned.test role2@pinned.test
		rsa@prefer.test ec@prefer.test rsa@decline.test rsa1@list.test rsa2@list.test ec@list.test ec2@list.test
		rsa1@archive.test rsa2@archive.test ec@archive.test rsa@mixed.test ec@mixed.test ec2@mixed.test`) {
		local, domain, _ := strings.Cut(who, "@")
		kind := strings.TrimRight(local, "12")
		if local == "x25519" {
			kind = local
		}
		reads := kind + " cbc"
		var certs []modelCert
		switch kind {
		case "gcm":
			reads, certs = "rsa gcm", []modelCert{newModelCert(l.t, who, "rsa", testnet.AES256GCM)}
		case "both":
			reads, certs = "rsa cbc", []modelCert{newModelCert(l.t, who, "rsa"), newModelCert(l.t, who, "ec")}
		case "role":
			if same.cert == nil {
				same = newModelCert(l.t, who, "rsa")
			}
			reads, certs = "rsa cbc", []modelCert{same}
		case "x25519", "mlkem":
			reads, certs = who, []modelCert{newModelCert(l.t, who, kind)}
		default:
			certs = []modelCert{newModelCert(l.t, who, kind)}
		}
		for i, c := range certs {
			file := fmt.Sprintf("%s.%d.pem", strings.ReplaceAll(who, "@", "."), i)
			l.write("pinned/"+file, c.pem())
			index += who + " " + file + "\n"
		}
		p := town.add(who, reads, certs[0]) // RSA comes first
		switch domain {
		case "list.test":
			p.circle = domain
		case "archive.test":
			p.archive, p.reads = true, p.reads+" archive"
		case "mixed.test":
			p.reads = "mixed" // and with RSA, or with EC, of other domains: see sharing
		case "pinned.test":
			if kind == "rsa" || kind == "ec" {
				p.spelt = []string{local + "@PINNED.test", `"` + local + `"@pinned.test`}
			}
		}
	}
	l.write("pinned/index", index)
}

func newModelCert(t *testing.T, address, kind string, able ...asn1.ObjectIdentifier) modelCert {
	t.Helper()
	der, key, err := testnet.NewCertificate(testnet.Subject{Address: address, Kind: kind, Capabilities: able})
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return modelCert{cert, key}
}

func (c modelCert) pem() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.cert.Raw}))
}

// modelCertOf reads what the lab has published.
func (l *lab) modelCertOf(address string) modelCert {
	l.t.Helper()
	read := func(path string) []byte {
		block, _ := pem.Decode([]byte(readFile(l.t, path)))
		if block == nil {
			l.t.Fatalf("no PEM in %s", path)
		}
		return block.Bytes
	}
	cert, err := x509.ParseCertificate(read(l.keys[address].cert))
	if err != nil {
		l.t.Fatal(err)
	}
	key, err := x509.ParsePKCS8PrivateKey(read(l.keys[address].key))
	if err != nil {
		l.t.Fatal(err)
	}
	return modelCert{cert, key}
}

// isIn says whether an object names the certificate: RFC 5652, Section 10.2.4.
func (c modelCert) isIn(object []byte) bool {
	name, err := asn1.Marshal(struct {
		Issuer asn1.RawValue
		Serial *big.Int
	}{asn1.RawValue{FullBytes: c.cert.RawIssuer}, c.cert.SerialNumber})
	return err == nil && bytes.Contains(object, name)
}

func (c modelCert) opens(object []byte) (string, error) {
	text, err := cms.Decrypt(object, c.cert, c.key)
	return string(text), err
}

// mayShare says whether two can read the same envelope.
func (p *modelPerson) mayShare(q *modelPerson) bool {
	if p.reads == q.reads {
		return true
	}
	mixed := func(a, b *modelPerson) bool {
		kind := strings.TrimRight(a.address[:strings.IndexByte(a.address, '@')], "12")
		return a.reads == "mixed" && b.reads == kind+" cbc"
	}
	return mixed(p, q) || mixed(q, p)
}

// some picks recipients, of whom not too many are refused: Postfix hangs up on a
// client who makes twenty mistakes.
func (town *modelTown) some(r *rand.Rand) []*modelPerson {
	n := 1 + r.IntN(7)
	if r.IntN(5) == 0 {
		n = 1 + r.IntN(30)
	}
	people := slices.Clone(town.people)
	r.Shuffle(len(people), func(i, j int) { people[i], people[j] = people[j], people[i] })
	return people[:min(n, len(people))]
}
