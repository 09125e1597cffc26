package dnssec

import (
	"context"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// ianaXML has the shape of IANA's file, and its keys: one whose time is over,
// one with its digest only, one with the key itself.
var ianaXML = `<?xml version="1.0" encoding="UTF-8"?>
<!-- the keys of the root -->
<TrustAnchor id="00000000-0000-0000-0000-000000000000" source="http://data.iana.org/root-anchors/root-anchors.xml">
	<Zone>.</Zone>
	<KeyDigest id="first" validFrom="2010-07-15T00:00:00+00:00" validUntil="2019-01-11T00:00:00+00:00">
		<KeyTag>19036</KeyTag>
		<Algorithm>8</Algorithm>
		<DigestType>2</DigestType>
		<Digest>49AAC11D7B6F6446702E54A1607371607A1A41855200FD2CE1CDDE32F24E8FB5</Digest>
	</KeyDigest>
	<KeyDigest id="second" validFrom="2017-02-02T00:00:00+00:00">
		<KeyTag>20326</KeyTag>
		<Algorithm>8</Algorithm>
		<DigestType>2</DigestType>
		<Digest>E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D</Digest>
	</KeyDigest>
	<KeyDigest id="third" validFrom="2024-07-18T02:00:00+02:00">
		<KeyTag>38696</KeyTag>
		<Algorithm>8</Algorithm>
		<DigestType>2</DigestType>
		<Digest>683D2D0ACB8C9B712A1948B27F741219298D0A450D612C483AF444A4C0FB2B16</Digest>
		<PublicKey>` + strings.Fields(ksk2024Key)[6] + `</PublicKey>
		<Flags>257</Flags>
	</KeyDigest>
</TrustAnchor>
`

const billionLaughs = `<?xml version="1.0"?>
<!DOCTYPE TrustAnchor [ <!ENTITY a "........"> <!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;"> <!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;"> ]>
<TrustAnchor><Zone>&c;</Zone></TrustAnchor>`

func day(t *testing.T, s string) time.Time {
	t.Helper()
	d, err := time.Parse(time.DateOnly, s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestParseAnchorXML(t *testing.T) {
	want := append([]Anchor{rootAnchor(19036, "49aac11d7b6f6446702e54a1607371607a1a41855200fd2ce1cdde32f24e8fb5")}, BuiltinAnchors()...)
	want[0].From, want[0].Until = day(t, "2010-07-15"), day(t, "2019-01-11")
	want[1].From, want[2].From = day(t, "2017-02-02"), day(t, "2024-07-18")
	for what, in := range map[string]string{
		"IANA's":            ianaXML,
		"a byte order mark": "\ufeff\r\n" + ianaXML,
		"broken base64":     strings.Replace(ianaXML, "AwEAAa96", "AwEA\n\t Aa96", 1),
		"a character by its number, and comments": strings.Replace(ianaXML, "20326", "2<!-- x -->0326", 1),
	} {
		if got, err := ParseAnchors(strings.NewReader(in)); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v, %v", what, got, err)
		}
	}
	corp, err := ParseAnchors(strings.NewReader(strings.Replace(ianaXML[:strings.Index(ianaXML, "<KeyDigest id=\"third\"")], ">.<", ">Corp.Example<", 1) + "</TrustAnchor>"))
	if err != nil || len(corp) != 2 || corp[0].Zone != "corp.example." {
		t.Errorf("another zone: %v, %v", corp, err)
	}
}

// Each of these differs from IANA's file in one thing.
func TestBadAnchorXML(t *testing.T) {
	change := func(old, new string) string {
		if !strings.Contains(ianaXML, old) {
			t.Fatalf("%q is not in it", old)
		}
		return strings.Replace(ianaXML, old, new, 1)
	}
	const third = `line 17: <KeyDigest id="third">: `
	for _, c := range []struct{ what, in, why string }{
		{"another file", `<html></html>`, "<html>: this is another file, get the one that IANA publishes"},
		{"nothing but a declaration", `<?xml version="1.0"?>`, "there is no element in it"},
		{"no key", ianaXML[:strings.Index(ianaXML, "<KeyDigest")] + "</TrustAnchor>", "there is no KeyDigest in it"},
		{"cut off", ianaXML[:len(ianaXML)/2], "unexpected EOF"},
		{"two documents", ianaXML + ianaXML, "a second document"},
		{"text after it", ianaXML + "hello", "text around the document"},
		{"no zone", change("<Zone>.</Zone>", ""), "it has no Zone"},
		{"two zones", change("<Zone>.</Zone>", "<Zone>.</Zone><Zone>example.</Zone>"), "more than one Zone"},
		{"a zone that is no name", change(">.<", ">a..b<"), "is no name"},
		{"a date alone", change("2024-07-18T02:00:00+02:00", "2024-07-18"), third + `validFrom is "2024-07-18", write a date and time as in 2017-02-02T00:00:00+00:00`},
		{"no time zone", change("2024-07-18T02:00:00+02:00", "2024-07-18T00:00:00"), third + "validFrom is"},
		{"a malformed end", change("2019-01-11T00:00:00+00:00", "never"), `<KeyDigest id="first">: validUntil is "never"`},
		{"a day that does not exist", change("2017-02-02T", "2017-02-30T"), "validFrom is"},
		{"an empty date", change("2019-01-11T00:00:00+00:00", ""), "validUntil is"},
		{"over before it begins", change("2019-01-11", "2009-01-11"), "validUntil is not after validFrom"},
		{"no beginning", change(`validFrom="2017-02-02T00:00:00+00:00"`, ""), "it has no validFrom"},
		{"a digest too short", change("2B16<", "2B<"), third + "its Digest has 31 octets, one of DigestType 2 has 32: get the file anew"},
		{"a digest of another type", change("<DigestType>2<", "<DigestType>4<"), "one of DigestType 4 has 48"},
		{"no digits", change("E06D", "E06X"), "its Digest is not hexadecimal"},
		{"an empty digest of an unknown type", change("<DigestType>2</DigestType>\n\t\t<Digest>E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D<", "<DigestType>9</DigestType><Digest><"), "not hexadecimal"},
		{"no digest", change("<Digest>E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D</Digest>", ""), "it has no Digest"},
		{"a tag too large", change("38696", "65536"), third + `its KeyTag "65536" is no number from 0 to 65535`},
		{"a signed tag", change("38696", "+38696"), "is no number"},
		{"an algorithm too large", change("<Algorithm>8<", "<Algorithm>256<"), "is no number from 0 to 255"},
		{"two tags", change("<KeyTag>20326<", "<KeyTag>20326</KeyTag><KeyTag>20326<"), "more than one KeyTag"},
		{"a part that is not known", change("<Flags>257</Flags>", "<Flags>257</Flags><Revoked/>"), "<Revoked>: it is not known in <KeyDigest>: take the file as IANA publishes it"},
		{"an attribute that is not known", change(`id="third"`, `id="third" revoked="1"`), `the attribute "revoked" is not known here`},
		{"an attribute of a number", change("<KeyTag>20326", `<KeyTag base="16">20326`), `the attribute "base" is not known here`},
		{"an attribute twice", change(`id="third"`, `id="third" id="third"`), "is there twice"},
		{"another name space", change("<Zone>", `<Zone xmlns="urn:x">`), "name space"},
		{"an element in a number", change("20326", "2<x/>0326"), "<x>: elements stand in each other deeper"},
		{"text between elements", change("<Zone>", "hello<Zone>"), "text stands between elements"},
		{"another key", change("AwEAAa96", "AwEAAa97"), third + "its PublicKey has another key tag or digest"},
		{"another tag than the key's", change("38696", "38697"), third + "its PublicKey has another key tag or digest"},
		{"another digest than the key's", change("683D", "683E"), third + "its PublicKey has another key tag or digest"},
		{"a key that is no base64", change("AwEAAa96", "!"), "its PublicKey is not base64"},
		{"a key without flags", change("<Flags>257</Flags>", ""), third + "it has no Flags"},
		{"flags without a key", change("</Digest>\n\t</KeyDigest>\n\t<KeyDigest id=\"third\"", "</Digest><Flags>257</Flags></KeyDigest><KeyDigest id=\"third\""), "it has no PublicKey"},
		{"a zone-signing key", change("257", "256"), "its Flags 256 are not"},
		{"a revoked key", change("257", "385"), "its Flags 385 are not"},
		{"an id that is a format", strings.Replace(change("38696", "x"), `id="third"`, `id="%d\t"`, 1), `<KeyDigest id="%d\\t">: its KeyTag "x"`},
		{"a thousand", strings.Replace(ianaXML, "</TrustAnchor>", strings.Repeat(ianaXML[strings.Index(ianaXML, "<KeyDigest id=\"second\""):strings.Index(ianaXML, "<KeyDigest id=\"third\"")], 1000)+"</TrustAnchor>", 1), "more than 256"},
	} {
		got, err := ParseAnchors(strings.NewReader(c.in))
		if err == nil || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: %v, %v, want %q", c.what, got, err, c.why)
			continue
		}
		if !strings.HasPrefix(err.Error(), "dnssec: trust anchors: root-anchors.xml: ") && c.what != "a thousand" || strings.Contains(err.Error(), "%!") {
			t.Errorf("%s: %v", c.what, err)
		}
	}
}

// What XML can do to a reader: nothing is expanded, included, or followed far.
func TestHostileXML(t *testing.T) {
	for _, c := range []struct{ what, in, why string }{
		{"billion laughs", billionLaughs, "a document type is not read"},
		{"an entity that nobody declared", strings.Replace(ianaXML, ">.<", ">&c;<", 1), "invalid character entity &c;"},
		{"a file included", `<!DOCTYPE x SYSTEM "file:///etc/passwd"><TrustAnchor/>`, "a document type is not read"},
		{"a document type further down", `<TrustAnchor><!DOCTYPE x></TrustAnchor>`, "a directive is not expected"},
		{"deep nesting", strings.Repeat("<TrustAnchor>", 70000), "deeper than RFC 9718 knows"},
		{"a megabyte of attributes", "<TrustAnchor " + strings.Repeat(`a="b" `, 150000) + "/>", "is there twice"},
		{"a text in many pieces", "<TrustAnchor><Zone>" + strings.Repeat("a<!---->", 120000), "unexpected EOF"},
		{"two megabytes", strings.Replace(ianaXML, "<Zone>", strings.Repeat(" ", 2<<20)+"<Zone>", 1), "more than 1 MB"},
		{"another encoding", `<?xml version="1.0" encoding="UTF-7"?><TrustAnchor/>`, "encoding"},
		{"an endless name", "<" + strings.Repeat("a", 1<<19), "EOF"},
		{"no UTF-8", "<TrustAnchor>\xff</TrustAnchor>", "UTF-8"},
	} {
		start := time.Now()
		got, err := ParseAnchors(strings.NewReader(c.in))
		if err == nil || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: %v, %.300v, want %q", c.what, got, err, c.why)
		}
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("%s: took %v", c.what, took)
		}
	}
	// The five entities that XML itself knows, and characters by number, are fine.
	if got, err := ParseAnchors(strings.NewReader(strings.Replace(ianaXML, ">.<", ">&#46;<", 1))); err != nil || got[0].Zone != "." {
		t.Errorf("%v, %v", got, err)
	}
}

