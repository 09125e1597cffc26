package smimea

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"smimea.example/smimea/dnssec"
)

// Records that help each other: what else the set holds, and what is at hand
// besides it.
func TestCertifyWithHelp(t *testing.T) {
	alice := []string{"alice@example.org"}
	root := newCert(t, cert{ca: true})
	sub := newCert(t, cert{ca: true, issuer: root})
	subsub := newCert(t, cert{ca: true, issuer: sub})
	late := newCert(t, cert{ca: true, issuer: root, expired: true})
	noSigner := newCert(t, cert{ca: true, issuer: root, change: func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCRLSign }})
	short := newCert(t, cert{ca: true, issuer: root, change: func(c *x509.Certificate) { c.MaxPathLenZero = true }})
	below := newCert(t, cert{ca: true, issuer: short})
	good := newCert(t, cert{emails: alice, issuer: sub})
	deep := newCert(t, cert{emails: alice, issuer: subsub})
	ofLate := newCert(t, cert{emails: alice, issuer: late})
	ofNoSigner := newCert(t, cert{emails: alice, issuer: noSigner})
	tooDeep := newCert(t, cert{emails: alice, issuer: below})
	signer := newCert(t, cert{emails: alice, issuer: sub}) // no CA, and yet it has signed
	ofSigner := newCert(t, cert{emails: alice, issuer: signer})
	self := newCert(t, cert{emails: alice})
	caOfAlice := newCert(t, cert{emails: alice, ca: true, issuer: root})

	long := newCert(t, cert{ca: true, public: keyOf(maxSignerRSA + 1)})
	longest := newCert(t, cert{ca: true, public: keyOf(maxSignerRSA)})

	nobody := Trust{Now: noon}
	rooted := Trust{Roots: certs(root), Now: noon}

	type set []Record
	for _, test := range []struct {
		name       string
		records    set // the first one is judged
		candidates []*issued
		trust      Trust
		vouched    *issued
		why        string
	}{
		{"1 0 0 and its CA as 0 0 0", set{record(1, 0, 0, good), record(0, 0, 0, sub)}, nil, rooted, good, ""},
		{"1 0 0 and its CA as 2 0 0", set{record(1, 0, 0, good), record(2, 0, 0, sub)}, nil, rooted, good, ""},
		{"1 0 0 and its CA as 3 0 0", set{record(1, 0, 0, good), record(3, 0, 0, sub)}, nil, rooted, good, ""},
		{"1 0 0 and its CA as a digest", set{record(1, 0, 0, good), record(0, 0, 1, sub)}, nil, rooted, nil, "no valid path"},
		{"1 0 0 and the root in the set", set{record(1, 0, 0, good), record(0, 0, 0, sub), record(2, 0, 0, root)}, nil, nobody, nil, "there is none"},
		{"1 0 0 and another root is ours", set{record(1, 0, 0, good), record(0, 0, 0, sub)}, nil, Trust{Roots: certs(short), Now: noon}, nil, "no valid path"},
		{"1 0 0, two steps", set{record(1, 0, 0, deep), record(0, 0, 0, sub), record(0, 0, 0, subsub)}, nil, rooted, deep, ""},
		{"1 0 0, a step out of the settings", set{record(1, 0, 0, deep), record(0, 0, 0, subsub)}, nil,
			Trust{Roots: certs(root), Intermediates: certs(sub), Now: noon}, deep, ""},
		{"1 0 0, expired step", set{record(1, 0, 0, ofLate), record(0, 0, 0, late)}, nil, rooted, nil, "expired"},
		{"1 0 0, a step that may not sign", set{record(1, 0, 0, ofNoSigner), record(0, 0, 0, noSigner)}, nil, rooted, nil, "no valid path"},
		{"1 0 0, a step too many", set{record(1, 0, 0, tooDeep), record(0, 0, 0, below), record(0, 0, 0, short)}, nil, rooted, nil, "too many intermediates"},
		{"1 0 0, signed by no CA", set{record(1, 0, 0, ofSigner), record(3, 0, 0, signer), record(0, 0, 0, sub)}, nil, rooted, nil, "no valid path"},
		{"1 0 1 of a candidate", set{record(1, 0, 1, good), record(0, 0, 0, sub)}, []*issued{good}, rooted, good, ""},
		{"1 1 2 of a candidate", set{record(1, 1, 2, good), record(0, 0, 0, sub)}, []*issued{self, good}, rooted, good, ""},

		{"0 0 0 and 1 0 0", set{record(0, 0, 0, sub), record(1, 0, 0, good)}, nil, rooted, good, ""},
		{"0 0 0 of a step higher up", set{record(0, 0, 0, sub), record(1, 0, 0, deep), record(3, 0, 0, subsub)}, nil, rooted, deep, ""},
		{"0 1 1 of a step higher up", set{record(0, 1, 1, sub), record(1, 0, 0, deep), record(0, 0, 0, sub), record(0, 0, 0, subsub)}, nil, rooted, deep, ""},
		{"0 0 0 and a candidate", set{record(0, 0, 0, sub)}, []*issued{good}, rooted, good, ""},
		{"0 0 0 and its own CA at hand (R1)", set{record(0, 0, 0, root), record(0, 0, 1, caOfAlice)}, []*issued{caOfAlice}, rooted, nil, "says that the certificate is a CA's"},

		{"2 0 0 and 3 0 0", set{record(2, 0, 0, sub), record(3, 0, 0, good)}, nil, nobody, good, ""},
		{"2 0 0 and a candidate", set{record(2, 0, 0, sub)}, []*issued{good}, nobody, good, ""},
		{"2 0 0 and a step in the set", set{record(2, 0, 0, root), record(2, 0, 0, sub)}, []*issued{good}, nobody, good, ""},
		{"2 0 0 and another CA of the set (R1)", set{record(2, 0, 0, root), record(2, 0, 0, caOfAlice)}, []*issued{caOfAlice}, nobody, nil, "says that the certificate is a CA's"},
		{"2 0 0 and its own certificate as 3 0 0 (R1)", set{record(2, 0, 0, root), record(3, 0, 0, root)}, nil, nobody, nil, "does not name"},
		{"2 0 0 with a long key", set{record(2, 0, 0, long)}, []*issued{good}, nobody, nil, "4097 bits, at most 4096"},
		{"2 0 0 with the longest key", set{record(2, 0, 0, longest)}, []*issued{good}, nobody, nil, "no valid path"},
		{"2 0 1, a CA in the set with a long key", set{record(2, 0, 1, long), record(0, 0, 0, long)}, []*issued{good}, nobody, nil, "there is none"},
		{"2 0 0, expired", set{record(2, 0, 0, late)}, []*issued{ofLate}, nobody, nil, "expired"},
		{"2 0 1, the CA in the set", set{record(2, 0, 1, sub), record(0, 0, 0, sub)}, []*issued{good}, nobody, good, ""},
		{"2 1 1, the CA in the set", set{record(2, 1, 1, sub), record(0, 0, 0, sub)}, []*issued{good}, nobody, good, ""},
		{"2 1 2, the CA in the set", set{record(2, 1, 2, root), record(2, 0, 0, root), record(0, 0, 0, sub)}, []*issued{good}, nobody, good, ""},
		{"2 1 1, the CA among the roots", set{record(2, 1, 1, root), record(0, 0, 0, sub)}, []*issued{good}, rooted, good, ""},
		{"2 1 1, no CA", set{record(2, 1, 1, good), record(3, 0, 0, good)}, nil, nobody, nil, "there is none"},

		{"3 1 1 and a candidate", set{record(3, 1, 1, self)}, []*issued{good, self}, nobody, self, ""},
		{"3 1 1 and a record", set{record(3, 1, 1, self), record(3, 0, 0, self)}, nil, nobody, self, ""},
		{"3 0 2 and a CA's record", set{record(3, 0, 2, sub), record(2, 0, 0, sub)}, nil, nobody, nil, "constraint only"},
	} {
		f := Certify(address(t, "alice@example.org"), test.records, rawOf(test.candidates...), test.trust)[0]
		switch {
		case test.vouched == nil && (f.Vouched != nil || f.Why == nil || !strings.Contains(f.Why.Error(), test.why)):
			t.Errorf("%s: vouches for %d certificates, why is %v, want %q", test.name, len(f.Vouched), f.Why, test.why)
		case test.vouched != nil && (len(f.Vouched) != 1 || string(f.Vouched[0]) != string(test.vouched.Raw) || f.Why != nil):
			t.Errorf("%s: vouches for %d certificates (%v)", test.name, len(f.Vouched), f.Why)
		}
	}
}

