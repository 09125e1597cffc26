package cms

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.mozilla.org/pkcs7"
	"smimea.example/tools/judges"
	"software.sslmate.com/src/go-pkcs12"
)

// An exhibit is an object that one of the people should be able to open.
type exhibit struct {
	name    string
	who     string
	object  []byte
	content []byte
}

// A judge is a program of other people that opens exhibits. It returns nil for
// each that came out octet by octet, or else its complaint.
type judge struct {
	name  string
	judge func(t testing.TB, exhibits []exhibit) []error
}

// bench is where the judges sit. The last one is ourselves.
var bench = []judge{
	{"openssl", judgeOpenSSL},
	{"gpgsm", judgeGPGSM},
	{"nss", judgeNSS},
	{"bc", judgeBouncyCastle},
	{"pkcs7", judgeMozilla},
	{"node", judgeNode},
	{"ours", judgeOurs},
}

// each judges one exhibit after the other.
func each(exhibits []exhibit, open func(e exhibit) ([]byte, error)) []error {
	complaints := make([]error, len(exhibits))
	for i, e := range exhibits {
		got, err := open(e)
		complaints[i] = e.compare(got, err)
	}
	return complaints
}

func (e exhibit) compare(got []byte, err error) error {
	if err == nil && !bytes.Equal(got, e.content) {
		err = fmt.Errorf("%d octets come out as other %d", len(e.content), len(got))
	}
	return err
}

// checkAll checks that there are no complaints.
func checkAll(t *testing.T, exhibits []exhibit, complaints []error) {
	t.Helper()
	for i, complaint := range complaints {
		if complaint != nil {
			t.Errorf("%s: %v", exhibits[i].name, complaint)
		}
	}
}

func judgeOpenSSL(t testing.TB, exhibits []exhibit) []error {
	w := newWorkshop(t, "openssl")
	return each(exhibits, func(e exhibit) ([]byte, error) {
		cert, key := w.admit(e.who)
		return w.try("openssl", "cms", "-decrypt", "-binary", "-inform", "DER",
			"-in", w.write("object.p7m", e.object), "-recip", cert, "-inkey", key)
	})
}

// stores are workshops with the key of one person each: a judge who has the keys
// of all would open an object with any of them.
type stores map[string]store

type store struct {
	workshop
	err error // why there is no key in it
}

// of returns a person's store, which is made once.
func (s stores) of(t testing.TB, who string, fill func(w workshop, p person) error) store {
	t.Helper()
	if _, made := s[who]; !made {
		w := newWorkshop(t)
		s[who] = store{w, fill(w, the(t, who))}
	}
	return s[who]
}

// asGPGSM takes the words for keys from the standard input.
var asGPGSM = []string{"--batch", "--pinentry-mode", "loopback", "--passphrase-fd", "0", "--disable-crl-checks"}

func judgeGPGSM(t testing.TB, exhibits []exhibit) []error {
	newWorkshop(t, "gpgsm", "gpgconf")
	people := make(stores)
	return each(exhibits, func(e exhibit) ([]byte, error) {
		w := people.of(t, e.who, fillGPGSM)
		if w.err != nil {
			return nil, w.err
		}
		w.input = "secret\n"
		return w.try("gpgsm", append(asGPGSM, "--decrypt", w.write("object.p7m", e.object))...)
	})
}

func fillGPGSM(w workshop, p person) error {
	w.t.Helper()
	// Or the agent measures for a second how often it can hash.
	w.write("gpg-agent.conf", []byte("s2k-count 65536\n"))
	w.t.Cleanup(func() { w.try("gpgconf", "--kill", "all") })
	var err error
	for range 3 { // of a hundred bags gpgsm takes one for another charset's: each has a salt of its own
		var bag []byte
		if bag, err = pkcs12.LegacyDES.Encode(p.key, p.cert(), nil, "secret"); err != nil {
			return err
		}
		w.input = "secret\n"
		_, err = w.try("gpgsm", append(asGPGSM, "--import", w.write("bag.p12", bag))...)
		if err == nil || !strings.Contains(err.Error(), "error parsing or decrypting the PKCS#12 file") {
			return err
		}
	}
	return err
}

func judgeNSS(t testing.TB, exhibits []exhibit) []error {
	newWorkshop(t, "certutil", "pk12util", "cmsutil")
	people := make(stores)
	return each(exhibits, func(e exhibit) ([]byte, error) {
		w := people.of(t, e.who, fillNSS)
		if w.err != nil {
			return nil, w.err
		}
		return w.try("cmsutil", "-D", "-d", "sql:"+w.dir, "-i", w.write("object.p7m", e.object))
	})
}

func fillNSS(w workshop, p person) error {
	bag, err := pkcs12.Modern2023.Encode(p.key, p.cert(), nil, "secret")
	if err != nil {
		return err
	}
	w.run("certutil", "-N", "-d", "sql:"+w.dir, "--empty-password")
	_, err = w.try("pk12util", "-i", w.write("bag.p12", bag), "-d", "sql:"+w.dir, "-W", "secret")
	return err
}

// mozilla/pkcs7 is known to panic. It gets our own objects and no others.
func judgeMozilla(_ testing.TB, exhibits []exhibit) []error {
	return each(exhibits, openMozilla)
}

func openMozilla(e exhibit) (content []byte, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	p, err := people[e.who]()
	if err != nil {
		return nil, err
	}
	object, err := pkcs7.Parse(e.object)
	if err != nil {
		return nil, err
	}
	return object.Decrypt(p.cert(), p.key)
}

func judgeOurs(t testing.TB, exhibits []exhibit) []error {
	return each(exhibits, func(e exhibit) ([]byte, error) {
		p := the(t, e.who)
		return Decrypt(e.object, p.cert(), p.key)
	})
}

func judgeNode(t testing.TB, exhibits []exhibit) []error {
	node := judges.Node(t)
	w := newWorkshop(t)
	return w.order(exhibits, func(orders string) error {
		w.input = orders
		_, err := w.try(node, program(t, "open.mjs"))
		return err
	})
}

// program is the path of a program in testdata.
func program(t testing.TB, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// order has one process open all the exhibits: see testdata/open.mjs.
func (w workshop) order(exhibits []exhibit, run func(orders string) error) []error {
	w.t.Helper()
	var orders strings.Builder
	for i, e := range exhibits {
		p := the(w.t, e.who)
		cert := w.write(e.who+".crt.der", p.cert().Raw)
		key := w.write(e.who+".key.der", marshalKey(w.t, p.key))
		object := w.write(fmt.Sprintf("%d.p7m", i), e.object)
		fmt.Fprintln(&orders, "open", object, cert, key, w.path(fmt.Sprintf("%d.out", i)))
	}
	if err := run(orders.String()); err != nil {
		w.t.Fatal(err)
	}
	complaints := make([]error, len(exhibits))
	for i, e := range exhibits {
		got, err := w.outcome(fmt.Sprintf("%d.out", i))
		complaints[i] = e.compare(got, err)
	}
	return complaints
}

// outcome reads what came of an order.
func (w workshop) outcome(name string) ([]byte, error) {
	w.t.Helper()
	complaint, err := os.ReadFile(w.path(name + ".err"))
	if err == nil {
		return nil, errors.New(string(complaint))
	}
	return os.ReadFile(w.path(name))
}
