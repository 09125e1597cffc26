package message

import (
	"encoding/binary"
	"math"
	"slices"
)

// A packetScanner watches OpenPGP packets pass by and says in the end whether
// they were exactly one encrypted message: session keys, at least one, and then
// encrypted data (RFC 9580, Section 10.3). Marker and padding packets, which
// carry nothing and which nobody puts there, are none.
type packetScanner struct {
	header [6]byte // that begins
	filled int     // octets of header

	tag     byte  // of the packet at hand
	left    int64 // octets of it, or of its piece
	partial bool  // there are more pieces

	keys     int
	data     bool  // the encrypted data has begun
	octets   int64 // of the packet at hand, so far
	hopeless bool
}

// Packets of an encrypted message: RFC 9580, Section 5.
const (
	tagKeySession      = 1
	tagPasswordSession = 3
	tagOldEncrypted    = 9  // without integrity protection, obsolete
	tagEncrypted       = 18 // with integrity protection
	tagAEADEncrypted   = 20 // GnuPG's
)

// versions that such packets have in their first octet; of tag 9 it is
// ciphertext. Versions 5 of 3 and 1 of 20 are GnuPG's.
var versions = map[byte][]byte{
	tagKeySession:      {2, 3, 6},
	tagPasswordSession: {4, 5, 6},
	tagOldEncrypted:    nil,
	tagEncrypted:       {1, 2},
	tagAEADEncrypted:   {1},
}

const (
	maxSessionKeys = 1000
	maxSessionKey  = 4 << 10 // octets; with ML-KEM-1024 it has fewer than 2,000
	minEncrypted   = 24      // octets; the least there can be of any kind is more
)

// Write takes a piece of the packets. It never fails.
func (s *packetScanner) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0 && !s.hopeless; {
		if s.left > 0 {
			rest = rest[s.contents(rest):]
			continue
		}
		s.headerOctet(rest[0])
		rest = rest[1:]
	}
	return len(p), nil
}

// encrypted reports whether what came so far is a whole encrypted message.
func (s *packetScanner) encrypted() bool {
	done := s.left == 0 && !s.partial && s.filled == 0
	return s.data && (done || s.left > math.MaxInt64/2) && s.octets >= minEncrypted && !s.hopeless
}

// contents passes over octets of a packet and returns how many.
func (s *packetScanner) contents(p []byte) int {
	if allowed := versions[s.tag]; s.octets == 0 && allowed != nil && !slices.Contains(allowed, p[0]) {
		s.hopeless = true
	}
	n := int(min(s.left, int64(len(p))))
	s.octets += int64(n)
	s.left -= int64(n)
	return n
}

// headerOctet takes the next octet of a header. A further piece of a packet
// has only the length of one.
func (s *packetScanner) headerOctet(c byte) {
	if s.filled == 0 && s.partial {
		s.header[0], s.filled = newFormat|s.tag, 1
	}
	s.header[s.filled] = c
	s.filled++
	h, state := parsePacketHeader(s.header[:s.filled])
	switch {
	case state == packetShort:
	case state == packetBad, !s.begin(h):
		s.hopeless = true
	default:
		s.filled = 0
	}
}

// begin goes on to a packet, or a piece of one.
func (s *packetScanner) begin(h packetHeader) bool {
	further := s.partial
	s.tag, s.left, s.partial = h.tag, h.length, h.partial
	if further {
		return true
	}
	s.octets = 0
	switch h.tag {
	case tagKeySession, tagPasswordSession:
		s.keys++
		return !s.data && !h.partial && h.length > 0 && h.length <= maxSessionKey && s.keys <= maxSessionKeys
	case tagEncrypted, tagAEADEncrypted, tagOldEncrypted:
		first := !s.data
		s.data = true
		return first && s.keys > 0
	}
	return false
}

// A packetHeader is a header, or the beginning of a further piece.
type packetHeader struct {
	tag     byte
	length  int64 // of the contents; of a packet that goes on to the end, endless
	partial bool  // there are more pieces
}

type packetState uint8

const (
	packetBad packetState = iota
	packetShort
	packetDone
)

const (
	newFormat = 0xc0
	oldFormat = 0x80
	endless   = math.MaxInt64
)

// parsePacketHeader reads a header, of which there may not be enough yet:
// RFC 9580, Section 4.2.
func parsePacketHeader(b []byte) (packetHeader, packetState) {
	switch b[0] & newFormat {
	case newFormat:
		return newPacketHeader(b[0]&0x3f, b[1:])
	case oldFormat:
		return oldPacketHeader(b[0]>>2&0xf, b[0]&3, b[1:])
	}
	return packetHeader{}, packetBad
}

// newPacketHeader: RFC 9580, Section 4.2.1.
func newPacketHeader(tag byte, length []byte) (packetHeader, packetState) {
	if len(length) == 0 {
		return packetHeader{}, packetShort
	}
	switch first := length[0]; {
	case first < 192:
		return packetHeader{tag: tag, length: int64(first)}, packetDone
	case first >= 224 && first < 255:
		return packetHeader{tag: tag, length: 1 << (first & 0x1f), partial: true}, packetDone
	case first < 224 && len(length) == 2:
		return packetHeader{tag: tag, length: (int64(first)-192)<<8 + int64(length[1]) + 192}, packetDone
	case first == 255 && len(length) == 5:
		return packetHeader{tag: tag, length: int64(binary.BigEndian.Uint32(length[1:]))}, packetDone
	}
	return packetHeader{}, packetShort
}

// oldPacketHeader: RFC 9580, Section 4.2.2.
func oldPacketHeader(tag, kind byte, length []byte) (packetHeader, packetState) {
	if kind == 3 {
		return packetHeader{tag: tag, length: endless}, packetDone
	}
	if len(length) < 1<<kind {
		return packetHeader{}, packetShort
	}
	var n int64
	for _, c := range length {
		n = n<<8 | int64(c)
	}
	return packetHeader{tag: tag, length: n}, packetDone
}
