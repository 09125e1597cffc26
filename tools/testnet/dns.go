// Package testnet is a small signed Internet in one process, to try mail and
// names on without touching the real one.
//
// It has a root with a trust anchor, top-level domains, and whatever zones a
// test or a demonstration asks for: signed with the usual algorithms, denying
// with NSEC or NSEC3, unsigned, or broken in one particular way. In front of
// them stands what a validating stub sees of the world: one recursive resolver
// that is asked over TCP, follows aliases from zone to zone, and hands on
// every signature and every proof without judging any of them.
//
// Beside the names there is mail: a server that asks a milter as Postfix does
// and keeps what would have been delivered ([StartMail]), and throwaway
// certificates ([NewCertificate]).
//
// Everything listens on 127.0.0.1, on ports that the system chooses. It is
// made for trying things out: keys live as long as the process, and nothing
// here resists an attack.
package testnet

import (
	"cmp"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// A Net is the running Internet.
type Net struct {
	server   *dns.Server
	address  string
	finished chan error

	mu        sync.Mutex // guards what follows
	now       func() time.Time
	zones     map[string]*zone
	questions []string
	tamper    Tamper
}

// A Tamper changes an answer before it is sent, or replaces it by the one it
// returns. If that is nil, nothing is sent.
type Tamper func(question dns.Question, answer *dns.Msg) *dns.Msg

// Start serves zones, made at this moment. The root and the top-level domains
// above them are made as well, signed, unless they are among the zones; names
// between a zone and its top-level domain need not be zones.
func Start(zones ...Zone) (*Net, error) { return StartAt(time.Now, zones...) }

// StartAt is Start by another clock: signatures are made to hold at now.
func StartAt(now func() time.Time, zones ...Zone) (*Net, error) {
	n := &Net{now: now, zones: make(map[string]*zone), finished: make(chan error, 1)}
	for _, spec := range zones {
		if err := n.addZone(spec); err != nil {
			return nil, err
		}
	}
	if err := n.addMissing(); err != nil {
		return nil, err
	}
	for _, z := range n.zones {
		if err := z.build(n.delegations(z), now()); err != nil {
			return nil, err
		}
	}
	return n, n.listen()
}

func (n *Net) addZone(spec Zone) error {
	z, err := newZone(spec)
	if err != nil {
		return err
	}
	if n.zones[z.Name] != nil {
		return fmt.Errorf("testnet: zone %s is there twice", z.Name)
	}
	n.zones[z.Name] = z
	return nil
}

// addMissing makes the root, with an address for the name server of all, and
// the top-level domains.
func (n *Net) addMissing() error {
	missing := map[string]bool{".": true}
	for name := range n.zones {
		labels := dns.SplitDomainName(name)
		if len(labels) > 0 {
			missing[labels[len(labels)-1]+"."] = true
		}
	}
	for name := range missing {
		if n.zones[name] != nil {
			continue
		}
		spec := Zone{Name: name}
		if name == "." {
			spec.Records = []string{"ns. A 127.0.0.1"}
		}
		if err := n.addZone(spec); err != nil {
			return err
		}
	}
	return nil
}

// delegations returns the NS and DS records that z has for the zones below it.
func (n *Net) delegations(z *zone) []dns.RR {
	var rrs []dns.RR
	for name, child := range n.zones {
		if name != z.Name && n.zoneAbove(name) == z {
			rrs = append(rrs, child.delegation()...)
		}
	}
	return rrs
}

// zoneAbove returns the zone that delegates an apex; nil for the root.
func (n *Net) zoneAbove(apex string) *zone {
	if apex == "." {
		return nil
	}
	return n.zoneOf(parent(apex))
}

// zoneOf returns the zone that a name lies in.
func (n *Net) zoneOf(name string) *zone {
	for name != "." && n.zones[name] == nil {
		name = parent(name)
	}
	return n.zones[name]
}

// listen starts the resolver.
func (n *Net) listen() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	n.address = l.Addr().String()
	started := make(chan struct{})
	n.server = &dns.Server{
		Listener:          l,
		Handler:           dns.HandlerFunc(n.serve),
		MaxTCPQueries:     -1,
		ReadTimeout:       time.Minute,
		NotifyStartedFunc: func() { close(started) },
	}
	go func() { n.finished <- n.server.ActivateAndServe() }()
	select {
	case <-started:
		return nil
	case err := <-n.finished:
		return err
	}
}

// Close stops the resolver and waits for it.
func (n *Net) Close() error {
	if err := n.server.Shutdown(); err != nil {
		return err
	}
	return <-n.finished
}

// Resolver returns the resolver's address, host:port. It speaks TCP only.
func (n *Net) Resolver() string { return n.address }

// TrustAnchor returns the DS record of the root's key as a zone-file line.
func (n *Net) TrustAnchor() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.zones["."].ds().String()
}

// Zonefile returns a zone as it is served, signatures and all; "" if there is
// no such zone.
func (n *Net) Zonefile(name string) string {
	n.mu.Lock()
	z := n.zones[dns.CanonicalName(name)]
	n.mu.Unlock()
	if z == nil {
		return ""
	}
	return z.String()
}

