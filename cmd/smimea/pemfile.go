package main

import (
	"bytes"
	"fmt"
	"io"
	"os"

	"smimea.example/keystore"
)

// maxFile bounds a file of certificates or keys.
const maxFile = 1 << 20

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
	var data bytes.Buffer
	if n, known := unread(r, 0); known { // without growing by and by
		data.Grow(int(min(n, limit)) + bytes.MinRead)
	}
	n, err := data.ReadFrom(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	if n > limit {
		return nil, fmt.Errorf("%s is larger than %d bytes", name, limit)
	}
	return data.Bytes(), nil
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
