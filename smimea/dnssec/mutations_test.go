package dnssec

import (
	"encoding/base64"
	"encoding/binary"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// What a hostile server does to a message, see hostile_test.go.

// A mutation is one thing that a hostile server does to a reply.
type mutation struct {
	what    string
	becomes []Status // what may become of a Secure answer; nil: nothing, it is harmless
	do      func(r *mangled)
	codes   bool // it tells of an insecure answer whether there is no data or no name
	slow    bool // nothing comes: the time for the question has to pass
	chance  bool // whether it does anything depends on what is under way beside it
}

var (
	bogusOnly = []Status{Bogus}
	lost      = []Status{Indeterminate}
	either    = []Status{Bogus, Indeterminate}
)

// A mangled is a right reply, before somebody gets at it.
type mangled struct {
	h    *hostile
	q    question
	conn net.Conn
	raw  []byte
}

// send writes a message with its length in front.
func (r *mangled) send(raw []byte) { write(r.conn, raw) }

// framed returns the right reply as it should go over the connection.
func (r *mangled) framed() []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(r.raw))), r.raw...)
}

func (r *mangled) message() *dns.Msg {
	m := new(dns.Msg)
	if err := m.Unpack(r.raw); err != nil {
		r.h.t.Errorf("%s %s: %v", r.q.name, TypeName(r.q.rtype), err)
	}
	return m
}

func (r *mangled) pack(m *dns.Msg) []byte {
	raw, err := m.Pack()
	if err != nil {
		r.h.t.Errorf("%s %s: %v", r.q.name, TypeName(r.q.rtype), err)
	}
	return raw
}

// inMessage changes the reply as the library reads it.
func inMessage(change func(r *mangled, m *dns.Msg)) func(r *mangled) {
	return func(r *mangled) {
		m := r.message()
		change(r, m)
		r.send(r.pack(m))
	}
}

// inRecords changes each record of answer and authority section.
func inRecords(change func(r *mangled, rr dns.RR)) func(r *mangled) {
	return inMessage(func(r *mangled, m *dns.Msg) {
		for _, rr := range slices.Concat(m.Answer, m.Ns) {
			change(r, rr)
		}
	})
}

func inSignatures(change func(sig *dns.RRSIG)) func(r *mangled) {
	return inRecords(func(_ *mangled, rr dns.RR) {
		if sig, ok := rr.(*dns.RRSIG); ok {
			change(sig)
		}
	})
}

func inNSEC3(change func(rr *dns.NSEC3)) func(r *mangled) {
	return inRecords(func(_ *mangled, rr dns.RR) {
		if rr, ok := rr.(*dns.NSEC3); ok {
			change(rr)
		}
	})
}

func inNSEC(change func(rr *dns.NSEC)) func(r *mangled) {
	return inRecords(func(_ *mangled, rr dns.RR) {
		if rr, ok := rr.(*dns.NSEC); ok {
			change(rr)
		}
	})
}

// inBytes changes the message as it is on the wire.
func inBytes(change func(raw []byte) []byte) func(r *mangled) {
	return func(r *mangled) { r.send(change(r.raw)) }
}

// flipped changes one bit, at so many eighths of the message.
func flipped(eighths int) func(r *mangled) {
	return inBytes(func(raw []byte) []byte {
		raw[len(raw)*eighths/8] ^= 1 << (eighths % 8)
		return raw
	})
}

// denying gives the denial of another question.
func denying(n string, qtype uint16) func(r *mangled) {
	return inMessage(func(r *mangled, m *dns.Msg) {
		other := r.h.truth.message(question{must(n), qtype})
		m.Answer, m.Ns, m.Rcode = nil, other.Ns, other.Rcode
	})
}

// old gives the answer of a world of the past.
func old(w func(h *hostile) *truth) func(r *mangled) {
	return inMessage(func(r *mangled, m *dns.Msg) {
		other := w(r.h).message(r.q)
		m.Answer, m.Ns, m.Rcode = other.Answer, other.Ns, other.Rcode
	})
}

