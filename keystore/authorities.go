package keystore

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
)

const (
	maxAuthorities    = 1000
	maxAuthoritiesPEM = 4 << 20 // octets
)

// LoadAuthorities reads a file of CA certificates in PEM, such as Debian's
// ca-certificates.crt. There is at least one if there is no error, which names
// the file.
func LoadAuthorities(path string) ([]*x509.Certificate, error) {
	content, err := readFile(path, maxAuthoritiesPEM)
	if err != nil {
		return nil, err
	}
	authorities, err := readAuthorities(content)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return authorities, nil
}

func readAuthorities(content []byte) ([]*x509.Certificate, error) {
	if holdsPrivateKey(content) {
		return nil, ErrPrivateKey
	}
	if !bytes.Contains(content, beginPEM) {
		return nil, errors.New(`holds no PEM: "openssl x509 -inform DER -in FILE" makes some of a certificate in DER`)
	}
	blocks, err := pemBlocks(content, maxAuthorities, "certificate", certificateBlocks...)
	if err != nil {
		return nil, err
	}
	var authorities []*x509.Certificate
	for i, der := range blocks {
		ca, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("certificate %d cannot be read: %w", i+1, err)
		}
		if !isAuthority(ca) {
			return nil, fmt.Errorf("certificate %d (%s) is not a CA's: take it out (a recipient's belongs into the directory of candidates, or of pinned ones)", i+1, ca.Subject)
		}
		authorities = append(authorities, ca)
	}
	return authorities, nil
}

// isAuthority takes old roots too, which cannot say what they are.
func isAuthority(cert *x509.Certificate) bool {
	return cert.IsCA || cert.Version < 3 && bytes.Equal(cert.RawIssuer, cert.RawSubject)
}
