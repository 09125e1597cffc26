package keystore

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"smimea.example/internal/cms"
)

// ErrPrivateKey: a private key lies where only certificates belong.
var ErrPrivateKey = errors.New("holds a private key")

const (
	maxFile         = 1 << 20 // octets of a certificate file
	maxCertificates = 100     // of one file
)

// ReadCertificates takes the certificates out of a file's content: all blocks
// of PEM, or the one certificate of DER. There is at least one if there is no
// error. A private key beside them is [ErrPrivateKey], and any other block is
// an error too. That a certificate can be parsed is not asked: its key may be of
// a kind that crypto/x509 does not know.
func ReadCertificates(content []byte) ([][]byte, error) {
	var certificates [][]byte
	var err error
	switch {
	case len(content) > maxFile:
		err = fmt.Errorf("is larger than %d octets", maxFile)
	case holdsPrivateKey(content):
		err = ErrPrivateKey
	case bytes.Contains(content, beginPEM):
		certificates, err = pemBlocks(content, maxCertificates, "certificate", certificateBlocks...)
	default:
		certificates = [][]byte{content}
	}
	for _, der := range certificates {
		if !cms.IsCertificate(der) {
			return nil, errors.New("holds no certificate")
		}
	}
	return certificates, err
}

// readCertificate is ReadCertificates for a file that holds one.
func readCertificate(content []byte) ([]byte, error) {
	certificates, err := ReadCertificates(content)
	if err != nil {
		return nil, err
	}
	if len(certificates) > 1 {
		return nil, errors.New("holds several certificates, keep one in a file")
	}
	return certificates[0], nil
}

var beginPEM = []byte("-----BEGIN ")

// OpenSSL reads either name.
var certificateBlocks = []string{"CERTIFICATE", "X509 CERTIFICATE"}

// pemBlocks takes the blocks out of PEM, which must all be of one of the types.
// What that is in one word is for the errors.
func pemBlocks(content []byte, most int, word string, types ...string) ([][]byte, error) {
	number := bytes.Count(content, beginPEM)
	if number > most {
		return nil, fmt.Errorf("holds more than %d %ss", most, word)
	}
	var blocks [][]byte
	for range number {
		block, rest := pem.Decode(content)
		if block == nil { // Decode steps over what is damaged; we do not.
			return nil, errors.New("holds a PEM block that is cut off or damaged")
		}
		if !slices.Contains(types, block.Type) {
			return nil, fmt.Errorf("holds a %s, not a %s", strings.ToLower(block.Type), word)
		}
		blocks = append(blocks, block.Bytes)
		content = rest
	}
	return blocks, nil
}

// holdsPrivateKey looks at the words first: a damaged or locked key is a
// private key as well.
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
	var content bytes.Buffer
	content.Grow(int(min(info.Size(), most)) + bytes.MinRead)
	if _, err := content.ReadFrom(io.LimitReader(f, most+1)); err != nil {
		return nil, err
	}
	if int64(content.Len()) > most {
		return nil, fmt.Errorf("%s: is larger than %d octets", path, most)
	}
	return content.Bytes(), nil
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
