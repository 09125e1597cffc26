package cms

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// A row is an object to all the people named, one cipher, and what each judge
// makes of it with the key of the first: "+" is opened octet by octet, a letter
// is one of the excuses.
type row struct {
	to     string
	cipher Cipher
	cells  string
}

var matrix = []row{
	// to, content, and: openssl gpgsm nss bc pkcs7 node ours
	{"rsa2048", AES256CBC, "+ + + + + + +"},
	{"rsa2048", AES128CBC, "+ + + + + + +"},
	{"rsa2048", AES256GCM, "+ f i + o + +"},
	{"rsa2048", AES128GCM, "+ f i + o + +"},

	{"rsa-oaep-sha256", AES256CBC, "+ g k + q + +"},
	{"rsa-oaep-sha256", AES128CBC, "+ g k + q + +"},
	{"rsa-oaep-sha256", AES256GCM, "+ f i + o + +"},
	{"rsa-oaep-sha256", AES128GCM, "+ f i + o + +"},

	{"rsa-oaep-sha1", AES256CBC, "+ g k + q + +"},
	{"rsa-oaep-sha1", AES128CBC, "+ g k + q + +"},
	{"rsa-oaep-sha1", AES256GCM, "+ f i + o + +"},
	{"rsa-oaep-sha1", AES128GCM, "+ f i + o + +"},

	{"p256", AES256CBC, "+ c j + p + +"},
	{"p256", AES128CBC, "+ c j + p + +"},
	{"p256", AES256GCM, "+ c i m o + +"},
	{"p256", AES128GCM, "+ c i m o + +"},

	{"p384", AES256CBC, "+ c j + p + +"},
	{"p384", AES128CBC, "+ c j + p + +"},
	{"p384", AES256GCM, "+ c i m o + +"},
	{"p384", AES128GCM, "+ c i m o + +"},

	{"p521", AES256CBC, "+ c j + p + +"},
	{"p521", AES128CBC, "+ c j + p + +"},
	{"p521", AES256GCM, "+ c i m o + +"},
	{"p521", AES128GCM, "+ c i m o + +"},

	{"x25519", AES256CBC, "a d h n p + +"},
	{"x25519", AES128CBC, "a d h n p + +"},
	{"x25519", AES256GCM, "a d h m o + +"},
	{"x25519", AES128GCM, "a d h m o + +"},

	{"mlkem768", AES256CBC, "b e e l p + +"},
	{"mlkem768", AES128CBC, "b e e l p + +"},
	{"mlkem768", AES256GCM, "b e e l o + +"},
	{"mlkem768", AES128GCM, "b e e l o + +"},

	{"mlkem1024", AES256CBC, "b e e l p + +"},
	{"mlkem1024", AES128CBC, "b e e l p + +"},
	{"mlkem1024", AES256GCM, "b e e l o + +"},
	{"mlkem1024", AES128GCM, "b e e l o + +"},

	// What one recipient does to another who shares the object.
	{"rsa2048 rsa4096", AES256CBC, "+ + + + + + +"},
	{"rsa2048 rsa4096", AES256GCM, "+ f i + o + +"},
	{"rsa2048 rsa-oaep-sha256", AES256CBC, "+ + + + + + +"},
	{"rsa2048 rsa-oaep-sha256", AES256GCM, "+ f i + o + +"},
	{"rsa-oaep-sha256 rsa2048", AES256CBC, "+ g k + q + +"},
	{"rsa-oaep-sha256 rsa2048", AES256GCM, "+ f i + o + +"},
	{"rsa2048 p256", AES256CBC, "+ + j + p + +"},
	{"rsa2048 p256", AES256GCM, "+ f i + o + +"},
	{"p256 rsa2048", AES256CBC, "+ c j + p + +"},
	{"p256 rsa2048", AES256GCM, "+ c i m o + +"},
	{"rsa2048 x25519", AES256CBC, "+ + j + p + +"},
	{"rsa2048 x25519", AES256GCM, "+ f i + o + +"},
	{"x25519 rsa2048", AES256CBC, "a d h n p + +"},
	{"x25519 rsa2048", AES256GCM, "a d h m o + +"},
	{"rsa2048 mlkem768", AES256CBC, "+ + j + p + +"},
	{"rsa2048 mlkem768", AES256GCM, "+ f i + o + +"},
	{"mlkem768 rsa2048", AES256CBC, "b e e l p + +"},
	{"mlkem768 rsa2048", AES256GCM, "b e e l o + +"},
	{"rsa2048 mlkem1024", AES256CBC, "+ + j + p + +"},
	{"rsa2048 mlkem1024", AES256GCM, "+ f i + o + +"},
	{"p256 x25519", AES256CBC, "+ c j + p + +"},
	{"p256 x25519", AES256GCM, "+ c i m o + +"},
	{"p256 mlkem768", AES256CBC, "+ c j + p + +"},
	{"p256 mlkem768", AES256GCM, "+ c i m o + +"},
}

