package main

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"smimea.example/internal/config"
	"smimea.example/internal/gateway"
	"smimea.example/tools/judges"
)

// The example is what a postmaster starts from.
func TestExampleSettings(t *testing.T) {
	settings, err := config.Load("smimea.toml")
	if err != nil {
		t.Fatal(err)
	}
	if got := settings.Rules[0]; got.Action != "never" || len(got.Sender) > 0 {
		t.Errorf("the first rule is %+v, want the usual one", got)
	}
	if got := settings.Rules[len(settings.Rules)-1]; got.Action != "require" || !reflect.DeepEqual(got.Recipient, []string{"*"}) {
		t.Errorf("the last rule is %+v, want require for everybody", got)
	}
}

// What is commented out in the example is said to be the default.
func TestExampleShowsTheDefaults(t *testing.T) {
	example, err := os.ReadFile("smimea.toml")
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for line := range strings.Lines(string(example)) {
		if rest, ok := strings.CutPrefix(line, "#"); ok && !strings.HasPrefix(rest, " ") && strings.Contains(rest, " = ") {
			line = rest
		}
		if strings.Contains(line, ` = "/etc/smimea/`) || strings.HasPrefix(line, "private_anchors") || strings.HasPrefix(line, `listen = "127`) || strings.HasPrefix(line, `address = "inet:127`) {
			continue // an example; there is none by default
		}
		all.WriteString(line)
	}
	spelt, err := config.Parse([]byte(all.String()), "smimea.toml")
	if err != nil {
		t.Fatal(err)
	}
	defaults, err := config.Load("smimea.toml")
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(spelt, defaults) {
		t.Errorf("the example says\n%+v, but the defaults are\n%+v", spelt, defaults)
	}
}

