package cms

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha1" // what OAEP means when it names no digest
	_ "crypto/sha256"
	_ "crypto/sha512"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// keyTransport makes a KeyTransRecipientInfo: RFC 5652, Section 6.2.1.
func keyTransport(r Recipient, cek []byte) ([]byte, error) {
	// PKCS #1 v1.5 endangers those who decrypt and tell strangers how it went;
	// a mail goes one way. OAEP is refused by gpgsm and by older NSS.
	//lint:ignore SA1019 RFC 3370, Section 4.2.1: the form that every reader opens.
	encrypted, err := rsa.EncryptPKCS1v15(rand.Reader, r.rsa, cek)
	if err != nil {
		return nil, fmt.Errorf("cms: encrypting to %s: %w", r.Fingerprint(), err)
	}
	return element(asn1.SEQUENCE,
		integer(0),
		issuerAndSerial(r.cert),
		algorithmID(oidRSA, null()), // RFC 3370, Section 4.2.1: NULL, not absent
		element(asn1.OCTET_STRING, encrypted)), nil
}

// openTransported decrypts a content-encryption key of so many octets.
func openTransported(key *rsa.PrivateKey, a algorithm, encrypted []byte, size int) ([]byte, error) {
	switch a.id {
	case oidRSA:
		return openPKCS1(key, encrypted, size)
	case oidOAEP:
		return openOAEP(key, a.parameters, encrypted, size)
	}
	return nil, unsupported("key encryption %s", a.id)
}

// openPKCS1 gives a random key when the padding is wrong, so that nobody learns
// from the outcome or the time it takes: RFC 3218, Section 2.3.2.
func openPKCS1(key *rsa.PrivateKey, encrypted []byte, size int) ([]byte, error) {
	cek := randomOctets(size)
	//lint:ignore SA1019 for reading: it is what most mail is encrypted with.
	if err := rsa.DecryptPKCS1v15SessionKey(nil, key, encrypted, cek); err != nil {
		return nil, damaged("encrypted key")
	}
	return cek, nil
}

func openOAEP(key *rsa.PrivateKey, parameters cryptobyte.String, encrypted []byte, size int) ([]byte, error) {
	options, err := readOAEP(parameters)
	if err != nil {
		return nil, err
	}
	cek, err := key.Decrypt(nil, encrypted, options)
	if err != nil || len(cek) != size {
		clear(cek)
		return nil, damaged("encrypted key")
	}
	return cek, nil
}

// readOAEP reads RSAES-OAEP-params: RFC 4055, Section 4.1. What is absent has
// its default: SHA-1 for both digests and an empty label.
func readOAEP(in cryptobyte.String) (*rsa.OAEPOptions, error) {
	bad := damaged("RSA-OAEP parameters")
	options := &rsa.OAEPOptions{Hash: crypto.SHA1, MGFHash: crypto.SHA1}
	var fields, digest, mgf, label cryptobyte.String
	var hasDigest, hasMGF, hasLabel bool
	if !in.ReadASN1(&fields, asn1.SEQUENCE) ||
		!fields.ReadOptionalASN1(&digest, &hasDigest, field0) ||
		!fields.ReadOptionalASN1(&mgf, &hasMGF, field1) ||
		!fields.ReadOptionalASN1(&label, &hasLabel, field2) ||
		!fields.Empty() {
		return nil, bad
	}
	var err error
	if hasDigest {
		if options.Hash, err = readDigest(digest); err != nil {
			return nil, err
		}
	}
	if hasMGF {
		if options.MGFHash, err = readMGF(mgf); err != nil {
			return nil, err
		}
	}
	if hasLabel && !readLabel(label, &options.Label) {
		return nil, bad
	}
	return options, nil
}

func readMGF(in cryptobyte.String) (crypto.Hash, error) {
	var mgf algorithm
	if !readAlgorithm(&in, &mgf) || !in.Empty() {
		return 0, damaged("RSA-OAEP parameters")
	}
	if mgf.id != oidMGF1 {
		return 0, unsupported("mask generation %s", mgf.id)
	}
	return readDigest(mgf.parameters)
}

func readDigest(in cryptobyte.String) (crypto.Hash, error) {
	var digest algorithm
	if !readAlgorithm(&in, &digest) || !in.Empty() {
		return 0, damaged("RSA-OAEP parameters")
	}
	hash, known := digests[digest.id]
	if !known {
		return 0, unsupported("digest %s", digest.id)
	}
	return hash, nil
}

func readLabel(in cryptobyte.String, label *[]byte) bool {
	var source algorithm
	var contents cryptobyte.String
	if !readAlgorithm(&in, &source) || !in.Empty() || source.id != oidLabel ||
		!source.parameters.ReadASN1(&contents, asn1.OCTET_STRING) {
		return false
	}
	*label = contents
	return true
}

var digests = map[string]crypto.Hash{
	oidSHA1:   crypto.SHA1,
	oidSHA224: crypto.SHA224,
	oidSHA256: crypto.SHA256,
	oidSHA384: crypto.SHA384,
	oidSHA512: crypto.SHA512,
}
