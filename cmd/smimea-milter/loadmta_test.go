package main_test

import (
	"bufio"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// A milterConn is the MTA's side of a milter connection. It does not keep what
// comes back, but for the body's octets.
type milterConn struct {
	net.Conn
	r *bufio.Reader
	w *bufio.Writer
}

// dialMilter opens a connection and offers what Postfix does.
func dialMilter(socket string) (*milterConn, error) {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return nil, err
	}
	conn.SetDeadline(time.Now().Add(10 * time.Minute))
	m := &milterConn{conn, bufio.NewReader(conn), bufio.NewWriterSize(conn, 8<<10)}
	offer := binary.BigEndian.AppendUint32(nil, 6)
	offer = binary.BigEndian.AppendUint32(offer, 0x1ff)
	offer = binary.BigEndian.AppendUint32(offer, 0x1fffff)
	m.put('O', offer)
	if _, err := m.want('O'); err != nil {
		conn.Close()
		return nil, err
	}
	if err := m.ask('C', "localhost\x00"+"4\x04\x00"+"127.0.0.1\x00"); err != nil {
		conn.Close()
		return nil, err
	}
	return m, nil
}

// put sends a frame, some time. An error comes again when a frame is read.
func (m *milterConn) put(command byte, data []byte) error {
	m.w.Write(binary.BigEndian.AppendUint32(nil, uint32(1+len(data))))
	m.w.WriteByte(command)
	_, err := m.w.Write(data)
	return err
}

// get reads a frame.
func (m *milterConn) get() (command byte, data []byte, err error) {
	if err := m.w.Flush(); err != nil {
		return 0, nil, err
	}
	var head [5]byte
	if _, err := io.ReadFull(m.r, head[:]); err != nil {
		return 0, nil, fmt.Errorf("the milter hangs up: %w", err)
	}
	n := binary.BigEndian.Uint32(head[:])
	if n == 0 || n > 1<<20 {
		return 0, nil, fmt.Errorf("a frame of %d octets", n)
	}
	data = make([]byte, n-1)
	_, err = io.ReadFull(m.r, data)
	return head[4], data, err
}

// want reads a frame that must be of that kind. A reply to the client in its
// place is a loadDeferred.
func (m *milterConn) want(wanted byte) ([]byte, error) {
	command, data, err := m.get()
	switch {
	case err != nil:
		return nil, err
	case command == 'y':
		return nil, &loadDeferred{strings.TrimSuffix(string(data), "\x00")}
	case command != wanted:
		return nil, fmt.Errorf("the milter says %q %.100q, want %q", command, data, wanted)
	}
	return data, nil
}

// ask sends a frame and is to hear "continue".
func (m *milterConn) ask(command byte, data string) error {
	if err := m.put(command, []byte(data)); err != nil {
		return err
	}
	_, err := m.want('c')
	return err
}

// begin begins a mail, up to the end of its header. Nobody hears of a single
// header field.
func (m *milterConn) begin(to string) error {
	if err := m.ask('M', "<bob@house.test>\x00"); err != nil {
		return err
	}
	if err := m.ask('R', "<"+to+">\x00"); err != nil {
		return err
	}
	for line := range strings.SplitSeq("To: "+to+"\r\nMIME-Version: 1.0\r\n"+loadFields, "\r\n") {
		if name, value, ok := strings.Cut(line, ":"); ok {
			if err := m.put('L', []byte(name+"\x00"+value+"\x00")); err != nil {
				return err
			}
		}
	}
	return m.ask('N', "")
}

// body sends the body in pieces as Postfix does.
func (m *milterConn) body(r io.Reader) error {
	piece := make([]byte, 65535)
	for {
		n, err := io.ReadFull(r, piece)
		if n > 0 {
			if err := m.put('B', piece[:n]); err != nil {
				return err
			}
		}
		if err != nil {
			return m.w.Flush()
		}
	}
}

// end ends the mail and returns the object that the new body is. It calls begun
// when that begins to come.
func (m *milterConn) end(begun func()) (object []byte, err error) {
	if err := m.put('E', nil); err != nil {
		return nil, err
	}
	var text []byte
	for {
		command, data, err := m.get()
		if command == 'b' && text == nil {
			begun()
			text = make([]byte, 0, *loadSize*megabyte*14/10)
		}
		switch {
		case err != nil:
			return nil, err
		case command == 'b':
			text = append(text, data...)
		case command == 'a' && text == nil:
			return nil, errors.New("it went on as it was")
		case command == 'a':
			return decodeLines(text)
		case command == 'y':
			return nil, &loadDeferred{strings.TrimSuffix(string(data), "\x00")}
		case strings.IndexByte("phm", command) < 0: // progress, and fields
			return nil, fmt.Errorf("the milter says %q %.100q at the end", command, data)
		}
	}
}

// decodeLines decodes base64 in place. There must be nothing else.
func decodeLines(text []byte) ([]byte, error) {
	lines := len(text)
	n, err := base64.StdEncoding.Strict().Decode(text, text)
	if err == nil && lines != base64.StdEncoding.EncodedLen(n)+(n+56)/57*2 {
		err = errors.New("the body is not in full lines")
	}
	if err != nil {
		return nil, err
	}
	return text[:n], nil
}
