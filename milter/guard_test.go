package milter

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	mta "github.com/emersion/go-milter"
)

// frame is a command with its length.
func frame(cmd byte, data string) string {
	return string(binary.BigEndian.AppendUint32(nil, uint32(1+len(data)))) + string(cmd) + data
}

// hello is the negotiation of Postfix and Sendmail.
var hello = frame(cmdNegotiate, "\x00\x00\x00\x06\x00\x00\x01\xff\x00\x1f\xff\xff")

func TestCheckFrame(t *testing.T) {
	good := func(cmd byte, data, why string) {
		t.Helper()
		if err := checkFrame(cmd, []byte(data)); err != nil {
			t.Errorf("%c %q: %v, but %s", cmd, data, err, why)
		}
	}
	bad := func(cmd byte, data, why string) {
		t.Helper()
		if err := checkFrame(cmd, []byte(data)); err == nil {
			t.Errorf("%c %q: accepted, but %s", cmd, data, why)
		}
	}
	good('O', "\x00\x00\x00\x06\x00\x00\x01\xff\x00\x1f\xff\xff", "it is Postfix's")
	bad('O', "\x00\x00\x00\x06\x00\x00\x01\xff\x00\x1f\xff", "a byte is missing")
	bad('O', "\x00\x00\x00\x06\x00\x00\x01\xff\x00\x1f\xff\xff\x00", "there is one byte more")
	good('D', "C", "there may be no macros")
	good('D', "Cj\x00mail.example.org\x00v\x00\x00", "a value may be empty")
	bad('D', "", "the command is missing")
	bad('D', "Cj\x00mail.example.org", "the NUL is missing")
	bad('D', "Cj\x00", "the value is missing")
	good('C', "localhost\x004\x00\x00127.0.0.1\x00", "it is pickup's")
	good('C', "client\x006\x10\x92IPv6:2001:db8::1\x00", "it is IPv6")
	good('C', "client\x00U", "the family may be unknown")
	bad('C', "", "there is nothing")
	bad('C', "client", "the NUL is missing")
	bad('C', "client\x00", "the family is missing")
	bad('C', "client\x004\x10", "the port is cut")
	bad('C', "client\x004\x10\x92", "the address is missing")
	bad('C', "client\x004\x10\x92127.0.0.1", "the NUL is missing")
	bad('C', "client\x00X\x10\x92127.0.0.1\x00", "there is no such family")
	good('H', "client.example.org\x00", "it is HELO")
	bad('H', "", "the string is missing")
	bad('H', "a\x00b\x00", "there are two strings")
	good('M', "<alice@example.org>\x00", "there may be no arguments")
	good('M', "<>\x00SIZE=1000\x00BODY=8BITMIME\x00", "there may be two")
	good('R', "bob@example.net\x00", "pickup has no angle brackets")
	bad('M', "", "the address is missing")
	bad('M', "<alice@example.org>", "the NUL is missing")
	bad('R', "<bob@example.net>\x00NOTIFY", "the NUL is missing")
	bad('R', strings.Repeat("\x00", 101), "nobody has so many arguments")
	good('L', "Subject\x00 x\x00", "it is a field")
	good('L', "Subject\x00\x00", "a value may be empty")
	bad('L', "Subject\x00", "the value is missing")
	bad('L', "Subject\x00 a\x00b\x00", "there are three strings")
	good('B', "", "a piece may be empty")
	good('B', "\x00\x01\xff", "a piece may be anything")
	good('N', "", "it is the end of the header")
	good('E', "", "it is the end of the message")
	bad('E', "rest", "the library would drop it")
	bad('A', "x", "it has no data")
	bad('Q', "\x00", "it has no data")
	bad('Z', "", "there is no such command")
	bad(0, "", "there is no such command")
}

