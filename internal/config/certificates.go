package config

import (
	"crypto/x509"
	"fmt"
	"slices"

	"smimea.example/keystore"
	"smimea.example/smimea"
	"smimea.example/smimea/dnssec"
)

// Certificates is what the table [keys] names, read. What is not named is nil.
type Certificates struct {
	Pinned, Candidates   *keystore.Dir
	Roots, Intermediates []*x509.Certificate
	CRLs                 *keystore.CRLs
}

// open reads all. An error names the setting.
func (k Keys) open() (Certificates, error) {
	var c Certificates
	for _, setting := range []struct {
		name, path string
		open       func(path string) error
	}{
		{"pinned", k.Pinned, func(path string) (err error) { c.Pinned, err = keystore.OpenDir(path); return }},
		{"candidates", k.Candidates, func(path string) (err error) { c.Candidates, err = keystore.OpenDir(path); return }},
		{"roots", k.Roots, func(path string) (err error) { c.Roots, err = keystore.LoadAuthorities(path); return }},
		{"intermediates", k.Intermediates, func(path string) (err error) { c.Intermediates, err = keystore.LoadAuthorities(path); return }},
		{"crls", k.CRLs, func(path string) (err error) { c.CRLs, err = keystore.OpenCRLs(path, c.authorities()); return }},
	} {
		if setting.path == "" {
			continue
		}
		if err := setting.open(setting.path); err != nil {
			return Certificates{}, fmt.Errorf("keys.%s: %w", setting.name, err)
		}
	}
	if c.Pinned != nil {
		c.Pinned.CRLs = c.CRLs
	}
	return c, nil
}

// authorities are the CAs whose CRLs count.
func (c Certificates) authorities() []*x509.Certificate {
	return slices.Concat(c.Roots, c.Intermediates)
}

// published finds what the DNS vouches for.
func (c Certificates) published(resolver dnssec.Resolver) keystore.Published {
	client := smimea.Client{
		Resolver: resolver,
		Trust:    smimea.Trust{Roots: c.Roots, Intermediates: c.Intermediates},
	}
	if c.Candidates != nil {
		client.Candidates = c.Candidates.Candidates
	}
	return keystore.Published{Client: client, CRLs: c.CRLs}
}
