package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"smimea.example/internal/cms"
)

// Whichever way an entity takes into its envelope, it comes out as it was.
func TestWaysIntoEnvelope(t *testing.T) {
	reader, recipient := newCorrespondent(t)
	const outer, fields = "Subject: Lunch\r\n", "Content-Type: text/plain\r\nContent-Transfer-Encoding: binary\r\n"
	ways := map[string]func(mail string) io.Reader{
		"a file":               func(mail string) io.Reader { return fileOf(t, "", mail) },
		"the middle of a file": func(mail string) io.Reader { return fileOf(t, "Subject: read before\r\n\r\n", mail) },
		"a pipe":               func(mail string) io.Reader { return strings.NewReader(mail) },
		"a pipe in pieces": func(mail string) io.Reader {
			return io.MultiReader(strings.NewReader(mail[:20]), strings.NewReader(mail[20:]))
		},
	}
	for _, size := range []int{0, 1, 1000, 64<<10 - len(outer+fields) - 2, 64 << 10, 200 << 10} {
		body := strings.Repeat("a\x00\nb\rc\r\n", size/8+1)[:size]
		want := outer + "MIME-Version: 1.0\r\n" + fields + "\r\n" + body
		for _, cipher := range cms.Ciphers {
			for way, open := range ways {
				var sealed, opened bytes.Buffer
				e := encryption{to: []cms.Recipient{recipient}, cipher: cipher}
				if err := e.run(&sealed, open(outer+fields+"\r\n"+body), io.Discard); err != nil {
					t.Fatalf("%d octets with %s from %s: %v", size, cipher, way, err)
				}
				if err := reader.decrypt(&opened, &sealed); err != nil || opened.String() != want {
					t.Errorf("%d octets with %s from %s: %d octets, %v; want %d", size, cipher, way, opened.Len(), err, len(want))
				}
			}
		}
	}
}

// fileOf is an open file with two texts in it, of which the first has been read.
func fileOf(t *testing.T, before, after string) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "mail.eml"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if _, err := f.WriteString(before + after); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Seek(int64(len(before)), io.SeekStart); err != nil {
		t.Fatal(err)
	}
	return f
}

// The length of a file that is no regular one is not known, nor is that of one
// that was cut while its end was ahead.
func TestUnread(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	cut := fileOf(t, "before", "after")
	if err := cut.Truncate(3); err != nil {
		t.Fatal(err)
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for name, in := range map[string]io.Reader{"a pipe": r, "a device": null, "no file": strings.NewReader("mail"), "cut": cut} {
		if n, known := unread(in, 0); known {
			t.Errorf("%s: %d", name, n)
		}
	}
	in := fileOf(t, "before", "after")
	ahead := newReadAhead(in)
	ahead.Peek(1)
	ahead.Discard(2)
	if n, known := unread(in, ahead.Buffered()); n != 3 || !known {
		t.Errorf("after two octets of five: %d, %v", n, known)
	}
}

// A file that changes while it is read is an error if the length stands before
// it.
func TestEncryptChangingFile(t *testing.T) {
	_, recipient := newCorrespondent(t)
	for _, cipher := range cms.Ciphers {
		e := encryption{to: []cms.Recipient{recipient}, cipher: cipher}
		for _, size := range []int64{4, 6} {
			inside := entity{body: strings.NewReader("lunch"), size: size, sized: true}
			err := e.write(io.Discard, nil, inside)
			if fails := !cipher.Authenticated(); (err != nil) != fails {
				t.Errorf("%s: five octets, said to be %d: %v", cipher, size, err)
			}
		}
	}
}
