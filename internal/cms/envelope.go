package cms

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"
	"slices"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// An envelope is an EnvelopedData (RFC 5652, Section 6.1) or AuthEnvelopedData
// (RFC 5083, Section 2.1).
type envelope struct {
	authenticated bool
	version       byte
	recipients    cryptobyte.String // the contents of RecipientInfos
	inside        string            // the type of the content
	algorithm     algorithm
	content       []byte
	attributes    cryptobyte.String // the contents of authAttrs
	hasAttributes bool
	mac           []byte
}

// readEnvelope reads a flat ContentInfo: RFC 5652, Section 3.
func readEnvelope(flat []byte) (*envelope, error) {
	in := cryptobyte.String(flat)
	var info, content, fields cryptobyte.String
	var kind string
	if !in.ReadASN1(&info, asn1.SEQUENCE) || !in.Empty() || !readOID(&info, &kind) {
		return nil, damaged("no content type")
	}
	if kind != oidEnvelopedData && kind != oidAuthEnvelopedData {
		return nil, unsupported("%s", contentName(kind))
	}
	if !info.ReadASN1(&content, field0) || !info.Empty() ||
		!content.ReadASN1(&fields, asn1.SEQUENCE) || !content.Empty() {
		return nil, damaged("no content")
	}
	e := &envelope{authenticated: kind == oidAuthEnvelopedData}
	if !e.readBeginning(&fields) || !e.readContent(&fields) || !e.readEnd(&fields) {
		return nil, damaged("its structure is wrong")
	}
	return e, nil
}

// contentName names what is no envelope.
func contentName(kind string) string {
	switch kind {
	case oidData:
		return "data that is not encrypted"
	case oidSignedData:
		return "signed-data"
	case oidDigestedData:
		return "digested-data"
	case oidEncryptedData:
		return "encrypted-data"
	case oidAuthData:
		return "authenticated-data"
	case oidCompressedData:
		return "compressed-data"
	}
	return "content of type " + kind
}

// readBeginning reads what stands before the EncryptedContentInfo.
func (e *envelope) readBeginning(in *cryptobyte.String) bool {
	return readVersion(in, &e.version) &&
		in.SkipOptionalASN1(field0) && // originatorInfo
		in.ReadASN1(&e.recipients, asn1.SET) && !e.recipients.Empty()
}

// readContent reads an EncryptedContentInfo. The content is an implicit OCTET
// STRING, which BER may have in pieces.
func (e *envelope) readContent(in *cryptobyte.String) bool {
	var info, content cryptobyte.String
	if !in.ReadASN1(&info, asn1.SEQUENCE) || !readOID(&info, &e.inside) || !readAlgorithm(&info, &e.algorithm) {
		return false
	}
	if anyTag(info) == string0 {
		return info.ReadASN1Bytes(&e.content, string0) && len(e.content) > 0 && info.Empty()
	}
	return info.ReadASN1(&content, field0) && info.Empty() && joinPieces(content, &e.content)
}

func joinPieces(pieces cryptobyte.String, out *[]byte) bool {
	joined := make([]byte, 0, len(pieces))
	for !pieces.Empty() {
		var piece cryptobyte.String
		if !pieces.ReadASN1(&piece, asn1.OCTET_STRING) {
			return false
		}
		joined = append(joined, piece...)
	}
	*out = joined
	return len(joined) > 0
}

// readEnd reads what stands behind the EncryptedContentInfo: unprotectedAttrs,
// or else authAttrs, mac and unauthAttrs.
func (e *envelope) readEnd(in *cryptobyte.String) bool {
	if !e.authenticated {
		return in.SkipOptionalASN1(field1) && in.Empty()
	}
	return in.ReadOptionalASN1(&e.attributes, &e.hasAttributes, field1) &&
		in.ReadASN1Bytes(&e.mac, asn1.OCTET_STRING) && len(e.mac) > 0 &&
		in.SkipOptionalASN1(field2) && in.Empty()
}

// A suite is a content encryption.
type suite struct {
	keySize int // in octets
	gcm     bool
}

var suites = map[string]suite{
	oidAES128CBC: {keySize: 16},
	oidAES192CBC: {keySize: 24},
	oidAES256CBC: {keySize: 32},
	oidAES128GCM: {keySize: 16, gcm: true},
	oidAES192GCM: {keySize: 24, gcm: true},
	oidAES256GCM: {keySize: 32, gcm: true},
}

