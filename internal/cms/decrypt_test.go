package cms

import (
	"bytes"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

func TestKeyTypes(t *testing.T) {
	p := the(t, "p384")
	object := encrypt(t, entity, 100, p)
	own, err := p.key.(*ecdsa.PrivateKey).ECDH()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Decrypt(object, p.cert(), own); err != nil || !bytes.Equal(got, entity) {
		t.Errorf("with an ecdh.PrivateKey: %v", err)
	}
	_, signer, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		cert *x509.Certificate
		key  crypto.PrivateKey
	}{
		"no key":                   {p.cert(), nil},
		"no certificate":           {nil, p.key},
		"Ed25519":                  {p.cert(), signer},
		"an RSA key":               {p.cert(), the(t, "rsa2048").key},
		"a key of another curve":   {p.cert(), the(t, "p256").key},
		"an RSA certificate":       {the(t, "rsa2048").cert(), p.key},
		"another person's RSA key": {the(t, "rsa2048").cert(), the(t, "rsa4096").key},
	} {
		_, err := Decrypt(object, c.cert, c.key)
		if err == nil || errors.Is(err, ErrDamaged) || errors.Is(err, ErrNotRecipient) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDamage(t *testing.T) {
	content := []byte(strings.Repeat("content ", 5))
	for _, who := range []string{"rsa2048", "p256"} {
		p := the(t, who)
		object := encrypt(t, content, 100, p)
		for n := range object {
			if _, err := Decrypt(object[:n], p.cert(), p.key); !errors.Is(err, ErrDamaged) {
				t.Errorf("%s cut after %d octets: %v", who, n, err)
			}
		}
		if _, err := Decrypt(append(object, 0), p.cert(), p.key); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s and a zero: %v", who, err)
		}
	}
}

// Whatever octet is altered, the outcome is one of the errors that we promise,
// or content; never a panic.
func TestAltered(t *testing.T) {
	p := the(t, "p256")
	for name, object := range map[string][]byte{
		"CBC": encrypt(t, []byte("content"), 100, p),
		"GCM": sealed{tag: 16, length: 16}.object(t, p),
	} {
		for i := range object {
			if i > 600 && i < len(object)-40 {
				continue // ciphertext and nothing else
			}
			for _, mask := range []byte{0x01, 0x20, 0x80, 0xff} {
				altered := bytes.Clone(object)
				altered[i] ^= mask
				got, err := Decrypt(altered, p.cert(), p.key)
				checkOutcome(t, got, err)
				if name == "GCM" && err == nil && !bytes.Equal(got, entity) {
					t.Errorf("octet %d: other content is authentic", i)
				}
			}
		}
	}
}

func checkOutcome(t *testing.T, got []byte, err error) {
	t.Helper()
	switch {
	case err == nil:
	case got != nil:
		t.Errorf("%d octets of content and an error: %v", len(got), err)
	case errors.Is(err, ErrDamaged), errors.Is(err, ErrNotRecipient), errors.As(err, new(*UnsupportedError)):
	default:
		t.Errorf("an error of no kind: %v", err)
	}
}

// The outcome does not tell whether it was the key or the content that is wrong.
func TestNoOracle(t *testing.T) {
	p := the(t, "rsa2048")
	env := parseObject(t, encrypt(t, []byte("content"), 100, p))
	var texts []string
	for i := range 20 {
		info := bytes.Clone(env.Recipients[0].FullBytes)
		info[len(info)-1-i] ^= 1
		ciphertext := bytes.Repeat([]byte{1}, 160)
		object := contentInfo(oidEnvelopedData, integer(0), element(asn1.SET, info),
			element(asn1.SEQUENCE, objectID(oidData), partAlgorithm, element(string0, ciphertext)))
		if _, err := Decrypt(object, p.cert(), p.key); err != nil {
			texts = append(texts, err.Error())
		}
	}
	for _, text := range texts {
		if text != damaged("content").Error() {
			t.Errorf("a wrong key gives %q", text)
		}
	}
	if len(texts) < 10 {
		t.Errorf("%d of 20 wrong keys give an error", len(texts))
	}
}

// What the gateway would not take for encrypted is not opened either, even where
// nothing that we need is wrong.
func TestDecryptAsksTheScanner(t *testing.T) {
	p := the(t, "rsa2048")
	env := parseObject(t, encrypt(t, []byte("content"), 100, p))
	ours := env.Recipients[0].FullBytes
	content := element(asn1.SEQUENCE, objectID(oidData), partAlgorithm, element(string0, make([]byte, 16)))
	object := contentInfo(oidEnvelopedData, integer(0), element(asn1.SET, ours, element(0xa5, partName)), content)
	if _, err := Decrypt(object, p.cert(), p.key); err == nil || err.Error() != damaged("its structure is wrong").Error() {
		t.Errorf("beside a recipient of no kind: %v", err)
	}
}

func TestUnpad(t *testing.T) {
	block := func(end ...byte) []byte { return append(make([]byte, 32-len(end)), end...) }
	for name, c := range map[string]struct {
		plain []byte
		size  int // -1: refused
	}{
		"one octet":             {block(1), 31},
		"a whole block":         {block(bytes.Repeat([]byte{16}, 16)...), 16},
		"none":                  {block(0), -1},
		"more than a block":     {block(bytes.Repeat([]byte{17}, 17)...), -1},
		"the first is wrong":    {block(5, 4, 4, 4), -1},
		"one between is wrong":  {block(4, 4, 5, 4), -1},
		"one before is another": {block(5, 3, 3, 3), 29},
	} {
		content, ok := unpad(c.plain)
		if ok != (c.size >= 0) || ok && len(content) != c.size {
			t.Errorf("%s: %d octets, %v", name, len(content), ok)
		}
	}
}

// A key of another length than the cipher's is none.
func TestKeyOfAnotherLength(t *testing.T) {
	p := the(t, "rsa2048")
	key := p.key.(*rsa.PrivateKey)
	encrypted, err := rsa.EncryptOAEP(sha1.New(), rand.Reader, &key.PublicKey, make([]byte, 32), nil)
	if err != nil {
		t.Fatal(err)
	}
	defaults := cryptobyte.String(element(asn1.SEQUENCE))
	if _, err := openOAEP(key, defaults, encrypted, 32); err != nil {
		t.Errorf("OAEP: %v", err)
	}
	if _, err := openOAEP(key, defaults, encrypted, 16); !errors.Is(err, ErrDamaged) {
		t.Errorf("OAEP, 32 octets instead of 16: %v", err)
	}
	p = the(t, "p256")
	own, err := newIdentity(p.cert(), p.key)
	if err != nil {
		t.Fatal(err)
	}
	info, err := p.recipient.recipientInfo(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := own.contentKey(info, 32); err != nil {
		t.Errorf("ECDH: %v", err)
	}
	if _, err := own.contentKey(info, 16); !errors.Is(err, ErrDamaged) {
		t.Errorf("ECDH, 32 octets instead of 16: %v", err)
	}
}

// A sealed describes an AuthEnvelopedData of the entity.
type sealed struct {
	tag        int  // octets
	length     byte // as the parameters state it; 0 is absent
	attributes [][]byte
	inPieces   bool
	nonce      int    // octets more than 12
	outer      string // another content type, without a tag; empty is AuthEnvelopedData
}

func (s sealed) object(t testing.TB, p person) []byte {
	t.Helper()
	cek, nonce := randomOctets(16), randomOctets(12)
	info, err := p.recipient.recipientInfo(cek)
	if err != nil {
		t.Fatal(err)
	}
	block, err := aes.NewCipher(cek)
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCMWithTagSize(block, s.tag)
	if err != nil {
		t.Fatal(err)
	}
	var additional, attributes []byte
	if s.attributes != nil {
		attributes = element(field1, s.attributes...)
		additional = setOf(s.attributes)
	}
	text := aead.Seal(nil, nonce, entity, additional)
	text, mac := text[:len(entity)], text[len(entity):]
	parameters := [][]byte{element(asn1.OCTET_STRING, append(nonce, make([]byte, s.nonce)...))}
	if s.length > 0 {
		parameters = append(parameters, integer(s.length))
	}
	content := element(asn1.SEQUENCE, objectID(oidData),
		algorithmID(oidAES128GCM, element(asn1.SEQUENCE, parameters...)), s.text(text))
	if s.outer != "" {
		return contentInfo(s.outer, integer(0), element(asn1.SET, info), content)
	}
	return contentInfo(oidAuthEnvelopedData, integer(0), element(asn1.SET, info), content, attributes, element(asn1.OCTET_STRING, mac))
}

func (s sealed) text(text []byte) []byte {
	if !s.inPieces {
		return element(string0, text)
	}
	return indefinite(field0, element(asn1.OCTET_STRING, text[:100]), indefinite(constructedOctets,
		element(asn1.OCTET_STRING, text[100:101]), element(asn1.OCTET_STRING)), element(asn1.OCTET_STRING, text[101:]))
}

func TestAuthEnveloped(t *testing.T) {
	attribute := func(n byte) []byte {
		return element(asn1.SEQUENCE, objectID(oidData), element(asn1.SET, integer(n)))
	}
	p := the(t, "rsa2048")
	for name, s := range map[string]sealed{
		"16 octets":           {tag: 16, length: 16},
		"12 octets":           {tag: 12},
		"12 octets, stated":   {tag: 12, length: 12},
		"16 octets, unstated": {tag: 16}, // RFC 8551, Section 3.4
		"14 octets":           {tag: 14, length: 14},
		"attributes":          {tag: 16, length: 16, attributes: [][]byte{attribute(1), attribute(2)}},
		"no attributes":       {tag: 16, length: 16, attributes: [][]byte{}},
		"in pieces":           {tag: 16, length: 16, inPieces: true},
	} {
		t.Run(name, func(t *testing.T) { checkOpens(t, s.object(t, p), entity, p) })
	}
	for name, s := range map[string]sealed{
		"a tag of another length":  {tag: 16, length: 12},
		"a longer one":             {tag: 12, length: 16},
		"14 octets, unstated":      {tag: 14},
		"a nonce of 16 octets":     {tag: 16, length: 16, nonce: 4},
		"GCM in an EnvelopedData":  {tag: 16, length: 16, outer: oidEnvelopedData},
		"GCM without its own type": {tag: 16, length: 16, outer: oidSignedData},
	} {
		got, err := Decrypt(s.object(t, p), p.cert(), p.key)
		checkOutcome(t, got, err)
		if err == nil {
			t.Errorf("%s: opened", name)
		}
	}
}

// The sender's key material of RFC 5753, Section 3.1.1, which OpenSSL can write
// from a file only.
func TestUserKeyMaterial(t *testing.T) {
	p := the(t, "p256")
	own := ephemeralWithZeros(t, p)
	secret, err := own.ECDH(p.recipient.key.(agreementKey).key)
	if err != nil {
		t.Fatal(err)
	}
	s, _ := schemeOf("P-256")
	wrap := algorithmID(oidAES128Wrap, null()) // as Outlook is said to want it
	cek, iv := randomOctets(16), make([]byte, 16)
	kek := deriveKey(sha256.New, secret, sharedInfo(wrap, []byte("ukm"), 16), 16)
	wrapped, err := wrapKey(kek, cek)
	if err != nil {
		t.Fatal(err)
	}
	info := element(field1, integer(3), element(field0, originator(own.PublicKey())),
		element(field1, element(asn1.OCTET_STRING, []byte("ukm"))), algorithmID(s.id, wrap),
		element(asn1.SEQUENCE,
			element(asn1.SEQUENCE, element(field0, element(asn1.OCTET_STRING, []byte("another"))), element(asn1.OCTET_STRING, iv)),
			element(asn1.SEQUENCE, element(field0, element(asn1.OCTET_STRING, p.cert().SubjectKeyId)), element(asn1.OCTET_STRING, wrapped))))
	block, err := aes.NewCipher(cek)
	if err != nil {
		t.Fatal(err)
	}
	text := append([]byte("fourteen chars"), 2, 2)
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(text, text)
	object := contentInfo(oidEnvelopedData, integer(2), element(asn1.SET, info), element(asn1.SEQUENCE,
		objectID(oidData), algorithmID(oidAES128CBC, element(asn1.OCTET_STRING, iv)), element(string0, text)))
	checkOpens(t, object, []byte("fourteen chars"), p)
}

func TestFlatten(t *testing.T) {
	text := element(asn1.OCTET_STRING, []byte("ab"))
	for name, c := range map[string]struct{ ber, der []byte }{
		"DER":               {partContent, partContent},
		"indefinite":        {indefinite(asn1.SEQUENCE, text), element(asn1.SEQUENCE, text)},
		"a joined string":   {indefinite(constructedOctets, text, text), element(asn1.OCTET_STRING, []byte("abab"))},
		"joined, definite":  {element(constructedOctets, text, text), element(asn1.OCTET_STRING, []byte("abab"))},
		"joined of nothing": {indefinite(constructedOctets), element(asn1.OCTET_STRING)},
		"a long length":     {[]byte{4, 0x84, 0, 0, 0, 2, 'a', 'b'}, text},
		"text in a string":  {indefinite(constructedOctets, integer(1)), nil},
		"without an end":    {[]byte{0x30, 0x80, 5, 0}, nil},
		"half an end":       {[]byte{0x30, 0x80, 5, 0, 0}, nil},
		"an end too many":   {[]byte{0x30, 2, 0, 0}, nil},
		"cut short":         {[]byte{4, 3, 'a'}, nil},
		"nothing":           {nil, nil},
		"a flood":           {bytes.Repeat([]byte{0x30, 0x80}, 1<<20), nil},
	} {
		got, ok := flatten(c.ber)
		if ok != (c.der != nil) || ok && !bytes.Equal(got, c.der) {
			t.Errorf("%s: %x, %v", name, got, ok)
		}
	}
}

// Whatever comes, an error comes back, and what it takes goes by the length.
func TestHostileObjects(t *testing.T) {
	const size = 16 << 20
	p := the(t, "p256")
	huge := element(asn1.INTEGER, bytes.Repeat([]byte{0x7f}, 1<<20))
	content := element(asn1.SEQUENCE, objectID(oidData), partAlgorithm, element(string0, make([]byte, 16)))
	many := bytes.Repeat(element(field4, objectID(oidData), null()), size/15) // of a type that is nobody's
	for name, object := range map[string][]byte{
		"nested indefinite lengths":  bytes.Repeat([]byte{0x30, 0x80}, size/2),
		"nested definite lengths":    bytes.Repeat([]byte{0x30, 0x84, 0x00, 0xff, 0xff, 0xff}, size/6),
		"nested strings":             append([]byte{0x30, 0x80}, bytes.Repeat([]byte{0x24, 0x80}, size/2)...),
		"an object in deep pieces":   nested(size / 8 / 1024),
		"pieces of nothing":          envelopedOf(indefinite(field0, bytes.Repeat([]byte{4, 0}, size/8))),
		"a length of everything":     append([]byte{0x30, 0x88, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, make([]byte, 100)...),
		"an integer of a megabyte":   contentInfo(oidEnvelopedData, huge, element(asn1.SET, partKey), content),
		"a version of a megabyte":    contentInfo(oidEnvelopedData, integer(0), element(asn1.SET, element(asn1.SEQUENCE, huge)), content),
		"a name of a megabyte":       contentInfo(oidEnvelopedData, integer(0), element(asn1.SET, element(asn1.OBJECT_IDENTIFIER, make([]byte, 1<<20))), content),
		"a million empty recipients": contentInfo(oidEnvelopedData, integer(3), element(asn1.SET, many), content),
		"zeros":                      make([]byte, size),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		got, err := Decrypt(object, p.cert(), p.key)
		runtime.ReadMemStats(&after)
		checkOutcome(t, got, err)
		if err == nil {
			t.Errorf("%s: opened", name)
		}
		// The race detector takes some of it for itself.
		if taken := after.TotalAlloc - before.TotalAlloc; taken > uint64(1<<20+20*len(object)) {
			t.Errorf("%s, %d MB: %d MB of memory", name, len(object)>>20, taken>>20)
		}
	}
}

// known are people whose certificates and keys are files, so that what the corpus
// has for them stays for them.
func known(t testing.TB) []person {
	t.Helper()
	var all []person
	for _, who := range []string{"rsa2048", "p256", "x25519", "mlkem768"} {
		w := workshop{t: t, dir: filepath.Join("testdata", "people")}
		r, err := NewRecipient(w.read(who + ".crt"))
		if err != nil {
			t.Fatal(err)
		}
		key, err := ParsePrivateKey(w.read(who + ".key"))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, person{r, key})
	}
	return all
}

func FuzzDecrypt(f *testing.F) {
	people := known(f)
	for _, p := range people {
		f.Add(encrypt(f, []byte("content"), 100, p))
		f.Add(encryptAs(f, AES128GCM, []byte("content"), p))
		f.Add(sealed{tag: 12, inPieces: true}.object(f, p))
	}
	f.Add(encrypt(f, []byte("content"), 100, people...))
	f.Add(nested(3))
	f.Fuzz(func(t *testing.T, object []byte) {
		for _, p := range people {
			got, err := Decrypt(object, p.cert(), p.key)
			checkOutcome(t, got, err)
			if err == nil && !isEncrypted(object) {
				t.Error("opened, and the scanner does not know it")
			}
		}
		if flat, ok := flatten(object); ok {
			if again, ok := flatten(flat); !ok || !bytes.Equal(again, flat) {
				t.Error("what is flat does not stay as it is")
			}
			if isEncrypted(flat) && !isEncrypted(object) {
				t.Error("the scanner knows only the flat form")
			}
		}
	})
}