// What a stranger may send to the socket must leave the process alive, and
// serving.
func TestGarbage(t *testing.T) {
	h := serve(t, &Server{Idle: 200 * time.Millisecond, Frame: 100 * time.Millisecond}, nil)
	noise := make([]byte, 1<<20)
	chacha := rand.NewChaCha8([32]byte{1})
	chacha.Read(noise)
	for name, bytes := range map[string]string{
		"nothing":                        "",
		"four zero bytes":                "\x00\x00\x00\x00",
		"four zero bytes, later":         hello + "\x00\x00\x00\x00",
		"512 MB promised":                "\x20\x00\x00\x00M",
		"512 MB promised, later":         hello + "\x20\x00\x00\x00M",
		"4 GB promised":                  "\xff\xff\xff\xff",
		"1 MB and a byte promised":       hello + "\x00\x10\x00\x01B",
		"a megabyte of noise":            string(noise),
		"a megabyte of noise, later":     hello + string(noise),
		"connect without a NUL":          hello + frame('C', "client"),
		"connect without a family":       hello + frame('C', "client\x00"),
		"sender without a NUL":           hello + frame('M', "<alice@example.org>"),
		"recipient without a NUL":        hello + frame('M', "<>\x00") + frame('R', "<bob@example.net>"),
		"field of three strings":         hello + frame('M', "<>\x00") + frame('L', "a\x00b\x00c\x00"),
		"macros without a command":       hello + frame('D', ""),
		"no negotiation":                 frame('M', "<alice@example.org>\x00"),
		"two negotiations":               hello + hello,
		"short negotiation":              frame('O', "\x00\x00\x00\x06"),
		"negotiation of version 2":       frame('O', "\x00\x00\x00\x02\x00\x00\x01\xff\x00\x00\x00\x7f"),
		"end of message with a body":     hello + frame('M', "<>\x00") + frame('N', "") + frame('E', "rest"),
		"IPv4 address that is none":      hello + frame('C', "client\x004\x10\x92nonsense\x00"),
		"unknown command":                hello + frame('Z', ""),
		"HTTP":                           "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"half a frame, then silence":     hello + "\x00\x00\x10\x00Bhalf",
		"half a length, then silence":    "\x00\x00",
		"negotiation, then silence":      hello,
		"many new connections announced": hello + strings.Repeat(frame('K', ""), 1000) + "\x00\x00\x00\x00",
	} {
		if !closed(t, h.addr, bytes) {
			t.Errorf("%s: the connection stays open", name)
		}
	}
	h.good()
}

// closed sends bytes and says whether the other side then closes.
func closed(t *testing.T, addr net.Addr, bytes string) bool {
	t.Helper()
	conn, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	go io.WriteString(conn, bytes)
	_, err = io.Copy(io.Discard, conn)
	return err == nil || !os.IsTimeout(err)
}

func TestPeerThatDoesNotNegotiate(t *testing.T) {
	h := serve(t, &Server{Idle: time.Hour, Frame: 50 * time.Millisecond}, nil)
	if !closed(t, h.addr, "") {
		t.Error("the connection stays open")
	}
}

// Postfix is silent while it takes a mail in, however long that is.
func TestSilenceWithAMailInFlight(t *testing.T) {
	h := serve(t, &Server{Idle: 200 * time.Millisecond}, nil)
	s := h.dial()
	want(t, "connect")(s.Conn("client.example.org", mta.FamilyInet, 4711, "192.0.2.1"))
	want(t, "mail")(s.Mail("alice@example.org", nil))
	want(t, "rcpt")(s.Rcpt("bob@example.net", nil))
	time.Sleep(500 * time.Millisecond)
	want(t, "end of header, after a while")(s.HeaderEnd())
	want(t, "body")(s.BodyChunk([]byte("Hello\r\n")))
	if _, act, err := s.End(); err != nil || act.Code != mta.ActAccept {
		t.Fatal(act, err)
	}
	time.Sleep(500 * time.Millisecond)
	if _, err := s.Mail("alice@example.org", nil); err == nil {
		t.Error("the connection stays open with no mail in flight")
	}
}

// A frame that comes a byte at a time is not waited for longer than one that
// does not come, however long its peer goes on.
func TestSlowPeer(t *testing.T) {
	h := serve(t, &Server{Idle: time.Minute, Frame: 100 * time.Millisecond}, nil)
	conn, err := net.Dial("tcp", h.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, hello)
	start := time.Now()
	for _, b := range []byte(frame('H', strings.Repeat("x", 200)+"\x00")) {
		if _, err := conn.Write([]byte{b}); err != nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if d := time.Since(start); d > time.Second {
		t.Errorf("a frame was waited for %s", d)
	}
	h.good()
}

func TestRandomConnections(t *testing.T) {
	h := serve(t, &Server{Idle: time.Second, Frame: 100 * time.Millisecond}, nil)
	var wg sync.WaitGroup
	for worker := range 10 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(worker)))
			for range 300 {
				random(t, h.addr, r)
			}
		})
	}
	wg.Wait()
	h.good()
}

