package gateway

import (
	"context"
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
	size    int64 // octets
	free    *semaphore.Weighted
	buffers sync.Pool // of *[]byte
}

func newMemory(size int64) *memory {
	if size <= 0 {
		size = defaultMemory
	}
	return &memory{size: size, free: semaphore.NewWeighted(size)}
}

// lend returns a buffer of n octets, with anything in it, for as long as it is
// not given back. It waits until ctx ends. More than the size is never free.
func (m *memory) lend(ctx context.Context, n int64) ([]byte, error) {
	if err := m.free.Acquire(ctx, n); err != nil {
		return nil, context.Cause(ctx)
	}
	if used, ok := m.buffers.Get().(*[]byte); ok && int64(cap(*used)) >= n {
		return (*used)[:n], nil
	}
	return make([]byte, n), nil
}

// giveBack takes the buffer that was lent, at its length then.
func (m *memory) giveBack(buffer []byte) {
	m.buffers.Put(&buffer)
	m.free.Release(int64(len(buffer)))
}
