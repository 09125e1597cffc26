package gateway

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"math/big"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"smimea.example/internal/cms"
	"smimea.example/keystore"
	"smimea.example/tools/testnet"
)

// able makes somebody with a key of a kind whose certificate lists what he can
// read: "gcm", "gcm128", "cbc", "cbc128", in any number.
func able(t testing.TB, kind, list string) person {
	t.Helper()
	ids := map[string]asn1.ObjectIdentifier{
		"gcm": testnet.AES256GCM, "gcm128": testnet.AES128GCM, "cbc": testnet.AES256CBC, "cbc128": testnet.AES128CBC,
		"3des": {1, 2, 840, 113549, 3, 7},
	}
	s := testnet.Subject{Address: "bob@example.net", Kind: kind}
	for word := range strings.FieldsSeq(list) {
		s.Capabilities = append(s.Capabilities, ids[word])
	}
	der, key, err := testnet.NewCertificate(s)
	if err != nil {
		t.Fatal(err)
	}
	to, err := cms.NewRecipient(der)
	if err != nil {
		t.Fatal(err)
	}
	return person{address: s.Address, key: key, to: to}
}

// wanting makes a recipient with one certificate.
func wanting(t testing.TB, kind, list string) recipient {
	t.Helper()
	certs, form := pick([]cms.Recipient{able(t, kind, list).to}, Rule{})
	return recipient{certs: certs, form: form}
}

// The certificates' lists come first, then the settings, then the default; GCM
// is never the default.
func TestChooseCipher(t *testing.T) {
	for _, test := range []struct {
		lists     string // of each certificate, the newest first
		otherwise cms.Cipher
		want      cms.Cipher
	}{
		{"-", cms.AES256CBC, cms.AES256CBC},
		{"-", cms.AES128CBC, cms.AES128CBC},
		{"-", cms.AES256GCM, cms.AES256GCM},
		{"gcm", cms.AES256CBC, cms.AES256GCM},
		{"gcm cbc", cms.AES256CBC, cms.AES256GCM},
		{"cbc gcm", cms.AES256GCM, cms.AES256CBC},
		{"cbc128", cms.AES256GCM, cms.AES128CBC},
		{"3des gcm128", cms.AES256CBC, cms.AES128GCM},
		{"3des", cms.AES256GCM, cms.AES256GCM}, // nothing of what we have: as good as none

		{"- / -", cms.AES256GCM, cms.AES256GCM},
		{"gcm cbc / gcm", cms.AES256CBC, cms.AES256GCM},
		{"gcm cbc / cbc", cms.AES256CBC, cms.AES256CBC},
		{"gcm cbc128 / cbc128 gcm", cms.AES256CBC, cms.AES256GCM},
		{"cbc128 gcm / gcm cbc128", cms.AES256CBC, cms.AES128CBC},
		{"gcm cbc / -", cms.AES256CBC, cms.AES256CBC},
		{"- / gcm cbc128", cms.AES256CBC, cms.AES128CBC},
		{"- / gcm", cms.AES256GCM, cms.AES256GCM},
		{"gcm / -", cms.AES256CBC, cms.AES256CBC}, // nothing in common: what everybody reads
		{"gcm / cbc", cms.AES256GCM, cms.AES256CBC},
		{"gcm / gcm128", cms.AES256CBC, cms.AES256CBC},
		{"", cms.AES256GCM, cms.AES256CBC},
	} {
		var certs []cms.Recipient
		if test.lists != "" {
			for list := range strings.SplitSeq(test.lists, " / ") {
				certs = append(certs, able(t, "ec", strings.TrimPrefix(list, "-")).to)
			}
		}
		if got := ChooseCipher(certs, test.otherwise); got != test.want {
			t.Errorf("%q, otherwise %s: %s, want %s", test.lists, test.otherwise, got, test.want)
		}
	}
}

