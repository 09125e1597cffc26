package cms

import (
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/mlkem"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
)

// An identity is somebody who can open what is encrypted to his certificate.
type identity struct {
	name  []byte // IssuerAndSerialNumber
	keyID []byte // SubjectKeyIdentifier; empty if the certificate has none
	key   privateKey
}

// A privateKey decrypts a content-encryption key of so many octets. It says
// ErrNotRecipient of one that is encrypted in another way than for such a key.
type privateKey interface {
	unwrap(k sealedKey, size int) ([]byte, error)
}

// newIdentity checks that the key is the certificate's.
func newIdentity(cert *x509.Certificate, key crypto.PrivateKey) (identity, error) {
	if cert == nil {
		return identity{}, errors.New("cms: no certificate")
	}
	opener, err := newOpener(key)
	if err != nil {
		return identity{}, err
	}
	if !Belongs(key, cert) {
		return identity{}, errors.New("cms: the private key does not belong to the certificate")
	}
	return identity{issuerAndSerial(cert), cert.SubjectKeyId, opener}, nil
}

func newOpener(key crypto.PrivateKey) (privateKey, error) {
	switch key := key.(type) {
	case *rsa.PrivateKey:
		return transportOpener{key}, nil
	case *ecdh.PrivateKey:
		return agreementOpener{key}, nil
	case *ecdsa.PrivateKey:
		agreeing, err := key.ECDH()
		if err != nil {
			return nil, fmt.Errorf("cms: elliptic curve key: %w", err)
		}
		return agreementOpener{agreeing}, nil
	case *mlkem.DecapsulationKey768:
		return decapsulator{oidMLKEM768, key}, nil
	case *mlkem.DecapsulationKey1024:
		return decapsulator{oidMLKEM1024, key}, nil
	}
	return nil, unsupported("private key of type %T", key)
}

// contentKey finds our RecipientInfo and decrypts the content-encryption key,
// of so many octets, with it. Those of others are passed over.
func (own identity) contentKey(infos cryptobyte.String, size int) ([]byte, error) {
	for k, err := range sealedKeys(infos) {
		if err != nil {
			return nil, err
		}
		if !k.isFor(own.name, own.keyID) {
			continue
		}
		cek, err := own.key.unwrap(k, size)
		if !errors.Is(err, ErrNotRecipient) {
			return cek, err
		}
	}
	return nil, ErrNotRecipient
}