// An anchor counts in its time, by the validator's clock. Outside of it there
// is less that is proven, and never less that must be.
func TestAnchorsInTheirTime(t *testing.T) {
	const gap = time.Hour
	for _, c := range []struct {
		what        string
		from, until time.Duration // from noon; 0: no limit
		status      Status
	}{
		{"no limits", 0, 0, Secure},
		{"within", -gap, gap, Secure},
		{"in a nanosecond", 1, 0, Bogus},
		{"over", -2 * gap, -gap, Bogus},
		{"not yet", gap, 2 * gap, Bogus},
	} {
		w := sound(t)
		v := w.validator()
		limit := func(d time.Duration) (at time.Time) {
			if d != 0 {
				at = w.now.Add(d)
			}
			return at
		}
		v.anchors[root][0].from, v.anchors[root][0].until = limit(c.from), limit(c.until)
		for _, name := range []string{"mail.good.test.", "mail.unsigned.test.", "nothing."} {
			want := c.status
			if want == Secure && name == "mail.unsigned.test." {
				want = Insecure
			}
			if a := v.Lookup(context.Background(), name, typeA); a.Status != want {
				t.Errorf("%s: %s is %v (%v), want %v", c.what, name, a.Status, a.Why, want)
			}
		}
		a := v.Lookup(context.Background(), ".", dns.TypeDNSKEY)
		if c.status == Bogus && (a.Why == nil || !strings.Contains(a.Why.Error(), "no trust anchor of the zone is valid now")) {
			t.Errorf("%s: why: %v", c.what, a.Why)
		}
	}
}