var harmful = []mutation{
	// Signatures.
	{what: "no signatures", becomes: bogusOnly, do: inMessage(func(r *mangled, m *dns.Msg) { strip(r.q, m) })},
	{what: "no signatures, and AD", becomes: bogusOnly, do: inMessage(func(r *mangled, m *dns.Msg) { strip(r.q, m); m.AuthenticatedData = true })},
	{what: "no signatures in the answer", becomes: bogusOnly, do: inMessage(func(_ *mangled, m *dns.Msg) { m.Answer = without(m.Answer, dns.TypeRRSIG) })},
	{what: "no signatures in the authority", becomes: bogusOnly, do: inMessage(func(_ *mangled, m *dns.Msg) { m.Ns = without(m.Ns, dns.TypeRRSIG) })},
	{what: "nothing but signatures", becomes: bogusOnly, do: inMessage(func(_ *mangled, m *dns.Msg) {
		m.Answer, m.Ns = records(m.Answer, dns.TypeRRSIG), records(m.Ns, dns.TypeRRSIG)
	})},
	{what: "a changed signature", becomes: bogusOnly, do: inSignatures(func(sig *dns.RRSIG) {
		raw, _ := base64.StdEncoding.DecodeString(sig.Signature)
		raw[0] ^= 1
		sig.Signature = base64.StdEncoding.EncodeToString(raw)
	})},
	{what: "signatures without a signature", becomes: bogusOnly, do: inSignatures(func(sig *dns.RRSIG) { sig.Signature = "" })},
	{what: "signatures swapped", becomes: bogusOnly, do: inMessage(func(_ *mangled, m *dns.Msg) { swapSignatures(slices.Concat(m.Answer, m.Ns)) })},
	{what: "signed by the root", becomes: bogusOnly, do: inSignatures(func(sig *dns.RRSIG) { sig.SignerName = "." })},
	{what: "signed by nobody", becomes: bogusOnly, do: inSignatures(func(sig *dns.RRSIG) { sig.SignerName = "nobody." })},
	{what: "signed by the owner", becomes: bogusOnly, do: inSignatures(func(sig *dns.RRSIG) { sig.SignerName = under("mail", sig.SignerName) })},
	{what: "another key tag", becomes: bogusOnly, do: inSignatures(func(sig *dns.RRSIG) { sig.KeyTag++ })},
	{what: "another algorithm", becomes: bogusOnly, do: inSignatures(func(sig *dns.RRSIG) { sig.Algorithm = 8 })},
	{what: "an unknown algorithm", becomes: bogusOnly, do: inSignatures(func(sig *dns.RRSIG) { sig.Algorithm = 200 })},
	{what: "a label less", becomes: bogusOnly, do: inSignatures(func(sig *dns.RRSIG) { sig.Labels-- })},
	{what: "a label more", becomes: bogusOnly, do: inSignatures(func(sig *dns.RRSIG) { sig.Labels++ })},
	{what: "another original TTL", becomes: bogusOnly, do: inSignatures(func(sig *dns.RRSIG) { sig.OrigTtl++ })},
	{what: "a later end", becomes: bogusOnly, do: inSignatures(func(sig *dns.RRSIG) { sig.Expiration += 86400 })},
	{what: "an end in the past", becomes: bogusOnly, do: inSignatures(func(sig *dns.RRSIG) { sig.Expiration = sig.Inception })},
	{what: "a beginning in the future", becomes: bogusOnly, do: inSignatures(func(sig *dns.RRSIG) { sig.Inception = sig.Expiration })},
	{what: "for another type", becomes: bogusOnly, do: inSignatures(func(sig *dns.RRSIG) { sig.TypeCovered = dns.TypeTXT })},
	{what: "forged, signed by the server", becomes: bogusOnly, do: inMessage(signedByIntruder)},
	{what: "many bad signatures before the good one", becomes: bogusOnly, do: inMessage(func(_ *mangled, m *dns.Msg) {
		m.Answer, m.Ns = append(badSignatures(m.Answer), m.Answer...), append(badSignatures(m.Ns), m.Ns...)
	})},

	// Records of the answer.
	{what: "nothing", becomes: bogusOnly, do: inMessage(func(_ *mangled, m *dns.Msg) { m.Answer, m.Ns = nil, nil })},
	{what: "nothing, with a code that says so", becomes: bogusOnly, do: inMessage(func(_ *mangled, m *dns.Msg) {
		m.Answer, m.Ns, m.Rcode = nil, nil, dns.RcodeNameError
	})},
	{what: "no answer", becomes: bogusOnly, do: inMessage(func(_ *mangled, m *dns.Msg) { m.Answer = nil })},
	{what: "no such name", becomes: bogusOnly, do: inMessage(func(_ *mangled, m *dns.Msg) { m.Answer, m.Rcode = nil, dns.RcodeNameError })},
	{what: "no authority", becomes: bogusOnly, do: inMessage(func(_ *mangled, m *dns.Msg) { m.Ns = nil })},
	{what: "the first record gone", becomes: bogusOnly, do: inMessage(func(_ *mangled, m *dns.Msg) { m.Answer = m.Answer[min(1, len(m.Answer)):] })},
	{what: "the last record gone", becomes: bogusOnly, do: inMessage(func(_ *mangled, m *dns.Msg) { m.Answer = m.Answer[:max(0, len(m.Answer)-1)] })},
	{what: "forged data", becomes: bogusOnly, do: inMessage(func(_ *mangled, m *dns.Msg) { forgeAll(m.Answer) })},
	{what: "a forged record more", becomes: bogusOnly, do: inMessage(func(_ *mangled, m *dns.Msg) {
		forged := copied(without(m.Answer, dns.TypeRRSIG))
		forgeAll(forged)
		m.Answer = append(m.Answer, forged...)
	})},
	{what: "another class", becomes: bogusOnly, do: inRecords(func(_ *mangled, rr dns.RR) { rr.Header().Class = dns.ClassCHAOS })},
	{what: "other names", becomes: bogusOnly, do: inRecords(func(_ *mangled, rr dns.RR) { rr.Header().Name = under("x", rr.Header().Name) })},
	{what: "the records of another name", becomes: bogusOnly, do: inMessage(func(r *mangled, m *dns.Msg) { m.Answer = r.other().Answer })},
	{what: "the records of another name under this one", becomes: bogusOnly, do: inMessage(func(r *mangled, m *dns.Msg) {
		m.Answer = expand(r.other().Answer, r.q.name)
	})},
	{what: "an alias to elsewhere", becomes: bogusOnly, do: inMessage(func(r *mangled, m *dns.Msg) {
		m.Answer, m.Ns = []dns.RR{alias(dns.TypeCNAME, r.q.name.String())}, nil
	})},
	{what: "an alias to elsewhere, above", becomes: bogusOnly, do: inMessage(func(r *mangled, m *dns.Msg) {
		m.Answer, m.Ns = []dns.RR{alias(dns.TypeDNAME, r.q.name.parent().String())}, nil
	})},
	{what: "an alias to elsewhere before the answer", becomes: bogusOnly, do: inMessage(func(r *mangled, m *dns.Msg) {
		m.Answer = append([]dns.RR{alias(dns.TypeDNAME, r.q.name.parent().String())}, without(m.Answer, r.q.rtype)...)
	})},
	{what: "an old answer, out of date", becomes: bogusOnly, do: old(func(h *hostile) *truth { return h.changed })},
	{what: "an old denial, out of date", becomes: bogusOnly, do: old(func(h *hostile) *truth { return h.empty })},

	// Records of the denial.
	{what: "the first denial gone", becomes: bogusOnly, do: inMessage(func(_ *mangled, m *dns.Msg) { dropDenial(m, 0) })},
	{what: "the second denial gone", becomes: bogusOnly, do: inMessage(func(_ *mangled, m *dns.Msg) { dropDenial(m, 1) })},
	{what: "the third denial gone", becomes: bogusOnly, do: inMessage(func(_ *mangled, m *dns.Msg) { dropDenial(m, 2) })},
	{what: "NSEC: fewer types", becomes: bogusOnly, do: inNSEC(func(rr *dns.NSEC) { rr.TypeBitMap = []uint16{dns.TypeRRSIG, dns.TypeNSEC} })},
	{what: "NSEC: a longer span", becomes: bogusOnly, do: inNSEC(func(rr *dns.NSEC) { rr.NextDomain = "good.test." })},
	{what: "NSEC: under the name asked for", becomes: bogusOnly, do: inRecords(func(r *mangled, rr dns.RR) {
		if rr.Header().Rrtype == dns.TypeNSEC {
			rr.Header().Name = r.q.name.String()
		}
	})},
	{what: "NSEC3: fewer types", becomes: bogusOnly, do: inNSEC3(func(rr *dns.NSEC3) { rr.TypeBitMap = nil })},
	{what: "NSEC3: a longer span", becomes: bogusOnly, do: inNSEC3(func(rr *dns.NSEC3) { rr.NextDomain = strings.ToUpper(dns.SplitDomainName(rr.Hdr.Name)[0]) })},
	{what: "NSEC3: Opt-Out", becomes: bogusOnly, do: inNSEC3(func(rr *dns.NSEC3) { rr.Flags ^= 1 })},
	{what: "NSEC3: another flag", becomes: bogusOnly, do: inNSEC3(func(rr *dns.NSEC3) { rr.Flags |= 2 })},
	{what: "NSEC3: another hash", becomes: bogusOnly, do: inNSEC3(func(rr *dns.NSEC3) { rr.Hash = 2 })},
	{what: "NSEC3: too many iterations", becomes: bogusOnly, do: inNSEC3(func(rr *dns.NSEC3) { rr.Iterations = 2500 })},
	{what: "NSEC3: another salt", becomes: bogusOnly, do: inNSEC3(func(rr *dns.NSEC3) { rr.Salt = "ccdd" })},
	{what: "so many denials that the right one is not seen", becomes: bogusOnly, do: inMessage(func(r *mangled, m *dns.Msg) {
		for range maxDenials {
			n := under(strconv.Itoa(len(m.Ns)), r.q.name.String())
			m.Ns = append([]dns.RR{&dns.NSEC{Hdr: header(n, dns.TypeNSEC), NextDomain: n}}, m.Ns...)
		}
	})},
	{what: "the denial of a name in a zone with NSEC", becomes: bogusOnly, do: denying("zzz.good.test.", typeA)},
	{what: "the denial of a type in a zone with NSEC", becomes: bogusOnly, do: denying("mail.good.test.", dns.TypeTXT)},
	{what: "the denial of a wildcard's type", becomes: bogusOnly, do: denying("any.wild.good.test.", dns.TypeTXT)},
	{what: "the denial of a name in a zone with NSEC3", becomes: bogusOnly, do: denying("zzz.nsec3.test.", typeA)},
	{what: "the denial of a type in a zone with NSEC3", becomes: bogusOnly, do: denying("mail.nsec3.test.", dns.TypeTXT)},
	{what: "the denial of a name in a zone with Opt-Out", becomes: bogusOnly, do: denying("zzz.optout.test.", typeA)},
	{what: "the denial of a name above", becomes: bogusOnly, do: denying("zzz.test.", typeA)},
	{what: "the denial of a name at the root", becomes: bogusOnly, do: denying("zzz.", typeA)},
	{what: "the denial of another DS", becomes: bogusOnly, do: denying("unsigned.test.", dns.TypeDS)},
	{what: "the denial of another DS, by Opt-Out", becomes: bogusOnly, do: denying("plain.optout.test.", dns.TypeDS)},
	{what: "the denials of all names above", becomes: bogusOnly, do: inMessage(func(r *mangled, m *dns.Msg) {
		m.Answer, m.Ns, m.Rcode = nil, r.h.truth.denialsAbove(r.q.name), dns.RcodeNameError
	})},

	// The header and the question.
	{what: "TC", becomes: lost, do: inMessage(func(_ *mangled, m *dns.Msg) { m.Truncated = true })},
	{what: "TC and nothing", becomes: lost, do: inMessage(func(_ *mangled, m *dns.Msg) { m.Truncated, m.Answer, m.Ns = true, nil, nil })},
	{what: "another ID", becomes: lost, do: inMessage(func(_ *mangled, m *dns.Msg) { m.Id++ })},
	{what: "a query", becomes: lost, do: inMessage(func(_ *mangled, m *dns.Msg) { m.Response = false })},
	{what: "another opcode", becomes: lost, do: inMessage(func(_ *mangled, m *dns.Msg) { m.Opcode = dns.OpcodeNotify })},
	{what: "SERVFAIL", becomes: lost, do: inMessage(func(_ *mangled, m *dns.Msg) { m.Rcode = dns.RcodeServerFailure })},
	{what: "REFUSED and nothing", becomes: lost, do: inMessage(func(_ *mangled, m *dns.Msg) { m.Rcode, m.Answer, m.Ns = dns.RcodeRefused, nil, nil })},
	{what: "BADVERS", becomes: lost, do: inMessage(func(_ *mangled, m *dns.Msg) { m.SetEdns0(1232, true); m.Rcode = dns.RcodeBadVers })},
	{what: "another name in the question", becomes: lost, do: inMessage(func(_ *mangled, m *dns.Msg) { m.Question[0].Name = "zzz.test." })},
	{what: "another type in the question", becomes: lost, do: inMessage(func(_ *mangled, m *dns.Msg) { m.Question[0].Qtype = dns.TypeTXT })},
	{what: "another class in the question", becomes: lost, do: inMessage(func(_ *mangled, m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS })},
	{what: "no question", becomes: lost, do: inMessage(func(_ *mangled, m *dns.Msg) { m.Question = nil })},
	{what: "two questions", becomes: lost, do: inMessage(func(_ *mangled, m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) })},
	{what: "the answer to another question", becomes: lost, do: func(r *mangled) {
		other := r.h.truth.message(question{must("zzz.good.test."), typeA})
		other.Id = binary.BigEndian.Uint16(r.raw)
		r.send(r.pack(other))
	}},
	{what: "the answer to another question, under this one", becomes: bogusOnly, do: inMessage(func(r *mangled, m *dns.Msg) {
		other := r.h.truth.message(question{must("x.wild.good.test."), typeA})
		m.Answer, m.Ns, m.Rcode = other.Answer, other.Ns, other.Rcode
	})},

	// The octets.
	{what: "no octets", becomes: lost, do: inBytes(func([]byte) []byte { return nil })},
	{what: "half a header", becomes: lost, do: inBytes(func(raw []byte) []byte { return raw[:6] })},
	{what: "a header", becomes: lost, do: inBytes(func(raw []byte) []byte { return raw[:12] })},
	{what: "half a message that says to be whole", becomes: lost, do: inBytes(func(raw []byte) []byte { return raw[:len(raw)/2] })},
	{what: "an octet less", becomes: lost, do: inBytes(func(raw []byte) []byte { return raw[:len(raw)-1] })},
	{what: "an answer more in the header", becomes: either, do: inBytes(func(raw []byte) []byte { raw[7]++; return raw })},
	{what: "an authority more in the header", becomes: either, do: inBytes(func(raw []byte) []byte { raw[9]++; return raw })},
	{what: "an answer less in the header", becomes: either, do: inBytes(func(raw []byte) []byte { raw[7] = max(raw[7], 1) - 1; return raw })},
	{what: "a bit flipped after 1/8", becomes: either, do: flipped(1)},
	{what: "a bit flipped after 2/8", becomes: either, do: flipped(2)},
	{what: "a bit flipped after 3/8", becomes: either, do: flipped(3)},
	{what: "a bit flipped after 4/8", becomes: either, do: flipped(4)},
	{what: "a bit flipped after 5/8", becomes: either, do: flipped(5)},
	{what: "a bit flipped after 6/8", becomes: either, do: flipped(6)},
	{what: "a bit flipped after 7/8", becomes: either, do: flipped(7)},

	// The connection.
	{what: "closed at once", becomes: lost, do: func(r *mangled) { r.conn.Close() }},
	{what: "closed after half a length", becomes: lost, do: func(r *mangled) { r.conn.Write(r.framed()[:1]); r.conn.Close() }},
	{what: "closed after the length", becomes: lost, do: func(r *mangled) { r.conn.Write(r.framed()[:2]); r.conn.Close() }},
	{what: "closed after half a message", becomes: lost, do: func(r *mangled) { r.conn.Write(r.framed()[:len(r.raw)/2]); r.conn.Close() }},
	{what: "closed an octet early", becomes: lost, do: func(r *mangled) { r.conn.Write(r.framed()[:len(r.raw)+1]); r.conn.Close() }},
	{what: "a length that is too small", becomes: lost, do: func(r *mangled) {
		r.conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(r.raw)/2)), r.raw...))
	}},
	{what: "a message of somebody else before the right one", becomes: lost, do: func(r *mangled) {
		other := r.message()
		other.Id++
		forgeAll(other.Answer)
		raw := r.pack(other)
		r.conn.Write(slices.Concat(binary.BigEndian.AppendUint16(nil, uint16(len(raw))), raw, r.framed()))
	}},
	// The question after it waits for the other half.
	{what: "half a message behind the right one", becomes: lost, slow: true, chance: true, do: func(r *mangled) { r.conn.Write(append(r.framed(), r.framed()[:20]...)) }},
	{what: "silence", becomes: lost, slow: true, do: func(*mangled) {}},
	{what: "silence after half a message", becomes: lost, slow: true, do: func(r *mangled) { r.conn.Write(r.framed()[:len(r.raw)/2]) }},
}

