package dnssec

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// TestJudged runs every case of the table before a court: a server shows the
// broken world, real resolvers ask it, our validator asks each of them, and
// Unbound's validator and BIND's delv say what they think.
//
// No disagreement may stand that the table does not name (see differs), and
// nothing lets us call secure what Unbound does not.
func TestJudged(t *testing.T) {
	c := newCourt(t)
	said, disagreed := map[Status]int{}, map[string]int{}
	for _, lc := range labCases() {
		t.Run(lc.id(), func(t *testing.T) {
			now := time.Now()
			w := lc.world(t, now)
			said[lc.status]++
			for _, who := range c.hear(t, w, lc) {
				disagreed[who]++
			}
		})
	}
	t.Logf("verdicts: %v; explained disagreements: %v", said, disagreed)
}

// A verdict is what somebody thinks of a question.
type verdict struct {
	who    string
	status Status // Bogus stands for Indeterminate, too: a resolver says SERVFAIL to both
	rcode  int
	data   string // of the record set, in order
	ttl    time.Duration
	note   string
	took   time.Duration
}

// says is the part that verdicts are compared by: what was not believed has no
// answer.
func (v verdict) says() string {
	if v.status <= Bogus {
		return "not believed"
	}
	return fmt.Sprintf("%v %s %s", v.status, dns.RcodeToString[v.rcode], v.data)
}

// A court is a world behind real resolvers, and its judges.
type court struct {
	programs
	stage     *stage
	anchors   string
	upstreams []upstreamProgram
}

type upstreamProgram struct {
	name, addr string
	forget     func() error
}

func newCourt(t *testing.T) *court {
	c := &court{programs: newPrograms(t, "unbound", "named", "rndc", "delv"), stage: newStage(t)}
	anchor := newWorld(t).zones[root].ds().String() + "\n"
	c.anchors = c.write("anchors", fmt.Sprintf("trust-anchors { %s };\n", staticDS(t, anchor)))
	_, port, _ := net.SplitHostPort(c.stage.addr)
	forward := fmt.Sprintf("forward-zone:\n  name: \".\"\n  forward-addr: 127.0.0.1@%s\n  forward-tcp-upstream: yes\n", port)
	for name, modules := range map[string]string{"judge": "validator iterator", "validating": "validator iterator", "plain": "iterator"} {
		addr := c.startUnbound(name, modules, anchor, forward)
		c.upstreams = append(c.upstreams, upstreamProgram{name, addr, func() error { return c.unboundForgets(name) }})
	}
	bind := c.startNamed("bind", anchor, fmt.Sprintf("forward only; forwarders port %s { 127.0.0.1; };", port), "server 127.0.0.1 { tcp-only yes; };\n")
	c.upstreams = append(c.upstreams, upstreamProgram{"bind", bind, func() error { return c.namedForgets("bind") }})
	slices.SortFunc(c.upstreams, func(a, b upstreamProgram) int { return strings.Compare(a.name, b.name) })
	return c
}

// unboundForgets empties all of an Unbound's caches.
func (c *court) unboundForgets(name string) error {
	for _, order := range []string{"flush_zone .", "flush_bogus", "flush_negative", "flush_infra all"} {
		conn, err := net.Dial("unix", c.control(name))
		if err != nil {
			return err
		}
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		fmt.Fprintf(conn, "UBCT1 %s\n", order)
		var said bytes.Buffer
		_, err = said.ReadFrom(conn)
		conn.Close()
		if err != nil || !strings.HasPrefix(said.String(), "ok") {
			return fmt.Errorf("unbound %s, %s: %q, %v", name, order, said.String(), err)
		}
	}
	return nil
}

func (c *court) namedForgets(name string) error {
	out, err := exec.Command("rndc", "-c", c.path(name+".rndc"), "flush").CombinedOutput()
	if err != nil {
		return fmt.Errorf("rndc flush: %v, %s", err, out)
	}
	return nil
}

// hear brings a case to court. It returns who disagreed, with an explanation.
func (c *court) hear(t *testing.T, w *world, lc labCase) (disagreed []string) {
	c.stage.show(w)
	together(c.upstreams, func(u upstreamProgram) verdict {
		if err := u.forget(); err != nil {
			t.Error(err)
		}
		return verdict{}
	})
	verdicts := together(append(slices.Clone(c.upstreams), upstreamProgram{name: "direct", addr: c.stage.addr}, upstreamProgram{name: "delv"}), func(u upstreamProgram) verdict {
		switch u.name {
		case "judge":
			return unboundSays(u.addr, lc)
		case "delv":
			return c.delvSays(lc)
		}
		return ours(w, u, lc)
	})
	faults, disagreed := lc.compare(w, verdicts)
	for _, f := range faults {
		t.Error(f)
	}
	if len(faults) > 0 {
		t.Log(sideBySide(verdicts))
	}
	return disagreed
}

