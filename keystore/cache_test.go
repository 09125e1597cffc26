package keystore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"smimea.example/internal/cms"
)

// counted is a source that counts how often it is asked.
type counted struct {
	keys  Keys
	calls atomic.Int32
}

func (s *counted) Find(context.Context, string) Keys {
	s.calls.Add(1)
	return s.keys
}

func found(t *testing.T, c cert, expires time.Time) Keys {
	t.Helper()
	r, err := cms.NewRecipient(c.der(t))
	if err != nil {
		t.Fatal(err)
	}
	return Keys{Outcome: Found, Certs: []cms.Recipient{r}, Expires: expires}
}

func TestCacheKeeps(t *testing.T) {
	week := noon.AddDate(0, 0, 7)
	for _, test := range []struct {
		name string
		keys Keys
		want time.Duration
	}{
		{"found, as long as it holds", found(t, cert{}, noon.Add(time.Hour)), time.Hour},
		{"found, a day at most", found(t, cert{}, week), 24 * time.Hour},
		{"found, not beyond the certificate", found(t, cert{notAfter: noon.Add(time.Minute)}, week), time.Minute},
		{"none, as long as it holds", Keys{Outcome: None, Expires: noon.Add(time.Minute)}, time.Minute},
		{"none, an hour at most", Keys{Outcome: None, Expires: week}, time.Hour},
		{"no domain", Keys{Outcome: NoDomain, Expires: week}, time.Hour},
		{"null MX", Keys{Outcome: NullMX, Expires: week}, time.Hour},
		{"unusable", Keys{Outcome: Unusable, Expires: week}, time.Hour},
		{"weak", Keys{Outcome: WeakOnly, Expires: week}, time.Hour},
		{"bogus, for a moment", Keys{Outcome: Bogus}, 30 * time.Second},
		{"bogus, whatever it says", Keys{Outcome: Bogus, Expires: week}, 30 * time.Second},
		{"failed, for a moment", Keys{Why: errors.New("timeout")}, 5 * time.Second},
		{"none, for this mail only", Keys{Outcome: None}, 0},
		{"found, expired already", found(t, cert{}, noon.Add(-time.Second)), 0},
	} {
		now := noon
		s := &counted{keys: test.keys}
		c := &Cache{Source: s, Now: func() time.Time { return now }}
		c.Find(context.Background(), alice)
		if test.want > 0 {
			now = noon.Add(test.want - 1)
			if keys := c.Find(context.Background(), alice); keys.Outcome != test.keys.Outcome || s.calls.Load() != 1 {
				t.Errorf("%s: %v, asked %d times", test.name, keys.Outcome, s.calls.Load())
			}
		}
		now = noon.Add(test.want)
		c.Find(context.Background(), alice)
		if s.calls.Load() != 2 {
			t.Errorf("%s: asked %d times after %v", test.name, s.calls.Load(), test.want)
		}
	}
}

func TestCacheKnowsAddressesApart(t *testing.T) {
	c := &Cache{Source: source(func(_ context.Context, address string) Keys {
		return Keys{Outcome: None, Expires: noon.Add(time.Hour), Origin: address}
	}), Now: atNoon}
	for range 2 {
		for _, address := range []string{alice, "Alice@example.org", "bob@example.org"} {
			if keys := c.Find(context.Background(), address); keys.Origin != address {
				t.Errorf("Find(%q) is that of %q", address, keys.Origin)
			}
		}
	}
}

func TestCacheIsBounded(t *testing.T) {
	s := &counted{keys: Keys{Outcome: None, Expires: noon.Add(time.Hour)}}
	c := &Cache{Source: s, Now: atNoon}
	for i := range maxEntries + 100 {
		c.Find(context.Background(), fmt.Sprint(i, "@example.org"))
		c.Find(context.Background(), alice) // used all the time, so it stays
	}
	if c.recent.Len() != maxEntries || len(c.entries) != maxEntries {
		t.Errorf("%d and %d entries", c.recent.Len(), len(c.entries))
	}
	if calls := s.calls.Load(); calls != maxEntries+101 {
		t.Errorf("asked %d times", calls)
	}
	c.Find(context.Background(), strings.Repeat("a", maxAddress)+"@example.org")
	if calls := s.calls.Load(); calls != maxEntries+102 || len(c.entries) != maxEntries {
		t.Errorf("%d entries, asked %d times", len(c.entries), calls)
	}
}

func TestCacheIsBoundedInMemory(t *testing.T) {
	s := &counted{keys: Keys{Outcome: Unusable, Expires: noon.Add(time.Hour), Warnings: []string{strings.Repeat("x", 1<<20)}}}
	c := &Cache{Source: s, Now: atNoon}
	for i := range 100 {
		c.Find(context.Background(), fmt.Sprint(i, "@example.org"))
	}
	sum := 0
	for e := c.recent.Front(); e != nil; e = e.Next() {
		sum += e.Value.(*entry).weight
	}
	if sum != c.weight || sum > maxWeight || len(c.entries) != 63 {
		t.Errorf("%d entries weigh %d, noted are %d", len(c.entries), sum, c.weight)
	}
}