// Nothing is remembered for longer than the anchor holds that proved it.
func TestAnchorRunsOut(t *testing.T) {
	w := sound(t)
	anchors := w.anchors()
	anchors[0].Until = w.now.Add(time.Minute)
	v := w.validator(func(o *Options) { o.Anchors = anchors })
	for _, name := range []string{"mail.good.test.", "mail.unsigned.test.", "none.good.test."} {
		if a := v.Lookup(context.Background(), name, typeA); a.Status < Insecure || a.Expires.After(anchors[0].Until) {
			t.Errorf("%s: %v until %v", name, a.Status, a.Expires)
		}
	}
	w.now = w.now.Add(time.Minute)
	for _, name := range []string{"mail.good.test.", "mail.unsigned.test.", "none.good.test."} {
		if a := v.Lookup(context.Background(), name, typeA); a.Status != Bogus {
			t.Errorf("%s, a minute later: %v", name, a.Status)
		}
	}
}

// At the start somebody is there to read what is wrong.
func TestNewWithAnchorsOutOfTime(t *testing.T) {
	anchors, err := ParseAnchors(strings.NewReader(ianaXML))
	if err != nil {
		t.Fatal(err)
	}
	start := func(now time.Time, anchors ...Anchor) error {
		_, err := New(Options{Servers: []string{"192.0.2.53"}, Anchors: anchors, Now: func() time.Time { return now }})
		return err
	}
	private := anchors[0]
	private.Zone = "corp.example."
	if err := start(noon, anchors...); err != nil {
		t.Errorf("one of three is over: %v", err)
	}
	for _, c := range []struct {
		what, now string
		anchors   []Anchor
		why       string
	}{
		{"over", "2026-01-01", anchors[:1], "dnssec: no trust anchor of . is valid at 2026-01-01T00:00:00Z (key 19036 from 2010-07-15T00:00:00Z until 2019-01-11T00:00:00Z): get newer ones, or set the clock"},
		{"on the day it ends", "2019-01-11", anchors[:1], "no trust anchor of . is valid"},
		{"a clock that was never set", "1970-01-01", anchors, "; key 20326 from 2017-02-02T00:00:00Z; "},
		{"one zone of two", "2026-01-01", append(anchors[1:], private), "no trust anchor of corp.example. is valid"},
	} {
		if err := start(day(t, c.now), c.anchors...); err == nil || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: %v, want %q", c.what, err, c.why)
		}
	}
}