// compare finds what may not stand, and who disagrees with an explanation.
func (lc labCase) compare(w *world, verdicts []verdict) (faults, disagreed []string) {
	direct := verdicts[slices.IndexFunc(verdicts, func(v verdict) bool { return v.who == "direct" })]
	unbound := verdicts[slices.IndexFunc(verdicts, func(v verdict) bool { return v.who == "unbound" })]
	want := max(lc.status, Bogus)
	for _, v := range verdicts {
		expected, excused := lc.judges[v.who]
		switch {
		case excused && v.status == max(expected, Bogus):
			disagreed = append(disagreed, v.who)
		case excused:
			faults = append(faults, fmt.Sprintf("%s says %v; the table says that it says %v", v.who, v.status, expected))
		case v.status != want:
			faults = append(faults, fmt.Sprintf("%s says %v, want %v", v.who, v.status, want))
		case v.says() != direct.says() && v.who != "delv":
			faults = append(faults, fmt.Sprintf("%s says %s", v.who, v.says()))
		}
		// Whatever the table says.
		if v.isOurs() && v.status == Secure && unbound.status != Secure {
			faults = append(faults, fmt.Sprintf("%s says secure, and Unbound does not", v.who))
		}
		if v.who == "direct" && v.status == Secure && v.ttl > unbound.ttl+2*time.Second {
			faults = append(faults, fmt.Sprintf("%s keeps it for %v, Unbound for %v", v.who, v.ttl, unbound.ttl))
		}
	}
	return faults, disagreed
}

func (v verdict) isOurs() bool { return v.who != "unbound" && v.who != "delv" }

func sideBySide(verdicts []verdict) string {
	s := "the verdicts:"
	for _, v := range verdicts {
		s += fmt.Sprintf("\n\t%-12s %-40s %8v %6dms  %s", v.who, v.says(), v.ttl.Round(time.Second), v.took.Milliseconds(), v.note)
	}
	return s
}

// together asks all at once.
func together(all []upstreamProgram, ask func(u upstreamProgram) verdict) []verdict {
	verdicts := make([]verdict, len(all))
	var wg sync.WaitGroup
	for i, u := range all {
		wg.Go(func() {
			start := time.Now()
			verdicts[i] = ask(u)
			verdicts[i].took = time.Since(start)
		})
	}
	wg.Wait()
	return verdicts
}

// ours is the verdict of our validator, which asks an upstream.
func ours(w *world, u upstreamProgram, lc labCase) verdict {
	a := w.lookupAt(u.addr, lc.name, lc.qtype)
	v := verdict{who: u.name, status: max(a.Status, Bogus), ttl: a.Expires.Sub(w.now)}
	if err := consistent(a); err != nil {
		v.status, v.note = Indeterminate, err.Error()
		return v
	}
	if a.Outcome == NXDomain {
		v.rcode = dns.RcodeNameError
	}
	if a.Why != nil {
		v.note = a.Why.Error()
	}
	v.data = fmt.Sprintf("%x", append(a.Data, a.Unproven...))
	return v
}

// unboundSays is what Unbound's validator thinks.
func unboundSays(addr string, lc labCase) verdict {
	m := new(dns.Msg).SetQuestion(dns.Fqdn(lc.name), lc.qtype)
	m.SetEdns0(4096, true)
	c := &dns.Client{Net: "tcp", Timeout: 20 * time.Second}
	r, _, err := c.Exchange(m, addr)
	v := verdict{who: "unbound", status: Bogus}
	switch {
	case err != nil:
		v.note = err.Error()
		return v
	case r.Rcode != dns.RcodeSuccess && r.Rcode != dns.RcodeNameError:
		v.note = dns.RcodeToString[r.Rcode]
		return v
	case r.AuthenticatedData:
		v.status = Secure
	default:
		v.status = Insecure
	}
	v.rcode = r.Rcode
	v.data, v.ttl = dataOf(r, lc.qtype)
	return v
}

// dataOf returns the records of a type, wherever an alias led, and the shortest TTL.
func dataOf(m *dns.Msg, qtype uint16) (data string, ttl time.Duration) {
	ttl = 24 * time.Hour
	var all [][]byte
	for _, rr := range append(m.Answer, m.Ns...) {
		ttl = min(ttl, seconds(rr.Header().Ttl))
	}
	for _, rr := range records(m.Answer, qtype) {
		if rdata, ok := rdataOf(rr); ok {
			all = append(all, canonical(qtype, rdata))
		}
	}
	slices.SortFunc(all, bytes.Compare)
	all = slices.CompactFunc(all, bytes.Equal) // RFC 2181, Section 5
	return fmt.Sprintf("%x", all), ttl
}

// delvSays is what BIND's delv thinks, which asks the stage itself.
func (c *court) delvSays(lc labCase) verdict {
	host, port, _ := net.SplitHostPort(c.stage.addr)
	qtype := dns.TypeToString[lc.qtype]
	// It can fall into a circle, and ends that by itself only after 12 seconds.
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "delv", "@"+host, "-p", port, "-a", c.anchors, "+root=.", "+tcp", "-q", lc.name, "-t", qtype).CombinedOutput()
	v := verdict{who: "delv", status: Bogus, note: strings.ReplaceAll(strings.TrimSpace(string(out)), "\n", " | ")}
	switch {
	case err != nil && len(out) == 0:
		v.note = err.Error()
	case bytes.Contains(out, []byte("resolution failed")) && !bytes.Contains(out, []byte("resolution failed: ncache")):
	case bytes.Contains(out, []byte("unsigned answer")):
		v.status = Insecure
	case bytes.Contains(out, []byte("fully validated")):
		v.status = Secure
	}
	if len(v.note) > 300 {
		v.note = v.note[:300]
	}
	return v
}
