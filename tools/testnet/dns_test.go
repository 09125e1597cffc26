package testnet

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"smimea.example/tools/judges"
)

// names has something of everything that is hard to sign or to deny.
var names = []string{
	"here TXT hello",
	"ABC._smimecert TYPE53 \\# 5 0300003082",
	"alias CNAME here",
	"away CNAME here.nsec3.test.",
	"loop CNAME loop",
	"*.wild TXT hello",
	"*.star CNAME here",
	"a.b.c TXT hello",
	"tree DNAME nsec3.test.",
	"lame NS ns.lame", "ns.lame A 127.0.0.1",
	`b\.ack TXT dot`,
}

// world has a zone of each kind.
var world = []Zone{
	{Name: "good.test.", Records: names},
	{Name: "split.test", SplitKeys: true, Records: names},
	{Name: "nsec3.test.", NSEC3: true, Records: names},
	{Name: "salted.test.", NSEC3: true, Iterations: 5, Salt: "abcd", Records: names},
	{Name: "optout.test.", NSEC3: true, OptOut: true, Records: names},
	{Name: "open.optout.test.", Unsigned: true, Records: names},
	{Name: "deep.ly.optout.test.", Unsigned: true, Records: names},
	{Name: "signed.optout.test.", Records: names},
	{Name: "rsa.test.", Algorithm: dns.RSASHA256, Records: names},
	{Name: "rsa512.test.", Algorithm: dns.RSASHA512, Records: names},
	{Name: "p384.test.", Algorithm: dns.ECDSAP384SHA384, Records: names},
	{Name: "ed.test.", Algorithm: dns.ED25519, Records: names},
	{Name: "below.the.example.", Records: names},
	{Name: "unsigned.test.", Unsigned: true, Records: names},
	{Name: "forged.test.", Fault: BadSignature, Records: names},
	{Name: "expired.test.", Fault: Expired, Records: names},
	{Name: "early.test.", Fault: NotYetValid, Records: names},
	{Name: "stripped.test.", Fault: NoSignatures, Records: names},
	{Name: "nodenial.test.", Fault: NoDenial, Records: names},
	{Name: "wrongds.test.", Fault: WrongDS, Records: names},
	{Name: "servfail.test.", Fault: Servfail},
	{Name: "silent.test.", Fault: Silent},
}

// A question, and what each signed zone without a fault says to it. A gap is an
// answer that rests on a name not being in the chain: with Opt-Out it proves
// nothing (RFC 5155, Section 9.2).
var everywhere = []struct {
	name  string
	qtype uint16
	rcode int
	data  bool
	gap   bool
}{
	{"", dns.TypeSOA, dns.RcodeSuccess, true, false},
	{"", dns.TypeDNSKEY, dns.RcodeSuccess, true, false},
	{"", dns.TypeDS, dns.RcodeSuccess, true, false},
	{"here.", dns.TypeTXT, dns.RcodeSuccess, true, false},
	{"HERE.", dns.TypeTXT, dns.RcodeSuccess, true, false},
	{"here.", dns.TypeMX, dns.RcodeSuccess, false, false},
	{"here.", dns.TypeDS, dns.RcodeSuccess, false, false},
	{"abc._smimecert.", dns.TypeSMIMEA, dns.RcodeSuccess, true, false},
	{"_smimecert.", dns.TypeSMIMEA, dns.RcodeSuccess, false, false}, // an empty non-terminal
	{"b.c.", dns.TypeTXT, dns.RcodeSuccess, false, false},
	{"nothing.", dns.TypeA, dns.RcodeNameError, false, true},
	{"x.y.z.b.c.", dns.TypeA, dns.RcodeNameError, false, true},
	{"x.here.", dns.TypeA, dns.RcodeNameError, false, true},
	{"alias.", dns.TypeTXT, dns.RcodeSuccess, true, false},
	{"alias.", dns.TypeMX, dns.RcodeSuccess, true, false},
	{"away.", dns.TypeTXT, dns.RcodeSuccess, true, false},
	{"x.wild.", dns.TypeTXT, dns.RcodeSuccess, true, true},
	{"x.y.wild.", dns.TypeTXT, dns.RcodeSuccess, true, true},
	{"*.wild.", dns.TypeTXT, dns.RcodeSuccess, true, false},
	{"x.wild.", dns.TypeMX, dns.RcodeSuccess, false, true},
	{"x.star.", dns.TypeTXT, dns.RcodeSuccess, true, true},
	{"here.tree.", dns.TypeTXT, dns.RcodeSuccess, true, false},
	{"nothing.tree.", dns.TypeTXT, dns.RcodeNameError, true, false},
	{"lame.", dns.TypeDS, dns.RcodeSuccess, false, true},
	{`b\.ack.`, dns.TypeTXT, dns.RcodeSuccess, true, false},
	{`b.ack.`, dns.TypeTXT, dns.RcodeNameError, false, true},
}