// suite is the envelope's content encryption. GCM belongs into AuthEnvelopedData
// and nowhere else, and CBC does not authenticate: RFC 8551, Sections 3.3 and
// 3.4.
func (e *envelope) suite() (suite, error) {
	s, known := suites[e.algorithm.id]
	switch {
	case !known:
		return suite{}, unsupported("content encryption %s", e.algorithm.id)
	case s.gcm && !e.authenticated:
		return suite{}, unsupported("AES-GCM without authentication")
	case !s.gcm && e.authenticated:
		return suite{}, unsupported("AES-CBC as authenticated encryption")
	}
	return s, nil
}

// open decrypts the content.
func (e *envelope) open(cek []byte) ([]byte, error) {
	block, err := aes.NewCipher(cek)
	if err != nil {
		return nil, err
	}
	if e.authenticated {
		return e.openGCM(block)
	}
	return e.openCBC(block)
}

func (e *envelope) openCBC(block cipher.Block) ([]byte, error) {
	var iv cryptobyte.String
	parameters := e.algorithm.parameters
	if !parameters.ReadASN1(&iv, asn1.OCTET_STRING) || len(iv) != aes.BlockSize {
		return nil, damaged("initialization vector")
	}
	if len(e.content)%aes.BlockSize != 0 {
		return nil, damaged("content")
	}
	plain := make([]byte, len(e.content))
	cipher.NewCBCDecrypter(block, iv).CryptBlocks(plain, e.content)
	plain, ok := unpad(plain)
	if !ok {
		return nil, damaged("content")
	}
	return plain, nil
}

// unpad takes the padding off whole blocks: RFC 5652, Section 6.3.
func unpad(plain []byte) ([]byte, bool) {
	pad := int(plain[len(plain)-1])
	if pad == 0 || pad > aes.BlockSize {
		return nil, false
	}
	content, padding := plain[:len(plain)-pad], plain[len(plain)-pad:]
	want := bytes.Repeat([]byte{byte(pad)}, pad)
	return content, subtle.ConstantTimeCompare(padding, want) == 1
}

func (e *envelope) openGCM(block cipher.Block) ([]byte, error) {
	nonce, err := e.nonce()
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithTagSize(block, len(e.mac))
	if err != nil {
		return nil, unsupported("AES-GCM tag of %d octets", len(e.mac))
	}
	plain, err := aead.Open(nil, nonce, slices.Concat(e.content, e.mac), e.additionalData())
	if err != nil {
		return nil, damaged("content")
	}
	return plain, nil
}

// nonce reads GCMParameters: RFC 5084, Section 3.2.
//
// QUIRK: an absent length of the tag means 12 octets, and the sample of RFC
// 8551, Section 3.4, which others have copied, leaves it out and has 16.
func (e *envelope) nonce() ([]byte, error) {
	bad := damaged("AES-GCM parameters")
	in := e.algorithm.parameters
	var fields, nonce cryptobyte.String
	if !in.ReadASN1(&fields, asn1.SEQUENCE) || !fields.ReadASN1(&nonce, asn1.OCTET_STRING) {
		return nil, bad
	}
	tagSize := len(e.mac)
	if fields.Empty() {
		if tagSize != 12 && tagSize != 16 {
			return nil, bad
		}
	} else if !fields.ReadASN1Integer(&tagSize) || !fields.Empty() || tagSize != len(e.mac) {
		return nil, bad
	}
	if len(nonce) != 12 {
		return nil, unsupported("AES-GCM nonce of %d octets", len(nonce))
	}
	return nonce, nil
}

// additionalData is what is authenticated beside the content: the attributes
// as the SET that they would be without their implicit tag, in DER; nothing if
// there are none. RFC 5083, Section 2.2.
func (e *envelope) additionalData() []byte {
	if !e.hasAttributes {
		return nil
	}
	var attributes [][]byte
	for in := e.attributes; !in.Empty(); {
		var one cryptobyte.String
		if !in.ReadASN1Element(&one, anyTag(in)) {
			return nil
		}
		attributes = append(attributes, one)
	}
	return setOf(attributes)
}
