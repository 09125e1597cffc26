package main

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"smimea.example/internal/gateway"
)

func TestLeadsOutOfTheHouse(t *testing.T) {
	b := behind{}
	b.house.Rules = []gateway.Rule{
		{Recipients: []string{"house.test", ".house.test", "amy@partner.test"}, Action: gateway.Never},
		{Recipients: []string{"*"}, Action: gateway.Require},
	}
	for _, tt := range []struct {
		address string
		want    bool
	}{
		{"bob", false},
		{"bob@house.test", false},
		{"<bob@HOUSE.test>", false},
		{"bob@mail.house.test", false},
		{"@house.test", false},
		{"$1@house.test", false},
		{"amy@partner.test", false},
		{"bob@partner.test", true},
		{"@far.test", true},
		{"<bob@far.test>", true},
		{`"bob smith"@far.test`, true},
		{"$1@far.test", true},
		{"bob@$2", true}, // wherever that is
		{"bob%far.test@house.test", true},
		{"far.test!bob@house.test", true},
		{"far.test!bob", true},
		{"bob%far.test", true},
		{"bob@far.test@house.test", true},
		{"@", true},
	} {
		if got := b.leads(tt.address); got != tt.want {
			t.Errorf("leads(%q) = %v, want %v", tt.address, got, tt.want)
		}
	}
}

func TestSplitTargets(t *testing.T) {
	for list, want := range map[string]string{
		"":                                     "[]",
		"a@b,c@d  e@f":                         "[a@b c@d e@f]",
		`"x, y"@b, c@d`:                        `["x, y"@b c@d]`,
		`"x \" y"@b c@d`:                       `["x \" y"@b c@d]`,
		"Bob Smith <bob@far.test>":             "[Bob Smith <bob@far.test>]",
		`"|/usr/bin/send -f a@b", :include:/x`: `["|/usr/bin/send -f a@b" :include:/x]`,
	} {
		if got := fmt.Sprint(splitTargets(list)); got != want {
			t.Errorf("splitTargets(%q) = %s, want %s", list, got, want)
		}
	}
}

