package cms

import (
	"bytes"
	"crypto/x509"
	"encoding/binary"
	"slices"
	"sync"

	"golang.org/x/crypto/cryptobyte/asn1"
)

// Tags of the fields [0] to [4], and of a [0] that is a string.
const (
	field0  = asn1.Tag(0xa0)
	field1  = asn1.Tag(0xa1)
	field2  = asn1.Tag(0xa2)
	field3  = asn1.Tag(0xa3)
	field4  = asn1.Tag(0xa4)
	string0 = asn1.Tag(0x80)
)

// element makes a DER element of contents that are DER already.
func element(tag asn1.Tag, contents ...[]byte) []byte {
	return begin(tag, 0, contents...)
}

// begin makes the beginning of an element whose last n octets are elsewhere.
func begin(tag asn1.Tag, n int64, contents ...[]byte) []byte {
	here := bytes.Join(contents, nil)
	return slices.Concat(header(tag, int64(len(here))+n), here)
}

// header makes the identifier and length octets of an element of n octets, the
// length in as few octets as DER demands.
func header(tag asn1.Tag, n int64) []byte {
	if n < 0x80 {
		return []byte{byte(tag), byte(n)}
	}
	var length [8]byte
	binary.BigEndian.PutUint64(length[:], uint64(n))
	short := bytes.TrimLeft(length[:], "\x00")
	return append([]byte{byte(tag), 0x80 | byte(len(short))}, short...)
}

// setOf makes a SET OF, in the order of X.690, Section 11.6. It reorders the
// slice it is given.
func setOf(elements [][]byte) []byte {
	slices.SortFunc(elements, bytes.Compare)
	return element(asn1.SET, elements...)
}

// integer makes a small INTEGER, as versions are.
func integer(n byte) []byte { return element(asn1.INTEGER, []byte{n}) }

// null is the NULL that some algorithms have for parameters.
func null() []byte { return element(asn1.NULL) }

// algorithmID makes an AlgorithmIdentifier. Without parameters they are absent.
func algorithmID(dotted string, parameters ...[]byte) []byte {
	return element(asn1.SEQUENCE, slices.Insert(parameters, 0, objectID(dotted))...)
}

// What objectID has made: dotted string to DER, and contents to dotted string.
var objectIDs, dottedIDs sync.Map

// objectID makes an OBJECT IDENTIFIER out of one of the constants of oid.go. It
// must not be changed.
func objectID(dotted string) []byte {
	if der, ok := objectIDs.Load(dotted); ok {
		return der.([]byte)
	}
	der := encodeObjectID(dotted)
	objectIDs.Store(dotted, der)
	dottedIDs.Store(string(der[2:]), dotted)
	return der
}

func encodeObjectID(dotted string) []byte {
	id, err := x509.ParseOID(dotted)
	if err != nil {
		panic("cms: " + dotted + " is no object identifier")
	}
	contents, err := id.MarshalBinary()
	if err != nil {
		panic("cms: " + dotted + ": " + err.Error())
	}
	return element(asn1.OBJECT_IDENTIFIER, contents)
}
