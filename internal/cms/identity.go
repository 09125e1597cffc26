package cms

import (
	"bytes"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// An identity is somebody who can open what is encrypted to his certificate.
type identity struct {
	name  []byte           // IssuerAndSerialNumber
	keyID []byte           // SubjectKeyIdentifier; empty if the certificate has none
	rsa   *rsa.PrivateKey  // or nil
	ec    *ecdh.PrivateKey // if rsa is nil
}

// newIdentity checks that the key is the certificate's.
func newIdentity(cert *x509.Certificate, key crypto.PrivateKey) (identity, error) {
	if cert == nil {
		return identity{}, errors.New("cms: no certificate")
	}
	own := identity{name: issuerAndSerial(cert), keyID: cert.SubjectKeyId}
	var belongs bool
	switch key := key.(type) {
	case *rsa.PrivateKey:
		own.rsa, belongs = key, key.PublicKey.Equal(cert.PublicKey)
	case *ecdh.PrivateKey:
		own.ec, belongs = key, isPointOf(cert, key.PublicKey())
	case *ecdsa.PrivateKey:
		agreeing, err := key.ECDH()
		if err != nil {
			return identity{}, fmt.Errorf("cms: elliptic curve key: %w", err)
		}
		own.ec, belongs = agreeing, isPointOf(cert, agreeing.PublicKey())
	default:
		return identity{}, unsupported("private key of type %T", key)
	}
	if !belongs {
		return identity{}, errors.New("cms: the private key does not belong to the certificate")
	}
	return own, nil
}

func isPointOf(cert *x509.Certificate, point *ecdh.PublicKey) bool {
	key, ok := cert.PublicKey.(*ecdsa.PublicKey)
	if !ok {
		return false
	}
	certified, err := key.ECDH()
	return err == nil && point.Equal(certified)
}

// contentKey finds our RecipientInfo and decrypts the content-encryption key,
// of so many octets, with it. Those of others are passed over.
func (own identity) contentKey(infos cryptobyte.String, size int) ([]byte, error) {
	for !infos.Empty() {
		var info cryptobyte.String
		tag := anyTag(infos)
		if !infos.ReadASN1(&info, tag) {
			return nil, damaged("recipients")
		}
		cek, err := own.open(tag, info, size)
		if !errors.Is(err, ErrNotRecipient) {
			return cek, err
		}
	}
	return nil, ErrNotRecipient
}

// open opens a RecipientInfo, or says ErrNotRecipient.
func (own identity) open(tag asn1.Tag, info cryptobyte.String, size int) ([]byte, error) {
	switch {
	case tag == asn1.SEQUENCE && own.rsa != nil:
		how, encrypted, err := own.readKeyTransport(info)
		if err != nil {
			return nil, err
		}
		return openTransported(own.rsa, how, encrypted, size)
	case tag == field1 && own.ec != nil:
		agreed, err := own.readKeyAgreement(info)
		if err != nil {
			return nil, err
		}
		return agreed.open(own.ec, size)
	}
	return nil, ErrNotRecipient
}

// readKeyTransport reads a KeyTransRecipientInfo: RFC 5652, Section 6.2.1.
func (own identity) readKeyTransport(info cryptobyte.String) (how algorithm, encrypted []byte, err error) {
	var contents cryptobyte.String
	var named bool
	if !info.SkipASN1(asn1.INTEGER) || !own.readName(&info, string0, &named) ||
		!readAlgorithm(&info, &how) ||
		!info.ReadASN1(&contents, asn1.OCTET_STRING) || !info.Empty() {
		return how, nil, damaged("recipients")
	}
	if !named {
		return how, nil, ErrNotRecipient
	}
	return how, contents, nil
}

// readKeyAgreement reads a KeyAgreeRecipientInfo: RFC 5652, Section 6.2.2. Of
// the keys in it, one for each who shares it, it takes ours.
func (own identity) readKeyAgreement(info cryptobyte.String) (a agreed, err error) {
	var ukm, keys cryptobyte.String
	var hasUKM bool
	if !info.SkipASN1(asn1.INTEGER) ||
		!info.ReadASN1(&a.originator, field0) ||
		!info.ReadOptionalASN1(&ukm, &hasUKM, field1) ||
		!readAlgorithm(&info, &a.scheme) ||
		!info.ReadASN1(&keys, asn1.SEQUENCE) || !info.Empty() {
		return a, damaged("recipients")
	}
	if hasUKM && (!ukm.ReadASN1Bytes(&a.ukm, asn1.OCTET_STRING) || !ukm.Empty()) {
		return a, damaged("recipients")
	}
	for !keys.Empty() {
		var one, contents cryptobyte.String
		var named bool
		if !keys.ReadASN1(&one, asn1.SEQUENCE) || !own.readName(&one, field0, &named) ||
			!one.ReadASN1(&contents, asn1.OCTET_STRING) || !one.Empty() {
			return a, damaged("recipients")
		}
		if named {
			a.encrypted = contents
			return a, nil
		}
	}
	return a, ErrNotRecipient
}

// readName reads a RecipientIdentifier or KeyAgreeRecipientIdentifier and sees
// whether it is ours: issuer and serial number, or the key identifier, which
// has a tag of its own in each of the two.
func (own identity) readName(in *cryptobyte.String, keyTag asn1.Tag, named *bool) bool {
	var id cryptobyte.String
	if anyTag(*in) == asn1.SEQUENCE {
		ok := in.ReadASN1Element(&id, asn1.SEQUENCE)
		*named = bytes.Equal(id, own.name)
		return ok
	}
	if !in.ReadASN1(&id, keyTag) {
		return false
	}
	// RecipientKeyIdentifier has the identifier as its first field.
	if keyTag == field0 && !id.ReadASN1(&id, asn1.OCTET_STRING) {
		return false
	}
	*named = len(id) > 0 && bytes.Equal(id, own.keyID)
	return true
}
