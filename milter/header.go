package milter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	dj "github.com/d--j/go-milter"

	"smimea.example/internal/gateway"
	"smimea.example/internal/message"
)

// A header is the fields that the envelope replaces: milters name a field by
// its name and its place among those of the same name.
type header struct {
	names  []string       // each once, as it first came
	number map[string]int // of fields of such a name, by the name in lower case
}

// countFields counts fields by their names.
func countFields(names []string) (h header) {
	h.number = make(map[string]int)
	for _, name := range names {
		key := strings.ToLower(name)
		if h.number[key] == 0 {
			h.names = append(h.names, name)
		}
		h.number[key]++
	}
	return h
}

// rewrite makes the mail at the MTA that of the verdict, and returns the length
// of its new body, if it has one. It reads that for as long as ctx lasts.
func rewrite(ctx context.Context, m dj.Modifier, v gateway.Verdict) (int64, error) {
	for _, to := range v.Removes {
		if err := m.DeleteRecipient(to); err != nil {
			return 0, err
		}
	}
	if err := countFields(v.Replaces).replace(m, v.Header); err != nil {
		return 0, err
	}
	if !v.Encrypted {
		return 0, nil
	}
	return replaceBody(ctx, m, v.Body)
}

// replace puts the new fields where those of the same name stood, deletes the
// others that went inside, and appends what is new.
func (h header) replace(m dj.Modifier, fields message.Header) error {
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
func replaceBody(ctx context.Context, m dj.Modifier, body io.Reader) (int64, error) {
	if body == nil {
		return 0, errors.New("milter: an encrypted mail without a body")
	}
	r := &boundedReader{ctx: ctx, r: body}
	if err := m.ReplaceBody(r); err != nil {
		return r.n, err
	}
	if r.n == 0 {
		return 0, errors.New("milter: an encrypted mail with an empty body")
	}
	return r.n, nil
}

// A boundedReader counts what is read, and fails when its time is over. An MTA
// sees each piece as a sign of life, and would wait for them for ever.
type boundedReader struct {
	ctx context.Context
	r   io.Reader
	n   int64
}

func (b *boundedReader) Read(p []byte) (int, error) {
	if err := b.ctx.Err(); err != nil {
		return 0, fmt.Errorf("milter: reading the new body: %w", err)
	}
	n, err := b.r.Read(p)
	b.n += int64(n)
	return n, err
}
