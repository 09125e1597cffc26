package gateway

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"smimea.example/internal/cms"
	"smimea.example/internal/message"
	"smimea.example/tools/judges"
)

// recognize shows a recognizer a body at once and octet by octet, and returns
// its opinion.
func recognize(t *testing.T, h message.Header, body string) bool {
	t.Helper()
	one, many := newRecognizer(h), newRecognizer(h)
	one.Write([]byte(body))
	for i := range len(body) {
		many.Write([]byte(body[i : i+1]))
	}
	if one.encrypted() != many.encrypted() || one.hopeless() != many.hopeless() {
		t.Errorf("at once: %v, hopeless %v; in pieces: %v, hopeless %v", one.encrypted(), one.hopeless(), many.encrypted(), many.hopeless())
	}
	if one.encrypted() && one.hopeless() {
		t.Error("encrypted, and hopeless")
	}
	return one.encrypted()
}

// sealed is a CMS object to a person.
func sealed(t testing.TB, content string) []byte {
	t.Helper()
	var ciphertext bytes.Buffer
	w, err := cms.NewWriter(&ciphertext, []cms.Recipient{newPerson(t, cms.RSA, 1).to}, cms.AES256CBC)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(content)); err != nil {
		t.Fatal(err)
	}
	object, err := w.Close()
	if err != nil {
		t.Fatal(err)
	}
	return append(object.Head, ciphertext.Bytes()...)
}

// inBase64 is a body that holds an object.
func inBase64(object []byte) string {
	var b strings.Builder
	w := message.NewBase64Writer(&b)
	w.Write(object)
	w.Close()
	return b.String()
}

// cmsHeader is the header of an S/MIME message, with one thing replaced.
func cmsHeader(old, new string) message.Header {
	const usual = "Subject: hello\n" +
		"MIME-Version: 1.0\n" +
		"Content-Type: application/pkcs7-mime; smime-type=enveloped-data; name=smime.p7m\n" +
		"Content-Disposition: attachment; filename=smime.p7m\n" +
		"Content-Transfer-Encoding: base64"
	return header(strings.Replace(usual, old, new, 1))
}

// Whatever the header says of the body, the body decides.
func TestRecognizesCMSByContent(t *testing.T) {
	object := sealed(t, "Content-Type: text/plain\r\n\r\nDear Bob,\r\n")
	whole := inBase64(object)
	tail := append(bytes.Clone(object), "P.S."...)
	for name, test := range map[string]struct {
		body string
		want bool
	}{
		"an envelope":                    {whole, true},
		"empty lines before and after":   {"\r\n" + whole + "\r\n\r\n", true},
		"without a line end":             {strings.TrimSuffix(whole, "\r\n"), true},
		"in one line":                    {base64.StdEncoding.EncodeToString(object), true},
		"LF":                             {strings.ReplaceAll(whole, "\r\n", "\n"), true},
		"an empty body":                  {"", false},
		"empty lines":                    {"\r\n\r\n", false},
		"plain text":                     {"Dear Bob,\r\n", false},
		"plain text in base64":           {inBase64([]byte("Dear Bob,\r\nhow are you?\r\n")), false},
		"a plain tail":                   {whole + "\r\nP.S.: the password is 1234\r\n", false},
		"a plain tail on the last line":  {strings.TrimSuffix(whole, "\r\n") + " P.S.", false},
		"a tail in the base64":           {inBase64(tail), false},
		"a tail in a base64 of its own":  {whole + inBase64([]byte("P.S.: 1234")), false},
		"an envelope behind it":          {whole + whole, false},
		"plain text before":              {"Dear Bob,\r\n" + whole, false},
		"plain text within":              {whole[:234] + "P.S.\r\n" + whole[234:], false},
		"junk in the base64":             {strings.Replace(whole, "\r\n", "*\r\n", 1), false},
		"blanks in a line":               {whole[:10] + " " + whole[10:], false},
		"an object cut off":              {inBase64(object[:len(object)-1]), false},
		"an object cut off at its head":  {inBase64(object[:100]), false},
		"a base64 cut off":               {whole[:len(whole)-9], false},
		"DER, not in base64":             {string(object), false},
		"a PEM":                          {string(pem.EncodeToMemory(&pem.Block{Type: "PKCS7", Bytes: object})), false},
		"a body that is PGP/MIME":        {pgpMIME, false},
		"a header, and then an envelope": {"Content-Type: text/plain\r\n\r\n" + whole, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := recognize(t, cmsHeader("", ""), test.body); got != test.want {
				t.Errorf("encrypted: %v", got)
			}
		})
	}
}

