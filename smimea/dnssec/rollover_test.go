package dnssec

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// testKey is the RDATA of a key that nobody can sign with.
func testKey(flags uint16, algorithm uint8, seed string) []byte {
	return append(append(binary.BigEndian.AppendUint16(nil, flags), 3, algorithm), []byte(strings.Repeat(seed, 16))...)
}

func testAnchor(t *testing.T, zone name, kind uint8, rdata []byte) anchor {
	t.Helper()
	k, ok := parseKey(rdata)
	if !ok {
		t.Fatal("no key")
	}
	return anchor{digest: digest{k.tag, k.algorithm, kind, digestOf(kind, zone, rdata)}}
}

func TestCompareAnchors(t *testing.T) {
	zone := must("corp.example.")
	one, two, revoked := testKey(257, 13, "ab"), testKey(257, 13, "cd"), testKey(257|flagRevoke, 13, "ab")
	signing, strange := testKey(256, 13, "ef"), testKey(257, 250, "gh")
	notForZones := testKey(1, 13, "ij")
	tag := func(rdata []byte) []uint16 { return []uint16{keyTag(rdata)} }
	a, b := testAnchor(t, zone, digestSHA256, one), testAnchor(t, zone, digestSHA256, two)
	in := func(a anchor, from, until time.Duration) anchor {
		if from != 0 {
			a.from = noon.Add(from)
		}
		if until != 0 {
			a.until = noon.Add(until)
		}
		return a
	}
	forged := a
	forged.digest = b.digest
	forged.tag = a.tag
	if keyTag(revoked) == a.tag {
		t.Fatal("a revoked key has another tag")
	}
	for _, c := range []struct {
		what                      string
		anchors                   []anchor
		keys                      [][]byte
		unknown, missing, revoked []uint16
	}{
		{"all agree", []anchor{a, b}, [][]byte{one, two, signing}, nil, nil, nil},
		{"a new key", []anchor{a}, [][]byte{one, two, signing}, tag(two), nil, nil},
		{"a new key, twice in the set", []anchor{a}, [][]byte{one, two, two}, tag(two), nil, nil},
		{"a new key of an algorithm that is not understood", []anchor{a}, [][]byte{one, strange}, tag(strange), nil, nil},
		{"one of ours is gone", []anchor{a, b}, [][]byte{two, signing}, nil, tag(one), nil},
		{"two digests of one that is gone", []anchor{a, testAnchor(t, zone, digestSHA384, one), b}, [][]byte{two}, nil, tag(one), nil},
		{"two digests of one that is there", []anchor{a, testAnchor(t, zone, digestSHA384, one)}, [][]byte{one}, nil, nil, nil},
		{"one of ours is revoked", []anchor{a, b}, [][]byte{revoked, two}, nil, nil, tag(one)},
		{"one of ours is revoked, and was not taken away", []anchor{a, b}, [][]byte{one, revoked, two}, nil, nil, nil},
		{"a stranger is revoked", []anchor{b}, [][]byte{revoked, two}, nil, nil, nil},
		{"a key-signing key for no zone", []anchor{a}, [][]byte{one, notForZones}, nil, nil, nil},
		{"an anchor that names a zone-signing key", []anchor{a, testAnchor(t, zone, digestSHA256, signing)}, [][]byte{one, signing}, nil, nil, nil},
		{"the tag alone is no name", []anchor{forged, b}, [][]byte{one, two}, tag(one), tag(one), nil},
		{"the digest of another zone", []anchor{testAnchor(t, root, digestSHA256, one), b}, [][]byte{one, two}, tag(one), tag(one), nil},
		{"ours is over, and its key is there", []anchor{in(a, 0, -1), b}, [][]byte{one, two}, tag(one), nil, nil},
		{"ours is over, and its key is gone", []anchor{in(a, 0, -1), b}, [][]byte{two}, nil, nil, nil},
		{"ours begins later, and its key is there", []anchor{in(a, 1, 0), b}, [][]byte{one, two}, nil, nil, nil},
		{"ours begins later, and its key is not there", []anchor{in(a, 1, 0), b}, [][]byte{two}, nil, nil, nil},
		{"no keys", []anchor{a}, nil, nil, tag(one), nil},
		{"rubbish", []anchor{a}, [][]byte{one, nil, {1}, {1, 1, 3, 8}}, nil, nil, nil},
	} {
		unknown, missing, revoked := compareAnchors(zone, c.anchors, c.keys, noon)
		got, want := fmt.Sprint(unknown, missing, revoked), fmt.Sprint(c.unknown, c.missing, c.revoked)
		if got != want {
			t.Errorf("%s: unknown, missing, revoked are %s, want %s", c.what, got, want)
		}
	}
}

