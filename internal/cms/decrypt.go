package cms

import (
	"crypto"
	"crypto/x509"
)

// maxObject is the longest object that Decrypt opens, in octets.
const maxObject = 256 << 20

// Decrypt opens an EnvelopedData or AuthEnvelopedData that may be BER, with
// the private key that belongs to a certificate among its recipients: an
// *rsa.PrivateKey, *ecdsa.PrivateKey, *ecdh.PrivateKey, *mlkem.DecapsulationKey768
// or *mlkem.DecapsulationKey1024. It reads AES in CBC and in GCM, RSA PKCS #1
// v1.5 and OAEP, ECDH on the three NIST curves and X25519, and ML-KEM. Of content
// in GCM nothing is returned unless all of it is authentic.
//
// The error is or wraps [ErrNotRecipient], [ErrDamaged] or an
// [UnsupportedError]; any other is about the key. Content in CBC that comes out
// without an error may still have been altered by somebody: see the package's
// BUG.
func Decrypt(object []byte, cert *x509.Certificate, key crypto.PrivateKey) ([]byte, error) {
	if len(object) > maxObject {
		return nil, unsupported("object of %d octets", len(object))
	}
	own, err := newIdentity(cert, key)
	if err != nil {
		return nil, err
	}
	flat, ok := flatten(object)
	if !ok {
		return nil, damaged("its elements do not end where it ends")
	}
	env, err := readEnvelope(flat)
	if err != nil {
		return nil, err
	}
	// What is no encrypted object for a Scanner is none for us.
	if !isEncrypted(object) {
		return nil, damaged("its structure is wrong")
	}
	suite, err := env.suite()
	if err != nil {
		return nil, err
	}
	cek, err := own.contentKey(env.recipients, suite.keySize)
	if err != nil {
		return nil, err
	}
	defer clear(cek)
	return env.open(cek)
}
