// Package message takes a mail apart and puts it together (RFC 5322, RFC 8551)
// without changing a byte unasked.
//
// A header field is kept as it came: name, and everything behind the colon
// with its spaces and folds. The entity to encrypt is made of the mail's own
// Content-* fields, an empty line and the body (RFC 8551, Section 3.1); all
// other fields stay outside, in their order. No body is ever parsed and
// written again.
//
// Beside that it says who can be seen in To and Cc ([Header.Visible]), writes
// base64 in the lines of a mail ([NewBase64Writer]), and watches bodies that
// claim to be encrypted as they pass by ([Base64Decoder], [PGPScanner]).
package message

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Bounds of a header that is read. Real ones have 2,000 fields, 17 KB of
// References, or lines of 100 KB.
const (
	maxHeader = 4 << 20 // octets
	maxFields = 100_000
)

// A Header is the fields of a message in their order.
type Header []Field

// A Field is one header field. Its line is Name + ":" + Value + CRLF.
type Field struct {
	Name  string // as received, without the colon; a blank before that is part of it
	Value string // as received: leading space and folds (CRLF and blank) included, without the final CRLF
}

// NewField makes a field of a name and a value as an MTA hands them to a
// milter: folds are bare LFs there, which become CRLFs. Nothing else changes.
func NewField(name, value string) Field {
	return Field{Name: name, Value: lineEnds.Replace(value)}
}

var lineEnds = strings.NewReplacer("\r\n", "\r\n", "\n", "\r\n")

// ReadHeader reads a header and the empty line that ends it. Lines may end in
// LF or CRLF; folds come out as CRLF. A message may end with its header.
//
// Errors tell a person which line is wrong, and what to do about it.
func ReadHeader(r *bufio.Reader) (Header, error) {
	in := headerReader{from: r}
	var h Header
	for {
		line, err := in.unit()
		if err != nil {
			return nil, err
		}
		if len(line) == 0 {
			return h, nil
		}
		if len(h) == maxFields {
			return nil, fmt.Errorf("the header has more than %d fields", maxFields)
		}
		f, err := parseField(line)
		if err != nil {
			return nil, fmt.Errorf("line %d %w", in.start, err)
		}
		h = append(h, f)
	}
}

// WriteTo writes the fields, not the empty line.
func (h Header) WriteTo(w io.Writer) (int64, error) {
	var written int64
	var line []byte
	for _, f := range h {
		line = append(line[:0], f.Name...)
		line = append(line, ':')
		line = append(line, f.Value...)
		line = append(line, '\r', '\n')
		n, err := w.Write(line)
		written += int64(n)
		if err != nil {
			return written, err
		}
	}
	return written, nil
}

// Values returns the values of all fields of a name, unfolded (RFC 5322,
// Section 2.2.3) and without the blanks around them.
func (h Header) Values(name string) []string {
	var values []string
	for _, f := range h {
		if f.Is(name) {
			values = append(values, strings.Trim(unfold(f.Value), " \t"))
		}
	}
	return values
}

func unfold(value string) string { return withoutLineEnds.Replace(value) }

var withoutLineEnds = strings.NewReplacer("\r\n", "", "\n", "")

// Is reports whether the field has that name, in whatever case. A blank before
// the colon does not count: RFC 5322, Section 4.5.
func (f Field) Is(name string) bool { return lower(f.plainName()) == lower(name) }

func (f Field) plainName() string { return strings.TrimRight(f.Name, " \t") }

// lower is strings.ToLower for ASCII alone: there are letters in Unicode that
// become these (the long s), and no field name or domain means those. What is
// no UTF-8 stays as it is.
func lower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

// A headerReader reads a header line by line.
type headerReader struct {
	from   *bufio.Reader
	octets int // read
	lines  int // read
	start  int // number of the line that the last unit began with
}

// unit reads a line and those that continue it, without the last line end. It
// is empty at the end of the header.
func (in *headerReader) unit() ([]byte, error) {
	in.start = in.lines + 1
	unit, err := in.line(nil)
	for err == nil && len(unit) > 0 && in.continues() {
		unit, err = in.line(append(unit, '\r', '\n'))
	}
	if errors.Is(err, io.EOF) && in.lines == 0 {
		return nil, errors.New("there is no message: the input is empty")
	}
	if errors.Is(err, io.EOF) {
		return nil, nil
	}
	return unit, err
}

// continues reports whether the next line belongs to the one before: RFC 5322,
// Section 2.2.3.
func (in *headerReader) continues() bool {
	next, _ := in.from.Peek(1) // The next read has the error, too.
	return len(next) == 1 && isBlank(next[0])
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }

// line appends the next line, without its end. It may be the last of the
// message and have none; the error is io.EOF if there is no line any more.
func (in *headerReader) line(before []byte) ([]byte, error) {
	all := before
	for {
		piece, err := in.from.ReadSlice('\n')
		in.octets += len(piece)
		if in.octets > maxHeader {
			return nil, fmt.Errorf("the header has more than %d octets", maxHeader)
		}
		all = append(all, piece...)
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF) && len(all) > len(before):
			in.lines++
			return all, nil
		case err != nil:
			return nil, err
		}
		in.lines++
		return trimLineEnd(all, len(before)), nil
	}
}

// trimLineEnd cuts off the line end of what came behind the first octets.
func trimLineEnd(b []byte, first int) []byte {
	end := len(b) - 1
	if end > first && b[end-1] == '\r' {
		end--
	}
	return b[:end]
}

// parseField takes a line apart. The error goes on where "line 7" begins.
func parseField(line []byte) (Field, error) {
	name, value, found := strings.Cut(string(line), ":")
	f := Field{Name: name, Value: value}
	switch {
	case found && isFieldName(f.plainName()):
		return f, nil
	case strings.HasPrefix(name, "From "), strings.HasPrefix(name, ">From "):
		return Field{}, errors.New(`begins with "From ", as in a mailbox file, and is no header field: remove it`)
	case isBlank(line[0]):
		return Field{}, errors.New("begins with a blank, and there is no header field before it that it could continue")
	case !found:
		return Field{}, fmt.Errorf("is no header field: %s has no colon; an empty line must stand between header and body", excerpt(name))
	}
	return Field{}, fmt.Errorf("is no header field: %s is no name of one; an empty line must stand between header and body", excerpt(name))
}

// isFieldName goes by RFC 5322, Section 3.6.8.
func isFieldName(name string) bool {
	for i := range len(name) {
		if name[i] <= ' ' || name[i] > '~' {
			return false
		}
	}
	return name != ""
}

// excerpt quotes the beginning of something for an error.
func excerpt(s string) string {
	const enough = 40
	if len(s) > enough {
		return fmt.Sprintf("%q…", s[:enough])
	}
	return fmt.Sprintf("%q", s)
}
