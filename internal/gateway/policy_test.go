package gateway

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"smimea.example/internal/cms"
	"smimea.example/internal/message"
	"smimea.example/keystore"
)

func TestDecide(t *testing.T) {
	const to = "bob@example.net"
	syntax := errors.New("not an address")
	for _, test := range []struct {
		name    string
		rule    Treatment
		finding Finding
		want    Action
		reply   string
	}{
		{"require: key found", Require, Finding{Outcome: keystore.Found}, Accept, "250 2.1.5"},
		{"require: absence proven", Require, Finding{Outcome: keystore.None}, Refuse, "550 5.7.5"},
		{"require: none usable", Require, Finding{Outcome: keystore.Unusable}, Refuse, "550 5.7.5"},
		{"require: only the algorithms", Require, Finding{Outcome: keystore.WeakOnly}, Refuse, "550 5.7.6"},
		{"require: forged", Require, Finding{Outcome: keystore.Bogus}, Defer, "451 4.7.5"},
		{"require: not found out", Require, Finding{Outcome: keystore.Failed}, Defer, "451 4.4.3"},
		{"require: no such domain", Require, Finding{Outcome: keystore.NoDomain}, Refuse, "550 5.1.2"},
		{"require: null MX", Require, Finding{Outcome: keystore.NullMX}, Refuse, "556 5.1.10"},
		{"require: an outcome of later days", Require, Finding{Outcome: 99}, Defer, "451 4.4.3"},
		{"require: routed", Require, Finding{Routed: true, Outcome: keystore.Found}, Accept, "250 2.1.5"},
		{"require: no address", Require, Finding{Syntax: syntax, Outcome: keystore.Found}, Refuse, "550 5.1.3"},
		{"never: nobody was asked", Never, Finding{}, Accept, "250 2.1.5"},
		{"never: key found", Never, Finding{Outcome: keystore.Found}, Accept, "250 2.1.5"},
		{"never: forged", Never, Finding{Outcome: keystore.Bogus}, Accept, "250 2.1.5"},
		{"never: routed", Never, Finding{Routed: true}, Refuse, "550 5.1.3"},
		{"never: no address", Never, Finding{Syntax: syntax}, Refuse, "550 5.1.3"},
		{"no rule", "", Finding{Outcome: keystore.Found}, Defer, "451 4.3.5"},
		{"a rule of later days", "protect", Finding{Outcome: keystore.None}, Defer, "451 4.3.5"},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.finding.Address = to
			got := decide(Rule{Action: test.rule}, test.finding)
			if got.Action != test.want || codes(got) != test.reply {
				t.Errorf("decide = %d %s %q, want %d %s", got.Action, codes(got), got.Text, test.want, test.reply)
			}
			if got.Action != Accept && !strings.Contains(got.Text, "<"+to+">") {
				t.Errorf("the recipient is not named: %s", got.Text)
			}
		})
	}
}

func TestJoin(t *testing.T) {
	plain := recipient{plain: true}
	rsa, rsa2, ec := wanting(t, "rsa", ""), wanting(t, "rsa", ""), wanting(t, "ec", "")
	x, gcm := wanting(t, "x25519", ""), wanting(t, "rsa", "gcm")
	alone := []recipient(nil)
	after := func(first recipient) []recipient { return []recipient{first} }
	for _, test := range []struct {
		name   string
		before []recipient
		next   recipient
		reply  string
	}{
		{"alone, in clear", alone, plain, "250 2.1.5"},
		{"alone, RSA", alone, rsa, "250 2.1.5"},
		{"alone, X25519", alone, x, "250 2.1.5"},
		{"both in clear", after(plain), plain, "250 2.1.5"},
		{"both RSA", after(rsa), rsa2, "250 2.1.5"},
		{"twice the same", after(rsa), rsa, "250 2.1.5"},
		{"twice the same, X25519", after(x), x, "250 2.1.5"},
		{"in clear after encrypted", after(rsa), plain, "452 4.5.3"},
		{"encrypted after in clear", after(plain), rsa, "452 4.5.3"},
		{"EC after RSA", after(rsa), ec, "452 4.5.3"},
		{"RSA after EC", after(ec), rsa, "452 4.5.3"},
		{"X25519 after RSA", after(rsa), x, "452 4.5.3"},
		{"GCM after CBC", after(rsa), gcm, "452 4.5.3"},
		{"no certificate is not in clear", after(plain), recipient{}, "452 4.5.3"},
		{"no certificate, alone", alone, recipient{}, "452 4.5.3"},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.next.address = "bob@example.net"
			reply := join(test.before, test.next)
			if codes(reply) != test.reply {
				t.Errorf("join = %s, want %s", codes(reply), test.reply)
			}
			if reply.Action != Accept && !strings.Contains(reply.Text, "send separately to <bob@example.net>") {
				t.Errorf("text: %s", reply.Text)
			}
		})
	}
}

