package message

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// reference makes the same with the standard library.
func reference(p []byte) string {
	var b strings.Builder
	for s := base64.StdEncoding.EncodeToString(p); s != ""; {
		n := min(len(s), lineColumns)
		b.WriteString(s[:n] + "\r\n")
		s = s[n:]
	}
	return b.String()
}

// encodeInPieces writes p in pieces of the sizes that it repeats.
func encodeInPieces(t *testing.T, p []byte, sizes ...int) string {
	t.Helper()
	var b bytes.Buffer
	w := NewBase64Writer(&b)
	for i := 0; len(p) > 0; i++ {
		n := min(len(p), sizes[i%len(sizes)])
		if got, err := w.Write(p[:n]); got != n || err != nil {
			t.Fatalf("Write = %d, %v", got, err)
		}
		p = p[n:]
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func randomOctets(n int) []byte {
	p := make([]byte, n)
	rand.NewChaCha8([32]byte{1}).Read(p)
	return p
}

func TestBase64WriterAgreesWithStd(t *testing.T) {
	all := randomOctets(100_000)
	for n := range 300 {
		for _, size := range []int{1, 56, 57, 58, 1000} {
			if got := encodeInPieces(t, all[:n], size); got != reference(all[:n]) {
				t.Errorf("%d octets in pieces of %d: %q", n, size, got)
			}
		}
	}
	whole := linesAtOnce * lineOctets
	for _, n := range []int{whole - 1, whole, whole + 1, 2 * whole, len(all)} {
		for _, sizes := range [][]int{{n}, {1000}, {3, 57, 114, 5}} {
			if got := encodeInPieces(t, all[:n], sizes...); got != reference(all[:n]) {
				t.Errorf("%d octets in pieces of %d differ", n, sizes)
			}
		}
	}
}

type limitedWriter struct{ left int }

var errFull = errors.New("full")

func (w *limitedWriter) Write(p []byte) (int, error) {
	if len(p) > w.left {
		return 0, errFull
	}
	w.left -= len(p)
	return len(p), nil
}

func TestBase64WriterEnds(t *testing.T) {
	w := NewBase64Writer(io.Discard)
	if err := w.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if err := w.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	if n, err := w.Write([]byte("x")); n != 0 || err == nil {
		t.Errorf("Write after Close = %d, %v", n, err)
	}
}

func TestBase64WriterFails(t *testing.T) {
	w := NewBase64Writer(&limitedWriter{linesAtOnce * lineSize})
	if _, err := w.Write(make([]byte, 3*linesAtOnce*lineOctets)); err != errFull {
		t.Errorf("Write: %v", err)
	}
	if _, err := w.Write(nil); err != errFull {
		t.Errorf("next Write: %v", err)
	}
	if err := w.Close(); err != errFull {
		t.Errorf("Close: %v", err)
	}
	w = NewBase64Writer(&limitedWriter{})
	w.Write([]byte("x"))
	if err := w.Close(); err != errFull {
		t.Errorf("Close alone: %v", err)
	}
	if err := w.Close(); err != errFull {
		t.Errorf("second Close: %v", err)
	}
}

func FuzzBase64Writer(f *testing.F) {
	f.Add([]byte("hello"), 1, 3)
	f.Add(randomOctets(1000), 57, 56)
	f.Fuzz(func(t *testing.T, p []byte, one, other int) {
		if one < 1 || other < 1 {
			return
		}
		if got := encodeInPieces(t, p, one, other); got != reference(p) {
			t.Errorf("%q, want %q", got, reference(p))
		}
	})
}

func TestBase64Decoder(t *testing.T) {
	for name, test := range map[string]struct {
		in   string
		want string // "" if not whole
		bad  bool
	}{
		"no line end":              {"aGVsbG8h", "hello!", false},
		"one pad":                  {"aGVsbG8=", "hello", false},
		"two pads":                 {"aGVsbA==\r\n", "hell", false},
		"lines":                    {"aGVs\r\nbG8h\r\n", "hello!", false},
		"lines anywhere":           {"a\r\nGVs\n\n\nb\nG8\n=\n\n", "hello", false},
		"blanks at a line's end":   {"aGVs \t\r\nbG8h ", "hello!", false},
		"blanks at the end":        {"aGVsbG8= \r\n\r\n", "hello", false},
		"cut off":                  {"aGVsbG8", "", false},
		"cut off in padding":       {"aGVsbA=", "", false},
		"one character":            {"aGVsb", "", false},
		"junk":                     {"aGVs*bG8h", "", true},
		"junk at the end":          {"aGVsbG8h\r\n.\r\n", "", true},
		"blank inside":             {"aGVs bG8h", "", true},
		"text in the line":         {"aGVsbG8= P.S.", "", true},
		"object behind the object": {"aGVsbG8=aGVsbG8=", "", true},
		"one more line":            {"aGVsbG8=\r\naGVs\r\n", "", true},
		"too much padding":         {"aGVsbG8==", "", true},
		"padding alone":            {"====", "", true},
		"padding too early":        {"a===", "", true},
		"bits under the padding":   {"aGVsbG9=", "", true},
		"bits under two":           {"aGVsbB==", "", true},
		"characters in padding":    {"aGVsbA=A", "", true},
		"NUL":                      {"aGVs\x00bG8h", "", true},
		"the other alphabet":       {"aGVs-_8h", "", true},
		"8 bits":                   {"aGVs\xc3\xa9bG8h", "", true},
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			d := NewBase64Decoder(&b)
			d.Write([]byte(test.in))
			if d.Whole() != (test.want != "") || d.Bad() != test.bad || test.want != "" && b.String() != test.want {
				t.Errorf("whole %v, bad %v, %q", d.Whole(), d.Bad(), b.String())
			}
		})
	}
	d := NewBase64Decoder(&limitedWriter{})
	if d.Write([]byte("aGVs")); !d.Bad() {
		t.Error("an error of the writer below is lost")
	}
}