// One mailbox, one object, one kind of key.
func TestPick(t *testing.T) {
	certs := map[byte]cms.Recipient{
		'r': newPerson(t, cms.RSA, 1).to, 's': newPerson(t, cms.RSA, 2).to,
		'e': newPerson(t, cms.EC, 3).to, 'x': able(t, "x25519", "").to,
		'm': able(t, "mlkem", "").to, 'n': able(t, "mlkem1024", "").to,
	}
	for _, test := range []struct {
		has, want string
		kinds     []cms.Kind
	}{
		{"r", "r", nil},
		{"er", "r", nil},
		{"ser", "sr", nil},
		{"xe", "e", nil},
		{"mx", "x", nil},
		{"nm", "nm", nil},
		{"rrrrrs", "rrrrr", nil},
		{"re", "e", []cms.Kind{cms.EC, cms.RSA}},
		{"rm", "m", []cms.Kind{cms.MLKEM, cms.RSA}},
		{"r", "", []cms.Kind{cms.EC}},
		{"", "", nil},
	} {
		var has, want []cms.Recipient
		for i := range test.has {
			has = append(has, certs[test.has[i]])
		}
		for i := range test.want {
			want = append(want, certs[test.want[i]])
		}
		got, form := pick(has, Rule{Kinds: test.kinds, Cipher: cms.AES128CBC})
		if fmt.Sprint(prints(got)) != fmt.Sprint(prints(want)) {
			t.Errorf("of %q with %v: %v, want %v", test.has, test.kinds, prints(got), prints(want))
		}
		if len(want) > 0 && (form.kind != want[0].Kind() || form.cipher != cms.AES128CBC) {
			t.Errorf("of %q with %v: %+v", test.has, test.kinds, form)
		}
	}
}

// Who may be in an envelope with whom: libraries differ in what they do with a
// recipient of another kind beside theirs.
func TestShare(t *testing.T) {
	people := map[string]recipient{
		"rsa": wanting(t, "rsa", ""), "rsa2": wanting(t, "rsa", ""), "ec": wanting(t, "ec", ""), "ec2": wanting(t, "ec", ""),
		"rsa-gcm": wanting(t, "rsa", "gcm"), "ec-gcm": wanting(t, "ec", "gcm"),
		"x": wanting(t, "x25519", ""), "x2": wanting(t, "x25519", ""), "m": wanting(t, "mlkem", ""), "m2": wanting(t, "mlkem", ""),
	}
	for _, name := range []string{"rsa", "ec", "rsa-gcm", "ec-gcm", "x"} {
		r := people[name]
		r.form.mixed = true
		people[name+"+"] = r // under a rule with mixed = true
	}
	otherCipher := people["x"]
	otherCipher.form.cipher = cms.AES128GCM
	people["x, by another rule"] = otherCipher
	one, two := clashing(t)
	people["one"], people["two"] = one, two
	for _, test := range []struct{ to, want string }{
		{"rsa", "rsa"},
		{"one two ec", "one ec / two"},
		{"rsa rsa2", "rsa rsa2"},
		{"ec ec2", "ec ec2"},
		{"rsa ec rsa2 ec2", "rsa rsa2 / ec ec2"},
		{"rsa rsa-gcm ec-gcm", "rsa / rsa-gcm / ec-gcm"},
		{"rsa+ ec+", "rsa+ ec+"},
		{"rsa+ ec", "rsa+ / ec"},
		{"rsa ec+", "rsa / ec+"},
		{"rsa+ ec+ rsa2", "rsa+ ec+ / rsa2"}, // he has not agreed to the EC recipient
		{"rsa+ rsa2 ec+", "rsa+ rsa2 / ec+"},
		{"rsa+ ec-gcm+", "rsa+ / ec-gcm+"},
		{"rsa-gcm+ ec-gcm+", "rsa-gcm+ ec-gcm+"},
		{"x x2", "x / x2"},
		{"x+ rsa+", "x+ / rsa+"},
		{"m m2 rsa m", "m m / m2 / rsa"}, // the same mailbox twice
		{"x x rsa rsa", "x x / rsa rsa"},
		{"x x,_by_another_rule", "x / x, by another rule"}, // one certificate, two objects
		{"", ""},
	} {
		var to []recipient
		for name := range strings.FieldsSeq(test.to) {
			name = strings.ReplaceAll(name, "_", " ")
			r := people[name]
			r.address = name
			to = append(to, r)
		}
		var got []string
		for _, g := range share(to) {
			var names []string
			for _, r := range g {
				names = append(names, r.address)
			}
			got = append(got, strings.Join(names, " "))
		}
		if strings.Join(got, " / ") != test.want {
			t.Errorf("%q: %q, want %q", test.to, strings.Join(got, " / "), test.want)
		}
	}
}

// clashing makes two recipients whose certificates have the same issuer and serial
// number.
func clashing(t testing.TB) (one, two recipient) {
	t.Helper()
	for _, r := range []*recipient{&one, &two} {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bob"}, NotAfter: time.Now().Add(time.Hour)}
		der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
		if err != nil {
			t.Fatal(err)
		}
		to, err := cms.NewRecipient(der)
		if err != nil {
			t.Fatal(err)
		}
		r.certs, r.form = pick([]cms.Recipient{to}, Rule{})
	}
	return one, two
}

