package cms

import (
	"bytes"
	"iter"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// A sealedKey is the content-encryption key, encrypted to one recipient, as a
// RecipientInfo has it: RFC 5652, Section 6.2.
type sealedKey struct {
	kind    sealedKind
	version byte
	raw     []byte // the RecipientInfo it stands in, whole

	// Whose it is: one of the two.
	name  []byte // IssuerAndSerialNumber
	keyID []byte // SubjectKeyIdentifier

	how       algorithm // that of the key's encryption, agreement or encapsulation
	encrypted []byte

	agreed agreed       // of agreedKind
	kem    encapsulated // of encapsulatedKind
}

type sealedKind uint8

const (
	otherKind        sealedKind = iota // of no kind that we open
	transported                        // RSA
	agreedKind                         // ECDH, X25519
	encapsulatedKind                   // ML-KEM
)

// sealedKeys reads the contents of RecipientInfos, one key after the other. It
// keeps none of them: there may be millions. After an error there are no more.
func sealedKeys(infos cryptobyte.String) iter.Seq2[sealedKey, error] {
	return func(yield func(sealedKey, error) bool) {
		for !infos.Empty() {
			var whole cryptobyte.String
			if !infos.ReadASN1Element(&whole, anyTag(infos)) {
				yield(sealedKey{}, damaged("recipients"))
				return
			}
			if !readSealed(whole, yield) {
				return
			}
		}
	}
}

// readSealed reads one RecipientInfo. It reports whether to go on.
func readSealed(whole cryptobyte.String, yield func(sealedKey, error) bool) bool {
	k := sealedKey{raw: whole}
	tag := anyTag(whole)
	var info cryptobyte.String
	ok := whole.ReadASN1(&info, tag)
	switch tag {
	case asn1.SEQUENCE:
		ok = ok && k.readTransport(info)
	case field1:
		if ok {
			return k.readAgreement(info, yield)
		}
	case field4:
		ok = ok && k.readKEM(info)
	}
	if !ok {
		yield(sealedKey{}, damaged("recipients"))
		return false
	}
	return yield(k, nil)
}

// readTransport reads a KeyTransRecipientInfo: RFC 5652, Section 6.2.1.
func (k *sealedKey) readTransport(info cryptobyte.String) bool {
	k.kind = transported
	return k.readVersion(&info) && k.readName(&info, string0) &&
		readAlgorithm(&info, &k.how) &&
		info.ReadASN1Bytes(&k.encrypted, asn1.OCTET_STRING) && info.Empty()
}

// readAgreement reads a KeyAgreeRecipientInfo, which has a key for each of those
// who share it: RFC 5652, Section 6.2.2. It reports whether to go on.
func (k sealedKey) readAgreement(info cryptobyte.String, yield func(sealedKey, error) bool) bool {
	var ukm, keys cryptobyte.String
	var hasUKM bool
	k.kind = agreedKind
	if !k.readVersion(&info) ||
		!info.ReadASN1(&k.agreed.originator, field0) ||
		!info.ReadOptionalASN1(&ukm, &hasUKM, field1) ||
		hasUKM && (!ukm.ReadASN1Bytes(&k.agreed.ukm, asn1.OCTET_STRING) || !ukm.Empty()) ||
		!readAlgorithm(&info, &k.how) ||
		!info.ReadASN1(&keys, asn1.SEQUENCE) || !info.Empty() {
		yield(sealedKey{}, damaged("recipients"))
		return false
	}
	for !keys.Empty() {
		var one cryptobyte.String
		if !keys.ReadASN1(&one, asn1.SEQUENCE) || !k.readName(&one, field0) ||
			!one.ReadASN1Bytes(&k.encrypted, asn1.OCTET_STRING) || !one.Empty() {
			yield(sealedKey{}, damaged("recipients"))
			return false
		}
		if !yield(k, nil) {
			return false
		}
	}
	return true
}

// readVersion reads a version, whatever it is: readers go by the structure.
func (k *sealedKey) readVersion(in *cryptobyte.String) bool {
	return readVersion(in, &k.version)
}

func readVersion(in *cryptobyte.String, version *byte) bool {
	var contents cryptobyte.String
	if !in.ReadASN1(&contents, asn1.INTEGER) || len(contents) != 1 {
		return false
	}
	*version = contents[0]
	return true
}

// readName reads a RecipientIdentifier or KeyAgreeRecipientIdentifier: issuer and
// serial number, or the key identifier, which has a tag of its own in each of
// the two.
func (k *sealedKey) readName(in *cryptobyte.String, keyTag asn1.Tag) bool {
	k.name, k.keyID = nil, nil
	var id cryptobyte.String
	if anyTag(*in) == asn1.SEQUENCE {
		ok := in.ReadASN1Element(&id, asn1.SEQUENCE)
		k.name = id
		return ok
	}
	if !in.ReadASN1(&id, keyTag) {
		return false
	}
	// RecipientKeyIdentifier has the identifier as its first field.
	if keyTag == field0 && !id.ReadASN1(&id, asn1.OCTET_STRING) {
		return false
	}
	k.keyID = id
	return true
}

// isFor reports whether the key is for somebody of this name, or with this key
// identifier, which a certificate need not have.
func (k *sealedKey) isFor(name, keyID []byte) bool {
	if k.name != nil {
		return bytes.Equal(k.name, name)
	}
	return len(k.keyID) > 0 && bytes.Equal(k.keyID, keyID)
}
