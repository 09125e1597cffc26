package dnssec

import (
	"encoding/hex"
	"testing"
)

// Made by OpenSSL 3.0 ("pkeyutl -sign -rawin"): no library here signs with
// Ed448 (RFC 8080, Section 4).
func TestEd448(t *testing.T) {
	unhex := func(s string) []byte {
		b, err := hex.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	data := []byte("example.org. is signed with Ed448")
	k := key{algorithm: algED448, public: unhex("ac64d68c5ff06e3f86c2fee51ad66da4540f3439d70e1d798c44caa723f66dabca296bbf5e2b56891a905a5e59216073a6b0d4278278fe4000")}
	sig := unhex("3d3bcf127536b5d78aee4384bcddbc04baab2acb2d7a9a546ea162c8c20bb939b8c00ff52bf90269a70f6d7b3bb761bbc568cfbc0c33d751803aae9ca0128c50e92d590bbea25ef03427a7996191d9b41fb5d22ce0f95b6836157ac104850d53000f19b91d052e9043a7af354bdb55272e00")
	if !k.verifies(data, sig) {
		t.Error("the signature does not verify")
	}
	for i := range sig {
		bad := append([]byte(nil), sig...)
		bad[i] ^= 1
		if k.verifies(data, bad) {
			t.Errorf("octet %d of the signature does not matter", i)
		}
	}
	if k.verifies(data[1:], sig) || k.verifies(data, sig[1:]) || k.verifies(data, nil) {
		t.Error("something else verifies")
	}
	if k.public = k.public[1:]; k.verifies(data, sig) {
		t.Error("half a key verifies")
	}
}
