package keystore

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// ErrPrivateKey: a private key lies where only certificates belong.
var ErrPrivateKey = errors.New("holds a private key, which has no business here")

const maxFile = 1 << 20 // octets of a certificate file

// ReadCertificate takes the one certificate out of a file's content, PEM or
// DER, and returns it in DER. A private key beside it is [ErrPrivateKey].
// That the certificate can be parsed is not asked: its key may be of a kind
// that crypto/x509 does not know.
func ReadCertificate(content []byte) ([]byte, error) {
	switch {
	case len(content) > maxFile:
		return nil, fmt.Errorf("is larger than %d octets", maxFile)
	case holdsPrivateKey(content):
		return nil, ErrPrivateKey
	case !bytes.Contains(content, []byte("-----BEGIN ")):
		return checkOutline(content)
	}
	var found []byte
	for block, rest := pem.Decode(content); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		if found != nil {
			return nil, errors.New("holds several certificates, keep one in a file")
		}
		found = block.Bytes
	}
	return checkOutline(found)
}

// checkOutline lets pass what is one DER SEQUENCE, as far as that is a certificate.
func checkOutline(der []byte) ([]byte, error) {
	input := cryptobyte.String(der)
	var certificate cryptobyte.String
	if !input.ReadASN1(&certificate, asn1.SEQUENCE) || !input.Empty() ||
		!certificate.SkipASN1(asn1.SEQUENCE) || !certificate.SkipASN1(asn1.SEQUENCE) ||
		!certificate.SkipASN1(asn1.BIT_STRING) || !certificate.Empty() {
		return nil, errors.New("holds no certificate")
	}
	return der, nil
}

func holdsPrivateKey(content []byte) bool {
	if bytes.Contains(content, []byte("PRIVATE KEY-----")) {
		return true
	}
	if _, err := x509.ParsePKCS8PrivateKey(content); err == nil {
		return true
	}
	if _, err := x509.ParsePKCS1PrivateKey(content); err == nil {
		return true
	}
	_, err := x509.ParseECPrivateKey(content)
	return err == nil
}

// readFile reads a regular file that is not larger than most octets.
func readFile(path string, most int64) ([]byte, error) {
	info, err := os.Stat(path) // before it is opened: a pipe would wait for a writer
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: is not a file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return nil, err
	}
	if int64(len(content)) > most {
		return nil, fmt.Errorf("%s: is larger than %d octets", path, most)
	}
	return content, nil
}

// isCertificateFile goes by what certificate files are mostly called. Others
// may lie beside them, and those that begin with a dot are still being written.
func isCertificateFile(name string) bool {
	if strings.HasPrefix(name, ".") {
		return false
	}
	i := strings.LastIndexByte(name, '.')
	if i < 0 {
		return false
	}
	switch strings.ToLower(name[i:]) {
	case ".pem", ".crt", ".cer", ".der":
		return true
	}
	return false
}
