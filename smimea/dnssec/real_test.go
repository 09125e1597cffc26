package dnssec

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// The other tests sign and serve with one library. Here the zones are signed by
// ldns, served by NSD and resolved by Unbound and by BIND, and Unbound's own
// validator says what it thinks of each answer.

// A realZone is a zone for real programs.
type realZone struct {
	name      string
	algorithm string   // empty: not signed
	sign      []string // options of ldns-signzone
	noDS      bool
	forge     func(signed string) string // what happens to it after signing
	forgeDS   func(ds string) string
}

const realRecords = `
mail           A      192.0.2.1
mail           A      192.0.2.2
mail           MX     10 MAIL.Example.
a._smimecert   SMIMEA 3 0 0 aabbcc
*.wild         A      192.0.2.3
x.wild         A      192.0.2.4
deep.er.wild   A      192.0.2.5
alias          CNAME  mail
*.alias        CNAME  mail
far            CNAME  mail.nsec3.test.
away           CNAME  mail.unsigned.test.
nowhere        CNAME  nothing
tree           DNAME  good.test.
treeout        DNAME  unsigned.test.
srv            SRV    1 2 3 Mail.Example.
text           TXT    "a" "b c"
`

func realZones(now time.Time) []realZone {
	days := func(n int) string { return now.AddDate(0, 0, n).Format("20060102150405") }
	return []realZone{
		{name: "good.test.", algorithm: "ECDSAP256SHA256"},
		{name: "child.good.test.", algorithm: "ECDSAP256SHA256"},
		{name: "nsec3.test.", algorithm: "RSASHA256", sign: []string{"-n"}},
		{name: "salted.test.", algorithm: "RSASHA512", sign: []string{"-n", "-s", "aabbccdd", "-t", "10"}},
		{name: "p384.test.", algorithm: "ECDSAP384SHA384"},
		{name: "ed25519.test.", algorithm: "ED25519", sign: []string{"-n"}},
		{name: "ed448.test.", algorithm: "ED448"},
		{name: "optout.test.", algorithm: "ECDSAP256SHA256", sign: []string{"-n", "-p"}},
		{name: "signed.optout.test.", algorithm: "ECDSAP256SHA256"},
		{name: "plain.optout.test."},
		{name: "unsigned.test."},
		{name: "forgotten.test.", algorithm: "ECDSAP256SHA256", noDS: true},
		{name: "costly.test.", algorithm: "ECDSAP256SHA256", sign: []string{"-n", "-t", "500"}},
		{name: "expired.test.", algorithm: "ECDSAP256SHA256", sign: []string{"-i", days(-60), "-e", days(-30)}},
		{name: "future.test.", algorithm: "ECDSAP256SHA256", sign: []string{"-i", days(30), "-e", days(60)}},
		{name: "forged.test.", algorithm: "ECDSAP256SHA256", forge: func(s string) string {
			return strings.ReplaceAll(strings.ReplaceAll(s, "192.0.2.", "192.0.3."), "aabbcc", "aabbcd")
		}},
		{name: "stripped.test.", algorithm: "ECDSAP256SHA256", forge: func(s string) string {
			return regexp.MustCompile(`(?m)^.*\t(RRSIG|NSEC)\t.*$`).ReplaceAllString(s, "")
		}},
		{name: "denied.test.", algorithm: "ECDSAP256SHA256", forge: func(s string) string {
			return regexp.MustCompile(`(?m)^.*\tRRSIG\tNSEC .*$`).ReplaceAllString(s, "")
		}},
		{name: "wrongds.test.", algorithm: "ECDSAP256SHA256", forgeDS: func(ds string) string {
			last := len(ds) - 2
			return ds[:last] + string("0123456789abcdef0"[strings.IndexByte("0123456789abcdef", ds[last])+1]) + "\n"
		}},
		{name: "strange.test.", algorithm: "ECDSAP256SHA256", forgeDS: func(ds string) string {
			return strings.Replace(ds, " 13 2 ", " 13 99 ", 1)
		}},
	}
}

var realQuestions = []struct {
	name  string // below the zone
	qtype uint16
}{
	{"", dns.TypeSOA}, {"", dns.TypeDNSKEY}, {"", dns.TypeDS}, {"", typeSMIMEA},
	{"mail.", typeA}, {"mail.", dns.TypeMX}, {"mail.", typeSMIMEA}, {"none.", typeA}, {"a.b.none.", typeA},
	{"a._smimecert.", typeSMIMEA}, {"b._smimecert.", typeSMIMEA}, {"_smimecert.", typeSMIMEA},
	{"any.wild.", typeA}, {"a.ny.wild.", typeA}, {"any.wild.", typeSMIMEA}, {"x.wild.", typeSMIMEA},
	{"er.wild.", typeA}, {"any.er.wild.", typeA}, {"*.wild.", typeA},
	{"alias.", typeA}, {"any.alias.", typeA}, {"far.", typeA}, {"away.", typeA}, {"nowhere.", typeA},
	{"tree.", typeA}, {"mail.tree.", typeA}, {"none.tree.", typeA}, {"mail.treeout.", typeA}, {"alias.tree.", typeA},
	{"srv.", dns.TypeSRV}, {"text.", dns.TypeTXT},
}

