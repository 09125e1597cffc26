package main

import "syscall"

// hugePages asks the kernel to give a large buffer, which nobody has touched
// yet, in large pieces. To get 25 MB in pages of 4 kB takes longer than to
// encrypt them. It is a wish, and there is nothing to do if it is not granted.
func hugePages(b []byte) {
	const huge = 2 << 20 // octets; a smaller buffer has nothing of it
	if n := len(b) &^ (huge - 1); n > 0 {
		syscall.Madvise(b[:n], syscall.MADV_HUGEPAGE)
	}
}