var harmless = []mutation{
	{what: "unchanged", do: func(r *mangled) { r.send(r.raw) }},
	{what: "without compression", do: inMessage(func(_ *mangled, m *dns.Msg) { m.Compress = false })},
	{what: "in another order", do: inMessage(func(_ *mangled, m *dns.Msg) { slices.Reverse(m.Answer); slices.Reverse(m.Ns) })},
	{what: "everything twice", do: inMessage(func(_ *mangled, m *dns.Msg) {
		m.Answer, m.Ns = append(m.Answer, m.Answer...), append(m.Ns, m.Ns...)
	})},
	{what: "upper case in the question", do: inMessage(func(_ *mangled, m *dns.Msg) { m.Question[0].Name = strings.ToUpper(m.Question[0].Name) })},
	{what: "upper case in the owners", do: inRecords(func(_ *mangled, rr dns.RR) { rr.Header().Name = strings.ToUpper(rr.Header().Name) })},
	// RFC 4034, Section 6.2: names in the data of these are signed in lower case.
	{what: "upper case in the data", do: inRecords(func(_ *mangled, rr dns.RR) {
		switch rr := rr.(type) {
		case *dns.CNAME:
			rr.Target = strings.ToUpper(rr.Target)
		case *dns.DNAME:
			rr.Target = strings.ToUpper(rr.Target)
		case *dns.SOA:
			rr.Ns = strings.ToUpper(rr.Ns)
		case *dns.RRSIG:
			rr.SignerName = strings.ToUpper(rr.SignerName)
		}
	})},
	{what: "lower TTLs", do: inRecords(func(_ *mangled, rr dns.RR) { rr.Header().Ttl = 7 })},
	{what: "no TTLs", do: inRecords(func(_ *mangled, rr dns.RR) { rr.Header().Ttl = 0 })},
	{what: "higher TTLs", do: inRecords(func(_ *mangled, rr dns.RR) { rr.Header().Ttl = 1 << 30 })},
	{what: "records added to the other sections", do: inMessage(func(r *mangled, m *dns.Msg) {
		forged := copied(m.Answer)
		forgeAll(forged)
		m.Extra = append(m.Extra, forged...)
		m.Ns = append(append(m.Ns, forged...), &dns.NS{Hdr: header("test.", dns.TypeNS), Ns: "ns.elsewhere."})
		m.Extra = append(m.Extra, m.Ns...)
	})},
	{what: "records of other names", do: inMessage(func(_ *mangled, m *dns.Msg) {
		for _, n := range []string{".", "test.", "zzz.good.test.", "elsewhere."} {
			m.Answer = append([]dns.RR{&dns.A{Hdr: header(n, typeA), A: net.IPv4(192, 0, 2, 66)}}, m.Answer...)
		}
	})},
	{what: "forged records of another class", do: inMessage(func(_ *mangled, m *dns.Msg) {
		forged := copied(m.Answer)
		forgeAll(forged)
		for _, rr := range forged {
			rr.Header().Class = dns.ClassCHAOS
		}
		m.Answer = append(forged, m.Answer...)
	})},
	{what: "forged denials beside the right ones", do: inMessage(func(r *mangled, m *dns.Msg) {
		m.Ns = append([]dns.RR{
			&dns.NSEC{Hdr: header("test.", dns.TypeNSEC), NextDomain: "test."},
			&dns.NSEC{Hdr: header(under("\\000", r.q.name.String()), dns.TypeNSEC), NextDomain: "."},
		}, m.Ns...)
	})},
	{what: "a few bad signatures before the good one", do: inMessage(func(_ *mangled, m *dns.Msg) {
		m.Answer = append(badSignatures(m.Answer)[:min(4, len(badSignatures(m.Answer)))], m.Answer...)
	})},
	{what: "signatures by unknown keys before the good one", do: inMessage(func(_ *mangled, m *dns.Msg) {
		for _, rr := range badSignatures(m.Answer) {
			rr.(*dns.RRSIG).KeyTag++
			m.Answer = append([]dns.RR{rr}, m.Answer...)
		}
	})},
	{what: "AD", do: inMessage(func(_ *mangled, m *dns.Msg) { m.AuthenticatedData = true })},
	{what: "AA, and neither RA nor RD nor CD", do: inMessage(func(_ *mangled, m *dns.Msg) {
		m.Authoritative, m.RecursionAvailable, m.RecursionDesired, m.CheckingDisabled = true, false, false, false
	})},
	{what: "the other response code", codes: true, do: inMessage(func(_ *mangled, m *dns.Msg) { m.Rcode ^= dns.RcodeNameError })},
	{what: "an extended error", do: inMessage(func(_ *mangled, m *dns.Msg) {
		m.SetEdns0(1232, true)
		m.IsEdns0().Option = append(m.IsEdns0().Option, &dns.EDNS0_EDE{InfoCode: 6, ExtraText: "bogus"}, &dns.EDNS0_PADDING{Padding: make([]byte, 300)})
	})},
	{what: "one octet at a time", do: func(r *mangled) {
		for _, b := range r.framed() {
			r.conn.Write([]byte{b})
		}
	}},
	{what: "closed after the answer", do: func(r *mangled) { r.send(r.raw); r.conn.Close() }},
	// The second message must not be taken for the answer to the next question.
	{what: "another message behind, in one segment", do: func(r *mangled) {
		other := r.message()
		forgeAll(other.Answer)
		raw := r.pack(other)
		r.conn.Write(slices.Concat(r.framed(), binary.BigEndian.AppendUint16(nil, uint16(len(raw))), raw))
	}},
}