// Of an address's certificates with the same issuer and serial number, as a simple
// tool makes them when one is renewed, the newer one counts.
func TestPickClashing(t *testing.T) {
	one, two := clashing(t)
	got, _ := pick([]cms.Recipient{two.certs[0], one.certs[0]}, Rule{})
	if len(got) != 1 || got[0].Fingerprint() != two.certs[0].Fingerprint() {
		t.Errorf("%v, want %v", prints(got), prints(two.certs))
	}
}

// Many recipients with large certificates are judged in no time: at each one the
// others are looked at.
func TestManyRecipientsWithOneCertificate(t *testing.T) {
	r := wanting(t, "rsa", "")
	var before []recipient
	for i := range maxRecipients {
		next := r
		next.address = fmt.Sprintf("%d@example.net", i)
		if reply := join(before, next); reply.Action != Accept {
			t.Fatalf("recipient %d: %s", i, codes(reply))
		}
		before = append(before, next)
	}
	if n := len(share(before)); n != 1 {
		t.Errorf("%d groups", n)
	}
}

// gcmGateway has one recipient whose certificate asks for GCM.
func gcmGateway(t testing.TB, kind string) (*Gateway, person) {
	p := able(t, kind, "gcm")
	return &Gateway{
		Rules: []Rule{{Recipients: []string{"*"}, Action: Require}},
		Keys:  fakeStore{p.address: found(p.to)},
		Spool: t.TempDir(),
	}, p
}

func TestAuthenticated(t *testing.T) {
	for _, kind := range []string{"rsa", "ec", "x25519", "mlkem", "mlkem1024"} {
		for _, size := range []int{0, 1, 1000, spoolMemory - 100, spoolMemory, 3*spoolMemory + 7} {
			g, p := gcmGateway(t, kind)
			m := begin(t, g, p.address)
			body := strings.Repeat("0123456789ABCDEF", size/16+1)[:size]
			v := send(t, m, header("To: bob@example.net\nContent-Type: text/plain"), []byte(body))
			if !v.Encrypted || v.Fault != nil {
				t.Fatalf("%s, %d octets: %s %s", kind, size, codes(v.Reply), v.Reply.Text)
			}
			if got := v.Header.Values("Content-Type"); len(got) != 1 || !strings.Contains(got[0], "smime-type=authEnveloped-data;") {
				t.Errorf("%s: %q", kind, got)
			}
			if got, want := open(t, v.Body, p), "Content-Type: text/plain\r\n\r\n"+body; got != want {
				t.Errorf("%s, %d octets: %d octets come out, want %d", kind, size, len(got), len(want))
			}
			if f := m.Fates()[0]; f.Cipher != "aes256-gcm" || f.Sent != "encrypted" {
				t.Errorf("%s: %+v", kind, f)
			}
			m.Close()
		}
	}
}

// What waits to be encrypted as a whole is in no file as it is.
func TestVeil(t *testing.T) {
	g, p := gcmGateway(t, "rsa")
	m := begin(t, g, p.address)
	defer m.Close()
	m.EndHeader("")
	const secret = "the merger will be announced on Monday\r\n"
	body := []byte(strings.Repeat(secret, 3*spoolMemory/len(secret)))
	before := bytes.Clone(body)
	if _, err := m.Write(body); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(body, before) {
		t.Error("Write changes what it is given")
	}
	file := m.sealing.spool.file
	info, err := file.Stat()
	if err != nil || info.Size() != int64(len(body))+2-spoolMemory {
		t.Fatalf("%d octets in the file: %v", info.Size(), err)
	}
	text, err := io.ReadAll(io.NewSectionReader(file, 0, info.Size()))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+8 <= len(secret); i++ {
		if bytes.Contains(text, []byte(secret[i:i+8])) {
			t.Fatalf("%q in the file", secret[i:i+8])
		}
	}
	if files, err := os.ReadDir(g.Spool); err != nil || len(files) > 0 {
		t.Errorf("files with names: %v, %v", files, err)
	}
	again := begin(t, g, p.address)
	defer again.Close()
	again.EndHeader("")
	again.Write(body)
	other, err := io.ReadAll(io.NewSectionReader(again.sealing.spool.file, 0, info.Size()))
	if err != nil || len(other) != len(text) || bytes.Equal(other[:1000], text[:1000]) {
		t.Errorf("the same mail is the same in another file: %v", err)
	}
	if v := m.End(t.Context(), ""); !v.Encrypted {
		t.Errorf("%+v", v)
	}
	if _, err := file.Stat(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("the file is still open: %v", err)
	}
}

