package smimea

import (
	"errors"
	"strings"
	"testing"
)

// First labels, computed apart from this package. The first is RFC 8162's own
// (Section 3).
const (
	hugh     = "c93f1e400f26708f98cb19d936620da35eec8f72e57f9eec01c1afd6"
	userName = "c69f268fb43e3b0bd46436177505f548fe105ce296445b5ba5a428f1"
	eAcute   = "4a99557e4033c3539de2eb65472017cad5f9557f7a0625a09f1c3f6e"
	ga       = "e3b21956ce958d2599e4e122f5395b8bb776552bd4ceae0c6bec80e4"
	wideA    = "3075754175ec49df8c22100b30492f82cc292199f9d349cf43b1cb4c"
	dotted   = "336e17681c32ec62c875a65f198d91dc5d18599fac2c550e0a8a33cc"
	trailing = "d2dbac85c5db5e7dc944445dc0549ca34190e72f10e4f1dbe6a2a342"
	aSpaceB  = "c8687a08aa5d6ed2044328fa6a697ab8e96dc34291e8c2034ae8c38e"
	alice    = "2bd806c97f0e00af1a1fc3328fa763a9269723c8db8fac4f93af71db"
)

func TestOwnerName(t *testing.T) {
	for _, test := range []struct{ name, address, label, domain string }{
		{"the RFC's example", `hugh@example.com`, hugh, "example.com"},
		{"alice", `alice@example.org`, alice, "example.org"},
		{"quotes are removed", `"hugh"@example.com`, hugh, "example.com"},
		{"backslashes in quotes are removed", `"hu\gh"@example.com`, hugh, "example.com"},
		{"backslashes without quotes too", `hu\gh@example.com`, hugh, "example.com"},
		{"case is kept", `Hugh@example.com`, "7063a398942ba5c6125429518d0608563f3974bb48013ddf58fb01d4", "example.com"},
		{"tags are kept", `hugh+tag@example.com`, "e31dd5362720a0ede7e9ce557e5e9a61861560a6b2d63a8fc4d1417b", "example.com"},
		{"dots are kept", `user.name@example.com`, userName, "example.com"},
		{"comments and blanks at dots are removed", `user(c) . name@example.com`, userName, "example.com"},
		{"nested comments", `(a(b\)c)d) user . (x) name (@) @ (y) example . com (z)`, userName, "example.com"},
		{"words of both kinds", `user."name"@example.com`, userName, "example.com"},
		{"a blank in quotes", `"a b"@example.com`, aSpaceB, "example.com"},
		{"kanji", `佐藤@example.com`, "37585d0da5730cdd01ee132f596f9796990b1f92f4d387ed32fc4c58", "example.com"},
		{"composed", "\u00e9@example.com", eAcute, "example.com"},
		{"decomposed is put into NFC", "e\u0301@example.com", eAcute, "example.com"},
		{"kana with its mark", "\u304c@example.com", ga, "example.com"},
		{"kana and mark are put into NFC", "\u304b\u3099@example.com", ga, "example.com"},
		{"full width is not folded: not NFKC", "\uff21@example.com", wideA, "example.com"},
		{"doubled dots in quotes", `"taro..yamada"@example.com`, dotted, "example.com"},
		{"doubled dots as they are", `taro..yamada@example.com`, dotted, "example.com"},
		{"trailing dot in quotes", `"taro."@example.com`, trailing, "example.com"},
		{"trailing dot as it is", `taro.@example.com`, trailing, "example.com"},
		{"domain in capitals", `hugh@EXAMPLE.Com`, hugh, "example.com"},
		{"domain with its final dot", `hugh@example.com.`, hugh, "example.com"},
		{"domain in Japanese", `hugh@例え.テスト`, hugh, "xn--r8jz45g.xn--zckzah"},
		{"domain in A-labels", `hugh@XN--r8jz45g.xn--zckzah`, hugh, "xn--r8jz45g.xn--zckzah"},
		{"domain in full width", `hugh@ｅｘａｍｐｌｅ。ｃｏｍ`, hugh, "example.com"},
		{"sharp s is a letter of its own", `hugh@straße.example`, hugh, "xn--strae-oqa.example"},
		{"underscore in the domain", `hugh@my_host.example.com`, hugh, "my_host.example.com"},
		{"source route", `@one.test,@two.test:hugh@example.com`, hugh, "example.com"},
	} {
		got, err := OwnerName(test.address)
		if want := test.label + "._smimecert." + test.domain + "."; err != nil || got != want {
			t.Errorf("%s: OwnerName(%q) = %q, %v, want %q", test.name, test.address, got, err, want)
		}
	}
}

