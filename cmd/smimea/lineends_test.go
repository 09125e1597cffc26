package main

import (
	"bufio"
	"bytes"
	"strings"
	"testing"
)

func TestUnixLines(t *testing.T) {
	tests := []struct {
		name, in string
		want     bool
	}{
		{"LF", "Subject: x\n\nbody\r\n", true},
		{"CRLF", "Subject: x\r\n\r\nbody\n", false},
		{"no line end at all", "Subject: x", false},
		{"nothing", "", false},
		{"an empty line", "\n", true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := bufio.NewReader(strings.NewReader(test.in))
			if got := unixLines(r); got != test.want {
				t.Errorf("unixLines(%q) = %v", test.in, got)
			}
		})
	}
}

// The pieces in which a text arrives must not matter.
func TestLineEndsInPieces(t *testing.T) {
	const unix, mail, odd = "a\n\nb\rc\n", "a\r\n\r\nb\rc\r\n", "a\r\n\r\nb\rc\r\n\r"
	for size := 1; size < len(odd); size++ {
		var crlf, lf bytes.Buffer
		pieces(t, &crlfWriter{w: &crlf}, unix, size)
		if crlf.String() != mail {
			t.Errorf("to CRLF in pieces of %d: %q", size, crlf.String())
		}
		w := &lfWriter{w: &lf}
		pieces(t, w, odd, size)
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if want := unix + "\r"; lf.String() != want {
			t.Errorf("to LF in pieces of %d: %q, want %q", size, lf.String(), want)
		}
	}
}

func pieces(t *testing.T, w interface{ Write([]byte) (int, error) }, text string, size int) {
	t.Helper()
	for text != "" {
		n := min(size, len(text))
		if _, err := w.Write([]byte(text[:n])); err != nil {
			t.Fatal(err)
		}
		text = text[n:]
	}
}

// A text with LF comes back as it was.
func FuzzLineEnds(f *testing.F) {
	f.Add("a\nb\n\n", 1)
	f.Add("a\rb\r\r\n", 2)
	f.Fuzz(func(t *testing.T, in string, size int) {
		if strings.Contains(in, "\r\n") || size < 1 {
			return // A text that is not quite one of Unix.
		}
		var mail, unix bytes.Buffer
		pieces(t, &crlfWriter{w: &mail}, in, size)
		w := &lfWriter{w: &unix}
		pieces(t, w, mail.String(), size)
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if unix.String() != in {
			t.Errorf("%q became %q, and then %q", in, mail.String(), unix.String())
		}
	})
}