// under returns the name of a label below another name.
func under(label, n string) string { return label + "." + strings.TrimPrefix(n, ".") }

func header(n string, rtype uint16) dns.RR_Header {
	return dns.RR_Header{Name: n, Rrtype: rtype, Class: dns.ClassINET, Ttl: 300}
}

// alias makes an alias that leads to where everything may be forged.
func alias(rtype uint16, n string) dns.RR {
	if rtype == dns.TypeDNAME {
		return &dns.DNAME{Hdr: header(n, rtype), Target: "unsigned.test."}
	}
	return &dns.CNAME{Hdr: header(n, rtype), Target: "mail.unsigned.test."}
}

func copied(section []dns.RR) []dns.RR {
	var all []dns.RR
	for _, rr := range section {
		all = append(all, dns.Copy(rr))
	}
	return all
}

// forgeAll changes the data of all records that a lookup may be about.
func forgeAll(section []dns.RR) {
	for _, rr := range section {
		switch rr := rr.(type) {
		case *dns.A:
			rr.A = net.IPv4(192, 0, 2, 99)
		case *dns.SMIMEA:
			rr.Certificate = "99" + rr.Certificate
		case *dns.CNAME:
			rr.Target = "mail.unsigned.test."
		case *dns.DNAME:
			rr.Target = "unsigned.test."
		case *dns.DS:
			rr.Digest = "00" + rr.Digest[2:]
		case *dns.DNSKEY:
			rr.PublicKey = base64.StdEncoding.EncodeToString(make([]byte, 64))
		}
	}
}

