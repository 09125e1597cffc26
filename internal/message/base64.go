package message

import (
	"encoding/binary"
	"errors"
	"io"
)

const (
	base64Alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

	lineOctets  = 57 // what one line holds
	lineColumns = lineOctets / 3 * 4
	lineSize    = lineColumns + 2 // with CRLF
	linesAtOnce = 400             // written at once; a milter sends 64 KB
	linesFirst  = 100             // there is room for at first; most mails are short
)

// NewBase64Writer writes base64 in lines of 76 columns that end in CRLF
// (RFC 2045, Section 6.8), in constant memory. Close writes what is left, and
// does not close w. If nothing was written, it writes nothing.
func NewBase64Writer(w io.Writer) io.WriteCloser { return &base64Writer{w: w} }

type base64Writer struct {
	w       io.Writer
	err     error // the first; or why it takes nothing any more
	pending [lineOctets]byte
	held    int    // octets that are pending
	lines   []byte // as long as it may be filled
	filled  int    // octets of lines
}

var errBase64Closed = errors.New("message: base64 writer is closed")

func (b *base64Writer) Write(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	rest := p
	if b.held > 0 {
		rest = rest[b.hold(rest):]
		if b.held < lineOctets {
			return len(p), nil
		}
		b.line(&b.pending)
		b.held = 0
	}
	for ; len(rest) >= lineOctets && b.err == nil; rest = rest[lineOctets:] {
		b.line((*[lineOctets]byte)(rest))
	}
	if b.err != nil {
		return 0, b.err
	}
	b.hold(rest)
	return len(p), nil
}

// hold keeps what does not make a line yet, and returns how much it took.
func (b *base64Writer) hold(p []byte) int {
	n := copy(b.pending[b.held:], p)
	b.held += n
	return n
}

// line adds a whole line.
func (b *base64Writer) line(octets *[lineOctets]byte) {
	b.makeRoom()
	encodeLine((*[lineSize]byte)(b.lines[b.filled:]), octets)
	b.filled += lineSize
}

// makeRoom makes sure that there is room for one line more.
func (b *base64Writer) makeRoom() {
	if b.filled < len(b.lines) {
		return
	}
	if len(b.lines) == linesAtOnce*lineSize {
		b.flush()
		return
	}
	more := make([]byte, min(max(2*len(b.lines), linesFirst*lineSize), linesAtOnce*lineSize))
	copy(more, b.lines)
	b.lines = more
}

func (b *base64Writer) flush() {
	if b.err == nil && b.filled > 0 {
		_, b.err = b.w.Write(b.lines[:b.filled])
	}
	b.filled = 0
}

func (b *base64Writer) Close() error {
	if b.err != nil {
		if errors.Is(b.err, errBase64Closed) {
			return nil
		}
		return b.err
	}
	b.makeRoom()
	b.filled += encodeLast(b.lines[b.filled:], b.pending[:b.held])
	b.flush()
	if b.err != nil {
		return b.err
	}
	b.err = errBase64Closed
	return nil
}

// pairs has the two characters for each 12 bits, the first one in the low
// octet. It is twice as quick as an octet at a time.
var pairs = makePairs()

func makePairs() *[1 << 12]uint16 {
	var t [1 << 12]uint16
	for i := range t {
		t[i] = uint16(base64Alphabet[i>>6]) | uint16(base64Alphabet[i&63])<<8
	}
	return &t
}

// encodeLine goes six octets, eight characters, at a time; the last three
// octets are left over.
func encodeLine(line *[lineSize]byte, octets *[lineOctets]byte) {
	const bits = 1<<12 - 1
	in, out := octets[:], line[:]
	for len(in) >= 8 {
		v := binary.BigEndian.Uint64(in) >> 16
		binary.LittleEndian.PutUint64(out, uint64(pairs[v>>36&bits])|
			uint64(pairs[v>>24&bits])<<16|
			uint64(pairs[v>>12&bits])<<32|
			uint64(pairs[v&bits])<<48)
		in, out = in[6:], out[8:]
	}
	encodeTriple(out, in)
	out[4], out[5] = '\r', '\n'
}

func encodeTriple(out, in []byte) {
	v := uint32(in[0])<<16 | uint32(in[1])<<8 | uint32(in[2])
	binary.LittleEndian.PutUint16(out, pairs[v>>12])
	binary.LittleEndian.PutUint16(out[2:], pairs[v&(1<<12-1)])
}

// encodeLast makes the last line, if there is one, and returns its size.
func encodeLast(line, octets []byte) int {
	n := 0
	for ; len(octets) >= 3; octets = octets[3:] {
		encodeTriple(line[n:], octets)
		n += 4
	}
	if len(octets) > 0 {
		var padded [3]byte
		copy(padded[:], octets)
		encodeTriple(line[n:], padded[:])
		copy(line[n+1+len(octets):n+4], "==")
		n += 4
	}
	if n == 0 {
		return 0
	}
	return n + copy(line[n:], "\r\n")
}
