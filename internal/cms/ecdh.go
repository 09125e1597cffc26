package cms

import (
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

// A scheme is a key agreement with the digest of its key derivation: RFC 5753,
// Section 7.1.4.
type scheme struct {
	id     string
	digest func() hash.Hash
}

// schemeOf gives the scheme that we write for a curve: RFC 5753, Section 8,
// pairs each curve with the digest of its strength.
func schemeOf(curve string) (s scheme, known bool) {
	switch curve {
	case "P-256":
		return scheme{oidECDHSHA256, sha256.New}, true
	case "P-384":
		return scheme{oidECDHSHA384, sha512.New384}, true
	case "P-521":
		return scheme{oidECDHSHA512, sha512.New}, true
	}
	return scheme{}, false
}

// schemes are those that are read. SHA-1 is OpenSSL's default.
var schemes = map[string]func() hash.Hash{
	oidECDHSHA1:   sha1.New,
	oidECDHSHA224: sha256.New224,
	oidECDHSHA256: sha256.New,
	oidECDHSHA384: sha512.New384,
	oidECDHSHA512: sha512.New,
}

// wraps are the key wraps that are read, with the octets of their keys.
var wraps = map[string]int{
	oidAES128Wrap: 16,
	oidAES192Wrap: 24,
	oidAES256Wrap: 32,
}

// keyAgreement makes a KeyAgreeRecipientInfo with a key of its own.
func keyAgreement(r Recipient, cek []byte) ([]byte, error) {
	ephemeral, err := r.ec.Curve().GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("cms: making a key for %s: %w", r.Fingerprint(), err)
	}
	return agree(ephemeral, r, cek)
}

// agree makes a KeyAgreeRecipientInfo: RFC 5652, Section 6.2.2 and RFC 5753,
// Section 3.1.1. Three things are as they are because gpgsm reads nothing else:
// the parameters of the originator's key and of the key wrap are absent, and
// there is no ukm, which RFC 5753 would like to see.
func agree(ephemeral *ecdh.PrivateKey, r Recipient, cek []byte) ([]byte, error) {
	s, known := schemeOf(fmt.Sprint(r.ec.Curve()))
	if !known {
		return nil, unsupported("curve %s", r.ec.Curve())
	}
	secret, err := ephemeral.ECDH(r.ec)
	if err != nil {
		return nil, fmt.Errorf("cms: agreeing on a key with %s: %w", r.Fingerprint(), err)
	}
	defer clear(secret)
	wrap := algorithmID(oidAES256Wrap)
	kek := deriveKey(s.digest, secret, sharedInfo(wrap, nil, keySize), keySize)
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
			issuerAndSerial(r.cert),
			element(asn1.OCTET_STRING, wrapped)))), nil
}

// originator makes an OriginatorPublicKey, [1] of OriginatorIdentifierOrKey.
func originator(key *ecdh.PublicKey) []byte {
	point := append([]byte{0}, key.Bytes()...) // no unused bits
	return element(field1, algorithmID(oidECPublicKey), element(asn1.BIT_STRING, point))
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

// An agreed is what is needed of a KeyAgreeRecipientInfo to open it.
type agreed struct {
	originator cryptobyte.String // the contents of OriginatorIdentifierOrKey
	ukm        []byte            // nil if absent
	scheme     algorithm
	encrypted  []byte // EncryptedKey of the recipient in question
}

// open decrypts a content-encryption key of so many octets.
func (a agreed) open(key *ecdh.PrivateKey, size int) ([]byte, error) {
	digest, known := schemes[a.scheme.id]
	if !known {
		return nil, unsupported("key agreement %s", a.scheme.id)
	}
	var wrap algorithm
	if in := a.scheme.parameters; !readAlgorithm(&in, &wrap) || !in.Empty() {
		return nil, damaged("key agreement")
	}
	kekSize, known := wraps[wrap.id]
	if !known {
		return nil, unsupported("key wrap %s", wrap.id)
	}
	secret, err := a.secret(key)
	if err != nil {
		return nil, err
	}
	defer clear(secret)
	kek := deriveKey(digest, secret, sharedInfo(wrap.raw, a.ukm, kekSize), kekSize)
	defer clear(kek)
	cek, ok := unwrapKey(kek, a.encrypted)
	if !ok || len(cek) != size {
		clear(cek)
		return nil, damaged("encrypted key")
	}
	return cek, nil
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
	if kind.id != oidECPublicKey {
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
