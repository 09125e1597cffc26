package dnssec

import (
	"context"
	"errors"
	"testing"

	"github.com/miekg/dns"
)

const (
	typeA      = dns.TypeA
	typeSMIMEA = dns.TypeSMIMEA
)

// sound is a world in which nothing is broken.
func sound(t testing.TB) *world {
	records := `
mail           A      192.0.2.1
mail           A      192.0.2.2
a._smimecert   SMIMEA 3 0 0 aabb
*.wild         A      192.0.2.3
x.wild         A      192.0.2.4
deep.er.wild   A      192.0.2.5
*.alias        CNAME  mail
alias          CNAME  mail
far            CNAME  mail.nsec3.test.
away           CNAME  mail.unsigned.test.
nowhere        CNAME  nothing
tree           DNAME  nsec3.test.
treeout        DNAME  unsigned.test.
loop           CNAME  loop2
loop2          CNAME  loop
DotIn\.Label   A      192.0.2.6
`
	return newWorld(t,
		zoneOf(".", ""),
		zoneOf("test.", ""),
		zoneOf("good.test.", records),
		zoneOf("child.good.test.", "www A 192.0.2.7"),
		zoneOf("notgood.test.", "mail A 192.0.2.66"),
		zoneOf("nsec3.test.", records, withNSEC3),
		zoneOf("optout.test.", "mail A 192.0.2.1\n*.wild A 192.0.2.3", withOptOut),
		zoneOf("signed.optout.test.", "mail A 192.0.2.1"),
		zoneOf("plain.optout.test.", "mail A 192.0.2.1", unsigned),
		zoneOf("sub.ent.optout.test.", "mail A 192.0.2.1", unsigned),
		zoneOf("unsigned.test.", records, unsigned),
		zoneOf("below.unsigned.test.", "mail A 192.0.2.1"),
		zoneOf("forgotten.test.", "mail A 192.0.2.1", withoutDS),
	)
}

// consistent checks what holds for every answer.
func consistent(a Answer) error {
	switch {
	case a.Status == Secure && a.Why != nil:
		return errors.New("secure, with a reason why not")
	case a.Status != Secure && a.Why == nil:
		return errors.New("not secure, and no reason why")
	case a.Status != Secure && a.Data != nil:
		return errors.New("unproven data among the proven")
	case a.Status == Secure && a.Unproven != nil:
		return errors.New("secure, and unproven data")
	case a.Status == Secure && (a.Outcome == Data) != (len(a.Data) > 0):
		return errors.New("data, and no data")
	case a.Status == Secure && a.Outcome == Failed:
		return errors.New("secure, and failed")
	case (a.Denied != "") != (a.Status == Secure && a.Outcome == NXDomain):
		return errors.New("denied is not what it should be: " + a.Denied)
	case a.Expires.IsZero():
		return errors.New("it never ends")
	}
	return nil
}

func TestAnswerTellsItsWay(t *testing.T) {
	w := sound(t)
	a := w.validator(func(o *Options) { o.Evidence = true }).Lookup(context.Background(), "far.good.test.", typeA)
	var names []string
	for _, l := range a.Chain {
		names = append(names, l.Kind.String()+" "+l.Name)
		if l.Status != Secure {
			t.Errorf("%s is %v", l.Name, l.Status)
		}
	}
	want := "zone . / zone test. / zone good.test. / cname far.good.test. / zone nsec3.test."
	if got := joined(names); got != want {
		t.Errorf("chain %s, want %s", got, want)
	}
	if len(a.Evidence) != 9 {
		t.Errorf("%d messages prove it", len(a.Evidence))
	}
	if a.Chain[3].Target != "mail.nsec3.test." {
		t.Errorf("the alias leads to %q", a.Chain[3].Target)
	}
}

func joined(words []string) string {
	s := ""
	for i, w := range words {
		if i > 0 {
			s += " / "
		}
		s += w
	}
	return s
}
