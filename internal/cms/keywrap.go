package cms

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"
	"encoding/binary"
	"errors"
)

// AES key wrap: RFC 3394. Keys come in semiblocks of 8 octets, at least two.
const semiblock = 8

// wrapMark is the initial value of RFC 3394, Section 2.2.3.1, by which a key is
// known to have been unwrapped rightly.
var wrapMark = []byte{0xa6, 0xa6, 0xa6, 0xa6, 0xa6, 0xa6, 0xa6, 0xa6}

// wrapKey encrypts a key with another: RFC 3394, Section 2.2.1, with the
// register A and the semiblock at hand in one block.
func wrapKey(kek, key []byte) ([]byte, error) {
	if !wrappable(len(key)) {
		return nil, errors.New("cms: key of a length that cannot be wrapped")
	}
	c, err := aes.NewCipher(kek)
	if err != nil {
		return nil, err
	}
	out := append(append([]byte{}, wrapMark...), key...)
	n := len(key) / semiblock
	var b [aes.BlockSize]byte
	defer clear(b[:])
	copy(b[:semiblock], wrapMark)
	for t := 1; t <= 6*n; t++ {
		r := out[semiblock*((t-1)%n+1):][:semiblock]
		copy(b[semiblock:], r)
		c.Encrypt(b[:], b[:])
		xorCounter(b[:semiblock], t)
		copy(r, b[semiblock:])
	}
	copy(out, b[:semiblock])
	return out, nil
}

// unwrapKey is the inverse of wrapKey: RFC 3394, Section 2.2.2. It reports
// whether the mark was there.
func unwrapKey(kek, wrapped []byte) (key []byte, ok bool) {
	if len(wrapped) < semiblock || !wrappable(len(wrapped)-semiblock) {
		return nil, false
	}
	c, err := aes.NewCipher(kek)
	if err != nil {
		return nil, false
	}
	return unwrap(c, wrapped)
}

func unwrap(c cipher.Block, wrapped []byte) (key []byte, ok bool) {
	var b [aes.BlockSize]byte
	defer clear(b[:])
	copy(b[:semiblock], wrapped)
	key = append([]byte{}, wrapped[semiblock:]...)
	n := len(key) / semiblock
	for t := 6 * n; t >= 1; t-- {
		r := key[semiblock*((t-1)%n):][:semiblock]
		xorCounter(b[:semiblock], t)
		copy(b[semiblock:], r)
		c.Decrypt(b[:], b[:])
		copy(r, b[semiblock:])
	}
	if subtle.ConstantTimeCompare(b[:semiblock], wrapMark) != 1 {
		clear(key)
		return nil, false
	}
	return key, true
}

// wrappable reports whether n octets are a key: 16, 24 or 32, with some room.
func wrappable(n int) bool { return n%semiblock == 0 && n >= 2*semiblock && n <= 64 }

func xorCounter(a []byte, t int) {
	binary.BigEndian.PutUint64(a, binary.BigEndian.Uint64(a)^uint64(t))
}
