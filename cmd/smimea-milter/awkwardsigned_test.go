package main_test

import (
	"encoding/base64"
	"os"
	"strings"
	"testing"

	"smimea.example/tools/judges"
)

// signedAndEncrypted are mails that somebody has signed, which the recipient
// must still be able to verify; that are encrypted already, and not touched;
// and that only look so, and are encrypted.
var signedAndEncrypted = []awkwardMail{
	{name: "signed by S/MIME", make: signedSMIME("-crlfeol"), read: verifySMIME},
	{name: "signed by S/MIME, opaque", make: signedSMIME("-nodetach"), read: verifySMIME},
	{name: "signed by S/MIME, opaque and in BER", make: signedSMIME("-nodetach", "-stream"), read: verifySMIME},
	{name: "signed by PGP", make: signedPGP, read: verifyPGP},
	{name: "signed inline by PGP", make: of(plainText, "-----BEGIN PGP SIGNED MESSAGE-----\r\nHash: SHA512\r\n\r\n- -- \r\n"+hello+"-----BEGIN PGP SIGNATURE-----\r\n\r\niQ==\r\n=abcd\r\n-----END PGP SIGNATURE-----\r\n")},
	{name: "certificates alone", make: of("Content-Type: application/pkcs7-mime; smime-type=certs-only; name=smime.p7c\r\nContent-Transfer-Encoding: base64\r\n", encoded(1000))},

	{name: "encrypted", untouched: true, make: encryptedTwice("-aes256")},
	{name: "encrypted in BER", untouched: true, make: encryptedTwice("-aes256", "-stream")},
	{name: "encrypted with AES-GCM", untouched: true, make: encryptedTwice("-aes-256-gcm")},
	{name: "encrypted, with an old type", untouched: true, make: changed(encryptedTwice("-aes256"), "application/pkcs7-mime", "application/x-pkcs7-mime")},
	{name: "encrypted, as a file", untouched: true, make: changed(encryptedTwice("-aes256"), "application/pkcs7-mime; smime-type=enveloped-data", "application/octet-stream")},
	{name: "encrypted by PGP", untouched: true, make: encryptedPGP},

	{name: "encrypted, and a word behind it", make: appended(encryptedTwice("-aes256"), "hello\r\n")},
	{name: "encrypted, and another object behind it", make: appended(encryptedTwice("-aes256"), encoded(300))},
	{name: "encrypted, and a word in the same base64", make: longer(encryptedTwice("-aes256"))},
	{name: "encrypted, and cut short", make: cutShort(encryptedTwice("-aes256"))},
	{name: "encrypted, and said to be 7bit", make: changed(encryptedTwice("-aes256"), "Encoding: base64", "Encoding: 7bit")},
	{name: "encrypted, but a text by its type", make: changed(encryptedTwice("-aes256"), "application/pkcs7-mime", "text/plain")},
	{name: "encrypted, with two types", make: changed(encryptedTwice("-aes256"), "Content-Disposition", "Content-Type: text/plain\r\nContent-Disposition")},
	{name: "encrypted, as a part", make: func(m *maker) string {
		_, object, _ := strings.Cut(encryptedTwice("-aes256")(m), "MIME-Version: 1.0\r\n")
		return mail(entity{"Content-Type: multipart/mixed; boundary=b\r\n", parted("b", plainPart, object)}, m.to)
	}},
	{name: "enveloped-data that is signed", make: changed(signedSMIME("-nodetach"), "smime-type=signed-data", "smime-type=enveloped-data")},
	{name: "enveloped-data that is text", make: of("Content-Type: application/pkcs7-mime; smime-type=enveloped-data; name=smime.p7m\r\nContent-Transfer-Encoding: base64\r\n", hello)},
	{name: "enveloped-data that is empty", make: of("Content-Type: application/pkcs7-mime; smime-type=enveloped-data; name=smime.p7m\r\nContent-Transfer-Encoding: base64\r\n", "")},
	{name: "enveloped-data that is noise", make: of("Content-Type: application/pkcs7-mime; smime-type=enveloped-data\r\nContent-Transfer-Encoding: base64\r\n", encoded(5000))},
	{name: "enveloped-data that is raw", bdat: true, make: octets("Content-Type: application/pkcs7-mime; smime-type=enveloped-data\r\nContent-Transfer-Encoding: binary\r\n", 3000, nil)},
	{name: "PGP that is text", make: of("Content-Type: multipart/encrypted; protocol=\"application/pgp-encrypted\"; boundary=b\r\n", parted("b", "Content-Type: application/pgp-encrypted\r\n\r\nVersion: 1", plainPart))},
	{name: "PGP, and a word behind it", make: appended(encryptedPGP, "hello\r\n")},
	{name: "inline PGP", make: func(m *maker) string { return mail(entity{plainText, "hello\r\n" + m.armored()}, m.to) }},
}

// openssl makes a mail of what openssl makes of a text. Its output has lines
// that end in LF, and in CRLF.
func (m *maker) openssl(args ...string) string {
	text := m.lab.write("plain.txt", plainPart+"\r\n")
	made := string(m.lab.run("openssl", append([]string{"cms", "-binary", "-in", text}, args...)...))
	made = strings.ReplaceAll(strings.ReplaceAll(made, "\r\n", "\n"), "\n", "\r\n")
	return "From: Bob <bob@house.test>\r\nTo: " + m.to + "\r\nSubject: by openssl\r\n" + made
}

