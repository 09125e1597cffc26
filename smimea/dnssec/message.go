package dnssec

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/miekg/dns"
)

// A question is what is asked: a name and a type, class IN.
type question struct {
	name  name
	rtype uint16
}

// An exchanger gets a reply to a question, from wherever. The reply is checked
// to be one, and nothing more. An error means that nobody answered properly.
type exchanger interface {
	ask(ctx context.Context, q question) (*reply, error)
}

// A reply is a message that answers a question: NOERROR or NXDOMAIN.
type reply struct {
	raw       []byte
	answer    []dns.RR
	authority []dns.RR
	nxdomain  bool

	from    string // the server
	useless func() // says that it leaves out what a proof needs; may be nil
}

// An rcodeError is a response code that is no answer.
type rcodeError struct {
	rcode int
	ede   []uint16 // what the server says about it (RFC 8914)
}

func (e *rcodeError) Error() string {
	s := "the server says " + dns.RcodeToString[e.rcode]
	if dns.RcodeToString[e.rcode] == "" {
		s = fmt.Sprintf("the server says RCODE%d", e.rcode)
	}
	for _, code := range e.ede {
		s += fmt.Sprintf(", extended error %d", code)
		if text := dns.ExtendedErrorCodeToString[code]; text != "" {
			s += " (" + text + ")"
		}
	}
	return s
}

const headerSize = 12

// newQuery writes a query that asks for everything a proof needs: DO for the
// signatures, and CD so that the server's own opinion does not take the place
// of the data (RFC 4035, Section 4.9.2; RFC 3225). A padded one does not show
// by its length what it asks for (RFC 7830; RFC 8467, Section 4.1).
func newQuery(id uint16, q question, padded bool) ([]byte, error) {
	m := new(dns.Msg)
	m.Id, m.RecursionDesired, m.CheckingDisabled = id, true, true
	m.Question = []dns.Question{{Name: q.name.String(), Qtype: q.rtype, Qclass: dns.ClassINET}}
	m.SetEdns0(dns.DefaultMsgSize, true)
	if padded {
		const block, option = 128, 4 // octets; the option's head
		unpadded := m.Len() + option
		padding := make([]byte, (block-unpadded%block)%block)
		m.IsEdns0().Option = append(m.IsEdns0().Option, &dns.EDNS0_PADDING{Padding: padding})
	}
	return m.Pack()
}

var (
	errMalformed = errors.New("the reply is malformed")
	errTruncated = errors.New("the reply is truncated, over TCP")
)

// parseReply reads a reply to a query with this ID and question.
func parseReply(raw []byte, id uint16, q question) (r *reply, err error) {
	// The parser of a library, on a stranger's bytes.
	defer func() {
		if recover() != nil {
			r, err = nil, errMalformed
		}
	}()
	if err := checkHeader(raw, id); err != nil {
		return nil, err
	}
	m := new(dns.Msg)
	if err := m.Unpack(raw); err != nil {
		return nil, errMalformed
	}
	if !counted(raw, m) {
		return nil, errMalformed
	}
	if len(m.Question) == 0 && m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError {
		return nil, &rcodeError{m.Rcode, extended(m)} // QUIRK: a FORMERR may be a header only.
	}
	if !asks(m.Question, q) {
		return nil, errors.New("the reply is to another question")
	}
	if m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError {
		return nil, &rcodeError{m.Rcode, extended(m)}
	}
	return &reply{raw: raw, answer: m.Answer, authority: m.Ns, nxdomain: m.Rcode == dns.RcodeNameError}, nil
}

func checkHeader(raw []byte, id uint16) error {
	if len(raw) < headerSize {
		return errMalformed
	}
	bits := binary.BigEndian.Uint16(raw[2:])
	switch {
	case binary.BigEndian.Uint16(raw) != id:
		return errors.New("the reply has another ID")
	case bits&0x8000 == 0:
		return errors.New("the reply is a query")
	case bits>>11&0xf != dns.OpcodeQuery:
		return errors.New("the reply has another opcode")
	case bits&0x0200 != 0: // RFC 8162, Section 9.1: this is not "no data"
		return errTruncated
	}
	return nil
}

// counted reports whether the message holds as many records as its header
// says: the library stops early without complaint.
func counted(raw []byte, m *dns.Msg) bool {
	counts := []int{len(m.Question), len(m.Answer), len(m.Ns), len(m.Extra)}
	for i, n := range counts {
		if int(binary.BigEndian.Uint16(raw[4+2*i:])) != n {
			return false
		}
	}
	return true
}