// One caller gives up; the others get the answer all the same.
func TestCacheWithAnImpatientCaller(t *testing.T) {
	asked, release := make(chan struct{}), make(chan struct{})
	var calls atomic.Int32
	c := &Cache{Now: atNoon, Source: source(func(ctx context.Context, _ string) Keys {
		calls.Add(1)
		close(asked)
		<-release
		if ctx.Err() != nil {
			return Keys{Why: ctx.Err()}
		}
		return Keys{Outcome: None, Expires: noon.Add(time.Hour)}
	})}
	ctx, cancel := context.WithCancel(context.Background())
	impatient := make(chan Keys)
	go func() { impatient <- c.Find(ctx, alice) }()
	<-asked
	cancel()
	if keys := <-impatient; keys.Outcome != Failed || !errors.Is(keys.Why, context.Canceled) {
		t.Errorf("the impatient caller got %v (%v)", keys.Outcome, keys.Why)
	}
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			if keys := c.Find(context.Background(), alice); keys.Outcome != None {
				t.Errorf("a patient caller got %v (%v)", keys.Outcome, keys.Why)
			}
		})
	}
	close(release)
	wg.Wait()
	if calls.Load() != 1 {
		t.Errorf("asked %d times", calls.Load())
	}
}

func TestCacheBudget(t *testing.T) {
	c := &Cache{Budget: time.Millisecond, Source: source(func(ctx context.Context, _ string) Keys {
		<-ctx.Done()
		return Keys{Why: ctx.Err()}
	})}
	if keys := c.Find(context.Background(), alice); keys.Outcome != Failed || !errors.Is(keys.Why, context.DeadlineExceeded) {
		t.Errorf("%v (%v)", keys.Outcome, keys.Why)
	}
}

func TestCacheSurvivesItsSource(t *testing.T) {
	c := &Cache{Source: source(func(context.Context, string) Keys { panic("broken") })}
	if keys := c.Find(context.Background(), alice); keys.Outcome != Failed || !strings.Contains(keys.Why.Error(), "broken") {
		t.Errorf("%v (%v)", keys.Outcome, keys.Why)
	}
}

// What a caller does to his answer is nobody else's matter.
func TestCacheGivesCopies(t *testing.T) {
	keys := found(t, cert{}, noon.Add(time.Hour))
	keys.Warnings, keys.Refused = []string{"w"}, []Refused{{Subject: "s"}}
	c := &Cache{Source: &counted{keys: keys}, Now: atNoon}
	for range 2 {
		got := c.Find(context.Background(), alice)
		if got.Certs[0].Certificate() == nil || got.Warnings[0] != "w" || got.Refused[0].Subject != "s" {
			t.Fatalf("got %+v", got)
		}
		got.Certs[0], got.Warnings[0], got.Refused[0] = cms.Recipient{}, "", Refused{}
	}
}

// What has changed must show at once: an answer from before does not count, not
// even one that is still on its way.
func TestCacheForget(t *testing.T) {
	s := &counted{keys: Keys{Outcome: None, Expires: noon.Add(time.Hour)}}
	c := &Cache{Source: s, Now: atNoon}
	for range 2 {
		c.Find(t.Context(), alice)
	}
	c.Forget()
	for range 2 {
		c.Find(t.Context(), alice)
	}
	if n := s.calls.Load(); n != 2 {
		t.Errorf("asked %d times, want once before and once after", n)
	}
	if c.weight == 0 || c.recent.Len() != 1 {
		t.Errorf("weight %d, %d entries", c.weight, c.recent.Len())
	}

	started, release := make(chan bool, 2), make(chan bool)
	slow := &Cache{Now: atNoon, Source: source(func(context.Context, string) Keys {
		started <- true
		<-release
		return Keys{Outcome: None, Expires: noon.Add(time.Hour)}
	})}
	var both sync.WaitGroup
	both.Go(func() { slow.Find(t.Context(), alice) })
	<-started
	slow.Forget()
	both.Go(func() { slow.Find(t.Context(), alice) })
	<-started // by the second one, who does not wait for the first
	release <- true
	release <- true
	both.Wait()
	slow.Forget()
	if slow.recent.Len() != 0 || slow.weight != 0 || slow.entries != nil {
		t.Errorf("%d entries, weight %d", slow.recent.Len(), slow.weight)
	}
	slow.put(alice, Keys{Outcome: None, Expires: noon.Add(time.Hour)}, 1)
	if slow.recent.Len() != 0 {
		t.Error("an answer from before is remembered")
	}
}