// From one end to the other: the root publishes a second key.
func TestCheckAnchors(t *testing.T) {
	w := sound(t)
	next := newSigner(t, root, algECDSAP256, 257, "next")
	spare := BuiltinAnchors()[0]
	w.zones[root].records = append(w.zones[root].records, next.DNSKEY)
	anchors := append(w.anchors(), spare)
	anchors = append(anchors, w.anchorsOf("below.unsigned.test.")...)
	v := w.validator(func(o *Options) { o.Anchors = anchors })
	if got := v.AnchorZones(); !reflect.DeepEqual(got, []string{".", "below.unsigned.test."}) {
		t.Errorf("zones: %q", got)
	}
	want := AnchorReport{Zone: ".", Status: Secure, Unknown: []uint16{next.KeyTag()}, Missing: []uint16{20326}}
	if got := v.CheckAnchors(context.Background(), "."); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	want = AnchorReport{Zone: "below.unsigned.test.", Status: Secure}
	if got := v.CheckAnchors(context.Background(), "Below.Unsigned.Test"); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// That it could not be found out is no agreement.
func TestCheckAnchorsFails(t *testing.T) {
	for _, c := range []struct {
		what, zone string
		change     func(*world)
		status     Status
		why        string
	}{
		{"nobody answers", ".", func(w *world) { w.fails = func(question) error { return errors.New("down") } }, Indeterminate, "no server answered"},
		{"stripped", ".", func(w *world) { w.tamper = strip }, Bogus, "signature"},
		{"no keys", ".", func(w *world) { w.tamper = func(_ question, m *dns.Msg) { m.Answer = nil } }, Bogus, ""},
		{"no anchor", "good.test.", nil, Indeterminate, "the zone has no trust anchor"},
		{"no name", "a..b", nil, Indeterminate, ""},
	} {
		w := sound(t)
		if c.change != nil {
			c.change(w)
		}
		r := w.validator().CheckAnchors(context.Background(), c.zone)
		if r.Status != c.status || r.Why == nil || !strings.Contains(r.Why.Error(), c.why) || r.Unknown != nil || r.Missing != nil || r.Revoked != nil {
			t.Errorf("%s: %+v", c.what, r)
		}
		if len(r.Warnings()) > 0 {
			t.Errorf("%s: %q", c.what, r.Warnings())
		}
	}
}

func TestAnchorWarnings(t *testing.T) {
	r := AnchorReport{Zone: ".", Status: Secure, Unknown: []uint16{1, 2}, Missing: []uint16{3}, Revoked: []uint16{4}}
	want := "the root has key 1, which no trust anchor names\n" +
		"the root has key 2, which no trust anchor names\n" +
		"trust anchor 3 names no key of the root\n" +
		"the root has revoked key 4, which a trust anchor names"
	if got := strings.Join(r.Warnings(), "\n"); got != want {
		t.Errorf("%s", got)
	}
	r = AnchorReport{Zone: "corp.example.", Status: Secure, Missing: []uint16{3}}
	if got := fmt.Sprint(r.Warnings()); got != "[trust anchor 3 names no key of corp.example.]" {
		t.Errorf("%s", got)
	}
}
