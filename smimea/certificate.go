package smimea

import (
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// maxNames bounds the addresses that are read out of one certificate.
const maxNames = 1000

// Names returns the mail addresses inside a certificate, as they stand there:
// rfc822Name (RFC 5280, Section 4.2.1.6), SmtpUTF8Mailbox (RFC 8398, Section 3)
// and the emailAddress of the subject (RFC 8550, Section 3).
func Names(cert *x509.Certificate) []string {
	names := append([]string(nil), cert.EmailAddresses...)
	for _, ext := range cert.Extensions {
		if ext.Id.Equal(oidSubjectAltName) {
			names = append(names, smtpUTF8Mailboxes(ext.Value)...)
		}
	}
	for _, attribute := range cert.Subject.Names {
		if s, ok := attribute.Value.(string); ok && attribute.Type.Equal(oidEmailAddress) {
			names = append(names, s)
		}
	}
	return names[:min(len(names), maxNames)]
}

// NamedIn says whether the certificate is for the address. Domains compare
// without case; so do local parts in ASCII, while others must be the same
// octet for octet (RFC 8550, Section 3; RFC 8398, Section 5). Both sides are
// brought into NFC before, as for an owner name.
func (a Address) NamedIn(cert *x509.Certificate) bool {
	for _, name := range Names(cert) {
		if named, err := ParseAddress(name); err == nil && a.same(named) {
			return true
		}
	}
	return false
}

func (a Address) same(b Address) bool {
	if a.ASCIIDomain != b.ASCIIDomain {
		return false
	}
	if a.ASCIIDomain == "" && a.Domain != b.Domain {
		return false
	}
	if isASCII(a.Local) && isASCII(b.Local) {
		return strings.EqualFold(a.Local, b.Local)
	}
	return a.Local == b.Local
}

var (
	oidSubjectAltName  = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidEmailAddress    = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 1}
	oidSmtpUTF8Mailbox = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 8, 9}
)

// smtpUTF8Mailboxes reads the names of that kind in a SubjectAltName, which
// crypto/x509 leaves out (RFC 8398, Section 3).
func smtpUTF8Mailboxes(extension []byte) []string {
	var names []string
	der := cryptobyte.String(extension)
	var all cryptobyte.String
	if !der.ReadASN1(&all, cbasn1.SEQUENCE) {
		return nil
	}
	for !all.Empty() && len(names) < maxNames {
		var general cryptobyte.String
		var tag cbasn1.Tag
		if !all.ReadAnyASN1(&general, &tag) {
			return names
		}
		var id asn1.ObjectIdentifier
		var value, name cryptobyte.String
		if tag == cbasn1.Tag(0).ContextSpecific().Constructed() &&
			general.ReadASN1ObjectIdentifier(&id) && id.Equal(oidSmtpUTF8Mailbox) &&
			general.ReadASN1(&value, cbasn1.Tag(0).ContextSpecific().Constructed()) &&
			value.ReadASN1(&name, cbasn1.UTF8String) {
			names = append(names, string(name))
		}
	}
	return names
}

// Unhandled returns the critical extensions of a certificate that are read
// neither by crypto/x509 nor here. With one of them a certificate must not be
// used (RFC 5280, Section 4.2). A SubjectAltName is read if it holds a
// SmtpUTF8Mailbox.
func Unhandled(cert *x509.Certificate) []asn1.ObjectIdentifier {
	var unhandled []asn1.ObjectIdentifier
	for _, id := range cert.UnhandledCriticalExtensions {
		if !id.Equal(oidSubjectAltName) || !hasUTF8Mailbox(cert) {
			unhandled = append(unhandled, id)
		}
	}
	return unhandled
}

func hasUTF8Mailbox(cert *x509.Certificate) bool {
	return slices.ContainsFunc(cert.Extensions, func(ext pkix.Extension) bool {
		return ext.Id.Equal(oidSubjectAltName) && len(smtpUTF8Mailboxes(ext.Value)) > 0
	})
}

// maxRSA bounds the keys whose signatures are checked: a path is not worth
// seconds of computing, which a key of many thousand bits can cost.
const maxRSA = 8192

// parseForPath reads a certificate that is to be part of a path.
func parseForPath(der []byte) (*x509.Certificate, error) {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("the certificate cannot be read: %w", err)
	}
	if key, ok := cert.PublicKey.(*rsa.PublicKey); ok && key.N.BitLen() > maxRSA {
		return nil, fmt.Errorf("the certificate has an RSA key of %d bits, at most %d are taken", key.N.BitLen(), maxRSA)
	}
	cert.UnhandledCriticalExtensions = Unhandled(cert) // which Verify looks at
	return cert, nil
}
