package gateway

import (
	"strings"
	"testing"
)

// Whoever wrote the address, what is sent back is one line.
func TestRepliesAreOneLineOfASCII(t *testing.T) {
	hostile := []string{
		"", "bob@example.net", "bob%example.org@example.net", `"<>\"@example.net`,
		"b\r\n250 ok\x00\x1b[31m@example.net", "jürgen@bücher.example", "\xff\xfe",
		strings.Repeat("a", 1000) + "@example.net", strings.Repeat("ü", 1000),
	}
	replies := []Reply{accepted, outOfOrder, noRoom, noMemory, tooLong, tooMuch, notSealed, notSplit, onItsWay, tooLate, longHeader, strayBlank,
		sendSeparately(hostile), unreadable(hostile), tooManyCopies(1_000_000, 1000), notMarked(hostile, Mark{"X-" + strings.Repeat("a", 1000), "off"})}
	var fates []Fate
	for _, address := range hostile {
		for _, reply := range []func(string) Reply{
			badAddress, routedAddress, noCertificate, unusable, tooWeak, noDomain, takesNoMail, bogus, notFoundOut, noRule,
			anotherFate, anotherForm, tooMany, TooSlow,
		} {
			r := reply(address)
			replies = append(replies, r, forGood(r))
			fates = append(fates, Fate{Address: address, Reply: r})
		}
		replies = append(replies, worst(fates))
	}
	for _, r := range replies {
		if len(r.Text) > maxLine || r.Text == "" {
			t.Errorf("%d octets: %s", len(r.Text), r.Text)
		}
		if strings.ContainsFunc(r.Text, func(c rune) bool { return c < ' ' || c > '~' }) {
			t.Errorf("not printable: %q", r.Text)
		}
		// RFC 2034, Section 4.
		if r.Status[:2] != string(rune('0'+r.Code/100))+"." {
			t.Errorf("code %d with status %s", r.Code, r.Status)
		}
		if want := map[int]Action{2: Accept, 4: Defer, 5: Refuse}[r.Code/100]; r.Action != want {
			t.Errorf("code %d with action %d", r.Code, r.Action)
		}
	}
}

// With an address of usual length no text is cut off.
func TestRepliesAreWhole(t *testing.T) {
	address := strings.Repeat("a", 40) + "@" + strings.Repeat("b", 40) + ".example"
	for _, reply := range []func(string) Reply{
		badAddress, routedAddress, noCertificate, unusable, tooWeak, noDomain, takesNoMail, bogus, notFoundOut, noRule,
		anotherFate, anotherForm, tooMany, TooSlow,
	} {
		if text := reply(address).Text; strings.HasSuffix(text, ellipsis) || !strings.Contains(text, "<"+address+">") {
			t.Errorf("cut off: %s", text)
		}
	}
}

func TestShown(t *testing.T) {
	for _, test := range []struct{ name, address, want string }{
		{"as it is", "bob@example.net", "<bob@example.net>"},
		{"quoted local part", `"bob smith"@example.net`, `<"bob smith"@example.net>`},
		{"percent", "bob%x@example.net", "<bob%x@example.net>"},
		{"UTF-8", "ü@example.net", `<\xc3\xbc@example.net>`},
		{"line end", "bob\r\n@example.net", `<bob\x0d\x0a@example.net>`},
		{"bracket", "a>b@example.net", `<a\x3eb@example.net>`},
		{"long", strings.Repeat("a", 200), "<" + strings.Repeat("a", 94) + "...>"},
	} {
		if got := shown(test.address); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
}

func TestWorst(t *testing.T) {
	good := Fate{Address: "alice@example.org", Reply: accepted}
	later := Fate{Address: "bob@example.net", Reply: bogus("bob@example.net")}
	no := Fate{Address: "carol@example.com", Reply: noCertificate("carol@example.com")}
	for _, test := range []struct {
		name  string
		fates []Fate
		codes string
		text  string
	}{
		{"all good", []Fate{good, good}, "250 2.1.5", "ok"},
		{"one, deferred", []Fate{later}, "451 4.7.5", "repair its DNS"},
		{"one of two", []Fate{good, no}, "550 5.7.5", "nothing was sent to the other recipients either"},
		{"a refusal first", []Fate{later, good, no}, "550 5.7.5", "not only for this recipient: <bob@example.net>"},
		{"a refusal first, whatever the order", []Fate{no, later}, "550 5.7.5", "not only for this recipient: <bob@example.net>"},
	} {
		got := worst(test.fates)
		if codes(got) != test.codes || !strings.Contains(got.Text, test.text) {
			t.Errorf("%s: %s %s", test.name, codes(got), got.Text)
		}
	}
}
