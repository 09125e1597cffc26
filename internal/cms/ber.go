package cms

import (
	"slices"

	"golang.org/x/crypto/cryptobyte/asn1"
)

const (
	// maxDepth is how deep elements may lie in one another. Encrypted content
	// lies at depth 5, and its pieces at depth 6.
	maxDepth = 16

	// maxLengthOctets is how many octets a length may have. Some encoders write
	// leading zeros.
	maxLengthOctets = 8

	constructed       = 0x20
	tagNumber         = 0x1f
	constructedOctets = asn1.OCTET_STRING | constructed
)

// A berHeader is the beginning of a BER element: X.690, Section 8.1.
type berHeader struct {
	tag        asn1.Tag
	size       int   // of the header itself, in octets
	length     int64 // of the contents, unless indefinite
	indefinite bool
}

// isEnd reports whether these are the end-of-contents octets.
func (h berHeader) isEnd() bool { return h.tag == 0 && h.length == 0 && !h.indefinite && h.size == 2 }

// A headerState says how far parseHeader came.
type headerState uint8

const (
	headerBad headerState = iota
	headerShort
	headerDone
)

// parseHeader reads a header at the start of in. Tags of several octets occur
// nowhere in CMS and are bad; so is an indefinite length of a string.
func parseHeader(in []byte) (berHeader, headerState) {
	if len(in) > 0 && in[0]&tagNumber == tagNumber {
		return berHeader{}, headerBad
	}
	if len(in) < 2 {
		return berHeader{}, headerShort
	}
	h := berHeader{tag: asn1.Tag(in[0]), size: 2}
	if in[1] < 0x80 {
		h.length = int64(in[1])
		return h, headerDone
	}
	octets := int(in[1] & 0x7f)
	if octets == 0 {
		h.indefinite = true
		return h, stateIf(h.tag&constructed != 0)
	}
	if octets > maxLengthOctets {
		return berHeader{}, headerBad
	}
	if len(in) < 2+octets {
		return berHeader{}, headerShort
	}
	for _, c := range in[2 : 2+octets] {
		h.length = h.length<<8 | int64(c)
	}
	h.size += octets
	// No more than fits beside an offset that is a length of its own.
	return h, stateIf(in[2] < 0x40 || octets < maxLengthOctets)
}

func stateIf(good bool) headerState {
	if good {
		return headerDone
	}
	return headerBad
}

// flatten rewrites one BER element, and nothing behind it, so that cryptobyte
// can read it: lengths definite and short, and OCTET STRINGs in one piece. What
// is DER comes out as it is.
func flatten(ber []byte) ([]byte, bool) {
	f := flattener{rest: ber, out: make([]byte, 0, len(ber)+len(ber)/16)}
	ok := f.element(1, false)
	return f.out, ok && len(f.rest) == 0
}

// A flattener goes through rest and appends to out. Each octet is moved at most
// maxDepth times.
type flattener struct {
	rest []byte
	out  []byte
}

// element flattens the next element. Of a piece of a string it leaves the
// contents only.
func (f *flattener) element(depth int, piece bool) bool {
	h, ok := f.header()
	if !ok || depth > maxDepth || piece && h.tag&^constructed != asn1.OCTET_STRING {
		return false
	}
	start := len(f.out)
	joined := h.tag == constructedOctets
	switch {
	case h.tag&constructed == 0:
		f.out = append(f.out, f.rest[:h.length]...)
		f.rest = f.rest[h.length:]
	case h.indefinite:
		ok = f.untilEnd(depth, joined)
	default:
		ok = f.within(h.length, depth, joined)
	}
	if joined {
		h.tag = asn1.OCTET_STRING
	}
	if ok && !piece {
		f.out = slices.Insert(f.out, start, header(h.tag, int64(len(f.out)-start))...)
	}
	return ok
}

// header takes a header whose contents are there.
func (f *flattener) header() (berHeader, bool) {
	h, state := parseHeader(f.rest)
	if state != headerDone || h.tag == 0 || h.length > int64(len(f.rest)-h.size) {
		return berHeader{}, false
	}
	f.rest = f.rest[h.size:]
	return h, true
}

// within flattens the n octets of a definite element.
func (f *flattener) within(n int64, depth int, pieces bool) bool {
	after := f.rest[n:]
	f.rest = f.rest[:n]
	for len(f.rest) > 0 {
		if !f.element(depth+1, pieces) {
			return false
		}
	}
	f.rest = after
	return true
}

// untilEnd flattens an indefinite element up to its end-of-contents octets.
func (f *flattener) untilEnd(depth int, pieces bool) bool {
	for {
		if h, state := parseHeader(f.rest); state == headerDone && h.isEnd() {
			f.rest = f.rest[h.size:]
			return true
		}
		if !f.element(depth+1, pieces) {
			return false
		}
	}
}
