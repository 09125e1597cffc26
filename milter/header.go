package milter

import (
	"errors"
	"fmt"
	"io"
	"strings"

	dj "github.com/d--j/go-milter"

	"smimea.example/internal/gateway"
	"smimea.example/internal/message"
)

// maxHeader bounds the header of a mail, in bytes.
const maxHeader = 4 << 20

// A header remembers, of the fields that were received, what it takes to
// replace them: milters name a field by its name and its place among those of
// the same name.
type header struct {
	size   int
	names  []string       // of fields that go into the envelope, each as it first came
	number map[string]int // of fields of such a name, by the name in lower case

	// fault says why the header cannot be replaced.
	fault *gateway.Reply
}

var (
	longHeader = gateway.Reply{Action: gateway.Refuse, Code: 552, Status: "5.3.4",
		Text: "the header of this mail is too long; remove fields"}
	strayBlank = gateway.Reply{Action: gateway.Refuse, Code: 550, Status: "5.6.0",
		Text: "a header field of this mail has a blank before its colon; correct it"}
)

// add takes one field.
func (h *header) add(f message.Field) {
	h.size += len(f.Name) + len(f.Value)
	if h.size > maxHeader {
		h.fault = &longHeader
		return
	}
	name := strings.TrimRight(f.Name, " \t")
	if outside := (message.Header{{Name: name}}).Outside(); len(outside) > 0 {
		return
	}
	if name != f.Name {
		// RFC 5322, Section 4.5: obsolete, and the protocol has no way to
		// delete such a field.
		h.fault = &strayBlank
		return
	}
	h.count(name)
}

func (h *header) count(name string) {
	if h.number == nil {
		h.number = make(map[string]int)
	}
	key := strings.ToLower(name)
	if h.number[key] == 0 {
		h.names = append(h.names, name)
	}
	h.number[key]++
}

// rewrite makes the mail at the MTA that of the verdict, and returns the length
// of its new body.
func (h *header) rewrite(m dj.Modifier, v gateway.Verdict) (int64, error) {
	if err := h.replace(m, v.Header); err != nil {
		return 0, err
	}
	return replaceBody(m, v.Body)
}

// replace puts the new fields where those of the same name stood, deletes the
// others that went inside, and appends what is new.
func (h *header) replace(m dj.Modifier, fields message.Header) error {
	for _, name := range h.names {
		f, others, found := take(fields, name)
		keep := 0
		if found {
			keep = 1
		}
		if err := deleteFields(m, name, h.number[strings.ToLower(name)], keep); err != nil {
			return err
		}
		if !found {
			continue
		}
		if err := changeField(m, f); err != nil {
			return err
		}
		fields = others
	}
	for _, f := range fields {
		if err := m.AddHeader(f.Name, f.Value); err != nil {
			return err
		}
	}
	return nil
}

// deleteFields leaves keep of n fields. It works from the last to the first:
// Postfix renumbers what remains at once, Sendmail does not.
func deleteFields(m dj.Modifier, name string, n, keep int) error {
	for i := n; i > keep; i-- {
		if err := m.ChangeHeader(i, name, ""); err != nil {
			return err
		}
	}
	return nil
}

func changeField(m dj.Modifier, f message.Field) error {
	if f.Value == "" {
		return fmt.Errorf("milter: field %s has no value, which would delete it", f.Name)
	}
	return m.ChangeHeader(1, f.Name, f.Value)
}

// take returns the first field of that name, and the others.
func take(fields message.Header, name string) (message.Field, message.Header, bool) {
	for i, f := range fields {
		if strings.EqualFold(f.Name, name) {
			return f, append(append(message.Header{}, fields[:i]...), fields[i+1:]...), true
		}
	}
	return message.Field{}, fields, false
}

// replaceBody sends the new body as it is read. An MTA that is sent none keeps
// the old one: that must not happen.
func replaceBody(m dj.Modifier, body io.Reader) (int64, error) {
	if body == nil {
		return 0, errors.New("milter: an encrypted mail without a body")
	}
	r := &countingReader{r: body}
	if err := m.ReplaceBody(r); err != nil {
		return r.n, err
	}
	if r.n == 0 {
		return 0, errors.New("milter: an encrypted mail with an empty body")
	}
	return r.n, nil
}

type countingReader struct {
	r io.Reader
	n int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}
