package main

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	encoding "encoding/asn1"
	"fmt"
	"strings"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"smimea.example/internal/cms"
	"smimea.example/smimea"
)

// day is how we print a date: certificates end at a second that interests
// nobody, but in UTC.
const day = "2006-01-02 15:04 MST"

// describe adds what there is to say of a certificate, in DER, to a sheet.
func describe(s *sheet, der []byte) {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		s.row("certificate", "cannot be read: %v", err)
		s.row("sha256", "%s", cms.Fingerprint(der))
		return
	}
	s.row("subject", "%s", cert.Subject)
	s.row("issuer", "%s", issuer(cert))
	s.row("addresses", "%s", names(smimea.Names(cert)))
	s.row("key", "%s", keyKind(cert))
	s.row("reads", "%s", ciphers(der))
	s.row("valid", "%s until %s", cert.NotBefore.UTC().Format(day), cert.NotAfter.UTC().Format(day))
	s.row("sha256", "%s", cms.Fingerprint(der))
}

// issuer names who signed the certificate.
func issuer(cert *x509.Certificate) string {
	if string(cert.RawIssuer) == string(cert.RawSubject) {
		return "itself"
	}
	return cert.Issuer.String()
}

// keyKind says what the public key is.
func keyKind(cert *x509.Certificate) string {
	switch key := cert.PublicKey.(type) {
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA, %d bits", key.N.BitLen())
	case *ecdsa.PublicKey:
		return "EC, " + key.Curve.Params().Name
	}
	// crypto/x509 leaves out the keys of others that it reads.
	var id encoding.ObjectIdentifier
	var parameters cryptobyte.String
	info := cryptobyte.String(cert.RawSubjectPublicKeyInfo)
	if !info.ReadASN1(&info, asn1.SEQUENCE) || !readAlgorithm(&info, &id, &parameters) {
		return "cannot be read"
	}
	switch name := keyNames[id.String()]; {
	case name != "":
		return name
	case cert.PublicKeyAlgorithm != x509.UnknownPublicKeyAlgorithm:
		return cert.PublicKeyAlgorithm.String()
	}
	return "of a kind that is not known here: " + id.String()
}

// Keys for which crypto/x509 has no name: RFC 8410, Section 3; RFC 9935, Section
// 3; RFC 4055, Section 1.2.
var keyNames = map[string]string{
	"1.3.101.110":            "X25519",
	"1.3.101.111":            "X448",
	"2.16.840.1.101.3.4.4.1": "ML-KEM-512",
	"2.16.840.1.101.3.4.4.2": "ML-KEM-768",
	"2.16.840.1.101.3.4.4.3": "ML-KEM-1024",
	"1.2.840.113549.1.1.7":   "RSA, for OAEP alone",
	"1.2.840.113549.1.1.10":  "RSA, for signatures alone",
}

// ciphers are what the certificate says its owner's programs read (RFC 4262), of
// those that are known here.
func ciphers(der []byte) string {
	r, err := cms.NewRecipient(der)
	if err != nil || len(r.Ciphers()) == 0 {
		return ""
	}
	return names(words(r.Ciphers()))
}

// remaining says how long a certificate still holds, for people.
func remaining(until, now time.Time) string {
	days := int(until.Sub(now).Hours() / 24)
	switch {
	case days < 0:
		return "nothing"
	case days < 2:
		return "less than two days"
	}
	return fmt.Sprintf("%d days", days)
}

// names lists what may be many.
func names(list []string) string {
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, ", ")
}

// parseAddress reads an address of the command line and makes its owner name.
func parseAddress(text string) (smimea.Address, string, error) {
	address, err := smimea.ParseAddress(text)
	if err != nil {
		return address, "", wrongUsage("%w", err).hint("an address looks like alice@example.org")
	}
	owner, err := address.Owner()
	if err != nil {
		return address, "", wrongUsage("%w", err)
	}
	return address, owner, nil
}
