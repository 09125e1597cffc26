package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"smimea.example/internal/cms"
	"smimea.example/internal/gateway"
)

const everything = `
listen = ["unix:/run/smimea/milter.sock", "inet:127.0.0.1:8893"]
mode = "shadow"

[dns]
upstreams = ["192.0.2.53:53", "system"]
trust_anchors = "/etc/smimea/root.key"
private_anchors = ["corp.example. IN DS 12345 13 2 00"]
try = "1500ms"
budget = "5s"

[keys]
pinned = "/etc/smimea/pinned"

[[rule]]
recipient = ["example.org", ".example.org"]
sender = ["<>", "boss@example.org"]
action = "never"

[[rule]]
recipient = ["*"]
action = "require"
cipher = "aes128-gcm"
kinds = ["ec", "rsa"]
mixed = true
archive = "/etc/smimea/archive.pem"
bcc = "together"
sender_may_decline = "subject: [plain]"

[[rule]]
recipient = ["*"]
action = "prefer"

[resubmit]
address = "inet:127.0.0.1:10026"
journal = "/var/lib/smimea/copies.db"

[limits]
copies = 30
copies_size = "500MB"
connections = 20
mails = 15
memory = "512MB"
wait = "1m30s"

[metrics]
listen = "127.0.0.1:9893"
`

func TestEverySetting(t *testing.T) {
	c, err := Parse([]byte(everything), "smimea.toml")
	if err != nil {
		t.Fatal(err)
	}
	same(t, "listen", strings.Join(c.Listen, " "), "unix:/run/smimea/milter.sock inet:127.0.0.1:8893")
	same(t, "dns.upstreams", strings.Join(c.DNS.Upstreams, " "), "192.0.2.53:53 system")
	same(t, "dns.trust_anchors", c.DNS.TrustAnchors, "/etc/smimea/root.key")
	same(t, "dns.private_anchors", strings.Join(c.DNS.PrivateAnchors, " "), "corp.example. IN DS 12345 13 2 00")
	same(t, "dns.try", c.DNS.Try.Duration, 1500*time.Millisecond)
	same(t, "dns.budget", c.DNS.Budget.Duration, 5*time.Second)
	same(t, "keys.pinned", c.Keys.Pinned, "/etc/smimea/pinned")
	same(t, "limits.connections", c.Limits.Connections, 20)
	same(t, "limits.mails", c.Limits.Mails, 15)
	same(t, "limits.memory", c.Limits.Memory.Octets, 512_000_000)
	same(t, "limits.wait", c.Limits.Wait.Duration, 90*time.Second)
	rule := c.gatewayRules()[1]
	same(t, "rule 2, cipher", rule.Cipher, cms.AES128GCM)
	same(t, "rule 2, kinds", fmt.Sprint(rule.Kinds), "[ec rsa]")
	same(t, "rule 2, mixed", rule.Mixed, true)
	same(t, "rule 1, cipher", c.gatewayRules()[0].Cipher, cms.AES256CBC)
	same(t, "metrics.listen", c.Metrics.Listen, "127.0.0.1:9893")
	same(t, "number of rules", len(c.Rules), 3)
	same(t, "mode", c.Mode, "shadow")
	same(t, "rule 2, archive", c.Rules[1].Archive, "/etc/smimea/archive.pem")
	same(t, "rule 2, bcc", rule.Together, true)
	same(t, "rule 2, sender_may_decline", rule.Mark, gateway.Mark{Field: "Subject", Text: "[plain]"})
	same(t, "resubmit.address", c.resubmission().Address, "127.0.0.1:10026")
	same(t, "resubmit.journal", c.Resubmit.Journal, "/var/lib/smimea/copies.db")
	same(t, "limits.copies", c.resubmission().Copies, 30)
	same(t, "limits.copies_size", c.resubmission().Octets, 500_000_000)
	same(t, "rule 1, sender", strings.Join(c.Rules[0].Sender, " "), "<> boss@example.org")
	same(t, "rule 1, action", c.Rules[0].Action, "never")
	same(t, "rule 2, recipient", strings.Join(c.Rules[1].Recipient, " "), "*")
}

