package main

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	encoding "encoding/asn1"
	"hash"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
	"golang.org/x/crypto/scrypt"
)

// Keys that are encrypted by PBES2 (RFC 8018, Section 6.2): what OpenSSL 1.1 and
// later, GnuTLS and Java write. The parameters stand in the file, and so does
// the work that they ask for: it has a bound.

const (
	// maxRounds is how often PBKDF2 may hash: 2,048 is usual, a million is wise,
	// and ten million take some seconds.
	maxRounds = 10_000_000

	// maxScryptMemory is in units of 128 octets, and maxScryptWork is how many
	// of them may be gone through: 256 MB, eight times. OpenSSL asks for 16 MB.
	maxScryptMemory = 1 << 21
	maxScryptWork   = 8 * maxScryptMemory
)

var (
	oidPBES2  = encoding.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13}
	oidPBKDF2 = encoding.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12}
	oidScrypt = encoding.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11591, 4, 11} // RFC 7914, Section 7

	// RFC 8018, Appendix B.1.2. What is absent is hmacWithSHA1.
	pseudoRandom = map[string]func() hash.Hash{
		"1.2.840.113549.2.7":  sha1.New,
		"1.2.840.113549.2.8":  sha256.New224,
		"1.2.840.113549.2.9":  sha256.New,
		"1.2.840.113549.2.10": sha512.New384,
		"1.2.840.113549.2.11": sha512.New,
	}

	// Octets of the key of AES in CBC: RFC 8018, Appendix B.2.5.
	aesKeySizes = map[string]int{
		"2.16.840.1.101.3.4.1.2":  16,
		"2.16.840.1.101.3.4.1.22": 24,
		"2.16.840.1.101.3.4.1.42": 32,
	}
)

// A pbes2 is an EncryptedPrivateKeyInfo (RFC 5958, Section 3) that can be opened
// with a bounded amount of work.
type pbes2 struct {
	derive    func(password []byte, size int) ([]byte, error)
	keySize   int
	iv        []byte
	encrypted []byte
}

// readPBES2 reads an encrypted key. Other algorithms than PBES2 with AES are
// errOldCipher.
func readPBES2(der []byte) (*pbes2, error) {
	in := cryptobyte.String(der)
	var info, encrypted, parameters, derivation, encryption cryptobyte.String
	var scheme encoding.ObjectIdentifier
	if !in.ReadASN1(&info, asn1.SEQUENCE) || !in.Empty() ||
		!readAlgorithm(&info, &scheme, &parameters) ||
		!info.ReadASN1(&encrypted, asn1.OCTET_STRING) || !info.Empty() {
		return nil, errNoKey
	}
	if !scheme.Equal(oidPBES2) {
		return nil, errOldCipher
	}
	if !parameters.ReadASN1(&parameters, asn1.SEQUENCE) ||
		!parameters.ReadASN1Element(&derivation, asn1.SEQUENCE) ||
		!parameters.ReadASN1Element(&encryption, asn1.SEQUENCE) || !parameters.Empty() {
		return nil, errNoKey
	}
	p := &pbes2{encrypted: encrypted}
	if err := p.readEncryption(encryption); err != nil {
		return nil, err
	}
	return p, p.readDerivation(derivation)
}

// readAlgorithm reads an AlgorithmIdentifier: RFC 5280, Section 4.1.1.2.
func readAlgorithm(in *cryptobyte.String, id *encoding.ObjectIdentifier, parameters *cryptobyte.String) bool {
	return in.ReadASN1(parameters, asn1.SEQUENCE) && parameters.ReadASN1ObjectIdentifier(id)
}

func (p *pbes2) readEncryption(in cryptobyte.String) error {
	var id encoding.ObjectIdentifier
	var parameters, iv cryptobyte.String
	if !readAlgorithm(&in, &id, &parameters) {
		return errNoKey
	}
	p.keySize = aesKeySizes[id.String()]
	if p.keySize == 0 {
		return errOldCipher
	}
	if !parameters.ReadASN1(&iv, asn1.OCTET_STRING) || len(iv) != aes.BlockSize ||
		len(p.encrypted) == 0 || len(p.encrypted)%aes.BlockSize != 0 {
		return errNoKey
	}
	p.iv = iv
	return nil
}

