package testnet

import (
	"slices"

	"github.com/miekg/dns"
)

// maxLinks bounds the aliases that are followed for one question.
const maxLinks = 16

// A part is what one zone has to say to a question.
type part struct {
	rcode             int
	answer, authority []*rrset
	alias             string // where to ask on; "" when this is the end
}

// ask answers a question from one zone: RFC 1034, Section 4.3.2, with the
// proofs of RFC 4035, Section 3.1, and RFC 5155, Section 7.2.
func (z *zone) ask(name string, qtype uint16) part {
	above, encloser := z.walk(name)
	switch {
	case above != "" && (above != name || qtype != dns.TypeDS):
		// A delegation to a zone that nobody serves.
		return part{rcode: dns.RcodeServerFailure}
	case z.nodes[encloser][dns.TypeDNAME] != nil && encloser != name:
		return z.renamed(name, encloser)
	case encloser == name:
		return z.found(name, qtype)
	}
	return z.expanded(name, encloser, qtype)
}

// walk goes down from the apex towards a name. It returns the first cut or ""
// and the closest encloser; nothing exists below a DNAME (RFC 6672, Section 2.3).
func (z *zone) walk(name string) (cut, encloser string) {
	path := slices.Collect(z.upwards(name))
	slices.Reverse(path)
	for _, step := range path {
		n, exists := z.nodes[step]
		if !exists {
			break
		}
		encloser = step
		if z.isCut(step) {
			return step, encloser
		}
		if n[dns.TypeDNAME] != nil {
			break
		}
	}
	return "", encloser
}

// found answers for a name that exists.
func (z *zone) found(name string, qtype uint16) part {
	n := z.nodes[name]
	switch {
	case n[qtype] != nil:
		return part{answer: []*rrset{n[qtype]}}
	case qtype == dns.TypeANY || qtype == dns.TypeRRSIG:
		return part{answer: n.everything()}
	case n[dns.TypeCNAME] != nil:
		return part{answer: []*rrset{n[dns.TypeCNAME]}, alias: n[dns.TypeCNAME].target()}
	}
	return z.negative(dns.RcodeSuccess, func(d denial) []*rrset { return d.noType(name) })
}

func (n node) everything() []*rrset {
	var sets []*rrset
	for _, set := range n {
		sets = append(sets, set)
	}
	return sets
}

func (s *rrset) target() string { return dns.CanonicalName(s.rrs[0].(*dns.CNAME).Target) }

// expanded answers for a name that does not exist: by wildcard, or not at all.
func (z *zone) expanded(name, encloser string, qtype uint16) part {
	source, exists := z.nodes[wildcard(encloser)]
	noName := func(d denial) []*rrset { return d.noName(name, encloser) }
	if !exists {
		return z.negative(dns.RcodeNameError, noName)
	}
	p := part{authority: z.prove(func(d denial) []*rrset { return d.noCloser(name) })}
	switch {
	case source[qtype] != nil:
		p.answer = []*rrset{source[qtype].at(name)}
	case source[dns.TypeCNAME] != nil:
		p.answer = []*rrset{source[dns.TypeCNAME].at(name)}
		p.alias = source[dns.TypeCNAME].target()
	default:
		return z.negative(dns.RcodeSuccess, noName)
	}
	return p
}

// at returns the set with another owner, as a wildcard's is used. The
// signatures keep the label count of the wildcard.
func (s *rrset) at(owner string) *rrset {
	move := func(rrs []dns.RR) []dns.RR {
		var moved []dns.RR
		for _, rr := range rrs {
			rr = dns.Copy(rr)
			rr.Header().Name = owner
			moved = append(moved, rr)
		}
		return moved
	}
	return &rrset{move(s.rrs), move(s.sigs)}
}

// renamed answers for a name below a DNAME: with that and with the CNAME it
// means, which is not signed (RFC 6672, Section 5.3.1).
func (z *zone) renamed(name, owner string) part {
	set := z.nodes[owner][dns.TypeDNAME]
	dname := set.rrs[0].(*dns.DNAME)
	prefix := name[:len(name)-len(owner)]
	target := dns.CanonicalName(prefix + dname.Target)
	if dname.Target == "." {
		target = dns.CanonicalName(prefix)
	}
	if _, ok := dns.IsDomainName(target); !ok {
		return part{rcode: dns.RcodeYXDomain, answer: []*rrset{set}}
	}
	cname := &dns.CNAME{Hdr: header(name, dns.TypeCNAME, dname.Hdr.Ttl), Target: target}
	return part{answer: []*rrset{set, {rrs: []dns.RR{cname}}}, alias: target}
}

// negative says that there is nothing, and proves it.
func (z *zone) negative(rcode int, proof func(denial) []*rrset) part {
	authority := append([]*rrset{z.nodes[z.Name][dns.TypeSOA]}, z.prove(proof)...)
	return part{rcode: rcode, authority: authority}
}

// prove returns a proof, from zones that have one to give.
func (z *zone) prove(proof func(denial) []*rrset) []*rrset {
	if z.denial == nil || z.Fault == NoDenial {
		return nil
	}
	return proof(z.denial)
}
