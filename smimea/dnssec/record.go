package dnssec

import (
	"bytes"
	"encoding/binary"
	"slices"
	"time"

	"github.com/miekg/dns"
)

// An rrset is a record set as it came in a message: one owner, class and type.
// Its data is in canonical form and order, without duplicates (RFC 4034,
// Section 6), so that what is read is what was signed.
type rrset struct {
	owner name
	rtype uint16
	ttl   uint32 // seconds; the lowest of the records
	data  [][]byte
	sigs  []signature
}

// A signature is the RDATA of an RRSIG record (RFC 4034, Section 3.1).
type signature struct {
	covers                uint16
	algorithm, labels     uint8
	originalTTL           uint32
	expiration, inception uint32 // seconds since 1970, modulo 2^32
	tag                   uint16
	signer                name
	bytes                 []byte
	head                  []byte // the RDATA without the signature, as it is signed
	ttl                   uint32 // of the RRSIG record itself
}

// A key is the RDATA of a DNSKEY record (RFC 4034, Section 2.1).
type key struct {
	flags     uint16
	protocol  uint8
	algorithm uint8
	public    []byte
	tag       uint16
	rdata     []byte
}

// A digest is the RDATA of a DS record (RFC 4034, Section 5.1).
type digest struct {
	tag             uint16
	algorithm, kind uint8
	bytes           []byte
}

// maxTTL is a week. A longer TTL is nobody's wish (RFC 8767, Section 4), and
// one with the top bit set means zero (RFC 2181, Section 8).
const maxTTL = 7 * 24 * 3600

func saneTTL(ttl uint32) uint32 {
	if ttl > 1<<31-1 {
		return 0
	}
	return min(ttl, maxTTL)
}

func seconds(n uint32) time.Duration { return time.Duration(n) * time.Second }

// find collects the record set of a name and type, and the signatures that
// came with it, from a section of a message.
func find(section []dns.RR, owner name, rtype uint16) rrset {
	set := rrset{owner: owner, rtype: rtype}
	for _, rr := range section {
		h := rr.Header()
		if h.Class != dns.ClassINET || h.Rrtype != rtype && h.Rrtype != dns.TypeRRSIG || !owns(rr, owner) {
			continue
		}
		rdata, ok := rdataOf(rr)
		switch {
		case !ok:
		case h.Rrtype == rtype:
			set.add(rdata, saneTTL(h.Ttl))
		default:
			if sig, ok := parseSignature(rdata); ok && sig.covers == rtype {
				sig.ttl = saneTTL(h.Ttl)
				set.sigs = append(set.sigs, sig)
			}
		}
	}
	slices.SortFunc(set.data, bytes.Compare)
	set.data = slices.CompactFunc(set.data, bytes.Equal)
	return set
}

func owns(rr dns.RR, owner name) bool {
	n, err := parseName(rr.Header().Name)
	return err == nil && n == owner
}

func (s *rrset) add(rdata []byte, ttl uint32) {
	if len(s.data) == 0 || ttl < s.ttl {
		s.ttl = ttl
	}
	s.data = append(s.data, canonical(s.rtype, rdata))
}

// rdataOf returns the RDATA in wire form, uncompressed.
func rdataOf(rr dns.RR) (rdata []byte, ok bool) {
	buf := make([]byte, dns.Len(rr)+maxName)
	end, err := dns.PackRR(rr, buf, 0, nil, false)
	if err != nil {
		return nil, false
	}
	_, rest, ok := readName(buf[:end])
	if !ok || len(rest) < 10 {
		return nil, false
	}
	return rest[10:], true
}

// canonical returns the canonical form of uncompressed RDATA: names in it are
// in lower case for the types of RFC 4034, Section 6.2 (3), less those of RFC
// 6840, Section 5.1.
func canonical(rtype uint16, rdata []byte) []byte {
	from, to := namesIn(rtype, rdata)
	if from >= to {
		return rdata
	}
	return slices.Concat(rdata[:from], lowered(rdata[from:to]), rdata[to:])
}

