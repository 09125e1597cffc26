package message

import (
	"bufio"
	"bytes"
	"mime"
	"slices"
	"strings"
)

// A PGPScanner watches the body of a multipart/encrypted pass by (RFC 3156,
// Section 4), and says in the end whether it was PGP/MIME and nothing else: two
// parts, of which the first says "Version: 1" and the second is an armour that
// holds one encrypted message; no text before, between or after these. Whether
// the ciphertext is one, only the recipient can tell.
//
// It takes the same memory whatever comes.
type PGPScanner struct {
	delimiter string
	lines     lineSplitter
	place     pgpPlace
	header    []byte // of the part at hand, while it is read
	armor     *armorScanner
	hopeless  bool
}

// A pgpPlace is where in the body a line is expected.
type pgpPlace uint8

const (
	beforeParts pgpPlace = iota
	inFirstHeader
	inVersion
	afterVersion
	inSecondHeader
	inArmor
	afterArmor
	afterParts
)

// maxPartHeader bounds the header of a part, in octets.
const maxPartHeader = 1000

// NewPGPScanner returns a scanner of parts with that boundary.
func NewPGPScanner(boundary string) *PGPScanner {
	return &PGPScanner{
		delimiter: "--" + boundary,
		armor:     newArmorScanner(),
		hopeless:  !isBoundary(boundary),
	}
}

// isBoundary: RFC 2046, Section 5.1.1.
func isBoundary(s string) bool {
	return s != "" && len(s) <= 70 && !strings.HasSuffix(s, " ") && !strings.ContainsAny(s, "\r\n")
}

// Write takes a piece of the body. It never fails.
func (s *PGPScanner) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0 && !s.hopeless; {
		line, n := s.lines.next(rest)
		rest = rest[n:]
		s.hopeless = s.lines.long || line != nil && !s.line(string(line))
	}
	return len(p), nil
}

// Hopeless reports that nothing that may follow can make it PGP/MIME any more.
func (s *PGPScanner) Hopeless() bool { return s.hopeless }

// Encrypted reports whether everything written so far is PGP/MIME, to its end.
func (s *PGPScanner) Encrypted() bool {
	last := string(bytes.TrimRight(s.lines.partial(), " \t\r"))
	switch {
	case s.hopeless:
		return false
	case s.place == afterArmor:
		return last == s.delimiter+"--"
	}
	return s.place == afterParts && last == ""
}

// line takes a line and reports whether it has its place there. Blanks at its
// end do not count: mail programs add and remove them.
func (s *PGPScanner) line(whole string) bool {
	line := strings.TrimRight(whole, " \t")
	if s.inHeader() && line == "" && whole != "" {
		return false // Some readers go on with the header, and some do not.
	}
	// What begins like a delimiter may be taken for one.
	if strings.HasPrefix(line, s.delimiter) {
		return s.delimit(line[len(s.delimiter):])
	}
	switch s.place {
	case inFirstHeader, inSecondHeader:
		return s.headerLine(line)
	case inVersion:
		s.place = afterVersion
		return strings.EqualFold(line, "Version: 1")
	case inArmor:
		ok := s.armor.line(line)
		if s.armor.ended() {
			s.place = afterArmor
		}
		return ok
	}
	return line == ""
}

func (s *PGPScanner) inHeader() bool {
	return s.place == inFirstHeader || s.place == inSecondHeader
}

// delimit goes on to the next part.
func (s *PGPScanner) delimit(behind string) bool {
	switch {
	case s.place == beforeParts && behind == "":
		s.place = inFirstHeader
	case s.place == afterVersion && behind == "":
		s.place = inSecondHeader
	case s.place == afterArmor && behind == "--":
		s.place = afterParts
	default:
		return false
	}
	return true
}

// headerLine takes a line of a part's header.
func (s *PGPScanner) headerLine(line string) bool {
	s.header = append(append(s.header, line...), '\n')
	if line != "" {
		return len(s.header) <= maxPartHeader
	}
	h, err := ReadHeader(bufio.NewReader(bytes.NewReader(s.header)))
	s.header = s.header[:0]
	if err != nil {
		return false
	}
	if s.place == inFirstHeader {
		s.place = inVersion
		return isPart(h, "application/pgp-encrypted")
	}
	s.place = inArmor
	return isPart(h, "application/octet-stream")
}

// isPart checks the header of a part: that it has the type, is not encoded,
// and holds nothing besides that people could read.
func isPart(h Header, want string) bool {
	kinds, encodings := h.Values("Content-Type"), h.Values("Content-Transfer-Encoding")
	if len(kinds) != 1 || len(encodings) > 1 || hasStrangers(h) {
		return false
	}
	kind, _, err := mime.ParseMediaType(kinds[0])
	return err == nil && kind == want && (len(encodings) == 0 || strings.EqualFold(encodings[0], "7bit"))
}

// hasStrangers reports whether there are other fields than parts of PGP/MIME
// have, or more of them, or a description that somebody has thought of.
func hasStrangers(h Header) bool {
	usual := []string{"Content-Type", "Content-Transfer-Encoding", "Content-Description", "Content-Disposition"}
	return slices.ContainsFunc(h, func(f Field) bool {
		return !slices.ContainsFunc(usual, f.Is) || len(h.Values(f.plainName())) > 1
	}) || slices.ContainsFunc(h.Values("Content-Description"), isText)
}

// isText reports whether a Content-Description says anything of its own.
//
// QUIRK: Thunderbird, GPGMail and Mailvelope describe both parts of
// each mail, always with these words.
func isText(description string) bool {
	return !slices.Contains([]string{
		"PGP/MIME version identification",
		"PGP/MIME Versions Identification",
		"OpenPGP encrypted message",
	}, description)
}

// maxLine bounds a line of PGP/MIME, in octets: RFC 5322, Section 2.1.1.
const maxLine = 998

// A lineSplitter makes lines of pieces.
type lineSplitter struct {
	held [maxLine + 2]byte
	size int
	long bool // a line was too long
}

// next returns the line that ends in p, without its CRLF or LF, and how much of
// p it took. If none ends there it keeps what there is and returns nil. The
// line is valid until the next call.
func (l *lineSplitter) next(p []byte) ([]byte, int) {
	end := bytes.IndexByte(p, '\n')
	if end < 0 {
		l.hold(p)
		return nil, len(p)
	}
	line := p[:end:end]
	if l.size > 0 {
		l.hold(line)
		line = l.partial()
		l.size = 0
	}
	l.long = l.long || len(line) > maxLine+1
	return bytes.TrimSuffix(line, []byte("\r")), end + 1
}

func (l *lineSplitter) hold(p []byte) {
	n := copy(l.held[l.size:], p)
	l.size += n
	l.long = l.long || n < len(p)
}

// partial is the line that has not ended.
func (l *lineSplitter) partial() []byte { return l.held[:l.size] }
