package gateway

import (
	"fmt"
	"testing"

	"smimea.example/smimea"
)

func TestPatterns(t *testing.T) {
	for _, test := range []struct {
		name, pattern, address string
		want                   bool
	}{
		{"everybody", "*", "alice@example.org", true},
		{"everybody, an address literal too", "*", "alice@[192.0.2.1]", true},
		{"mailbox", "alice@example.org", "alice@example.org", true},
		{"mailbox, another one", "alice@example.org", "bob@example.org", false},
		{"mailbox, another domain", "alice@example.org", "alice@example.net", false},
		{"mailbox, not its subaddresses", "alice@example.org", "alice+news@example.org", false},
		{"mailbox, case of the local part", "alice@example.org", "ALICE@example.org", true},
		{"mailbox, quoted without need", "alice@example.org", `"alice"@example.org`, true},
		{"mailbox, no letters beyond ASCII are folded", "sam@example.org", "\u017fam@example.org", false},
		{"domain", "example.org", "alice@example.org", true},
		{"domain, case", "Example.ORG", "alice@eXample.org", true},
		{"domain, final dot", "example.org", "alice@example.org.", true},
		{"domain, not its subdomains", "example.org", "alice@mail.example.org", false},
		{"domain, not what ends the same", "example.org", "alice@badexample.org", false},
		{"domain, in a local part", "example.org", "example.org@example.net", false},
		{"domain, the last @ counts", "example.org", "alice@example.org@example.net", false},
		{"domain, a source route does not", "example.org", "@example.org:alice@example.net", false},
		{"domain, U-label in the pattern", "bücher.example", "alice@xn--bcher-kva.example", true},
		{"domain, U-label in the address", "xn--bcher-kva.example", "alice@Bücher.example", true},
		{"subdomains", ".example.org", "alice@mail.example.org", true},
		{"subdomains of subdomains", ".example.org", "alice@a.b.example.org", true},
		{"subdomains, not the domain", ".example.org", "alice@example.org", false},
		{"subdomains, not what ends the same", ".example.org", "alice@badexample.org", false},
		{"null sender is no recipient", "<>", "alice@example.org", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := anyMatches(parsePatterns([]string{test.pattern}), party{mailbox: mailbox(t, test.address)})
			if err != nil || got != test.want {
				t.Errorf("%q matches %q: %v, %v, want %v", test.pattern, test.address, got, err, test.want)
			}
		})
	}
}

func TestFirstRuleThatMatches(t *testing.T) {
	rules := (&Gateway{Rules: []Rule{
		{Recipients: []string{"boss@example.org"}, Senders: []string{"<>"}, Action: Never},
		{Recipients: []string{"example.org", ".example.org"}, Senders: []string{"example.org", "carol@example.net"}, Action: Never},
		{Recipients: []string{"example.org"}, Action: Require},
		{Recipients: []string{"*"}, Senders: []string{"*"}, Action: Require},
	}}).rules()
	for _, test := range []struct {
		name, from, to string
		want           int
	}{
		{"null sender", "", "boss@example.org", 1},
		{"sender's domain", "alice@example.org", "boss@example.org", 2},
		{"sender's address", "carol@example.net", "x@mail.example.org", 2},
		{"sender not named", "dave@example.net", "boss@example.org", 3},
		{"null sender not named", "", "bob@example.org", 3},
		{"unreadable sender is not the null sender", "@@", "boss@example.org", 3},
		{"everybody", "alice@example.org", "dave@example.net", 4},
		{"everybody, null sender", "", "dave@example.net", 4},
		{"everybody, unreadable sender", "@@", "dave@example.net", 4},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := match(rules, newSender(test.from), party{mailbox: mailbox(t, test.to)})
			if err != nil || got != test.want {
				t.Errorf("rule %d, %v, want %d", got, err, test.want)
			}
		})
	}
	if n, err := match(rules[:3], newSender(""), party{mailbox: mailbox(t, "dave@example.net")}); n != 0 || err != nil {
		t.Errorf("nobody's recipient: rule %d, %v", n, err)
	}
}

