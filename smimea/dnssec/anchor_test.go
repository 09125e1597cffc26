package dnssec

import (
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
)

const (
	ksk2017 = ". IN DS 20326 8 2 E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D"
	ksk2024 = ". IN DS 38696 8 2 683D2D0ACB8C9B712A1948B27F741219298D0A450D612C483AF444A4C0FB2B16"

	// KSK-2017 itself, as Unbound keeps it.
	ksk2017Key = `. 172800 IN DNSKEY 257 3 8 AwEAAaz/tAm8yTn4Mfeh5eyI96WSVexTBAvkMgJzkKTOiW1vkIbzxeF3+/4RgWOq7HrxRixHlFlExOLAJr5emLvN7SWXgnLh4+B5xQlNVz8Og8kvArMtNROxVQuCaSnIDdD5LKyWbRd2n9WGe2R8PzgCmr3EgVLrjyBxWezF0jLHwVN8efS3rCj/EWgvIWgb9tarpVUDK/b58Da+sqqls3eNbuv7pr+eoZG+SrDK6nWeL3c6H5Apxz7LjVc1uTIdsIXxuOLYA4/ilBmSVIzuDWfdRUfhHdY6+cn8HFRm+2hM8AnXGXws9555KrUB5qihylGa8subX2Nn6UwNR1AkUTV74bU= ;{id = 20326 (ksk), size = 2048b} ;;state=2 [  VALID  ] ;;count=0`

	// KSK-2024 itself, as Debian keeps it.
	ksk2024Key = `. IN DNSKEY 257 3 8 AwEAAa96jeuknZlaeSrvyAJj6ZHv28hhOKkx3rLGXVaC6rXTsDc449/cidltpkyGwCJNnOAlFNKF2jBosZBU5eeHspaQWOmOElZsjICMQMC3aeHbGiShvZsx4wMYSjH8e7Vrhbu6irwCzVBApESjbUdpWWmEnhathWu1jo+siFUiRAAxm9qyJNg/wOZqqzL/dL/q8PkcRU5oUKEpUge71M3ej2/7CPqpdVwuMoTvoB+ZOT4YeGyxMvHmbrxlFzGOHOijtzN+u1TQNatX2XBuzZNQ1K+s2CXkPIZo7s6JgZyvaBevYtxPvYLw4z9mR7K2vaF18UYH9Z9GNUUeayffKC73PYc= ; keytag 38696`
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
			[]Anchor{{Zone: "corp.example.", KeyTag: 1, Algorithm: 13, DigestType: 2, Digest: []byte(strings.Repeat("\xab", 32))}}},
	} {
		if got, err := ParseAnchors(strings.NewReader(c.in)); err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %v, %v", c.what, got, err)
		}
	}
	for _, c := range []struct{ what, in, why string }{
		{"nothing", "", "there is no DS"},
		{"only comments", "; nothing yet\n", "there is no DS"},
		{"another type", ". IN A 192.0.2.1", "no DS record"},
		{"a zone-signing key", strings.Replace(ksk2017Key, "257 3", "256 3", 1), "no DS record"},
		{"a revoked key", strings.Replace(ksk2017Key, "257 3", "385 3", 1), "there is no DS and no DNSKEY"},
		{"a key that waits", strings.Replace(ksk2017Key, ";;state=2", ";;state=1", 1), "there is no DS and no DNSKEY"},
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

// What is built in is what Debian has in dns-root-data: root.ds holds digests,
// root.key the keys themselves. The two files are written down here, and where
// they are installed, those count as well.
func TestBuiltinAnchors(t *testing.T) {
	for file, copied := range map[string]string{
		"/usr/share/dns/root.ds":  ksk2017 + "\n" + ksk2024 + "\n",
		"/usr/share/dns/root.key": ksk2017Key + "\n" + ksk2024Key + "\n",
	} {
		sameAsBuiltin(t, "our copy of "+file, copied)
		if installed, err := os.ReadFile(file); err == nil {
			sameAsBuiltin(t, file, string(installed))
		}
	}
}

// A key that Debian has dropped may stay built in; one that it has must be.
func sameAsBuiltin(t *testing.T, what, content string) {
	t.Helper()
	theirs, err := ParseAnchors(strings.NewReader(content))
	if err != nil {
		t.Errorf("%s: %v", what, err)
	}
	for _, a := range theirs {
		if !slices.ContainsFunc(BuiltinAnchors(), func(ours Anchor) bool { return reflect.DeepEqual(ours, a) }) {
			t.Errorf("%s has another key of the root: %v", what, a)
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

// An anchor of root.ds or root.key reads, and what is read makes a validator or
// an error, and never one that believes everything.
func FuzzParseAnchors(f *testing.F) {
	for _, s := range []string{ksk2017, ksk2017Key, ksk2024Key, "<xml>", ianaXML, billionLaughs} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		anchors, err := ParseAnchors(strings.NewReader(s))
		if (err == nil) != (len(anchors) > 0) {
			t.Errorf("%d anchors, %v", len(anchors), err)
		}
		v, err := newAnchors(anchors, noon)
		for zone := range v {
			if valid, _, _ := v.at(zone, noon); len(valid) == 0 {
				t.Errorf("%s has anchors, and none counts", zone)
			}
		}
		if (err == nil) != (len(v) > 0) {
			t.Errorf("%d zones, %v", len(v), err)
		}
	})
}