// namesIn tells where the names are in the RDATA of a type: from, to.
func namesIn(rtype uint16, rdata []byte) (from, to int) {
	n := len(rdata)
	switch rtype {
	case dns.TypeNS, dns.TypeMD, dns.TypeMF, dns.TypeCNAME, dns.TypeMB, dns.TypeMG, dns.TypeMR,
		dns.TypePTR, dns.TypeMINFO, dns.TypeRP, dns.TypeDNAME:
		return 0, n
	case dns.TypeMX, dns.TypeAFSDB, dns.TypeRT, dns.TypeKX, dns.TypePX:
		return min(2, n), n
	case dns.TypeSRV:
		return min(6, n), n
	case dns.TypeSOA:
		return 0, max(0, n-20)
	case dns.TypeNAPTR:
		return afterStrings(rdata, 4, 3), n
	}
	return 0, 0
}

// afterStrings returns where count character strings that begin at an offset end.
func afterStrings(b []byte, at, count int) int {
	for ; count > 0 && at < len(b); count-- {
		at += 1 + int(b[at])
	}
	return min(at, len(b))
}

func parseSignature(b []byte) (s signature, ok bool) {
	if len(b) < 18 {
		return s, false
	}
	signer, rest, ok := readName(b[18:])
	if !ok || len(rest) == 0 {
		return s, false
	}
	return signature{
		covers:      binary.BigEndian.Uint16(b),
		algorithm:   b[2],
		labels:      b[3],
		originalTTL: binary.BigEndian.Uint32(b[4:]),
		expiration:  binary.BigEndian.Uint32(b[8:]),
		inception:   binary.BigEndian.Uint32(b[12:]),
		tag:         binary.BigEndian.Uint16(b[16:]),
		signer:      signer,
		bytes:       rest,
		// RFC 4034, Section 3.1.7: the signer's name in canonical form.
		head: append(slices.Clone(b[:18]), signer...),
	}, true
}

func parseKey(b []byte) (k key, ok bool) {
	if len(b) < 5 {
		return k, false
	}
	return key{
		flags:     binary.BigEndian.Uint16(b),
		protocol:  b[2],
		algorithm: b[3],
		public:    b[4:],
		tag:       keyTag(b),
		rdata:     b,
	}, true
}

// keyTag computes a key tag (RFC 4034, Appendix B).
func keyTag(rdata []byte) uint16 {
	var sum uint32
	for i, c := range rdata {
		if i%2 == 0 {
			sum += uint32(c) << 8
		} else {
			sum += uint32(c)
		}
	}
	return uint16(sum + sum>>16)
}

const (
	flagZone   = 0x0100 // RFC 4034, Section 2.1.1
	flagRevoke = 0x0080 // RFC 5011, Section 3
)

// signsZones reports whether a key may sign a zone's data at all. That it is
// a secure entry point is a hint for people (RFC 4034, Section 2.1.1).
func (k key) signsZones() bool {
	return k.flags&flagZone != 0 && k.flags&flagRevoke == 0 && k.protocol == 3
}

func parseDigest(b []byte) (d digest, ok bool) {
	if len(b) < 5 {
		return d, false
	}
	return digest{binary.BigEndian.Uint16(b), b[2], b[3], b[4:]}, true
}

// A bitmap tells which types a name has (RFC 4034, Section 4.1.2).
type bitmap []byte

// valid reports whether the windows stand in order and within the data.
func (m bitmap) valid() bool {
	for last := -1; len(m) > 0; {
		if len(m) < 2 || int(m[0]) <= last || m[1] < 1 || m[1] > 32 || len(m) < 2+int(m[1]) {
			return false
		}
		last, m = int(m[0]), m[2+m[1]:]
	}
	return true
}

// has reports whether a valid bitmap names a type.
func (m bitmap) has(rtype uint16) bool {
	window, at, bit := byte(rtype>>8), int(rtype&0xff)/8, byte(0x80)>>(rtype%8)
	for ; len(m) > 0; m = m[2+m[1]:] {
		if m[0] == window {
			return at < int(m[1]) && m[2+at]&bit != 0
		}
	}
	return false
}
