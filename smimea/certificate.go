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
	"golang.org/x/text/unicode/norm"
)

// maxNames bounds the addresses that are read out of one certificate.
const maxNames = 1000

// Names returns the mail addresses inside a certificate, as they stand there:
// rfc822Name (RFC 5280, Section 4.2.1.6), SmtpUTF8Mailbox (RFC 8398, Section 3)
// and the emailAddress of the subject (RFC 8550, Section 3).
func Names(cert *x509.Certificate) []string {
	names := slices.Concat(cert.EmailAddresses, utf8Mailboxes(cert), subjectAddresses(cert))
	return names[:min(len(names), maxNames)]
}

func utf8Mailboxes(cert *x509.Certificate) []string {
	var names []string
	for _, ext := range cert.Extensions {
		if ext.Id.Equal(oidSubjectAltName) {
			names = append(names, smtpUTF8Mailboxes(ext.Value)...)
		}
	}
	return names
}

func subjectAddresses(cert *x509.Certificate) []string {
	var names []string
	for _, attribute := range cert.Subject.Names {
		if s, ok := attribute.Value.(string); ok && attribute.Type.Equal(oidEmailAddress) {
			names = append(names, s)
		}
	}
	return names
}

// NamedIn says whether the certificate is for the address. Domains compare
// without case, and so do local parts in ASCII (RFC 8550, Section 3). Others
// count only in a SmtpUTF8Mailbox (RFC 8550, Section 4.4.3), and must be the same
// octet for octet (RFC 8398, Section 5); the address is in NFC, as for its owner
// name.
func (a Address) NamedIn(cert *x509.Certificate) bool {
	return a.inRFC822Name(cert) ||
		isASCII(a.Local) && a.among(subjectAddresses(cert)) ||
		a.among(utf8Mailboxes(cert))
}

func (a Address) inRFC822Name(cert *x509.Certificate) bool {
	return isASCII(a.Local) && a.among(cert.EmailAddresses)
}

func (a Address) among(names []string) bool {
	return slices.ContainsFunc(names[:min(len(names), maxNames)], a.is)
}

// is compares with a name in a certificate. One with a source route, which
// belongs into no certificate, is nobody's; nor is one that NFC would change: what
// was changed to become comparable is not the same octet for octet.
func (a Address) is(name string) bool {
	named, err := ParseAddress(name)
	if err != nil || named.Routed != a.Routed || !a.sameDomain(named) || !norm.NFC.IsNormalString(name) {
		return false
	}
	if isASCII(a.Local) && isASCII(named.Local) {
		return strings.EqualFold(a.Local, named.Local)
	}
	return a.Local == named.Local
}

func (a Address) sameDomain(b Address) bool {
	if a.ASCIIDomain == "" {
		return b.ASCIIDomain == "" && a.Domain == b.Domain // an address literal
	}
	return a.ASCIIDomain == b.ASCIIDomain
}

var (
	oidSubjectAltName  = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidNameConstraints = asn1.ObjectIdentifier{2, 5, 29, 30}
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

// The longest RSA keys that are taken: seconds of computing, which a key of many
// thousand bits can cost, are more than an answer is worth.
const (
	maxRSA       = 8192 // bits of a mailbox's key
	maxSignerRSA = 4096 // of the key of a CA that a stranger names
)

// parseForPath reads a certificate that is to be the begin of a path.
func parseForPath(der []byte) (*x509.Certificate, error) { return parseBounded(der, maxRSA) }

// parseSigner reads a CA's certificate that a record holds. Those of the settings
// are not bounded.
func parseSigner(der []byte) (*x509.Certificate, error) { return parseBounded(der, maxSignerRSA) }

func parseBounded(der []byte, most int) (*x509.Certificate, error) {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("the certificate cannot be read: %w", err)
	}
	if key, ok := cert.PublicKey.(*rsa.PublicKey); ok && key.N.BitLen() > most {
		return nil, fmt.Errorf("the certificate has an RSA key of %d bits, at most %d are taken", key.N.BitLen(), most)
	}
	cert.UnhandledCriticalExtensions = Unhandled(cert) // which Verify looks at
	return cert, nil
}
