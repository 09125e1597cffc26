package dnssec

import (
	"context"
	"testing"
	"time"
)

// A cold lookup three zones deep, without any network: for profiles. What it is
// to be compared with is measured by tools/bench/dns.
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
