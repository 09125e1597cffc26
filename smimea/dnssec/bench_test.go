package dnssec

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"math/big"
	"testing"
	"time"
)

// A cold lookup three zones deep, without any network, beside the six checks of
// signatures that it cannot do without.
func BenchmarkCold(b *testing.B) {
	w := sound(b)
	_, e := w.evidenceOf("a._smimecert.good.test.", typeSMIMEA)
	v, err := NewReplay(Options{Anchors: w.anchors(), Evidence: true, Now: func() time.Time { return noon }}, e.Messages)
	if err != nil {
		b.Fatal(err)
	}
	defer v.Close()
	b.ReportAllocs()
	for b.Loop() {
		if a := v.Lookup(context.Background(), e.Question.Name, e.Question.Type); a.Status != Secure {
			b.Fatal(a.Why)
		}
	}
}

func BenchmarkSixSignatures(b *testing.B) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	sum := sha256.Sum256([]byte("example.org."))
	r, s, err := ecdsa.Sign(rand.Reader, k, sum[:])
	if err != nil {
		b.Fatal(err)
	}
	rb, sb := r.Bytes(), s.Bytes()
	for b.Loop() {
		for range 6 {
			if !ecdsa.Verify(&k.PublicKey, sum[:], new(big.Int).SetBytes(rb), new(big.Int).SetBytes(sb)) {
				b.Fatal("no")
			}
		}
	}
}

func BenchmarkWarm(b *testing.B) {
	w := sound(b)
	v := w.validator()
	v.Lookup(context.Background(), "a._smimecert.good.test.", typeSMIMEA)
	b.ReportAllocs()
	for b.Loop() {
		if a := v.Lookup(context.Background(), "a._smimecert.good.test.", typeSMIMEA); a.Status != Secure {
			b.Fatal(a.Why)
		}
	}
}