func TestPostfixFindings(t *testing.T) {
	const socket = "unix:/var/spool/postfix/smimea/milter.sock"
	good := map[string]string{
		"queue_directory":       "/var/spool/postfix",
		"milter_default_action": "tempfail",
		"milter_protocol":       "6",
		"smtpd_milters":         "unix:smimea/milter.sock",
		"non_smtpd_milters":     "unix:smimea/milter.sock, inet:127.0.0.1:8891",
		"message_size_limit":    "50000000",
		"mailbox_size_limit":    "0",
		"virtual_mailbox_limit": "51200000",
		"mydestination":         "mail.house.test, house.test",
		"myorigin":              "house.test",
		"virtual_alias_domains": "hash:/etc/postfix/virtual",
		"relay_domains":         "",

		"127.0.0.1:10026/inet/smtpd_milters": "",
	}
	rules := []gateway.Rule{
		{Recipients: []string{"house.test", ".house.test"}, Action: gateway.Never},
		{Recipients: []string{"*"}, Action: gateway.Require},
	}
	const none = "(not there)"
	for _, tt := range []struct {
		name      string
		set       map[string]string
		sockets   []string
		want, not string // a line of the report, and one that must not be there
	}{
		{name: "all is well", want: "ok: milter_default_action = tempfail: without the gateway no mail leaves", not: "warning:"},
		{name: "all is well", want: "ok: smtpd_milters: what comes by SMTP goes through the gateway", not: "error:"},
		{name: "plaintext", set: map[string]string{"milter_default_action": "accept"}, want: "warning: milter_default_action = accept: without the gateway mail leaves in PLAINTEXT (postconf -e milter_default_action=tempfail)"},
		{name: "quarantine", set: map[string]string{"milter_default_action": "quarantine"}, want: "warning: milter_default_action = quarantine: "},
		{name: "from Postfix 3.11 on", set: map[string]string{"milter_default_action": "shutdown"}, want: "ok: milter_default_action = shutdown", not: "warning:"},
		{name: "old protocol", set: map[string]string{"milter_protocol": "2"}, want: "warning: milter_protocol = 2: "},
		{name: "pickup forgotten", set: map[string]string{"non_smtpd_milters": ""}, want: "warning: non_smtpd_milters: what programs of this machine send does NOT go through the gateway (add unix:smimea/milter.sock)"},
		{name: "another milter only", set: map[string]string{"smtpd_milters": "inet:127.0.0.1:8891 unix:opendkim/opendkim.sock"}, want: "warning: smtpd_milters: what comes by SMTP does NOT go through"},
		{name: "path as outside of the chroot", set: map[string]string{"smtpd_milters": socket}, want: "warning: smtpd_milters: " + socket + ": a chrooted smtpd, as Debian's, does not find it there (write unix:smimea/milter.sock)"},
		{name: "path as inside of the chroot", set: map[string]string{"smtpd_milters": "unix:/smimea/milter.sock"}, want: "ok: smtpd_milters: ", not: "warning:"},
		{name: "braces", set: map[string]string{"smtpd_milters": "inet:127.0.0.1:8891, { unix:smimea/milter.sock, connect_timeout = 10s, default_action = accept }"}, want: "warning: smtpd_milters, default_action = accept: without the gateway mail leaves in PLAINTEXT (write tempfail there)"},
		{name: "TCP", sockets: []string{"inet:8893@127.0.0.1"}, set: map[string]string{"smtpd_milters": "inet:localhost:8893", "non_smtpd_milters": "inet:127.0.0.1:8893"}, want: "ok: smtpd_milters: ", not: "warning:"},
		{name: "TCP, another port", sockets: []string{"inet:127.0.0.1:8893"}, want: "warning: smtpd_milters: what comes by SMTP does NOT go through the gateway (add inet:127.0.0.1:8893)"},
		{name: "submission only", set: map[string]string{"smtpd_milters": "", "submission/inet/smtpd_milters": "unix:smimea/milter.sock"}, want: "ok: submission/inet/smtpd_milters: what comes by submission goes through the gateway", not: "warning:"},
		{name: "all but submission", set: map[string]string{"submission/inet/smtpd_milters": ""}, want: "warning: submission/inet/smtpd_milters: what comes by submission does NOT go through the gateway"},
		{name: "Postfix's own limit", set: map[string]string{"message_size_limit": "10240000"}, want: "warning: message_size_limit = 10240000: mails of more than 7.3 MB are refused"},
		{name: "no limit", set: map[string]string{"message_size_limit": "0", "virtual_mailbox_limit": "0"}, not: "mailbox", want: "ok: message_size_limit = 0: "},
		{name: "limit enough", want: "ok: message_size_limit = 50000000: mails of up to 35.7 MB leave room"},
		{name: "local delivery stops", set: map[string]string{"mailbox_size_limit": "40000000"}, want: "warning: mailbox_size_limit = 40000000: local(8) delivers nothing while it is below message_size_limit (postconf -e mailbox_size_limit=0)"},
		{name: "virtual delivery stops", set: map[string]string{"message_size_limit": "0", "virtual_mailbox_limit": "51200000"}, want: "warning: virtual_mailbox_limit = 51200000: virtual(8) delivers nothing"},
		{name: "mailboxes of the same size", set: map[string]string{"mailbox_size_limit": "50000000", "virtual_mailbox_limit": "0"}, want: "ok: milter_default_action", not: "mailbox"},
		{name: "house covered", set: map[string]string{"virtual_alias_domains": ""}, want: "ok: Postfix's own domains: mail to your own people stays as it is"},
		{name: "house covered, tables aside", want: "ok: Postfix's own domains (those named outright): mail to your own people stays as it is"},
		{name: "where root's mail goes", set: map[string]string{"myorigin": "machine.test", "virtual_alias_domains": ""}, want: "warning: Postfix's own domains machine.test: no `never` rule covers them"},
		{name: "plaintext by one service", set: map[string]string{"pickup/unix/milter_default_action": "accept"}, want: "warning: pickup/unix/milter_default_action = accept: without the gateway mail leaves in PLAINTEXT (postconf -P pickup/unix/milter_default_action=tempfail)"},
		{name: "tempfail by one service", set: map[string]string{"smtp/inet/milter_default_action": "tempfail"}, want: "ok: smtp/inet/milter_default_action = tempfail", not: "warning:"},
		{name: "no milters", set: map[string]string{"receive_override_options": "no_address_mappings, no_milters"}, want: "warning: receive_override_options has no_milters: NOTHING goes through the gateway"},
		{name: "no milters at one service", set: map[string]string{"127.0.0.1:10025/inet/receive_override_options": "no_milters"}, want: "warning: 127.0.0.1:10025/inet/receive_override_options has no_milters: what comes by 127.0.0.1:10025/inet does NOT go through the gateway"},
		{name: "other options", set: map[string]string{"receive_override_options": "no_address_mappings", "x/inet/receive_override_options": "no_header_body_checks"}, want: "ok: milter_default_action", not: "no_milters"},
		{name: "copies", set: map[string]string{"127.0.0.1:10026/inet/smtpd_milters": ""}, want: "ok: 127.0.0.1:10026: copies do not come back to the gateway", not: "warning:"},
		{name: "processes enough", set: map[string]string{"127.0.0.1:10026/inet/smtpd_milters": "", "127.0.0.1:10026/inet/process_limit": "110"}, want: "ok: 127.0.0.1:10026: copies do not", not: "warning:"},
		{name: "too few processes", set: map[string]string{"127.0.0.1:10026/inet/smtpd_milters": "", "127.0.0.1:10026/inet/process_limit": "100"},
			want: "warning: 127.0.0.1:10026/inet/process_limit = 100: a mail that needs more copies is deferred for ever, and limits.copies is 100 (postconf -F 127.0.0.1:10026/inet/process_limit=110)"},
		{name: "as few as all services", set: map[string]string{"127.0.0.1:10026/inet/smtpd_milters": "", "127.0.0.1:10026/inet/process_limit": "-", "default_process_limit": "50"},
			want: "warning: 127.0.0.1:10026/inet/process_limit = 50: "},
		{name: "copies, by a name", set: map[string]string{"localhost:10026/inet/smtpd_milters": "inet:127.0.0.1:8891"}, want: "ok: localhost:10026: copies do not come back", not: "warning:"},
		{name: "copies come back", set: map[string]string{"10026/inet/smtpd_milters": "unix:smimea/milter.sock"}, want: "warning: 10026/inet/smtpd_milters: copies come back to the gateway (postconf -P '10026/inet/smtpd_milters=', "},
		{name: "copies come back, and say so", set: map[string]string{"10026/inet/smtpd_milters": "unix:smimea/milter.sock", "10026/inet/milter_macro_daemon_name": "smimea-resubmit"},
			want: "ok: 10026: copies come back to the gateway, which passes them", not: "warning:"},
		{name: "everybody says so", set: map[string]string{"milter_macro_daemon_name": "smimea-resubmit"}, want: "warning: milter_macro_daemon_name = smimea-resubmit in main.cf: whatever programs"},
		{name: "another listener says so", set: map[string]string{"submission/inet/milter_macro_daemon_name": "smimea-resubmit"},
			want: "warning: submission/inet/milter_macro_daemon_name = smimea-resubmit: what programs of this machine send by submission passes the gateway UNSEEN"},
		{name: "copies come back, by main.cf", set: map[string]string{"127.0.0.1:10026/inet/smtpd_milters": none}, want: "warning: 127.0.0.1:10026: copies come back to the gateway (add -o smtpd_milters= "},
		{name: "copies come back by main.cf, and say so", set: map[string]string{"127.0.0.1:10026/inet/smtpd_milters": none, "127.0.0.1:10026/inet/milter_macro_daemon_name": "smimea-resubmit"},
			want: "ok: 127.0.0.1:10026: copies come back to the gateway, which passes them", not: "warning:"},
		{name: "aliases are forgotten", set: map[string]string{"enable_original_recipient": "no"}, want: "warning: enable_original_recipient = no: an alias and its target"},
		{name: "house not covered", set: map[string]string{"virtual_mailbox_domains": "other.test proxy:mysql:/etc/x.cf house.test", "relay_domains": ".third.test"}, want: "warning: Postfix's own domains other.test, .third.test (those named outright): no `never` rule covers them"},
	} {
		mta := make(map[string]string)
		for k, v := range good {
			mta[k] = v
		}
		for k, v := range tt.set {
			mta[k] = v
			if v == none {
				delete(mta, k)
			}
		}
		sockets := tt.sockets
		if sockets == nil {
			sockets = []string{socket}
		}
		var out bytes.Buffer
		r := report{w: &out, copies: "127.0.0.1:10026", most: 100}
		r.postfix(mta, sockets, rules)
		if !strings.Contains("\n"+out.String(), "\n"+tt.want) {
			t.Errorf("%s: no line %q in\n%s", tt.name, tt.want, out.String())
		}
		if tt.not != "" && strings.Contains(out.String(), tt.not) {
			t.Errorf("%s: %q in\n%s", tt.name, tt.not, out.String())
		}
		if r.failed {
			t.Errorf("%s: a warning has failed the check", tt.name)
		}
	}
}

