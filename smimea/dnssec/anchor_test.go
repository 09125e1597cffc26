package dnssec

import (
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
)

const (
	ksk2017 = ". IN DS 20326 8 2 E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D"
	ksk2024 = ". IN DS 38696 8 2 683D2D0ACB8C9B712A1948B27F741219298D0A450D612C483AF444A4C0FB2B16"

	// KSK-2017 itself, as Unbound keeps it.
	ksk2017Key = `. 172800 IN DNSKEY 257 3 8 AwEAAaz/tAm8yTn4Mfeh5eyI96WSVexTBAvkMgJzkKTOiW1vkIbzxeF3+/4RgWOq7HrxRixHlFlExOLAJr5emLvN7SWXgnLh4+B5xQlNVz8Og8kvArMtNROxVQuCaSnIDdD5LKyWbRd2n9WGe2R8PzgCmr3EgVLrjyBxWezF0jLHwVN8efS3rCj/EWgvIWgb9tarpVUDK/b58Da+sqqls3eNbuv7pr+eoZG+SrDK6nWeL3c6H5Apxz7LjVc1uTIdsIXxuOLYA4/ilBmSVIzuDWfdRUfhHdY6+cn8HFRm+2hM8AnXGXws9555KrUB5qihylGa8subX2Nn6UwNR1AkUTV74bU= ;{id = 20326 (ksk), size = 2048b} ;;state=2 [  VALID  ] ;;count=0`
)

func TestParseAnchors(t *testing.T) {
	builtin := BuiltinAnchors()
	for _, c := range []struct {
		what, in string
		want     []Anchor
	}{
		{"Debian's root.ds", ksk2017 + "\n" + ksk2024 + "\n", builtin},
		{"comments, a TTL, lines with two ends", "; the root\r\n\r\n. 3600 IN DS 20326 8 2 (\r\n" + strings.Fields(ksk2017)[6] + " ) ; KSK-2017\r\n", builtin[:1]},
		{"Unbound's root.key", "; autotrust trust anchor file\n;;id: . 1\n;;last_queried: 0 ;;Thu Jan  1 00:00:00 1970\n" + ksk2017Key + "\n", builtin[:1]},
		{"no line end", ksk2017, builtin[:1]},
		{"a zone of one's own", "Corp.Example. IN DS 1 13 2 " + strings.Repeat("ab", 32),
			[]Anchor{{"corp.example.", 1, 13, 2, []byte(strings.Repeat("\xab", 32))}}},
	} {
		if got, err := ParseAnchors(strings.NewReader(c.in)); err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %v, %v", c.what, got, err)
		}
	}
	for _, c := range []struct{ what, in, why string }{
		{"nothing", "", "there is no DS"},
		{"only comments", "; nothing yet\n", "there is no DS"},
		{"IANA's XML", `<?xml version="1.0" encoding="UTF-8"?><TrustAnchor id="x">`, "root-anchors.xml is not read"},
		{"XML after a byte order mark", "\ufeff<TrustAnchor>", "root-anchors.xml is not read"},
		{"another type", ". IN A 192.0.2.1", "no DS record"},
		{"a zone-signing key", strings.Replace(ksk2017Key, "257 3", "256 3", 1), "no DS record"},
		{"a revoked key", strings.Replace(ksk2017Key, "257 3", "385 3", 1), "no DS record"},
		{"another class", strings.Replace(ksk2017, "IN", "CH", 1), "malformed"},
		{"a digest that is no hex", ". IN DS 1 8 2 xyz", "trust anchor"},
		{"another file included", "$INCLUDE /etc/passwd", "trust anchors"},
		{"a thousand", strings.Repeat(ksk2017+"\n", 1000), "more than 256"},
		{"two megabytes", strings.Repeat("; comment\n", 200000), "more than 1 MB"},
	} {
		if got, err := ParseAnchors(strings.NewReader(c.in)); err == nil || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: %v, %v, want %q", c.what, got, err, c.why)
		}
	}
}

// What is built in is what Debian has in dns-root-data.
func TestBuiltinAnchors(t *testing.T) {
	in, err := ParseAnchors(strings.NewReader(ksk2017 + "\n" + ksk2024))
	if err != nil || !reflect.DeepEqual(in, BuiltinAnchors()) {
		t.Errorf("%v, %v", in, err)
	}
	debian, err := os.Open("/usr/share/dns/root.ds")
	if err != nil {
		return // not a Debian with dns-root-data
	}
	defer debian.Close()
	theirs, err := ParseAnchors(debian)
	if err != nil {
		t.Fatal(err)
	}
	ours := fmt.Sprint(BuiltinAnchors())
	for _, a := range theirs {
		if !strings.Contains(ours, strings.Trim(fmt.Sprint(a), "{}")) {
			t.Errorf("Debian has another key of the root: %v", a)
		}
	}
}

// Anchors that are not understood would make a zone count as unsigned.
func TestUnusableAnchors(t *testing.T) {
	good := BuiltinAnchors()[0]
	for _, c := range []struct {
		what   string
		change func(a *Anchor)
	}{
		{"SHA-1", func(a *Anchor) { a.DigestType, a.Digest = 1, a.Digest[:20] }},
		{"an unknown digest", func(a *Anchor) { a.DigestType = 99 }},
		{"an unknown algorithm", func(a *Anchor) { a.Algorithm = 5 }},
		{"a digest too short", func(a *Anchor) { a.Digest = a.Digest[:31] }},
		{"no digest", func(a *Anchor) { a.Digest = nil }},
		{"a name that is none", func(a *Anchor) { a.Zone = "a..b" }},
	} {
		bad := good
		c.change(&bad)
		if _, err := New(Options{Servers: []string{"192.0.2.53"}, Anchors: []Anchor{bad}}); err == nil {
			t.Errorf("%s: is an anchor", c.what)
		}
		bad.Zone = "."
		if _, err := New(Options{Servers: []string{"192.0.2.53"}, Anchors: []Anchor{bad, good}}); err != nil {
			t.Errorf("%s: beside a good one: %v", c.what, err)
		}
	}
	if _, err := New(Options{Servers: []string{"192.0.2.53"}, Anchors: []Anchor{}}); err == nil {
		t.Error("no anchor at all")
	}
}

func FuzzParseAnchors(f *testing.F) {
	f.Add(ksk2017)
	f.Add(ksk2017Key)
	f.Add("<xml>")
	f.Fuzz(func(t *testing.T, s string) {
		anchors, err := ParseAnchors(strings.NewReader(s))
		if (err == nil) != (len(anchors) > 0) {
			t.Errorf("%d anchors, %v", len(anchors), err)
		}
	})
}