// Questions returns the questions asked so far, as "good.test. SMIMEA".
func (n *Net) Questions() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.questions)
}

// Tamper lets f see and change each answer from now on; nil ends that.
func (n *Net) Tamper(f Tamper) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.tamper = f
}

// Publish adds records to a zone and signs it anew, by the clock of now. The
// lines are as those of [Zone]; a record set takes the place of the one with
// the same name and type. Without any, the zone is only signed anew.
func (n *Net) Publish(name string, records ...string) error {
	return n.change(name, func(z *zone) error {
		rrs, err := z.parse(records)
		z.data = append(without(z.data, rrs), rrs...)
		return err
	})
}

// Withdraw takes a record set out of a zone, and signs it anew. The owner is
// relative to the zone; a last dot makes it absolute.
func (n *Net) Withdraw(name, owner, rrtype string) error {
	return n.change(name, func(z *zone) error {
		qtype, ok := dns.StringToType[rrtype]
		if !ok {
			return fmt.Errorf("testnet: unknown type %q", rrtype)
		}
		if !strings.HasSuffix(owner, ".") {
			owner += "." + strings.TrimPrefix(z.Name, ".")
		}
		gone := &dns.ANY{Hdr: header(dns.CanonicalName(owner), qtype, 0)}
		z.data = without(z.data, []dns.RR{gone})
		return nil
	})
}

// change replaces a zone by a changed copy of it.
func (n *Net) change(name string, edit func(*zone) error) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	old := n.zones[dns.CanonicalName(name)]
	if old == nil {
		return fmt.Errorf("testnet: no zone %s", name)
	}
	z := *old
	if err := edit(&z); err != nil {
		return err
	}
	if err := z.build(n.delegations(old), n.now()); err != nil {
		return err
	}
	n.zones[z.Name] = &z
	return nil
}

// serve answers one question.
func (n *Net) serve(w dns.ResponseWriter, q *dns.Msg) {
	m := n.respond(q)
	if m == nil {
		return
	}
	if err := w.WriteMsg(m); err != nil {
		w.Close()
	}
}

// respond returns the answer, or nil where there should be silence.
func (n *Net) respond(q *dns.Msg) *dns.Msg {
	m := new(dns.Msg).SetReply(q)
	m.RecursionAvailable = true
	m.Compress = true
	if len(q.Question) != 1 || q.Opcode != dns.OpcodeQuery || q.Question[0].Qclass != dns.ClassINET {
		m.Rcode = dns.RcodeNotImplemented
		return m
	}
	question := q.Question[0]

	n.mu.Lock()
	n.questions = append(n.questions, question.Name+" "+dns.Type(question.Qtype).String())
	answered := n.recurse(m, dns.CanonicalName(question.Name), question.Qtype)
	tamper := n.tamper
	n.mu.Unlock()

	if !answered {
		return nil
	}
	m = m.Copy() // what is served stays as it is, whatever becomes of the answer
	negotiate(m, q)
	if tamper != nil {
		return tamper(question, m)
	}
	return m
}

// recurse fills in the answer, from zone to zone. It returns false if there
// should be none. The caller holds the lock.
func (n *Net) recurse(m *dns.Msg, name string, qtype uint16) bool {
	for range maxLinks {
		z := n.zoneOf(name)
		if qtype == dns.TypeDS && name == z.Name {
			z = cmp.Or(n.zoneAbove(name), z) // RFC 4035, Section 3.1.4.1
		}
		p := part{rcode: dns.RcodeServerFailure}
		switch z.Fault {
		case Silent:
			return false
		case Servfail:
		default:
			p = z.ask(name, qtype)
		}
		m.Rcode = p.rcode
		m.Answer = appendSets(m.Answer, p.answer)
		m.Ns = appendSets(m.Ns, p.authority)
		if p.alias == "" {
			break
		}
		name = p.alias
		m.Rcode = dns.RcodeServerFailure // a loop, unless there is an end to it
	}
	if m.Rcode == dns.RcodeServerFailure {
		m.Answer, m.Ns = nil, nil
	}
	return true
}

// appendSets adds record sets to a section, each once.
func appendSets(section []dns.RR, sets []*rrset) []dns.RR {
	for _, set := range sets {
		for _, rr := range set.all() {
			if !slices.Contains(section, rr) {
				section = append(section, rr)
			}
		}
	}
	return section
}

// negotiate adds the EDNS record (RFC 6891), and leaves out what is for those
// who ask with DO (RFC 4035, Section 3.2.1).
func negotiate(m, q *dns.Msg) {
	opt := q.IsEdns0()
	if opt != nil {
		m.SetEdns0(dns.DefaultMsgSize, opt.Do())
	}
	if opt != nil && opt.Do() {
		return
	}
	unwanted := func(rr dns.RR) bool {
		switch t := rr.Header().Rrtype; t {
		case dns.TypeRRSIG, dns.TypeNSEC, dns.TypeNSEC3:
			return t != q.Question[0].Qtype
		}
		return false
	}
	m.Answer = slices.DeleteFunc(m.Answer, unwanted)
	m.Ns = slices.DeleteFunc(m.Ns, unwanted)
}
