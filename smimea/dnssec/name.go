package dnssec

import (
	"errors"
	"fmt"
	"strings"
)

// A name is a domain name in wire form (RFC 1035, Section 3.1), uncompressed
// and with ASCII letters in lower case. All comparing is done on this form:
// as text, notgood.test. ends in good.test., and a dot inside a label looks
// like one between two.
type name string

const root name = "\x00"

// maxName is the longest name in wire form (RFC 1035, Section 2.3.4).
const maxName = 255

var (
	errEmptyLabel = errors.New("dnssec: a label of the name is empty")
	errLongLabel  = errors.New("dnssec: a label of the name is longer than 63 octets")
	errLongName   = errors.New("dnssec: the name is longer than 255 octets")
	errEscape     = errors.New(`dnssec: the name has a "\" that begins nothing`)
)

// ParseName checks a name in presentation form (RFC 1035, Section 5.1) and
// returns it absolute, in lower case, with escapes only where needed.
func ParseName(s string) (string, error) {
	n, err := parseName(s)
	if err != nil {
		return "", err
	}
	return n.String(), nil
}

// parseName reads presentation form. A missing dot at the end is added.
func parseName(s string) (name, error) {
	if s == "." {
		return root, nil
	}
	wire, label := make([]byte, 0, min(len(s)+1, maxName)), make([]byte, 0, 64)
	for s != "" {
		c, rest, dot, err := nextOctet(s)
		if err != nil {
			return "", err
		}
		if s = rest; !dot {
			label = append(label, lower(c))
		}
		if !dot && s != "" {
			continue
		}
		if wire, err = appendLabel(wire, label); err != nil {
			return "", err
		}
		label = label[:0]
	}
	if len(wire) == 0 {
		return "", errEmptyLabel
	}
	return name(wire) + root, nil
}

// nextOctet reads one octet of a label, or the dot after it.
func nextOctet(s string) (c byte, rest string, dot bool, err error) {
	if s[0] != '\\' {
		return s[0], s[1:], s[0] == '.', nil
	}
	if len(s) >= 4 && isDigit(s[1]) {
		value := 0
		for _, d := range []byte(s[1:4]) {
			if !isDigit(d) {
				return 0, "", false, errEscape
			}
			value = value*10 + int(d-'0')
		}
		if value > 255 {
			return 0, "", false, errEscape
		}
		return byte(value), s[4:], false, nil
	}
	if len(s) < 2 || isDigit(s[1]) {
		return 0, "", false, errEscape
	}
	return s[1], s[2:], false, nil
}

func appendLabel(wire, label []byte) ([]byte, error) {
	switch {
	case len(label) == 0:
		return nil, errEmptyLabel
	case len(label) > 63:
		return nil, errLongLabel
	case len(wire)+1+len(label)+1 > maxName:
		return nil, errLongName
	}
	return append(append(wire, byte(len(label))), label...), nil
}

// readName reads an uncompressed name at the start of wire data.
func readName(b []byte) (n name, rest []byte, ok bool) {
	for i := 0; i < len(b) && i < maxName; i += 1 + int(b[i]) {
		if b[i] > 63 {
			return "", nil, false
		}
		if b[i] == 0 {
			return name(lowered(b[:i+1])), b[i+1:], true
		}
	}
	return "", nil, false
}

// String returns the presentation form, absolute.
func (n name) String() string {
	if n == root || n == "" {
		return "."
	}
	var b strings.Builder
	for ; len(n) > 1; n = n.parent() {
		for _, c := range []byte(n.first()) {
			writeOctet(&b, c)
		}
		b.WriteByte('.')
	}
	return b.String()
}

func writeOctet(b *strings.Builder, c byte) {
	switch {
	case c <= ' ' || c >= 0x7f:
		fmt.Fprintf(b, `\%03d`, c)
	case strings.IndexByte(`."\;()@$`, c) >= 0:
		b.WriteByte('\\')
		b.WriteByte(c)
	default:
		b.WriteByte(c)
	}
}

// first returns the leftmost label.
func (n name) first() string { return string(n[1 : 1+n[0]]) }

// parent returns the name without its first label; the root's is the root.
func (n name) parent() name {
	if len(n) <= 1 {
		return root
	}
	return n[1+n[0]:]
}

// labels counts the labels, the root's not included.
func (n name) labels() int {
	count := 0
	for ; len(n) > 1; n = n.parent() {
		count++
	}
	return count
}

// last returns the ancestor, or the name itself, that has so many labels.
func (n name) last(labels int) name {
	for i := n.labels(); i > labels; i-- {
		n = n.parent()
	}
	return n
}

// in reports whether n is the zone's name or below it, label by label.
func (n name) in(zone name) bool { return n.last(zone.labels()) == zone }

// below reports whether n is strictly below the other name.
func (n name) below(other name) bool { return n != other && n.in(other) }

// isWildcard reports whether the first label is an asterisk (RFC 4592, Section 2.1.1).
func (n name) isWildcard() bool { return strings.HasPrefix(string(n), "\x01*") }

// wildcard returns the wildcard that is a child of n; ok is false where it
// would be too long to exist.
func (n name) wildcard() (w name, ok bool) { return "\x01*" + n, len(n)+2 <= maxName }

// replace returns n with its suffix from replaced by to (RFC 6672, Section 2.2).
func (n name) replace(from, to name) (name, bool) {
	replaced := n[:len(n)-len(from)] + to
	return replaced, len(replaced) <= maxName
}

// compare orders names canonically (RFC 4034, Section 6.1): by the rightmost
// label that differs, octets compared as unsigned numbers.
func compare(a, b name) int {
	la, lb := a.labels(), b.labels()
	for k := 1; k <= la && k <= lb; k++ {
		if c := strings.Compare(a.last(k).first(), b.last(k).first()); c != 0 {
			return c
		}
	}
	return la - lb
}

// common returns the longest name that both are in.
func common(a, b name) name {
	k := min(a.labels(), b.labels())
	for a.last(k) != b.last(k) {
		k--
	}
	return a.last(k)
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// lowered returns a copy in lower case. On a name in wire form it changes
// letters only: a length octet is at most 63, and 'A' is 65.
func lowered(b []byte) []byte {
	copied := make([]byte, len(b))
	for i, c := range b {
		copied[i] = lower(c)
	}
	return copied
}
