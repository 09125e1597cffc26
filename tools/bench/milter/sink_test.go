package main

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// The sink sees where a mail ends, and whether it is encrypted, however it is cut
// into pieces.
func TestReadMail(t *testing.T) {
	long := strings.Repeat("x", 200) // longer than the reader's buffer
	for _, c := range []struct {
		name, mail string
		encrypted  bool
	}{
		{"plain", "Subject: x\r\n\r\ntext\r\n.\r\n", false},
		{"encrypted", "Content-Type: application/pkcs7-mime; smime-type=enveloped-data\r\n\r\ntext\r\n.\r\n", true},
		{"only its text says so", "Subject: x\r\n\r\nContent-Type: application/pkcs7-mime\r\n.\r\n", false},
		{"a dot that is doubled", "Subject: x\r\n\r\n..\r\n.\r\n", false},
		{"a dot behind a long line", "Subject: x\r\n\r\n" + long + ".\r\n.\r\n", false},
		{"a long header field", "Subject: " + long + "\r\nContent-Type: application/pkcs7-mime\r\n\r\n.\r\n", true},
	} {
		r := bufio.NewReaderSize(strings.NewReader(c.mail+"QUIT\r\n"), 64)
		encrypted, err := readMail(r)
		rest, _ := io.ReadAll(r)
		if encrypted != c.encrypted || err != nil || string(rest) != "QUIT\r\n" {
			t.Errorf("%s: encrypted: %v, %v, and then %q", c.name, encrypted, err, rest)
		}
	}
	if _, err := readMail(bufio.NewReader(strings.NewReader("Subject: x\r\n\r\ntext\r\n"))); err == nil {
		t.Error("a mail that breaks off is a mail")
	}
}

// The client's mails come to the sink as long as they are meant to be.
func TestClientAndSink(t *testing.T) {
	s, err := startSink()
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	for _, each := range []int{0, 1, 2} {
		l := lab{ctx: t.Context(), people: []string{"alice00@good.test", "alice01@good.test"}}
		s.restart()
		began := time.Now()
		latencies, err := l.clients(s.listener.Addr().String(), load{size: 4000, connections: 3, mails: 5, each: each})
		if err != nil || len(latencies) != 15 {
			t.Fatalf("%d mails, %v", len(latencies), err)
		}
		last, encrypted, err := s.wait(t.Context(), 15)
		if err != nil || encrypted != 0 || last.Before(began) {
			t.Errorf("the last came at %v, %d were encrypted, %v", last, encrypted, err)
		}
		if _, _, err := s.wait(t.Context(), 14); err == nil {
			t.Error("more mails than were sent are none too many")
		}
	}
}

func TestMailBody(t *testing.T) {
	for size := 400; size < 800; size++ {
		head := mailHead("alice00@good.test")
		body, ends := bytes.CutSuffix(mailBody(size-len(head)), []byte("\r\n.\r\n"))
		if got := len(head) + len(body) + 2; !ends || got > size || got < size-2 {
			t.Errorf("%d octets, want %d", got, size)
		}
		if bytes.Count(body, []byte("\n")) != bytes.Count(body, []byte("\r\n")) || bytes.Contains(body, []byte("\n.")) {
			t.Errorf("not a body: %q", body)
		}
	}
}

// A refused mail is an error with what Postfix said, not a mail.
func TestRefused(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			io.WriteString(conn, "220 x\r\n250 x\r\n250 x\r\n451 4.4.3 no answer\r\n")
			io.Copy(io.Discard, conn)
			conn.Close()
		}
	}()
	house := lab{ctx: t.Context(), people: []string{"alice00@good.test"}}
	_, err = house.clients(l.Addr().String(), load{size: 4000, connections: 3, length: time.Minute})
	if err == nil || !strings.Contains(err.Error(), "4.4.3 no answer") {
		t.Errorf("%v", err)
	}
}
