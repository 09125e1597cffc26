package cms

import (
	"crypto"
	"slices"
	"testing"

	"golang.org/x/crypto/cryptobyte/asn1"
)

func TestCapabilities(t *testing.T) {
	const tripleDES = "1.2.840.113549.3.7"
	list := func(ids ...string) []byte {
		var all [][]byte
		for _, id := range ids {
			all = append(all, algorithmID(id))
		}
		return element(asn1.SEQUENCE, all...)
	}
	// RFC 3560, Section 5, gives both in octets, the second without the tags of
	// the fields, which ASN.1 wants.
	defaults := unhex(t, "300D 0609 2A864886F70D010107 3000")
	sha256 := unhex(t, "3038 0609 2A864886F70D010107 302B 300D 0609 608648016503040201 0500 301A 0609 2A864886F70D010108 300D 0609 608648016503040201 0500")
	tagged := algorithmID(oidOAEP, oaepParameters(crypto.SHA256))
	sha512 := algorithmID(oidOAEP, otherOAEP(oidSHA512))
	pkcs1 := algorithmID(oidRSA, null())
	for name, c := range map[string]struct {
		der     []byte
		ciphers []Cipher
		oaep    crypto.Hash
	}{
		"two ciphers in their order":    {list(oidAES128CBC, oidAES256GCM), []Cipher{AES128CBC, AES256GCM}, 0},
		"one that we have not":          {list(oidAES192CBC, tripleDES, oidAES256CBC), []Cipher{AES256CBC}, 0},
		"one twice":                     {list(oidAES128GCM, oidAES128GCM), []Cipher{AES128GCM}, 0},
		"OAEP, the default form":        {element(asn1.SEQUENCE, defaults), nil, crypto.SHA1},
		"OAEP with SHA-256":             {element(asn1.SEQUENCE, tagged), nil, crypto.SHA256},
		"the same as RFC 3560 has it":   {element(asn1.SEQUENCE, sha256), nil, crypto.SHA256},
		"OAEP without parameters":       {list(oidOAEP), nil, crypto.SHA1},
		"OAEP, then PKCS #1 v1.5":       {element(asn1.SEQUENCE, sha256, pkcs1), nil, crypto.SHA256},
		"PKCS #1 v1.5, then OAEP":       {element(asn1.SEQUENCE, pkcs1, sha256), nil, 0},
		"OAEP with SHA-512, that is no": {element(asn1.SEQUENCE, sha512), nil, 0},
		"SHA-512, then SHA-256":         {element(asn1.SEQUENCE, sha512, sha256), nil, crypto.SHA256},
		"nothing":                       {list(), nil, 0},
		"no list":                       {integer(1), nil, 0},
		"something behind it":           {append(list(oidAES128CBC), 0), nil, 0},
		"no capability in it":           {element(asn1.SEQUENCE, algorithmID(oidAES128CBC), integer(1)), nil, 0},
		"too many":                      {element(asn1.SEQUENCE, append(slices.Repeat([][]byte{algorithmID(tripleDES)}, maxCapabilities), algorithmID(oidAES256GCM))...), nil, 0},
	} {
		able := parseCapabilities(c.der)
		if !slices.Equal(able.ciphers, c.ciphers) || able.oaep != c.oaep {
			t.Errorf("%s: %v, OAEP with %v, want %v, %v", name, able.ciphers, able.oaep, c.ciphers, c.oaep)
		}
	}
}

func FuzzCapabilities(f *testing.F) {
	f.Add(element(asn1.SEQUENCE, oaepSHA256, algorithmID(oidAES256GCM)))
	f.Add(element(asn1.SEQUENCE, algorithmID(oidRSA, null()), oaepSHA1))
	f.Fuzz(func(t *testing.T, der []byte) {
		able := parseCapabilities(der)
		if len(able.ciphers) > len(Ciphers) {
			t.Errorf("%d ciphers", len(able.ciphers))
		}
		for i, c := range able.ciphers {
			if !slices.Contains(Ciphers, c) || slices.Contains(able.ciphers[:i], c) {
				t.Errorf("ciphers %v", able.ciphers)
			}
		}
	})
}
