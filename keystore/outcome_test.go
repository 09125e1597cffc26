package keystore

import "testing"

func TestOutcomeIsReadBack(t *testing.T) {
	for o := Failed; o <= Found; o++ {
		if got, ok := ParseOutcome(o.String()); got != o || !ok {
			t.Errorf("%s: %s, %v", o, got, ok)
		}
	}
	for _, word := range []string{"", "Found", "nomx"} {
		if got, ok := ParseOutcome(word); got != Failed || ok {
			t.Errorf("%q: %s, %v", word, got, ok)
		}
	}
}
