package dnssec

import (
	"encoding/binary"
	"time"
)

// This file checks one record set, given the keys of a zone (RFC 4035,
// Section 5.3). It asks nobody.

// A proven is what a valid signature says of a record set.
type proven struct {
	sig     signature
	key     key
	expires time.Time
}

// expanded reports whether the record set was made from a wildcard: the
// signature counts fewer labels than the owner has (RFC 4034, Section 3.1.3).
func (p proven) expanded(owner name) bool { return int(p.sig.labels) < countedLabels(owner) }

// countedLabels counts labels as a signature does: without a leading asterisk.
func countedLabels(n name) int {
	if n.isWildcard() {
		return n.labels() - 1
	}
	return n.labels()
}

// verify looks for a signature of the zone over the record set that holds at
// a time. All signatures are tried; those of unknown keys cost nothing.
func verify(set rrset, zone name, keys []key, now time.Time, w *work) (proven, *reason) {
	var failure *reason
	failed := 0
	for _, sig := range set.sigs {
		if sig.signer != zone {
			continue
		}
		if why := sig.fits(set, now); why != nil {
			failure = why
			continue
		}
		tagged := matching(keys, sig)
		if len(tagged) == 0 {
			failure = because(edeNoKey, "signed by key %d, algorithm %d, which the zone has not", sig.tag, sig.algorithm)
		}
		for _, k := range tagged {
			// Another server may have fewer bad ones: only the limit of the whole
			// lookup ends it.
			if failed >= maxFailed || !w.check() {
				return proven{}, because(edeBogus, "too many signatures to check")
			}
			if w.checking(func() bool { return k.verifies(signedData(set, sig), sig.bytes) }) {
				return proven{sig, k, lifetime(set, sig, now)}, nil
			}
			failed++
			failure = because(edeBogus, "the signature by key %d does not verify", sig.tag)
		}
	}
	if failure == nil {
		failure = because(edeNoSignature, "no signature by %s", zone)
	}
	return proven{}, failure
}

// matching returns the keys that may have made a signature, not too many.
func matching(keys []key, sig signature) []key {
	var tagged []key
	for _, k := range keys {
		if k.tag == sig.tag && k.algorithm == sig.algorithm && len(tagged) < maxTagged {
			tagged = append(tagged, k)
		}
	}
	return tagged
}

// fits checks everything of a signature but the signature (RFC 4035, Section 5.3.1).
func (s signature) fits(set rrset, now time.Time) *reason {
	switch {
	case !set.owner.in(s.signer):
		return because(edeBogus, "signed by %s, which is not above it", s.signer)
	case s.covers != set.rtype:
		return because(edeBogus, "the signature is for another type")
	case int(s.labels) > countedLabels(set.owner), int(s.labels) < s.signer.labels():
		return because(edeBogus, "the signature by key %d counts %d labels", s.tag, s.labels)
	case !knownAlgorithm(s.algorithm):
		return because(edeAlgorithm, "signed with algorithm %d, which is not understood", s.algorithm)
	case until(s.expiration, now) < -skew:
		return because(edeExpired, "the signature expired at %s (made by key %d at %s)", at(s.expiration, now), s.tag, at(s.inception, now))
	case until(s.inception, now) > skew:
		return because(edeNotYetValid, "the signature is not valid before %s (made by key %d; is this clock right?)", at(s.inception, now), s.tag)
	}
	return nil
}

// until tells how far a time of a signature lies ahead, by serial number
// arithmetic (RFC 4034, Section 3.1.5; RFC 1982).
func until(t uint32, now time.Time) time.Duration {
	return time.Duration(int32(t-uint32(now.Unix()))) * time.Second
}

func at(t uint32, now time.Time) string {
	return now.Add(until(t, now)).UTC().Truncate(time.Second).Format(time.RFC3339)
}

// lifetime tells how long a proven record set may be kept (RFC 4035, Section 5.3.3).
func lifetime(set rrset, sig signature, now time.Time) time.Time {
	ttl := min(seconds(set.ttl), seconds(sig.ttl), seconds(saneTTL(sig.originalTTL)))
	return now.Add(min(ttl, max(0, until(sig.expiration, now))))
}

// signedData is what a signature is made over (RFC 4034, Section 3.1.8.1).
func signedData(set rrset, sig signature) []byte {
	owner := signedOwner(set.owner, sig)
	data := append([]byte(nil), sig.head...)
	for _, rdata := range set.data {
		data = append(data, owner...)
		data = binary.BigEndian.AppendUint16(data, set.rtype)
		data = binary.BigEndian.AppendUint16(data, 1) // class IN
		data = binary.BigEndian.AppendUint32(data, sig.originalTTL)
		data = binary.BigEndian.AppendUint16(data, uint16(len(rdata)))
		data = append(data, rdata...)
	}
	return data
}

// signedOwner is the owner as it was signed: the wildcard, if the record set
// was made from one (RFC 4035, Section 5.3.2).
func signedOwner(owner name, sig signature) name {
	if int(sig.labels) >= countedLabels(owner) {
		return owner
	}
	// The owner has more labels than its parent, so the wildcard fits.
	w, _ := owner.last(int(sig.labels)).wildcard()
	return w
}