func signedSMIME(args ...string) func(*maker) string {
	return func(m *maker) string {
		bob := m.lab.keys["bob@house.test"]
		return m.openssl(append([]string{"-sign", "-signer", bob.cert, "-inkey", bob.key}, args...)...)
	}
}

// verifySMIME has the recipient verify the signature, and find the text.
func verifySMIME(t *testing.T, l *lab, entity []byte) {
	bob := l.keys["bob@house.test"]
	got := string(l.run("openssl", "cms", "-verify", "-in", l.write("inner.eml", string(entity)), "-CAfile", bob.cert, "-purpose", "any"))
	if got != plainPart+"\r\n" {
		t.Errorf("signed: %q", got)
	}
}

// encryptedTwice is a mail that its sender has encrypted.
func encryptedTwice(args ...string) func(*maker) string {
	return func(m *maker) string {
		return m.openssl(append(append([]string{"-encrypt"}, args...), m.lab.keys["rsa@good.test"].cert)...)
	}
}

// changed is another mail with a change that must be there to be made.
func changed(other func(*maker) string, from, to string) func(*maker) string {
	return func(m *maker) string {
		mail := other(m)
		if !strings.Contains(mail, from) {
			m.lab.t.Fatalf("no %q in %.500q", from, mail)
		}
		return strings.Replace(mail, from, to, 1)
	}
}

func appended(other func(*maker) string, more string) func(*maker) string {
	return func(m *maker) string { return strings.TrimSuffix(other(m), "\r\n") + "\r\n" + more }
}

// longer puts a word behind the object, where only those see it who know how
// long the object is.
func longer(other func(*maker) string) func(*maker) string {
	return func(m *maker) string {
		header, body, _ := strings.Cut(other(m), "\r\n\r\n")
		object, err := base64.StdEncoding.DecodeString(body)
		if err != nil {
			m.lab.t.Fatal(err)
		}
		return header + "\r\n\r\n" + inLines(append(object, secret...))
	}
}

// cutShort leaves out the last full line.
func cutShort(other func(*maker) string) func(*maker) string {
	return func(m *maker) string {
		mail := strings.TrimRight(other(m), "\r\n")
		return mail[:strings.LastIndex(mail, "\r\n")+2]
	}
}

// gpg runs GnuPG as Bob, who has a key.
func (l *lab) gpg(args ...string) string {
	program, conf := judges.Find(l.t, "gpg"), judges.Find(l.t, "gpgconf")
	home := l.path("gnupg")
	always := []string{"--homedir", home, "--batch", "--quiet", "--no-tty", "--pinentry-mode", "loopback", "--passphrase", "", "--trust-model", "always"}
	if err := os.Mkdir(home, 0o700); err == nil {
		l.t.Cleanup(func() { l.run(conf, "--homedir", home, "--kill", "all") })
		l.run(program, append(always, "--quick-generate-key", "bob@house.test", "future-default", "default", "never")...)
	}
	return string(l.run(program, append(always, args...)...))
}

// armored is an encrypted message, with the line ends of a mail.
func (m *maker) armored() string {
	armor := m.lab.gpg("--armor", "--encrypt", "--recipient", "bob@house.test", "--output", "-", m.lab.write("plain.txt", plainPart))
	return strings.ReplaceAll(armor, "\n", "\r\n")
}

// encryptedPGP goes by RFC 3156, Section 4.
func encryptedPGP(m *maker) string {
	return mail(entity{"Content-Type: multipart/encrypted; protocol=\"application/pgp-encrypted\";\r\n boundary=\"pgp=b\"\r\n", parted("pgp=b",
		"Content-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n", "Content-Type: application/octet-stream\r\n\r\n"+m.armored())}, m.to)
}

// The part that is signed, to its last octet.
const signedPart = "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nhello=20\r\n=46rom here\r\n-- =20\r\nBob"

// signedPGP goes by RFC 3156, Section 5.
func signedPGP(m *maker) string {
	signature := m.lab.gpg("--armor", "--detach-sign", "--output", "-", m.lab.write("signed.txt", signedPart))
	return mail(entity{"Content-Type: multipart/signed; micalg=pgp-sha512;\r\n protocol=\"application/pgp-signature\"; boundary=\"pgp=b\"\r\n", parted("pgp=b",
		signedPart, "Content-Type: application/pgp-signature; name=signature.asc\r\n\r\n"+strings.ReplaceAll(signature, "\n", "\r\n"))}, m.to)
}

func verifyPGP(t *testing.T, l *lab, entity []byte) {
	parts := strings.Split(string(entity), "--pgp=b")
	if len(parts) != 4 {
		t.Fatalf("%d pieces of %q", len(parts), entity)
	}
	part := strings.TrimSuffix(strings.TrimPrefix(parts[1], "\r\n"), "\r\n")
	_, signature, _ := strings.Cut(parts[2], "\r\n\r\n")
	l.gpg("--verify", l.write("signature.asc", signature), l.write("part.txt", part))
}