// A CA that may speak for some addresses only: crypto/x509 looks at rfc822Names
// alone, so an address that stands elsewhere must not pass.
func TestNameConstraints(t *testing.T) {
	permitted := func(domain string) func(*x509.Certificate) {
		return func(c *x509.Certificate) {
			c.PermittedDNSDomainsCritical = true
			c.PermittedEmailAddresses = []string{domain}
		}
	}
	for _, test := range []struct {
		name, address string
		change        func(*x509.Certificate)
		mailbox       cert
		want          string // why not; empty if it is vouched for
	}{
		{"rfc822Name within", "alice@example.org", permitted("example.org"), cert{emails: []string{"alice@example.org"}}, ""},
		{"rfc822Name outside", "alice@example.org", permitted("example.com"), cert{emails: []string{"alice@example.org"}}, "not permitted"},
		{"rfc822Name excluded", "alice@example.org", func(c *x509.Certificate) { c.ExcludedEmailAddresses = []string{"example.org"} },
			cert{emails: []string{"alice@example.org"}}, "excluded"},
		{"the mailbox excluded", "alice@example.org", func(c *x509.Certificate) { c.ExcludedEmailAddresses = []string{"alice@example.org"} },
			cert{emails: []string{"alice@example.org"}}, "excluded"},
		{"the mailbox excluded, in other letters", "alice@example.org", func(c *x509.Certificate) { c.ExcludedEmailAddresses = []string{"alice@example.org"} },
			cert{emails: []string{"Alice@example.org"}}, "may not speak for this address"},
		{"rfc822Name and subject", "alice@example.org", permitted("example.org"),
			cert{emails: []string{"alice@example.org"}, subject: inSubject("alice@example.org")}, ""},
		{"subject within", "alice@example.org", permitted("example.org"), cert{subject: inSubject("alice@example.org")}, "cannot be checked"},
		{"subject outside", "alice@example.org", permitted("example.com"), cert{subject: inSubject("alice@example.org")}, "cannot be checked"},
		{"subject, and an rfc822Name of somebody else", "alice@example.org", permitted("example.com"),
			cert{emails: []string{"bob@example.com"}, subject: inSubject("alice@example.org")}, "cannot be checked"},
		{"subject, some excluded", "alice@example.org", func(c *x509.Certificate) {
			c.PermittedDNSDomainsCritical, c.ExcludedEmailAddresses = true, []string{"example.com"}
		},
			cert{subject: inSubject("alice@example.org")}, "cannot be checked"},
		{"subject, no constraints", "alice@example.org", nil, cert{subject: inSubject("alice@example.org")}, ""},
		{"subject, constraints for hosts", "alice@example.org", func(c *x509.Certificate) {
			c.PermittedDNSDomainsCritical, c.PermittedDNSDomains = true, []string{"example.com"}
		}, cert{subject: inSubject("alice@example.org")}, ""},
		{"subject, constraints that are not critical", "alice@example.org", func(c *x509.Certificate) { c.PermittedDNSDomains = []string{"example.com"} },
			cert{subject: inSubject("alice@example.org")}, "cannot be checked"},
		{"SmtpUTF8Mailbox", "佐藤@example.org", permitted("example.org"), cert{extra: extension(t, "佐藤@example.org")}, "cannot be checked"},
		{"SmtpUTF8Mailbox, no constraints", "佐藤@example.org", nil, cert{extra: extension(t, "佐藤@example.org")}, ""},
	} {
		constrained := newCert(t, cert{ca: true, change: test.change})
		free := newCert(t, cert{ca: true})
		below := newCert(t, cert{ca: true, change: test.change, issuer: free})
		for place, path := range map[string][]*issued{"root": {constrained}, "intermediate": {free, below}} {
			test.mailbox.issuer = path[len(path)-1]
			mailbox := newCert(t, test.mailbox)
			trust := Trust{Roots: certs(path[0]), Intermediates: certs(path...), Now: noon}
			for _, records := range [][]Record{{record(1, 0, 0, mailbox)}, {record(0, 1, 1, path[0])}, {record(2, 0, 0, path[0])}} {
				f := Certify(address(t, test.address), records, rawOf(mailbox), trust)[0]
				name := fmt.Sprintf("%s, constraints of the %s, usage %d", test.name, place, records[0].Usage)
				if test.want == "" && f.Why != nil || test.want != "" && (f.Why == nil || !strings.Contains(f.Why.Error(), test.want)) {
					t.Errorf("%s: why is %v, want %q", name, f.Why, test.want)
				}
			}
		}
	}
}