// TestAnswers asks without a judge.
func TestAnswers(t *testing.T) {
	n := start(t)
	for _, zone := range []string{"good.test.", "nsec3.test.", "unsigned.test."} {
		for _, c := range everywhere {
			m, err := ask(n.Resolver(), c.name+zone, c.qtype)
			if err != nil {
				t.Fatal(err)
			}
			data := len(m.Answer) > 0
			if zone == "unsigned.test." && (c.qtype == dns.TypeDS || c.qtype == dns.TypeDNSKEY) {
				continue
			}
			if m.Rcode != c.rcode || data != c.data {
				t.Errorf("%s%s %s: %s, data %t; want %s, %t", c.name, zone, dns.Type(c.qtype),
					dns.RcodeToString[m.Rcode], data, dns.RcodeToString[c.rcode], c.data)
			}
		}
	}
}

// TestUnbound has Unbound judge every kind of zone.
func TestUnbound(t *testing.T) {
	judges.Find(t, "unbound")
	judge := startUnbound(t, start(t))
	for _, zone := range []string{"good.test.", "split.test.", "nsec3.test.", "salted.test.", "optout.test.",
		"signed.optout.test.", "rsa.test.", "rsa512.test.", "p384.test.", "ed.test.", "below.the.example."} {
		for _, c := range everywhere {
			expect(t, judge, c.name+zone, c.qtype, c.rcode, zone != "optout.test." || !c.gap)
		}
	}
	for _, zone := range []string{"unsigned.test.", "open.optout.test.", "deep.ly.optout.test."} {
		expect(t, judge, "here."+zone, dns.TypeTXT, dns.RcodeSuccess, false)
		expect(t, judge, "nothing."+zone, dns.TypeTXT, dns.RcodeNameError, false)
		expect(t, judge, zone, dns.TypeDS, dns.RcodeSuccess, zone == "unsigned.test.")
	}
	for _, zone := range []string{"forged.test.", "expired.test.", "early.test.", "stripped.test.", "wrongds.test.", "servfail.test."} {
		expect(t, judge, "here."+zone, dns.TypeTXT, dns.RcodeServerFailure, false)
		expect(t, judge, "nothing."+zone, dns.TypeTXT, dns.RcodeServerFailure, false)
		expect(t, judge, zone, dns.TypeDS, dns.RcodeSuccess, true)
	}
	expect(t, judge, "here.nodenial.test.", dns.TypeTXT, dns.RcodeSuccess, true)
	expect(t, judge, "nothing.nodenial.test.", dns.TypeTXT, dns.RcodeServerFailure, false)
	expect(t, judge, "x.wild.nodenial.test.", dns.TypeTXT, dns.RcodeServerFailure, false)
	expect(t, judge, "nowhere.", dns.TypeA, dns.RcodeNameError, true)
	expect(t, judge, "the.example.", dns.TypeA, dns.RcodeSuccess, true)
	expect(t, judge, "lame.good.test.", dns.TypeA, dns.RcodeServerFailure, false)
	expect(t, judge, "loop.good.test.", dns.TypeA, dns.RcodeServerFailure, false)
}

