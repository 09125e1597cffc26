package keystore

import (
	"cmp"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"smimea.example/internal/cms"
	"smimea.example/smimea"
)

// Usable says whether a certificate in DER that is an address's, on the word of
// the DNS or of the postmaster, may be encrypted to at a given time. It is for
// certificates that nobody else has to confirm (usage 3, and pinned ones):
// that it is a CA's, or names only other addresses, is a warning. Whether it is
// revoked is not asked.
//
// The error is a sentence for people. It wraps a [cms.UnsupportedError] where
// only the kind of key, or its length, is at fault.
func Usable(address string, der []byte, now time.Time) (r cms.Recipient, warnings []string, err error) {
	return usable(address, der, now, nil)
}

// usable is Usable with CRLs. The error may also wrap
// [smimea.ErrRevocationUnknown].
func usable(address string, der []byte, now time.Time, crls *CRLs) (r cms.Recipient, warnings []string, err error) {
	recipient, err := cms.NewRecipient(der)
	if err == nil || isWeak(err) {
		// The certificate's own faults first: a weak key that has expired is
		// no matter of algorithms. Then what is certain: to try again does not
		// help a weak key.
		revoked, unknown := crls.status(der, now)
		err = cmp.Or(checkAny(der, now), revoked, err, unknown)
	}
	if err != nil {
		return cms.Recipient{}, nil, err
	}
	return recipient, remarks(address, recipient.Certificate()), nil
}

// checkAny is check, as far as that can be done for a certificate that
// crypto/x509 cannot read.
func checkAny(der []byte, now time.Time) error {
	if cert, err := x509.ParseCertificate(der); err == nil {
		return check(cert, now)
	}
	from, until, ok := cms.Validity(der)
	if !ok {
		return errors.New("its validity cannot be read")
	}
	return checkTime(from, until, now)
}

// check says what forbids the use of a certificate, whatever its key.
func check(cert *x509.Certificate, now time.Time) error {
	if err := checkTime(cert.NotBefore, cert.NotAfter, now); err != nil {
		return err
	}
	if err := checkKeyUsage(cert); err != nil {
		return err
	}
	if err := checkExtendedKeyUsage(cert); err != nil {
		return err
	}
	if unhandled := smimea.Unhandled(cert); len(unhandled) > 0 {
		return fmt.Errorf("has a critical extension that is not known here (%s)", unhandled[0])
	}
	return nil
}

// checkTime: an expired certificate must not be used, however fresh the
// signature in the DNS (RFC 8162, Section 9).
func checkTime(from, until, now time.Time) error {
	if now.After(until) {
		return fmt.Errorf("expired on %s", until.UTC().Format(time.DateOnly))
	}
	if now.Before(from) {
		return fmt.Errorf("not valid before %s", from.UTC().Format(time.DateOnly))
	}
	return nil
}

// checkKeyUsage: RFC 5652, Section 6.2.1 for RSA; Section 6.2.2, RFC 5480,
// Section 3, and RFC 8410, Section 5, for EC and X25519; RFC 9935, Section 5, for
// ML-KEM. Without the extension there is no restriction.
func checkKeyUsage(cert *x509.Certificate) error {
	if !hasExtension(cert, oidKeyUsage) {
		return nil
	}
	may := func(bit x509.KeyUsage) bool { return cert.KeyUsage&bit != 0 }
	switch cms.KindOf(cert.Raw) {
	case cms.RSA:
		if !may(x509.KeyUsageKeyEncipherment) {
			return errors.New("its key usage does not allow encryption (keyEncipherment is missing)")
		}
	case cms.EC, cms.X25519:
		if !may(x509.KeyUsageKeyAgreement) {
			return errors.New("its key usage does not allow encryption (keyAgreement is missing)")
		}
		if may(x509.KeyUsageDecipherOnly) {
			return errors.New("its key usage does not allow encryption (decipherOnly)")
		}
	case cms.MLKEM:
		if cert.KeyUsage != x509.KeyUsageKeyEncipherment {
			return errors.New("its key usage is not that of an ML-KEM key (keyEncipherment, and nothing else)")
		}
	}
	return nil
}

// checkExtendedKeyUsage: both extensions must permit (RFC 5280,
// Section 4.2.1.12; RFC 8550, Section 4.4.4).
func checkExtendedKeyUsage(cert *x509.Certificate) error {
	if !hasExtension(cert, oidExtKeyUsage) ||
		slices.Contains(cert.ExtKeyUsage, x509.ExtKeyUsageEmailProtection) ||
		slices.Contains(cert.ExtKeyUsage, x509.ExtKeyUsageAny) {
		return nil
	}
	return errors.New("its extended key usage does not allow mail (emailProtection is missing)")
}