func (p *pbes2) readDerivation(in cryptobyte.String) error {
	var id encoding.ObjectIdentifier
	var parameters, salt cryptobyte.String
	if !readAlgorithm(&in, &id, &parameters) {
		return errNoKey
	}
	pbkdf := id.Equal(oidPBKDF2)
	if !pbkdf && !id.Equal(oidScrypt) {
		return errOldCipher
	}
	// PBKDF2 may also have its salt from elsewhere, which nobody uses.
	if !parameters.ReadASN1(&parameters, asn1.SEQUENCE) || !parameters.ReadASN1(&salt, asn1.OCTET_STRING) {
		return errNoKey
	}
	if pbkdf {
		return p.readPBKDF2(salt, parameters)
	}
	return p.readScrypt(salt, parameters)
}

// readPBKDF2 reads PBKDF2-params from the count on: RFC 8018, Appendix A.2.
func (p *pbes2) readPBKDF2(salt []byte, in cryptobyte.String) error {
	var rounds int64
	prf := encoding.ObjectIdentifier{1, 2, 840, 113549, 2, 7}
	var null cryptobyte.String
	if !in.ReadASN1Integer(&rounds) || !p.readKeyLength(&in) ||
		!in.Empty() && !readAlgorithm(&in, &prf, &null) || !in.Empty() {
		return errNoKey
	}
	if rounds < 1 || rounds > maxRounds {
		return failure("the key asks for %d rounds of PBKDF2, and %d is the bound", rounds, maxRounds)
	}
	digest := pseudoRandom[prf.String()]
	if digest == nil {
		return errOldCipher
	}
	p.derive = func(password []byte, size int) ([]byte, error) {
		return pbkdf2.Key(digest, string(password), salt, int(rounds), size)
	}
	return nil
}

// readScrypt reads scrypt-params from the cost on: RFC 7914, Section 7.
func (p *pbes2) readScrypt(salt []byte, in cryptobyte.String) error {
	var cost, block, parallel int64
	if !in.ReadASN1Integer(&cost) || !in.ReadASN1Integer(&block) || !in.ReadASN1Integer(&parallel) ||
		!p.readKeyLength(&in) || !in.Empty() {
		return errNoKey
	}
	if cost < 1 || block < 1 || parallel < 1 ||
		cost > maxScryptMemory/block || parallel > maxScryptWork/(cost*block) {
		return failure("the key asks for too much work: scrypt with N=%d, r=%d, p=%d", cost, block, parallel)
	}
	p.derive = func(password []byte, size int) ([]byte, error) {
		return scrypt.Key(password, salt, int(cost), int(block), int(parallel), size)
	}
	return nil
}

// readKeyLength skips the optional length of the key, if it says the truth.
func (p *pbes2) readKeyLength(in *cryptobyte.String) bool {
	length := int64(p.keySize)
	if in.PeekASN1Tag(asn1.INTEGER) && !in.ReadASN1Integer(&length) {
		return false
	}
	return length == int64(p.keySize)
}

// open decrypts the key, in DER. All there is to tell a wrong password by is the
// padding, and that a SEQUENCE comes out.
func (p *pbes2) open(password []byte) ([]byte, error) {
	key, err := p.derive(password, p.keySize)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	plain := make([]byte, len(p.encrypted))
	cipher.NewCBCDecrypter(block, p.iv).CryptBlocks(plain, p.encrypted)
	pad := int(plain[len(plain)-1]) // RFC 8018, Section 6.1.1
	if pad < 1 || pad > aes.BlockSize {
		return nil, errPassword
	}
	key8, padding := plain[:len(plain)-pad], plain[len(plain)-pad:]
	if subtle.ConstantTimeCompare(padding, bytes.Repeat([]byte{byte(pad)}, pad)) != 1 {
		return nil, errPassword
	}
	in := cryptobyte.String(key8)
	if !in.SkipASN1(asn1.SEQUENCE) || !in.Empty() {
		return nil, errPassword
	}
	return key8, nil
}
