package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/pem"
	"strings"
	"testing"

	"golang.org/x/crypto/cryptobyte/asn1"

	"smimea.example/internal/message"
)

// Objects with nothing in them: RFC 5652, Section 3.
var (
	signedData    = algorithm([]int{1, 2, 840, 113549, 1, 7, 2})
	envelopedData = algorithm([]int{1, 2, 840, 113549, 1, 7, 3})
	ofNoKnownType = algorithm([]int{1, 2, 3})
)

func TestBareEnvelope(t *testing.T) {
	long := algorithm([]int{1, 2, 840, 113549, 1, 7, 3}, make([]byte, 300))
	ber := append(append([]byte{0x30, 0x80}, envelopedData[2:]...), 0, 0)
	padded := append([]byte{0x30, 0x84, 0, 0, 0, envelopedData[1]}, envelopedData[2:]...)
	armoured := func(kind string) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: long}))
	}
	in64 := base64.StdEncoding.EncodeToString(long)
	for _, test := range []struct {
		name, in string
		want     []byte // nil: a message
		err      string
	}{
		{"shorter than 128 octets", string(envelopedData), envelopedData, ""},
		{"longer", string(long), long, ""},
		{"BER", string(ber), ber, ""},
		{"a length with zeros", string(padded), padded, ""},
		{"an object of another type", string(ofNoKnownType), ofNoKnownType, ""},
		{"PEM", armoured("CMS"), long, ""},
		{"PEM of PKCS #7, after an empty line", "\r\n" + armoured("PKCS7"), long, ""},
		{"PEM of something else", armoured("X509 CRL"), nil, `"X509 CRL" in it`},
		{"PEM that is cut short", armoured("CMS")[:200], nil, "damaged"},
		{"base64 in one line", in64, long, ""},
		{"base64 in lines of mail", in64[:76] + "\r\n" + in64[76:] + "\r\n", long, ""},
		{"base64 of something else", "SGVsbG8h", nil, ""},
		{"a message", "Subject: Lunch\n\nMIAG\n", nil, ""},
		{"a message that begins like DER", "0\x06: Lunch\n\n", nil, ""},
		{"a message that begins like base64", "MIAG: " + in64 + "\n\n", nil, ""},
		{"a sequence of something else", string(salt), nil, ""},
		{"a header and no more", "\x30\x88\x00", nil, ""},
		{"nothing", "", nil, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := bareEnvelope([]byte(test.in))
			if !bytes.Equal(got, test.want) || (err != nil) != (test.err != "") {
				t.Errorf("%x, %v", got, err)
			}
			if err != nil && !strings.Contains(err.Error(), test.err) {
				t.Errorf("%v, want %s", err, test.err)
			}
		})
	}
}

func TestCheckEncrypted(t *testing.T) {
	for _, test := range []struct {
		name   string
		object []byte
		want   string // of the error
	}{
		{"enveloped", envelopedData, ""},
		{"signed", signedData, "the message is signed, not encrypted"},
		{"compressed", algorithm([]int{1, 2, 840, 113549, 1, 9, 16, 1, 9}), "the message is compressed, not encrypted"},
		{"data", algorithm([]int{1, 2, 840, 113549, 1, 7, 1}), "the message is not encrypted"},
		{"of a type that nobody knows", ofNoKnownType, ""},
		{"no object", nil, ""},
	} {
		if got := text(checkEncrypted(test.object)); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}

// FuzzEnvelope takes what comes for a bare object, and if it is none for a
// message. What comes out of either begins like an object, or cms will say so.
func FuzzEnvelope(f *testing.F) {
	f.Add(envelopedData)
	f.Add(append([]byte{0x30, 0x80}, der(asn1.SEQUENCE)...))
	f.Add(pem.EncodeToMemory(&pem.Block{Type: "CMS", Bytes: envelopedData}))
	f.Add([]byte("MAsGCSqGSIb3DQEHAw=="))
	f.Add([]byte("Content-Type: application/pkcs7-mime\r\nContent-Transfer-Encoding: base64\r\n\r\nMAsGCSqGSIb3DQEHAw==\r\n"))
	f.Add([]byte("Content-Transfer-Encoding: binary\n\n\x30\x0b"))
	f.Add([]byte("Content-Type: multipart/signed; boundary=b\n\n--b--\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		object, err := bareEnvelope(data)
		if object != nil && err != nil {
			t.Errorf("%x, and %v", object, err)
		}
		if object != nil && !bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("-----BEGIN ")) && !isObject(object) {
			t.Errorf("%x is no object", object)
		}
		in := bufio.NewReader(bytes.NewReader(data))
		header, err := message.ReadHeader(in)
		if err != nil {
			return
		}
		if object != nil && len(header) > 0 {
			t.Errorf("%q is an object and a message", data)
		}
		object, err = envelopeIn(header, in, len(data))
		if len(object) > len(data) || len(object) > 0 && err != nil {
			t.Errorf("%d octets, %v", len(object), err)
		}
		checkEncrypted(object)
	})
}
