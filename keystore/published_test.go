package keystore

import (
	"context"
	"crypto/x509"
	"errors"
	"strings"
	"testing"
	"time"

	"smimea.example/smimea"
	"smimea.example/smimea/dnssec"
)

func TestPublished(t *testing.T) {
	later, soon := noon.Add(time.Hour), noon.Add(time.Minute)
	secure := func(outcome dnssec.Outcome, data ...[]byte) dnssec.Answer {
		return dnssec.Answer{Status: dnssec.Secure, Outcome: outcome, Data: data, Expires: later}
	}
	insecure := func(outcome dnssec.Outcome, data ...[]byte) dnssec.Answer {
		return dnssec.Answer{Status: dnssec.Insecure, Outcome: outcome, Unproven: data, Expires: later}
	}
	bogus := func(outcome dnssec.Outcome, data ...[]byte) dnssec.Answer {
		return dnssec.Answer{Status: dnssec.Bogus, Outcome: outcome, Unproven: data, Why: errors.New("forged")}
	}
	record := func(c cert) []byte { return smimea.Record{Usage: 3, Data: c.der(t)}.RDATA() }
	good, expired := record(cert{}), record(cert{notAfter: noon.AddDate(0, 0, -1)})
	weak := record(cert{key: weakKey()})
	digest := append([]byte{3, 1, 1}, make([]byte, 32)...)
	null, mail := []byte{0, 0, 0}, []byte{0, 10, 1, 'm', 0}
	wildcard := secure(dnssec.Data, good)
	wildcard.Wildcard = true
	short := secure(dnssec.NXDomain)
	short.Expires = soon

	for _, test := range []struct {
		name       string
		smimea, mx dnssec.Answer
		want       Outcome
		why        string // for Found: a warning
		expires    time.Time
	}{
		{"a certificate", secure(dnssec.Data, good), dnssec.Answer{}, Found, "", later},
		{"a wildcard's certificate", wildcard, dnssec.Answer{}, Found, "wildcard", later},
		{"certificates, good and bad", secure(dnssec.Data, expired, good), dnssec.Answer{}, Found, "", later},
		{"an expired certificate", secure(dnssec.Data, expired), dnssec.Answer{}, Unusable, "expired on 2026-05-31", later},
		{"a weak certificate", secure(dnssec.Data, weak), dnssec.Answer{}, WeakOnly, "1024", later},
		{"a weak certificate and an expired one", secure(dnssec.Data, weak, expired), dnssec.Answer{}, Unusable, "expired", later},
		{"a weak certificate and a digest", secure(dnssec.Data, weak, digest), dnssec.Answer{}, Unusable, "1024", later},
		{"a digest alone", secure(dnssec.Data, digest), dnssec.Answer{}, Unusable, "constraint only", later},
		{"an unusable record, and a null MX", secure(dnssec.Data, digest), secure(dnssec.Data, null), Unusable, "constraint only", later},

		{"proven absence", secure(dnssec.NXDomain), secure(dnssec.Data, mail), None, "proven", later},
		{"proven absence, no MX", secure(dnssec.NoData), secure(dnssec.NoData), None, "proven", later},
		{"proven absence, MX not answered", secure(dnssec.NXDomain), dnssec.Answer{}, None, "proven", later},
		{"proven absence, MX forged", secure(dnssec.NXDomain), bogus(dnssec.Data, mail), None, "proven", later},
		{"proven null MX", secure(dnssec.NXDomain), secure(dnssec.Data, null), NullMX, "takes no mail", later},
		{"null MX beside another is none", secure(dnssec.NXDomain), secure(dnssec.Data, null, mail), None, "proven", later},
		{"null MX in a forged answer", secure(dnssec.NXDomain), bogus(dnssec.Data, null), Failed, "not proven", time.Time{}},
		{"null MX in an unproven answer", secure(dnssec.NXDomain), dnssec.Answer{Outcome: dnssec.Data, Unproven: [][]byte{null}}, Failed, "not proven", time.Time{}},
		{"proven missing domain", secure(dnssec.NXDomain), secure(dnssec.NXDomain), NoDomain, "does not exist", later},
		{"missing domain, no longer than both hold", secure(dnssec.NXDomain), short, NoDomain, "does not exist", soon},
		{"missing domain in a forged answer", secure(dnssec.NXDomain), bogus(dnssec.NXDomain), None, "proven", later},

		{"unsigned zone", insecure(dnssec.NXDomain), insecure(dnssec.Data, mail), None, "not signed", later},
		{"unsigned zone with a record", insecure(dnssec.Data, good), insecure(dnssec.Data, mail), None, "not signed", later},
		{"unsigned zone with a null MX", insecure(dnssec.NXDomain), insecure(dnssec.Data, null), Failed, "not proven", later},
		{"unsigned zone, domain missing", insecure(dnssec.NXDomain), insecure(dnssec.NXDomain), None, "not signed", later},

		{"forged", bogus(dnssec.Data, good), secure(dnssec.NXDomain), Bogus, "forged", time.Time{}},
		{"forged denial", bogus(dnssec.NXDomain), secure(dnssec.NXDomain), Bogus, "forged", time.Time{}},
		{"no answer", dnssec.Answer{Why: errors.New("timeout")}, secure(dnssec.NXDomain), Failed, "timeout", time.Time{}},
	} {
		p := Published{Now: atNoon, Client: smimea.Client{Resolver: zone{
			{owner(t, alice), dnssec.TypeSMIMEA}: test.smimea,
			{"example.org.", dnssec.TypeMX}:      test.mx,
		}}}
		keys := p.Find(context.Background(), alice)
		if keys.Outcome != test.want || keys.Origin != "dns" {
			t.Errorf("%s: %v from %q (%v), want %v", test.name, keys.Outcome, keys.Origin, keys.Why, test.want)
		}
		said := strings.Join(keys.Warnings, "; ")
		if test.want != Found {
			said = ""
			if keys.Why != nil {
				said = keys.Why.Error()
			}
		}
		if !strings.Contains(said, test.why) || (test.want == Found) != (len(keys.Certs) == 1) {
			t.Errorf("%s: %d certificates, says %q, want %q", test.name, len(keys.Certs), said, test.why)
		}
		if !keys.Expires.Equal(test.expires) {
			t.Errorf("%s: expires %v, want %v", test.name, keys.Expires, test.expires)
		}
	}
}

