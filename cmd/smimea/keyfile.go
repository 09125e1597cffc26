package main

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"smimea.example/internal/cms"
)

// maxBlocks bounds the PEM blocks of a file with a private key.
const maxBlocks = 100

// A keyFile is what a file with a private key has for us.
type keyFile struct {
	key   crypto.PrivateKey
	certs []*x509.Certificate // those beside it, which may be anybody's
}

// What openssl can turn into something that is read here.
var (
	errNoKey     = errors.New("holds no private key")
	errPassword  = errors.New("the password is wrong, or the file is damaged")
	errLegacyPEM = errors.New("is encrypted in the form that PEM had before PKCS #8, which is not read here")
	errOldCipher = errors.New("is encrypted with an algorithm that is not read here")
	errForeign   = errors.New("is a PKCS #12 file of a form that is not read here")
)

// readKeyFile reads the private key in a file, which calls for a password only
// if it has one.
func readKeyFile(path string, password passwordSource) (keyFile, error) {
	data, err := readFile(path)
	if err != nil {
		return keyFile{}, err
	}
	file, err := parseKeyFile(data, func() ([]byte, error) { return password.get(path) })
	if _, ours := errors.AsType[*problem](err); ours || err == nil {
		return file, err
	}
	p := failure("%s: %w", path, err)
	switch {
	case errors.Is(err, errLegacyPEM), errors.Is(err, errOldCipher):
		return keyFile{}, p.hint(`"openssl pkey -in %s -aes256 -out FILE" writes it in a form that is`, path)
	case errors.Is(err, errForeign):
		return keyFile{}, p.hint(`"openssl pkcs12 -in %s -aes256 -out FILE" writes it in a form that is`, path)
	}
	return keyFile{}, p
}

// parseKeyFile reads a private key, and the certificates beside it: PEM, or one
// key in DER, or PKCS #12. Of several keys in PEM the first counts.
func parseKeyFile(data []byte, password func() ([]byte, error)) (keyFile, error) {
	if isPKCS12(data) {
		return openPKCS12(data, password, maxOpening)
	}
	if !bytes.Contains(data, []byte("-----BEGIN ")) {
		key, err := parseKey(data, password)
		return keyFile{key: key}, err
	}
	var file keyFile
	for blocks := 0; blocks < maxBlocks; blocks++ {
		block, rest := pem.Decode(data)
		if block == nil {
			break
		}
		if err := file.add(block, password); err != nil {
			return keyFile{}, err
		}
		data = rest
	}
	if file.key == nil {
		return keyFile{}, errNoKey
	}
	return file, nil
}

// add takes what is of use from a block of PEM.
func (file *keyFile) add(block *pem.Block, password func() ([]byte, error)) (err error) {
	switch {
	case block.Type == "CERTIFICATE":
		if cert, err := x509.ParseCertificate(block.Bytes); err == nil {
			file.certs = append(file.certs, cert)
		}
	case file.key != nil || !strings.HasSuffix(block.Type, "PRIVATE KEY"):
	case block.Headers["DEK-Info"] != "": // RFC 1421, Section 4.6.1.3
		return errLegacyPEM
	default:
		file.key, err = parseKey(block.Bytes, password)
	}
	return err
}

// parseKey reads a private key in DER, encrypted or not. Both begin with a
// SEQUENCE; in that of an encrypted one the algorithm comes first, in all others
// a version.
func parseKey(der []byte, password func() ([]byte, error)) (crypto.PrivateKey, error) {
	in := cryptobyte.String(der)
	if !in.ReadASN1(&in, asn1.SEQUENCE) || in.Empty() {
		return nil, errNoKey
	}
	if !in.PeekASN1Tag(asn1.SEQUENCE) {
		return parsePrivateKey(der)
	}
	locked, err := readPBES2(der)
	if err != nil {
		return nil, err
	}
	secret, err := password()
	if err != nil {
		return nil, err
	}
	defer clear(secret)
	opened, err := locked.open(secret)
	if err != nil {
		return nil, err
	}
	defer clear(opened)
	return parsePrivateKey(opened)
}

// parsePrivateKey says of what is no key at all that there is none.
func parsePrivateKey(der []byte) (crypto.PrivateKey, error) {
	key, err := cms.ParsePrivateKey(der)
	if _, unsupported := errors.AsType[*cms.UnsupportedError](err); err != nil && !unsupported {
		return nil, errNoKey
	}
	return key, err
}

// skipHeader takes the tag and the length off a SEQUENCE in BER: X.690, Section
// 8.1. Whether the contents are of that length is not asked.
func skipHeader(ber []byte) ([]byte, bool) {
	if len(ber) < 2 || ber[0] != byte(asn1.SEQUENCE) {
		return nil, false
	}
	size := 2
	if ber[1] > 0x80 {
		size += int(ber[1] & 0x7f)
	}
	if len(ber) < size {
		return nil, false
	}
	return ber[size:], true
}
