package cms

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"go.mozilla.org/pkcs7"
)

// allKinds are those that OpenSSL has opened for long.
var allKinds = []string{"rsa2048", "rsa4096", "p256", "p384", "p521"}

// Each kind of key with each cipher, at lengths where padding and buffers end.
func TestEncrypt(t *testing.T) {
	for _, who := range everybody() {
		p := the(t, who)
		for _, c := range Ciphers {
			for _, size := range []int{1, 15, 16, 17, bufferSize - 1, bufferSize, 3*bufferSize + 5} {
				content := randomOctets(size)
				checkOpens(t, encryptAs(t, c, content, p), content, p)
			}
		}
	}
	checkOpens(t, encryptAs(t, AES128CBC, nil, the(t, "p256")), nil, the(t, "p256"))
}

func TestEncryptRefuses(t *testing.T) {
	to := recipientsOf(the(t, "p256"))
	for name, c := range map[string]struct {
		content string
		size    int64
		to      []Recipient
		cipher  Cipher
	}{
		"shorter than said":      {"abc", 4, to, AES256CBC},
		"longer than said":       {"abc", 2, to, AES256CBC},
		"shorter than said, GCM": {"abc", 4, to, AES256GCM},
		"longer than said, GCM":  {"abc", 2, to, AES256GCM},
		"nothing, GCM":           {"", 0, to, AES256GCM},
		"a negative length":      {"", -1, to, AES256GCM},
		"endless":                {"", maxObject + 1, to, AES256CBC},
		"no such cipher":         {"abc", 3, to, Cipher(len(Ciphers))},
		"nobody":                 {"abc", 3, nil, AES256GCM},
	} {
		var out bytes.Buffer
		err := Encrypt(&out, strings.NewReader(c.content), c.size, c.to, c.cipher)
		if err == nil || isEncrypted(out.Bytes()) {
			t.Errorf("%s: %v, %d octets", name, err, out.Len())
		}
	}
	if _, err := NewWriter(io.Discard, to, AES128GCM); err == nil {
		t.Error("GCM is written in pieces")
	}
	if _, err := Seal(make([]byte, 10), to, AES128GCM); err == nil {
		t.Error("sealed without room for the tag")
	}
	if _, err := Seal(make([]byte, 10, 100), to, AES128CBC); err == nil {
		t.Error("sealed without authentication")
	}
}

