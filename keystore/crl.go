package keystore

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"unicode/utf16"

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
	parsed, err := x509.ParseRevocationList(der)
	if err != nil {
		return nil, fmt.Errorf("holds no CRL of version 2 that could be read: %w", err)
	}
	if len(parsed.Raw) != len(der) {
		return nil, errors.New("holds something behind the CRL")
	}
	if err := acceptable(parsed); err != nil {
		return nil, err
	}
	signer, err := signerOf(parsed, known[nameKey(parsed.RawIssuer)])
	if err != nil {
		return nil, err
	}
	l := &crl{
		CRL: CRL{
			Issuer:     parsed.Issuer.String(),
			ThisUpdate: parsed.ThisUpdate,
			NextUpdate: parsed.NextUpdate,
			Revoked:    len(parsed.RevokedCertificateEntries),
		},
		issuer:  nameKey(parsed.RawIssuer),
		scope:   scopeOf(parsed, signer),
		revoked: make(map[string]int64, len(parsed.RevokedCertificateEntries)),
	}
	for _, entry := range parsed.RevokedCertificateEntries {
		l.revoked[serialKey(entry.SerialNumber)] = entry.RevocationTime.Unix()
	}
	return l, nil
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
// Section 5.2 and 5.3).
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
	if err := unknownCritical(parsed.Extensions, harmlessOfList); err != nil {
		return err
	}
	for _, entry := range parsed.RevokedCertificateEntries {
		if hasID(entry.Extensions, oidCertificateIssuer) {
			return errIndirect
		}
		if err := unknownCritical(entry.Extensions, harmlessOfEntry); err != nil {
			return err
		}
	}
	return nil
}

var errIndirect = errors.New("is an indirect CRL, which is about other issuers' certificates: get the one of the CA itself")

func unknownCritical(extensions []pkix.Extension, harmless []asn1.ObjectIdentifier) error {
	for _, ext := range extensions {
		if ext.Critical && !slices.ContainsFunc(harmless, ext.Id.Equal) {
			return fmt.Errorf("the CRL has a critical extension that is not known here (%s): get one without it", ext.Id)
		}
	}
	return nil
}

func hasID(extensions []pkix.Extension, id asn1.ObjectIdentifier) bool {
	return slices.ContainsFunc(extensions, func(ext pkix.Extension) bool { return ext.Id.Equal(id) })
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

// issuerAndSerial reads what a CRL knows a certificate by, of one too that
// crypto/x509 cannot read. The serial is a serialKey.
func issuerAndSerial(der []byte) (issuer []byte, serial string, ok bool) {
	input := cryptobyte.String(der)
	var certificate, tbs, name cryptobyte.String
	number := new(big.Int)
	ok = input.ReadASN1(&certificate, cbasn1.SEQUENCE) &&
		certificate.ReadASN1(&tbs, cbasn1.SEQUENCE) &&
		tbs.SkipOptionalASN1(cbasn1.Tag(0).ContextSpecific().Constructed()) && // version
		tbs.ReadASN1Integer(number) &&
		tbs.SkipASN1(cbasn1.SEQUENCE) && // signature
		tbs.ReadASN1Element(&name, cbasn1.SEQUENCE)
	return name, serialKey(number), ok
}

// serialKey makes serial numbers comparable.
func serialKey(n *big.Int) string {
	if n.Sign() < 0 {
		return "-" + string(n.Bytes())
	}
	return "+" + string(n.Bytes())
}

// nameKey makes names in DER comparable: CAs write the same name in one kind of
// string here and in another there. Case and the number of blanks do not count
// (RFC 5280, Section 7.1). A name that cannot be read equals itself only.
func nameKey(name []byte) string {
	var b strings.Builder
	der := cryptobyte.String(name)
	var rdns cryptobyte.String
	if !der.ReadASN1(&rdns, cbasn1.SEQUENCE) || !der.Empty() {
		return string(name)
	}
	for !rdns.Empty() {
		var rdn cryptobyte.String
		if !rdns.ReadASN1(&rdn, cbasn1.SET) {
			return string(name)
		}
		attributes, ok := attributeKeys(rdn)
		if !ok {
			return string(name)
		}
		slices.Sort(attributes)
		fmt.Fprintf(&b, "%q", attributes)
	}
	return b.String()
}

// attributeKeys reads a RelativeDistinguishedName.
func attributeKeys(rdn cryptobyte.String) (keys []string, ok bool) {
	for !rdn.Empty() {
		var attribute, kind, value cryptobyte.String
		var tag cbasn1.Tag
		if !rdn.ReadASN1(&attribute, cbasn1.SEQUENCE) ||
			!attribute.ReadASN1(&kind, cbasn1.OBJECT_IDENTIFIER) ||
			!attribute.ReadAnyASN1(&value, &tag) {
			return nil, false
		}
		keys = append(keys, string(kind)+"="+stringKey(tag, value))
	}
	return keys, true
}

// stringKey makes strings comparable, whatever their kind.
func stringKey(tag cbasn1.Tag, value []byte) string {
	const numericString, bmpString, visibleString = 18, 30, 26
	var text string
	switch tag {
	case cbasn1.UTF8String, cbasn1.PrintableString, cbasn1.IA5String, cbasn1.T61String, numericString, visibleString:
		text = string(value)
	case bmpString:
		var units []uint16
		for i := 0; i+1 < len(value); i += 2 {
			units = append(units, uint16(value[i])<<8|uint16(value[i+1]))
		}
		text = string(utf16.Decode(units))
	default:
		return fmt.Sprintf("%d:%x", tag, value)
	}
	return strings.ToLower(strings.Join(strings.Fields(text), " "))
}
