package main

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/mlkem"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
	"software.sslmate.com/src/go-pkcs12"
)

// secret is a password that nobody has to type.
func secret(password string) func() ([]byte, error) {
	return func() ([]byte, error) { return []byte(password), nil }
}

// der makes an element of what stands in it.
func der(tag asn1.Tag, parts ...[]byte) []byte {
	var b cryptobyte.Builder
	b.AddASN1(tag, func(b *cryptobyte.Builder) { b.AddBytes(bytes.Join(parts, nil)) })
	return b.BytesOrPanic()
}

func number(n int64) []byte {
	var b cryptobyte.Builder
	b.AddASN1Int64(n)
	return b.BytesOrPanic()
}

// algorithm makes an AlgorithmIdentifier.
func algorithm(id []int, parameters ...[]byte) []byte {
	var b cryptobyte.Builder
	b.AddASN1ObjectIdentifier(id)
	return der(asn1.SEQUENCE, append([][]byte{b.BytesOrPanic()}, parameters...)...)
}

// Parts of an encrypted key.
var (
	salt   = der(asn1.OCTET_STRING, []byte("saltsalt"))
	sixty4 = der(asn1.OCTET_STRING, make([]byte, 64))
	aes256 = algorithm([]int{2, 16, 840, 1, 101, 3, 4, 1, 42}, der(asn1.OCTET_STRING, make([]byte, 16)))
	des3   = algorithm([]int{1, 2, 840, 113549, 3, 7}, der(asn1.OCTET_STRING, make([]byte, 8)))
	pbes1  = algorithm([]int{1, 2, 840, 113549, 1, 5, 3}, der(asn1.SEQUENCE, salt, number(2048)))
)

func pbkdf(rest ...[]byte) []byte {
	return algorithm(oidPBKDF2, der(asn1.SEQUENCE, append([][]byte{salt}, rest...)...))
}

func scryptOf(cost, block, parallel int64, rest ...[]byte) []byte {
	parts := append([][]byte{salt, number(cost), number(block), number(parallel)}, rest...)
	return algorithm(oidScrypt, der(asn1.SEQUENCE, parts...))
}

// locked is an encrypted key. It comes out of no password.
func locked(derivation, encryption []byte) []byte {
	return der(asn1.SEQUENCE, algorithm(oidPBES2, der(asn1.SEQUENCE, derivation, encryption)), sixty4)
}

// What a key file asks for is done within bounds, and what it says is checked
// before it is believed.
func TestEncryptedKeys(t *testing.T) {
	iv8 := algorithm([]int{2, 16, 840, 1, 101, 3, 4, 1, 42}, der(asn1.OCTET_STRING, make([]byte, 8)))
	md5 := algorithm([]int{1, 2, 840, 113549, 2, 6})
	for _, test := range []struct {
		name string
		file []byte
		want string // of the error
	}{
		{"another password", locked(pbkdf(number(1)), aes256), errPassword.Error()},
		{"with the length of the key", locked(pbkdf(number(1), number(32)), aes256), errPassword.Error()},
		{"scrypt", locked(scryptOf(16, 1, 1, number(32)), aes256), errPassword.Error()},
		{"the most work of scrypt", locked(scryptOf(1<<4, 1<<17, 1<<3+1), aes256), "too much work"},
		{"no rounds", locked(pbkdf(number(0)), aes256), "0 rounds of PBKDF2"},
		{"too many rounds", locked(pbkdf(number(maxRounds+1)), aes256), "10000001 rounds of PBKDF2"},
		{"rounds beyond 64 bits", locked(pbkdf(der(asn1.INTEGER, make([]byte, 9), []byte{1})), aes256), errNoKey.Error()},
		{"too much memory", locked(scryptOf(1<<22, 1, 1), aes256), "too much work"},
		{"scrypt at the end of 64 bits", locked(scryptOf(1<<62, 1<<62, 1<<62), aes256), "too much work"},
		{"scrypt with N that is no power of two", locked(scryptOf(15, 1, 1), aes256), "scrypt: "},
		{"scrypt with nothing to do", locked(scryptOf(0, 1, 1), aes256), "too much work"},
		{"another length of the key", locked(pbkdf(number(1), number(16)), aes256), errNoKey.Error()},
		{"an unknown hash", locked(pbkdf(number(1), md5), aes256), errOldCipher.Error()},
		{"an unknown derivation", locked(des3, aes256), errOldCipher.Error()},
		{"Triple DES", locked(pbkdf(number(1)), des3), errOldCipher.Error()},
		{"PBES1", der(asn1.SEQUENCE, pbes1, sixty4), errOldCipher.Error()},
		{"a short IV", locked(pbkdf(number(1)), iv8), errNoKey.Error()},
		{"broken blocks", der(asn1.SEQUENCE, algorithm(oidPBES2, der(asn1.SEQUENCE, pbkdf(number(1)), aes256)), salt), errNoKey.Error()},
		{"no content", der(asn1.SEQUENCE, algorithm(oidPBES2, der(asn1.SEQUENCE, pbkdf(number(1)), aes256))), errNoKey.Error()},
		{"no parameters", der(asn1.SEQUENCE, algorithm(oidPBES2), sixty4), errNoKey.Error()},
		{"more behind it", append(locked(pbkdf(number(1)), aes256), 0), errNoKey.Error()},
		{"nothing", nil, errNoKey.Error()},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, err := parseKeyFile(test.file, secret("secret")); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %s", err, test.want)
			}
		})
	}
}