// random sends well-formed and malformed frames, and leaves.
func random(t *testing.T, addr net.Addr, r *rand.Rand) {
	conn, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Error(err)
		return
	}
	defer conn.Close()
	if r.IntN(4) > 0 {
		io.WriteString(conn, hello)
	}
	for range r.IntN(6) {
		data := make([]byte, r.IntN(20))
		for i := range data {
			data[i] = "\x00\x00\x00a<>@4\xff"[r.IntN(9)]
		}
		if r.IntN(2) == 0 {
			data = append(data, 0)
		}
		f := frame("OCDHMRTLNBEAUQK\x00z"[r.IntN(17)], string(data))
		if r.IntN(10) == 0 {
			f = f[:r.IntN(len(f))]
		}
		io.WriteString(conn, f)
	}
}

// What comes out of a guarded connection is the first frames of what went in,
// whole and well-formed.
func FuzzGuard(f *testing.F) {
	f.Add([]byte(hello))
	f.Add([]byte(hello + frame('M', "<>\x00") + frame('R', "a@b\x00") + frame('L', "a\x00b\x00") + frame('N', "") + frame('B', "x") + frame('E', "")))
	f.Add([]byte("\x00\x00\x00\x00"))
	f.Add([]byte(hello + frame('C', "c\x004\x00\x001\x00") + frame('D', "M") + "\x00\x00\x00\x09M"))
	log := slog.New(slog.DiscardHandler)
	f.Fuzz(func(t *testing.T, in []byte) {
		g := newGuard(1, time.Second, time.Second, log)
		conn := readConn{bytes.NewReader(in)}
		out, err := io.ReadAll(&guardedConn{Conn: conn, guard: g, in: bufio.NewReader(conn)})
		if err != nil {
			t.Errorf("%v", err)
		}
		all := in
		for rest := out; len(rest) > 0; {
			if len(rest) < 5 {
				t.Fatalf("half a frame: %q", rest)
			}
			n := 4 + int(binary.BigEndian.Uint32(rest))
			if n > len(rest) || n < 5 {
				t.Fatalf("half a frame: %q", rest)
			}
			if err := checkFrame(rest[4], rest[5:n]); err != nil {
				t.Fatalf("%q: %v", rest[:n], err)
			}
			// The guard's own is an abort at the end, or before a Quit.
			own := bytes.Equal(rest[:n], abortFrame) && (len(rest) == n || len(rest) > n+4 && rest[n+4] == cmdQuit)
			if came := bytes.HasPrefix(in, rest[:n]); came {
				in = in[n:]
			} else if !own {
				t.Fatalf("%q came out of %q", out, all)
			}
			rest = rest[n:]
		}
	})
}

// Whatever is sent, the library behind the guard does not panic: that would
// end the process, and with it this test.
func FuzzServer(f *testing.F) {
	f.Add([]byte(frame('C', "c\x004\x00\x001.2.3.4\x00") + frame('H', "c\x00") + frame('M', "<>\x00") + frame('R', "a@b\x00") +
		frame('T', "") + frame('L', "a\x00b\x00") + frame('N', "") + frame('B', "x") + frame('E', "") + frame('A', "") + frame('K', "")))
	f.Add([]byte(frame('D', "Mi\x00q\x00") + frame('M', "<>\x00SIZE=1\x00") + frame('U', "x\x00") + frame('Q', "")))
	h := serveFuzz(f)
	f.Fuzz(func(t *testing.T, in []byte) {
		conn, err := net.Dial("tcp", h)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		go func() {
			io.WriteString(conn, hello)
			conn.Write(in)
			conn.(*net.TCPConn).CloseWrite()
		}()
		if _, err := io.Copy(io.Discard, conn); os.IsTimeout(err) {
			t.Error("the connection stays open")
		}
	})
}

type readConn struct{ r io.Reader }

func (c readConn) Read(p []byte) (int, error)       { return c.r.Read(p) }
func (c readConn) Write(p []byte) (int, error)      { return len(p), nil }
func (c readConn) Close() error                     { return nil }
func (c readConn) LocalAddr() net.Addr              { return &net.UnixAddr{} }
func (c readConn) RemoteAddr() net.Addr             { return &net.UnixAddr{} }
func (c readConn) SetDeadline(time.Time) error      { return nil }
func (c readConn) SetReadDeadline(time.Time) error  { return nil }
func (c readConn) SetWriteDeadline(time.Time) error { return nil }

