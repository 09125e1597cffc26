package main_test

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strings"
	"unicode/utf16"
)

var oddCharsets = []awkwardMail{
	{name: "ISO-2022-JP text", make: of("Content-Type: text/plain; charset=ISO-2022-JP\r\nContent-Transfer-Encoding: 7bit\r\n", "\x1b$B$3$s$K$A$O\x1b(B\r\n\x1b$B!V\x1b(J~\\\x1b(B\r\n")},
	{name: "EUC-JP text", make: of("Content-Type: text/plain; charset=EUC-JP\r\nContent-Transfer-Encoding: 8bit\r\n", "\xa4\xb3\xa4\xf3\xa4\xcb\xa4\xc1\xa4\xcf\r\n\x8e\xb1\x8f\xb0\xa1\r\n")},
	{name: "Shift_JIS text with octets of other meaning", make: of("Content-Type: text/plain; charset=Shift_JIS\r\nContent-Transfer-Encoding: 8bit\r\n", "\x83\x5c\x83\x7c\x81\x40\x94\x5c\x8a\x40\r\n")},
	{name: "UTF-16 text", make: of("Content-Type: text/plain; charset=utf-16\r\nContent-Transfer-Encoding: 8bit\r\n", utf16Text("\ufeffGrüße 日本\r\n\u0a0d\u0d0a\u2e2e\r\n", binary.LittleEndian))},
	{name: "UTF-16BE text by BDAT", bdat: true, make: of("Content-Type: text/plain; charset=utf-16be\r\nContent-Transfer-Encoding: binary\r\n", utf16Text("Grüße\r\n\u0a0d\u0d0a\r\n", binary.BigEndian))},
	{name: "UTF-8 with a byte order mark", make: of("Content-Type: text/plain; charset=utf-8\r\n", "\ufeffGrüße\u2028\u0085\ufeff\r\n")},
	{name: "8-bit text that is said to be 7bit", make: of("Content-Type: text/plain; charset=us-ascii\r\nContent-Transfer-Encoding: 7bit\r\n", "gr\xfc\xdfe \u65e5\u672c\r\n")},
	{name: "GB18030, Big5, KOI8-R, EBCDIC", make: of("Content-Type: text/plain; charset=unknown-8bit\r\n", "\xc4\xe3\x81\x30\x81\x30\r\n\xa7\x41\xa6\x5c\r\n\xf0\xd2\xc9\r\n\xc8\x85\x93\x93\x96\x25\r\n")},
}

func utf16Text(s string, order binary.AppendByteOrder) string {
	var b []byte
	for _, unit := range utf16.Encode([]rune(s)) {
		b = order.AppendUint16(b, unit)
	}
	return string(b)
}

// parted makes a body of parts.
func parted(boundary string, parts ...string) string {
	return "--" + boundary + "\r\n" + strings.Join(parts, "\r\n--"+boundary+"\r\n") + "\r\n--" + boundary + "--\r\n"
}

const (
	plainPart = "Content-Type: text/plain\r\n\r\n" + secret
	htmlPart  = "Content-Type: text/html; charset=utf-8\r\n\r\n<p>" + secret + "</p>"
	imagePart = "Content-Type: image/png\r\nContent-ID: <i@house.test>\r\nContent-Transfer-Encoding: base64\r\n\r\niVBORw0KGgo="
)