func TestRecognizesCMSHeader(t *testing.T) {
	body := inBase64(sealed(t, "hello"))
	const (
		kind        = "application/pkcs7-mime; smime-type=enveloped-data; name=smime.p7m"
		field       = "Content-Type: " + kind
		disposition = "Content-Disposition: attachment; filename=smime.p7m"
		encoding    = "Content-Transfer-Encoding: base64"
	)
	for name, test := range map[string]struct {
		old, new string
		want     bool
	}{
		"usual":                                  {"", "", true},
		"the older type":                         {"pkcs7", "x-pkcs7", true},
		"the type alone":                         {"; smime-type=enveloped-data; name=smime.p7m", "", true},
		"case":                                   {field, "CONTENT-TYPE: Application/PKCS7-MIME", true},
		"encoding's case":                        {"base64", " BASE64 ", true},
		"labelled signed-data":                   {"enveloped-data", "signed-data", true},
		"without MIME-Version":                   {"MIME-Version: 1.0\n", "", true},
		"octets with a name":                     {kind, `application/octet-stream; name="SMIME.P7M"`, true},
		"octets with a file name":                {kind, "application/octet-stream", true},
		"octets without one":                     {kind + "\n" + disposition, "application/octet-stream", false},
		"octets with another":                    {kind + "\n" + disposition, "application/octet-stream; name=smime.p7s", false},
		"octets with two dispositions":           {kind, "application/octet-stream\n" + disposition, false},
		"octets with a disposition that is none": {kind + "\n" + disposition, "application/octet-stream\nContent-Disposition: ;;", false},
		"text":                                   {kind, "text/plain; name=smime.p7m", false},
		"no type":                                {field + "\n", "", false},
		"two types":                              {field, field + "\n" + field, false},
		"two types, one with a blank":            {field, field + "\nContent-Type : text/plain", false},
		"type that cannot be read":               {kind, kind + "; name=", false},
		"type with a comment":                    {kind, kind + " (S/MIME)", false},
		"parameter twice":                        {kind, kind + "; name=x.p7m", false},
		"no encoding":                            {"\n" + encoding, "", false},
		"two encodings":                          {encoding, encoding + "\n" + encoding, false},
		"another encoding":                       {"base64", "7bit", false},
		"multipart":                              {kind, "multipart/mixed; boundary=x", false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := recognize(t, cmsHeader(test.old, test.new), body); got != test.want {
				t.Errorf("encrypted: %v", got)
			}
		})
	}
	t.Run("a folded field", func(t *testing.T) {
		h := header(encoding)
		h = append(h, message.NewField("Content-Type", " application/pkcs7-mime;\n\tsmime-type=enveloped-data"))
		if !recognize(t, h, body) {
			t.Error("not encrypted")
		}
	})
}

// pgpMIME has one session key and some ciphertext, both of zeros.
var pgpMIME = "--frontier\r\n" +
	"Content-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n\r\n" +
	"--frontier\r\n" +
	"Content-Type: application/octet-stream\r\n\r\n" +
	"-----BEGIN PGP MESSAGE-----\r\n\r\n" +
	inBase64(append(append([]byte{0xc1, 50, 3}, make([]byte, 49)...), append([]byte{0xd2, 50, 1}, make([]byte, 49)...)...)) +
	"-----END PGP MESSAGE-----\r\n\r\n" +
	"--frontier--\r\n"

