package gateway

import "testing"

// What is lent stays within the size, also when short mails come after long
// ones.
func TestMemoryCountsWhatItLends(t *testing.T) {
	const size, long = 100 << 20, 24 << 20
	m := newMemory(size)
	lend := func(n int64) []byte {
		t.Helper()
		b, err := m.lend(t.Context(), n)
		if err != nil || int64(len(b)) != n {
			t.Fatalf("%d octets: %d, %v", n, len(b), err)
		}
		return b
	}
	var first, held [][]byte
	for range 4 {
		first = append(first, lend(long))
	}
	for _, b := range first {
		m.giveBack(b)
	}
	for range 4 {
		held = append(held, lend(1000))
	}
	for range 3 {
		held = append(held, lend(long))
	}
	total := 0
	for _, b := range held {
		total += cap(b)
	}
	if total > size {
		t.Errorf("%d octets are lent, of %d", total, size)
	}
	for _, b := range held {
		m.giveBack(b)
	}
	m.giveBack(lend(size)) // all has come back
}

func TestRoundUp(t *testing.T) {
	for n, want := range map[int64]int64{
		1: 4096, 4096: 4096, 4097: 8192, 65537: 73728, 25_000_000: 25_165_824, 1 << 25: 1 << 25,
	} {
		got := roundUp(n)
		if got != want || got > n+max(n/8, 4096) {
			t.Errorf("roundUp(%d) = %d, want %d", n, got, want)
		}
	}
}

// Two gateways, one in the place of the other, have the memory of one.
func TestShareMemory(t *testing.T) {
	for name, use := range map[string]func(old *Gateway){
		"before a mail needs it": func(*Gateway) {},
		"afterwards":             func(old *Gateway) { old.newSealing() },
	} {
		old, young := &Gateway{Memory: 1 << 20}, &Gateway{Memory: 1 << 20}
		use(old)
		young.ShareMemory(old)
		if young.newSealing().memory != old.newSealing().memory {
			t.Errorf("%s: each has its own", name)
		}
	}
}