// Mails that are needed as a whole wait for their share of the memory; the MTA
// holds them meanwhile, and keeps them if it takes too long.
func TestWaitForMemory(t *testing.T) {
	const size = 1 << 20
	g, p := gcmGateway(t, "ec")
	g.Memory, g.Wait = size+4096, time.Minute
	body := bytes.Repeat([]byte("x"), size)
	first := begin(t, g, p.address)
	if v := send(t, first, header("To: bob@example.net"), body); !v.Encrypted {
		t.Fatalf("%+v", v)
	}

	t.Run("too long", func(t *testing.T) {
		g.Wait = 20 * time.Millisecond
		defer func() { g.Wait = time.Minute }()
		m := begin(t, g, p.address)
		defer m.Close()
		if v := send(t, m, header("To: bob@example.net"), body); codes(v.Reply) != "451 4.3.2" || v.Encrypted || v.Body != nil {
			t.Errorf("%+v", v)
		}
		if why := m.Fates()[0].Why; !errors.Is(why, errNoMemory) {
			t.Errorf("why: %v", why)
		}
	})
	t.Run("until the end of all work", func(t *testing.T) {
		m := begin(t, g, p.address)
		defer m.Close()
		m.EndHeader("")
		m.Write(body)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		if v := m.End(ctx, ""); codes(v.Reply) != "451 4.3.0" {
			t.Errorf("%+v", v)
		}
	})
	t.Run("in constant memory no mail waits", func(t *testing.T) {
		cbc := able(t, "rsa", "cbc")
		g.Keys.(fakeStore)["cbc@example.net"] = found(cbc.to)
		m := begin(t, g, "cbc@example.net")
		defer m.Close()
		if v := send(t, m, header("To: cbc@example.net"), body); !v.Encrypted {
			t.Errorf("%+v", v)
		}
	})

	var waiting sync.WaitGroup
	for range 5 {
		waiting.Go(func() {
			m := g.Begin(Sender{})
			defer m.Close()
			m.Recipient(t.Context(), Rcpt{Address: p.address})
			m.EndHeader("")
			m.Write(body)
			v := m.End(t.Context(), "")
			if !v.Encrypted {
				t.Errorf("%+v", v)
				return
			}
			if n, err := io.Copy(io.Discard, v.Body); err != nil || n < size {
				t.Errorf("%d octets, %v", n, err)
			}
		})
	}
	time.Sleep(20 * time.Millisecond)
	first.Close()
	waiting.Wait()
}

// A mail for which there can never be enough memory is not put off for ever.
func TestLongerThanMemory(t *testing.T) {
	g, p := gcmGateway(t, "ec")
	g.Memory = 1 << 20
	most := 1<<20 - cms.SealOverhead - len("\r\n") // which is all that goes in front of this body
	for size, want := range map[int]string{most: "250 2.1.5", most + 1: "552 5.3.4", 1 << 21: "552 5.3.4"} {
		m := begin(t, g, p.address)
		v := send(t, m, header("To: bob@example.net"), make([]byte, size))
		if codes(v.Reply) != want || v.Encrypted != (size == most) {
			t.Errorf("%d octets: %s, want %s", size, codes(v.Reply), want)
		}
		m.Close()
	}
}

// A mail whose envelope is not as it should be stays here. What an envelope can be
// found to lack is in the tests of cms.
func TestFault(t *testing.T) {
	p, other := able(t, "rsa", "cbc"), able(t, "rsa", "cbc")
	g, _ := gcmGateway(t, "rsa")
	g.Keys = fakeStore{p.address: found(p.to)}
	m := begin(t, g, p.address)
	defer m.Close()
	m.EndHeader("")
	m.Write([]byte("hello\r\n"))
	m.to[0].certs = []cms.Recipient{other.to} // who was meant, and is not in it
	v := m.End(t.Context(), "")
	if codes(v.Reply) != "451 4.3.0" || v.Reply.Action != Defer || v.Fault == nil || v.Body != nil || v.Encrypted {
		t.Errorf("%+v", v)
	}
	if why := m.Fates()[0].Why; why == nil || !strings.Contains(why.Error(), "a recipient whom it is not for") {
		t.Errorf("why: %v", why)
	}
}

// A rule that takes no key of the kind there is says so, and does not say that
// there is none.
func TestKindsOfTheRule(t *testing.T) {
	g, p := gcmGateway(t, "rsa")
	g.Rules[0].Kinds = []cms.Kind{cms.EC, cms.MLKEM}
	e := g.Explain(t.Context(), "", p.address)
	if codes(e.Reply) != "550 5.7.6" || e.Keys.Outcome != keystore.WeakOnly || !strings.Contains(e.Why.Error(), "(ec, mlkem)") {
		t.Errorf("%s, %v, %v", codes(e.Reply), e.Keys.Outcome, e.Why)
	}
	if slices.Contains(g.Rules[0].kinds(), cms.RSA) {
		t.Error("the rule takes RSA")
	}
}
