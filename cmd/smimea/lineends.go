package main

import (
	"bufio"
	"bytes"
	"io"
	"strings"

	"smimea.example/internal/message"
)

// A mail has CRLF line ends, and so must what goes into an envelope (RFC 8551,
// Section 3.1.1). A mail in a file or a pipe on Unix has LF. The first line
// decides which of the two a message is; a message with LF is turned into one
// with CRLF on the way in, and back on the way out.

// unixLines reports whether the first line of a message ends in a bare LF.
func unixLines(r *bufio.Reader) bool {
	start, _ := r.Peek(r.Size()) // An error means a short message, or the next read's.
	line, _, found := bytes.Cut(start, []byte("\n"))
	return found && !bytes.HasSuffix(line, []byte("\r"))
}

// isBinary reports whether the octets of a body have a meaning of their own, so
// that nothing in it can be taken for the end of a line. A multipart is binary
// as soon as one of its parts is (RFC 2045, Section 6.4).
func isBinary(h message.Header) bool {
	return strings.EqualFold(fieldValue(h, "Content-Transfer-Encoding"), "binary")
}

// fieldValue is the first field of a name.
func fieldValue(h message.Header, name string) string {
	if values := h.Values(name); len(values) > 0 {
		return values[0]
	}
	return ""
}

// crlfWriter turns each bare LF into CRLF.
type crlfWriter struct {
	w    io.Writer
	last byte
}

func (c *crlfWriter) Write(p []byte) (int, error) {
	out := make([]byte, 0, len(p)+len(p)/32)
	for _, b := range p {
		if b == '\n' && c.last != '\r' {
			out = append(out, '\r')
		}
		out = append(out, b)
		c.last = b
	}
	if _, err := c.w.Write(out); err != nil {
		return 0, err
	}
	return len(p), nil
}

// lfWriter turns each CRLF into LF. Close writes a CR that was held back, and
// leaves w open.
type lfWriter struct {
	w  io.Writer
	cr bool
}

func (l *lfWriter) Write(p []byte) (int, error) {
	out := make([]byte, 0, len(p)+1)
	for _, b := range p {
		if l.cr && b != '\n' {
			out = append(out, '\r')
		}
		if l.cr = b == '\r'; !l.cr {
			out = append(out, b)
		}
	}
	if _, err := l.w.Write(out); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (l *lfWriter) Close() error {
	if !l.cr {
		return nil
	}
	l.cr = false
	_, err := l.w.Write([]byte{'\r'})
	return err
}

// lines is where a message is written to: buffered, and with the line ends
// that its reader wants. Close leaves the writer below open.
type lines struct {
	io.Writer
	buffered *bufio.Writer
	lf       *lfWriter // nil: CRLF
}

func newLines(w io.Writer, unix bool) *lines {
	buffered := bufio.NewWriterSize(w, 64<<10)
	if !unix {
		return &lines{Writer: buffered, buffered: buffered}
	}
	lf := &lfWriter{w: buffered}
	return &lines{Writer: lf, buffered: buffered, lf: lf}
}

func (l *lines) Close() error {
	if l.lf != nil {
		if err := l.lf.Close(); err != nil {
			return err
		}
	}
	return l.buffered.Flush()
}