func asks(questions []dns.Question, q question) bool {
	if len(questions) != 1 || questions[0].Qtype != q.rtype || questions[0].Qclass != dns.ClassINET {
		return false
	}
	n, err := parseName(questions[0].Name)
	return err == nil && n == q.name
}

// extended returns the first few extended errors of a message.
func extended(m *dns.Msg) []uint16 {
	var codes []uint16
	opt := m.IsEdns0()
	if opt == nil {
		return nil
	}
	for _, o := range opt.Option {
		if e, ok := o.(*dns.EDNS0_EDE); ok && len(codes) < 3 && !slices.Contains(codes, e.InfoCode) {
			codes = append(codes, e.InfoCode)
		}
	}
	return codes
}

// A link is the part of an answer that concerns the name asked for. What else
// is in the message, of the way an alias leads, is asked for anew.
type link struct {
	kind linkKind
	set  rrset
}

type linkKind uint8

const (
	nothing linkKind = iota
	data
	cname
	dname
)

// firstLink finds the record set asked for, or the alias in its place. A DNAME
// above the closest trust anchor cannot speak for what is below it.
func (r *reply) firstLink(q question, anchor name) link {
	if set := find(r.answer, q.name, q.rtype); len(set.data) > 0 {
		return link{data, set}
	}
	// A DNAME goes before the CNAME that is made from it and never signed (RFC
	// 6672, Section 5.3.1).
	if owner, ok := r.dnameAbove(q.name, anchor); ok {
		return link{dname, find(r.answer, owner, dns.TypeDNAME)}
	}
	if set := find(r.answer, q.name, dns.TypeCNAME); len(set.data) > 0 {
		return link{cname, set}
	}
	return link{}
}

// leads tells where an alias leads, and which name takes the place of n (RFC
// 6672, Section 2.2).
func (l link) leads(n name) (target, next name, why *reason) {
	target, _, ok := readName(l.set.data[0])
	switch {
	case len(l.set.data) != 1 || !ok:
		return "", "", because(0, "an alias leads to one name")
	case l.kind == cname:
		return target, target, nil
	}
	if next, ok = n.replace(l.set.owner, target); !ok {
		return "", "", because(0, "the name that the DNAME leads to is too long")
	}
	return target, next, nil
}

func (r *reply) dnameAbove(n, anchor name) (owner name, ok bool) {
	for _, rr := range r.answer {
		h := rr.Header()
		if h.Rrtype != dns.TypeDNAME || h.Class != dns.ClassINET {
			continue
		}
		if owner, err := parseName(h.Name); err == nil && n.below(owner) && owner.in(anchor) {
			return owner, true
		}
	}
	return root, false
}

// denials collects the NSEC and NSEC3 record sets of a message, not too many.
func (r *reply) denials() []rrset {
	var sets []rrset
	seen := map[question]bool{}
	for _, rr := range r.authority {
		h := rr.Header()
		if h.Rrtype != dns.TypeNSEC && h.Rrtype != dns.TypeNSEC3 {
			continue
		}
		owner, err := parseName(h.Name)
		q := question{owner, h.Rrtype}
		if err != nil || seen[q] || len(sets) >= maxDenials {
			continue
		}
		seen[q] = true
		sets = append(sets, find(r.authority, owner, h.Rrtype))
	}
	return sets
}

// negativeTTL tells how long a denial may be kept (RFC 2308, Section 5): the
// lower of the SOA's TTL and its last field. It only ever shortens what the
// proof allows, so that it is not proven itself does no harm.
func (r *reply) negativeTTL() uint32 {
	for _, rr := range r.authority {
		if soa, ok := rr.(*dns.SOA); ok {
			return min(saneTTL(soa.Hdr.Ttl), saneTTL(soa.Minttl))
		}
	}
	return maxTTL
}

// likelyZone guesses from a SOA which zone a name is in, or says the root. It
// is not proven, and decides what is asked for, not what is believed.
func (r *reply) likelyZone(n name) name {
	for _, rr := range r.authority {
		if owner, err := parseName(rr.Header().Name); err == nil && rr.Header().Rrtype == dns.TypeSOA && n.in(owner) {
			return owner
		}
	}
	return root
}
