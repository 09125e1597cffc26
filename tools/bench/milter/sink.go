package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// A sink takes every mail by SMTP, as fast as it can, and keeps none.
type sink struct {
	listener net.Listener
	all      sync.WaitGroup

	mu        sync.Mutex // guards what follows
	closed    bool
	conns     map[net.Conn]struct{}
	mails     int
	encrypted int // of mails
	last      time.Time
}

func startSink() (*sink, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &sink{listener: l, conns: make(map[net.Conn]struct{})}
	s.all.Go(s.accept)
	return s, nil
}

func (s *sink) port() int { return s.listener.Addr().(*net.TCPAddr).Port }

func (s *sink) close() {
	s.mu.Lock()
	s.closed = true
	s.listener.Close()
	for c := range s.conns {
		c.Close()
	}
	s.mu.Unlock()
	s.all.Wait()
}

func (s *sink) accept() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.conns[conn] = struct{}{}
		if s.closed {
			conn.Close()
		}
		s.mu.Unlock()
		s.all.Go(func() {
			s.serve(conn)
			conn.Close()
			s.mu.Lock()
			delete(s.conns, conn)
			s.mu.Unlock()
		})
	}
}

// serve answers the commands of one connection. What is asked for in one packet
// is answered in one (RFC 2920).
func (s *sink) serve(conn net.Conn) error {
	r, w := bufio.NewReaderSize(conn, 64<<10), bufio.NewWriter(conn)
	w.WriteString("220 sink.test ESMTP\r\n")
	for {
		if r.Buffered() == 0 {
			if err := w.Flush(); err != nil {
				return err
			}
		}
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		switch verb := string(bytes.ToUpper(line[:min(4, len(line))])); verb {
		case "EHLO":
			w.WriteString("250-sink.test\r\n250-PIPELINING\r\n250 8BITMIME\r\n")
		case "DATA":
			w.WriteString("354 go on\r\n")
			if err := w.Flush(); err != nil {
				return err
			}
			encrypted, err := readMail(r)
			if err != nil {
				return err
			}
			s.count(encrypted)
			w.WriteString("250 2.0.0 gone\r\n")
		case "QUIT":
			w.WriteString("221 2.0.0 bye\r\n")
			return w.Flush()
		default:
			w.WriteString("250 2.0.0 ok\r\n")
		}
	}
}

// readMail reads to the line with nothing but a dot. A mail is encrypted if its
// header says so.
func readMail(r *bufio.Reader) (encrypted bool, err error) {
	inHeader, lineStart := true, true
	for {
		piece, err := r.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return false, err
		}
		switch {
		case lineStart && string(piece) == ".\r\n":
			return encrypted, nil
		case lineStart && string(piece) == "\r\n":
			inHeader = false
		case inHeader && bytes.Contains(piece, []byte("application/pkcs7-mime")):
			encrypted = true
		}
		lineStart = err == nil
	}
}

func (s *sink) count(encrypted bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mails++
	if encrypted {
		s.encrypted++
	}
	s.last = time.Now()
}

// restart counts from zero again.
func (s *sink) restart() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mails, s.encrypted, s.last = 0, 0, time.Time{}
}

// maxDelivery is how long Postfix may be silent to the sink while it has mail.
const maxDelivery = 30 * time.Second

// wait waits for so many mails, and returns when the last one came, and how many of
// them were encrypted.
func (s *sink) wait(ctx context.Context, mails int) (last time.Time, encrypted int, err error) {
	for silent := time.Now(); ; {
		s.mu.Lock()
		arrived := s.mails
		last, encrypted = s.last, s.encrypted
		s.mu.Unlock()
		if last.After(silent) {
			silent = last
		}
		switch {
		case arrived == mails:
			return last, encrypted, nil
		case arrived > mails:
			return last, encrypted, fmt.Errorf("%d mails were sent, and %d have arrived", mails, arrived)
		case time.Since(silent) > maxDelivery:
			return last, encrypted, fmt.Errorf("%d mails were sent, and %d have arrived; no more come", mails, arrived)
		}
		select {
		case <-ctx.Done():
			return last, encrypted, ctx.Err()
		case <-time.After(2 * time.Millisecond):
		}
	}
}