var oddStructures = []awkwardMail{
	{name: "message in a message in a message", make: of("Content-Type: message/rfc822\r\n", "From: a@house.test\r\nContent-Type: message/rfc822\r\n\r\n"+
		"From: b@house.test\r\nMIME-Version: 1.0\r\nContent-Type: message/rfc822\r\nContent-Disposition: inline\r\n\r\nSubject: innermost\r\n\r\n"+hello)},
	{name: "100 messages in each other", make: of("Content-Type: message/rfc822\r\n", strings.Repeat("Content-Type: message/rfc822\r\n\r\n", 99)+"Subject: s\r\n\r\nx\r\n")},
	{name: "100 multiparts in each other", make: of(nested(100))},
	{name: "1,000 multiparts in each other", make: of(nested(1000))},
	{name: "2,000 parts", make: of("Content-Type: multipart/mixed; boundary=b\r\n", numbered(2_000, "--b\r\nContent-Type: text/plain\r\n\r\npart %d\r\n")+"--b--\r\n")},
	{name: "parts without anything", make: of("Content-Type: multipart/mixed; boundary=b\r\n", strings.Repeat("--b\r\n", 50)+"--b\r\n\r\n--b--\r\n")},
	{name: "boundary of odd characters", make: of("Content-Type: multipart/mixed; boundary=\"'()+_,-./:=? x\"\r\n", parted("'()+_,-./:=? x", plainPart, htmlPart))},
	{name: "boundary that is longer than allowed", make: of("Content-Type: multipart/mixed; boundary=\""+strings.Repeat("b", 3_000)+"\"\r\n", parted(strings.Repeat("b", 3_000), plainPart))},
	{name: "boundary of raw octets", make: of("Content-Type: multipart/mixed; boundary=\"\xff\x93\xfa\\\"\"\r\n", parted("\xff\x93\xfa\"", plainPart))},
	{name: "empty boundary", make: of("Content-Type: multipart/mixed; boundary=\"\"\r\n", parted("", plainPart, htmlPart))},
	{name: "no boundary parameter", make: of("Content-Type: multipart/mixed\r\n", parted("b", plainPart))},
	{name: "boundary that the body has not", make: of("Content-Type: multipart/mixed; boundary=a\r\n", parted("b", plainPart))},
	{name: "one boundary begins another", make: of("Content-Type: multipart/mixed; boundary=b\r\n", parted("b", "Content-Type: multipart/mixed; boundary=bb\r\n\r\n"+parted("bb", plainPart, plainPart), htmlPart))},
	{name: "the same boundary inside", make: of("Content-Type: multipart/mixed; boundary=b\r\n", parted("b", "Content-Type: multipart/mixed; boundary=b\r\n\r\n"+parted("b", plainPart)))},
	{name: "blanks behind the boundary", make: of("Content-Type: multipart/mixed; boundary=b\r\n", "--b \t \r\n"+plainPart+"\r\n--b  \r\n"+htmlPart+"\r\n--b-- \r\n")},
	{name: "no closing boundary", make: of("Content-Type: multipart/mixed; boundary=b\r\n", "--b\r\n"+plainPart+"\r\n--b\r\n"+htmlPart)},
	{name: "preamble and epilogue", make: of("Content-Type: multipart/mixed; boundary=b\r\n", "This is a message in MIME format.\r\n\r\n"+parted("b", plainPart)+"epilogue, "+secret+"\r\n--b\r\nlate part\r\n")},
	{name: "alternative, related, mixed", make: of("Content-Type: multipart/mixed; boundary=m\r\n", parted("m",
		"Content-Type: multipart/alternative; boundary=a\r\n\r\n"+parted("a", plainPart, "Content-Type: multipart/related; boundary=r; type=\"text/html\"\r\n\r\n"+parted("r", htmlPart, imagePart)),
		"Content-Type: application/pdf; name=x.pdf\r\nContent-Disposition: attachment\r\nContent-Transfer-Encoding: base64\r\n\r\nJVBERi0="))},
	{name: "multipart/digest", make: of("Content-Type: multipart/digest; boundary=b\r\n", parted("b", "\r\nFrom: a@house.test\r\n\r\none", "\r\nFrom: b@house.test\r\n\r\ntwo"))},
	{name: "multipart that is base64", make: of("Content-Type: multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: base64\r\n", base64.StdEncoding.EncodeToString([]byte(parted("b", plainPart)))+"\r\n")},
	{name: "multipart that is quoted-printable", make: of("Content-Type: multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: quoted-printable\r\n", parted("b", plainPart+"=\r\n=20"))},
	{name: "message/rfc822 that is base64", make: of("Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n", encoded(200))},
	{name: "message/partial", make: of("Content-Type: message/partial; id=\"1@house.test\"; number=2; total=3\r\n", "the middle of something\r\n")},
	{name: "message/external-body", make: of("Content-Type: message/external-body; access-type=anon-ftp;\r\n site=ftp.house.test; name=x\r\n", "Content-Type: text/plain\r\nContent-ID: <e@house.test>\r\n\r\nTHIS IS NOT REALLY THE BODY!\r\n")},
	{name: "delivery report", make: of("Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n", parted("b", plainPart,
		"Content-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mail.house.test\r\n\r\nFinal-Recipient: rfc822; alice@good.test\r\nAction: failed\r\nStatus: 5.1.1\r\n",
		"Content-Type: message/rfc822\r\n\r\nSubject: original\r\n\r\n"+secret))},
	{name: "reading receipt", make: of("Content-Type: multipart/report; report-type=disposition-notification; boundary=b\r\n", parted("b", plainPart, "Content-Type: message/disposition-notification\r\n\r\nDisposition: manual-action/MDN-sent-manually; displayed\r\n"))},
	{name: "invitation", make: of("Content-Class: urn:content-classes:calendarmessage\r\nContent-Type: multipart/alternative; boundary=b\r\n", parted("b", plainPart, "Content-Type: text/calendar; charset=utf-8; method=REQUEST\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"+calendar))},
	{name: "invitation alone", make: of("Content-Type: text/calendar; method=REPLY; component=VEVENT; charset=\"utf-8\"\r\nContent-Transfer-Encoding: 8bit\r\n", calendar)},
	{name: "TNEF", make: func(m *maker) string {
		return mail(entity{"Content-Type: multipart/mixed; boundary=b\r\n", parted("b", plainPart,
			"Content-Type: application/ms-tnef; name=winmail.dat\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: attachment; filename=winmail.dat\r\n\r\n"+base64.StdEncoding.EncodeToString(tnef()))}, m.to)
	}},
	{name: "TNEF alone, raw", bdat: true, make: func(m *maker) string {
		return mail(entity{"Content-Type: application/ms-tnef\r\nContent-Transfer-Encoding: binary\r\n", string(tnef())}, m.to)
	}},
	{name: "form data", make: of("Content-Type: multipart/form-data; boundary=----b\r\n", parted("----b", "Content-Disposition: form-data; name=\"f\"; filename=\"\\\"x\\\".txt\"\r\n\r\n"+secret))},
	{name: "type that nobody knows", make: of("Content-Type: x-own/x-thing; x=y\r\nContent-Transfer-Encoding: x-own\r\n", hello)},
}

