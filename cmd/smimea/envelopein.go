package main

import (
	"bytes"
	"encoding/asn1"
	"encoding/pem"
	"io"
	"mime"

	"golang.org/x/crypto/cryptobyte"

	"smimea.example/internal/message"
)

// An envelope comes as it is, in DER or BER, or in PEM or base64, or in a mail.

// bareEnvelope takes a CMS object that is not in a message, or returns nil. No
// message begins like one of these: a header field does not.
func bareEnvelope(data []byte) ([]byte, error) {
	if isObject(data) {
		return data, nil
	}
	text := bytes.TrimLeft(data, " \t\r\n")
	if bytes.HasPrefix(text, []byte("-----BEGIN ")) {
		return envelopeInPEM(text)
	}
	if object, ok := decodeBase64(bytes.NewReader(text), len(text)); ok && isObject(object) {
		return object, nil
	}
	return nil, nil
}

func envelopeInPEM(text []byte) ([]byte, error) {
	block, _ := pem.Decode(text)
	switch {
	case block == nil:
		return nil, failure("the PEM block is damaged, or does not end")
	case block.Type != "CMS" && block.Type != "PKCS7": // RFC 7468, Sections 8 and 9
		return nil, failure("this is PEM with %q in it, and no envelope", block.Type)
	}
	return block.Bytes, nil
}

func isObject(data []byte) bool {
	_, ok := contentType(data)
	return ok
}

// contentType is that of a CMS object (RFC 5652, Section 3), in DER or BER.
func contentType(object []byte) (asn1.ObjectIdentifier, bool) {
	inside, ok := skipHeader(object)
	in := cryptobyte.String(inside)
	var id asn1.ObjectIdentifier
	return id, ok && in.ReadASN1ObjectIdentifier(&id)
}

// decodeBase64 decodes what is one piece of base64 and nothing else, of no more
// than size octets.
func decodeBase64(r io.Reader, size int) ([]byte, bool) {
	var object bytes.Buffer
	object.Grow(size / 4 * 3)
	decoder := message.NewBase64Decoder(&object)
	piece := make([]byte, 32<<10)
	for !decoder.Bad() {
		n, err := r.Read(piece)
		decoder.Write(piece[:n])
		if err == io.EOF {
			return object.Bytes(), decoder.Whole()
		}
		if err != nil {
			return nil, false
		}
	}
	return nil, false
}

// envelopeIn reads the body of an encrypted message of no more than size octets.
// What its Content-Type says is not asked: gateways and mailing lists make it
// application/octet-stream.
func envelopeIn(h message.Header, body io.Reader, size int) ([]byte, error) {
	if isBinary(h) {
		return io.ReadAll(body)
	}
	object, ok := decodeBase64(body, size)
	if ok && len(object) > 0 {
		return object, nil
	}
	kind, _, _ := mime.ParseMediaType(fieldValue(h, "Content-Type"))
	switch kind {
	case "multipart/signed":
		return nil, failure("the message is signed, not encrypted").
			hint("there is nothing to decrypt: any mail program shows it")
	case "multipart/encrypted":
		return nil, failure("the message is encrypted with OpenPGP, which is not S/MIME").
			hint(`"gpg --decrypt" is for those`)
	}
	return nil, failure("the message is not encrypted: its body is not one piece of base64").
		hint(`an encrypted one has "Content-Type: application/pkcs7-mime"; this one has %q`,
			fieldValue(h, "Content-Type"))
}

// What else a CMS object may be: RFC 8551, Section 3.2.2, and RFC 5652.
var notEncrypted = map[string]string{
	"1.2.840.113549.1.7.1":      "is not encrypted",
	"1.2.840.113549.1.7.2":      "is signed, not encrypted",
	"1.2.840.113549.1.7.5":      "has a digest and is not encrypted",
	"1.2.840.113549.1.9.16.1.2": "is authenticated, not encrypted",
	"1.2.840.113549.1.9.16.1.9": "is compressed, not encrypted",
}

// checkEncrypted tells what an object is if it is none of ours. The parameter
// smime-type may say something else.
func checkEncrypted(object []byte) error {
	id, _ := contentType(object)
	what := notEncrypted[id.String()]
	if what == "" {
		return nil // also what is no object at all: cms has words for that
	}
	p := failure("the message %s", what)
	if id.String() == "1.2.840.113549.1.7.2" {
		p.hint(`"openssl cms -verify -noverify" prints what is inside, and believes every signer`)
	}
	return p
}
