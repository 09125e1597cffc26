package main

import (
	"bytes"
	"crypto/x509"
	"io"
	"strings"
	"testing"
	"time"

	"smimea.example/internal/cms"
	"smimea.example/tools/testnet"
)

// In a binary body nothing is a line end, neither of the envelope nor of what
// was in it.
func TestDecryptBinary(t *testing.T) {
	reader, recipient := newCorrespondent(t)
	const outer = "Subject: Lunch\nContent-Type: application/pkcs7-mime; smime-type=enveloped-data\nContent-Transfer-Encoding: "
	for _, test := range []struct{ name, outer, entity, want string }{
		{"a binary envelope", outer + "binary\n\n", "Content-Type: text/plain\r\n\r\na\r\nb",
			"Subject: Lunch\nMIME-Version: 1.0\nContent-Type: text/plain\n\na\nb"},
		{"with a binary entity", outer + "Binary\n\n", "Content-Transfer-Encoding: binary\r\n\r\na\r\nb\nc",
			"Subject: Lunch\r\nMIME-Version: 1.0\r\nContent-Transfer-Encoding: binary\r\n\r\na\r\nb\nc"},
	} {
		var out strings.Builder
		in := io.MultiReader(strings.NewReader(test.outer), bytes.NewReader(sealedFor(t, test.entity, recipient)))
		if err := reader.decrypt(&out, in); err != nil || out.String() != test.want {
			t.Errorf("%s: %q, %v; want %q", test.name, out.String(), err, test.want)
		}
	}
}

func newCorrespondent(t *testing.T) (*reader, cms.Recipient) {
	t.Helper()
	der, key, err := testnet.NewCertificate(testnet.Subject{Address: "alice@good.test", Kind: "ec", NotBefore: time.Now().Add(-aDay)})
	if err != nil {
		t.Fatal(err)
	}
	recipient, err := cms.NewRecipient(der)
	if err != nil {
		t.Fatal(err)
	}
	return &reader{key, []*x509.Certificate{recipient.Certificate()}}, recipient
}

func sealedFor(t *testing.T, entity string, to cms.Recipient) []byte {
	t.Helper()
	var spool bytes.Buffer
	w, err := cms.NewWriter(&spool, []cms.Recipient{to}, cms.AES256CBC)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, entity); err != nil {
		t.Fatal(err)
	}
	object, err := w.Close()
	if err != nil {
		t.Fatal(err)
	}
	return append(object.Head, spool.Bytes()...)
}