// A gateway with many rules does not take them apart for each recipient.
func TestRulesAreParsedOnce(t *testing.T) {
	g := &Gateway{Rules: []Rule{{Recipients: []string{"*"}, Action: Never}}}
	explain := func() { g.Explain(t.Context(), "alice@example.org", "bob@example.net") }
	explain()
	few := testing.AllocsPerRun(10, explain)

	var domains []string
	for i := range 1000 {
		domains = append(domains, fmt.Sprintf("b%d.example", i))
	}
	g = &Gateway{Rules: append([]Rule{{Recipients: domains, Action: Require}}, g.Rules...)}
	explain()
	if many := testing.AllocsPerRun(10, explain); many > few {
		t.Errorf("%v allocations with a thousand patterns, %v with one", many, few)
	}
}

func TestRuleCheck(t *testing.T) {
	anybody := []string{"*"}
	for _, test := range []struct {
		name string
		rule Rule
		good bool
	}{
		{"never", Rule{Recipients: anybody, Senders: nil, Action: Never}, true},
		{"require, all patterns", Rule{Recipients: []string{"a@example.org", "example.org", ".example.org", "*"}, Senders: []string{"<>", "*"}, Action: Require}, true},
		{"zero rule", Rule{}, false},
		{"unknown action", Rule{Recipients: anybody, Senders: nil, Action: "protect"}, false},
		{"nobody", Rule{Recipients: nil, Senders: nil, Action: Never}, false},
		{"null sender as recipient", Rule{Recipients: []string{"<>"}, Senders: nil, Action: Never}, false},
		{"empty pattern", Rule{Recipients: []string{""}, Senders: nil, Action: Never}, false},
		{"dot", Rule{Recipients: []string{"."}, Senders: nil, Action: Never}, false},
		{"two dots", Rule{Recipients: []string{"..example.org"}, Senders: nil, Action: Never}, false},
		{"asterisk before a domain", Rule{Recipients: []string{"*.example.org"}, Senders: nil, Action: Never}, false},
		{"asterisk in an address", Rule{Recipients: []string{"*@example.org"}, Senders: nil, Action: Never}, false},
		{"at before a domain", Rule{Recipients: []string{"@example.org"}, Senders: nil, Action: Never}, false},
		{"route", Rule{Recipients: []string{"a%example.net@example.org"}, Senders: nil, Action: Never}, false},
		{"address literal", Rule{Recipients: []string{"a@[192.0.2.1]"}, Senders: nil, Action: Never}, false},
		{"two domains", Rule{Recipients: []string{"example.org example.net"}, Senders: nil, Action: Never}, false},
		{"comment", Rule{Recipients: []string{"example.org(ours)"}, Senders: nil, Action: Never}, false},
		{"sender", Rule{Recipients: anybody, Senders: []string{"*.example.org"}, Action: Never}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			if err := test.rule.Check(); (err == nil) != test.good {
				t.Errorf("Check: %v", err)
			}
		})
	}
}

func mailbox(t *testing.T, address string) smimea.Address {
	t.Helper()
	a, err := smimea.ParseAddress(address)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// An address that is taken as a pattern matches itself, however it is spelt;
// and no pattern of one domain matches mailboxes of another.
func FuzzPattern(f *testing.F) {
	for _, seed := range []string{"alice@example.org", `"a b"@Example.org.`, "example.org", ".example.org", "*", "<>", "*.x", "x@[192.0.2.1]", "bücher.example"} {
		f.Add(seed)
	}
	elsewhere := party{mailbox: smimea.Address{Local: "alice", ASCIIDomain: "elsewhere.invalid"}}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := parsePattern(s)
		if err != nil {
			return
		}
		if a, err := smimea.ParseAddress(s); err == nil && !p.matches(party{mailbox: a}) {
			t.Errorf("%q does not match itself", s)
		}
		if p.kind != everybody && p.matches(elsewhere) && p.ascii != "elsewhere.invalid" && p.ascii != "invalid" {
			t.Errorf("%q matches %v", s, elsewhere)
		}
	})
}
