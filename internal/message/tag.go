package message

import (
	"io"
	"mime"
	"strings"

	"golang.org/x/text/encoding/htmlindex"
)

// Text returns the value unfolded, without the blanks around it.
func (f Field) Text() string { return strings.Trim(unfold(f.Value), " \t") }

// WithoutTag takes a tag of ASCII out of a field of text, such as a Subject,
// wherever it stands, in any case, with a blank behind it. It is not ok if the
// tag is not there. A value that bears it in the open stays as it is otherwise;
// where it is inside encoded words (RFC 2047) the value is decoded and encoded
// again, in UTF-8.
func (f Field) WithoutTag(tag string) (value string, ok bool) {
	if value, ok = cutTag(f.Value, tag); ok {
		return value, true
	}
	text, err := words.DecodeHeader(f.Text())
	if err != nil {
		return "", false
	}
	if text, ok = cutTag(text, tag); !ok {
		return "", false
	}
	return " " + foldWords(mime.BEncoding.Encode("utf-8", text)), true
}

// BeginsWithTag says whether a field of text has a tag of ASCII in front, in any
// case. What people answer to, and pass on, has "Re:" and "Fwd:" before that.
func (f Field) BeginsWithTag(tag string) bool {
	text := f.Text()
	if decoded, err := words.DecodeHeader(text); err == nil {
		text = decoded
	}
	return strings.HasPrefix(lower(text), lower(tag))
}

// words decodes what mail programs write; what it does not know is an error.
var words = mime.WordDecoder{CharsetReader: func(charset string, from io.Reader) (io.Reader, error) {
	encoding, err := htmlindex.Get(charset)
	if err != nil {
		return nil, err
	}
	return encoding.NewDecoder().Reader(from), nil
}}

// cutTag takes out all there are, also those that come about when another goes.
func cutTag(s, tag string) (rest string, ok bool) {
	var left []byte
	for i := 0; i < len(s); i++ {
		left = append(left, s[i])
		if tag == "" || !strings.HasSuffix(lower(string(left[max(0, len(left)-len(tag)):])), lower(tag)) {
			continue
		}
		ok = true
		left = left[:len(left)-len(tag)]
		if i+1 < len(s) && s[i+1] == ' ' {
			i++
		}
	}
	return string(left), ok
}

// foldWords puts each encoded word on a line of its own (RFC 2047, Section 2).
func foldWords(s string) string { return strings.ReplaceAll(s, "?= =?", "?=\r\n =?") }
