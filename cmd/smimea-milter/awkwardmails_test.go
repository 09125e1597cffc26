package main_test

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
)

// awkwardMails is the corpus: each mail made here, and the same in each run but
// for keys, signatures and ciphertext.
func awkwardMails() []awkwardMail {
	return slices.Concat(oddHeaders, oddBodies, oddCharsets, oddStructures, signedAndEncrypted)
}

// of makes a mail of Content-* fields and a body.
func of(fields, body string) func(*maker) string {
	return func(m *maker) string { return mail(entity{fields, body}, m.to) }
}

// headed makes a mail whose fields are all its own.
func headed(fields string) func(*maker) string {
	return func(m *maker) string { return "From: Bob <bob@house.test>\r\nTo: " + m.to + "\r\n" + fields }
}

// octets makes a mail whose body is n random octets of an alphabet.
func octets(fields string, n int, alphabet []byte) func(*maker) string {
	return func(m *maker) string { return mail(entity{fields, m.octets(n, alphabet) + "\r\n"}, m.to) }
}

// octets returns random octets of an alphabet; nil for all 256.
func (m *maker) octets(n int, alphabet []byte) string {
	b := make([]byte, n)
	m.random.Read(b)
	if len(alphabet) > 0 {
		for i, c := range b {
			b[i] = alphabet[int(c)%len(alphabet)]
		}
	}
	return string(b)
}

