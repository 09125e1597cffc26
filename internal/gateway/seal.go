package gateway

import (
	"bytes"
	"errors"
	"io"

	"smimea.example/internal/cms"
	"smimea.example/internal/message"
)

// A sealing is the encryption of one mail for one group: the entity goes in as
// it arrives, the body of the new mail comes out at the end.
type sealing struct {
	spool  spool
	writer *cms.Writer
}

// begin makes an envelope for the group. The spool's file, if it takes one,
// goes to dir.
func (s *sealing) begin(dir string, to Group) (err error) {
	s.spool.dir = dir
	s.writer, err = cms.NewWriter(&s.spool, to.certs(), cms.AES256CBC)
	return err
}

// header puts in the fields that go inside, and the empty line behind them
// (RFC 8551, Section 3.1).
func (s *sealing) header(h message.Header) error {
	if _, err := h.Entity().WriteTo(s.writer); err != nil {
		return err
	}
	_, err := io.WriteString(s.writer, "\r\n")
	return err
}

// Write takes a piece of the body.
func (s *sealing) Write(p []byte) (int, error) {
	return s.writer.Write(p)
}

// finish returns the new body, which can be read until Close.
func (s *sealing) finish() (io.Reader, error) {
	object, err := s.writer.Close()
	if err != nil {
		return nil, err
	}
	content, err := s.spool.content()
	if err != nil {
		return nil, err
	}
	return newBase64Reader(object.Reader(content)), nil
}

// Close drops the ciphertext.
func (s *sealing) Close() {
	s.spool.Close()
}

// A base64Reader is the base64 of what it reads, in the lines of a mail.
type base64Reader struct {
	from    io.Reader
	to      io.WriteCloser // writes to encoded
	encoded bytes.Buffer
	piece   []byte
	err     error // of from; kept for when encoded is empty
}

func newBase64Reader(from io.Reader) *base64Reader {
	r := &base64Reader{from: from, piece: make([]byte, 24<<10)}
	r.to = message.NewBase64Writer(&r.encoded)
	return r
}

func (r *base64Reader) Read(p []byte) (int, error) {
	for r.encoded.Len() == 0 {
		if r.err != nil {
			return 0, r.err
		}
		r.fill()
	}
	return r.encoded.Read(p)
}

// fill encodes one piece more.
func (r *base64Reader) fill() {
	n, err := r.from.Read(r.piece)
	_, failed := r.to.Write(r.piece[:n])
	if errors.Is(err, io.EOF) {
		failed = errors.Join(failed, r.to.Close())
	}
	r.err = err
	if failed != nil {
		r.err = failed
	}
}