// What the real postconf says of a Postfix whose services go their own ways.
func TestReadPostfix(t *testing.T) {
	judges.Find(t, "postconf")
	dir := t.TempDir()
	t.Setenv("MAIL_CONFIG", dir)
	for name, content := range map[string]string{
		"main.cf": "compatibility_level = 3.6\nmyhostname = mail.house.test\nmyorigin = " + dir + "/mailname\nreceive_override_options = no_address_mappings\n" +
			"virtual_alias_maps = inline:{ {a@b = c@d, e@f} } hash:$config_directory/virtual\n",
		"mailname": "house.test\n",
		"master.cf": "smtp inet n - y - - smtpd\n  -o smtpd_milters=\n  -o receive_override_options=no_milters\n" +
			"pickup unix n - y 60 1 pickup\n  -o milter_default_action=accept\n" +
			"cleanup unix n - y - 0 cleanup\n  -o always_bcc=archive@$mydomain\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	mta, err := readPostfix()
	if err != nil {
		t.Fatal(err)
	}
	for parameter, want := range map[string]string{
		"myorigin":                           "house.test",
		"mydestination":                      "mail.house.test, localhost.house.test, localhost",
		"receive_override_options":           "no_address_mappings",
		"virtual_alias_maps":                 "inline:{ {a@b = c@d, e@f} } hash:" + dir + "/virtual",
		"alias_maps":                         "hash:/etc/aliases, nis:mail.aliases",
		"always_bcc":                         "",
		"cleanup/unix/always_bcc":            "archive@house.test",
		"smtp/inet/smtpd_milters":            "",
		"smtp/inet/receive_override_options": "no_milters",
		"pickup/unix/milter_default_action":  "accept",
	} {
		if got, ok := mta[parameter]; !ok || got != want {
			t.Errorf("%s = %q, %v, want %q", parameter, got, ok, want)
		}
	}
}

func TestSocketFindings(t *testing.T) {
	dir := t.TempDir()
	at := func(name string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	taken := at("taken", 0o755)
	l, err := net.Listen("unix", filepath.Join(taken, "milter.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	file := at("file", 0o755)
	if err := os.WriteFile(filepath.Join(file, "milter.sock"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, spec, want string }{
		{"no directory", "unix:" + dir + "/missing/milter.sock", "error: socket " + dir + "/missing/milter.sock: there is no directory"},
		{"a file in its place", "unix:" + file + "/milter.sock", "error: socket " + file + "/milter.sock: something is there that is not a socket"},
		{"running", "unix:" + taken + "/milter.sock", "ok: socket " + taken + "/milter.sock: somebody answers there"},
		{"not setgid", "unix:" + at("plain", 0o750) + "/milter.sock", "warning: socket " + dir + "/plain/milter.sock: " + dir + "/plain is not setgid"},
		{"closed to its group", "unix:" + at("closed", 0o700|os.ModeSetgid) + "/milter.sock", "may not enter"},
		{"open to everybody", "unix:" + at("open", 0o777|os.ModeSetgid) + "/milter.sock", "everybody may put something else in its place"},
		{"loopback", "inet:127.0.0.1:8893", "ok: socket inet:127.0.0.1:8893"},
		{"not loopback", "inet:192.0.2.1:8893", "warning: socket inet:192.0.2.1:8893: everyone who reaches it"},
		{"everywhere", "inet:0.0.0.0:8893", "warning: socket inet:0.0.0.0:8893"},
	} {
		var out bytes.Buffer
		r := report{w: &out}
		r.socket(tt.spec)
		if !strings.Contains(out.String(), tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, out.String(), tt.want)
		}
	}
}

func TestUsage(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing.toml")
	for _, tt := range []struct {
		args        []string
		code        int
		out, errors string
	}{
		{[]string{"-version"}, 0, "smimea-milter ", ""},
		{[]string{"-help"}, 0, "", "-config FILE"},
		{[]string{"-nonsense"}, 2, "", "-nonsense"},
		{[]string{"serve"}, 2, "", `smimea-milter: error: unexpected argument "serve"`},
		{[]string{"-config", missing}, 1, "", "smimea-milter: hint: try: smimea-milter -check -config " + missing},
		{[]string{"-check", "-config", missing}, 1, "error: open " + missing, ""},
	} {
		var stdout, stderr bytes.Buffer
		if code := run(tt.args, &stdout, &stderr); code != tt.code {
			t.Errorf("%q: exit code %d, want %d", tt.args, code, tt.code)
		}
		if !strings.Contains(stdout.String(), tt.out) || !strings.Contains(stderr.String(), tt.errors) {
			t.Errorf("%q: %q and %q, want %q and %q", tt.args, stdout.String(), stderr.String(), tt.out, tt.errors)
		}
	}
}
