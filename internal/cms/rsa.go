package cms

import (
	"bytes"
	"cmp"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha1" // what OAEP means when it names no digest
	_ "crypto/sha256"
	_ "crypto/sha512"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// A transportKey is an RSA key: RFC 5652, Section 6.2.1.
type transportKey struct {
	key  *rsa.PublicKey
	oaep crypto.Hash // 0: PKCS #1 v1.5, the form that every reader opens
	how  []byte      // KeyEncryptionAlgorithmIdentifier
}

func newTransportKey(key *rsa.PublicKey, oaep crypto.Hash) transportKey {
	how := algorithmID(oidRSA, null()) // RFC 3370, Section 4.2.1: NULL, not absent
	if oaep != 0 {
		how = algorithmID(oidOAEP, oaepParameters(oaep))
	}
	return transportKey{key, oaep, how}
}

// wrap makes a KeyTransRecipientInfo.
func (k transportKey) wrap(name, cek []byte) ([]byte, error) {
	encrypted, err := k.encrypt(cek)
	if err != nil {
		return nil, err
	}
	return element(asn1.SEQUENCE, integer(0), name, k.how, element(asn1.OCTET_STRING, encrypted)), nil
}

// wrapped implements publicKey.
func (k transportKey) wrapped(s sealedKey, _ int) bool {
	return s.kind == transported && s.version == 0 && bytes.Equal(s.how.raw, k.how) && len(s.encrypted) == k.key.Size()
}

// encrypt makes the EncryptedKey.
func (k transportKey) encrypt(cek []byte) ([]byte, error) {
	if k.oaep != 0 {
		return rsa.EncryptOAEP(k.oaep.New(), rand.Reader, k.key, cek, nil)
	}
	// PKCS #1 v1.5 endangers those who decrypt and tell strangers how it went;
	// a mail goes one way. OAEP is refused by gpgsm and by older NSS.
	//lint:ignore SA1019 RFC 3370, Section 4.2.1: the form that every reader opens.
	return rsa.EncryptPKCS1v15(rand.Reader, k.key, cek)
}

// oaepParameters makes RSAES-OAEP-params with the same digest in both places:
// RFC 4055, Section 4.1. Defaults are left out, and SHA-1 is one; the digest of
// the mask is written down, without which readers take SHA-1 for it.
func oaepParameters(h crypto.Hash) []byte {
	if h == crypto.SHA1 {
		return element(asn1.SEQUENCE)
	}
	digest := algorithmID(oidSHA256, null()) // RFC 4055, Section 2.1
	return element(asn1.SEQUENCE,
		element(field0, digest),
		element(field1, algorithmID(oidMGF1, digest)))
}

// oaepKey reads a key that is for RSA-OAEP alone: RFC 4055, Section 4. What
// parameters stand there bind the sender.
func (s sketch) oaepKey(able capabilities) (Kind, publicKey, error) {
	key, err := s.rsaKey()
	if err != nil {
		return 0, nil, s.unsound(err)
	}
	digest, ok := cmp.Or(able.oaep, crypto.SHA256), true
	if !s.key.parameters.Empty() {
		digest, ok = oaepDigest(s.key.parameters)
	}
	if !ok {
		return 0, nil, unsupported("RSA-OAEP key with these parameters")
	}
	return RSA, newTransportKey(key, digest), checkRSA(key)
}

// oaepDigest reads RSAES-OAEP-params of the two sorts that we write: SHA-256 in
// both places, and the defaults, which are SHA-1.
func oaepDigest(parameters cryptobyte.String) (crypto.Hash, bool) {
	options, err := readOAEP(parameters)
	if err != nil || len(options.Label) > 0 || options.Hash != options.MGFHash {
		return 0, false
	}
	return options.Hash, options.Hash == crypto.SHA256 || options.Hash == crypto.SHA1
}

// A transportOpener is the private key to a transportKey.
type transportOpener struct{ key *rsa.PrivateKey }

// unwrap implements privateKey.
func (o transportOpener) unwrap(k sealedKey, size int) ([]byte, error) {
	switch {
	case k.kind != transported:
		return nil, ErrNotRecipient
	case k.how.id == oidRSA:
		return openPKCS1(o.key, k.encrypted, size)
	case k.how.id == oidOAEP:
		return openOAEP(o.key, k.how.parameters, k.encrypted, size)
	}
	return nil, unsupported("key encryption %s", k.how.id)
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