const oneRule = "[[rule]]\nrecipient = [\"*\"]\naction = \"require\"\n"

func TestDefaults(t *testing.T) {
	c, err := Parse([]byte(oneRule), "smimea.toml")
	if err != nil {
		t.Fatal(err)
	}
	same(t, "listen", strings.Join(c.Listen, " "), "unix:/var/spool/postfix/smimea/milter.sock")
	same(t, "dns.upstreams", strings.Join(c.DNS.Upstreams, " "), "system")
	same(t, "dns.trust_anchors", c.DNS.TrustAnchors, "builtin")
	same(t, "dns.try", c.DNS.Try.Duration, 2*time.Second)
	same(t, "dns.budget", c.DNS.Budget.Duration, 7*time.Second)
	same(t, "keys.pinned", c.Keys.Pinned, "")
	same(t, "limits.connections", c.Limits.Connections, 200)
	same(t, "limits.mails", c.Limits.Mails, 150)
	same(t, "limits.memory", c.Limits.Memory.Octets, 256_000_000)
	same(t, "limits.wait", c.Limits.Wait.Duration, time.Minute)
	same(t, "metrics.listen", c.Metrics.Listen, "")
	same(t, "mode", c.Mode, "enforce")
	same(t, "no resubmission", c.resubmission() == nil, true)
	same(t, "limits.copies", c.Limits.Copies, 100)
}

