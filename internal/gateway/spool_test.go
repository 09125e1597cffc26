package gateway

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
)

func TestFullDisk(t *testing.T) {
	g, _, _ := newGateway(t)
	g.Spool += "/missing"
	m := begin(t, g, "rsa@example.net")
	v := send(t, m, header("To: rsa@example.net"), bytes.Repeat([]byte("hello\r\n"), spoolMemory/4))
	if codes(v.Reply) != "451 4.3.1" || v.Reply.Action != Defer || v.Body != nil || m.Fates()[0].Why == nil {
		t.Errorf("%+v", v)
	}
}

// The spool is in memory up to a bound and then in a file without a name; it
// holds nothing of the mail in clear, and is gone after Close.
func TestSpool(t *testing.T) {
	g, _, _ := newGateway(t)
	m := begin(t, g, "rsa@example.net")
	const secret = "the merger will be announced on Monday\r\n"
	v := send(t, m, header("To: rsa@example.net\nContent-Type: text/plain; name=merger"), []byte(strings.Repeat(secret, 3*spoolMemory/len(secret))))
	if !v.Encrypted {
		t.Fatalf("%s %s", codes(v.Reply), v.Reply.Text)
	}
	spool := &m.sealing.spool
	if spool.memory.Len() != spoolMemory || spool.memory.Cap() > 4*spoolMemory {
		t.Errorf("%d octets in memory, room for %d", spool.memory.Len(), spool.memory.Cap())
	}
	if files, err := os.ReadDir(g.Spool); err != nil || len(files) > 0 {
		t.Errorf("files with names: %v, %v", files, err)
	}
	content, err := spool.content()
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(content)
	if err != nil || len(text) < 3*spoolMemory-len(secret) {
		t.Fatalf("%d octets, %v", len(text), err)
	}
	for i := 0; i+8 <= len(secret); i++ {
		if bytes.Contains(text, []byte(secret[i:i+8])) {
			t.Fatalf("%q in the spool", secret[i:i+8])
		}
	}
	file := spool.file
	m.Close()
	m.Close()
	if _, err := file.Stat(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("the file is still open: %v", err)
	}
}

// Every way out of a mail before its end drops its spool.
func TestSpoolIsDropped(t *testing.T) {
	g, _, _ := newGateway(t)
	m := begin(t, g, "rsa@example.net")
	m.EndHeader("")
	if _, err := m.Write(bytes.Repeat([]byte("hello\r\n"), spoolMemory/4)); err != nil {
		t.Fatal(err)
	}
	file := m.sealing.spool.file
	m.EndHeader("") // out of order
	if _, err := file.Stat(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("the file is still open: %v", err)
	}
	if _, err := m.Write([]byte("more")); err == nil {
		t.Error("Write goes on")
	}
}
