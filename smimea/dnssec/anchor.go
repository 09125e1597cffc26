package dnssec

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/miekg/dns"
)

// An Anchor is a key that is believed without proof, named by a digest as a DS
// record does (RFC 4034, Section 5.1).
type Anchor struct {
	Zone       string // absolute
	KeyTag     uint16
	Algorithm  uint8
	DigestType uint8
	Digest     []byte
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
	return Anchor{".", tag, algRSASHA256, digestSHA256, sum}
}

const (
	maxAnchorFile = 1 << 20
	maxAnchors    = 256
)

// ParseAnchors reads DS and DNSKEY records in the syntax of a zone file: what
// Debian keeps in /usr/share/dns/root.ds, and Unbound in root.key. A DNSKEY
// must be a secure entry point. That there is no anchor in it is an error: it
// must not end in believing everything.
func ParseAnchors(r io.Reader) ([]Anchor, error) {
	content, err := io.ReadAll(io.LimitReader(r, maxAnchorFile+1))
	if err != nil {
		return nil, fmt.Errorf("dnssec: reading trust anchors: %w", err)
	}
	if len(content) > maxAnchorFile {
		return nil, errors.New("dnssec: trust anchors: more than 1 MB")
	}
	if bytes.HasPrefix(bytes.TrimLeft(content, "\ufeff \t\r\n"), []byte("<")) {
		return nil, errors.New("dnssec: trust anchors: the XML form of root-anchors.xml is not read; give its keys as DS lines (\". IN DS 20326 8 2 …\")")
	}
	return parseAnchorLines(string(content))
}

func parseAnchorLines(content string) ([]Anchor, error) {
	var anchors []Anchor
	zone := dns.NewZoneParser(strings.NewReader(content), ".", "")
	zone.SetDefaultTTL(3600)
	for rr, ok := zone.Next(); ok; rr, ok = zone.Next() {
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

// anchorOf makes an anchor of a DS record, or of a key that may stand as one.
func anchorOf(rr dns.RR) (Anchor, error) {
	owner, err := parseName(rr.Header().Name)
	rdata, ok := rdataOf(rr)
	if err != nil || !ok || rr.Header().Class != dns.ClassINET {
		return Anchor{}, fmt.Errorf("dnssec: trust anchor %q is malformed", rr)
	}
	if rr.Header().Rrtype == dns.TypeDS {
		if d, ok := parseDigest(rdata); ok {
			return Anchor{owner.String(), d.tag, d.algorithm, d.kind, d.bytes}, nil
		}
	}
	if rr.Header().Rrtype == dns.TypeDNSKEY {
		if k, ok := parseKey(rdata); ok && k.signsZones() && k.flags&1 != 0 {
			return Anchor{owner.String(), k.tag, k.algorithm, digestSHA256, digestOf(digestSHA256, owner, rdata)}, nil
		}
	}
	return Anchor{}, fmt.Errorf("dnssec: trust anchor %q is no DS record and no key-signing DNSKEY", rr)
}

// anchors are the trust anchors of a validator, by zone.
type anchors map[name][]digest

// newAnchors refuses a zone whose anchors are all of a kind that is not
// understood: it would count as unsigned.
func newAnchors(list []Anchor) (anchors, error) {
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
			all[zone] = []digest{}
		}
		if d.usable() && len(d.bytes) == len(digestOf(d.kind, zone, nil)) {
			all[zone] = append(all[zone], d)
		}
	}
	for zone, list := range all {
		if len(list) == 0 {
			return nil, fmt.Errorf("dnssec: no trust anchor of %s has an algorithm and a digest that are understood", zone)
		}
	}
	return all, nil
}

// above returns the zone of the closest anchor at or above a name.
func (a anchors) above(n name) (zone name, ok bool) {
	for ; ; n = n.parent() {
		if _, ok := a[n]; ok || n == root {
			return n, ok
		}
	}
}
