package cms

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/rand"
	"errors"
	"slices"
	"strings"
	"testing"
)

// entity is what a gateway encrypts.
var entity = []byte("Content-Type: text/plain; charset=iso-2022-jp\r\n\r\n\x1b$B$3$s$K$A$O\x1b(B\r\n" +
	strings.Repeat("All human beings are born free and equal.\r\n", 600))

func TestOpenSSLOpensForEach(t *testing.T) {
	t.Parallel()
	w := newWorkshop(t, "openssl")
	var all []person
	for _, who := range allKinds {
		all = append(all, the(t, who))
	}
	object := w.write("all.p7m", encrypt(t, entity, 1000, all...))
	for _, who := range allKinds {
		cert, key := w.admit(who)
		got := w.run("openssl", "cms", "-decrypt", "-binary", "-inform", "DER", "-in", object, "-recip", cert, "-inkey", key)
		if !bytes.Equal(got, entity) {
			t.Errorf("%s: openssl reads %d octets, want %d", who, len(got), len(entity))
		}
	}
}

func TestOpenSSLPrints(t *testing.T) {
	w := newWorkshop(t, "openssl")
	object := w.write("object.p7m", encrypt(t, nil, 1, the(t, "rsa2048"), the(t, "p256")))
	text := string(w.run("openssl", "cms", "-cmsout", "-print", "-noout", "-inform", "DER", "-in", object))
	for _, want := range []string{
		"pkcs7-envelopedData", "d.ktri", "d.kari", "rsaEncryption", "parameter: NULL",
		"dhSinglePass-stdDH-sha256kdf-scheme", "algorithm: id-ecPublicKey", "parameter: <ABSENT>",
		"ukm: <ABSENT>", "aes-256-cbc", "unprotectedAttrs:\n      <ABSENT>",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("openssl does not print %q in\n%s", want, text)
		}
	}
}

// A shared secret that begins with zeros is as long as any other. One in 256
// does, and libraries have lost mail over it.
func TestOpenSSLOpensLeadingZeros(t *testing.T) {
	t.Parallel()
	w := newWorkshop(t, "openssl")
	for _, who := range []string{"p256", "p384", "p521"} {
		cert, key := w.admit(who)
		object := w.write(who+".p7m", encryptWith(t, ephemeralWithZeros(t, the(t, who)), the(t, who)))
		got := w.run("openssl", "cms", "-decrypt", "-binary", "-inform", "DER", "-in", object, "-recip", cert, "-inkey", key)
		if !bytes.Equal(got, entity) {
			t.Errorf("%s: openssl reads %d octets, want %d", who, len(got), len(entity))
		}
	}
}

// ephemeralWithZeros finds a key whose shared secret with p begins with a zero.
func ephemeralWithZeros(t *testing.T, p person) *ecdh.PrivateKey {
	t.Helper()
	own, err := p.key.(*ecdsa.PrivateKey).ECDH()
	if err != nil {
		t.Fatal(err)
	}
	for range 10000 {
		ephemeral, err := own.Curve().GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if secret, err := own.ECDH(ephemeral.PublicKey()); err == nil && secret[0] == 0 {
			return ephemeral
		}
	}
	t.Fatal("no shared secret begins with a zero")
	return nil
}

// encryptWith makes an object with a certain ephemeral key.
func encryptWith(t *testing.T, ephemeral *ecdh.PrivateKey, p person) []byte {
	t.Helper()
	var spool bytes.Buffer
	w, err := NewWriter(&spool, []Recipient{p.recipient}, AES256CBC)
	if err != nil {
		t.Fatal(err)
	}
	cek := randomOctets(AES256CBC.keySize())
	info, err := p.recipient.key.(agreementKey).agree(ephemeral, issuerAndSerial(p.cert()), cek)
	if err != nil {
		t.Fatal(err)
	}
	w.recipients = setOf([][]byte{info})
	block, err := aes.NewCipher(cek)
	if err != nil {
		t.Fatal(err)
	}
	iv := w.algorithm[len(w.algorithm)-aes.BlockSize:]
	w.encrypter = cipher.NewCBCEncrypter(block, iv)
	w.Write(entity)
	o, err := w.Close()
	if err != nil {
		t.Fatal(err)
	}
	return append(o.Head, spool.Bytes()...)
}

// NSS writes BER. It wants to trust the certificate.
func TestOpensNSS(t *testing.T) {
	t.Parallel()
	w := newWorkshop(t, "certutil", "pk12util", "cmsutil")
	p := the(t, "rsa2048")
	if err := fillNSS(w, p); err != nil {
		t.Fatal(err)
	}
	store := "sql:" + w.dir
	w.run("certutil", "-A", "-d", store, "-n", "trusted", "-t", ",P,", "-i", w.writePEM("alice.crt", "CERTIFICATE", p.cert().Raw))
	object := w.run("cmsutil", "-E", "-d", store, "-r", "alice@example.org", "-i", w.write("plain", entity))
	checkOpens(t, object, entity, p)
	checkCut(t, object)
}

