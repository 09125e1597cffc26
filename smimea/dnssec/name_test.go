package dnssec

import (
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

func TestParseName(t *testing.T) {
	long := strings.Repeat("a.", 127)
	for _, c := range []struct{ in, want string }{
		{"example.org", "example.org."},
		{"Example.ORG.", "example.org."},
		{".", "."},
		{`a\.b.test`, `a\.b.test.`},
		{`a\046b.test`, `a\.b.test.`},
		{`\065.test`, "a.test."},
		{`a b.test`, `a\032b.test.`},
		{"\u00e4.test", `\195\164.test.`},
		{`\@\(.test`, `\@\(.test.`},
		{"*.test", "*.test."},
		{"_smimecert.example.org", "_smimecert.example.org."},
		{strings.Repeat("a", 63) + ".test", strings.Repeat("a", 63) + ".test."},
		{long, long}, // 254 octets and the root's
	} {
		got, err := ParseName(c.in)
		if err != nil || got != c.want {
			t.Errorf("ParseName(%q) = %q, %v, want %q", c.in, got, err, c.want)
		}
		if _, ok := dns.IsDomainName(got); !ok {
			t.Errorf("%q is none for the library", got)
		}
	}
	for _, c := range []struct {
		in  string
		err error
	}{
		{"", errEmptyLabel},
		{"..", errEmptyLabel},
		{".test", errEmptyLabel},
		{"a..test", errEmptyLabel},
		{"test..", errEmptyLabel},
		{strings.Repeat("a", 64) + ".test", errLongLabel},
		{long + "b", errLongName},
		{`a\`, errEscape},
		{`a\1`, errEscape},
		{`a\12`, errEscape},
		{`a\1x2`, errEscape},
		{`a\256.test`, errEscape},
	} {
		if got, err := ParseName(c.in); err != c.err || got != "" {
			t.Errorf("ParseName(%q) = %q, %v, want %v", c.in, got, err, c.err)
		}
	}
}

// Names end alike as text, and are not related.
func TestIn(t *testing.T) {
	for _, c := range []struct {
		n, zone string
		want    bool
	}{
		{"good.test.", "good.test.", true},
		{"mail.good.test.", "good.test.", true},
		{"mail.good.test.", ".", true},
		{".", ".", true},
		{"notgood.test.", "good.test.", false},
		{`not\.good.test.`, "good.test.", false},
		{"test.", "good.test.", false},
		{".", "test.", false},
		{"good.test.evil.", "good.test.", false},
	} {
		if got := must(c.n).in(must(c.zone)); got != c.want {
			t.Errorf("%s in %s: %t", c.n, c.zone, got)
		}
	}
}

// The example of RFC 4034, Section 6.1.
func TestCanonicalOrder(t *testing.T) {
	want := []string{
		"example.", "a.example.", "yljkjljk.a.example.", "Z.a.example.", "zABC.a.EXAMPLE.",
		"z.example.", `\001.z.example.`, "*.z.example.", `\200.z.example.`,
	}
	var names []name
	for _, s := range want {
		names = append(names, must(s))
	}
	sorted := slices.Clone(names)
	slices.Reverse(sorted)
	slices.SortFunc(sorted, compare)
	if !slices.Equal(sorted, names) {
		t.Errorf("%v", sorted)
	}
}

func TestNames(t *testing.T) {
	n := must("a.b.test.")
	for _, c := range []struct{ what, got, want string }{
		{"parent", n.parent().String(), "b.test."},
		{"parent of the root", root.parent().String(), "."},
		{"last 1", n.last(1).String(), "test."},
		{"last 0", n.last(0).String(), "."},
		{"last 9", n.last(9).String(), "a.b.test."},
		{"common", common(n, must("x.b.test.")).String(), "b.test."},
		{"common, by labels", common(must("xb.test."), must("b.test.")).String(), "test."},
		{"common, nothing", common(n, must("org.")).String(), "."},
		{"first", n.first(), "a"},
	} {
		if c.got != c.want {
			t.Errorf("%s: %q, want %q", c.what, c.got, c.want)
		}
	}
	if _, ok := must(strings.Repeat("a.", 127)).wildcard(); ok {
		t.Error("a wildcard that is too long")
	}
	if _, ok := n.replace(must("test."), must(strings.Repeat("a.", 126))); ok {
		t.Error("a replaced name that is too long")
	}
	if got, ok := n.replace(must("test."), must("x.org.")); !ok || got.String() != "a.b.x.org." {
		t.Errorf("replaced: %v", got)
	}
	if got, ok := n.replace(must("test."), root); !ok || got.String() != "a.b." {
		t.Errorf("replaced by the root: %v", got)
	}
}

func FuzzParseName(f *testing.F) {
	for _, s := range []string{"example.org", `a\.b.`, `\000.`, ".", "*.x", strings.Repeat("a.", 127)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := parseName(s)
		if err != nil {
			return
		}
		again, err := parseName(n.String())
		if err != nil || again != n {
			t.Errorf("%q is %q, and that is %q (%v)", s, n, again, err)
		}
		read, rest, ok := readName([]byte(n))
		if !ok || read != n || len(rest) != 0 {
			t.Errorf("%q in wire form is not read back", s)
		}
	})
}