func prints(c []cms.Recipient) []string {
	var all []string
	for _, r := range c {
		all = append(all, r.Fingerprint()[:8])
	}
	return all
}

func codes(r Reply) string { return fmt.Sprintf("%d %s", r.Code, r.Status) }

func TestJoinStopsWhenTheEnvelopeIsFull(t *testing.T) {
	var before []recipient
	for i := range maxEnvelope {
		p := newPerson(t, cms.EC, i)
		next := recipient{address: p.address, certs: []cms.Recipient{p.to}, form: form{kind: cms.EC}}
		if reply := join(before, next); reply.Action != Accept {
			t.Fatalf("recipient %d: %s", i+1, reply.Text)
		}
		before = append(before, next)
	}
	another := recipient{certs: []cms.Recipient{newPerson(t, cms.EC, maxEnvelope).to}, form: form{kind: cms.EC}}
	if reply := join(before, another); codes(reply) != "452 4.5.3" {
		t.Errorf("one too many: %s", codes(reply))
	}
	if reply := join(before, before[0]); reply.Action != Accept {
		t.Errorf("somebody with a certificate that is there already: %s", codes(reply))
	}
}

func TestGroup(t *testing.T) {
	for _, test := range []struct {
		name   string
		to     string
		header string
		want   string
	}{
		{"one, in To", "bob@example.net", "To: bob@example.net", ""},
		{"one, in neither", "bob@example.net", "To: undisclosed-recipients:;", ""},
		{"one, no header at all", "bob@example.net", "", ""},
		{"one, unreadable To", "bob@example.net", "To: <<<", ""},
		{"one, twice, in neither", "bob@example.net bob@EXAMPLE.net", "", ""},
		{"both in To", "bob@example.net carol@example.org", "To: Bob <bob@example.net>, carol@example.org", ""},
		{"one in Cc", "bob@example.net carol@example.org", "To: bob@example.net\nCc: Carol <carol@example.org>", ""},
		{"domain in another case", "bob@example.net carol@Example.Org", "To: bob@example.net, carol@example.org", ""},
		{"another mailbox, perhaps", "bob@example.net Carol@example.org", "To: bob@example.net, carol@example.org", "550 5.7.3 <Carol@example.org>"},
		{"in other letters", `"bob"@bücher.example carol@example.org`, "To: bob@xn--bcher-kva.example, carol@example.org", ""},
		{"in a group", "bob@example.net carol@example.org", "To: friends: bob@example.net, carol@example.org;", ""},
		{"one in Bcc", "bob@example.net carol@example.org", "To: bob@example.net\nBcc: carol@example.org", "550 5.7.3 <carol@example.org>"},
		{"one in neither", "bob@example.net carol@example.org", "To: bob@example.net", "550 5.7.3 <carol@example.org>"},
		{"only as a name", "bob@example.net carol@example.org", "To: \"carol@example.org\" <bob@example.net>", "550 5.7.3 <carol@example.org>"},
		{"only in a comment", "bob@example.net carol@example.org", "To: bob@example.net (carol@example.org)", "550 5.7.3 <carol@example.org>"},
		{"both in neither", "bob@example.net carol@example.org", "To: list@example.com", "550 5.7.3 <bob@example.net>, <carol@example.org>"},
		{"unreadable To", "bob@example.net carol@example.org", "To: <<<", "550 5.7.3 <bob@example.net>, <carol@example.org>"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var to []recipient
			for address := range strings.FieldsSeq(test.to) {
				to = append(to, recipient{address: address})
			}
			groups, reply := group(to, header(test.header), 0)
			if test.want == "" {
				if reply.Action != Accept || len(groups) != 1 || len(groups[0]) != len(to) {
					t.Errorf("group = %v, %s %s", groups, codes(reply), reply.Text)
				}
				return
			}
			code, names := test.want[:len("550 5.7.3")], test.want[len("550 5.7.3 "):]
			if reply.Action != Refuse || codes(reply) != code || !strings.Contains(reply.Text, "send separately to "+names) || groups != nil {
				t.Errorf("group = %v, %s %s, want %s", groups, codes(reply), reply.Text, test.want)
			}
		})
	}
}

// header makes a header of lines.
func header(lines string) message.Header {
	var h message.Header
	for line := range strings.SplitSeq(lines, "\n") {
		if name, value, ok := strings.Cut(line, ":"); ok {
			h = append(h, message.Field{Name: name, Value: value})
		}
	}
	return h
}
