package message

import (
	"slices"
	"strings"
)

// An armorScanner watches an ASCII armour pass by, line by line: RFC 9580,
// Section 6.2.
type armorScanner struct {
	place   armorPlace
	headers int // lines
	data    *Base64Decoder
	packets *packetScanner
}

// An armorPlace is where in the armour a line is expected.
type armorPlace uint8

const (
	beforeArmor armorPlace = iota
	inArmorHeader
	inArmorData
	afterChecksum
	armorEnded
)

// Bounds of the armour's header, which people can read.
const (
	maxArmorHeaders    = 4
	maxArmorHeaderLine = 100 // octets
)

func newArmorScanner() *armorScanner {
	packets := new(packetScanner)
	return &armorScanner{packets: packets, data: NewBase64Decoder(packets)}
}

// ended reports whether the armour has come to its end, and is whole.
func (a *armorScanner) ended() bool { return a.place == armorEnded }

// line takes a line, without blanks at its end. It reports whether the line
// has its place there.
func (a *armorScanner) line(line string) bool {
	switch a.place {
	case beforeArmor:
		if line == "" {
			return true
		}
		a.place = inArmorHeader
		return line == "-----BEGIN PGP MESSAGE-----"
	case inArmorHeader:
		if line == "" {
			a.place = inArmorData
			return true
		}
		a.headers++
		return a.headers <= maxArmorHeaders && isArmorHeader(line)
	case inArmorData:
		if a.data.Whole() && isChecksum(line) {
			a.place = afterChecksum
			return true
		}
		return a.end(line) || a.dataLine(line)
	}
	return a.end(line)
}

// end takes the last line, if it is that.
func (a *armorScanner) end(line string) bool {
	if line != "-----END PGP MESSAGE-----" || !a.data.Whole() || !a.packets.encrypted() {
		return false
	}
	a.place = armorEnded
	return true
}

func (a *armorScanner) dataLine(line string) bool {
	a.data.Write([]byte(line))
	return line != "" && !a.data.Bad() && !a.packets.hopeless
}

// isArmorHeader goes by RFC 9580, Section 6.2.2.
func isArmorHeader(line string) bool {
	key, _, found := strings.Cut(line, ":")
	return found && len(line) <= maxArmorHeaderLine &&
		slices.Contains([]string{"Version", "Comment", "Charset", "MessageID"}, key)
}

// isChecksum reports whether the line can be the optional checksum. Its value
// is not looked at: RFC 9580, Section 6.1.
func isChecksum(line string) bool {
	if len(line) != 5 || line[0] != '=' {
		return false
	}
	return !strings.ContainsFunc(line[1:], func(r rune) bool { return !strings.ContainsRune(base64Alphabet, r) })
}
