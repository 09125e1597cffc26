package keystore

import (
	"fmt"
	"math/big"
	"slices"
	"strings"
	"unicode/utf16"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// issuerAndSerial reads what a CRL knows a certificate by, of one too that
// crypto/x509 cannot read. The serial is a serialKey. It asks for less than
// [cms.IsCertificate] does: crypto/x509, which builds the paths, takes some that
// cms does not.
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