// swapSignatures gives each signature to the record set before its own.
func swapSignatures(section []dns.RR) {
	var last *dns.RRSIG
	for _, rr := range section {
		sig, ok := rr.(*dns.RRSIG)
		if !ok {
			continue
		}
		if last != nil {
			last.Signature, sig.Signature = sig.Signature, last.Signature
		}
		last = sig
	}
}

// badSignatures makes more signatures that do not verify than anybody tries.
func badSignatures(section []dns.RR) []dns.RR {
	var all []dns.RR
	for _, rr := range records(section, dns.TypeRRSIG) {
		for i := range maxFailed + 1 {
			bad := dns.Copy(rr).(*dns.RRSIG)
			raw, _ := base64.StdEncoding.DecodeString(bad.Signature)
			raw[len(raw)-1-i] ^= 1
			bad.Signature = base64.StdEncoding.EncodeToString(raw)
			all = append(all, bad)
		}
	}
	return all
}

// dropDenial takes out the denial record at a place, and its signature.
func dropDenial(m *dns.Msg, at int) {
	var owners []string
	for _, rr := range m.Ns {
		if t := rr.Header().Rrtype; t == dns.TypeNSEC || t == dns.TypeNSEC3 {
			owners = append(owners, rr.Header().Name)
		}
	}
	if at < len(owners) {
		m.Ns = slices.DeleteFunc(m.Ns, func(rr dns.RR) bool {
			return rr.Header().Name == owners[at] && rr.Header().Rrtype != dns.TypeSOA
		})
	}
}

