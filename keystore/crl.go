package keystore

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"smimea.example/internal/cms"
)

// A crl is one that was read.
type crl struct {
	CRL
	issuer  string           // nameKey of the issuer
	scope   string           // equal where a newer list takes the place of an older one
	revoked map[string]int64 // by serialKey: when, in seconds since 1970
}

// readCRLs takes the CRLs out of a file's content: all blocks of PEM, or one in
// DER. Each is signed by one of the CAs, which are sorted by their nameKey.
func readCRLs(content []byte, known map[string][]*x509.Certificate) ([]*crl, error) {
	blocks := [][]byte{content}
	if bytes.Contains(content, beginPEM) {
		var err error
		if blocks, err = pemBlocks(content, maxCRLs, "CRL", "X509 CRL"); err != nil {
			return nil, err
		}
	}
	var all []*crl
	for _, der := range blocks {
		l, err := readCRL(der, known)
		if err != nil {
			return nil, err
		}
		all = append(all, l)
	}
	return all, nil
}

func readCRL(der []byte, known map[string][]*x509.Certificate) (*crl, error) {
	if cms.IsCertificate(der) {
		return nil, errors.New("holds a certificate, not a CRL")
	}
	parsed, entries, err := parseCRL(der)
	if err != nil {
		return nil, err
	}
	if err := acceptable(parsed); err != nil {
		return nil, err
	}
	signer, err := signerOf(parsed, known[nameKey(parsed.RawIssuer)])
	if err != nil {
		return nil, err
	}
	l := &crl{
		CRL:    CRL{Issuer: parsed.Issuer.String(), ThisUpdate: parsed.ThisUpdate, NextUpdate: parsed.NextUpdate},
		issuer: nameKey(parsed.RawIssuer),
		scope:  scopeOf(parsed, signer),
	}
	return l, l.read(entries)
}

// parseCRL reads all but the list itself, which crypto/x509 would turn into
// twenty times its octets in memory: it is shown the CRL without the list. The
// signature stays that of the whole.
func parseCRL(der []byte) (parsed *x509.RevocationList, entries cryptobyte.String, err error) {
	input := cryptobyte.String(der)
	var whole, signed, tbs cryptobyte.String
	if !input.ReadASN1(&whole, cbasn1.SEQUENCE) {
		return nil, nil, errNoCRL
	}
	if !input.Empty() {
		return nil, nil, errors.New("holds something behind the CRL")
	}
	if !whole.ReadASN1Element(&signed, cbasn1.SEQUENCE) {
		return nil, nil, errNoCRL
	}
	tbs = signed
	tbs.ReadASN1(&tbs, cbasn1.SEQUENCE)
	all := tbs
	if !skipHead(&tbs) {
		return nil, nil, errNoCRL
	}
	head := all[:len(all)-len(tbs)]
	if !tbs.ReadOptionalASN1(&entries, nil, cbasn1.SEQUENCE) || tbs.PeekASN1Tag(cbasn1.SEQUENCE) {
		return nil, nil, errNoCRL
	}
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddBytes(head)
			b.AddBytes(tbs) // the extensions
		})
		b.AddBytes(whole) // algorithm and signature
	})
	short, err := b.Bytes()
	if err == nil {
		parsed, err = x509.ParseRevocationList(short)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", errNoCRL, err)
	}
	parsed.RawTBSRevocationList = signed
	return parsed, entries, nil
}

var errNoCRL = errors.New("holds no CRL of version 2 that could be read")

// skipHead goes to where the list begins (RFC 5280, Section 5.1).
func skipHead(tbs *cryptobyte.String) bool {
	if !tbs.SkipASN1(cbasn1.INTEGER) || // version
		!tbs.SkipASN1(cbasn1.SEQUENCE) || // signature
		!tbs.SkipASN1(cbasn1.SEQUENCE) || // issuer
		!skipTime(tbs) { // thisUpdate
		return false
	}
	return !isTime(*tbs) || skipTime(tbs) // nextUpdate
}

func isTime(s cryptobyte.String) bool {
	return s.PeekASN1Tag(cbasn1.UTCTime) || s.PeekASN1Tag(cbasn1.GeneralizedTime)
}

func skipTime(s *cryptobyte.String) bool {
	var when cryptobyte.String
	var tag cbasn1.Tag
	return isTime(*s) && s.ReadAnyASN1(&when, &tag)
}

// read reads the list (RFC 5280, Section 5.1.2.6). It is as long as its file
// allows.
func (l *crl) read(entries cryptobyte.String) error {
	const shortest = 30 // octets, or so
	l.revoked = make(map[string]int64, len(entries)/shortest)
	number := new(big.Int)
	for !entries.Empty() {
		var entry, extensions cryptobyte.String
		var when time.Time
		if !entries.ReadASN1(&entry, cbasn1.SEQUENCE) ||
			!entry.ReadASN1Integer(number) || !readTime(&entry, &when) ||
			!entry.ReadOptionalASN1(&extensions, nil, cbasn1.SEQUENCE) || !entry.Empty() {
			return fmt.Errorf("%w: entry %d", errNoCRL, l.Revoked+1)
		}
		if err := acceptableEntry(extensions); err != nil {
			return err
		}
		l.revoked[serialKey(number)] = when.Unix()
		l.Revoked++
	}
	return nil
}

