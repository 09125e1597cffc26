package message

import "strings"

// Entity returns the fields that go inside the envelope: the message's own
// Content-* fields (RFC 8551, Section 3.1), all of them, as received and in
// their order, even where there are two of a kind or no MIME-Version: what
// that means is up to whoever reads the mail, encrypted or not.
func (h Header) Entity() Header { return h.filter(Field.goesInside) }

// Outside returns the fields that stay outside: all but Content-* and
// MIME-Version, which [Envelope] has anew, and Bcc, which is for nobody to see
// (RFC 5322, Section 3.6.3).
func (h Header) Outside() Header { return h.filter(Field.StaysOutside) }

// Replaced returns the names of the fields that do not stay outside, each as
// received, in their order.
func (h Header) Replaced() []string {
	var names []string
	for _, f := range h {
		if !f.StaysOutside() {
			names = append(names, f.Name)
		}
	}
	return names
}

// Envelope returns the fields that an encrypted message has in place of those
// that went inside: RFC 8551, Section 3.3, and 3.4 for authenticated encryption.
// They stand in front of a body from [NewBase64Writer].
func Envelope(authenticated bool) Header {
	kind := "enveloped-data"
	if authenticated {
		kind = "authEnveloped-data"
	}
	return Header{
		{"MIME-Version", " 1.0"},
		{"Content-Type", " application/pkcs7-mime; smime-type=" + kind + "; name=smime.p7m"},
		{"Content-Transfer-Encoding", " base64"},
		{"Content-Disposition", " attachment; filename=smime.p7m"},
	}
}

func (h Header) filter(keep func(Field) bool) Header {
	var kept Header
	for _, f := range h {
		if keep(f) {
			kept = append(kept, f)
		}
	}
	return kept
}

// goesInside: RFC 2045, Section 3.
func (f Field) goesInside() bool { return strings.HasPrefix(lower(f.Name), "content-") }

// StaysOutside says whether a field is among those of [Header.Outside].
func (f Field) StaysOutside() bool {
	return !f.goesInside() && !f.Is("MIME-Version") && !f.IsBlind()
}

// IsBlind says whether a field is for nobody to see.
func (f Field) IsBlind() bool { return f.Is("Bcc") || f.Is("Resent-Bcc") }