// What a path is worth when some of its certificates are revoked, or when nobody
// can say whether they are.
func TestRevoked(t *testing.T) {
	alice := []string{"alice@example.org"}
	root := newCert(t, cert{ca: true})
	sub := newCert(t, cert{ca: true, issuer: root})
	good := newCert(t, cert{emails: alice, issuer: sub})
	direct := newCert(t, cert{emails: alice, issuer: root})
	// Two ways up: the same name and key, certified twice.
	other := newCert(t, cert{ca: true})
	crossed := newCert(t, cert{ca: true, issuer: other, subject: sub.Subject, public: sub.PublicKey})
	twice := newCert(t, cert{emails: alice, issuer: sub})
	bob := newCert(t, cert{emails: []string{"bob@example.org"}, issuer: sub})
	revoked, unknown := errors.New("revoked on 2026-05-01"), fmt.Errorf("%w: a CRL is old", ErrRevocationUnknown)

	type status map[*issued]error
	for _, test := range []struct {
		name    string
		status  status
		records []Record
		outcome Outcome
		why     string
	}{
		{"nothing", nil, []Record{record(1, 0, 0, good)}, Found, ""},
		{"the certificate", status{good: revoked}, []Record{record(1, 0, 0, good)}, Unusable, "1 0 0: revoked on 2026-05-01"},
		{"its CA", status{sub: revoked}, []Record{record(1, 0, 0, good)}, Unusable, `1 0 0: the CA certificate "CN=test`},
		{"the root cannot be", status{root: revoked}, []Record{record(1, 0, 0, good)}, Found, ""},
		{"an anchor cannot be", status{sub: revoked}, []Record{record(2, 0, 0, sub)}, Found, ""},
		{"a step to an anchor", status{sub: revoked}, []Record{record(2, 0, 0, root)}, Unusable, "the CA certificate"},
		{"a step to a root", status{sub: revoked}, []Record{record(0, 0, 0, root)}, Unusable, "the CA certificate"},
		{"another path", status{sub: revoked}, []Record{record(2, 0, 0, other), record(0, 0, 0, crossed)}, Found, ""},
		{"another path that does not lead through", status{crossed: revoked}, []Record{record(0, 0, 0, crossed)}, Unusable, "0 0 0: "},
		{"unknown", status{good: unknown}, []Record{record(1, 0, 0, good)}, Failed, "1 0 0: it could not be found out"},
		{"unknown CA", status{sub: unknown}, []Record{record(1, 0, 0, good)}, Failed, "the CA certificate"},
		{"unknown CA of a revoked certificate", status{sub: unknown, good: revoked}, []Record{record(1, 0, 0, good)}, Unusable, "revoked"},
		{"unknown certificate of a revoked CA", status{sub: revoked, good: unknown}, []Record{record(1, 0, 0, good)}, Unusable, "revoked"},
		{"unknown beside a revoked one", status{good: unknown, direct: revoked}, []Record{record(1, 0, 0, direct), record(1, 0, 0, good)}, Failed, "1 0 0: it could not"},
		{"unknown beside one that is fine", status{good: unknown}, []Record{record(1, 0, 0, direct), record(1, 0, 0, good)}, Found, ""},
		{"unknown beside one for somebody else", status{good: unknown}, []Record{record(2, 0, 0, root)}, Failed, "2 0 0: it could not"},
		{"one path unknown, one revoked", status{sub: unknown, crossed: revoked}, []Record{record(2, 1, 0, root), record(2, 1, 0, other)}, Failed, "could not"},
		{"two roots, one path unknown", status{sub: unknown, crossed: revoked}, []Record{record(1, 0, 0, twice)}, Failed, "1 0 0: the CA certificate"},
		{"two roots, the other path unknown", status{sub: revoked, crossed: unknown}, []Record{record(1, 0, 0, twice)}, Failed, "1 0 0: the CA certificate"},
		{"two roots, both paths revoked", status{sub: revoked, crossed: revoked}, []Record{record(1, 0, 0, twice)}, Unusable, "revoked"},
		{"two roots, one path revoked", status{sub: revoked}, []Record{record(1, 0, 0, twice)}, Found, ""},
		{"usage 3 is somebody else's business", status{good: revoked}, []Record{record(3, 0, 0, good)}, Found, ""},
	} {
		asked := time.Time{}
		roots, candidates := certs(root), rawOf(good)
		if strings.HasSuffix(test.name, "somebody else") {
			candidates = rawOf(good, bob)
		}
		if strings.HasPrefix(test.name, "two roots") {
			roots = certs(root, other)
		}
		trust := Trust{Roots: roots, Intermediates: certs(sub, crossed), Now: noon, Revoked: func(der []byte, at time.Time) error {
			asked = at
			for c, err := range test.status {
				if string(c.Raw) == string(der) {
					return err
				}
			}
			return nil
		}}
		var data [][]byte
		for _, r := range test.records {
			data = append(data, r.RDATA())
		}
		client := Client{
			Resolver:   &answering{answer: dnssec.Answer{Status: dnssec.Secure, Outcome: dnssec.Data, Data: data}},
			Trust:      trust,
			Candidates: func(Address) [][]byte { return candidates },
		}
		r := client.Lookup(t.Context(), "alice@example.org")
		if r.Outcome != test.outcome || (r.Why == nil) != (test.why == "") || r.Why != nil && !strings.Contains(r.Why.Error(), test.why) {
			t.Errorf("%s: %v (%v), want %v, %q", test.name, r.Outcome, r.Why, test.outcome, test.why)
		}
		if (r.Outcome == Failed) != (r.Certificates() == nil && r.Unknown() != nil) {
			t.Errorf("%s: %v, and yet unknown is %v", test.name, r.Outcome, r.Unknown())
		}
		if !asked.IsZero() && !asked.Equal(noon) {
			t.Errorf("%s: asked as of %v", test.name, asked)
		}
	}
}

