package cms

import (
	"crypto/x509"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// Object identifiers, as people write them.
const (
	// Content types: RFC 5652, Sections 4 to 9; RFC 5083, Section 2.1; RFC 3274.
	oidData              = "1.2.840.113549.1.7.1"
	oidSignedData        = "1.2.840.113549.1.7.2"
	oidEnvelopedData     = "1.2.840.113549.1.7.3"
	oidDigestedData      = "1.2.840.113549.1.7.5"
	oidEncryptedData     = "1.2.840.113549.1.7.6"
	oidAuthData          = "1.2.840.113549.1.9.16.1.2"
	oidCompressedData    = "1.2.840.113549.1.9.16.1.9"
	oidAuthEnvelopedData = "1.2.840.113549.1.9.16.1.23"

	// Content encryption: RFC 3565, Section 4.1; RFC 5084, Section 3.2.
	oidAES128CBC = "2.16.840.1.101.3.4.1.2"
	oidAES192CBC = "2.16.840.1.101.3.4.1.22"
	oidAES256CBC = "2.16.840.1.101.3.4.1.42"
	oidAES128GCM = "2.16.840.1.101.3.4.1.6"
	oidAES192GCM = "2.16.840.1.101.3.4.1.26"
	oidAES256GCM = "2.16.840.1.101.3.4.1.46"

	// Key wrap: RFC 3565, Section 4.2.
	oidAES128Wrap = "2.16.840.1.101.3.4.1.5"
	oidAES192Wrap = "2.16.840.1.101.3.4.1.25"
	oidAES256Wrap = "2.16.840.1.101.3.4.1.45"

	// RSA: RFC 3370, Section 4.2.1; RFC 4055, Section 4.
	oidRSA   = "1.2.840.113549.1.1.1"
	oidOAEP  = "1.2.840.113549.1.1.7"
	oidMGF1  = "1.2.840.113549.1.1.8"
	oidLabel = "1.2.840.113549.1.1.9"

	// Elliptic curves: RFC 5480, Section 2.1; RFC 5753, Section 7.1.4.
	oidECPublicKey = "1.2.840.10045.2.1"
	oidECDHSHA1    = "1.3.133.16.840.63.0.2"
	oidECDHSHA224  = "1.3.132.1.11.0"
	oidECDHSHA256  = "1.3.132.1.11.1"
	oidECDHSHA384  = "1.3.132.1.11.2"
	oidECDHSHA512  = "1.3.132.1.11.3"

	// The same with the cofactor, which is 1 on the three curves.
	oidCofactorSHA1   = "1.3.133.16.840.63.0.3"
	oidCofactorSHA224 = "1.3.132.1.14.0"
	oidCofactorSHA256 = "1.3.132.1.14.1"
	oidCofactorSHA384 = "1.3.132.1.14.2"
	oidCofactorSHA512 = "1.3.132.1.14.3"

	// X25519: RFC 8410, Section 3; RFC 8418, Section 2.
	oidX25519         = "1.3.101.110"
	oidECDHHKDFSHA256 = "1.2.840.113549.1.9.16.3.19"

	// Key encapsulation: RFC 9629, Sections 3 and 5; RFC 9936, Section 3.
	oidKEMRecipient = "1.2.840.113549.1.9.16.13.3"
	oidHKDFSHA256   = "1.2.840.113549.1.9.16.3.28"
	oidMLKEM512     = "2.16.840.1.101.3.4.4.1"
	oidMLKEM768     = "2.16.840.1.101.3.4.4.2"
	oidMLKEM1024    = "2.16.840.1.101.3.4.4.3"

	// S/MIME capabilities: RFC 4262, Section 2.
	oidCapabilities = "1.2.840.113549.1.9.15"

	// Digests: RFC 4055, Section 2.1.
	oidSHA1   = "1.3.14.3.2.26"
	oidSHA224 = "2.16.840.1.101.3.4.2.4"
	oidSHA256 = "2.16.840.1.101.3.4.2.1"
	oidSHA384 = "2.16.840.1.101.3.4.2.2"
	oidSHA512 = "2.16.840.1.101.3.4.2.3"
)

// maxOID is the longest object identifier that is read, in octets. The longest
// that we know has 11.
const maxOID = 64

// readOID reads an object identifier into its dotted form.
func readOID(in *cryptobyte.String, dotted *string) bool {
	var contents cryptobyte.String
	if !in.ReadASN1(&contents, asn1.OBJECT_IDENTIFIER) || len(contents) > maxOID {
		return false
	}
	if known, ok := dottedIDs.Load(string(contents)); ok {
		*dotted = known.(string)
		return true
	}
	var id x509.OID
	if id.UnmarshalBinary(contents) != nil {
		return false
	}
	*dotted = id.String()
	return true
}

// An algorithm is an AlgorithmIdentifier: RFC 5280, Section 4.1.1.2.
type algorithm struct {
	id         string
	parameters cryptobyte.String // the whole element; empty when absent
	raw        []byte            // the whole AlgorithmIdentifier
}

func readAlgorithm(in *cryptobyte.String, a *algorithm) bool {
	var element, contents cryptobyte.String
	if !in.ReadASN1Element(&element, asn1.SEQUENCE) {
		return false
	}
	a.raw = element
	if !element.ReadASN1(&contents, asn1.SEQUENCE) || !readOID(&contents, &a.id) {
		return false
	}
	a.parameters = contents
	return contents.Empty() || contents.SkipASN1(anyTag(contents)) && contents.Empty()
}

// anyTag is the tag of the element that comes next, whatever it is.
func anyTag(in cryptobyte.String) asn1.Tag {
	if in.Empty() {
		return 0
	}
	return asn1.Tag(in[0])
}