func TestRecognizesPGP(t *testing.T) {
	const (
		field     = `Content-Type: multipart/encrypted; protocol="application/pgp-encrypted"; boundary=frontier`
		plainPart = "--frontier\r\nContent-Type: text/plain\r\n\r\nDear Bob,\r\n"
	)
	plain := strings.NewReplacer("-----BEGIN PGP MESSAGE-----", "Dear Bob,", "-----END PGP MESSAGE-----", "Yours, Alice")
	for name, test := range map[string]struct {
		header, body string
		want         bool
	}{
		"usual":                {field, pgpMIME, true},
		"8bit":                 {field + "\nContent-Transfer-Encoding: 8bit", pgpMIME, true},
		"a long delimiter":     {strings.Replace(field, "=frontier", `="front ier"`, 1), strings.ReplaceAll(pgpMIME, "frontier", "front ier"), true},
		"in base64":            {field + "\nContent-Transfer-Encoding: base64", pgpMIME, false},
		"two encodings":        {field + "\nContent-Transfer-Encoding: 7bit\nContent-Transfer-Encoding: 7bit", pgpMIME, false},
		"two types":            {field + "\n" + field, pgpMIME, false},
		"multipart/mixed":      {strings.Replace(field, "encrypted", "mixed", 1), pgpMIME, false},
		"another protocol":     {strings.Replace(field, "application/pgp-encrypted", "application/x", 1), pgpMIME, false},
		"no protocol":          {"Content-Type: multipart/encrypted; boundary=frontier", pgpMIME, false},
		"another boundary":     {strings.Replace(field, "frontier", "border", 1), pgpMIME, false},
		"no boundary":          {strings.Replace(field, "; boundary=frontier", "", 1), pgpMIME, false},
		"plain parts":          {field, plain.Replace(pgpMIME), false},
		"text parts":           {field, plainPart + plainPart + "--frontier--\r\n", false},
		"three parts":          {field, strings.Replace(pgpMIME, "--frontier--", plainPart+"--frontier--", 1), false},
		"a preamble":           {field, "Dear Bob,\r\n" + pgpMIME, false},
		"an epilogue":          {field, pgpMIME + "P.S.\r\n", false},
		"a body that is CMS":   {field, inBase64(sealed(t, "hello")), false},
		"an empty body":        {field, "", false},
		"cut off":              {field, strings.TrimSuffix(pgpMIME, "--frontier--\r\n"), false},
		"labelled as S/MIME":   {"Content-Type: application/pkcs7-mime\nContent-Transfer-Encoding: base64", pgpMIME, false},
		"without a type":       {"Subject: hello", pgpMIME, false},
		"armour in plain text": {"Content-Type: text/plain", pgpMIME, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := recognize(t, header(test.header), test.body); got != test.want {
				t.Errorf("encrypted: %v", got)
			}
		})
	}
}

// A body that cannot be what the header says is given up at once, so that
// nothing waits for its end.
func TestRecognizerGivesUp(t *testing.T) {
	for name, test := range map[string]struct{ header, body string }{
		"nothing to look for":     {"Subject: hello", ""},
		"text instead of base64":  {"Content-Type: application/pkcs7-mime\nContent-Transfer-Encoding: base64", "Dear Bob,"},
		"another object":          {"Content-Type: application/pkcs7-mime\nContent-Transfer-Encoding: base64", "RGVhciBCb2I="},
		"text instead of a part":  {`Content-Type: multipart/encrypted; protocol="application/pgp-encrypted"; boundary=x`, "Dear Bob,\r\n"},
		"text without a line end": {`Content-Type: multipart/encrypted; protocol="application/pgp-encrypted"; boundary=x`, strings.Repeat("Dear Bob, ", 200)},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRecognizer(header(test.header))
			if n, err := r.Write([]byte(test.body)); n != len(test.body) || err != nil {
				t.Errorf("Write = %d, %v", n, err)
			}
			if !r.hopeless() || r.encrypted() {
				t.Errorf("hopeless %v, encrypted %v", r.hopeless(), r.encrypted())
			}
		})
	}
	var zero recognizer
	if zero.Write([]byte("x")); !zero.hopeless() || zero.encrypted() {
		t.Error("the zero recognizer recognizes something")
	}
}