// nested are multiparts in each other, and a text in the innermost.
func nested(depth int) (fields, body string) {
	var open, end strings.Builder
	for i := 1; i < depth; i++ {
		fmt.Fprintf(&open, "--b%d\r\nContent-Type: multipart/mixed; boundary=b%d\r\n\r\n", i-1, i)
	}
	fmt.Fprintf(&open, "--b%d\r\n%s", depth-1, plainPart)
	for i := depth - 1; i >= 0; i-- {
		fmt.Fprintf(&end, "\r\n--b%d--\r\n", i)
	}
	return "Content-Type: multipart/mixed; boundary=b0\r\n", open.String() + end.String()
}

const calendar = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//house.test//EN\r\nMETHOD:REQUEST\r\nBEGIN:VEVENT\r\nUID:1@house.test\r\nDTSTAMP:20240101T000000Z\r\n" +
	"DTSTART:20240102T090000Z\r\nORGANIZER:mailto:bob@house.test\r\nATTENDEE;RSVP=TRUE:mailto:alice@good.test\r\nSUMMARY:Gr\u00fc\u00dfe\\, und eine lange Zeile\\, die mitten in einem Zeichen umbricht\xc3\r\n \xbc\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"

// tnef makes a small object by MS-OXTNEF, Section 2.1.3: signature, key, and
// attributes with their checksums.
func tnef() []byte {
	le := binary.LittleEndian
	object := le.AppendUint16(le.AppendUint32(nil, 0x223e9f78), 1)
	attribute := func(id uint32, data []byte) {
		object = append(object, 1) // of the message
		object = le.AppendUint32(le.AppendUint32(object, id), uint32(len(data)))
		var sum uint16
		for _, c := range data {
			sum += uint16(c)
		}
		object = le.AppendUint16(append(object, data...), sum)
	}
	attribute(0x00089006, []byte{0, 0, 1, 0})                             // TnefVersion
	attribute(0x00069007, []byte{0xe4, 4, 0, 0, 0, 0, 0, 0})              // OemCodepage: 1252
	attribute(0x00078008, []byte("IPM.Microsoft Mail.Note\x00"))          // MessageClass
	attribute(0x00018004, []byte("a subject\x00"))                        // Subject
	attribute(0x0002800c, []byte("a body\r\nwith a bare\rand a\nin\x00")) // Body
	return object
}
