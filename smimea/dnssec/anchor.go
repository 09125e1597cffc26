package dnssec

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// An Anchor is a key that is believed without proof, named by a digest as a DS
// record does (RFC 4034, Section 5.1). Outside of its time it names no key. Its
// zone counts as signed all the same: what is there is bogus then, not insecure.
type Anchor struct {
	Zone       string // absolute
	KeyTag     uint16
	Algorithm  uint8
	DigestType uint8
	Digest     []byte

	// From is when the anchor's time begins, Until when it is over. Zero: no limit.
	From, Until time.Time
}

// BuiltinAnchors returns the keys of the root: KSK-2017 and KSK-2024, which
// takes over in October 2026 (IANA, Root Zone Trust Anchors).
func BuiltinAnchors() []Anchor {
	return []Anchor{
		rootAnchor(20326, "e06d44b80b8f1d39a95c0b0d7c65d08458e880409bbc683457104237c7f8ec8d"),
		rootAnchor(38696, "683d2d0acb8c9b712a1948b27f741219298d0a450d612c483af444a4c0fb2b16"),
	}
}

func rootAnchor(tag uint16, digest string) Anchor {
	sum, err := hex.DecodeString(digest)
	if err != nil {
		panic(err)
	}
	return Anchor{Zone: ".", KeyTag: tag, Algorithm: algRSASHA256, DigestType: digestSHA256, Digest: sum}
}

const (
	maxAnchorFile = 1 << 20
	maxAnchors    = 256
)

// ParseAnchors reads DS and DNSKEY records in the syntax of a zone file: what
// Debian keeps in /usr/share/dns/root.ds, and Unbound in root.key. A DNSKEY
// must be a secure entry point. What begins with "<" is read as the XML that
// IANA publishes, root-anchors.xml (RFC 9718). That there is no anchor in it is
// an error: it must not end in believing everything.
func ParseAnchors(r io.Reader) ([]Anchor, error) {
	content, err := io.ReadAll(io.LimitReader(r, maxAnchorFile+1))
	if err != nil {
		return nil, fmt.Errorf("dnssec: reading trust anchors: %w", err)
	}
	if len(content) > maxAnchorFile {
		return nil, errors.New("dnssec: trust anchors: more than 1 MB")
	}
	if text := bytes.TrimLeft(content, "\ufeff \t\r\n"); bytes.HasPrefix(text, []byte("<")) {
		return parseAnchorXML(text)
	}
	return parseAnchorLines(string(content))
}

func parseAnchorLines(content string) ([]Anchor, error) {
	var anchors []Anchor
	zone := dns.NewZoneParser(strings.NewReader(content), ".", "")
	zone.SetDefaultTTL(3600)
	for rr, ok := zone.Next(); ok; rr, ok = zone.Next() {
		if retired(rr, zone.Comment()) {
			continue
		}
		anchor, err := anchorOf(rr)
		if err != nil {
			return nil, err
		}
		anchors = append(anchors, anchor)
		if len(anchors) > maxAnchors {
			return nil, fmt.Errorf("dnssec: more than %d trust anchors", maxAnchors)
		}
	}
	if err := zone.Err(); err != nil {
		return nil, fmt.Errorf("dnssec: trust anchors: %w", err)
	}
	if len(anchors) == 0 {
		return nil, errors.New("dnssec: trust anchors: there is no DS and no DNSKEY record")
	}
	return anchors, nil
}

// retired reports whether a key is in the file, but is none to believe: revoked
// (RFC 5011, Section 2.1), or by Unbound's notes neither valid (2) nor, for now,
// missing (3), but new and waiting or given up.
func retired(rr dns.RR, comment string) bool {
	k, ok := rr.(*dns.DNSKEY)
	if !ok {
		return false
	}
	_, state, noted := strings.Cut(comment, ";state=")
	return k.Flags&flagRevoke != 0 || noted && !strings.HasPrefix(state, "2") && !strings.HasPrefix(state, "3")
}