// What a postmaster reads, and where he is told to look.
func TestBadSettings(t *testing.T) {
	for _, test := range []struct {
		name, settings string
		want           []string
	}{
		{"nothing", "", []string{
			"smimea.toml: there is no [[rule]]", "recipient = [\"example.org\", \".example.org\"]", `action = "never"`, "recipient = [\"*\"]", `action = "require"`}},
		{"mistyped key", "lisen = []\n" + oneRule, []string{
			`"lisen" is not a setting`, "1| lisen = []\n | ~~~~~\n"}},
		{"mistyped key in a rule", "[[rule]]\nrecipient = [\"*\"]\nacton = \"never\"\naction = \"require\"\n", []string{
			`"rule.acton" is not a setting`, "3| acton = \"never\"\n | ~~~~~"}},
		{"mistyped table", oneRule + "[dsn]\ntry = \"1s\"\n", []string{
			`"dsn" is not a setting`, "4| [dsn]\n |  ~~~"}},
		{"two at once", "a = 1\nb = 2\n" + oneRule, []string{
			`"a" is not a setting`, `"b" is not a setting`}},
		{"mode", "mode = \"test\"\n" + oneRule, []string{
			`mode = "test" is unknown: write "enforce" or "shadow"`}},
		{"copies to the world", oneRule + "[resubmit]\naddress = \"inet:192.0.2.1:25\"\n", []string{
			`resubmit.address = "inet:192.0.2.1:25": write a loopback address and a port, as in "inet:127.0.0.1:10026"`}},
		{"copies by name", oneRule + "[resubmit]\naddress = \"inet:localhost:10026\"\n", []string{
			`resubmit.address = "inet:localhost:10026": write a loopback address`}},
		{"journal somewhere", oneRule + "[resubmit]\naddress = \"inet:127.0.0.1:10026\"\njournal = \"journal.db\"\n", []string{
			`resubmit.journal = "journal.db": write the whole path`}},
		{"bcc", oneRule + "bcc = \"hidden\"\n", []string{
			`rule 1: bcc = "hidden" is unknown: write "alone" or "together"`}},
		{"a mark of the mail's own", oneRule + "sender_may_decline = \"To: nobody\"\n", []string{
			`rule 1: sender_may_decline: "To: nobody" is no mark: write a header field, as in "X-Encryption: off"`}},
		{"a mark where nothing is required", "[[rule]]\nrecipient = [\"*\"]\naction = \"prefer\"\nsender_may_decline = \"subject: [plain]\"\n", []string{
			`rule 1: sender_may_decline belongs to action = "require"`}},
		{"no copies", oneRule + "[limits]\ncopies = 0\n", []string{
			"limits.copies = 0: write a number from 1 to 1000"}},
		{"copies of no length", oneRule + "[limits]\ncopies_size = \"0\"\n", []string{
			`limits.copies_size is 0 octets: write a size from "1MB" to "1000GB"`}},
		{"cipher", oneRule + "cipher = \"3des\"\n", []string{
			`rule 1: cipher = "3des" is unknown: write "auto", or one of [aes256-cbc aes128-cbc aes256-gcm aes128-gcm]`}},
		{"cipher in capitals", oneRule + "cipher = \"AES256-CBC\"\n", []string{
			`rule 1: cipher = "AES256-CBC" is unknown`}},
		{"kind", oneRule + "kinds = [\"rsa\", \"dsa\"]\n", []string{
			`rule 1: kinds: "dsa" is unknown: there are [rsa ec x25519 mlkem]`}},
		{"no kinds", oneRule + "kinds = []\n", []string{
			"rule 1: kinds is empty: leave it out"}},
		{"kind twice", oneRule + "kinds = [\"rsa\", \"rsa\"]\n", []string{
			`rule 1: kinds: "rsa" is there twice`}},
		{"cipher for what is not encrypted", "[[rule]]\nrecipient = [\"*\"]\naction = \"never\"\ncipher = \"auto\"\n", []string{
			"rule 1: cipher, kinds, mixed, archive and bcc say how to encrypt"}},
		{"memory without its unit's letters", oneRule + "[limits]\nmemory = \"256 megabytes\"\n", []string{
			`limits.memory = "256 megabytes" is not a size: write a number and its unit, in quotes, as in "256MB"`}},
		{"too little memory", oneRule + "[limits]\nmemory = \"1MB\"\n", []string{
			`limits.memory is 1000000 octets: write a size from "64MB" to "1000GB"`}},
		{"endless memory", oneRule + "[limits]\nmemory = \"99999999999GB\"\n", []string{
			`limits.memory = "99999999999GB" is not a size`}},
		{"negative memory", oneRule + "[limits]\nmemory = \"-256MB\"\n", []string{
			`limits.memory = "-256MB" is not a size`}},
		{"metrics by port alone", oneRule + "[metrics]\nlisten = \":9893\"\n", []string{
			`metrics.listen = ":9893": write an IP address and a port, as in "127.0.0.1:9893"`}},
		{"metrics by name", oneRule + "[metrics]\nlisten = \"localhost:9893\"\n", []string{
			`metrics.listen = "localhost:9893": write an IP address`}},
		{"metrics without a port", oneRule + "[metrics]\nlisten = \"127.0.0.1\"\n", []string{
			`metrics.listen = "127.0.0.1": write an IP address and a port`}},
		{"metrics at any port", oneRule + "[metrics]\nlisten = \"127.0.0.1:0\"\n", []string{
			`metrics.listen = "127.0.0.1:0": write an IP address and a port`}},
		{"metrics for a crowd", oneRule + "[metrics]\nlisten = \"224.0.0.1:9893\"\n", []string{
			`metrics.listen = "224.0.0.1:9893": write an IP address`}},
		{"metrics as a milter's socket", oneRule + "[metrics]\nlisten = \"inet:127.0.0.1:9893\"\n", []string{
			`metrics.listen = "inet:127.0.0.1:9893": write an IP address`}},
		{"metrics everywhere", oneRule + "[metrics]\nlisten = \"0.0.0.0:9893\"\n", []string{
			`metrics.listen = "0.0.0.0:9893" is every address of the machine`, `"127.0.0.1:9893"`}},
		{"metrics everywhere, IPv6", oneRule + "[metrics]\nlisten = \"[::]:9893\"\n", []string{
			"is every address of the machine"}},
		{"metrics everywhere, in disguise", oneRule + "[metrics]\nlisten = \"[::ffff:0.0.0.0]:9893\"\n", []string{
			"is every address of the machine"}},
		{"metrics elsewhere", oneRule + "[metrics]\nport = 9893\n", []string{
			`"metrics.port" is not a setting`}},
		{"a slip in a setting of keys", oneRule + "[keys]\ncrl = \"/etc/smimea/crls\"\n", []string{
			`"keys.crl" is not a setting`}},
		{"protect", "[[rule]]\nrecipient = [\"*\"]\naction = \"protect\"\n", []string{
			`rule 1: action = "protect" is not built yet, since the gateway cannot tell`}},
		{"unknown action", "[[rule]]\nrecipient = [\"*\"]\naction = \"Require\"\n", []string{
			`rule 1: action = "Require" is unknown: write "require", "prefer" or "never"`}},
		{"no action", "[[rule]]\nrecipient = [\"*\"]\n", []string{
			"rule 1: there is no action"}},
		{"no recipient", "[[rule]]\naction = \"never\"\n", []string{
			"rule 1: there is no recipient", `recipient = ["example.org", ".example.org"]`}},
		{"recipient not in brackets", "[[rule]]\nrecipient = \"*\"\naction = \"never\"\n", []string{
			"takes a list, in brackets", "2| recipient = \"*\"\n |             ~~~\n"}},
		{"subdomains with an asterisk", "[[rule]]\nrecipient = [\"*.example.org\"]\naction = \"never\"\n", []string{
			`rule 1: pattern "*.example.org"`, `".example.org"`}},
		{"domain with an @", "[[rule]]\nrecipient = [\"@example.org\"]\naction = \"never\"\n", []string{
			`rule 1: pattern "@example.org"`, `"example.org"`}},
		{"pattern of nothing", "[[rule]]\nrecipient = [\"\"]\naction = \"never\"\n", []string{
			`rule 1: pattern ""`}},
		{"null sender as recipient", "[[rule]]\nrecipient = [\"<>\"]\naction = \"never\"\n", []string{
			`rule 1: "<>" is a sender`}},
		{"duration without quotes", "[dns]\nbudget = 5\n" + oneRule, []string{
			`dns.budget = "5" is not a duration`, `"2s"`}},
		{"duration without unit", "[dns]\ntry = \"2\"\n" + oneRule, []string{
			`dns.try = "2" is not a duration`}},
		{"budget too long", "[dns]\nbudget = \"30s\"\n" + oneRule, []string{
			`dns.budget = "30s"`, `from "1s" to "7s"`}},
		{"try longer than budget", "[dns]\ntry = \"3s\"\nbudget = \"2s\"\n" + oneRule, []string{
			`dns.try = "3s"`, `from "100ms" to "2s"`}},
		{"no connections", oneRule + "[limits]\nconnections = 0\n", []string{
			"limits.connections = 0: write a number from 1 to 10000"}},
		{"no mails", oneRule + "[limits]\nmails = 0\n", []string{
			"limits.mails = 0: write a number from 1 to 10000"}},
		{"no wait", oneRule + "[limits]\nwait = \"0s\"\n", []string{
			`limits.wait = "0s": write a duration from "1s"`}},
		{"no budget", "[dns]\nbudget = \"0s\"\n" + oneRule, []string{
			`dns.budget = "0s": write a duration from "1s" to "7s"`}},
		{"no try", "[dns]\ntry = \"0s\"\n" + oneRule, []string{
			`dns.try = "0s": write a duration from "100ms" to "7s"`}},
		{"no trust anchors", "[dns]\ntrust_anchors = \"\"\n" + oneRule, []string{
			`dns.trust_anchors is empty: write "builtin"`}},
		{"no senders", oneRule + "sender = []\n", []string{
			`rule 1: sender is empty: leave it out`}},
		{"capitals beside small letters", oneRule + "Action = \"never\"\n", []string{
			`"Action" is not a setting: write "action"`, "\n4| Action = \"never\"\n | ~~~~~~"}},
		{"capitals alone", "[[rule]]\nrecipient = [\"*\"]\n  ACTION = \"never\"\n", []string{
			`"ACTION" is not a setting: write "action"`, "\n3|   ACTION = \"never\"\n |   ~~~~~~"}},
		{"capitals in a table", oneRule + "[DNS]\n", []string{
			`"DNS" is not a setting: write "dns"`, "\n4| [DNS]\n |  ~~~"}},
		{"capitals in an inline table", "dns = { Try = \"1s\" }\n" + oneRule, []string{
			`"Try" is not a setting: write "try"`, "\n1| dns = { Try = \"1s\" }\n |         ~~~"}},
		{"capitals that are none in ASCII", oneRule + "\"rec\u0130pient\" = []\n[\"\u212aeys\"]\n", []string{
			"is not a setting"}},
		{"negative connections", oneRule + "[limits]\nconnections = -1\n", []string{
			"limits.connections = -1", "from 1 to 10000"}},
		{"negative wait", oneRule + "[limits]\nwait = \"-1s\"\n", []string{
			`limits.wait = "-1s"`}},
		{"no sockets", "listen = []\n" + oneRule, []string{
			"listen is empty"}},
		{"socket without its kind", "listen = [\"/run/milter.sock\"]\n" + oneRule, []string{
			`listen: "/run/milter.sock" is not a socket`, "unix:/path"}},
		{"relative socket", "listen = [\"unix:milter.sock\"]\n" + oneRule, []string{
			`listen: "unix:milter.sock" is not a socket`}},
		{"socket without its host", "listen = [\"inet:8893\"]\n" + oneRule, []string{
			`listen: "inet:8893" is not a socket`, "inet:127.0.0.1:8893"}},
		{"socket without its host, as Sendmail writes it", "listen = [\"inet:8893@\"]\n" + oneRule, []string{
			`listen: "inet:8893@" is not a socket`}},
		{"no resolvers", "[dns]\nupstreams = []\n" + oneRule, []string{
			"dns.upstreams is empty"}},
		{"twice", "listen = []\nlisten = []\n" + oneRule, []string{
			"listen", "2| listen"}},
		{"no TOML", "listen: foo\n", []string{
			"1| listen: foo"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := Parse([]byte(test.settings), "smimea.toml")
			if err == nil {
				t.Fatal("no error")
			}
			t.Log(err)
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error does not say %q:\n%v", want, err)
				}
			}
			if !strings.HasPrefix(err.Error(), "smimea.toml: ") {
				t.Errorf("error does not begin with the file: %v", err)
			}
		})
	}
}

func TestLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "smimea.toml")
	if _, err := Load(path); !os.IsNotExist(err) {
		t.Errorf("missing file: %v", err)
	}
	if err := os.WriteFile(path, []byte(everything), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(path, []byte(strings.Repeat("#", maxFile+1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); err == nil || !strings.Contains(err.Error(), "not a settings file") {
		t.Errorf("endless file: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(everything)
	f.Add(oneRule)
	f.Add("mode = 1\n[metrics]\nx = 2\n")
	f.Add("rule = 1\n")
	f.Add("[[rule]]\nrecipient = [[\"*\"]]\n")
	f.Fuzz(func(t *testing.T, settings string) {
		c, err := Parse([]byte(settings), "fuzz")
		if (c == nil) != (err != nil) {
			t.Fatalf("settings %v, error %v", c, err)
		}
		if c == nil {
			return
		}
		for i, rule := range c.gatewayRules() {
			if err := rule.Check(); err != nil {
				t.Errorf("rule %d: %v", i+1, err)
			}
		}
	})
}

func same[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}
