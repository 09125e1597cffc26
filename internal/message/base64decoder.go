package message

import "io"

// A Base64Decoder decodes a body that is to be one base64 object and nothing
// else, as it passes by: RFC 4648, Section 3, without the tolerance of
// RFC 2045, Section 6.8, for other characters, which readers might show. Only
// line ends, and blanks before them, may stand anywhere.
//
// It takes the same memory whatever comes.
type Base64Decoder struct {
	w io.Writer

	bits    uint32 // of the characters of a quantum that has begun
	count   int    // of these, 0 to 3
	padding int    // characters of padding behind them
	done    bool   // the padding is complete: only line ends may follow
	blank   bool   // only a line end may follow
	bad     bool

	out    [3 << 10]byte
	filled int
}

// NewBase64Decoder returns a decoder that writes to w what it has decoded, at
// the latest when Write returns. An error of w makes the object bad.
func NewBase64Decoder(w io.Writer) *Base64Decoder { return &Base64Decoder{w: w} }

// Write takes a piece of the body. It never fails.
func (d *Base64Decoder) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0 && !d.bad; {
		if n := d.quanta(rest); n > 0 {
			rest = rest[n:]
			continue
		}
		d.character(rest[0])
		rest = rest[1:]
	}
	d.flush()
	return len(p), nil
}

// Bad reports that it is no base64 object, whatever may follow.
func (d *Base64Decoder) Bad() bool { return d.bad }

// Whole reports whether everything written so far is one base64 object, to
// its last octet. An empty one is whole, too.
func (d *Base64Decoder) Whole() bool { return !d.bad && d.padding == 0 && (d.done || d.count == 0) }

// What base64Values has for characters that have no value.
const (
	lineEnd64 = 64 + iota
	blank64
	padding64
	stranger64
)

var base64Values = makeBase64Values()

func makeBase64Values() *[256]uint8 {
	var t [256]uint8
	for i := range t {
		t[i] = stranger64
	}
	for i := range len(base64Alphabet) {
		t[base64Alphabet[i]] = uint8(i)
	}
	t['\r'], t['\n'] = lineEnd64, lineEnd64
	t[' '], t['\t'] = blank64, blank64
	t['='] = padding64
	return &t
}

// quanta decodes whole quanta that stand in one piece, as most do, and returns
// how many characters these were.
func (d *Base64Decoder) quanta(p []byte) int {
	if d.count > 0 || d.padding > 0 || d.done || d.blank {
		return 0
	}
	n := 0
	for len(p)-n >= 4 {
		q := p[n : n+4]
		v0, v1, v2, v3 := base64Values[q[0]], base64Values[q[1]], base64Values[q[2]], base64Values[q[3]]
		if (v0|v1|v2|v3)&^63 != 0 {
			break
		}
		d.emit(uint32(v0)<<18|uint32(v1)<<12|uint32(v2)<<6|uint32(v3), 3)
		n += 4
	}
	return n
}

func (d *Base64Decoder) character(c byte) {
	switch v := base64Values[c]; v {
	case lineEnd64:
		d.blank = false
	case blank64:
		d.blank = true
	case padding64:
		d.pad()
	case stranger64:
		d.bad = true
	default:
		d.value(v)
	}
}

func (d *Base64Decoder) value(v uint8) {
	if d.done || d.blank || d.padding > 0 {
		d.bad = true
		return
	}
	d.bits = d.bits<<6 | uint32(v)
	d.count++
	if d.count == 4 {
		d.emit(d.bits, 3)
		d.bits, d.count = 0, 0
	}
}

// pad takes one "=". The bits it stands for must have been zero: RFC 4648,
// Section 3.5.
func (d *Base64Decoder) pad() {
	if d.done || d.blank || d.count < 2 {
		d.bad = true
		return
	}
	d.padding++
	if d.count+d.padding < 4 {
		return
	}
	bits := d.bits << (6 * d.padding)
	octets := 3 - d.padding
	if bits&(1<<(8*d.padding)-1) != 0 {
		d.bad = true
		return
	}
	d.emit(bits, octets)
	d.done, d.padding, d.count = true, 0, 0
}

// emit takes the first octets of 24 bits.
func (d *Base64Decoder) emit(bits uint32, octets int) {
	if d.filled+3 > len(d.out) {
		d.flush()
	}
	out := d.out[d.filled : d.filled+3]
	out[0], out[1], out[2] = byte(bits>>16), byte(bits>>8), byte(bits)
	d.filled += octets
}

func (d *Base64Decoder) flush() {
	if d.filled == 0 {
		return
	}
	if _, err := d.w.Write(d.out[:d.filled]); err != nil {
		d.bad = true
	}
	d.filled = 0
}
