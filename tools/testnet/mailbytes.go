package testnet

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/emersion/go-milter"
)

// A mail is what a milter can change: fields one by one, and the body.
type mail struct {
	fields []field
	body   []byte
}

// A field is a header field as it came: the value begins after the colon and
// keeps its spaces and folds.
type field struct{ name, value string }

// parseMail splits a mail. The header ends at an empty line, which is left
// out, or at a line that belongs to no field, which begins the body.
func parseMail(data []byte) *mail {
	m := new(mail)
	for len(data) > 0 {
		line, rest, _ := bytes.Cut(data, []byte("\n"))
		line = bytes.TrimSuffix(line, []byte("\r"))
		if len(line) == 0 {
			data = rest
			break
		}
		if !m.addLine(string(line)) {
			break
		}
		data = rest
	}
	m.body = data
	return m
}

// addLine adds a line to the header, and says whether it is one.
func (m *mail) addLine(line string) bool {
	if line[0] == ' ' || line[0] == '\t' {
		if len(m.fields) == 0 {
			return false
		}
		m.fields[len(m.fields)-1].value += "\r\n" + line
		return true
	}
	name, value, ok := strings.Cut(line, ":")
	if ok {
		m.fields = append(m.fields, field{name, value})
	}
	return ok
}

func (m *mail) bytes() []byte {
	var b bytes.Buffer
	for _, f := range m.fields {
		b.WriteString(f.name + ":" + f.value + "\r\n")
	}
	b.WriteString("\r\n")
	b.Write(m.body)
	return b.Bytes()
}

// toMilter returns the value as a milter sees it: folds are LF, and one leading
// space is kept only where that was agreed on (SMFIP_HDR_LEADSPC).
func (f field) toMilter(spaced bool) string {
	value := strings.ReplaceAll(f.value, "\r\n", "\n")
	if !spaced {
		value = strings.TrimPrefix(value, " ")
	}
	return value
}

// fromMilter is the other direction.
func fromMilter(name, value string, spaced bool) field {
	value = strings.ReplaceAll(strings.ReplaceAll(value, "\r\n", "\n"), "\n", "\r\n")
	if !spaced {
		value = " " + value
	}
	return field{name, value}
}

// change does what a milter asks for at the end of a mail, in its order.
func (m *mail) change(changes []milter.ModifyAction, spaced bool) error {
	var body []byte
	replaced := false
	for _, c := range changes {
		f := fromMilter(c.HeaderName, c.HeaderValue, spaced)
		switch c.Code {
		case milter.ActAddHeader:
			m.fields = append(m.fields, f)
		case milter.ActInsertHeader: // both 0 and 1 mean the top
			at := min(max(int(c.HeaderIndex)-1, 0), len(m.fields))
			m.fields = slices.Insert(m.fields, at, f)
		case milter.ActChangeHeader:
			m.set(f, int(c.HeaderIndex), c.HeaderValue == "")
		case milter.ActReplBody:
			body, replaced = append(body, c.Body...), true
		default:
			return fmt.Errorf("testnet: the milter asks for %q", c.Code)
		}
	}
	if replaced {
		m.body = body
	}
	return nil
}

// set changes or removes the nth field of a name, counted from 1. Where there
// is none, it adds one.
func (m *mail) set(f field, nth int, remove bool) {
	nth = max(nth, 1)
	i := slices.IndexFunc(m.fields, func(other field) bool {
		if strings.EqualFold(other.name, f.name) {
			nth--
		}
		return nth == 0
	})
	switch {
	case i >= 0 && remove:
		m.fields = slices.Delete(m.fields, i, i+1)
	case i >= 0:
		m.fields[i] = f
	case !remove:
		m.fields = append(m.fields, f)
	}
}
