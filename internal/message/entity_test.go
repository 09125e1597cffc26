package message

import (
	"bytes"
	"io"
	"testing"

	gomessage "github.com/emersion/go-message"
)

func TestEntityAndOutside(t *testing.T) {
	for name, test := range map[string]struct{ in, inside, outside string }{
		"usual": {
			"From: alice@example.org\nMIME-Version: 1.0\nContent-Type: text/plain;\n charset=utf-8\nTo: bob@example.org\nContent-Transfer-Encoding: 8bit\nSubject: hello\n",
			"Content-Type: text/plain;\r\n charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n",
			"From: alice@example.org\r\nTo: bob@example.org\r\nSubject: hello\r\n",
		},
		"no MIME at all":       {"Subject: hello\n", "", "Subject: hello\r\n"},
		"without MIME-Version": {"content-type: text/html\nSubject: hello\n", "content-type: text/html\r\n", "Subject: hello\r\n"},
		"MIME-Version alone":   {"Mime-version: 1.0 (odd)\n", "", ""},
		"two Content-Types": {
			"Content-Type: text/plain\nX: y\nContent-Type: text/html\nCONTENT-TYPE : image/png\n",
			"Content-Type: text/plain\r\nContent-Type: text/html\r\nCONTENT-TYPE : image/png\r\n",
			"X: y\r\n",
		},
		"all that begins so": {
			"Content-Language: ja\nContent-ID: <1@example.org>\nContent-X: y\nX-Content-Y: z\nContents: w\n",
			"Content-Language: ja\r\nContent-ID: <1@example.org>\r\nContent-X: y\r\n",
			"X-Content-Y: z\r\nContents: w\r\n",
		},
		"Bcc": {"BCC: carol@example.org\nTo: bob@example.org\nbcc : dan@example.org\nResent-Bcc: erin@example.org\n", "", "To: bob@example.org\r\n"},
		"the same twice": {
			"Received: b\nDKIM-Signature: x\nReceived: a\n", "",
			"Received: b\r\nDKIM-Signature: x\r\nReceived: a\r\n",
		},
		"octets": {
			"Content-Type: text/plain; name=\"\x83\x65\x83\x58\x83\x67\"\nSubject: \xe9\n",
			"Content-Type: text/plain; name=\"\x83\x65\x83\x58\x83\x67\"\r\n",
			"Subject: \xe9\r\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := mustRead(t, test.in)
			if got := written(t, h.Entity()); got != test.inside {
				t.Errorf("inside: %q, want %q", got, test.inside)
			}
			if got := written(t, h.Outside()); got != test.outside {
				t.Errorf("outside: %q, want %q", got, test.outside)
			}
		})
	}
}

// What Envelope and the base64 writer make is read back by a program's
// library.
func TestEnvelopeIsRead(t *testing.T) {
	object := bytes.Repeat([]byte("a CMS object, or so\x00\xff"), 1000)
	var mail bytes.Buffer
	mail.WriteString(written(t, append(mustRead(t, "Subject: hello\n").Outside(), Envelope(false)...)) + "\r\n")
	body := NewBase64Writer(&mail)
	if _, err := body.Write(object); err != nil {
		t.Fatal(err)
	}
	if err := body.Close(); err != nil {
		t.Fatal(err)
	}
	read, err := gomessage.Read(&mail)
	if err != nil {
		t.Fatal(err)
	}
	kind, params, err := read.Header.ContentType()
	if err != nil || kind != "application/pkcs7-mime" || params["smime-type"] != "enveloped-data" || params["name"] != "smime.p7m" {
		t.Errorf("Content-Type: %s %v, %v", kind, params, err)
	}
	disposition, params, err := read.Header.ContentDisposition()
	if err != nil || disposition != "attachment" || params["filename"] != "smime.p7m" {
		t.Errorf("Content-Disposition: %s %v, %v", disposition, params, err)
	}
	if got := read.Header.Get("MIME-Version"); got != "1.0" {
		t.Errorf("MIME-Version: %s", got)
	}
	if got, err := io.ReadAll(read.Body); err != nil || !bytes.Equal(got, object) {
		t.Errorf("another object, %v", err)
	}
}
