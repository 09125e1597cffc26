package gateway

import (
	"context"
	"math/bits"
	"sync"

	"golang.org/x/sync/semaphore"
)

// What a Gateway has for mails that are needed as a whole, if it is not told.
const defaultMemory = 128 << 20

// A memory lends buffers for whole mails, to one mail after the other, so that
// all that are lent at a time stay within its size. Who cannot have one yet
// waits, in the order of asking.
//
// A mail asks once, when its length is known. Who had a part already and waited
// for the rest could wait for others who do the same.
type memory struct {
	size int64 // octets
	free *semaphore.Weighted

	mu    sync.Mutex           // guards pools
	pools map[int64]*sync.Pool // of *[]byte, by their size: there are eight for each doubling
}

func newMemory(size int64) *memory {
	if size <= 0 {
		size = defaultMemory
	}
	return &memory{size: size, free: semaphore.NewWeighted(size), pools: make(map[int64]*sync.Pool)}
}

// ShareMemory lets g, before its first mail, have the memory of the gateway in
// whose place it steps, so that both together keep to it.
func (g *Gateway) ShareMemory(old *Gateway) {
	old.onceMemory.Do(func() { old.shared = newMemory(old.Memory) })
	g.onceMemory.Do(func() { g.shared = old.shared })
}

// lend returns a buffer of n octets, with anything in it, for as long as it is
// not given back. It waits until ctx ends. More than the size is never free.
func (m *memory) lend(ctx context.Context, n int64) ([]byte, error) {
	whole := min(roundUp(n), max(m.size, n))
	if err := m.free.Acquire(ctx, whole); err != nil {
		return nil, context.Cause(ctx)
	}
	if used, ok := m.pool(whole).Get().(*[]byte); ok {
		return (*used)[:n], nil
	}
	return make([]byte, n, whole), nil
}

// giveBack takes a buffer that was lent.
func (m *memory) giveBack(buffer []byte) {
	whole := int64(cap(buffer))
	m.pool(whole).Put(&buffer)
	m.free.Release(whole)
}

// pool has buffers of one size, so that each counts as what it is.
func (m *memory) pool(size int64) *sync.Pool {
	m.mu.Lock()
	defer m.mu.Unlock()
	p, ok := m.pools[size]
	if !ok {
		p = new(sync.Pool)
		m.pools[size] = p
	}
	return p
}

// roundUp adds an eighth at most, so that mails of about the same length can
// have the same buffers.
func roundUp(n int64) int64 {
	step := int64(1) << max(bits.Len64(uint64(n))-4, 12)
	return (n + step - 1) / step * step
}