// anchorOf makes an anchor of a DS record, or of a key that may stand as one.
func anchorOf(rr dns.RR) (Anchor, error) {
	owner, err := parseName(rr.Header().Name)
	rdata, ok := rdataOf(rr)
	if err != nil || !ok || rr.Header().Class != dns.ClassINET {
		return Anchor{}, fmt.Errorf("dnssec: trust anchor %q is malformed", rr)
	}
	if rr.Header().Rrtype == dns.TypeDS {
		if d, ok := parseDigest(rdata); ok {
			return d.anchor(owner), nil
		}
	}
	if rr.Header().Rrtype == dns.TypeDNSKEY {
		if k, ok := parseKey(rdata); ok && k.isEntry() {
			return digest{k.tag, k.algorithm, digestSHA256, digestOf(digestSHA256, owner, rdata)}.anchor(owner), nil
		}
	}
	return Anchor{}, fmt.Errorf("dnssec: trust anchor %q is no DS record and no key-signing DNSKEY", rr)
}

// isEntry reports whether a key is a secure entry point (RFC 4034, Section
// 2.1.1) that is not revoked (RFC 5011, Section 2.1).
func (k key) isEntry() bool { return k.signsZones() && k.flags&1 != 0 }

func (d digest) anchor(zone name) Anchor {
	return Anchor{Zone: zone.String(), KeyTag: d.tag, Algorithm: d.algorithm, DigestType: d.kind, Digest: d.bytes}
}

// anchors are the trust anchors of a validator, by zone.
type anchors map[name][]anchor

// An anchor is an [Anchor] that is understood.
type anchor struct {
	digest
	from, until time.Time
}

// newAnchors refuses a zone whose anchors are all of a kind that is not
// understood: it would count as unsigned. Nor may all of them be out of their
// time now, since nothing of the zone could be proven.
func newAnchors(list []Anchor, now time.Time) (anchors, error) {
	if len(list) == 0 {
		return nil, errors.New("dnssec: no trust anchor")
	}
	all := anchors{}
	for _, a := range list {
		zone, err := parseName(a.Zone)
		if err != nil {
			return nil, fmt.Errorf("dnssec: trust anchor of %q: %w", a.Zone, err)
		}
		d := digest{a.KeyTag, a.Algorithm, a.DigestType, bytes.Clone(a.Digest)}
		if all[zone] == nil {
			all[zone] = []anchor{}
		}
		if d.usable() && len(d.bytes) == len(digestOf(d.kind, zone, nil)) {
			all[zone] = append(all[zone], anchor{d, a.From, a.Until})
		}
	}
	for zone, list := range all {
		if len(list) == 0 {
			return nil, fmt.Errorf("dnssec: no trust anchor of %s has an algorithm and a digest that are understood", zone)
		}
		if valid, _, _ := all.at(zone, now); len(valid) == 0 {
			return nil, outOfTime(zone, list, now)
		}
	}
	return all, nil
}

func outOfTime(zone name, list []anchor, now time.Time) error {
	var spans []string
	for _, a := range list {
		spans = append(spans, a.span())
	}
	return fmt.Errorf("dnssec: no trust anchor of %s is valid at %s (%s): get newer ones, or set the clock",
		zone, now.UTC().Format(time.RFC3339), strings.Join(spans, "; "))
}

// span says when an anchor is valid.
func (a anchor) span() string {
	s := fmt.Sprintf("key %d", a.tag)
	if !a.from.IsZero() {
		s += " from " + a.from.UTC().Format(time.RFC3339)
	}
	if !a.until.IsZero() {
		s += " until " + a.until.UTC().Format(time.RFC3339)
	}
	return s
}

func (a anchor) over(now time.Time) bool { return !a.until.IsZero() && !now.Before(a.until) }

func (a anchor) valid(now time.Time) bool { return !now.Before(a.from) && !a.over(now) }

// at returns the digests of a zone's valid anchors, perhaps none, and until
// when what they prove may be kept. ok is false if the zone has no anchors.
func (a anchors) at(zone name, now time.Time) (digests []digest, expires time.Time, ok bool) {
	list, ok := a[zone]
	expires = now.Add(keepData)
	for _, anchor := range list {
		if !anchor.valid(now) {
			continue
		}
		digests = append(digests, anchor.digest)
		if !anchor.until.IsZero() {
			expires = earliest(expires, anchor.until)
		}
	}
	return digests, expires, ok
}

// zones lists the zones that have anchors, the root first.
func (a anchors) zones() []name {
	return slices.SortedFunc(maps.Keys(a), compare)
}

// above returns the zone of the closest anchor at or above a name.
func (a anchors) above(n name) (zone name, ok bool) {
	for ; ; n = n.parent() {
		if _, ok := a[n]; ok || n == root {
			return n, ok
		}
	}
}
