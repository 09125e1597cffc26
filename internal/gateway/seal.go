package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"smimea.example/internal/cms"
	"smimea.example/internal/message"
)

// A sealing is the encryption of one mail for one group: the entity goes in as
// it arrives, the body of the new mail comes out at the end.
//
// With CBC the ciphertext is made on the way, and takes the same memory whatever
// the length of the mail. GCM needs the entity as a whole, once, at the end: on
// the way it lies behind a veil, and takes its share of the memory when its
// length is known.
type sealing struct {
	group  Group
	spool  spool
	writer *cms.Writer // nil with GCM
	size   int64       // of the entity so far, in octets

	memory *memory
	wait   time.Duration // for a share of the memory
	whole  []byte        // the share
}

var (
	errNoMemory = errors.New("no memory for the mail became free in time")
	errTooLong  = errors.New("the mail is longer than the memory for whole mails")
)

// begin makes an envelope for the group. The spool's file, if it takes one,
// goes to dir.
func (s *sealing) begin(dir string, to Group) (err error) {
	s.group, s.spool.dir = to, dir
	if to.cipher().Authenticated() {
		s.spool.veil, err = newVeil()
		return err
	}
	s.writer, err = cms.NewWriter(&s.spool, to.certs(), to.cipher())
	return err
}

// header puts in the fields that go inside, and the empty line behind them
// (RFC 8551, Section 3.1).
func (s *sealing) header(h message.Header) error {
	return writeHeader(s, h.Entity())
}

// Write takes a piece of the entity.
func (s *sealing) Write(p []byte) (int, error) {
	s.size += int64(len(p))
	if s.writer != nil {
		return s.writer.Write(p)
	}
	if s.size+cms.SealOverhead > s.memory.size {
		return 0, errTooLong
	}
	return s.spool.Write(p)
}

// finish returns the new body, which can be read until Close. It has read the
// object back by then, and seen that it is for everybody whom the mail is for.
// With GCM it may have to wait.
func (s *sealing) finish(ctx context.Context, all []cms.Recipient) (io.Reader, error) {
	object, ciphertext, err := s.seal(ctx)
	if err != nil {
		return nil, err
	}
	if err := object.Check(all, s.group.cipher(), s.size); err != nil {
		return nil, err
	}
	return newBase64Reader(object.Reader(ciphertext)), nil
}

func (s *sealing) seal(ctx context.Context) (cms.Object, io.Reader, error) {
	if s.writer == nil {
		// The entity comes out from behind the veil.
		content, err := s.spool.content()
		if err != nil {
			return cms.Object{}, nil, err
		}
		defer s.spool.Close()
		return s.sealWhole(ctx, content)
	}
	object, err := s.writer.Close()
	if err != nil {
		return object, nil, err
	}
	ciphertext, err := s.spool.content()
	return object, ciphertext, err
}

// sealWhole reads the entity and encrypts it where it lies.
func (s *sealing) sealWhole(ctx context.Context, content io.Reader) (cms.Object, io.Reader, error) {
	if err := s.borrow(ctx); err != nil {
		return cms.Object{}, nil, err
	}
	entity := s.whole[:s.size]
	if _, err := io.ReadFull(content, entity); err != nil {
		return cms.Object{}, nil, fmt.Errorf("reading the spool: %w", err)
	}
	object, err := cms.Seal(entity, s.group.certs(), s.group.cipher())
	return object, bytes.NewReader(entity), err
}

// borrow waits for memory for the entity and what sealing it takes.
func (s *sealing) borrow(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, s.wait, errNoMemory)
	defer cancel()
	s.whole, err = s.memory.lend(ctx, s.size+cms.SealOverhead)
	return err
}

// Close drops the mail. The body must not be read any more.
func (s *sealing) Close() {
	s.spool.Close()
	if s.whole != nil {
		clear(s.whole) // it may not have been encrypted
		s.memory.giveBack(s.whole)
		s.whole = nil
	}
}

// The pieces grow to their full length: most mails are short.
const (
	firstPiece = 6 << 10
	fullPiece  = 24 << 10
)

// A base64Reader is the base64 of what it reads, in the lines of a mail.
type base64Reader struct {
	from    io.Reader
	to      io.WriteCloser // writes to encoded
	encoded bytes.Buffer
	piece   []byte
	err     error // of from; kept for when encoded is empty
}

func newBase64Reader(from io.Reader) *base64Reader {
	r := &base64Reader{from: from, piece: make([]byte, firstPiece)}
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
	if n == len(r.piece) && n < fullPiece {
		r.piece = make([]byte, min(2*n, fullPiece))
	}
	r.err = err
	if failed != nil {
		r.err = failed
	}
}