// numbered repeats a text, with each number from 0 on in it.
func numbered(n int, format string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

const (
	plainText   = "Content-Type: text/plain\r\n"
	octetStream = "Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: 8bit\r\n"
	hello       = "hello\r\n" + secret + "\r\n"
)

var oddHeaders = []awkwardMail{
	{name: "no Content-Type", make: headed("Subject: s\r\nMIME-Version: 1.0\r\n\r\n" + hello)},
	{name: "no MIME at all", make: headed("Subject: s\r\n\r\n" + hello)},
	{name: "two Content-Types", make: of("Content-Type: text/plain\r\nContent-Type: text/html\r\n", hello)},
	{name: "the same Content-Type twice", make: of(plainText+plainText, hello)},
	{name: "three encodings", make: of("Content-Transfer-Encoding: 7bit\r\nContent-Transfer-Encoding: base64\r\n"+plainText+
		"Content-Transfer-Encoding: x-unknown\r\n", hello)},
	{name: "Content-* without MIME-Version", make: headed(plainText + "Content-Transfer-Encoding: 8bit\r\n\r\ngr\u00fc\u00dfe\r\n")},
	{name: "two MIME-Versions", make: headed("MIME-Version: 1.0\r\nMIME-Version: 2.0\r\n" + plainText + "\r\n" + hello)},
	{name: "MIME-Version with a comment", make: headed("MIME-Version: 1.0 (made by\r\n hand)\r\n" + plainText + "\r\n" + hello)},
	{name: "names in odd case", make: headed("mime-VERSION: 1.0\r\ncOnTeNt-TyPe: TEXT/Plain\r\nCONTENT-TRANSFER-ENCODING: 7BIT\r\n\r\n" + hello)},
	{name: "blank before the colon", make: headed("MIME-Version : 1.0\r\nContent-Type : text/plain\r\nContent-Foo\t \t: x\r\n\r\n" + hello)},
	{name: "nothing after the colon", make: of("Content-Type:text/plain\r\nContent-Disposition:inline\r\n", hello)},
	{name: "many blanks after the colon", make: of("Content-Type:   \t  text/plain;   charset=utf-8\r\nContent-Language: \t de\r\n", hello)},
	{name: "folds in odd places", make: of("Content-Type:\r\n text/plain\r\n\t;\r\n   charset\r\n =\r\n utf-8\r\n", hello)},
	{name: "fold of blanks alone", make: of("Content-Type: text/plain;\r\n \t \r\n charset=utf-8\r\nContent-Foo: a\r\n \r\n", hello)},
	{name: "blanks at the ends of fields", make: of("Content-Type: text/plain; \t \r\n charset=utf-8 \t \r\nContent-Foo: x    \r\n", hello)},
	{name: "fields without a value", make: of("Content-Type:\r\nContent-Description: \r\nContent-Foo:  \t\r\n", hello)},
	{name: "all the Content-* fields there are", make: of(plainText+"Content-ID: <1@house.test>\r\nContent-Description: a thing\r\nContent-MD5: Q2hlY2sgSW50ZWdyaXR5IQ==\r\n"+
		"Content-Location: http://house.test/x\r\nContent-Base: http://house.test/\r\nContent-Language: de, en\r\nContent-Features: \"(& color=grey)\"\r\n"+
		"Content-Duration: 3\r\nContent-Alternative: x\r\nContent-Return: allowed\r\nContent-Identifier: 7\r\nContent-Translation-Type: human\r\n"+
		"Content-Class: urn:content-classes:message\r\nContent-X-Own: 1\r\nContent-: nameless\r\n", hello)},
	{name: "Content-Length", make: of("Content-Length: 12\r\n"+plainText, hello)},
	{name: "names that nearly begin so", make: headed("Contents: a\r\nContent: b\r\nX-Content-Type: text/html\r\nContent_Type: c\r\nMIME-Version: 1.0\r\n" + plainText + "\r\n" + hello)},
	{name: "Content-* among the others", make: headed("Content-Type: text/plain\r\nX-1: 1\r\nContent-Foo: 1\r\nSubject: s\r\nContent-Foo: 2\r\nX-2: 2\r\n" +
		"MIME-Version: 1.0\r\nX-3: 3\r\nContent-Bar: 3\r\nX-2: again\r\n\r\n" + hello)},
	{name: "blind copies", make: headed("Bcc: carol@good.test,\r\n dave@good.test\r\nResent-Bcc: erin@good.test\r\n" + plainText + "\r\n" + hello)},
	{name: "RFC 2231 name in Shift_JIS", make: of("Content-Type: application/pdf;\r\n name*0*=shift_jis'ja'%93%FA%96%7B;\r\n name*1*=%8C%EA%83%5C;\r\n name*2=\".pdf\"\r\n"+
		"Content-Disposition: attachment;\r\n filename*=Shift_JIS''%93%FA%96%7B%8C%EA%83%5C.pdf\r\n", hello)},
	{name: "raw Shift_JIS in a field", make: of("Content-Type: text/plain; name=\"\x93\xfa\x96\x7b\x83\\.txt\"\r\nContent-Description: \x83\x5c\x83\x7c\x81\x5c\r\n", hello)},
	{name: "raw Latin-1 in a field", make: of("Content-Disposition: attachment; filename=Gr\xfc\xdfe.txt\r\n"+plainText, hello)},
	{name: "RFC 2047 in parameters", make: of("Content-Type: text/csv; name=\"=?ISO-2022-JP?B?GyRCRnxLXBsoQi5jc3Y=?=\"\r\n"+
		"Content-Disposition: attachment; filename==?Shift_JIS?Q?=93=FA=96=7B?= =?utf-8?q?.csv?=\r\n", hello)},
	{name: "raw ISO-2022-JP in a field", make: of("Content-Description: \x1b$BF|K\\\x1b(B\r\n"+plainText, hello)},
	{name: "UTF-8 in all fields", utf8: true, make: headed("Subject: Grüße 日本語\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8; name=\"日本.txt\"\r\n" +
		"Content-Disposition: attachment;\r\n filename=\"größe 📎.txt\"\r\nContent-Description: 説明\r\n\r\nこんにちは\r\n")},
	{name: "broken UTF-8 under SMTPUTF8", utf8: true, make: of("Content-Type: text/plain; name=\"\xe6\x97\xff\xc0\xaf.txt\"\r\n", hello)},
	{name: "Content-Type with 120 parameters", make: of("Content-Type: application/octet-stream"+numbered(120, ";\r\n\tparameter-%d=\""+strings.Repeat("v", 60)+"\"")+"\r\n", hello)},
	{name: "Content-Type of 60 kB in one line", make: of("Content-Type: application/octet-stream; name=\""+strings.Repeat("long ", 11_980)+"\"\r\n", hello)},
	{name: "field that is longer than Postfix keeps", make: of("Content-Description: "+strings.Repeat("long ", 18_000)+"\r\n"+plainText, hello)},
	{name: "field of 60 kB in folds", make: of("Content-Description: much"+strings.Repeat("\r\n more and more and more of it", 1_930)+"\r\n", hello)},
	{name: "references of 60 kB", make: headed("References:" + numbered(1_300, "\r\n <message-with-a-long-name-%d@house.test>") + "\r\n" + plainText + "\r\n" + hello)},
	{name: "2,000 fields", make: headed("MIME-Version: 1.0\r\n" + numbered(1_990, "X-Number-%d: a value\r\n") + plainText + "Content-Last: 1\r\n\r\n" + hello)},
	{name: "500 Content-* fields", make: of(numbered(500, "Content-%d: number\r\n\tand more\r\n"), hello)},
	{name: "500 Content-* fields of one name", make: of(strings.Repeat("Content-Type: text/plain\r\ncontent-foo: x\r\n", 250), hello)},
	{name: "header of 5 MB", refused: "552 5.3.4", // above the gateway's bound
		make: headed(numbered(100, "X-%d: "+strings.Repeat("\r\n all that can be said about it ", 1_600)+"\r\n") + plainText + "\r\n" + hello)},
	{name: "NUL bytes in fields", make: headed("Subject: a\x00b\r\nContent-Type: text/plain;\x00 charset=utf-8\r\nContent-Foo: a\x00\r\n folded\x00\r\nContent-Bar:\x00x\r\n\r\n" + hello)},
	{name: "control characters in fields", make: of("Content-Type: text/plain; name=\"\x01\x02\x07\x08\x0b\x0c\x7f\"\r\nContent-Foo: \x0b\r\n", hello)},
	{name: "bare CR in fields", make: of("Content-Type: text/plain;\r charset=utf-8\r\nContent-Foo: a\rContent-Bar: b\r\n", hello)},
	{name: "bare LF in the header", make: of("Content-Type: text/plain;\n charset=utf-8\nContent-Foo: a\n", hello)},
	{name: "CR CR LF in the header", make: of("Content-Type: text/plain;\r\r\n charset=utf-8\r\r\r\n", hello)},
	{name: "comments in Content-Type", make: of("Content-Type: text(no (really))/plain (it is; x=y) ; charset (the set) = us-ascii\r\n", hello)},
	{name: "Content-Type that is none", make: of("Content-Type: text\r\n", hello)},
	{name: "Content-Type of nonsense", make: of("Content-Type: ;;;=\"?/\\\"unclosed\r\n", hello)},
	{name: "parameter twice", make: of("Content-Type: text/plain; charset=utf-8; charset=utf-16; CHARSET=x\r\n", hello)},
	{name: "no line between header and body", make: headed(plainText + "hello, without a line before\r\nContent-Type: in the body\r\n\r\nand more\r\n")},
	{name: "body that begins like a field", make: headed(plainText + "Dear Alice: hello\r\nContent-Foo: body\r\n")},
	{name: "field name of other letters", make: headed(plainText + "Gr\xfc\xdfe: x\r\nContent-Foo: body\r\n")},
	{name: "header alone", make: headed("Subject: s\r\nContent-Type: text/plain")},
	{name: "header and an empty line", make: headed(plainText + "\r\n")},
	{name: "From line of a mailbox", make: func(m *maker) string {
		return "From bob@house.test Mon Jan  1 00:00:00 2024\r\n" + of(plainText, hello)(m)
	}},
	{name: "quoted From line", make: func(m *maker) string {
		return ">From bob@house.test Mon Jan  1 00:00:00 2024\r\n" + of(plainText, hello)(m)
	}},
	{name: "body alone", make: func(*maker) string { return "\r\n" + hello }},
	{name: "no header, nor a line before the body", make: func(*maker) string { return "Hello Alice,\r\n\r\nContent-Type: in the body\r\n" }},
	{name: "begins with a blank", make: func(*maker) string { return " Subject: is it\r\nContent-Type: text/html\r\n\r\nhello\r\n" }},
	{name: "nothing at all", make: func(*maker) string { return "" }},
	{name: "an empty line", make: func(*maker) string { return "\r\n" }},
}

var oddBodies = []awkwardMail{
	{name: "empty body", make: of(plainText, "")},
	{name: "one octet", make: of(plainText, "x")},
	{name: "no final line end", make: of(plainText, secret)},
	{name: "no final line end, by BDAT", bdat: true, make: of(plainText, secret)},
	{name: "empty lines alone", make: of(plainText, strings.Repeat("\r\n", 1000))},
	{name: "one dot", make: of(plainText, ".\r\n")},
	{name: "one dot, by BDAT", bdat: true, make: of(plainText, ".\r\n")},
	{name: "dots", make: of(plainText, ".\r\n..\r\n...\r\n. x\r\n.x\r\n x.\r\n.\r\n\r\n.\r\n")},
	{name: "an end, and another mail", make: of(plainText, "hello\r\n.\r\nMAIL FROM:<eve@house.test>\r\nRCPT TO:<rsa@good.test>\r\nDATA\r\nX: y\r\n\r\nsmuggled\r\n.\r\n")},
	{name: "ends in half a line end", make: of(plainText, "hello\n.\nMAIL FROM:<eve@house.test>\n\r.\r\nDATA\n.\r\n")},
	{name: "From lines", make: of(plainText, "From here on\r\n>From there\r\n>>From them\r\nFrom: me\r\n")},
	{name: "blanks at the ends of lines", make: of(plainText, "two  \r\ntab\t\r\n \r\n\t\r\n-- \r\nsignature \r\n")},
	{name: "NUL bytes", make: of(octetStream, "a\x00b\r\n\x00\r\n\x00\x00\x00\x00end\x00\r\n")},
	{name: "NUL bytes alone", bdat: true, make: of(octetStream, strings.Repeat("\x00", 100_000))},
	{name: "bare CR", make: of(octetStream, "a\rb\r\n\rc\r\nd\r\r\n\r\r\r\r\ne\r")},
	{name: "bare LF", make: of(octetStream, "a\nb\n\nc\r\n\nd\n\r\n")},
	{name: "LF CR", make: of(octetStream, "a\n\rb\n\r\n\r\n\rc\r")},
	{name: "CRs alone, by BDAT", bdat: true, make: of(octetStream, strings.Repeat("\r", 5000))},
	{name: "line ends of all kinds at random", bdat: true, make: octets(octetStream, 50_000, []byte("\r\n\x00.a"))},
	{name: "all octets at random", make: octets(octetStream, 300_000, nil)},
	{name: "all octets at random, by BDAT", bdat: true, make: octets(octetStream, 300_000, nil)},
	{name: "octets without line ends", make: octets(octetStream, 1<<20, allBut('\r', '\n'))},
	{name: "control characters", make: of(plainText, "\x01\x02\x03\x04\x05\x06\x07\x08\x0b\x0c\x0e\x0f\x10\x1a\x1b\x1c\x7f\r\n\x1a\r\n\x04\r\n")},
	{name: "line of 100,000 characters", make: of(plainText, strings.Repeat("0123456789", 10_000)+"\r\nshort\r\n")},
	{name: "lines around the limits", make: linesOf(76, 77, 78, 79, 997, 998, 999, 1000, 1001, 2046, 2047, 2048, 2049, 4096, 65534, 65535, 65536)},
	{name: "line ends across the milter's pieces", make: of(plainText, strings.Repeat(strings.Repeat("x", 65534)+"\r\n"+"y\r\n", 5))},
	{name: "16 MB in a single line", make: octets(octetStream, 16<<20, []byte("abcdefghijklmnopqrstuvwxyz 012345"))},
	{name: "a million empty lines", make: of(plainText, strings.Repeat("\r\n", 1_000_000))},
	{name: "looks like PEM", make: of(plainText, "-----BEGIN PKCS7-----\r\n"+encoded(300)+"-----END PKCS7-----\r\n")},
	{name: "looks like base64 of an object", make: of("Content-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n", "MIIBAwYJKoZIhvcNAQcDoIH1MIHyAgEA\r\n"+encoded(3000))},
	{name: "looks like a header", make: of(plainText, "Content-Type: text/html\r\nMIME-Version: 1.0\r\n\r\n<b>"+secret+"</b>\r\n")},
	{name: "quoted-printable", make: of("Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n",
		"gr=C3=BC=C3=9Fe, soft=\r\n break=20=\r\n\r\n=\r\n=3D trailing =\t\r\nbroken =G1 =\r\n")},
	{name: "base64 in lines of odd length", make: func(m *maker) string {
		return mail(entity{"Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n", oddLines(m, base64.StdEncoding.EncodeToString([]byte(m.octets(9_000, nil))))}, m.to)
	}},
	{name: "base64 in one line", make: of("Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n", strings.ReplaceAll(encoded(100_000), "\r\n", "")+"\r\n")},
	{name: "base64 that is none", make: of("Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n", "AAA\r\n=A=\r\n  AA==AA==\r\n!!!\r\n")},
	{name: "uuencode", make: uuencoded},
	{name: "BinHex", make: of("Content-Type: application/mac-binhex40\r\n", "(This file must be converted with BinHex 4.0)\r\n\r\n:$f*TEQKPH#jdC@`J8h3!N!-\"!*!%!3#3!aBZ!!!:\r\n")},
	{name: "yEnc", make: yEncoded},
	{name: "format=flowed", make: of("Content-Type: text/plain; format=flowed; delsp=yes\r\n", "flowing \r\ntext \r\n  stuffed\r\n> quoted \r\n>> more \r\n-- \r\nme\r\n From\r\n")},
}

// allBut is the octets but for a few.
func allBut(few ...byte) (all []byte) {
	for c := range 256 {
		if !slices.Contains(few, byte(c)) {
			all = append(all, byte(c))
		}
	}
	return all
}

// linesOf makes a mail of lines of these lengths.
func linesOf(lengths ...int) func(*maker) string {
	var body strings.Builder
	for _, n := range lengths {
		body.WriteString(strings.Repeat("x", n) + "\r\n" + strings.Repeat(".", n) + "\r\n")
	}
	return of(plainText, body.String())
}

// oddLines breaks a text anywhere.
func oddLines(m *maker, text string) string {
	var b strings.Builder
	for text != "" {
		random := m.random.Uint64()
		n := min(len(text), 1+int(random%150))
		b.WriteString(text[:n] + strings.Repeat(" ", int(random>>32%2)) + "\r\n")
		text = text[n:]
	}
	return b.String()
}

// uuencoded goes by POSIX: lines of 45 octets, with their length in front.
func uuencoded(m *maker) string {
	var b strings.Builder
	b.WriteString("begin 644 file.bin\r\n")
	for data := m.octets(4_000, nil); data != ""; {
		n := min(45, len(data))
		line := append([]byte(data[:n]), 0, 0)
		b.WriteByte(byte(' ' + n))
		for i := 0; i < n; i += 3 {
			v := uint32(line[i])<<16 | uint32(line[i+1])<<8 | uint32(line[i+2])
			for shift := 18; shift >= 0; shift -= 6 {
				b.WriteByte(byte(' ' + v>>shift&63))
			}
		}
		b.WriteString("\r\n")
		data = data[n:]
	}
	return mail(entity{"Content-Type: text/plain\r\nContent-Transfer-Encoding: x-uuencode\r\n", b.String() + "`\r\nend\r\n"}, m.to)
}

// yEncoded is octets plus 42, with four of them escaped, in lines of 128.
func yEncoded(m *maker) string {
	var b strings.Builder
	b.WriteString("=ybegin line=128 size=4000 name=file.bin\r\n")
	for i, c := range []byte(m.octets(4_000, nil)) {
		switch c += 42; c {
		case 0, '\n', '\r', '=':
			b.WriteString("=" + string([]byte{c + 64}))
		default:
			b.WriteByte(c)
		}
		if i%128 == 127 {
			b.WriteString("\r\n")
		}
	}
	return mail(entity{"Content-Type: text/plain\r\nContent-Transfer-Encoding: 8bit\r\n", b.String() + "\r\n=yend size=4000\r\n"}, m.to)
}
