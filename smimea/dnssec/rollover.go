package dnssec

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/miekg/dns"
)

// An AnchorReport says how a zone's trust anchors agree with its keys. Lists
// hold key tags, in order, each once.
type AnchorReport struct {
	Zone string // absolute

	// Status is that of the zone's keys. Unless it is Secure it could not be
	// found out how they agree: the lists are empty, and Why says why.
	Status Status
	Why    error

	// Unknown are the zone's secure entry points that no anchor names. The
	// zone is about to sign with a new key, or lets others in.
	Unknown []uint16

	// Missing are the valid anchors that name none of the zone's keys, and
	// Revoked those whose key the zone has revoked (RFC 5011, Section 2.1).
	Missing, Revoked []uint16
}

// AnchorZones lists the zones that have trust anchors, the root first.
func (v *Validator) AnchorZones() []string {
	var zones []string
	for _, zone := range v.anchors.zones() {
		zones = append(zones, zone.String())
	}
	return zones
}

// CheckAnchors compares the trust anchors of a zone with the keys that the zone
// has, which it looks up and validates like anything else.
//
// It changes no anchor. RFC 5011 describes how a validator could follow a
// rollover by itself, and this one does not, on purpose: it takes a file of
// state that outlives every update and container, timers of 30 days, and a way
// in for whoever holds an old key. A new key is in the zone for months before
// it signs. That is time enough for a person to get new anchors from where he
// got the old ones, if somebody tells him.
func (v *Validator) CheckAnchors(ctx context.Context, zone string) AnchorReport {
	r := AnchorReport{Zone: zone}
	apex, err := parseName(zone)
	if err != nil {
		r.Why = err
		return r
	}
	q := question{apex, dns.TypeDNSKEY}
	r.Zone = apex.String()
	list := v.anchors[apex]
	if len(list) == 0 {
		r.Why = because(0, "the zone has no trust anchor").at("", q)
		return r
	}
	a := v.Lookup(ctx, r.Zone, dns.TypeDNSKEY)
	if a.Status != Secure || a.Outcome != Data {
		r.Status, r.Why = min(a.Status, Bogus), a.Why
		if r.Why == nil {
			r.Why = because(edeNoKey, "the zone has no keys").at(apex, q)
		}
		return r
	}
	r.Status = Secure
	r.Unknown, r.Missing, r.Revoked = compareAnchors(apex, list, a.Data, v.now())
	return r
}

// compareAnchors compares the anchors of a zone with its DNSKEY set.
func compareAnchors(zone name, list []anchor, set [][]byte, now time.Time) (unknown, missing, revoked []uint16) {
	var current, before []key // before: the revoked ones, as they were
	for _, rdata := range set {
		k, ok := parseKey(rdata)
		switch {
		case ok && k.signsZones():
			current = append(current, k)
		case ok && k.flags&flagRevoke != 0:
			before = append(before, k.unrevoked())
		}
	}
	// An anchor whose time has not come yet names a key that is not new to us.
	for _, k := range current {
		named := func(a anchor) bool { return !a.over(now) && a.matches(zone, k) }
		if k.isEntry() && !slices.ContainsFunc(list, named) {
			unknown = append(unknown, k.tag)
		}
	}
	for _, a := range list {
		names := func(k key) bool { return a.matches(zone, k) }
		switch {
		case !a.valid(now), slices.ContainsFunc(current, names):
		case slices.ContainsFunc(before, names):
			revoked = append(revoked, a.tag)
		default:
			missing = append(missing, a.tag)
		}
	}
	return tags(unknown), tags(missing), tags(revoked)
}

// unrevoked is a revoked key as it was: the flag is part of tag and digest.
func (k key) unrevoked() key {
	rdata := slices.Clone(k.rdata)
	rdata[1] &^= flagRevoke
	k, _ = parseKey(rdata)
	return k
}

func tags(list []uint16) []uint16 {
	slices.Sort(list)
	return slices.Compact(list)
}

// Warnings are lines for people, none if the anchors agree with the keys, or
// if that could not be found out.
func (r AnchorReport) Warnings() []string {
	zone := r.Zone
	if zone == "." {
		zone = "the root"
	}
	var lines []string
	for _, tag := range r.Unknown {
		lines = append(lines, fmt.Sprintf("%s has key %d, which no trust anchor names", zone, tag))
	}
	for _, tag := range r.Missing {
		lines = append(lines, fmt.Sprintf("trust anchor %d names no key of %s", tag, zone))
	}
	for _, tag := range r.Revoked {
		lines = append(lines, fmt.Sprintf("%s has revoked key %d, which a trust anchor names", zone, tag))
	}
	return lines
}