// An excuse is why a judge does not open an object.
type excuse struct {
	why  string // for people
	says string // part of its complaint, so that no other "no" is taken for it
}

var excuses = map[string]excuse{
	"a": {"OpenSSL 3.0 has X25519, but not in CMS", "Error decrypting CMS"},
	"b": {"OpenSSL has ML-KEM from 3.5 on, and in CMS from 3.6 on", "Could not read"},
	"c": {"gpgsm 2.2 has no ECDH, and crashes when it is given such a key", "segmentation fault"},
	"d": {"gpgsm 2.2 imports no X25519 key", "error parsing or decrypting the PKCS#12 file"},
	"e": {"gpgsm and NSS have no ML-KEM; there is not even a PKCS #12 for it", "unknown key type"},
	"f": {"gpgsm reads AES-GCM from 2.3.2 on, with short tags only", "error getting IV: Buffer too short"},
	"g": {"gpgsm has no RSA-OAEP", "error getting encrypted session key"},
	"h": {"NSS imports no X25519 key", "PKCS12_UNABLE_TO_IMPORT_KEY"},
	"i": {"NSS has AuthEnvelopedData, and so AES-GCM, from 3.126 on", "SEC_ERROR_UNRECOGNIZED_OID"},
	"j": {"NSS 3.87 reads no object at all that is for other keys than RSA, too", "SEC_ERROR_BAD_DER"},
	"k": {"NSS has RSA-OAEP from 3.100 on", "SEC_ERROR_UNSUPPORTED_KEYALG"},
	"l": {"Bouncy Castle 1.72 has no ML-KEM, and passes such recipients over", "no recipient"},
	"m": {"Bouncy Castle 1.72 has no key agreement for AES-GCM", "no key agreement for AuthEnvelopedData"},
	"n": {"Bouncy Castle 1.72 has no X25519 with HKDF", "no such algorithm: 1.2.840.113549.1.9.16.3.19"},
	"o": {"mozilla/pkcs7 has no AuthEnvelopedData", "unimplemented content type"},
	"p": {"mozilla/pkcs7 reads no object at all that is for other keys than RSA, too", "sequence tag mismatch"},
	"q": {"mozilla/pkcs7 has no RSA-OAEP", "crypto/rsa: decryption error"},
}

// What every judge opens is what we write when we know nothing of the reader.
func TestMatrixDefault(t *testing.T) {
	for _, r := range matrix {
		if r.to == "rsa2048" && r.cipher == AES256CBC && strings.Trim(r.cells, "+ ") == "" {
			return
		}
	}
	t.Error("there is a judge that does not open the default form")
}