func FuzzRecognizer(f *testing.F) {
	whole := inBase64(sealed(f, "hello"))
	f.Add(true, whole)
	f.Add(true, whole[:100])
	f.Add(false, pgpMIME)
	f.Fuzz(func(t *testing.T, smime bool, body string) {
		h := cmsHeader("", "")
		if !smime {
			h = header(`Content-Type: multipart/encrypted; protocol="application/pgp-encrypted"; boundary=frontier`)
		}
		if recognize(t, h, body) && recognize(t, h, body+"\r\nP.S.") {
			t.Error("with a tail")
		}
	})
}

// openssl runs OpenSSL in a directory that has bob's certificate and key.
type openssl struct{ program, dir string }

func newOpenSSL(t *testing.T) openssl {
	t.Helper()
	o := openssl{judges.Find(t, "openssl"), t.TempDir()}
	bob := newPerson(t, cms.RSA, 1)
	key, err := x509.MarshalPKCS8PrivateKey(bob.key)
	if err != nil {
		t.Fatal(err)
	}
	o.file(t, "cert.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: bob.to.Certificate().Raw}))
	o.file(t, "key.pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))
	o.file(t, "mail", bytes.Repeat([]byte("Dear Bob,\r\n"), 5000))
	return o
}

func (o openssl) file(t *testing.T, name string, content []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(o.dir, name), content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// mail returns the header and the body of a mail that openssl makes.
func (o openssl) mail(t *testing.T, args string) (message.Header, string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), o.program, strings.Fields(args)...)
	cmd.Dir = o.dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("openssl %s: %v\n%s", args, err, out)
	}
	head, body, found := strings.Cut(strings.ReplaceAll(string(out), "\r\n", "\n"), "\n\n")
	if !found {
		t.Fatalf("openssl %s made no mail:\n%s", args, out)
	}
	return header(head), strings.ReplaceAll(body, "\n", "\r\n")
}

// What OpenSSL encrypts is recognised, and what it does not encrypt is not,
// however it is labelled.
func TestRecognizesOpenSSL(t *testing.T) {
	o := newOpenSSL(t)
	for _, test := range []struct {
		name, args string
		want       bool
	}{
		{"DER", "cms -encrypt -in mail -aes256 cert.pem", true},
		{"BER", "cms -encrypt -in mail -stream -aes256 cert.pem", true},
		{"without line ends changed", "cms -encrypt -in mail -binary -aes128 cert.pem", true},
		{"AuthEnvelopedData", "cms -encrypt -in mail -aes-256-gcm cert.pem", true},
		{"with a password alone", "cms -encrypt -in mail -pwri_password secret -aes256", true},
		{"of the older program", "smime -encrypt -in mail -aes256 cert.pem", true},
		{"signed", "cms -sign -nodetach -in mail -signer cert.pem -inkey key.pem", false},
		{"signed, BER", "cms -sign -nodetach -stream -in mail -signer cert.pem -inkey key.pem", false},
		{"signature beside", "cms -sign -in mail -signer cert.pem -inkey key.pem", false},
		{"digested", "cms -digest_create -in mail", false},
		{"plain data", "cms -data_create -in mail", false},
		{"certificates alone", "cms -sign -nodetach -in /dev/null -signer cert.pem -inkey key.pem", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			h, body := o.mail(t, test.args)
			if got := recognize(t, h, body); got != test.want {
				t.Errorf("encrypted: %v\n%.300s", got, body)
			}
			if recognize(t, relabelled(h), body) != test.want {
				t.Error("the label decides")
			}
		})
	}
}

// relabelled calls everything enveloped-data.
func relabelled(h message.Header) message.Header {
	return append(h.Outside(), message.Envelope(false)...)
}