// A stranger's record set costs a bounded number of searches.
func TestMaxSearches(t *testing.T) {
	alice := []string{"alice@example.org"}
	root := newCert(t, cert{ca: true})
	var records []Record
	for range 10 {
		records = append(records, record(2, 0, 0, newCert(t, cert{ca: true, subject: root.Subject})))
	}
	records = append(records, record(2, 0, 0, root))
	var candidates []*issued
	for range 10 {
		candidates = append(candidates, newCert(t, cert{emails: alice, issuer: root}))
	}
	all := Certify(address(t, "alice@example.org"), records, rawOf(candidates...), Trust{Now: noon})
	if f := all[len(all)-1]; f.Why == nil || !strings.Contains(f.Why.Error(), "no more are made") {
		t.Errorf("after a hundred searches: %v", f.Why)
	}
	few := Certify(address(t, "alice@example.org"), records[len(records)-1:], rawOf(candidates...), Trust{Now: noon})[0]
	if len(few.Vouched) != 10 {
		t.Errorf("after none: vouched for %d (%v)", len(few.Vouched), few.Why)
	}
	// So many of its CAs may stand in the middle of a path, and no more.
	sub := newCert(t, cert{ca: true, issuer: root})
	deep := newCert(t, cert{emails: alice, issuer: sub})
	for n, want := range map[int]int{maxSteps - 1: 1, maxSteps: 0} {
		set := append(records[:n:n], record(0, 0, 0, sub), record(1, 0, 0, deep))
		f := Certify(address(t, "alice@example.org"), set, nil, Trust{Roots: certs(root), Now: noon})[n+1]
		if len(f.Vouched) != want {
			t.Errorf("behind %d other CAs: vouched for %d (%v)", n, len(f.Vouched), f.Why)
		}
	}
	// The same question is asked once.
	var same []Record
	for _, c := range candidates {
		same = append(same, record(1, 0, 0, c), record(1, 1, 1, c))
	}
	for i, f := range Certify(address(t, "alice@example.org"), same, nil, Trust{Roots: certs(root), Now: noon}) {
		if len(f.Vouched) != 1 {
			t.Errorf("record %d: vouched for %d (%v)", i, len(f.Vouched), f.Why)
		}
	}
}

