package cms

import (
	"fmt"
	"strings"
	"testing"

	"smimea.example/tools/judges"
)

func judgeBouncyCastle(t testing.TB, exhibits []exhibit) []error {
	w := newWorkshop(t, "java", "javac")
	return w.order(exhibits, func(orders string) error { return w.java(orders) })
}

// java has Bouncy Castle carry out orders: see testdata/Judge.java.
func (w workshop) java(orders string) error {
	w.t.Helper()
	w.input = orders
	_, err := w.try("java", "-Xshare:auto", "-XX:TieredStopAtLevel=1", "-cp", judges.ClassPath(w.t), program(w.t, "Judge.java"))
	return err
}

// A bouncyForm is something that Bouncy Castle can write: see testdata/Judge.java.
type bouncyForm struct {
	who, cipher, scheme, wrap, ukm, writer string
}

func (f bouncyForm) String() string {
	return fmt.Sprintln("Bouncy Castle:", f.who, f.cipher, f.scheme, f.wrap, f.ukm, f.writer)
}

// bouncyForms are all that Bouncy Castle 1.72 has of what we read.
func bouncyForms() []bouncyForm {
	var forms []bouncyForm
	add := func(who, cipher, scheme, wrap, ukm string) {
		forms = append(forms,
			bouncyForm{who, cipher, scheme, wrap, ukm, "der"},
			bouncyForm{who, cipher, scheme, wrap, ukm, "ber"})
		if !suites[cipher].gcm {
			forms = append(forms, bouncyForm{who, cipher, scheme, wrap, ukm, "stream"})
		}
	}
	for cipher := range suites {
		add("rsa2048", cipher, "pkcs1", "none", "none")
		add("rsa2048", cipher, "oaep-SHA-1", "none", "none")
		add("rsa2048", cipher, "oaep-SHA-256", "none", "none")
		add("p256", cipher, oidECDHSHA256, oidAES128Wrap, "none")
		add("p384", cipher, oidECDHSHA384, oidAES256Wrap, "00ff00")
		add("p521", cipher, oidECDHSHA512, oidAES256Wrap, "none")
	}
	for _, scheme := range []string{
		oidECDHSHA1, oidECDHSHA224, oidECDHSHA256, oidECDHSHA384, oidECDHSHA512,
		oidCofactorSHA1, oidCofactorSHA224, oidCofactorSHA256, oidCofactorSHA384, oidCofactorSHA512,
	} {
		for wrap := range wraps {
			add("p256", oidAES256CBC, scheme, wrap, "0102030405060708")
		}
	}
	return forms
}

func TestOpensBouncyCastle(t *testing.T) {
	t.Parallel()
	w := newWorkshop(t, "java", "javac")
	content := w.write("content", entity)
	var orders strings.Builder
	forms := bouncyForms()
	for i, f := range forms {
		cert := w.write(f.who+".crt", the(t, f.who).cert().Raw)
		fmt.Fprintln(&orders, "make", content, cert, w.path(fmt.Sprint(i)), f.cipher, f.scheme, f.wrap, f.ukm, f.writer)
	}
	if err := w.java(orders.String()); err != nil {
		t.Fatal(err)
	}
	for i, f := range forms {
		object, err := w.outcome(fmt.Sprint(i))
		if err != nil {
			t.Errorf("%v%v", f, err)
			continue
		}
		p := the(t, f.who)
		got, err := Decrypt(object, p.cert(), p.key)
		if err := (exhibit{content: entity}).compare(got, err); err != nil {
			t.Errorf("%v%v", f, err)
		}
		checkCut(t, object)
	}
}