// The MTA hears of a mail's changes and of the last word on it at once.
func TestChangesTogether(t *testing.T) {
	c, wrote := guardedWriter("")
	replies := []string{
		frame('m', "\x00\x00\x00\x01Content-Type\x00 application/pkcs7-mime\x00"),
		frame('h', "Content-Transfer-Encoding\x00 base64\x00"),
		frame('b', strings.Repeat("x", 8000)),
		frame('a', ""),
	}
	for _, f := range replies {
		writeAsTheLibrary(t, c, f)
	}
	if len(*wrote) > 0 {
		t.Errorf("%d pieces were written before the last word", len(*wrote))
	}
	c.Read(make([]byte, 1))
	if len(*wrote) != 1 || (*wrote)[0] != strings.Join(replies, "") {
		t.Errorf("%d pieces were written: %.200q", len(*wrote), *wrote)
	}
}

// It sees a sign of life at once, and what was said before that.
func TestProgressAtOnce(t *testing.T) {
	c, wrote := guardedWriter("")
	writeAsTheLibrary(t, c, frame('h', "a\x00b\x00"))
	writeAsTheLibrary(t, c, frame('p', ""))
	if want := frame('h', "a\x00b\x00") + frame('p', ""); strings.Join(*wrote, "") != want {
		t.Errorf("%q, want %q", *wrote, want)
	}
}

// A body of any length comes out in its order, and little of it is held.
func TestLongBody(t *testing.T) {
	c, wrote := guardedWriter("")
	var sent strings.Builder
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		f := frame('b', strings.Repeat(string(rune('a'+r.IntN(26))), r.IntN(2*maxHeld)))
		writeAsTheLibrary(t, c, f)
		sent.WriteString(f)
		if held := sent.Len() - len(strings.Join(*wrote, "")); held > maxHeld {
			t.Fatalf("%d octets are held", held)
		}
	}
	c.Read(make([]byte, 1))
	if strings.Join(*wrote, "") != sent.String() {
		t.Error("what was written is something else")
	}
}

// An MTA that does not read is not waited for for ever, whatever the library
// wishes; and what it was not told ends the connection.
func TestUnwritable(t *testing.T) {
	near, far := net.Pipe()
	far.Close()
	g := newGuard(1, time.Second, time.Second, slog.New(slog.DiscardHandler))
	c := &guardedConn{Conn: near, guard: g, in: bufio.NewReader(strings.NewReader(hello))}
	c.SetWriteDeadline(time.Time{})
	writeAsTheLibrary(t, c, frame('c', ""))
	if n, err := c.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("%d octets were read, %v, though the reply was not written", n, err)
	}
	counted, _ := guardedWriter("")
	writeAsTheLibrary(t, counted, frame('p', ""))
	counted.SetWriteDeadline(time.Time{})
	if left := time.Until(counted.Conn.(*writeConn).deadline); left <= 0 || left > maxWriting {
		t.Errorf("it may take %v", left)
	}
}

// guardedWriter returns a connection, and what is written to the MTA.
func guardedWriter(in string) (*guardedConn, *[]string) {
	conn := &writeConn{readConn: readConn{strings.NewReader(in)}}
	g := newGuard(1, time.Second, time.Second, slog.New(slog.DiscardHandler))
	return &guardedConn{Conn: conn, guard: g, in: bufio.NewReader(conn)}, &conn.wrote
}

// writeAsTheLibrary writes a frame as it does: length and command first.
func writeAsTheLibrary(t *testing.T, c *guardedConn, f string) {
	t.Helper()
	for _, p := range []string{f[:5], f[5:]} {
		if n, err := io.WriteString(c, p); len(p) > 0 && (n != len(p) || err != nil) {
			t.Fatalf("%d of %d octets, %v", n, len(p), err)
		}
	}
}

type writeConn struct {
	readConn
	wrote    []string
	deadline time.Time
}

func (c *writeConn) Write(p []byte) (int, error) {
	c.wrote = append(c.wrote, string(p))
	return len(p), nil
}

func (c *writeConn) SetWriteDeadline(t time.Time) error {
	c.deadline = t
	return nil
}
