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

func TestSound(t *testing.T) {
	for _, c := range []struct {
		what    string
		name    string
		qtype   uint16
		status  Status
		outcome Outcome
	}{
		{"a record", "mail.good.test", typeA, Secure, Data},
		{"upper case", "MAIL.Good.TEST.", typeA, Secure, Data},
		{"a dot inside a label", `dotin\.label.good.test.`, typeA, Secure, Data},
		{"an apex", "good.test.", dns.TypeSOA, Secure, Data},
		{"the keys of the root", ".", dns.TypeDNSKEY, Secure, Data},
		{"the DS of the root", ".", dns.TypeDS, Secure, NoData},
		{"a DS", "good.test.", dns.TypeDS, Secure, Data},
		{"the keys of a zone", "good.test.", dns.TypeDNSKEY, Secure, Data},
		{"a certificate", "a._smimecert.good.test.", typeSMIMEA, Secure, Data},
		{"a zone in a zone", "www.child.good.test.", typeA, Secure, Data},
		{"NSEC: another type", "mail.good.test.", typeSMIMEA, Secure, NoData},
		{"NSEC: another type at the apex", "good.test.", typeSMIMEA, Secure, NoData},
		{"NSEC: no such name", "b._smimecert.good.test.", typeSMIMEA, Secure, NXDomain},
		{"NSEC: no such name, after the last", "zzz.good.test.", typeA, Secure, NXDomain},
		{"NSEC: an empty non-terminal", "_smimecert.good.test.", typeSMIMEA, Secure, NoData},
		{"NSEC: no such zone", "none.test.", typeSMIMEA, Secure, NXDomain},
		{"NSEC: no DS of a name that is no zone", "mail.good.test.", dns.TypeDS, Secure, NoData},
		{"NSEC: no DS of an unsigned zone", "unsigned.test.", dns.TypeDS, Secure, NoData},
		{"NSEC: a wildcard", "any.wild.good.test.", typeA, Secure, Data},
		{"NSEC: a wildcard, two labels", "a.ny.wild.good.test.", typeA, Secure, Data},
		{"NSEC: a wildcard, another type", "any.wild.good.test.", typeSMIMEA, Secure, NoData},
		{"NSEC: beside a wildcard, no expansion", "er.wild.good.test.", typeA, Secure, NoData},
		{"NSEC: below a name beside a wildcard", "any.er.wild.good.test.", typeA, Secure, NXDomain},
		{"the wildcard itself", "*.wild.good.test.", typeA, Secure, Data},
		{"NSEC3: another type", "mail.nsec3.test.", typeSMIMEA, Secure, NoData},
		{"NSEC3: another type at the apex", "nsec3.test.", typeSMIMEA, Secure, NoData},
		{"NSEC3: no such name", "b._smimecert.nsec3.test.", typeSMIMEA, Secure, NXDomain},
		{"NSEC3: an empty non-terminal", "_smimecert.nsec3.test.", typeSMIMEA, Secure, NoData},
		{"NSEC3: no DS of a name that is no zone", "mail.nsec3.test.", dns.TypeDS, Secure, NoData},
		{"NSEC3: a wildcard", "any.wild.nsec3.test.", typeA, Secure, Data},
		{"NSEC3: a wildcard, two labels", "a.ny.wild.nsec3.test.", typeA, Secure, Data},
		{"NSEC3: a wildcard, another type", "any.wild.nsec3.test.", typeSMIMEA, Secure, NoData},
		{"NSEC3: below a name beside a wildcard", "any.er.wild.nsec3.test.", typeA, Secure, NXDomain},
		{"an alias", "alias.good.test.", typeA, Secure, Data},
		{"an alias, asked for", "alias.good.test.", dns.TypeCNAME, Secure, Data},
		{"an alias to another zone", "far.good.test.", typeA, Secure, Data},
		{"an alias from a wildcard", "any.alias.good.test.", typeA, Secure, Data},
		{"an alias into an unsigned zone", "away.good.test.", typeA, Insecure, Data},
		{"an alias to nothing", "nowhere.good.test.", typeA, Secure, NXDomain},
		{"aliases in a circle", "loop.good.test.", typeA, Indeterminate, Failed},
		{"a renamed tree", "mail.tree.good.test.", typeA, Secure, Data},
		{"a renamed tree, nothing in it", "nothing.tree.good.test.", typeA, Secure, NXDomain},
		{"a renamed tree, an alias in it", "alias.tree.good.test.", typeA, Secure, Data},
		{"a tree renamed into an unsigned zone", "mail.treeout.good.test.", typeA, Insecure, Data},
		{"the DNAME itself", "tree.good.test.", dns.TypeDNAME, Secure, Data},
		{"beside a DNAME", "tree.good.test.", typeA, Secure, NoData},
		{"Opt-Out: a record", "mail.optout.test.", typeA, Secure, Data},
		{"Opt-Out: a signed zone", "mail.signed.optout.test.", typeA, Secure, Data},
		{"Opt-Out: an unsigned zone", "mail.plain.optout.test.", typeA, Insecure, Data},
		{"Opt-Out: an unsigned zone, further down", "mail.sub.ent.optout.test.", typeA, Insecure, Data},
		{"Opt-Out: no such name is not proven", "none.optout.test.", typeA, Insecure, NXDomain},
		{"Opt-Out: another type", "mail.optout.test.", typeSMIMEA, Secure, NoData},
		{"Opt-Out: a wildcard is not proven", "any.wild.optout.test.", typeA, Insecure, Data},
		{"unsigned: a record", "mail.unsigned.test.", typeA, Insecure, Data},
		{"unsigned: another type", "mail.unsigned.test.", typeSMIMEA, Insecure, NoData},
		{"unsigned: no such name", "none.unsigned.test.", typeA, Insecure, NXDomain},
		{"unsigned: an alias", "alias.unsigned.test.", typeA, Insecure, Data},
		{"unsigned: an alias into a signed zone", "far.unsigned.test.", typeA, Insecure, Data},
		{"unsigned: a renamed tree", "mail.tree.unsigned.test.", typeA, Insecure, Data},
		{"a signed zone below an unsigned one", "mail.below.unsigned.test.", typeA, Insecure, Data},
		{"a signed zone that its parent forgot", "mail.forgotten.test.", typeA, Insecure, Data},
	} {
		a := sound(t).lookup(c.name, c.qtype)
		if a.Status != c.status || a.Outcome != c.outcome {
			t.Errorf("%s: %s %s is %v, %v (%v), want %v, %v", c.what, c.name, TypeName(c.qtype), a.Status, a.Outcome, a.Why, c.status, c.outcome)
		}
		if err := consistent(a); err != nil {
			t.Errorf("%s: %v", c.what, err)
		}
	}
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

func TestEveryAlgorithm(t *testing.T) {
	for _, alg := range []uint8{8, 10, 13, 14, 15} {
		for _, kind := range []uint8{2, 4} {
			w := newWorld(t, zoneOf("test.", "mail A 192.0.2.1", algorithm(alg), digestType(kind)))
			if a := w.lookup("mail.test.", typeA); a.Status != Secure || a.Outcome != Data {
				t.Errorf("algorithm %d, digest %d: %v (%v)", alg, kind, a.Status, a.Why)
			}
		}
	}
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