func readTime(s *cryptobyte.String, when *time.Time) bool {
	if s.PeekASN1Tag(cbasn1.UTCTime) {
		return s.ReadASN1UTCTime(when)
	}
	return s.ReadASN1GeneralizedTime(when)
}

// acceptableEntry says why an entry is not about a certificate of the issuer
// (RFC 5280, Section 5.3).
func acceptableEntry(extensions cryptobyte.String) error {
	for !extensions.Empty() {
		var extension cryptobyte.String
		var id asn1.ObjectIdentifier
		var critical bool
		if !extensions.ReadASN1(&extension, cbasn1.SEQUENCE) ||
			!extension.ReadASN1ObjectIdentifier(&id) ||
			extension.PeekASN1Tag(cbasn1.BOOLEAN) && !extension.ReadASN1Boolean(&critical) {
			return fmt.Errorf("%w: an entry's extensions", errNoCRL)
		}
		if id.Equal(oidCertificateIssuer) {
			return errIndirect
		}
		if critical && !slices.ContainsFunc(harmlessOfEntry, id.Equal) {
			return unknownExtension(id)
		}
	}
	return nil
}

// signerOf returns the CA that has signed a CRL: one of those that bear the name
// of its issuer, who may have had several keys.
func signerOf(parsed *x509.RevocationList, named []*x509.Certificate) (*x509.Certificate, error) {
	if len(named) == 0 {
		return nil, fmt.Errorf("the CRL is issued by %q, and no CA of that name is known here: add its certificate to the roots or intermediates, or remove the file",
			parsed.Issuer.String())
	}
	var why error
	for _, ca := range named {
		if why = parsed.CheckSignatureFrom(ca); why == nil {
			return ca, nil
		}
	}
	return nil, fmt.Errorf("the CRL is not signed by any of the %d CAs called %q that are known here: get it again, or add the certificate of the CA's other key to the roots or intermediates (%w)",
		len(named), parsed.Issuer.String(), why)
}

// scopeOf is the same for a list and its successor.
func scopeOf(parsed *x509.RevocationList, signer *x509.Certificate) string {
	key := sha256.Sum256(signer.RawSubjectPublicKeyInfo)
	scope := nameKey(parsed.RawIssuer) + string(key[:])
	for _, ext := range parsed.Extensions {
		if ext.Id.Equal(oidIssuingDistributionPoint) {
			scope += string(ext.Value)
		}
	}
	return scope
}

var (
	oidIssuingDistributionPoint = asn1.ObjectIdentifier{2, 5, 29, 28}
	oidDeltaCRLIndicator        = asn1.ObjectIdentifier{2, 5, 29, 27}
	oidCertificateIssuer        = asn1.ObjectIdentifier{2, 5, 29, 29}

	// What may be critical: of what a list says besides, nothing changes that
	// its certificates are revoked.
	harmlessOfList  = []asn1.ObjectIdentifier{oidIssuingDistributionPoint, {2, 5, 29, 20}, {2, 5, 29, 35}} // cRLNumber, authorityKeyIdentifier
	harmlessOfEntry = []asn1.ObjectIdentifier{{2, 5, 29, 21}, {2, 5, 29, 23}, {2, 5, 29, 24}}              // reasonCode, holdInstructionCode, invalidityDate
)

// acceptable says why a CRL cannot be understood by itself (RFC 5280,
// Section 5.2).
func acceptable(parsed *x509.RevocationList) error {
	if parsed.NextUpdate.IsZero() {
		return errors.New("the CRL does not say when the next one comes (nextUpdate), so nobody can know how long it holds")
	}
	for _, ext := range parsed.Extensions {
		switch {
		case ext.Id.Equal(oidDeltaCRLIndicator):
			return errors.New("is a delta CRL, which says only what has changed: get the complete one")
		case ext.Id.Equal(oidIssuingDistributionPoint) && isIndirect(ext.Value):
			return errIndirect
		}
	}
	for _, ext := range parsed.Extensions {
		if ext.Critical && !slices.ContainsFunc(harmlessOfList, ext.Id.Equal) {
			return unknownExtension(ext.Id)
		}
	}
	return nil
}

var errIndirect = errors.New("is an indirect CRL, which is about other issuers' certificates: get the one of the CA itself")

func unknownExtension(id asn1.ObjectIdentifier) error {
	return fmt.Errorf("the CRL has a critical extension that is not known here (%s): get one without it", id)
}

// isIndirect reads an IssuingDistributionPoint (RFC 5280, Section 5.2.5). What
// cannot be read may be anything.
func isIndirect(extension []byte) bool {
	der := cryptobyte.String(extension)
	var point cryptobyte.String
	if !der.ReadASN1(&point, cbasn1.SEQUENCE) {
		return true
	}
	for !point.Empty() {
		var value cryptobyte.String
		var tag cbasn1.Tag
		if !point.ReadAnyASN1(&value, &tag) {
			return true
		}
		if tag == cbasn1.Tag(4).ContextSpecific() && !bytes.Equal(value, []byte{0}) {
			return true
		}
	}
	return false
}