func rawOf(all ...*issued) [][]byte {
	var list [][]byte
	for _, c := range all {
		list = append(list, c.Raw)
	}
	return list
}

// Hostile sets: each byte string is a certificate of a record of its usage, and
// a candidate too.
func FuzzCertifySet(f *testing.F) {
	alice := []string{"alice@example.org"}
	root := newCert(f, cert{ca: true})
	sub := newCert(f, cert{ca: true, issuer: root})
	ee := newCert(f, cert{emails: alice, issuer: sub})
	subject := newCert(f, cert{issuer: sub, subject: pkix.Name{CommonName: "x", ExtraNames: inSubject("alice@example.org").ExtraNames}})
	f.Add(root.Raw, sub.Raw, ee.Raw)
	f.Add(sub.Raw, root.Raw, subject.Raw)
	f.Add(ee.Raw, ee.Raw, ee.Raw)
	trust := Trust{Roots: certs(root), Now: noon}
	f.Fuzz(func(t *testing.T, a, b, c []byte) {
		var records []Record
		for _, der := range [][]byte{a, b, c} {
			for usage := range uint8(4) {
				records = append(records, Record{usage, Cert, Full, der})
			}
		}
		for _, finding := range Certify(Address{Local: "alice", ASCIIDomain: "example.org"}, records, [][]byte{a, b, c}, trust) {
			if (finding.Why == nil) != (len(finding.Vouched) > 0) {
				t.Errorf("%d vouched, why: %v", len(finding.Vouched), finding.Why)
			}
			// Every certificate is a CA of usages 0 and 2 here.
			if usage := finding.Record.Usage; usage%2 == 0 && finding.Vouched != nil {
				t.Errorf("usage %d vouches for a CA", usage)
			}
		}
	})
}