var (
	oidKeyUsage    = asn1.ObjectIdentifier{2, 5, 29, 15}
	oidExtKeyUsage = asn1.ObjectIdentifier{2, 5, 29, 37}
)

func hasExtension(cert *x509.Certificate, id asn1.ObjectIdentifier) bool {
	for _, ext := range cert.Extensions {
		if ext.Id.Equal(id) {
			return true
		}
	}
	return false
}

// remarks returns what a postmaster should know of a certificate that is used.
func remarks(address string, cert *x509.Certificate) []string {
	var warnings []string
	if cert.IsCA {
		warnings = append(warnings, fmt.Sprintf("certificate %.16s is a CA certificate", cms.Fingerprint(cert.Raw)))
	}
	a, err := smimea.ParseAddress(address)
	if names := smimea.Names(cert); len(names) > 0 && err == nil && !a.NamedIn(cert) {
		warnings = append(warnings, fmt.Sprintf("certificate %.16s names only other addresses: %s",
			cms.Fingerprint(cert.Raw), shortList(names)))
	}
	return warnings
}

// shortList quotes a few of the names, which are a stranger's bytes.
func shortList(names []string) string {
	const most, longest = 3, 100
	var b strings.Builder
	for i, name := range names {
		if i == most {
			b.WriteString(", …")
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%.*q", longest, name)
	}
	return b.String()
}

// maxOfOneKind bounds the certificates of one kind that a mail is encrypted to.
const maxOfOneKind = 5

// choose makes Keys of an address's certificates, of which there is at least
// one: those that can be used, newest first, and why the others cannot. That it
// could not be found out whether one can be used is a failure if no other can.
func choose(address string, certificates [][]byte, now time.Time, crls *CRLs) Keys {
	var keys Keys
	onlyWeak, unknown := true, false
	for _, der := range certificates {
		r, warnings, err := usable(address, der, now, crls)
		if err != nil {
			keys.Refused = append(keys.Refused, refuse(der, err))
			onlyWeak = onlyWeak && isWeak(err)
			unknown = unknown || isUnknown(err)
			continue
		}
		keys.Certs = append(keys.Certs, r)
		keys.Warnings = append(keys.Warnings, warnings...)
	}
	keys.Certs, keys.Warnings = newest(keys.Certs, keys.Warnings)
	switch {
	case len(keys.Certs) > 0:
		keys.Outcome = Found
		return keys
	case unknown:
		keys.Outcome = Failed
	case onlyWeak:
		keys.Outcome = WeakOnly
	default:
		keys.Outcome = Unusable
	}
	keys.Why = explain(keys.Refused)
	return keys
}

// newest orders recipients by notBefore, the latest first, and drops those of
// a kind that has enough.
func newest(certs []cms.Recipient, warnings []string) ([]cms.Recipient, []string) {
	slices.SortStableFunc(certs, func(a, b cms.Recipient) int {
		return cmp.Or(
			b.Certificate().NotBefore.Compare(a.Certificate().NotBefore),
			// The order must not depend on that of the DNS.
			strings.Compare(a.Fingerprint(), b.Fingerprint()))
	})
	count := make(map[cms.Kind]int)
	var kept []cms.Recipient
	for _, r := range certs {
		if count[r.Kind()]++; count[r.Kind()] <= maxOfOneKind {
			kept = append(kept, r)
		}
	}
	if n := len(certs) - len(kept); n > 0 {
		warnings = append(warnings, fmt.Sprintf("%d older certificates are left out, %d of a kind are used", n, maxOfOneKind))
	}
	return kept, warnings
}

// isWeak says whether only an algorithm stands in the way.
func isWeak(err error) bool {
	var unsupported *cms.UnsupportedError
	return errors.As(err, &unsupported)
}

func refuse(der []byte, why error) Refused {
	r := Refused{Fingerprint: cms.Fingerprint(der), Why: why}
	if cert, err := x509.ParseCertificate(der); err == nil {
		r.Subject = cert.Subject.String()
	}
	return r
}

// explain makes one reason of those of all the refused.
func explain(refused []Refused) error {
	const most = 3
	var why error
	for i, r := range refused {
		if i == most {
			return fmt.Errorf("%w; and %d more", why, len(refused)-most)
		}
		err := fmt.Errorf("certificate %.16s: %w", r.Fingerprint, r.Why)
		why = join(why, err)
	}
	return why
}

// join puts two reasons in one line; either may be nil.
func join(a, b error) error {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	}
	return fmt.Errorf("%w; %w", a, b)
}