// expect asks one question of a validating resolver.
func expect(t *testing.T, judge, name string, qtype uint16, rcode int, secure bool) {
	t.Helper()
	m, err := ask(judge, name, qtype)
	if err != nil {
		t.Fatal(err)
	}
	if m.Rcode != rcode || m.AuthenticatedData != secure {
		t.Errorf("%s %s: %s, secure %t; want %s, %t", name, dns.Type(qtype),
			dns.RcodeToString[m.Rcode], m.AuthenticatedData, dns.RcodeToString[rcode], secure)
	}
}

// TestZonefiles has ldns judge the zones as a whole.
func TestZonefiles(t *testing.T) {
	judges.Find(t, "ldns-verify-zone")
	n := start(t)
	for _, c := range []struct {
		zone  string
		sound bool
	}{
		{".", true}, {"test.", true}, {"example.", true}, {"good.test.", true}, {"split.test.", true},
		{"nsec3.test.", true}, {"salted.test.", true}, {"optout.test.", true}, {"rsa.test.", true},
		{"rsa512.test.", true}, {"p384.test.", true}, {"ed.test.", true},
		{"forged.test.", false}, {"expired.test.", false}, {"early.test.", false}, {"stripped.test.", false},
	} {
		file := filepath.Join(t.TempDir(), "zone")
		write(t, file, n.Zonefile(c.zone))
		out, err := exec.Command("ldns-verify-zone", file).CombinedOutput()
		if (err == nil) != c.sound {
			t.Errorf("ldns-verify-zone %s: %v, %s", c.zone, err, out)
		}
	}
}

func TestSilence(t *testing.T) {
	n := start(t)
	c := dns.Client{Net: "tcp", Timeout: 200 * time.Millisecond}
	if m, _, err := c.Exchange(new(dns.Msg).SetQuestion("here.silent.test.", dns.TypeTXT), n.Resolver()); err == nil {
		t.Errorf("silent.test. said %v", m)
	}
	if m, err := ask(n.Resolver(), "silent.test.", dns.TypeDS); err != nil || len(m.Answer) == 0 {
		t.Errorf("the zone above silent.test. said %v, %v", m, err)
	}
}

func TestPublishAndWithdraw(t *testing.T) {
	n := start(t)
	texts := func() (texts []string) {
		m, err := ask(n.Resolver(), "here.good.test.", dns.TypeTXT)
		if err != nil {
			t.Fatal(err)
		}
		for _, rr := range m.Answer {
			if txt, ok := rr.(*dns.TXT); ok {
				texts = append(texts, txt.Txt[0])
			}
		}
		return texts
	}
	if err := n.Publish("good.test", "here TXT one", "here TXT two"); err != nil {
		t.Fatal(err)
	}
	if got, want := texts(), []string{"one", "two"}; !slices.Equal(got, want) {
		t.Errorf("published %q, want %q", got, want)
	}
	if err := n.Withdraw("good.test.", "here", "TXT"); err != nil {
		t.Fatal(err)
	}
	if got := texts(); got != nil {
		t.Errorf("withdrew all, left %q", got)
	}
	if err := n.Publish("good.test.", "here NONSENSE"); err == nil {
		t.Error("published nonsense")
	}
	if err := n.Publish("nobody.test."); err == nil {
		t.Error("published to no zone")
	}
}

func TestTamperAndQuestions(t *testing.T) {
	n := start(t)
	n.Tamper(func(_ dns.Question, m *dns.Msg) *dns.Msg {
		for _, rr := range m.Answer {
			if txt, ok := rr.(*dns.TXT); ok {
				txt.Txt[0] = "changed"
			}
		}
		return m
	})
	first, err := ask(n.Resolver(), "here.good.test.", dns.TypeTXT)
	if err != nil {
		t.Fatal(err)
	}
	n.Tamper(nil)
	second, err := ask(n.Resolver(), "here.good.test.", dns.TypeTXT)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(first.String(), "changed") || strings.Contains(second.String(), "changed") {
		t.Errorf("tampered with: %v\nthen left alone: %v", first, second)
	}
	if got, want := n.Questions(), []string{"here.good.test. TXT", "here.good.test. TXT"}; !slices.Equal(got, want) {
		t.Errorf("questions %q, want %q", got, want)
	}
}

