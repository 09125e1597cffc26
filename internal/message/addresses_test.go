package message

import (
	"net/mail"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestVisible(t *testing.T) {
	for name, test := range map[string]struct{ in, want string }{
		"none":                        {"From: alice@example.org\nSubject: bob@example.org\n", ""},
		"one":                         {"To: bob@example.org\n", "bob@example.org"},
		"in brackets":                 {"To: <bob@example.org>\n", "bob@example.org"},
		"with a name":                 {"To: Bob Builder <bob@example.org>\n", "bob@example.org"},
		"with a quoted name":          {`To: "Builder, Bob; <eve@example.org>" <bob@example.org>` + "\n", "bob@example.org"},
		"an address as a name":        {`To: "carol@example.org" <bob@example.org>` + "\n", "bob@example.org"},
		"an address in a comment":     {"To: bob@example.org (carol@example.org)\n", "bob@example.org"},
		"several":                     {"To: a@example.org, B <b@example.org>,c@example.org\n", "a@example.org b@example.org c@example.org"},
		"To and Cc, several times":    {"cc: a@example.org\nTO: b@example.org\nCc: c@example.org\nTo : d@example.org\n", "a@example.org b@example.org c@example.org d@example.org"},
		"neither Bcc nor others":      {"Bcc: a@example.org\nReply-To: b@example.org\nTo: c@example.org\n", "c@example.org"},
		"folds":                       {"To: a@example.org,\n\t\"B\n b\" <b@example.org>,\r\n c@example.org\n", "a@example.org b@example.org c@example.org"},
		"a group":                     {"To: friends: a@example.org, B <b@example.org>;, c@example.org\n", "a@example.org b@example.org c@example.org"},
		"an empty group":              {"To: undisclosed-recipients:;\n", ""},
		"empty":                       {"To: \nCc:\n", ""},
		"empty entries":               {"To: ,a@example.org,, ,b@example.org,\n", "a@example.org b@example.org"},
		"comments everywhere":         {"To: (a) B (b (c) \\) d) < (e) b (f) @ (g) example.org (h) > (i), (j) c@example.org (k)\n", "b@example.org c@example.org"},
		"quoted local part":           {`To: "b"@example.org, "b c"@example.org, "b\"\\@d"@example.org, ""@example.org` + "\n", `b@example.org "b c"@example.org "b\"\\@d"@example.org ""@example.org`},
		"dots that need quotes":       {"To: taro..yamada@example.jp, <taro.@example.jp>, \"x.\"@example.jp\n", `"taro..yamada"@example.jp "taro."@example.jp "x."@example.jp`},
		"obsolete local part":         {"To: bob . builder @ example . org, \"b\".c@example.org\n", "bob.builder@example.org b.c@example.org"},
		"source route":                {"To: <@relay.example,@b.example:bob@example.org>, <@a.example,,@b.example:c@example.org>\n", "bob@example.org c@example.org"},
		"address literal":             {"To: bob@[192.0.2.1], c@[IPv6:2001:db8::1]\n", "bob@[192.0.2.1] c@[IPv6:2001:db8::1]"},
		"RFC 2047":                    {"To: =?iso-2022-jp?B?GyRCOjRGIxsoQg==?= =?utf-8?q?_x?= <bob@example.org>\n", "bob@example.org"},
		"RFC 2047 in a comment":       {"To: bob@example.org (=?shift_jis?b?jbKToQ==?=)\n", "bob@example.org"},
		"a name in UTF-8":             {"To: 佐藤 <bob@example.org>\n", "bob@example.org"},
		"a name in Latin-1":           {"To: J\xfcrgen <bob@example.org>\n", "bob@example.org"},
		"an address in UTF-8":         {"To: 佐藤@例え.example, <é@example.org>\n", "佐藤@例え.example é@example.org"},
		"dots in a name":              {"To: Bob B. Builder Jr. <bob@example.org>\n", "bob@example.org"},
		"many signs in a local part":  {"To: !#$%&'*+-/=?^_`{|}~@example.org\n", "!#$%&'*+-/=?^_`{|}~@example.org"},
		"case as it is":               {"To: Bob@Example.ORG\n", "Bob@Example.ORG"},
		"a group in several fields":   {"To: a: b@example.org;\nCc: c: d@example.org;\n", "b@example.org d@example.org"},
		"a comment behind a group":    {"To: a: b@example.org; (c)\n", "b@example.org"},
		"a name of a group in quotes": {"To: \"a, b\" c: d@example.org;\n", "d@example.org"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := mustRead(t, test.in).Visible()
			if err != nil || strings.Join(got, " ") != test.want {
				t.Errorf("Visible = %q, %v; want %s", got, err, test.want)
			}
		})
	}
}