// signedByIntruder changes data and signs it as the zone, with a key that the
// zone has not. Where the data is keys, that key is among them.
func signedByIntruder(r *mangled, m *dns.Msg) {
	for _, section := range []*[]dns.RR{&m.Answer, &m.Ns} {
		var forged []dns.RR
		for _, rr := range records(*section, dns.TypeRRSIG) {
			sig := rr.(*dns.RRSIG)
			intruder := newSigner(r.h.t, must(sig.SignerName), algECDSAP256, 257, "intruder")
			set := copied(slices.DeleteFunc(slices.Clone(*section), func(rr dns.RR) bool {
				return rr.Header().Rrtype != sig.TypeCovered || rr.Header().Name != sig.Hdr.Name
			}))
			if sig.TypeCovered == dns.TypeDNSKEY {
				set = append(set, intruder.DNSKEY)
			} else {
				forgeAll(set)
			}
			forged = append(append(forged, set...), intruder.sign(r.h.t, set, must(sig.SignerName), noon.Add(-time.Hour), noon.Add(time.Hour)))
		}
		*section = forged
	}
}

// other is the answer to a question like this one, about another name.
func (r *mangled) other() *dns.Msg {
	q := question{must("x.wild.good.test."), r.q.rtype}
	switch {
	case r.q.rtype == dns.TypeDS || r.q.rtype == dns.TypeDNSKEY:
		q.name = must("notgood.test.")
	case r.q.name.in(must("nsec3.test.")):
		q.name = must("x.wild.nsec3.test.")
	case r.q.rtype == typeSMIMEA:
		q.name = must("a._smimecert.good.test.")
	}
	return r.h.truth.message(q)
}
