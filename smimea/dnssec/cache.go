package dnssec

import (
	"container/list"
	"context"
	"sync"
	"time"
)

// A cache remembers values that end with time, and lets one caller at a time
// make a value that is missing: the others wait for it. It is bounded in
// entries and in octets; what was not used for longest goes first.
type cache[K comparable, V any] struct {
	entries int
	octets  int
	weigh   func(V) int
	now     func() time.Time

	mu    sync.Mutex // guards what follows
	known map[K]*list.Element
	used  list.List // of *entry[K, V], the one used last in front
	size  int       // octets
	calls map[K]*call[V]
}

type entry[K comparable, V any] struct {
	key     K
	value   V
	expires time.Time
}

// A call is a value in the making.
type call[V any] struct {
	done  chan struct{}
	value V
	kept  bool // it is worth sharing
}

func newCache[K comparable, V any](entries, octets int, weigh func(V) int, now func() time.Time) *cache[K, V] {
	return &cache[K, V]{
		entries: entries, octets: octets, weigh: weigh, now: now,
		known: map[K]*list.Element{}, calls: map[K]*call[V]{},
	}
}

// get returns the value of a key. If it is not known it calls compute, which
// says how long its value holds, and whether others may have it. A caller who
// waited for a value that may not be had by others makes its own. ok is false
// when ctx ended before.
func (c *cache[K, V]) get(ctx context.Context, key K, compute func() (v V, expires time.Time, share bool)) (v V, ok bool) {
	c.mu.Lock()
	if v, ok := c.fresh(key); ok {
		c.mu.Unlock()
		return v, true
	}
	if other := c.calls[key]; other != nil {
		c.mu.Unlock()
		select {
		case <-other.done:
		case <-ctx.Done():
			return v, false
		}
		if other.kept {
			return other.value, true
		}
		v, _, _ = compute()
		return v, true
	}
	mine := &call[V]{done: make(chan struct{})}
	c.calls[key] = mine
	c.mu.Unlock()
	return c.lead(key, mine, compute), true
}

// lead makes the value for those who wait, who must be woken in any case.
func (c *cache[K, V]) lead(key K, mine *call[V], compute func() (V, time.Time, bool)) V {
	var expires time.Time
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.calls, key)
		if mine.kept {
			c.add(key, mine.value, expires)
		}
		close(mine.done)
	}()
	mine.value, expires, mine.kept = compute()
	return mine.value
}

// has reports whether a value is known, or in the making.
func (c *cache[K, V]) has(key K) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.fresh(key)
	return ok || c.calls[key] != nil
}

// peek returns the value of a key if it is known.
func (c *cache[K, V]) peek(key K) (V, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.fresh(key)
}

// put remembers a value that was found on the side.
func (c *cache[K, V]) put(key K, v V, expires time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.add(key, v, expires)
}

// fresh returns a value that holds. The mutex is held.
func (c *cache[K, V]) fresh(key K) (v V, ok bool) {
	element := c.known[key]
	if element == nil {
		return v, false
	}
	e := element.Value.(*entry[K, V])
	if !c.now().Before(e.expires) {
		c.remove(element)
		return v, false
	}
	c.used.MoveToFront(element)
	return e.value, true
}

// add remembers a value that does not end at once. The mutex is held.
func (c *cache[K, V]) add(key K, v V, expires time.Time) {
	if element := c.known[key]; element != nil {
		c.remove(element)
	}
	if !c.now().Before(expires) || c.weigh(v) > c.octets {
		return
	}
	c.known[key] = c.used.PushFront(&entry[K, V]{key, v, expires})
	c.size += c.weigh(v)
	for len(c.known) > c.entries || c.size > c.octets {
		c.remove(c.used.Back())
	}
}

func (c *cache[K, V]) remove(element *list.Element) {
	e := c.used.Remove(element).(*entry[K, V])
	delete(c.known, e.key)
	c.size -= c.weigh(e.value)
}