// What cannot be read for certain shows nobody.
func TestVisibleErrors(t *testing.T) {
	for name, value := range map[string]string{
		"a name alone":                 "Bob",
		"two addresses without comma":  "a@example.org b@example.org",
		"brackets behind an address":   "a@example.org <b@example.org>",
		"a name without quotes":        "Builder, Bob <bob@example.org>",
		"no domain":                    "bob@",
		"no local part":                "@example.org",
		"two at signs":                 "bob@example.org@example.net",
		"open bracket":                 "Bob <bob@example.org",
		"empty brackets":               "<>",
		"a bracket too many":           "bob@example.org>",
		"open quote":                   `"Bob <bob@example.org>`,
		"quote that ends in backslash": `"Bob\`,
		"open comment":                 "bob@example.org (Bob",
		"comment with a backslash":     `bob@example.org (Bob\`,
		"comment that never began":     "bob@example.org)",
		"open group":                   "a: b@example.org",
		"group in a group":             "a: b: c@example.org;;",
		"group without a name":         ": b@example.org;",
		"semicolons between":           "a@example.org; b@example.org",
		"open route":                   "<@a.example bob@example.org>",
		"domain in quotes":             `bob@"example.org"`,
		"bad literal":                  "bob@[a b]",
		"open literal":                 "bob@[192.0.2.1",
		"words before the at sign":     "bob builder@example.org",
		"control character":            "bob\x07@example.org",
		"control character in quotes":  "\"b\x00\"@example.org",
		"ISO-2022-JP without RFC 2047": "\x1b$B:4F#\x1b(B <bob@example.org>",
		"CR":                           "bob@example.org\r, c@example.org",
	} {
		t.Run(name, func(t *testing.T) {
			h := Header{{"Cc", " fine@example.org"}, {"To", value}}
			got, err := h.Visible()
			if err == nil || got != nil || !strings.HasPrefix(err.Error(), "reading the addresses in To: ") {
				t.Errorf("Visible = %q, %v", got, err)
			}
		})
	}
}

// Each takes well under a second, also with the race detector.
func TestVisibleTakesLinearTime(t *testing.T) {
	const n = 1 << 20
	for name, value := range map[string]string{
		"addresses":     strings.Repeat("B <bob@example.org>,", n/20),
		"commas":        strings.Repeat(",", n),
		"words":         strings.Repeat("a ", n/2),
		"dots":          strings.Repeat("a. ", n/3) + "b@example.org",
		"domains":       "b@" + strings.Repeat("a. ", n/3) + "a",
		"open comments": strings.Repeat("(", n),
		"comments":      strings.Repeat("()", n/2),
		"open quotes":   strings.Repeat(`"a`, n/2) + `"`,
		"routes":        "<" + strings.Repeat("@a,", n/3),
		"groups":        strings.Repeat("a:;", n/3),
		"literals":      strings.Repeat("a@[", n/3),
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			Header{{"To", value}}.Visible()
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
}

func FuzzVisible(f *testing.F) {
	for _, seed := range []string{
		`"a b" <c@d>, e: f@g, "h\"i"@[j];, (k(l)) m . n @ o`, "<@a,@b:c@d>", "=?utf-8?q?a?= <b@c>", "\"\\", "(", "a@b\r\n\tc",
		"taro..yamada@example.jp", "佐藤@例え.example", ",,", "a:;",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		got, err := Header{{"To", value}}.Visible()
		if err != nil {
			if got != nil {
				t.Errorf("%q with %v", got, err)
			}
			return
		}
		again, err := Header{{"To", strings.Join(got, ", ")}}.Visible()
		if err != nil || !slices.Equal(again, got) {
			t.Errorf("%q became %q, %v", got, again, err)
		}
		compareWithStd(t, value, got)
	})
}

// compareWithStd: what the standard library can read, it reads alike.
func compareWithStd(t *testing.T, value string, got []string) {
	list, err := (&mail.AddressParser{}).ParseList(value)
	if err != nil {
		return
	}
	var want []string
	for _, a := range list {
		at := strings.LastIndex(a.Address, "@")
		want = append(want, mailbox{a.Address[:at], a.Address[at+1:]}.String())
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q: %q, but net/mail has %q", value, got, want)
	}
}
