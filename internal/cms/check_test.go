package cms

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"golang.org/x/crypto/cryptobyte/asn1"
)

// makeObject makes an object of the content and its ciphertext.
func makeObject(t testing.TB, c Cipher, content []byte, to ...person) (Object, []byte) {
	t.Helper()
	if c.Authenticated() {
		sealed := append(make([]byte, 0, len(content)+SealOverhead), content...)
		o, err := Seal(sealed, recipientsOf(to...), c)
		if err != nil {
			t.Fatal(err)
		}
		return o, sealed
	}
	var spool bytes.Buffer
	w, err := NewWriter(&spool, recipientsOf(to...), c)
	if err != nil {
		t.Fatal(err)
	}
	w.Write(content)
	o, err := w.Close()
	if err != nil {
		t.Fatal(err)
	}
	return o, spool.Bytes()
}

func TestCheckGood(t *testing.T) {
	for _, c := range Ciphers {
		// Lengths of one octet to five, which need not be written to be checked.
		f, _, err := newFrame(recipientsOf(the(t, "p256")), c)
		if err != nil {
			t.Fatal(err)
		}
		for _, size := range []int64{1, 15, 16, 17, 100, 127, 128, 255, 256, 65535, 65536, 1 << 24, 1 << 32} {
			o := f.around(c.length(size), make([]byte, tagSize))
			if err := o.Check(recipientsOf(the(t, "p256")), c, size); err != nil {
				t.Errorf("%s, %d octets: %v", c, size, err)
			}
		}
		for _, who := range everybody() {
			o, ciphertext := makeObject(t, c, entity, the(t, who), the(t, "rsa4096"))
			to := recipientsOf(the(t, "rsa4096"), the(t, who), the(t, who))
			if err := o.Check(to, c, int64(len(entity))); err != nil {
				t.Errorf("%s, %s: %v", who, c, err)
			}
			object, err := io.ReadAll(o.Reader(bytes.NewReader(ciphertext)))
			if err != nil {
				t.Fatal(err)
			}
			checkOpens(t, object, entity, the(t, who))
		}
	}
}

// What the check is there to find, each by its own words.
func TestCheckBad(t *testing.T) {
	alice, bob, eve := the(t, "rsa2048"), the(t, "p256"), the(t, "rsa4096")
	o, _ := makeObject(t, AES256CBC, entity, alice, bob)
	g, _ := makeObject(t, AES256GCM, entity, alice)
	n := int64(len(entity))
	with := func(o Object, old, new []byte) Object {
		if bytes.Count(o.Head, old) != 1 {
			t.Fatalf("%x is there %d times", old, bytes.Count(o.Head, old))
		}
		o.Head = bytes.Replace(o.Head, old, new, 1)
		return o
	}
	swapped := func() Object {
		f, s, err := newFrame(recipientsOf(alice, bob), AES256CBC)
		if err != nil {
			t.Fatal(err)
		}
		var infos [][]byte
		for k, err := range sealedKeys(f.recipients[4:]) { // behind tag and length
			if err != nil {
				t.Fatal(err)
			}
			infos = append([][]byte{k.raw}, infos...)
		}
		clear(s.key)
		f.recipients = element(asn1.SET, infos...)
		return f.around(AES256CBC.length(n), nil)
	}
	long, short, tail := o, o, g
	long.Length += 16
	short.Head = o.Head[:len(o.Head)-1]
	tail.Tail = g.Tail[:len(g.Tail)-1]
	for name, c := range map[string]struct {
		object Object
		to     []person
		cipher Cipher
		size   int64
		want   string
	}{
		"one recipient more than meant":    {o, []person{alice}, AES256CBC, n, "a recipient whom it is not for"},
		"one recipient too few":            {o, []person{alice, bob, eve}, AES256CBC, n, "no key for " + eve.recipient.Fingerprint()},
		"another in his place":             {o, []person{alice, eve}, AES256CBC, n, "a recipient whom it is not for"},
		"another cipher":                   {o, []person{alice, bob}, AES128CBC, n, "want aes128-cbc"},
		"not authenticated":                {o, []person{alice, bob}, AES256GCM, AES256CBC.length(n), "want aes256-gcm"},
		"content lost":                     {o, []person{alice, bob}, AES256CBC, n + 100, "octets of ciphertext"},
		"content lost, GCM":                {g, []person{alice}, AES256GCM, n + 1, "octets of ciphertext"},
		"a length that is not the spool's": {long, []person{alice, bob}, AES256CBC, n + 16, "not one whole"},
		"a head cut short":                 {short, []person{alice, bob}, AES256CBC, n, "not one whole"},
		"a tag cut short":                  {tail, []person{alice}, AES256GCM, n, "not one whole"},
		"recipients out of order":          {swapped(), []person{alice, bob}, AES256CBC, n, "out of order"},
		"an unstated length of the tag":    {with(g, integer(tagSize), integer(12)), []person{alice}, AES256GCM, n, "AES-GCM parameters"},
		"DES":                              {with(o, objectID(oidAES256CBC), objectID("2.16.840.1.101.3.4.1.41")), []person{alice, bob}, AES256CBC, n, "cipher 2.16"},
		"nothing at all":                   {Object{}, []person{alice}, AES256CBC, 5, "octets of ciphertext"},
	} {
		err := c.object.Check(recipientsOf(c.to...), c.cipher, c.size)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	if err := o.Check(recipientsOf(bob, alice), AES256CBC, n); err != nil {
		t.Errorf("nothing wrong: %v", err)
	}
}

// Every octet that is not random counts: altered, it is found. What is random is
// what differs between objects.
func TestCheckAltered(t *testing.T) {
	for _, who := range everybody() {
		for _, c := range []Cipher{AES256CBC, AES128GCM} {
			to := the(t, who)
			o, _ := makeObject(t, c, entity, to)
			random := make([]bool, len(o.Head))
			for range 20 {
				other, _ := makeObject(t, c, entity, to)
				if len(other.Head) != len(o.Head) {
					t.Fatal("heads of other lengths")
				}
				for i := range o.Head {
					random[i] = random[i] || o.Head[i] != other.Head[i]
				}
			}
			for i := range o.Head {
				altered := o
				altered.Head = bytes.Clone(o.Head)
				altered.Head[i] ^= 0x11
				if err := altered.Check(recipientsOf(to), c, int64(len(entity))); err == nil && !random[i] {
					t.Errorf("%s, %s: octet %d of %d altered: % x", who, c, i, len(o.Head), o.Head[max(0, i-4):i+1])
				}
			}
		}
	}
}

// BenchmarkCheck is the check beside what it checks: a mail of 4 kB to one.
func BenchmarkCheck(b *testing.B) {
	to := recipientsOf(the(b, "rsa2048"))
	content := make([]byte, 4096)
	for name, check := range map[string]bool{"with": true, "without": false} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				w, err := NewWriter(io.Discard, to, AES256CBC)
				if err != nil {
					b.Fatal(err)
				}
				w.Write(content)
				o, err := w.Close()
				if err != nil {
					b.Fatal(err)
				}
				if check {
					err = o.Check(to, AES256CBC, int64(len(content)))
				}
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
