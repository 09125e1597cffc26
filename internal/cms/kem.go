package cms

import (
	"bytes"
	"crypto"
	"crypto/hkdf"
	"crypto/mlkem"
	"crypto/sha256"
	"errors"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// An encapsulationKey is an ML-KEM key: RFC 9936.
type encapsulationKey struct {
	id  string
	key crypto.Encapsulator
}

// kemKEKSize is how many octets a key-encryption key of ours has.
const kemKEKSize = 32

// wrap makes a KEMRecipientInfo in an OtherRecipientInfo: RFC 9629, Section 3.
// The key wrap is the one that RFC 9936, Section 2.2.1, wants everybody with
// these keys to have, whatever the cipher.
//
//	KEMRecipientInfo ::= SEQUENCE {
//	  version 0, rid, kem, kemct OCTET STRING, kdf, kekLength INTEGER,
//	  ukm [0] EXPLICIT OPTIONAL, wrap, encryptedKey OCTET STRING }
func (k encapsulationKey) wrap(name, cek []byte) ([]byte, error) {
	secret, ciphertext := k.key.Encapsulate()
	defer clear(secret)
	how := algorithmID(oidAES256Wrap)
	kek, err := deriveHKDF(secret, nil, otherInfo(how, kemKEKSize, nil), kemKEKSize)
	if err != nil {
		return nil, err
	}
	defer clear(kek)
	wrapped, err := wrapKey(kek, cek)
	if err != nil {
		return nil, err
	}
	return element(field4, objectID(oidKEMRecipient), element(asn1.SEQUENCE,
		integer(0),
		name,
		algorithmID(k.id),
		element(asn1.OCTET_STRING, ciphertext),
		algorithmID(oidHKDFSHA256),
		integer(kemKEKSize),
		how,
		element(asn1.OCTET_STRING, wrapped))), nil
}

// wrapped implements publicKey.
func (k encapsulationKey) wrapped(s sealedKey, size int) bool {
	return s.kind == encapsulatedKind && s.version == 0 && s.kem.ukm == nil && s.kem.size == kemKEKSize &&
		bytes.Equal(s.how.raw, algorithmID(k.id)) &&
		bytes.Equal(s.kem.kdf.raw, algorithmID(oidHKDFSHA256)) &&
		bytes.Equal(s.kem.wrap.raw, algorithmID(oidAES256Wrap)) &&
		len(s.kem.ciphertext) == kemSizes[k.id] && len(s.encrypted) == size+semiblock
}

// kemSizes are the octets of a ciphertext: RFC 9936, Section 1.2.
var kemSizes = map[string]int{oidMLKEM768: mlkem.CiphertextSize768, oidMLKEM1024: mlkem.CiphertextSize1024}

// otherInfo makes a CMSORIforKEMOtherInfo: RFC 9629, Section 5. The size is in
// octets; that of a key wrap fits into one.
func otherInfo(wrap []byte, size byte, ukm []byte) []byte {
	var material []byte
	if ukm != nil {
		material = element(field0, element(asn1.OCTET_STRING, ukm))
	}
	return element(asn1.SEQUENCE, wrap, integer(size), material)
}

// deriveHKDF is the key derivation of RFC 8619 with SHA-256.
func deriveHKDF(secret, salt, info []byte, size int) ([]byte, error) {
	return hkdf.Key(sha256.New, secret, salt, string(info), size)
}

// An encapsulated is what a KEMRecipientInfo has beside the encrypted key.
type encapsulated struct {
	ciphertext []byte
	kdf        algorithm
	size       int // of the key-encryption key, in octets
	ukm        []byte
	wrap       algorithm
}

// readKEM reads the contents of an OtherRecipientInfo. Those of other types are
// nobody's whom we know.
func (k *sealedKey) readKEM(info cryptobyte.String) bool {
	var kind string
	var fields, ukm cryptobyte.String
	var hasUKM bool
	if !readOID(&info, &kind) || kind != oidKEMRecipient {
		return true
	}
	k.kind = encapsulatedKind
	return info.ReadASN1(&fields, asn1.SEQUENCE) && info.Empty() &&
		k.readVersion(&fields) && k.readName(&fields, string0) &&
		readAlgorithm(&fields, &k.how) &&
		fields.ReadASN1Bytes(&k.kem.ciphertext, asn1.OCTET_STRING) &&
		readAlgorithm(&fields, &k.kem.kdf) &&
		fields.ReadASN1Integer(&k.kem.size) &&
		fields.ReadOptionalASN1(&ukm, &hasUKM, field0) &&
		(!hasUKM || ukm.ReadASN1Bytes(&k.kem.ukm, asn1.OCTET_STRING) && ukm.Empty()) &&
		readAlgorithm(&fields, &k.kem.wrap) &&
		fields.ReadASN1Bytes(&k.encrypted, asn1.OCTET_STRING) && fields.Empty()
}

// A decapsulator is the private key to an encapsulationKey.
type decapsulator struct {
	id  string
	key crypto.Decapsulator
}

// unwrap implements privateKey.
func (d decapsulator) unwrap(k sealedKey, size int) ([]byte, error) {
	wrapSize, known := wraps[k.kem.wrap.id]
	switch {
	case k.kind != encapsulatedKind:
		return nil, ErrNotRecipient
	case k.how.id != d.id:
		return nil, unsupported("key encapsulation %s for this key", k.how.id)
	case k.kem.kdf.id != oidHKDFSHA256:
		return nil, unsupported("key derivation %s", k.kem.kdf.id)
	case !known:
		return nil, unsupported("key wrap %s", k.kem.wrap.id)
	case k.kem.size != wrapSize:
		return nil, damaged("key encapsulation")
	}
	secret, err := d.key.Decapsulate(k.kem.ciphertext)
	if err != nil {
		return nil, damaged("key encapsulation")
	}
	defer clear(secret)
	kek, err := deriveHKDF(secret, nil, otherInfo(k.kem.wrap.raw, byte(wrapSize), k.kem.ukm), wrapSize)
	if err != nil {
		return nil, errors.Join(damaged("key encapsulation"), err)
	}
	defer clear(kek)
	return unwrapSized(kek, k.encrypted, size)
}

// unwrapSized unwraps a content-encryption key of so many octets.
func unwrapSized(kek, wrapped []byte, size int) ([]byte, error) {
	cek, ok := unwrapKey(kek, wrapped)
	if !ok || len(cek) != size {
		clear(cek)
		return nil, damaged("encrypted key")
	}
	return cek, nil
}