func TestWithoutDO(t *testing.T) {
	n := start(t)
	q := new(dns.Msg).SetQuestion("nothing.good.test.", dns.TypeTXT)
	m, _, err := (&dns.Client{Net: "tcp"}).Exchange(q, n.Resolver())
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Ns) != 1 || m.Ns[0].Header().Rrtype != dns.TypeSOA {
		t.Errorf("without DO: %v", m.Ns)
	}
}

func TestBadZones(t *testing.T) {
	for _, zones := range [][]Zone{
		{{Name: "a..test."}},
		{{Name: "a.test."}, {Name: "A.TEST"}},
		{{Name: "a.test.", Algorithm: 99}},
		{{Name: "a.test.", Records: []string{"b.test. TXT outside"}}},
		{{Name: "a.test.", Records: []string{"www NONSENSE"}}},
	} {
		if n, err := Start(zones...); err == nil {
			n.Close()
			t.Errorf("started %v", zones)
		}
	}
}

func start(t *testing.T) *Net {
	t.Helper()
	n, err := Start(world...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

func ask(server, name string, qtype uint16) (*dns.Msg, error) {
	q := new(dns.Msg).SetQuestion(name, qtype)
	q.SetEdns0(4096, true)
	m, _, err := (&dns.Client{Net: "tcp", Timeout: 20 * time.Second}).Exchange(q, server)
	return m, err
}

// startUnbound starts a validating resolver that asks n, and returns its address.
func startUnbound(t *testing.T, n *Net) string {
	t.Helper()
	dir := t.TempDir()
	anchor, config := filepath.Join(dir, "root.ds"), filepath.Join(dir, "unbound.conf")
	address := freeAddress(t)
	_, port, _ := net.SplitHostPort(address)
	write(t, anchor, n.TrustAnchor()+"\n")
	write(t, config, fmt.Sprintf(`
server:
  directory: %q
  username: ""
  chroot: ""
  pidfile: ""
  use-syslog: no
  interface: 127.0.0.1
  port: %s
  do-not-query-localhost: no
  local-zone: "test." nodefault
  aggressive-nsec: no
  trust-anchor-file: %q
remote-control:
  control-enable: no
forward-zone:
  name: "."
  forward-addr: %s
  forward-tcp-upstream: yes
`, dir, port, anchor, strings.Replace(n.Resolver(), ":", "@", 1)))
	unbound := exec.Command("unbound", "-d", "-c", config)
	if err := unbound.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unbound.Process.Kill(); unbound.Wait() })
	await(t, address)
	return address
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// await waits until somebody listens.
func await(t *testing.T, address string) {
	t.Helper()
	for range 500 {
		if conn, err := net.Dial("tcp", address); err == nil {
			conn.Close()
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("nobody listens on %s", address)
}

func write(t *testing.T, name, content string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestStartAt signs by another clock, and signs anew when told.
func TestStartAt(t *testing.T) {
	now := time.Date(2031, 5, 1, 12, 0, 0, 0, time.UTC)
	n, err := StartAt(func() time.Time { return now }, Zone{Name: "good.test.", Records: names})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	valid := func(at time.Time) bool {
		m, err := ask(n.Resolver(), "here.good.test.", dns.TypeTXT)
		if err != nil || len(m.Answer) != 2 {
			t.Fatalf("%v, %v", m, err)
		}
		return m.Answer[1].(*dns.RRSIG).ValidityPeriod(at)
	}
	later := now.AddDate(0, 1, 0)
	if !valid(now) || valid(later) {
		t.Error("the signatures do not hold at the clock's time, or hold a month later")
	}
	now = later
	if err := n.Publish("good.test."); err != nil {
		t.Fatal(err)
	}
	if !valid(later) {
		t.Error("the zone was not signed anew")
	}
}