func TestUnboundAgrees(t *testing.T) {
	lab := newLab(t, realZones(time.Now().UTC()))
	verdicts := map[Status]int{}
	for _, resolver := range []string{lab.plain, lab.validating, lab.bind} {
		v, err := New(Options{Servers: []string{resolver}, Anchors: lab.anchors(), Try: 5 * time.Second, Budget: 20 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		defer v.Close()
		for _, z := range lab.zones {
			for _, q := range realQuestions {
				a := v.Lookup(context.Background(), q.name+z.name, q.qtype)
				verdicts[a.Status]++
				if want, rcode := lab.verdict(q.name+z.name, q.qtype); a.Status != want {
					t.Errorf("%s%s %s is %v, %v (%v), and %v, %s for Unbound", q.name, z.name, TypeName(q.qtype), a.Status, a.Outcome, a.Why, want, rcode)
				}
				if err := consistent(a); err != nil {
					t.Errorf("%s%s %s: %v", q.name, z.name, TypeName(q.qtype), err)
				}
			}
		}
	}
	t.Logf("verdicts: %v", verdicts)
}

// A lab is a DNS of real programs.
type lab struct {
	programs
	zones []realZone
	root  string // the DS record of the root

	plain      string // an Unbound that validates nothing
	validating string // and one that does
	bind       string
}

func newLab(t *testing.T, zones []realZone) *lab {
	l := &lab{programs: newPrograms(t, "nsd", "unbound", "named", "ldns-signzone", "ldns-keygen", "ldns-key2ds"), zones: zones}
	ds := map[string]string{} // parent zone to what it says of its children
	for i := len(zones) - 1; i >= 0; i-- {
		z := zones[i]
		parent := must(z.name).parent().String()
		ds[parent] += z.name + " 300 NS ns.test.\n" + l.sign(z, realRecords+ds[z.name])
	}
	test := l.sign(realZone{name: "test.", algorithm: "ECDSAP256SHA256"}, "ns A 127.0.0.1\n"+ds["test."])
	l.root = l.sign(realZone{name: ".", algorithm: "RSASHA256"}, "test. 300 NS ns.test.\nns.test. 300 A 127.0.0.1\n"+test)
	l.serve()
	return l
}

func zoneFile(zone string) string { return "zone-" + zone + "signed" }

// sign signs a zone and returns its DS records.
func (l *lab) sign(z realZone, records string) (ds string) {
	head := fmt.Sprintf("$ORIGIN %s\n$TTL 300\n@ SOA ns.test. hostmaster.test. 1 3600 600 86400 300\n@ NS ns.test.\n", z.name)
	if z.algorithm == "" {
		l.write(zoneFile(z.name), head+records)
		return ""
	}
	file := l.write("zone-"+z.name, head+records)
	var keys []string
	for _, kind := range [][]string{{"-k"}, nil} {
		args := append(kind, "-a", z.algorithm)
		if strings.HasPrefix(z.algorithm, "RSA") {
			args = append(args, "-b", "1024")
		}
		keys = append(keys, strings.TrimSpace(l.run("ldns-keygen", append(args, z.name)...)))
	}
	args := append([]string{"-f", l.path(zoneFile(z.name))}, z.sign...)
	l.run("ldns-signzone", append(args, file, keys[1], keys[0])...)
	if z.forge != nil {
		signed, err := os.ReadFile(l.path(zoneFile(z.name)))
		if err != nil {
			l.t.Fatal(err)
		}
		l.write(zoneFile(z.name), z.forge(string(signed)))
	}
	ds = l.run("ldns-key2ds", "-n", "-2", keys[0]+".key")
	switch {
	case z.noDS:
		return ""
	case z.forgeDS != nil:
		return z.forgeDS(ds)
	}
	return ds
}

func (l *lab) anchors() []Anchor {
	a, err := ParseAnchors(strings.NewReader(l.root))
	if err != nil {
		l.t.Fatal(err)
	}
	return a
}

// serve starts NSD, two Unbounds and BIND.
func (l *lab) serve() {
	port := freePort(l.t)
	var zones, stubs strings.Builder
	for _, z := range append(l.zones, realZone{name: "."}, realZone{name: "test."}) {
		fmt.Fprintf(&zones, "zone:\n  name: %q\n  zonefile: %q\n", z.name, zoneFile(z.name))
		fmt.Fprintf(&stubs, "stub-zone:\n  name: %q\n  stub-addr: 127.0.0.1@%d\n", z.name, port)
	}
	l.start("nsd", "-d", "-c", l.write("nsd.conf", fmt.Sprintf(`
server:
  ip-address: 127.0.0.1@%d
  username: ""
  server-count: 1
  zonesdir: %[2]q
  database: ""
  zonelistfile: "%[2]s/zone.list"
  xfrdfile: "%[2]s/xfrd.state"
  pidfile: "%[2]s/nsd.pid"
remote-control:
  control-enable: no
%[3]s`, port, l.dir, zones.String())))
	waitFor(l.t, fmt.Sprintf("127.0.0.1:%d", port))
	l.plain = l.startUnbound("plain", "iterator", l.root, stubs.String())
	l.validating = l.startUnbound("validating", "validator iterator", l.root, stubs.String())
	// BIND finds its way from the root down. All servers have the port of NSD.
	hints := l.write("hints", ". 3600 NS ns.test.\nns.test. 3600 A 127.0.0.1\n")
	l.bind = l.startNamed("bind", l.root, fmt.Sprintf("port %d;", port), fmt.Sprintf("zone \".\" { type hint; file %q; };\n", hints))
}

// verdict is what Unbound's validator thinks.
func (l *lab) verdict(n string, qtype uint16) (Status, string) {
	m := new(dns.Msg).SetQuestion(n, qtype)
	m.SetEdns0(4096, true)
	c := &dns.Client{Net: "tcp", Timeout: 10 * time.Second}
	r, _, err := c.Exchange(m, l.validating)
	switch {
	case err != nil:
		return Indeterminate, err.Error()
	case r.Rcode == dns.RcodeServerFailure:
		return Bogus, "SERVFAIL"
	case r.AuthenticatedData:
		return Secure, dns.RcodeToString[r.Rcode]
	}
	return Insecure, dns.RcodeToString[r.Rcode]
}