// TestMatrix is the table of what opens what. A cell that is not as it is written
// above, for better or for worse, fails: it is what we tell people, and what the
// choice of algorithms goes by.
func TestMatrix(t *testing.T) {
	var exhibits []exhibit
	for _, r := range matrix {
		exhibits = append(exhibits, r.exhibit(t))
	}
	exhibits = append(exhibits, defaultForms(t)...)
	verdicts := make([][]error, len(bench))
	sat := make([]bool, len(bench))
	t.Run("judges", func(t *testing.T) {
		for i, j := range bench {
			t.Run(j.name, func(t *testing.T) {
				t.Parallel()
				verdicts[i] = j.judge(t, exhibits)
				sat[i] = true
				for k, r := range matrix {
					r.check(t, i, verdicts[i][k])
				}
				checkAll(t, exhibits[len(matrix):], verdicts[i][len(matrix):])
			})
		}
	})
	printMatrix(t, sat, verdicts)
}

// defaultForms are more objects that every judge must open: what a Writer makes in
// pieces, and those where the end is easy to miss.
func defaultForms(t *testing.T) []exhibit {
	t.Helper()
	p := the(t, "rsa2048")
	return []exhibit{
		{"in pieces", "rsa2048", encrypt(t, entity, 1000, p), entity},
		{"empty", "rsa2048", encrypt(t, nil, 1, p), nil},
		{"a whole block", "rsa2048", encrypt(t, entity[:16], 5, p), entity[:16]},
	}
}

func (r row) people() []string { return strings.Fields(r.to) }

func (r row) exhibit(t *testing.T) exhibit {
	t.Helper()
	var to []person
	for _, who := range r.people() {
		to = append(to, the(t, who))
	}
	name := fmt.Sprintf("%s, %s", r.to, r.cipher)
	content := slices.Concat(entity, []byte(name)) // each has its own
	return exhibit{name, r.people()[0], encryptAs(t, r.cipher, content, to...), content}
}

// cell is what is expected of a judge.
func (r row) cell(judge int) string { return strings.Fields(r.cells)[judge] }

func (r row) check(t *testing.T, judge int, complaint error) {
	t.Helper()
	want := r.cell(judge)
	switch {
	case want == "+" && complaint != nil:
		t.Errorf("%s, %s: %v", r.to, r.cipher, complaint)
	case want != "+" && complaint == nil:
		t.Errorf("%s, %s: opened", r.to, r.cipher)
	case want != "+" && !strings.Contains(complaint.Error(), excuses[want].says):
		t.Errorf("%s, %s: not because %s: %v", r.to, r.cipher, excuses[want].why, complaint)
	}
}

// printMatrix logs the table with what came out, and the excuses that were used.
func printMatrix(t *testing.T, sat []bool, verdicts [][]error) {
	t.Helper()
	line := func(to, cipher string, cells []string) {
		text := fmt.Sprintf("%-26s%-11s", to, cipher)
		for i, cell := range cells {
			text += fmt.Sprintf("%-*s", 1+max(4, len(bench[i].name)), cell)
		}
		logLine(t, strings.TrimRight(text, " "))
	}
	var names []string
	for _, j := range bench {
		names = append(names, j.name)
	}
	line("to", "content", names)
	used := make(map[string]bool)
	for k, r := range matrix {
		cells := make([]string, len(bench))
		for i := range bench {
			switch {
			case !sat[i]:
				cells[i] = "?"
			case verdicts[i][k] == nil:
				cells[i] = "yes"
			case r.cell(i) == "+":
				cells[i] = "NO"
			default:
				cells[i] = "no " + r.cell(i)
				used[r.cell(i)] = true
			}
		}
		line(strings.Join(r.people(), " + "), r.cipher.String(), cells)
	}
	logLine(t, "yes: the first of the recipients reads it, octet by octet")
	for _, letter := range slices.Sorted(maps.Keys(used)) {
		logLine(t, letter+"  "+excuses[letter].why)
	}
}

// logLine logs a line for people, marked for tools/test.
func logLine(t *testing.T, text string) {
	t.Helper()
	if len(text) > 80 {
		t.Errorf("%d columns: %s", len(text), text)
	}
	t.Log("opens: " + text)
}
