package main

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// maxFile bounds a file of certificates or keys.
const maxFile = 1 << 20

// maxCertificates bounds the certificates of one file.
const maxCertificates = 100

// errPrivateKey says that there is a private key where none belongs.
var errPrivateKey = errors.New("holds a private key")

// readFile reads a small file. There is no "-" for standard input here: that
// is for messages.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readBounded(f, path, maxFile)
}

// readBounded reads r to its end and complains if that is farther than limit.
func readBounded(r io.Reader, name string, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%s is larger than %d bytes", name, limit)
	}
	return data, nil
}

// readCertificates returns the certificates in a file, as DER: all blocks of a
// PEM file, or the one of a DER file. It looks for a private key first, and
// answers errPrivateKey without a byte of it.
func readCertificates(path string) ([][]byte, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, err
	}
	certs, err := parseCertificates(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return certs, nil
}

func parseCertificates(data []byte) ([][]byte, error) {
	if holdsPrivateKey(data) {
		return nil, errPrivateKey
	}
	if !bytes.Contains(data, []byte("-----BEGIN ")) {
		// Some certificates are sound and cannot be parsed by crypto/x509; who
		// uses this one says so. Here only the outermost shape counts.
		if len(data) == 0 || data[0] != 0x30 {
			return nil, errors.New("is neither PEM nor DER")
		}
		return [][]byte{data}, nil
	}
	return pemCertificates(data)
}

func pemCertificates(data []byte) ([][]byte, error) {
	blocks := bytes.Count(data, []byte("-----BEGIN "))
	if blocks > maxCertificates {
		return nil, fmt.Errorf("holds more than %d certificates", maxCertificates)
	}
	var certs [][]byte
	for range blocks {
		block, rest := pem.Decode(data)
		if block == nil { // Decode steps over what is damaged; we do not.
			return nil, errors.New("holds a PEM block that is cut off or damaged")
		}
		if block.Type != "CERTIFICATE" && block.Type != "X509 CERTIFICATE" {
			return nil, fmt.Errorf("holds a %s, not a certificate", strings.ToLower(block.Type))
		}
		certs = append(certs, block.Bytes)
		data = rest
	}
	return certs, nil
}

// holdsPrivateKey looks at the words rather than at what can be parsed: a
// damaged or password-protected key is a private key as well.
func holdsPrivateKey(data []byte) bool {
	if bytes.Contains(data, []byte("PRIVATE KEY-----")) {
		return true
	}
	_, err := parsePrivateKey(data)
	return err == nil
}

// readPrivateKey returns the private key in a PEM or DER file.
func readPrivateKey(path string) (crypto.PrivateKey, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, err
	}
	key, err := privateKey(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

func privateKey(data []byte) (crypto.PrivateKey, error) {
	for blocks := 0; blocks <= maxCertificates; blocks++ {
		block, rest := pem.Decode(data)
		if block == nil {
			break
		}
		switch {
		case block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "":
			return nil, errLocked
		case strings.HasSuffix(block.Type, "PRIVATE KEY"):
			return parsePrivateKey(block.Bytes)
		}
		data = rest
	}
	key, err := parsePrivateKey(data)
	if err != nil {
		return nil, errors.New("holds no private key")
	}
	return key, nil
}

// errLocked says that a key can only be read with its password.
var errLocked = errors.New("the private key is protected by a password")

// parsePrivateKey reads a key in DER: PKCS #8 (RFC 5958), PKCS #1 (RFC 8017,
// Appendix A.1.2) or SEC 1 (RFC 5915).
func parsePrivateKey(der []byte) (crypto.PrivateKey, error) {
	if key, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		return key, nil
	}
	if key, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return key, nil
	}
	if key, err := x509.ParseECPrivateKey(der); err == nil {
		return key, nil
	}
	return nil, errors.New("the private key is of a kind that cannot be read here")
}
