package cms

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
)

// One in 256 shared secrets begins with a zero. A library that loses it loses one
// mail in 256, or half of those of P-521, whose secrets begin with one bit.
func TestOpenSSLOpensMany(t *testing.T) {
	for _, who := range []string{"p256", "p384", "p521"} {
		t.Run(who, func(t *testing.T) {
			t.Parallel()
			exhibits := make([]exhibit, 300)
			for i := range exhibits {
				c := Ciphers[i%len(Ciphers)]
				content := randomOctets(1 + rand.IntN(2000))
				exhibits[i] = exhibit{fmt.Sprintf("message %d, %s", i, c), who, encryptAs(t, c, content, the(t, who)), content}
			}
			checkAll(t, exhibits, judgeOpenSSL(t, exhibits))
			checkAll(t, exhibits, judgeOurs(t, exhibits))
		})
	}
}

// Any length, written in any pieces, with any cipher, to anybody: our reader and
// one of other people that reads all of it.
func TestRandomMessages(t *testing.T) {
	t.Parallel()
	exhibits := make([]exhibit, 1000)
	for i := range exhibits {
		exhibits[i] = randomExhibit(t)
	}
	t.Run("ours", func(t *testing.T) { checkAll(t, exhibits, judgeOurs(t, exhibits)) })
	t.Run("node", func(t *testing.T) { checkAll(t, exhibits, judgeNode(t, exhibits)) })
}

// edges are lengths at which a block, a chunk of the MTA or a buffer ends.
var edges = []int{
	0, 1, 15, 16, 17, 31, 32, 33, 4095, 4096,
	bufferSize - 1, bufferSize, bufferSize + 1, 2*bufferSize - 1, 2 * bufferSize, 70000,
}

func randomExhibit(t *testing.T) exhibit {
	t.Helper()
	who := everybody()[rand.IntN(len(people))]
	c := Ciphers[rand.IntN(len(Ciphers))]
	n := rand.IntN(70001)
	if rand.IntN(3) == 0 {
		n = edges[rand.IntN(len(edges))]
	}
	if c.Authenticated() {
		n = max(n, 1)
	}
	content := randomOctets(n)
	to := recipientsOf(the(t, who))
	name := fmt.Sprintf("%s, %s, %d octets", who, c, n)
	var object bytes.Buffer
	if c.Authenticated() || rand.IntN(2) == 0 {
		name += " from a reader"
		if err := Encrypt(&object, inPieces{bytes.NewReader(content)}, int64(n), to, c); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return exhibit{name, who, object.Bytes(), content}
	}
	w, err := NewWriter(&object, to, c)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if _, err := io.Copy(onlyWriter{w}, inPieces{bytes.NewReader(content)}); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	o, err := w.Close()
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	whole, err := io.ReadAll(o.Reader(&object))
	if err != nil {
		t.Fatal(err)
	}
	return exhibit{name, who, whole, content}
}

// inPieces reads pieces of random length, now and then an empty one.
type inPieces struct{ r io.Reader }

func (p inPieces) Read(b []byte) (int, error) {
	piece := 1 << rand.IntN(16)
	return p.r.Read(b[:min(len(b), rand.IntN(piece+1))])
}

// onlyWriter hides what io.Copy would use instead of Write.
type onlyWriter struct{ io.Writer }
