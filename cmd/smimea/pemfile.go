package main

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"smimea.example/keystore"
)

// maxFile bounds a file of certificates or keys.
const maxFile = 1 << 20

// maxBlocks bounds the PEM blocks before a private key.
const maxBlocks = 100

// readFile reads a small file, or a pipe: "<(command)" is fine on a command
// line. There is no "-" for standard input here: that is for messages.
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

// readCertificates returns the certificates in a file, as DER.
func readCertificates(path string) ([][]byte, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, err
	}
	certs, err := keystore.ReadCertificates(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return certs, nil
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
	for blocks := 0; blocks < maxBlocks; blocks++ {
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
