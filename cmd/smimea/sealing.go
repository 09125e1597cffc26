package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"

	"smimea.example/internal/cms"
	"smimea.example/internal/message"
)

// How an entity gets into its envelope. The length of an object stands at its
// beginning: where that of the entity is known, because it comes from a file,
// nothing has to be kept. Otherwise the ciphertext waits in a file without a
// name, or the whole entity in memory if it is to be authenticated.

// An entity is what goes into an envelope: fields, an empty line, a body.
type entity struct {
	fields message.Header
	body   io.Reader
	unix   bool  // the body has LF, and gets CRLF
	size   int64 // octets of the body
	sized  bool  // that is known
}

func newReadAhead(in io.Reader) *bufio.Reader { return bufio.NewReaderSize(in, 64<<10) }

// unread is how many octets are left of a regular file from which some have been
// read ahead.
func unread(in io.Reader, ahead int) (int64, bool) {
	f, ok := in.(*os.File)
	if !ok {
		return 0, false
	}
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return 0, false
	}
	at, err := f.Seek(0, io.SeekCurrent)
	left := info.Size() - at + int64(ahead)
	return left, err == nil && left >= 0
}

// writeTo writes the entity with the line ends of mail.
func (e entity) writeTo(w io.Writer) error {
	if err := writeHeader(w, e.fields); err != nil {
		return err
	}
	return e.writeBody(w)
}

func (e entity) writeBody(w io.Writer) error {
	if e.unix {
		w = &crlfWriter{w: w}
	}
	n, err := io.Copy(w, io.LimitReader(e.body, maxMessage+1))
	if err != nil {
		return err
	}
	return checkSize(n)
}

func checkSize(n int64) error {
	if n > maxMessage {
		return fmt.Errorf("the message is larger than %d MB", maxMessage>>20)
	}
	return nil
}

// An object writes itself.
type object func(io.Writer) error

// write writes the encrypted message: the fields that stay outside, and the
// entity in its envelope.
func (e encryption) write(w io.Writer, outside message.Header, inside entity) error {
	prepare := e.spooled
	switch {
	case e.cipher.Authenticated():
		prepare = e.inMemory
	case inside.sized && !inside.unix:
		prepare = e.direct
	}
	encrypted, err := prepare(inside)
	if err != nil {
		return err
	}
	if err := writeHeader(w, outside, message.Envelope(e.cipher.Authenticated())); err != nil {
		return err
	}
	body := message.NewBase64Writer(w)
	if err := encrypted(body); err != nil {
		return err
	}
	return body.Close()
}

// direct encrypts an entity of known length as it is read. A file that changes
// meanwhile is an error, and leaves a message behind that has no end.
func (e encryption) direct(inside entity) (object, error) {
	if err := checkSize(inside.size); err != nil {
		return nil, err
	}
	var head bytes.Buffer
	if err := writeHeader(&head, inside.fields); err != nil {
		return nil, err
	}
	n := int64(head.Len()) + inside.size
	return func(w io.Writer) error {
		return cms.Encrypt(w, io.MultiReader(&head, inside.body), n, e.to, e.cipher)
	}, nil
}

// inMemory encrypts what must be complete before it is encrypted.
func (e encryption) inMemory(inside entity) (object, error) {
	content, err := inside.whole()
	if err != nil {
		return nil, err
	}
	sealed, err := cms.Seal(content, e.to, e.cipher)
	return copied(sealed, bytes.NewReader(content)), err
}

// whole reads the entity into memory, and leaves room behind it.
func (e entity) whole() ([]byte, error) {
	var whole bytes.Buffer
	if err := writeHeader(&whole, e.fields); err != nil {
		return nil, err
	}
	if e.sized {
		if err := checkSize(e.size); err != nil {
			return nil, err
		}
		whole = *bytes.NewBuffer(roomFor(whole.Bytes(), int(e.size)))
	}
	if err := e.writeBody(&whole); err != nil {
		return nil, err
	}
	whole.Grow(cms.SealOverhead)
	return whole.Bytes(), nil
}

// roomFor moves p to where n octets more find room, and a last look whether
// there is more.
func roomFor(p []byte, n int) []byte {
	room := make([]byte, len(p)+n+bytes.MinRead)
	hugePages(room)
	return room[:copy(room, p)]
}

// spooled encrypts an entity of any length.
func (e encryption) spooled(inside entity) (object, error) {
	spool, err := newSpool()
	if err != nil {
		return nil, err
	}
	buffered := bufio.NewWriterSize(spool, 64<<10)
	w, err := cms.NewWriter(buffered, e.to, e.cipher)
	if err != nil {
		return nil, err
	}
	if err := inside.writeTo(w); err != nil {
		return nil, err
	}
	sealed, err := w.Close()
	if err != nil {
		return nil, err
	}
	if err := buffered.Flush(); err != nil {
		return nil, err
	}
	_, err = spool.Seek(0, io.SeekStart)
	return copied(sealed, spool), err
}

// copied is an object whose ciphertext is there already.
func copied(sealed cms.Object, ciphertext io.Reader) object {
	return func(w io.Writer) error {
		_, err := io.Copy(w, sealed.Reader(ciphertext))
		return err
	}
}

// newSpool is a nameless file for ciphertext, which is gone when the command
// ends.
func newSpool() (*os.File, error) {
	f, err := os.CreateTemp("", "smimea-ciphertext-*")
	if err != nil {
		return nil, err
	}
	return f, os.Remove(f.Name())
}

// writeHeader writes the fields and the empty line behind them.
func writeHeader(w io.Writer, parts ...message.Header) error {
	for _, fields := range parts {
		if _, err := fields.WriteTo(w); err != nil {
			return err
		}
	}
	_, err := io.WriteString(w, "\r\n")
	return err
}