func TestParseWords(t *testing.T) {
	for _, c := range Ciphers {
		if got, ok := ParseCipher(c.String()); !ok || got != c {
			t.Errorf("%s is read as %s", c, got)
		}
	}
	for _, k := range Kinds {
		if got, ok := ParseKind(k.String()); !ok || got != k {
			t.Errorf("%s is read as %s", k, got)
		}
	}
	for _, word := range []string{"", "des", "AES256-CBC", "none", "cipher 4"} {
		if _, ok := ParseCipher(word); ok {
			t.Errorf("cipher %q", word)
		}
		if _, ok := ParseKind(word); ok {
			t.Errorf("kind %q", word)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	for _, who := range allKinds {
		t.Run(who, func(t *testing.T) {
			p := the(t, who)
			for _, size := range []int{0, 1, 15, 16, 17, 4095, bufferSize - 1, bufferSize, bufferSize + 1, 1 << 20} {
				for _, piece := range []int{1 << 30, 4093, 7} {
					content := randomOctets(size)
					object := encrypt(t, content, piece, p)
					checkOpens(t, object, content, p)
				}
			}
		})
	}
}

func checkOpens(t *testing.T, object, content []byte, p person) {
	t.Helper()
	got, err := Decrypt(object, p.cert(), p.key)
	if err != nil {
		t.Fatalf("%d octets: %v", len(content), err)
	}
	if !bytes.Equal(got, content) {
		t.Fatalf("%d octets come out as other %d", len(content), len(got))
	}
	if !isEncrypted(object) {
		t.Fatalf("%d octets: the scanner does not know it", len(content))
	}
}

func TestSeveralRecipients(t *testing.T) {
	content := []byte("Content-Type: text/plain\r\n\r\nHello\r\n")
	var all []person
	for _, who := range allKinds {
		all = append(all, the(t, who))
	}
	object := encrypt(t, content, 10, all...)
	for _, p := range all {
		checkOpens(t, object, content, p)
	}
	other, err := rsaPerson("mallory", 2048)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Decrypt(object, other.cert(), other.key); !errors.Is(err, ErrNotRecipient) {
		t.Errorf("for somebody else: %v, want ErrNotRecipient", err)
	}
}

func TestRecipientsInOrder(t *testing.T) {
	env := parseObject(t, encrypt(t, nil, 1, the(t, "p521"), the(t, "p256"), the(t, "rsa4096"), the(t, "rsa2048"), the(t, "p256")))
	if len(env.Recipients) != 4 {
		t.Errorf("%d recipients, want 4: the same one twice counts once", len(env.Recipients))
	}
	for i := 1; i < len(env.Recipients); i++ {
		if bytes.Compare(env.Recipients[i-1].FullBytes, env.Recipients[i].FullBytes) >= 0 {
			t.Errorf("recipient %d is out of order", i)
		}
	}
	if env.Recipients[0].FullBytes[0] != 0x30 {
		t.Error("an RSA recipient does not come first")
	}
}

// Nothing secret, and nothing that must be new, is in two objects, nor twice in
// one.
func TestFreshKeys(t *testing.T) {
	seen := make(map[string]string)
	fresh := func(what string, octets []byte) {
		t.Helper()
		if before, ok := seen[string(octets)]; ok {
			t.Errorf("%s is %s", what, before)
		}
		if len(bytes.Trim(octets, "\x00")) < len(octets)/2 {
			t.Errorf("%s is nearly all zeros", what)
		}
		seen[string(octets)] = what
	}
	for _, c := range Ciphers {
		for n := range 3 {
			for _, who := range everybody() {
				p := the(t, who)
				what := fmt.Sprintf("%s, %s, %d: ", who, c, n)
				flat, ok := flatten(encryptAs(t, c, entity, p))
				if !ok {
					t.Fatal("not flat")
				}
				env, err := readEnvelope(flat)
				if err != nil {
					t.Fatal(err)
				}
				own, err := newIdentity(p.cert(), p.key)
				if err != nil {
					t.Fatal(err)
				}
				cek, err := own.contentKey(env.recipients, c.keySize())
				if err != nil {
					t.Fatal(err)
				}
				fresh(what+"the content's key", cek)
				fresh(what+"initialization vector", env.algorithm.parameters)
				for k, err := range sealedKeys(env.recipients) {
					if err != nil {
						t.Fatal(err)
					}
					fresh(what+"the encrypted key", k.encrypted)
					if k.agreed.originator != nil {
						fresh(what+"the sender's point", k.agreed.originator)
					}
					if k.kem.ciphertext != nil {
						fresh(what+"the encapsulated key", k.kem.ciphertext)
					}
				}
			}
		}
	}
	// Two recipients of one object.
	second, err := ecPerson("frances", elliptic.P256())
	if err != nil {
		t.Fatal(err)
	}
	env := parseObject(t, encryptAs(t, AES256CBC, entity, the(t, "p256"), second))
	for _, info := range env.Recipients {
		fresh("a point of two", parseKeyAgreement(t, info.FullBytes, oidECPublicKey).Originator.Point.Bytes)
	}
}

// Two certificates of one issuer and serial number cannot be told apart by a
// reader.
func TestClash(t *testing.T) {
	ca, err := authority()
	if err != nil {
		t.Fatal(err)
	}
	alice := the(t, "p256")
	key, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := exchangeKey(alice.cert().Raw, infoOf(key), ca)
	if err != nil {
		t.Fatal(err)
	}
	eve, err := NewRecipient(der)
	if err != nil {
		t.Fatal(err)
	}
	if !eve.Clashes(alice.recipient) || eve.Clashes(eve) || eve.Clashes(the(t, "p384").recipient) {
		t.Error("Clashes says otherwise")
	}
	for _, c := range Ciphers {
		var out bytes.Buffer
		if err := Encrypt(&out, bytes.NewReader(entity), int64(len(entity)), []Recipient{alice.recipient, eve}, c); err == nil || out.Len() > 0 {
			t.Errorf("%s: %v, %d octets", c, err, out.Len())
		}
	}
}

func TestNewWriterRefuses(t *testing.T) {
	var crowd []Recipient
	for i := range maxRecipients + 1 {
		p, err := ecPerson(fmt.Sprint("one of many ", i), elliptic.P256())
		if err != nil {
			t.Fatal(err)
		}
		crowd = append(crowd, p.recipient)
	}
	for name, to := range map[string][]Recipient{
		"nobody":              nil,
		"the zero recipient":  {{}},
		"one of them is zero": {the(t, "p256").recipient, {}},
		"too many":            crowd,
	} {
		if _, err := NewWriter(io.Discard, to, AES256CBC); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := NewWriter(io.Discard, crowd[1:], AES256CBC); err != nil {
		t.Errorf("as many as may be: %v", err)
	}
}

func TestClosed(t *testing.T) {
	w, err := NewWriter(io.Discard, []Recipient{the(t, "p256").recipient}, AES256CBC)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Close(); err == nil {
		t.Error("closed twice without an error")
	}
	if _, err := w.Write([]byte("x")); err == nil {
		t.Error("written after Close without an error")
	}
}

// A fullSpool takes some octets and no more.
type fullSpool struct {
	room int
	err  error
}

func (s *fullSpool) Write(p []byte) (int, error) {
	n := min(s.room, len(p))
	s.room -= n
	if n < len(p) {
		return n, s.err
	}
	return n, nil
}

func TestSpoolFails(t *testing.T) {
	full := errors.New("disk full")
	for name, spool := range map[string]*fullSpool{
		"at once":          {0, full},
		"later":            {bufferSize + 5, full},
		"without a reason": {bufferSize + 5, nil},
	} {
		w, err := NewWriter(spool, []Recipient{the(t, "p256").recipient}, AES256CBC)
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.Copy(w, io.LimitReader(rand.Reader, 3*bufferSize))
		if err == nil || spool.err != nil && !errors.Is(err, spool.err) {
			t.Errorf("%s: Write: %v", name, err)
		}
		if _, err := w.Write([]byte("x")); err == nil {
			t.Errorf("%s: written afterwards", name)
		}
		if o, err := w.Close(); err == nil || o.Head != nil {
			t.Errorf("%s: closed as if all were well", name)
		}
	}
}

func TestSpoolFailsAtClose(t *testing.T) {
	w, err := NewWriter(&fullSpool{15, io.ErrShortWrite}, []Recipient{the(t, "p256").recipient}, AES256CBC)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(w, strings.NewReader("short")); err != nil {
		t.Fatal(err)
	}
	if o, err := w.Close(); err == nil || o.Head != nil {
		t.Error("closed as if all were well")
	}
}

// Content of another author's library: it opens what we write for RSA.
func TestMozillaOpens(t *testing.T) {
	p := the(t, "rsa2048")
	content := randomOctets(10000)
	object, err := pkcs7.Parse(encrypt(t, content, 999, p))
	if err != nil {
		t.Fatal(err)
	}
	got, err := object.Decrypt(p.cert(), p.key)
	if err != nil || !bytes.Equal(got, content) {
		t.Errorf("mozilla/pkcs7: %d octets, %v", len(got), err)
	}
}

func TestConstantMemory(t *testing.T) {
	piece := make([]byte, 65535) // as a milter's chunks
	write := func(megabytes int) float64 {
		return testing.AllocsPerRun(3, func() {
			w, err := NewWriter(io.Discard, []Recipient{the(t, "p256").recipient}, AES256CBC)
			if err != nil {
				t.Fatal(err)
			}
			for n := 0; n < megabytes<<20; n += len(piece) {
				w.Write(piece)
			}
			if _, err := w.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
	small, large := write(1), write(25)
	if large > small+2 {
		t.Errorf("25 MB take %v allocations, 1 MB takes %v", large, small)
	}
	t.Logf("%v allocations for 25 MB", large)
}

func TestWriteDoesNotAllocate(t *testing.T) {
	w, err := NewWriter(io.Discard, []Recipient{the(t, "p256").recipient}, AES256CBC)
	if err != nil {
		t.Fatal(err)
	}
	piece := make([]byte, 65535)
	if n := testing.AllocsPerRun(10, func() { w.Write(piece) }); n > 0 {
		t.Errorf("a Write takes %v allocations", n)
	}
	if piece[0] != 0 || piece[65534] != 0 {
		t.Error("Write changes what it is given")
	}
}

// BenchmarkWriter encrypts 25 MB, beside the cipher alone.
func BenchmarkWriter(b *testing.B) {
	const size = 25 << 20
	piece := make([]byte, 65536)
	b.Run("cms", func(b *testing.B) {
		to := []Recipient{the(b, "rsa2048").recipient}
		b.SetBytes(size)
		b.ReportAllocs()
		for b.Loop() {
			w, err := NewWriter(io.Discard, to, AES256CBC)
			if err != nil {
				b.Fatal(err)
			}
			for range size / len(piece) {
				w.Write(piece)
			}
			w.Close()
		}
	})
	b.Run("cipher", func(b *testing.B) {
		block, err := aes.NewCipher(make([]byte, AES256CBC.keySize()))
		if err != nil {
			b.Fatal(err)
		}
		mode := cipher.NewCBCEncrypter(block, make([]byte, aes.BlockSize))
		b.SetBytes(size)
		b.ReportAllocs()
		for b.Loop() {
			for range size / len(piece) {
				mode.CryptBlocks(piece, piece)
			}
		}
	})
}
