package dnssec

import (
	"context"
	"testing"
)

func TestFake(t *testing.T) {
	f := Fake{{"alice.example.org.", TypeSMIMEA}: {Status: Secure, Outcome: NXDomain}}
	for _, c := range []struct {
		name string
		want Outcome
	}{
		{"alice.example.org.", NXDomain},
		{"Alice.Example.ORG", NXDomain},
		{"bob.example.org.", Failed},
		{"a..b", Failed},
	} {
		a := f.Lookup(context.Background(), c.name, TypeSMIMEA)
		if a.Outcome != c.want || a.Outcome == Failed && (a.Why == nil || a.Status != Indeterminate) {
			t.Errorf("%s: %v, %v (%v)", c.name, a.Status, a.Outcome, a.Why)
		}
	}
	if a := f.Lookup(context.Background(), "alice.example.org.", TypeMX); a.Outcome != Failed {
		t.Errorf("another type: %v", a.Outcome)
	}
}
