package main_test

import "strings"

// What Sendmail 8.17 as Debian has it refuses of the corpus, where Postfix takes
// it. The first row that fits counts.
var sendmailRefuses = []struct {
	why   string
	fits  func(s *sentMail) bool
	reply string
}{
	{"it was built without SMTPUTF8", func(s *sentMail) bool { return s.utf8 }, "555 5.5.4"},
	{"a CR or LF alone may smuggle another mail", func(s *sentMail) bool { return hasBareLineEnd(s.raw) }, "421 4.5.0"},
	{"Debian's settings take no NUL", func(s *sentMail) bool { return strings.Contains(s.raw, "\x00") }, "554 5.6.1"},
	{"the header is longer than MaxHeadersLength, 32 KB", func(s *sentMail) bool { return headerLength(s.raw) > 32<<10 }, "552 5.6.0"},
}

// What it cuts off at about 256 octets, whatever MaxMimeHeaderLength says: how
// much of the field Content-Type is left.
var sendmailCuts = map[string]int{
	"Content-Type with 120 parameters":     273,
	"boundary that is longer than allowed": 270,
}

func hasBareLineEnd(raw string) bool {
	return strings.ContainsAny(strings.ReplaceAll(raw, "\r\n", ""), "\r\n")
}

func headerLength(raw string) int {
	header, _, _ := strings.Cut(raw, "\r\n\r\n")
	return len(header)
}

// takes takes a mail apart as Sendmail does. Nearly all is as with Postfix.
func (*sendmail) takes(s *sentMail) (m takenMail, refused string) {
	for _, row := range sendmailRefuses {
		if row.fits(s) {
			return takenMail{}, row.reply
		}
	}
	m = asPostfix(s.raw, s.bdat)
	for i, f := range m.fields {
		if n := sendmailCuts[s.name]; n > 0 && fieldName(f) == "content-type" {
			m.fields[i] = f[:n]
		}
	}
	switch s.name {
	case "Content-Length": // Postfix drops the field
		m.fields = append([]string{"Content-Length: 12"}, m.fields...)
	case "From line of a mailbox": // dropped
		m.fields = m.fields[1:]
	case "quoted From line": // no field, so the body begins with it
		m = takenMail{body: s.raw}
	}
	return m, ""
}
