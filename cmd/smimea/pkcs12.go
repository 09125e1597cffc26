package main

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"software.sslmate.com/src/go-pkcs12"
)

// maxOpening is how long the work may take that a PKCS #12 file asks for. Its
// counts of rounds stand in several places, some of them encrypted, and the
// library has no bound for them.
const maxOpening = 30 * time.Second

// isPKCS12 reports whether data begins like a PFX (RFC 7292, Section 4): version
// 3, which no private key has, and another SEQUENCE.
func isPKCS12(data []byte) bool {
	inside, ok := skipHeader(data)
	return ok && bytes.HasPrefix(inside, []byte{0x02, 0x01, 0x03, 0x30})
}

// openPKCS12 opens a PKCS #12 file, which has one key. Some have no password, or
// an empty one; the others take the one that is asked for.
func openPKCS12(data []byte, password func() ([]byte, error), limit time.Duration) (keyFile, error) {
	// QUIRK: Mozilla's programs write BER, which the library does not read.
	if data[1] == 0x80 {
		return keyFile{}, fmt.Errorf("%w: BER, as Thunderbird writes it", errForeign)
	}
	file, err := decodePKCS12(data, "", limit)
	if !errors.Is(err, errPassword) {
		return file, err
	}
	secret, err := password()
	if err != nil {
		return keyFile{}, err
	}
	defer clear(secret)
	return decodePKCS12(data, string(secret), limit)
}

// decodePKCS12 opens the file with one password. What takes too long it leaves
// behind, still at work: the command ends then.
func decodePKCS12(data []byte, password string, limit time.Duration) (keyFile, error) {
	type result struct {
		file keyFile
		err  error
	}
	done := make(chan result, 1)
	go func() {
		key, cert, more, err := pkcs12.DecodeChain(data, password)
		if err != nil {
			done <- result{err: explainPKCS12(err)}
			return
		}
		done <- result{file: keyFile{key, append([]*x509.Certificate{cert}, more...)}}
	}()
	select {
	case r := <-done:
		return r.file, r.err
	case <-time.After(limit):
		return keyFile{}, fmt.Errorf("asks for more work than can be done in %v", limit)
	}
}

// explainPKCS12 tells a wrong password from a file that is of no use here.
func explainPKCS12(err error) error {
	if errors.Is(err, pkcs12.ErrIncorrectPassword) || errors.Is(err, pkcs12.ErrDecryption) {
		return errPassword
	}
	return fmt.Errorf("%w: %w", errForeign, err)
}