func TestPublishedWithoutName(t *testing.T) {
	for address, want := range map[string]Outcome{
		"alice":             Failed, // of what is no address nothing is known
		"alice@[192.0.2.1]": None,
		"alice@" + strings.Repeat("a.", 100) + "org": None,
	} {
		keys := Published{Client: smimea.Client{Resolver: zone{}}}.Find(context.Background(), address)
		if keys.Outcome != want || keys.Why == nil || !keys.Expires.IsZero() {
			t.Errorf("Find(%q) = %v (%v) until %v", address, keys.Outcome, keys.Why, keys.Expires)
		}
	}
}

// A path ends with the first of its certificates, and so does the answer.
func TestPublishedPathEnds(t *testing.T) {
	soon := noon.Add(time.Hour)
	root := newAuthority(t, "Root", nil, func(c *x509.Certificate) { c.NotAfter = soon })
	mine := root.issue(t, 7)
	p := Published{Client: smimea.Client{Trust: smimea.Trust{Roots: certificatesOf([]*authority{root})}}}
	for usage, want := range map[uint8]time.Time{1: soon, 3: noon.AddDate(0, 0, 30)} {
		keys := publish(t, p, smimea.Record{Usage: usage, Data: mine}.RDATA())
		if keys.Outcome != Found || !keys.Expires.Equal(want) {
			t.Errorf("usage %d: %v until %v, want %v", usage, keys.Outcome, keys.Expires, want)
		}
	}
}
