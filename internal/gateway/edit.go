package gateway

import (
	"slices"
	"strings"

	"smimea.example/internal/message"
)

// An edit is what is done to the header of every copy of a mail: marks of its
// sender go, and fields that are for nobody to see.
type edit struct {
	marks   []Mark
	touched []string // names in lower case of fields that bear one

	// What goes from the mail in hand, and what comes in its place: see Verdict.
	inClear []string // if it goes on as it is
	sealed  []string // if it is encrypted
	instead message.Header

	// versioned: the mail in hand has the MIME-Version that its envelope needs. To
	// change a field to what it is costs an MTA as much as any change.
	versioned bool
}

func newEdit(h message.Header, to []recipient) edit {
	var e edit
	for _, r := range to {
		if r.sheds.set() && !slices.Contains(e.marks, r.sheds) {
			e.marks = append(e.marks, r.sheds)
		}
	}
	for _, f := range h {
		if _, ok := e.cut(f); ok {
			e.touched = append(e.touched, lower(f.Name))
		}
	}
	versions := h.Values(mimeVersion)
	e.versioned = len(versions) == 1 && versions[0] == "1.0"
	for _, f := range h {
		touched := e.touches(f)
		if touched {
			e.instead = append(e.instead, e.rest(f)...)
		}
		if touched || f.IsBlind() {
			e.inClear = append(e.inClear, f.Name)
		}
		if touched || !f.StaysOutside() && !(e.versioned && f.Is(mimeVersion)) {
			e.sealed = append(e.sealed, f.Name)
		}
	}
	return e
}

const mimeVersion = "MIME-Version"

// envelope is what comes into the header of the mail in hand, if it is encrypted.
func (e edit) envelope(authenticated bool) message.Header {
	fields := message.Envelope(authenticated)
	if e.versioned {
		fields = slices.DeleteFunc(fields, func(f message.Field) bool { return f.Is(mimeVersion) })
	}
	return slices.Concat(e.instead, fields)
}

// cut takes every mark out of a field.
func (e edit) cut(f message.Field) (value string, ok bool) {
	value = f.Value
	for _, mark := range e.marks {
		if rest, found := mark.cut(message.Field{Name: f.Name, Value: value}); found {
			value, ok = rest, true
		}
	}
	return value, ok
}

// touches: fields are named by their place among those of the same name, so all
// of a name are dealt with together.
func (e edit) touches(f message.Field) bool { return slices.Contains(e.touched, lower(f.Name)) }

// rest is what stays of a field; nothing of one that was but a mark, or empty: a
// milter cannot write a field without a value.
func (e edit) rest(f message.Field) message.Header {
	value, _ := e.cut(f)
	if strings.TrimSpace(value) == "" {
		return nil
	}
	return message.Header{{Name: f.Name, Value: value}}
}

// header is that of a copy: of one in clear, or what is outside an envelope.
func (e edit) header(h message.Header, sealed bool) message.Header {
	var all message.Header
	for _, f := range h {
		switch {
		case e.touches(f):
			all = append(all, e.rest(f)...)
		case f.IsBlind(), sealed && !f.StaysOutside():
		default:
			all = append(all, f)
		}
	}
	return all
}
