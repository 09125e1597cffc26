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
		{"a rule of later days", "prefer", Finding{Outcome: keystore.None}, Defer, "451 4.3.5"},
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
	one, two, three := newPerson(t, cms.RSA, 1).to, newPerson(t, cms.RSA, 2).to, newPerson(t, cms.EC, 3).to
	plain := recipient{plain: true}
	to := func(c ...cms.Recipient) recipient { return recipient{certs: c} }
	rsa, rsa2, ec := to(one), to(two), to(three)
	alone := []recipient(nil)
	after := func(first recipient) []recipient { return []recipient{first} }
	for _, test := range []struct {
		name   string
		before []recipient
		next   recipient
		want   recipient
		reply  string
	}{
		{"alone, in clear", alone, plain, plain, "250 2.1.5"},
		{"alone, RSA", alone, rsa, rsa, "250 2.1.5"},
		{"alone, RSA is preferred", alone, to(three, one), rsa, "250 2.1.5"},
		{"alone, all of a kind", alone, to(two, three, one), to(two, one), "250 2.1.5"},
		{"alone, not more than five", alone, to(one, one, one, one, one, two), to(one, one, one, one, one), "250 2.1.5"},
		{"both in clear", after(plain), plain, plain, "250 2.1.5"},
		{"both RSA", after(rsa), rsa2, rsa2, "250 2.1.5"},
		{"both EC", after(ec), ec, ec, "250 2.1.5"},
		{"the first one's kind", after(ec), to(one, three), ec, "250 2.1.5"},
		{"twice the same", after(rsa), rsa, rsa, "250 2.1.5"},
		{"in clear after encrypted", after(rsa), plain, recipient{}, "452 4.5.3"},
		{"encrypted after in clear", after(plain), rsa, recipient{}, "452 4.5.3"},
		{"EC after RSA", after(rsa), ec, recipient{}, "452 4.5.3"},
		{"RSA after EC", after(ec), rsa, recipient{}, "452 4.5.3"},
		{"no certificate is not in clear", after(plain), to(), recipient{}, "452 4.5.3"},
		{"no certificate, alone", alone, to(), recipient{}, "452 4.5.3"},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.next.address = "bob@example.net"
			got, reply := join(test.before, test.next)
			if codes(reply) != test.reply || got.plain != test.want.plain || fmt.Sprint(prints(got.certs)) != fmt.Sprint(prints(test.want.certs)) {
				t.Errorf("join = %v, %s; want %v, %s", prints(got.certs), codes(reply), prints(test.want.certs), test.reply)
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
		next, reply := join(before, recipient{address: p.address, certs: []cms.Recipient{p.to}})
		if reply.Action != Accept {
			t.Fatalf("recipient %d: %s", i+1, reply.Text)
		}
		before = append(before, next)
	}
	if _, reply := join(before, recipient{certs: []cms.Recipient{newPerson(t, cms.EC, maxEnvelope).to}}); codes(reply) != "452 4.5.3" {
		t.Errorf("one too many: %s", codes(reply))
	}
	if _, reply := join(before, before[0]); reply.Action != Accept {
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
			groups, reply := group(to, header(test.header))
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
