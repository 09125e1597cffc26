package main

import (
	"bytes"
	"errors"
	"io"
	"testing"
)

// What goes through a relay comes out in its order, to the last octet.
func TestRelay(t *testing.T) {
	for _, size := range []int{0, 1, relaySize - 1, relaySize, relaySize + 1, 7*relaySize + 3} {
		want := make([]byte, size)
		for i := range want {
			want[i] = byte(i * 7 >> 8)
		}
		var got bytes.Buffer
		r := newRelay(&got)
		for rest := want; len(rest) > 0; {
			n, err := r.Write(rest[:min(len(rest), 100_001)])
			if err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if err := r.Close(); err != nil || !bytes.Equal(got.Bytes(), want) {
			t.Errorf("%d octets: %d, %v", size, got.Len(), err)
		}
	}
}

// A writer that breaks does not keep the other side waiting.
func TestRelayBroken(t *testing.T) {
	broken := errors.New("no room left")
	for _, after := range []int{0, 1, 3} {
		r := newRelay(&breaking{after, broken})
		piece := make([]byte, relaySize)
		var err error
		for n := 0; err == nil; n++ {
			if n > after+2*relayBuffers {
				t.Fatalf("after %d writes: still writing", after)
			}
			_, err = r.Write(piece)
		}
		if err := r.Close(); err != broken {
			t.Errorf("after %d writes: %v", after, err)
		}
	}
	r := newRelay(&breaking{0, broken})
	io.WriteString(r, "lunch")
	if err := r.Close(); err != broken {
		t.Errorf("at the end: %v", err)
	}
}

// A breaking writer takes some writes, and then none.
type breaking struct {
	left int
	err  error
}

func (b *breaking) Write(p []byte) (int, error) {
	if b.left == 0 {
		return 0, b.err
	}
	b.left--
	return len(p), nil
}