func TestWhatNormalisationMustNotDo(t *testing.T) {
	for address, wrong := range map[string]string{
		"e\u0301@example.com":      "bf12767b0f2a56b2190075bae8169f656e3ce8d6357d4aff184bc6c7",
		"\u304b\u3099@example.com": "f62b28f746dd75126c7aa8a11b16c2f6e18ecdfc6d62b8488b8e8637",
		"\uff21@example.com":       "559aead08264d5795d3909718cdd05abd49572e84fe55590eef31a88",
	} {
		got, err := OwnerName(address)
		if err != nil || strings.HasPrefix(got, wrong) {
			t.Errorf("OwnerName(%q) = %q, %v", address, got, err)
		}
	}
}

func TestAddressesWithoutOwnerName(t *testing.T) {
	for _, test := range []struct {
		name, address string
		want          error
	}{
		{"no @", `alice`, ErrSyntax},
		{"empty", ``, ErrSyntax},
		{"no local part", `@example.org`, ErrSyntax},
		{"only a comment as local part", `(x)@example.org`, ErrSyntax},
		{"no domain", `alice@`, ErrSyntax},
		{"only a dot as domain", `alice@.`, ErrSyntax},
		{"doubled dot in the domain", `alice@example..org`, ErrSyntax},
		{"dot before the domain", `alice@.example.org`, ErrSyntax},
		{"two final dots", `alice@example.org..`, ErrSyntax},
		{"two words", `alice cooper@example.org`, ErrSyntax},
		{"atom beside quotes", `alice"x"@example.org`, ErrSyntax},
		{"two words in the domain", `alice@example org`, ErrSyntax},
		{"quotes in the domain", `alice@"example.org"`, ErrSyntax},
		{"quotes without end", `"alice@example.org`, ErrSyntax},
		{"quotes that end in a backslash", `"alice\`, ErrSyntax},
		{"comment without end", `alice(@example.org`, ErrSyntax},
		{"comment that ends in a backslash", `alice(\`, ErrSyntax},
		{"backslash at the end", `alice@example.org\`, ErrSyntax},
		{"comment without beginning", `alice)@example.org`, ErrSyntax},
		{"angle brackets", `<alice@example.org>`, ErrSyntax},
		{"two addresses", `alice@example.org,bob@example.org`, ErrSyntax},
		{"source route without colon", `@one.test,alice`, ErrSyntax},
		{"source route without address", `@one.test:`, ErrSyntax},
		{"NUL", "al\x00ice@example.org", ErrSyntax},
		{"line end", "alice@example.org\r\nRCPT TO:<bob@example.org>", ErrSyntax},
		{"DEL", "alice\x7f@example.org", ErrSyntax},
		{"C1 control character", "alice\u0085@example.org", ErrSyntax},
		{"tab in quotes", "\"a\tb\"@example.org", ErrSyntax},
		{"NUL in quotes behind a backslash", "\"a\\\x00b\"@example.org", ErrSyntax},
		{"broken UTF-8", "al\xffice@example.org", ErrSyntax},
		{"ISO-2022-JP", "\x1b$B:4F#\x1b(B@example.org", ErrSyntax},
		{"blank in the domain", `alice@exam\ ple.org`, ErrSyntax},
		{"slash in the domain", `alice@example.org/x`, ErrSyntax},
		{"broken A-label from U-label", "alice@a\u200d.example", ErrSyntax},
		{"IPv4 literal", `alice@[192.0.2.1]`, ErrLiteral},
		{"IPv6 literal", `alice@[IPv6:2001:db8::1]`, ErrLiteral},
		{"literal without end", `alice@[192.0.2.1`, ErrSyntax},
		{"something behind a literal", `alice@[192.0.2.1]x`, ErrSyntax},
		{"label of 64 octets", `alice@` + strings.Repeat("a", 64) + `.org`, ErrTooLong},
		{"domain of 256 octets", `alice@` + strings.Repeat("a.", 127) + `aa`, ErrTooLong},
		{"owner name of 256 octets", `alice@` + strings.Repeat("a.", 92) + "aa", ErrTooLong},
		{"address of 1001 octets", strings.Repeat("a", 1001-len("@example.org")) + "@example.org", ErrTooLong},
	} {
		got, err := OwnerName(test.address)
		if !errors.Is(err, test.want) || got != "" {
			t.Errorf("%s: OwnerName(%q) = %q, %v, want %v", test.name, test.address, got, err, test.want)
		}
	}
}

func TestLongestOwnerName(t *testing.T) {
	// 255 octets on the wire: 57 and 11 of prefix, 186 of domain, 1 of the root.
	domain := strings.Repeat("a.", 91) + "aaa"
	name, err := OwnerName("alice@" + domain)
	if err != nil || len(name) != 254 {
		t.Errorf("OwnerName with a domain of %d octets = %d octets, %v", len(domain), len(name), err)
	}
}

func TestRouted(t *testing.T) {
	for _, test := range []struct {
		address string
		want    bool
	}{
		{`alice@example.org`, false},
		{`alice@[192.0.2.1]`, false},
		{`alice%example.net@example.org`, true},
		{`example.net!alice@example.org`, true},
		{`alice@example.net@example.org`, true},
		{`"alice@example.net"@example.org`, true},
		{`alice\@example.net@example.org`, true},
		{`"alice%example.net"@example.org`, true},
		{`@one.test:alice@example.org`, true},
		{` (x) @one.test , @two.test : alice@example.org`, true},
		{`alice(@example.net)@example.org`, false},
	} {
		a, err := ParseAddress(test.address)
		if err != nil || a.Routed != test.want {
			t.Errorf("ParseAddress(%q) = %+v, %v, want routed %v", test.address, a, err, test.want)
		}
	}
}

func TestAddressString(t *testing.T) {
	for _, test := range []struct{ address, want string }{
		{`Alice@Example.ORG.`, `Alice@example.org`},
		{`"alice"@example.org`, `alice@example.org`},
		{`"a b"@example.org`, `"a b"@example.org`},
		{`"a\"\\b"@example.org`, `"a\"\\b"@example.org`},
		{`taro..yamada.@example.org`, `taro..yamada.@example.org`},
		{`a@b@example.org`, `"a@b"@example.org`},
		{`""@example.org`, `""@example.org`},
		{`佐藤@例え.テスト`, `佐藤@xn--r8jz45g.xn--zckzah`},
		{`alice@[192.0.2.1]`, `alice@[192.0.2.1]`},
	} {
		a, err := ParseAddress(test.address)
		if err != nil || a.String() != test.want {
			t.Errorf("ParseAddress(%q).String() = %q, %v, want %q", test.address, a.String(), err, test.want)
		}
	}
}

func TestDomainAsGiven(t *testing.T) {
	a, err := ParseAddress(`佐藤@(x)例え.テスト`)
	if err != nil || a.Local != "佐藤" || a.Domain != "例え.テスト" || a.ASCIIDomain != "xn--r8jz45g.xn--zckzah" {
		t.Errorf("ParseAddress = %+v, %v", a, err)
	}
}

func FuzzParseAddress(f *testing.F) {
	for _, s := range []string{
		`alice@example.org`, `"a\"b"@c.test`, `@a,@b:c@d`, `(a(b))c . d@[1.2.3.4]`,
		`佐藤@例え.テスト`, "e\u0301@a", `a@b@c`, `""@x`, `\@@x`, "a@b\u3002c",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := ParseAddress(s)
		if err != nil {
			if a != (Address{}) {
				t.Errorf("ParseAddress(%q) = %+v beside %v", s, a, err)
			}
			return
		}
		owner, err := a.Owner()
		if err == nil && (len(owner) > 254 || owner[len(owner)-1] != '.') {
			t.Errorf("owner name %q", owner)
		}
		again, err := ParseAddress(a.String())
		if errors.Is(err, ErrTooLong) {
			return // quoting and A-labels take room
		}
		if err != nil {
			t.Fatalf("%q, out of %q, cannot be read: %v", a.String(), s, err)
		}
		if again.Local != a.Local || again.ASCIIDomain != a.ASCIIDomain || (a.ASCIIDomain == "" && again.Domain != a.Domain) {
			t.Errorf("%q is %+v, and %q is %+v", s, a, a.String(), again)
		}
	})
}