// What OpenSSL writes, in all the forms that it has.
func TestOpensOpenSSL(t *testing.T) {
	for _, who := range []string{"rsa2048", "p256", "p384", "p521"} {
		t.Run(who, func(t *testing.T) {
			t.Parallel()
			w := newWorkshop(t, "openssl")
			cert, _ := w.admit(who)
			w.write("short", entity)
			w.write("long", bytes.Repeat(entity, 10))
			other, _ := w.admit("rsa4096")
			if who == "rsa2048" {
				other, _ = w.admit("p256")
			}
			for _, form := range openSSLForms(who, cert, other) {
				content := "short"
				if slices.Contains(form, "-stream") {
					content = "long" // of several pieces
				}
				args := append([]string{"cms", "-encrypt", "-binary", "-outform", "DER", "-in", content}, form...)
				object := w.run("openssl", args...)
				checkOpens(t, object, w.read(content), the(t, who))
				checkCut(t, object)
			}
		})
	}
}

// openSSLForms are options, of which -keyopt is for the -recip before it.
func openSSLForms(who, cert, other string) [][]string {
	var forms [][]string
	add := func(how string, keyOptions ...string) {
		form := append(strings.Fields(how), "-recip", cert)
		for _, option := range keyOptions {
			form = append(form, "-keyopt", option)
		}
		forms = append(forms, form)
	}
	for _, cipher := range []string{"-aes128", "-aes192", "-aes256", "-aes-128-gcm", "-aes-192-gcm", "-aes-256-gcm"} {
		add(cipher)
		add(cipher + " -stream")
	}
	add("-aes256 -keyid")
	add("-aes-256-gcm -keyid")
	// Recipients of other kinds are there, too, and passed over.
	add("-aes256 -pwri_password secret")
	add("-aes256 -secretkey 000102030405060708090a0b0c0d0e0f -secretkeyid c0ffee -stream")
	add("-aes-128-gcm -secretkey 000102030405060708090a0b0c0d0e0f -secretkeyid c0ffee -recip " + other)
	add("-aes256 -stream -recip " + other)
	if strings.HasPrefix(who, "rsa") {
		const oaep = "rsa_padding_mode:oaep"
		add("-aes256 -stream", oaep)
		add("-aes256", oaep, "rsa_oaep_md:sha256")
		add("-aes128", oaep, "rsa_oaep_md:sha512", "rsa_mgf1_md:sha1")
		add("-aes-256-gcm", oaep, "rsa_oaep_label:0102ff")
		return forms
	}
	for _, digest := range []string{"sha1", "sha224", "sha256", "sha384", "sha512"} {
		add("-aes128 -aes128-wrap", "ecdh_kdf_md:"+digest)
	}
	add("-aes192 -aes192-wrap", "ecdh_kdf_md:sha256")
	add("-aes-256-gcm -aes256-wrap -stream", "ecdh_kdf_md:sha256")
	add("-aes256", "ecdh_cofactor_mode:1")
	add("-aes256", "ecdh_cofactor_mode:1", "ecdh_kdf_md:sha384")
	return forms
}

// checkCut checks that an object with something missing or something more is
// none.
func checkCut(t *testing.T, object []byte) {
	t.Helper()
	for _, n := range []int{1, 2, 16, len(object) / 2, len(object) - 1} {
		if isEncrypted(object[:len(object)-n]) {
			t.Errorf("an encrypted object without its last %d octets", n)
		}
	}
	for _, tail := range []string{"\x00", "\x00\x00", "\r\n", "plain text"} {
		if isEncrypted(append(bytes.Clone(object), tail...)) {
			t.Errorf("an encrypted object with %q behind it", tail)
		}
	}
}

// What OpenSSL writes that is not encrypted.
func TestOpenSSLPlain(t *testing.T) {
	t.Parallel()
	w := newWorkshop(t, "openssl")
	cert, key := w.admit("rsa2048")
	plain := w.write("plain", entity)
	for name, args := range map[string][]string{
		"signed-data":           {"-sign", "-nodetach", "-signer", cert, "-inkey", key},
		"signed-data in pieces": {"-sign", "-nodetach", "-signer", cert, "-inkey", key, "-stream"},
		"data":                  {"-data_create"},
		"digested-data":         {"-digest_create"},
		"encrypted-data":        {"-EncryptedData_encrypt", "-aes128", "-secretkey", "000102030405060708090a0b0c0d0e0f"},
	} {
		object := w.run("openssl", append([]string{"cms", "-binary", "-outform", "DER", "-in", plain}, args...)...)
		checkHopeless(t, name, object)
	}
	certsOnly := w.run("openssl", "crl2pkcs7", "-nocrl", "-certfile", cert, "-outform", "DER")
	checkHopeless(t, "certs-only", certsOnly)
}

func checkHopeless(t *testing.T, name string, object []byte) {
	t.Helper()
	var s Scanner
	s.Write(object[:min(len(object), 40)])
	if !s.Hopeless() || s.Encrypted() {
		t.Errorf("%s: not hopeless after 40 octets", name)
	}
	p := the(t, "rsa2048")
	_, err := Decrypt(object, p.cert(), p.key)
	if !errors.As(err, new(*UnsupportedError)) {
		t.Errorf("%s: Decrypt: %v, want an UnsupportedError", name, err)
	}
}
