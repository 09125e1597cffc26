package gateway

import (
	"io"
	"mime"
	"strings"

	"smimea.example/internal/cms"
	"smimea.example/internal/message"
)

// A recognizer sees the body of a mail pass and says in the end whether the
// mail was encrypted by its sender, so that it can go on untouched. The header
// only says what to look for. What counts is the body, all of it, to the last
// octet: text beside an encrypted object would leave in clear.
//
// It keeps nothing of the body. The zero recognizer recognizes nothing.
type recognizer struct {
	object object // nil if there is none to look for
}

// An object is what the body may turn out to be. Its Write never fails.
type object interface {
	io.Writer
	Hopeless() bool  // it is something else, whatever may follow
	Encrypted() bool // it is whole, and encrypted, and there is nothing else
}

// newRecognizer goes by a whole header.
func newRecognizer(h message.Header) *recognizer {
	kind, params, ok := contentType(h)
	switch {
	case !ok:
		return &recognizer{}
	case isCMS(h, kind, params):
		return &recognizer{newCMSBody()}
	case isPGP(h, kind, params):
		return &recognizer{message.NewPGPScanner(params["boundary"])}
	}
	return &recognizer{}
}

// Write takes a piece of the body. It never fails.
func (r *recognizer) Write(p []byte) (int, error) {
	if !r.hopeless() {
		r.object.Write(p)
	}
	return len(p), nil
}

// hopeless says that the mail is not encrypted, whatever may follow.
func (r *recognizer) hopeless() bool { return r.object == nil || r.object.Hopeless() }

// encrypted says whether the mail is, if this was all of it.
func (r *recognizer) encrypted() bool { return r.object != nil && r.object.Encrypted() }

// contentType reads the one Content-Type. Where there are two, or one that is
// hard to read, readers disagree what the body is.
func contentType(h message.Header) (kind string, params map[string]string, ok bool) {
	values := h.Values("Content-Type")
	if len(values) != 1 {
		return "", nil, false
	}
	kind, params, err := mime.ParseMediaType(values[0])
	return kind, params, err == nil
}

// transferEncoding returns the encoding in lower case. Without a field it is
// 7bit: RFC 2045, Section 6.1.
func transferEncoding(h message.Header) string {
	switch values := h.Values("Content-Transfer-Encoding"); len(values) {
	case 0:
		return "7bit"
	case 1:
		return lower(values[0])
	}
	return ""
}

// isCMS goes by RFC 8551, Section 3.9.
func isCMS(h message.Header, kind string, params map[string]string) bool {
	if transferEncoding(h) != "base64" {
		return false
	}
	switch kind {
	case "application/pkcs7-mime", "application/x-pkcs7-mime":
		return true
	case "application/octet-stream":
		return isP7M(params["name"]) || isP7M(fileName(h))
	}
	return false
}

func isP7M(name string) bool { return strings.HasSuffix(lower(name), ".p7m") }

// fileName reads the one Content-Disposition.
func fileName(h message.Header) string {
	values := h.Values("Content-Disposition")
	if len(values) != 1 {
		return ""
	}
	_, params, err := mime.ParseMediaType(values[0])
	if err != nil {
		return ""
	}
	return params["filename"]
}

// isPGP goes by RFC 3156, Section 4.
func isPGP(h message.Header, kind string, params map[string]string) bool {
	switch transferEncoding(h) {
	case "7bit", "8bit", "binary":
		return kind == "multipart/encrypted" && lower(params["protocol"]) == "application/pgp-encrypted"
	}
	return false
}

// A cmsBody is to be one CMS object in base64.
type cmsBody struct {
	*message.Base64Decoder
	scanner *cms.Scanner
}

func newCMSBody() cmsBody {
	scanner := new(cms.Scanner)
	return cmsBody{message.NewBase64Decoder(scanner), scanner}
}

func (b cmsBody) Hopeless() bool  { return b.Bad() || b.scanner.Hopeless() }
func (b cmsBody) Encrypted() bool { return b.Whole() && b.scanner.Encrypted() }
