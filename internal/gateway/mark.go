package gateway

import (
	"fmt"
	"strings"

	"smimea.example/internal/message"
)

// A Mark is what a sender puts into a mail that may go in clear where there is
// no other way: a header field of that name and value, or a tag in the Subject.
// Case does not matter. The zero Mark is none.
type Mark struct {
	Field string // name; "Subject" for a tag
	Text  string // the field's value, or the tag
}

const subject = "Subject"

// ParseMark reads a mark as the settings have it: "X-Encryption: off" or
// "subject: [plain]".
func ParseMark(s string) (Mark, error) {
	name, text, _ := strings.Cut(s, ":")
	m := Mark{strings.TrimSpace(name), strings.TrimSpace(text)}
	switch {
	case m.Text == "" || !isPrintable(m.Text):
	case lower(m.Field) == "subject":
		m.Field = subject
		return m, nil
	case strings.HasPrefix(lower(m.Field), "x-") && isToken(m.Field):
		return m, nil
	}
	return Mark{}, fmt.Errorf(`%q is no mark: write a header field, as in "X-Encryption: off", or a tag in the subject, as in "subject: [plain]"`, s)
}

func (m Mark) set() bool { return m.Field != "" }

// String tells a sender what to write.
func (m Mark) String() string {
	if m.Field == subject {
		return m.Text + " at the beginning of the subject"
	}
	return "the header field " + m.Field + ": " + m.Text
}

// in says whether a mail has the mark. A tag that stands further back in the Subject
// may be that of a mail which somebody answers or passes on, and whose sender wanted
// the answer to be in clear, or did not know.
func (m Mark) in(h message.Header) bool {
	for _, f := range h {
		if _, ok := m.cut(f); ok && (m.Field != subject || f.BeginsWithTag(m.Text)) {
			return true
		}
	}
	return false
}

// cut says whether a field bears the mark, and returns what is left of its value.
func (m Mark) cut(f message.Field) (rest string, ok bool) {
	switch {
	case !f.Is(m.Field):
		return "", false
	case m.Field == subject:
		return f.WithoutTag(m.Text)
	}
	return "", lower(f.Text()) == lower(m.Text)
}

func isPrintable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}

// isToken keeps what a milter can name: RFC 5322, Section 3.6.8.
func isToken(s string) bool {
	return isPrintable(s) && !strings.ContainsAny(s, " :")
}

// unmarked returns the recipients who may get the mail in clear only if it has a
// mark that it has not, and that mark.
func unmarked(recipients []recipient, h message.Header) (missing []string, mark Mark) {
	has := make(map[Mark]bool)
	for _, r := range recipients {
		if !r.mark.set() {
			continue
		}
		if _, known := has[r.mark]; !known {
			has[r.mark] = r.mark.in(h)
		}
		if !has[r.mark] {
			missing, mark = append(missing, r.address), r.mark
		}
	}
	return missing, mark
}