func TestBehindFindings(t *testing.T) {
	const socket = "unix:/var/spool/postfix/smimea/milter.sock"
	dir := t.TempDir()
	list, lists := filepath.Join(dir, "list"), filepath.Join(dir, "lists")
	long, huge := filepath.Join(dir, "long"), filepath.Join(dir, "huge")
	for path, content := range map[string]string{
		list:  "# members\nbob@house.test\nbob@far.test\n",
		lists: "amy@house.test, :include:" + lists + "\n:include:" + list + "\n",
		long:  strings.Repeat("amy@house.test\n", 100_000),
		huge:  strings.Repeat("/a/ bob\n", maxEntries+1),
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var many strings.Builder
	for i := range mostNamed + 3 {
		fmt.Fprintf(&many, "{/%d/ bob%d@far.test} ", i, i)
	}
	plain := map[string]string{
		"queue_directory": "/var/spool/postfix",
		"smtpd_milters":   "unix:smimea/milter.sock",
		"mydestination":   "house.test",
		"local_transport": "local:mail.house.test",
	}
	const next = "127.0.0.1:10027/inet/"
	again := map[string]string{
		"default_transport":                   "smimea:[127.0.0.1]:10027",
		next + "content_filter":               "smtp:",
		next + "smtpd_milters":                "unix:smimea/milter.sock",
		next + "receive_override_options":     "no_address_mappings",
		"127.0.0.1:10025/inet/content_filter": "",
	}
	rules := []gateway.Rule{
		{Recipients: []string{"house.test"}, Action: gateway.Never},
		{Recipients: []string{"*"}, Action: gateway.Require},
	}
	declining := []gateway.Rule{{Recipients: []string{"far.test"}, Action: gateway.Require, Mark: gateway.Mark{Field: "X-Encryption", Text: "off"}}}
	for _, tt := range []struct {
		name      string
		again     bool
		set       map[string]string
		rules     []gateway.Rule // in front of the usual ones
		want, not string         // a line of the report, and one that must not be there
	}{
		{name: "nothing there", not: ":"},
		{name: "alias in the house", set: map[string]string{"alias_maps": "static:bob@house.test"}, want: "ok: alias_maps: static:bob@house.test: nothing leads out of the house (1 entry)", not: "warning:"},
		{name: "alias", set: map[string]string{"alias_maps": "static:bob@far.test"}, want: "warning: alias_maps: everything leads to bob@far.test", not: "ok: alias_maps"},
		{name: "alias", set: map[string]string{"alias_maps": "static:bob@far.test"}, want: "warning: what leads out of the house leaves in PLAINTEXT (let it pass once more: "},
		{name: "one of two", set: map[string]string{"virtual_alias_maps": "static:{bob@house.test, bob@far.test}"}, want: "warning: virtual_alias_maps: everything leads to bob@far.test"},
		{name: "a pattern", set: map[string]string{"canonical_maps": "pcre:{ {/^(.*)@old$/ $1@far.test} }"}, want: "warning: canonical_maps: /^(.*)@old$/ leads to $1@far.test"},
		{name: "recipients only", set: map[string]string{"recipient_canonical_maps": "static:bob@far.test"}, want: "warning: recipient_canonical_maps: "},
		{name: "copies", set: map[string]string{"recipient_bcc_maps": "static:bob@far.test"}, want: "warning: recipient_bcc_maps: "},
		{name: "copies", set: map[string]string{"sender_bcc_maps": "static:bob@far.test"}, want: "warning: sender_bcc_maps: "},
		{name: "copies of everything", set: map[string]string{"always_bcc": "archive@far.test"}, want: "warning: always_bcc: every mail leads to archive@far.test"},
		{name: "copies in the house", set: map[string]string{"always_bcc": "archive"}, want: "ok: always_bcc: archive: nothing leads out", not: "warning:"},
		{name: "unknown users", set: map[string]string{"luser_relay": "@far.test"}, want: "warning: luser_relay: an unknown user leads to @far.test"},
		{name: "one service only", set: map[string]string{"cleanup/unix/virtual_alias_maps": "static:bob@far.test"}, want: "warning: cleanup/unix/virtual_alias_maps: everything leads to bob@far.test"},
		{name: "a list", set: map[string]string{"alias_maps": "static:{ :include:" + list + " }"}, want: "warning: alias_maps: everything leads to bob@far.test"},
		{name: "a list that is not there", set: map[string]string{"alias_maps": "static::include:/nonexistent"}, not: "ok:", want: "warning: alias_maps: everything: its list was not read: "},
		{name: "a list of lists", set: map[string]string{"alias_maps": "static::include:" + lists}, want: "warning: alias_maps: everything leads to bob@far.test"},
		{name: "a long list", set: map[string]string{"alias_maps": "static::include:" + long}, want: "warning: alias_maps: everything: its list was not read: " + long + " has more than 1048576 octets"},
		{name: "many lists that are not there", set: map[string]string{"alias_maps": "static:{" + strings.Repeat(" :include:/nonexistent", 20) + " :include:/nonexistent/2}"}, want: "warning: alias_maps: everything: its list was not read: open /nonexistent: no such file or directory (see yourself whether it leads out of the house)\nwarning: alias_maps: everything: its list was not read: open /nonexistent/2"},
		{name: "commands and files", set: map[string]string{"alias_maps": `static:{ "|/bin/send bob@far.test" /var/mail/x }`}, want: "ok: alias_maps: ", not: "warning:"},
		{name: "an address like a file", set: map[string]string{"virtual_alias_maps": "static:/C=XX/@far.test"}, want: "warning: virtual_alias_maps: everything leads to /C=XX/@far.test"},
		{name: "routed", set: map[string]string{"alias_maps": "static:bob%far.test@house.test"}, want: "warning: alias_maps: everything leads to bob%far.test@house.test"},
		{name: "not to be listed", set: map[string]string{"virtual_alias_maps": "ldap:/etc/ldap.cf static:bob"}, want: "warning: virtual_alias_maps: ldap:/etc/ldap.cf was not read: a table of this type cannot be listed (see yourself", not: "PLAINTEXT"},
		{name: "too long", set: map[string]string{"virtual_alias_maps": "pcre:" + huge}, want: "warning: virtual_alias_maps: " + short("pcre:"+huge) + " was read in part: it has more than 200000 entries"},
		{name: "the one after it", set: map[string]string{"virtual_alias_maps": "ldap:/etc/ldap.cf static:bob"}, want: "ok: virtual_alias_maps: static:bob: nothing leads out"},
		{name: "many", set: map[string]string{"virtual_alias_maps": "regexp:{" + many.String() + "}"}, want: "warning: virtual_alias_maps: /9/ leads to bob9@far.test\nwarning: virtual_alias_maps: 3 more of regexp:{"},
		{name: "control characters", set: map[string]string{"always_bcc": "x\x1b[2J@far.test"}, want: "warning: always_bcc: every mail leads to x?[2J@far.test"},
		{name: "forwards", set: map[string]string{"forward_path": "$home/.forward"}, want: "warning: forward_path: .forward files of local users"},
		{name: "forwards of nobody", set: map[string]string{"forward_path": "$home/.forward", "mydestination": ""}, not: ":"},
		{name: "no local delivery", set: map[string]string{"forward_path": "$home/.forward", "local_transport": "lmtp:unix:private/lmtp"}, not: ":"},
		{name: "percent refused", set: map[string]string{"allow_percent_hack": "yes"}, want: "ok: allow_percent_hack = yes: the gateway refuses user%elsewhere@own"},
		{name: "percent not seen", set: map[string]string{"allow_percent_hack": "yes", "smtpd_milters": ""}, want: "warning: allow_percent_hack = yes: user%elsewhere@own leads out of the house (postconf -e allow_percent_hack=no)"},
		{name: "bang not seen", set: map[string]string{"swap_bangpath": "yes", "smtpd_milters": ""}, want: "warning: swap_bangpath = yes: elsewhere!user@own leads out of the house"},
		{name: "no percent", set: map[string]string{"allow_percent_hack": "no", "smtpd_milters": ""}, not: ":"},

		{name: "once more", again: true, want: "ok: default_transport = smimea:[127.0.0.1]:10027: what leaves passes the gateway once more", not: "warning:"},
		{name: "alias, once more", again: true, set: map[string]string{"alias_maps": "static:bob@far.test"}, want: "ok: alias_maps: everything leads to bob@far.test, through the gateway", not: "warning:"},
		{name: "many, once more", again: true, set: map[string]string{"virtual_alias_maps": "regexp:{" + many.String() + "}"}, want: "ok: virtual_alias_maps: /9/ leads to bob9@far.test, through the gateway\nok: virtual_alias_maps: 3 more of regexp:{", not: "warning:"},
		{name: "not to be listed, once more", again: true, set: map[string]string{"virtual_alias_maps": "ldap:/etc/ldap.cf"}, want: "ok: virtual_alias_maps: ldap:/etc/ldap.cf was not read: ", not: "warning:"},
		{name: "forwards, once more", again: true, set: map[string]string{"forward_path": "$home/.forward"}, want: "ok: forward_path: ", not: "warning:"},
		{name: "percent, once more", again: true, set: map[string]string{"allow_percent_hack": "yes", "smtpd_milters": ""}, want: "ok: allow_percent_hack = yes: what user%elsewhere@own leads to passes", not: "warning:"},
		{name: "once more, by main.cf's milters", again: true, set: map[string]string{next + "smtpd_milters": "\x00"}, want: "ok: default_transport", not: "warning:"},
		{name: "once more without the gateway", again: true, set: map[string]string{next + "smtpd_milters": "", "alias_maps": "static:bob@far.test"}, want: "warning: default_transport = smimea:[127.0.0.1]:10027: there the gateway is not asked once more\nwarning: alias_maps: "},
		{name: "once more, no milters", again: true, set: map[string]string{next + "receive_override_options": "no_milters"}, want: "warning: default_transport = smimea:[127.0.0.1]:10027: there the gateway is not asked"},
		{name: "once more, and changed behind it", again: true, set: map[string]string{next + "receive_override_options": ""}, want: "warning: 127.0.0.1:10027/inet: addresses are changed once more"},
		{name: "another way out", again: true, set: map[string]string{"transport_maps": "hash:/etc/transport"}, want: "warning: transport_maps: what it sends elsewhere than to smimea:[127.0.0.1]:10027 does not pass the gateway once more"},
		{name: "declined, once more", again: true, rules: declining, want: "warning: sender_may_decline: "},
		{name: "declined", rules: declining, not: ":"},
		{name: "an exit that does not go on", again: true, set: map[string]string{next + "content_filter": "", "alias_maps": "static:bob@far.test"}, want: "warning: alias_maps: ", not: "once more\n"},
	} {
		mta := maps.Clone(plain)
		if tt.again {
			maps.Copy(mta, again)
		}
		maps.Copy(mta, tt.set)
		maps.DeleteFunc(mta, func(_, value string) bool { return value == "\x00" })
		var out bytes.Buffer
		r := report{w: &out}
		r.behindBack(mta, []string{socket}, append(tt.rules, rules...))
		if !strings.Contains("\n"+out.String(), "\n"+tt.want) {
			t.Errorf("%s: no line %q in\n%s", tt.name, tt.want, out.String())
		}
		if tt.not != "" && strings.Contains(out.String(), tt.not) {
			t.Errorf("%s: %q in\n%s", tt.name, tt.not, out.String())
		}
	}
}
