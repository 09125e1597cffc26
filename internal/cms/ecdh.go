package cms

import (
	"bytes"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"fmt"
	"hash"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// A scheme is a key agreement with its key derivation.
type scheme struct {
	id     string
	derive func(secret, ukm, info []byte, size int) ([]byte, error)
}

// schemeOf gives the scheme that we write for a curve: RFC 5753, Section 8,
// pairs each curve with the digest of its strength. That of X25519 is from RFC
// 8418, Section 2.
func schemeOf(curve string) (s scheme, known bool) {
	switch curve {
	case "P-256":
		return scheme{oidECDHSHA256, x963(sha256.New)}, true
	case "P-384":
		return scheme{oidECDHSHA384, x963(sha512.New384)}, true
	case "P-521":
		return scheme{oidECDHSHA512, x963(sha512.New)}, true
	case "X25519":
		return scheme{oidECDHHKDFSHA256, deriveHKDF}, true
	}
	return scheme{}, false
}

// schemes are those that are read. SHA-1 is OpenSSL's default.
var schemes = map[string]scheme{
	oidECDHSHA1:       {oidECDHSHA1, x963(sha1.New)},
	oidECDHSHA224:     {oidECDHSHA224, x963(sha256.New224)},
	oidECDHSHA256:     {oidECDHSHA256, x963(sha256.New)},
	oidECDHSHA384:     {oidECDHSHA384, x963(sha512.New384)},
	oidECDHSHA512:     {oidECDHSHA512, x963(sha512.New)},
	oidECDHHKDFSHA256: {oidECDHHKDFSHA256, deriveHKDF},

	// RFC 5753, Section 7.1.4: where the cofactor is 1, it changes nothing.
	oidCofactorSHA1:   {oidCofactorSHA1, x963(sha1.New)},
	oidCofactorSHA224: {oidCofactorSHA224, x963(sha256.New224)},
	oidCofactorSHA256: {oidCofactorSHA256, x963(sha256.New)},
	oidCofactorSHA384: {oidCofactorSHA384, x963(sha512.New384)},
	oidCofactorSHA512: {oidCofactorSHA512, x963(sha512.New)},
}

// x963 is the key derivation with a digest. It has no use for ukm, which is in
// the info already; for HKDF it is the salt as well: RFC 8418, Section 2.2.
func x963(digest func() hash.Hash) func(secret, ukm, info []byte, size int) ([]byte, error) {
	return func(secret, _, info []byte, size int) ([]byte, error) {
		return deriveKey(digest, secret, info, size), nil
	}
}

// wraps are the key wraps that are read, with the octets of their keys.
var wraps = map[string]int{
	oidAES128Wrap: 16,
	oidAES192Wrap: 24,
	oidAES256Wrap: 32,
}

// An agreementKey is a key on one of the three curves, or of X25519.
type agreementKey struct{ key *ecdh.PublicKey }

// wrap makes a KeyAgreeRecipientInfo with a key of its own.
func (k agreementKey) wrap(name, cek []byte) ([]byte, error) {
	ephemeral, err := k.key.Curve().GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	return k.agree(ephemeral, name, cek)
}

// agree makes a KeyAgreeRecipientInfo: RFC 5652, Section 6.2.2, RFC 5753, Section
// 3.1.1, and RFC 8418, Section 3. Three things are as they are because gpgsm
// reads nothing else: the parameters of the originator's key and of the key wrap
// are absent, and there is no ukm, which RFC 5753 would like to see. The key wrap
// is as long as the key: RFC 8551, Section 2.3.
func (k agreementKey) agree(ephemeral *ecdh.PrivateKey, name, cek []byte) ([]byte, error) {
	s, known := schemeOf(fmt.Sprint(k.key.Curve()))
	if !known {
		return nil, unsupported("curve %s", k.key.Curve())
	}
	secret, err := ephemeral.ECDH(k.key) // of X25519, an error if it is all zero: RFC 8418, Section 7
	if err != nil {
		return nil, err
	}
	defer clear(secret)
	wrap := algorithmID(wrapOf(len(cek)))
	kek, err := s.derive(secret, nil, sharedInfo(wrap, nil, len(cek)), len(cek))
	if err != nil {
		return nil, err
	}
	defer clear(kek)
	wrapped, err := wrapKey(kek, cek)
	if err != nil {
		return nil, err
	}
	return element(field1,
		integer(3),
		element(field0, originator(ephemeral.PublicKey())),
		algorithmID(s.id, wrap),
		element(asn1.SEQUENCE, element(asn1.SEQUENCE,
			name,
			element(asn1.OCTET_STRING, wrapped)))), nil
}

// wrapped implements publicKey.
func (k agreementKey) wrapped(s sealedKey, size int) bool {
	how, known := schemeOf(fmt.Sprint(k.key.Curve()))
	if !known || s.kind != agreedKind || s.version != 3 || s.agreed.ukm != nil ||
		!bytes.Equal(s.how.raw, algorithmID(how.id, algorithmID(wrapOf(size)))) || len(s.encrypted) != size+semiblock {
		return false
	}
	// The point is random, but for its form.
	mine, theirs := originator(k.key), s.agreed.originator
	fixed := len(mine) - len(k.key.Bytes())
	if k.key.Curve() != ecdh.X25519() {
		fixed++ // 4: uncompressed
	}
	return len(theirs) == len(mine) && bytes.Equal(theirs[:fixed], mine[:fixed])
}

// newX25519 refuses the points with which everybody agrees on zero: RFC 8418,
// Section 7.
func newX25519(octets []byte) (*ecdh.PublicKey, error) {
	key, err := ecdh.X25519().NewPublicKey(octets)
	if err != nil {
		return nil, err
	}
	ephemeral, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	_, err = ephemeral.ECDH(key)
	return key, err
}

// wrapOf gives the key wrap for a key of so many octets.
func wrapOf(size int) string {
	if size == 16 {
		return oidAES128Wrap
	}
	return oidAES256Wrap
}

// originator makes an OriginatorPublicKey, [1] of OriginatorIdentifierOrKey.
func originator(key *ecdh.PublicKey) []byte {
	point := append([]byte{0}, key.Bytes()...) // no unused bits
	return element(field1, algorithmID(keyType(key.Curve())), element(asn1.BIT_STRING, point))
}

// keyType is the algorithm of a public key on a curve.
func keyType(curve ecdh.Curve) string {
	if curve == ecdh.X25519() {
		return oidX25519
	}
	return oidECPublicKey
}

// sharedInfo makes an ECC-CMS-SharedInfo: RFC 5753, Section 7.2. The key wrap
// is the AlgorithmIdentifier as it stands in the object; size is in octets, and
// counted in bits.
func sharedInfo(wrap, ukm []byte, size int) []byte {
	var entity []byte
	if ukm != nil {
		entity = element(field0, element(asn1.OCTET_STRING, ukm))
	}
	bits := binary.BigEndian.AppendUint32(nil, uint32(8*size))
	return element(asn1.SEQUENCE, wrap, entity, element(field2, element(asn1.OCTET_STRING, bits)))
}

// deriveKey is the key derivation of ANSI X9.63: SEC 1, Section 3.6.1. The
// secret has its leading zeros.
func deriveKey(digest func() hash.Hash, secret, info []byte, size int) []byte {
	h := digest()
	key := make([]byte, 0, size+h.Size()) // in one place, to be wiped there
	for counter := uint32(1); len(key) < size; counter++ {
		h.Reset()
		h.Write(secret)
		h.Write(binary.BigEndian.AppendUint32(nil, counter))
		h.Write(info)
		key = h.Sum(key)
	}
	clear(key[size:])
	return key[:size]
}

// An agreed is what a KeyAgreeRecipientInfo has beside the encrypted keys.
type agreed struct {
	originator cryptobyte.String // the contents of OriginatorIdentifierOrKey
	ukm        []byte            // nil if absent
}

// An agreementOpener is the private key to an agreementKey.
type agreementOpener struct{ key *ecdh.PrivateKey }

// unwrap implements privateKey.
func (o agreementOpener) unwrap(k sealedKey, size int) ([]byte, error) {
	if k.kind != agreedKind {
		return nil, ErrNotRecipient
	}
	s, known := schemes[k.how.id]
	if !known {
		return nil, unsupported("key agreement %s", k.how.id)
	}
	var wrap algorithm
	if in := k.how.parameters; !readAlgorithm(&in, &wrap) || !in.Empty() {
		return nil, damaged("key agreement")
	}
	kekSize, known := wraps[wrap.id]
	if !known {
		return nil, unsupported("key wrap %s", wrap.id)
	}
	secret, err := k.agreed.secret(o.key)
	if err != nil {
		return nil, err
	}
	defer clear(secret)
	kek, err := s.derive(secret, k.agreed.ukm, sharedInfo(wrap.raw, k.agreed.ukm, kekSize), kekSize)
	if err != nil {
		return nil, damaged("key agreement")
	}
	defer clear(kek)
	return unwrapSized(kek, k.encrypted, size)
}

// secret agrees with the originator's key. Its parameters are absent, NULL, or
// the curve, which is the recipient's anyhow.
func (a agreed) secret(key *ecdh.PrivateKey) ([]byte, error) {
	var fields cryptobyte.String
	var point []byte
	var kind algorithm
	if a.originator.Empty() || anyTag(a.originator) != field1 {
		return nil, unsupported("key agreement with a certificate of the sender")
	}
	if !a.originator.ReadASN1(&fields, field1) || !a.originator.Empty() ||
		!readAlgorithm(&fields, &kind) || !fields.ReadASN1BitStringAsBytes(&point) || !fields.Empty() {
		return nil, damaged("originator's key")
	}
	if kind.id != keyType(key.Curve()) {
		return nil, unsupported("originator's key of algorithm %s", kind.id)
	}
	public, err := key.Curve().NewPublicKey(point)
	if err != nil {
		return nil, damaged("originator's key")
	}
	secret, err := key.ECDH(public)
	if err != nil {
		return nil, damaged("originator's key")
	}
	return secret, nil
}