func FuzzBase64Decoder(f *testing.F) {
	for _, seed := range []string{"aGVsbG8=", "aGVs\r\nbG8h\r\n", "aGVsbA==\n\n", "a=", " aGVs"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		var whole, pieces bytes.Buffer
		one, many := NewBase64Decoder(&whole), NewBase64Decoder(&pieces)
		one.Write(in)
		for i := range in {
			many.Write(in[i : i+1])
		}
		if one.Whole() != many.Whole() || one.Bad() != many.Bad() || !bytes.Equal(whole.Bytes(), pieces.Bytes()) {
			t.Errorf("at once: %v %v %q; in pieces: %v %v %q", one.Whole(), one.Bad(), &whole, many.Whole(), many.Bad(), &pieces)
		}
		blanks := strings.NewReplacer(" ", "", "\t", "", "\r", "", "\n", "")
		want, err := base64.StdEncoding.Strict().DecodeString(blanks.Replace(string(in)))
		if one.Whole() && (err != nil || !bytes.Equal(want, whole.Bytes())) {
			t.Errorf("%q, want %q, %v", &whole, want, err)
		}
		if back := reference(want); err == nil {
			again := NewBase64Decoder(io.Discard)
			if again.Write([]byte(back)); !again.Whole() {
				t.Errorf("%q is not whole", back)
			}
		}
	})
}

// stdWriter is what one would write without a table of one's own.
type stdWriter struct {
	w    io.Writer
	line [lineSize]byte
}

func (s *stdWriter) Write(p []byte) (int, error) {
	for rest := p; len(rest) >= lineOctets; rest = rest[lineOctets:] {
		base64.StdEncoding.Encode(s.line[:], rest[:lineOctets])
		copy(s.line[lineColumns:], "\r\n")
		s.w.Write(s.line[:])
	}
	return len(p), nil
}

// The metric "x-std" is how many times as quick the writer is as the standard
// library, line by line, in the same run.
func BenchmarkBase64Writer(b *testing.B) {
	p := randomOctets(1000 * lineOctets)
	ours, std := NewBase64Writer(io.Discard), &stdWriter{w: io.Discard}
	var reference, writer time.Duration
	b.SetBytes(int64(len(p)))
	for b.Loop() {
		start := time.Now()
		ours.Write(p)
		between := time.Now()
		b.StopTimer()
		std.Write(p)
		writer += between.Sub(start)
		reference += time.Since(between)
		b.StartTimer()
	}
	b.ReportMetric(float64(reference)/float64(writer), "x-std")
}

func BenchmarkBase64Decoder(b *testing.B) {
	p := []byte(reference(randomOctets(1000 * lineOctets)))
	d := NewBase64Decoder(io.Discard)
	b.SetBytes(int64(len(p)))
	for b.Loop() {
		d.Write(p)
	}
}
