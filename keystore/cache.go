package keystore

import (
	"container/list"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

// How much a [Cache] keeps, and for how long at most.
const (
	maxEntries   = 10_000
	maxWeight    = 64 << 20 // octets, roughly
	maxAddress   = 1000     // octets; longer ones are not worth remembering
	keepFound    = 24 * time.Hour
	keepNegative = time.Hour
	// A repair must show soon, and still a broken domain should not be asked
	// for each of a hundred recipients (RFC 4035, Section 4.7; RFC 9520).
	keepBogus  = 30 * time.Second
	keepFailed = 5 * time.Second
)

// A Cache remembers what a source answered, that there is nothing too, for as
// long as the answer holds (RFC 8162, Section 6). Several who ask for the same
// address at once share one question.
//
// Its fields are set before the first Find.
type Cache struct {
	Source Source

	// Now is the clock. Default: time.Now.
	Now func() time.Time

	// Budget bounds a question to the source. It does not end with the caller
	// who asked first, since others may wait for the answer too. Default: 7 s.
	Budget time.Duration

	flights singleflight.Group

	mu      sync.Mutex // guards all below
	entries map[string]*list.Element
	recent  list.List // of *entry, the last used one in front
	weight  int
	forgot  int // how often everything was forgotten
}

type entry struct {
	address string
	keys    Keys
	until   time.Time
	weight  int
}

// Find implements [Source].
func (c *Cache) Find(ctx context.Context, address string) Keys {
	if len(address) > maxAddress {
		return c.Source.Find(ctx, address)
	}
	if keys, ok := c.get(address); ok {
		return keys
	}
	forgot := c.timesForgotten()
	// Who comes after everything was forgotten shares no question from before.
	flight := c.flights.DoChan(fmt.Sprint(forgot, " ", address), func() (any, error) {
		if keys, ok := c.get(address); ok { // a flight has just ended
			return keys, nil
		}
		return c.ask(context.WithoutCancel(ctx), address, forgot), nil
	})
	select {
	case result := <-flight:
		return result.Val.(Keys).clone()
	case <-ctx.Done():
		return Keys{Why: fmt.Errorf("waiting for the answer: %w", ctx.Err())}
	}
}

// ask asks the source, and remembers the answer. It runs in a goroutine of its
// own, which its deadline ends; nobody is there to catch a panic for it.
func (c *Cache) ask(ctx context.Context, address string, forgot int) (keys Keys) {
	ctx, cancel := context.WithTimeout(ctx, c.budget())
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			keys = Keys{Why: fmt.Errorf("panic in the source of certificates: %v", p)}
		}
	}()
	keys = c.Source.Find(ctx, address)
	c.put(address, keys, forgot)
	return keys
}

// Forget forgets all answers, also those that are on their way: something else
// has changed by which they were judged.
func (c *Cache) Forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forgot++
	c.entries, c.weight = nil, 0
	c.recent.Init()
}

func (c *Cache) timesForgotten() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.forgot
}

func (c *Cache) budget() time.Duration {
	if c.Budget == 0 {
		return 7 * time.Second
	}
	return c.Budget
}

func (c *Cache) now() time.Time {
	if c.Now == nil {
		return time.Now()
	}
	return c.Now()
}

func (c *Cache) get(address string) (Keys, bool) {
	now := c.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	element, ok := c.entries[address]
	if !ok {
		return Keys{}, false
	}
	e := element.Value.(*entry)
	if !now.Before(e.until) {
		c.drop(element)
		return Keys{}, false
	}
	c.recent.MoveToFront(element)
	return e.keys.clone(), true
}

// put remembers an answer, unless everything was forgotten since the question.
func (c *Cache) put(address string, keys Keys, forgot int) {
	now := c.now()
	e := &entry{address, keys.clone(), holds(keys, now), weigh(address, keys)}
	c.mu.Lock()
	defer c.mu.Unlock()
	if forgot != c.forgot {
		return
	}
	if old, ok := c.entries[address]; ok {
		c.drop(old)
	}
	if !now.Before(e.until) {
		return
	}
	if c.entries == nil {
		c.entries = make(map[string]*list.Element)
	}
	c.entries[address] = c.recent.PushFront(e)
	c.weight += e.weight
	for c.recent.Len() > maxEntries || c.weight > maxWeight {
		c.drop(c.recent.Back())
	}
}

// drop forgets an entry. The caller holds the lock.
func (c *Cache) drop(element *list.Element) {
	e := c.recent.Remove(element).(*entry)
	delete(c.entries, e.address)
	c.weight -= e.weight
}

// holds says until when an answer may be given out again.
func holds(keys Keys, now time.Time) time.Time {
	switch keys.Outcome {
	case Failed:
		return now.Add(keepFailed)
	case Bogus:
		return now.Add(keepBogus)
	case Found:
		until := earlier(keys.Expires, now.Add(keepFound))
		for _, r := range keys.Certs {
			until = earlier(until, r.Certificate().NotAfter)
		}
		return until
	}
	return earlier(keys.Expires, now.Add(keepNegative))
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// weigh says roughly how much memory an answer keeps.
func weigh(address string, keys Keys) int {
	const each = 500 // headers, pointers, a sentence
	n := each + len(address)
	for _, r := range keys.Certs {
		n += each + 4*len(r.Certificate().Raw) // as it came, and taken apart
	}
	for _, r := range keys.Refused {
		n += each + len(r.Subject)
	}
	for _, w := range keys.Warnings {
		n += len(w)
	}
	return n
}

// clone returns Keys that share nothing a caller might change.
func (k Keys) clone() Keys {
	k.Certs = slices.Clone(k.Certs)
	k.Refused = slices.Clone(k.Refused)
	k.Warnings = slices.Clone(k.Warnings)
	return k
}
