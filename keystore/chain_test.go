package keystore

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"smimea.example/internal/cms"
)

func answer(o Outcome) Source {
	return source(func(context.Context, string) Keys {
		k := Keys{Outcome: o, Origin: o.String(), Warnings: []string{o.String()}, Expires: noon}
		if o == Found {
			k.Certs = make([]cms.Recipient, 1)
		} else {
			k.Why = errors.New("because " + o.String())
		}
		return k
	})
}

func TestChain(t *testing.T) {
	for _, test := range []struct {
		name    string
		sources []Outcome
		want    Outcome
		origin  string
	}{
		{"no source", nil, Failed, ""},
		{"the first", []Outcome{Found, Bogus}, Found, "found"},
		{"the second", []Outcome{None, Found}, Found, "found"},
		{"an expired pin does not hide the DNS", []Outcome{Unusable, Found}, Found, "found"},
		{"a failure before does not, either", []Outcome{Failed, Found}, Found, "found"},
		{"nothing", []Outcome{None, None}, None, "none"},
		{"no domain says more than nothing", []Outcome{None, NoDomain}, NoDomain, "no domain"},
		{"null MX says more than nothing", []Outcome{None, NullMX}, NullMX, "null mx"},
		{"unusable is worse than none", []Outcome{Unusable, None}, Unusable, "unusable"},
		{"unusable is worse than weak", []Outcome{WeakOnly, Unusable}, Unusable, "unusable"},
		{"weak is worse than none", []Outcome{WeakOnly, None}, WeakOnly, "weak"},
		{"bogus is worse than unusable", []Outcome{Unusable, Bogus}, Bogus, "bogus"},
		{"failed is the worst", []Outcome{Failed, Bogus, None}, Failed, "failed"},
		{"an outcome from the future is a failure", []Outcome{None, 77}, 77, "failed"},
	} {
		var chain Chain
		for _, o := range test.sources {
			chain = append(chain, answer(o))
		}
		keys := chain.Find(context.Background(), alice)
		if keys.Outcome != test.want || keys.Origin != test.origin {
			t.Errorf("%s: %v from %q, want %v", test.name, keys.Outcome, keys.Origin, test.want)
		}
		if (keys.Outcome == Found) != (keys.Why == nil) || (keys.Outcome == Found) != (len(keys.Certs) == 1) {
			t.Errorf("%s: %d certificates, %v", test.name, len(keys.Certs), keys.Why)
		}
	}
}

func TestChainTellsAll(t *testing.T) {
	keys := Chain{answer(Unusable), answer(None)}.Find(context.Background(), alice)
	if keys.Why.Error() != "because unusable; because none" || strings.Join(keys.Warnings, ",") != "unusable,none" {
		t.Errorf("%v, %q", keys.Why, keys.Warnings)
	}
	never := source(func(context.Context, string) Keys { return Keys{Outcome: None} })
	if keys := (Chain{never, answer(None)}).Find(context.Background(), alice); !keys.Expires.IsZero() {
		t.Errorf("expires %v, though the first answer holds for this mail only", keys.Expires)
	}
	soon := source(func(context.Context, string) Keys { return Keys{Outcome: None, Expires: noon.Add(-time.Hour)} })
	if keys := (Chain{answer(None), soon}).Find(context.Background(), alice); !keys.Expires.Equal(noon.Add(-time.Hour)) {
		t.Errorf("expires %v", keys.Expires)
	}
}
