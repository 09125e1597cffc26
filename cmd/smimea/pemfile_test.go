package main

import "testing"

func FuzzPrivateKey(f *testing.F) {
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n"))
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"))
	f.Add([]byte{0x30, 0})
	f.Fuzz(func(t *testing.T, content []byte) {
		key, err := privateKey(content)
		if (err == nil) != (key != nil) {
			t.Errorf("%T, %v", key, err)
		}
	})
}
