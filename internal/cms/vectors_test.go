package cms

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// RFC 3394, Section 4.
func TestKeyWrapVectors(t *testing.T) {
	const longest = "000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F"
	for _, v := range []struct{ section, kek, key, wrapped string }{
		{"4.1", longest[:32], "00112233445566778899AABBCCDDEEFF",
			"1FA68B0A8112B447 AEF34BD8FB5A7B82 9D3E862371D2CFE5"},
		{"4.2", longest[:48], "00112233445566778899AABBCCDDEEFF",
			"96778B25AE6CA435 F92B5B97C050AED2 468AB8A17AD84E5D"},
		{"4.3", longest, "00112233445566778899AABBCCDDEEFF",
			"64E8C3F9CE0F5BA2 63E9777905818A2A 93C8191E7D6E8AE7"},
		{"4.4", longest[:48], "00112233445566778899AABBCCDDEEFF0001020304050607",
			"031D33264E15D332 68F24EC260743EDC E1C6C7DDEE725A93 6BA814915C6762D2"},
		{"4.5", longest, "00112233445566778899AABBCCDDEEFF0001020304050607",
			"A8F9BC1612C68B3F F6E6F4FBE30E71E4 769C8B80A32CB895 8CD5D17D6B254DA1"},
		{"4.6", longest, "00112233445566778899AABBCCDDEEFF000102030405060708090A0B0C0D0E0F",
			"28C9F404C4B810F4 CBCCB35CFB87F826 3F5786E2D80ED326 CBC7F0E71A99F43B FB988B9B7A02DD21"},
	} {
		kek, key, want := unhex(t, v.kek), unhex(t, v.key), unhex(t, v.wrapped)
		wrapped, err := wrapKey(kek, key)
		if err != nil || !bytes.Equal(wrapped, want) {
			t.Errorf("%s: wrapped to %X, %v", v.section, wrapped, err)
		}
		got, ok := unwrapKey(kek, want)
		if !ok || !bytes.Equal(got, key) {
			t.Errorf("%s: unwrapped to %X, %v", v.section, got, ok)
		}
		for i := range want {
			want[i] ^= 1
			if _, ok := unwrapKey(kek, want); ok {
				t.Errorf("%s: unwrapped with octet %d altered", v.section, i)
			}
			want[i] ^= 1
		}
	}
}

func TestKeyWrapLengths(t *testing.T) {
	kek := make([]byte, 32)
	for _, n := range []int{0, 1, 7, 8, 15, 23, 31, 33, 72, 1 << 16} {
		if _, err := wrapKey(kek, make([]byte, n)); err == nil {
			t.Errorf("%d octets are wrapped", n)
		}
		if _, ok := unwrapKey(kek, make([]byte, n)); ok {
			t.Errorf("%d octets are unwrapped", n)
		}
	}
}

// NIST's CAVP, file ansx963_2001.rsp, SHA-256, the first of two of its groups.
func TestKeyDerivationVectors(t *testing.T) {
	for _, v := range []struct{ secret, info, key string }{
		{"96c05619d56c328ab95fe84b18264b08725b85e33fd34f08", "", "443024c3dae66b95e6f5670601558f71"},
		{"22518b10e70f2a3f243810ae3254139efbee04aa57c7af7d", "75eef81aa3041e33b80971203d2c0c52",
			"c498af77161cc59f2962b9a713e2b215152d139766ce34a776df11866a69bf2e52a13d9c7c6fc878c50c5ea0bc7b00e0" +
				"da2447cfd874f6cf92f30d0097111485500c90c3af8b487872d04685d14c8d1dc8d7fa08beb0ce0ababc11f0bd496269" +
				"142d43525a78e5bc79a17f59676a5706dc54d54d4d1f0bd7e386128ec26afc21"},
	} {
		want := unhex(t, v.key)
		got := deriveKey(sha256.New, unhex(t, v.secret), unhex(t, v.info), len(want))
		if !bytes.Equal(got, want) {
			t.Errorf("%s: %x", v.secret, got)
		}
	}
}

// RFC 5753, Section 7.2: 256 bits are 00 00 01 00, and absent means absent.
func TestSharedInfo(t *testing.T) {
	got := sharedInfo(algorithmID(oidAES256Wrap), nil, 32)
	want := unhex(t, "3015 300b 0609 608648016503040 12d a206 0404 00000100")
	if !bytes.Equal(got, want) {
		t.Errorf("%x, want %x", got, want)
	}
	got = sharedInfo(algorithmID(oidAES128Wrap), []byte{1, 2}, 16)
	want = unhex(t, "301b 300b 0609 608648016503040105 a004 0402 0102 a206 0404 00000080")
	if !bytes.Equal(got, want) {
		t.Errorf("with ukm: %x, want %x", got, want)
	}
}

// The steps of the example of RFC 9936, Appendix C, that do not ask for an
// ML-KEM-512, which the standard library has not.
func TestKEMVector(t *testing.T) {
	info := otherInfo(algorithmID(oidAES128Wrap), 16, nil)
	if want := unhex(t, "3010 300b 0609 608648016503040105 0201 10"); !bytes.Equal(info, want) {
		t.Errorf("CMSORIforKEMOtherInfo is %x, want %x", info, want)
	}
	secret := unhex(t, "7DF12D412AE299A24FDE6D7C3BB8E3194C80AD3C733DCF2775E09FE8BEDB86D8")
	kek, err := deriveHKDF(secret, nil, info, 16)
	if want := unhex(t, "CF453A3E2BAE0A78701B8206C185A008"); err != nil || !bytes.Equal(kek, want) {
		t.Errorf("key-encryption key is %x, %v, want %x", kek, err, want)
	}
	cek := unhex(t, "C5153005588269A0A59F3C01943FDD56")
	wrapped, err := wrapKey(kek, cek)
	if want := unhex(t, "C050E4392F9C14DD0AC2220203F317D701F94F9DD92778F5"); err != nil || !bytes.Equal(wrapped, want) {
		t.Errorf("encrypted key is %x, %v, want %x", wrapped, err, want)
	}
}

func TestHeaderLengths(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0400", 127: "047f", 128: "048180", 255: "0481ff", 256: "04820100",
		65535: "0482ffff", 65536: "0483010000", 1 << 24: "048401000000", 1 << 32: "04850100000000",
	} {
		got := header(4, n)
		if hex.EncodeToString(got) != want {
			t.Errorf("length %d is %x, want %s", n, got, want)
		}
		h, state := parseHeader(got)
		if state != headerDone || h.length != n || h.size != len(got) {
			t.Errorf("length %d is read as %+v", n, h)
		}
	}
}