// A key of any kind that is read may have a password: here one that few programs
// can encrypt.
func TestEncryptedMLKEM(t *testing.T) {
	key := newMLKEM(t)
	plain := pkcs8(t, key)
	pad := 16 - len(plain)%16
	plain = append(plain, bytes.Repeat([]byte{byte(pad)}, pad)...)
	derived, err := pbkdf2.Key(sha1.New, "sécret", []byte("saltsalt"), 3, 32)
	if err != nil {
		t.Fatal(err)
	}
	block, err := aes.NewCipher(derived)
	if err != nil {
		t.Fatal(err)
	}
	cipher.NewCBCEncrypter(block, make([]byte, 16)).CryptBlocks(plain, plain)
	file := der(asn1.SEQUENCE, algorithm(oidPBES2, der(asn1.SEQUENCE, pbkdf(number(3)), aes256)), der(asn1.OCTET_STRING, plain))
	got, err := parseKeyFile(file, secret("sécret"))
	if err != nil {
		t.Fatal(err)
	}
	if same, ok := got.key.(*mlkem.DecapsulationKey768); !ok || !bytes.Equal(same.Bytes(), key.(*mlkem.DecapsulationKey768).Bytes()) {
		t.Errorf("%T", got.key)
	}
}

// Whether a password is right is told by the padding, and by what comes out.
func TestPBES2Plaintext(t *testing.T) {
	sequence := func(octets int) []byte { return der(asn1.SEQUENCE, make([]byte, octets)) }
	for _, test := range []struct {
		name  string
		plain []byte
		good  bool
	}{
		{"four octets of padding", append(sequence(10), 4, 4, 4, 4), true},
		{"a block of it", append(sequence(14), bytes.Repeat([]byte{16}, 16)...), true},
		{"one that differs", append(sequence(10), 4, 3, 4, 4), false},
		{"none", append(sequence(13), 0), false},
		{"more than a block", append(sequence(13), bytes.Repeat([]byte{17}, 17)...), false},
		{"a sequence that is too short", append(sequence(9), 9, 4, 4, 4, 4), false},
		{"something else", append(der(asn1.OCTET_STRING, make([]byte, 10)), 4, 4, 4, 4), false},
		{"nothing", bytes.Repeat([]byte{16}, 16), false},
	} {
		block, err := aes.NewCipher(make([]byte, 32))
		if err != nil {
			t.Fatal(err)
		}
		p := pbes2{keySize: 32, iv: make([]byte, 16), encrypted: make([]byte, len(test.plain))}
		cipher.NewCBCEncrypter(block, p.iv).CryptBlocks(p.encrypted, test.plain)
		p.derive = func(_ []byte, size int) ([]byte, error) { return make([]byte, size), nil }
		if _, err := p.open(nil); (err == nil) != test.good {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

// A PKCS #12 file has counts of rounds that the library obeys, whatever they are.
func TestPKCS12TakesTooLong(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := certificate("Alice", "alice@good.test", time.Now())
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(cert)
	if err != nil {
		t.Fatal(err)
	}
	file, err := pkcs12.Modern2023.WithIterations(0x11223).Encode(key, parsed, nil, "secret")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := openPKCS12(file, secret("secret"), time.Minute); err != nil || !key.Equal(got.key) || len(got.certs) != 1 {
		t.Errorf("as it was: %T, %d certificates, %v", got.key, len(got.certs), err)
	}
	slow := bytes.ReplaceAll(file, number(0x11223), number(0x1fffff))
	start := time.Now()
	_, err = openPKCS12(slow, secret("secret"), 10*time.Millisecond)
	if err == nil || !strings.Contains(err.Error(), "more work than can be done in 10ms") {
		t.Errorf("with more rounds: %v", err)
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("it took %v", took)
	}
}

// A key that the library for PKCS #12 does not know is named, and the file is
// not called damaged.
func TestPKCS12WithOtherKey(t *testing.T) {
	key := newMLKEM(t)
	field0 := asn1.Tag(0).ContextSpecific().Constructed()
	bag := func(kind int, value []byte) []byte { // RFC 7292, Section 4.2
		return algorithm([]int{1, 2, 840, 113549, 1, 12, 10, 1, kind}, der(field0, value))
	}
	data := func(content []byte) []byte {
		return algorithm([]int{1, 2, 840, 113549, 1, 7, 1}, der(field0, der(asn1.OCTET_STRING, content)))
	}
	file := filepath.Join(t.TempDir(), "karl.p12")
	contents := der(asn1.SEQUENCE, bag(1, pkcs8(t, key)))
	if err := os.WriteFile(file, der(asn1.SEQUENCE, number(3), data(der(asn1.SEQUENCE, data(contents)))), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := readKeyFile(file, passwordSource{})
	p, ours := errors.AsType[*problem](err)
	if !ours || !strings.Contains(p.Error(), "2.16.840.1.101.3.4.4.2") || len(p.hints) != 1 || !strings.Contains(p.hints[0], "openssl pkcs12 -in "+file) {
		t.Errorf("%v, %v", err, p)
	}
}

// FuzzKeyFile asks for no password: what a key may ask for takes seconds.
func FuzzKeyFile(f *testing.F) {
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n"))
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"))
	f.Add([]byte("-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nMAA=\n-----END RSA PRIVATE KEY-----\n"))
	f.Add([]byte{0x30, 0})
	f.Add([]byte{0x30, 0x80, 2, 1, 3, 0x30, 0x80})
	f.Add(pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: locked(pbkdf(number(1)), aes256)}))
	noPassword := errors.New("no password")
	f.Fuzz(func(t *testing.T, content []byte) {
		if isPKCS12(content) {
			return // Somebody else's parser, with no bound but time.
		}
		file, err := parseKeyFile(content, func() ([]byte, error) { return nil, noPassword })
		if (err == nil) != (file.key != nil) {
			t.Errorf("%T, %v", file.key, err)
		}
	})
}

// FuzzPBES2 opens keys with a password that costs nothing.
func FuzzPBES2(f *testing.F) {
	f.Add(locked(pbkdf(number(1)), aes256))
	f.Add(locked(pbkdf(number(2048), number(32), algorithm([]int{1, 2, 840, 113549, 2, 9}, der(asn1.NULL))), aes256))
	f.Add(locked(scryptOf(16384, 8, 1), aes256))
	f.Add(der(asn1.SEQUENCE, pbes1, sixty4))
	f.Fuzz(func(t *testing.T, content []byte) {
		locked, err := readPBES2(content)
		if err != nil {
			return
		}
		if locked.derive == nil {
			t.Fatal("no way to a key")
		}
		locked.derive = func(_ []byte, size int) ([]byte, error) { return make([]byte, size), nil }
		if key, err := locked.open(nil); (err == nil) != (len(key) > 0) {
			t.Errorf("%d octets, %v", len(key), err)
		}
	})
}
