package dnssec

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// A hostile server has the right answer to everything, and hands out one of
// its answers mangled. Whatever it does to which answer of the proof, what the
// validator then calls Secure is what is so, and a name that has a proven answer
// never becomes one that has none, or one whose zone need not be signed.

// disturbed are the lookups that are disturbed: one for each kind of answer.
var disturbed = []struct {
	what    string
	name    string
	qtype   uint16
	status  Status
	outcome Outcome
}{
	{"a record set", "mail.good.test.", typeA, Secure, Data},
	{"a certificate", "a._smimecert.good.test.", typeSMIMEA, Secure, Data},
	{"a zone in a zone", "www.child.good.test.", typeA, Secure, Data},
	{"a DS", "good.test.", dns.TypeDS, Secure, Data},
	{"keys", "good.test.", dns.TypeDNSKEY, Secure, Data},
	{"an alias to another zone", "far.good.test.", typeA, Secure, Data},
	{"an alias to nothing", "nowhere.good.test.", typeA, Secure, NXDomain},
	{"an alias from a wildcard", "any.alias.good.test.", typeA, Secure, Data},
	{"a renamed tree", "mail.tree.good.test.", typeA, Secure, Data},
	{"NSEC: a wildcard", "any.wild.good.test.", typeA, Secure, Data},
	{"NSEC: a name beside a wildcard", "x.wild.good.test.", typeA, Secure, Data},
	{"NSEC: another type", "mail.good.test.", typeSMIMEA, Secure, NoData},
	{"NSEC: another type of a wildcard", "any.wild.good.test.", typeSMIMEA, Secure, NoData},
	{"NSEC: an empty non-terminal", "_smimecert.good.test.", typeSMIMEA, Secure, NoData},
	{"NSEC: no such name", "b._smimecert.good.test.", typeSMIMEA, Secure, NXDomain},
	{"NSEC: no DS", "unsigned.test.", dns.TypeDS, Secure, NoData},
	{"NSEC3: a record", "mail.nsec3.test.", typeA, Secure, Data},
	{"NSEC3: a wildcard", "any.wild.nsec3.test.", typeA, Secure, Data},
	{"NSEC3: another type", "mail.nsec3.test.", typeSMIMEA, Secure, NoData},
	{"NSEC3: another type of a wildcard", "any.wild.nsec3.test.", typeSMIMEA, Secure, NoData},
	{"NSEC3: an empty non-terminal", "_smimecert.nsec3.test.", typeSMIMEA, Secure, NoData},
	{"NSEC3: no such name", "b._smimecert.nsec3.test.", typeSMIMEA, Secure, NXDomain},
	{"Opt-Out: a signed zone", "mail.signed.optout.test.", typeA, Secure, Data},
	{"Opt-Out: an unsigned zone", "mail.plain.optout.test.", typeA, Insecure, Data},
	{"Opt-Out: no such name", "none.optout.test.", typeA, Insecure, NXDomain},
	{"an unsigned zone", "mail.unsigned.test.", typeA, Insecure, Data},
	{"no such name in an unsigned zone", "none.unsigned.test.", typeA, Insecure, NXDomain},
	{"an alias into an unsigned zone", "away.good.test.", typeA, Insecure, Data},
}

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

// A truth is what a world answers, asked and signed once.
type truth struct {
	w *world

	mu    sync.Mutex // guards what follows, and the world
	known map[question][]byte
	above map[name][]dns.RR
}

func newTruth(w *world) *truth {
	return &truth{w: w, known: map[question][]byte{}, above: map[name][]dns.RR{}}
}

// reply returns the message that answers a question.
func (tr *truth) reply(q question) []byte {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if tr.known[q] == nil {
		raw, err := tr.w.answer(q).Pack()
		if err != nil {
			tr.w.t.Errorf("%s %s: %v", q.name, TypeName(q.rtype), err)
		}
		tr.known[q] = raw
	}
	return bytes.Clone(tr.known[q])
}

func (tr *truth) message(q question) *dns.Msg {
	m := new(dns.Msg)
	if err := m.Unpack(tr.reply(q)); err != nil {
		tr.w.t.Errorf("%s %s: %v", q.name, TypeName(q.rtype), err)
	}
	return m
}

// denialsAbove returns the denial records of the zone above the one of a name,
// those next to the cut first.
func (tr *truth) denialsAbove(n name) []dns.RR {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	child := tr.w.zoneFor(n).apex
	if tr.above[child] == nil {
		parent := tr.w.zoneFor(child.parent())
		all := append(tr.w.match(parent, child), tr.w.match(parent, parent.apex)...)
		for i := range parent.names() {
			if !parent.nsec3 {
				all = append(all, tr.w.nsecAt(parent, i)...)
			}
		}
		for i := range parent.hashes() {
			if parent.nsec3 {
				all = append(all, tr.w.nsec3At(parent, i)...)
			}
		}
		tr.above[child] = unique(all)
	}
	return copied(tr.above[child])
}

// older is a sound world of the past, which was changed since.
func older(t testing.TB, age time.Duration, change func(a *authority)) *truth {
	w := sound(t)
	w.now = noon.Add(-age)
	for _, a := range w.zones {
		change(a)
	}
	return newTruth(w)
}

// otherwise changes the data of a zone, and adds what is denied now.
func otherwise(a *authority) {
	for _, rr := range a.records {
		switch rr := rr.(type) {
		case *dns.A:
			rr.A = net.IPv4(192, 0, 2, 200)
		case *dns.SMIMEA:
			rr.Certificate = "ccdd"
		}
	}
	if a.apex.labels() == 2 {
		a.parse("mail SMIMEA 3 0 0 eeff\n_smimecert SMIMEA 3 0 0 eeff\nb._smimecert SMIMEA 3 0 0 eeff\n" +
			"*.wild SMIMEA 3 0 0 eeff\nnone A 192.0.2.201\nnothing A 192.0.2.201\n")
	}
}

// emptied takes all data from a zone.
func emptied(a *authority) {
	a.records = slices.DeleteFunc(a.records, func(rr dns.RR) bool {
		return rr.Header().Rrtype == typeA || rr.Header().Rrtype == typeSMIMEA
	})
}

// hostile is a server that answers one question in its own way.
type hostile struct {
	t              testing.TB
	truth          *truth
	changed, empty *truth // of the past, out of date
	addr           string

	mu    sync.Mutex // guards what follows
	at    question
	how   *mutation
	asked []question
}

// newHostile starts a server that says the truth until it is told otherwise.
func newHostile(t *testing.T, tr, changed, empty *truth) *hostile {
	h := &hostile{t: t, truth: tr, changed: changed, empty: empty}
	h.addr, _ = listen(t, func(conn net.Conn, query *dns.Msg, _ []byte) { h.serve(conn, query) })
	return h
}

func (h *hostile) serve(conn net.Conn, query *dns.Msg) {
	q := question{must(query.Question[0].Name), query.Question[0].Qtype}
	raw := h.truth.reply(q)
	binary.BigEndian.PutUint16(raw, query.Id)
	h.mu.Lock()
	h.asked = append(h.asked, q)
	how, here := h.how, h.how != nil && q == h.at
	h.mu.Unlock()
	if here {
		how.do(&mangled{h, q, conn, raw})
	} else {
		write(conn, raw)
	}
}

func (h *hostile) set(at question, how *mutation) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.at, h.how, h.asked = at, how, nil
}

// steps are the questions that were asked since, in order.
func (h *hostile) steps() []question {
	h.mu.Lock()
	defer h.mu.Unlock()
	var steps []question
	for _, q := range h.asked {
		if !slices.Contains(steps, q) {
			steps = append(steps, q)
		}
	}
	return steps
}

// lookup asks servers over TCP, with a fresh validator.
func lookup(t *testing.T, anchors []Anchor, n string, qtype uint16, try time.Duration, servers ...string) Answer {
	v, err := New(Options{
		Servers: servers, Anchors: anchors, Now: func() time.Time { return noon },
		Try: try, Budget: 30 * time.Second, Evidence: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	return v.Lookup(context.Background(), n, qtype)
}

const (
	longTry  = 20 * time.Second // for what is answered: no test may depend on it
	shortTry = 40 * time.Millisecond
)

func (m *mutation) try() time.Duration {
	if m.slow {
		return shortTry
	}
	return longTry
}

func questionsOf(messages [][]byte) []question {
	var all []question
	for _, raw := range messages {
		q, _ := questionOf(raw)
		all = append(all, q)
	}
	return all
}

// unchanging is what must not change.
func unchanging(a Answer) string {
	return fmt.Sprintf("%v %v %x %x %q %t", a.Status, a.Outcome, a.Data, a.Unproven, a.Denied, a.Wildcard)
}

// judge says what is wrong with the answer of a mangled lookup.
func judge(m *mutation, want, got Answer) error {
	if err := consistent(got); err != nil {
		return err
	}
	same := unchanging(want) == unchanging(got)
	switch {
	case m.codes && want.Status == Insecure && got.Status == Insecure:
		return nil
	case m.becomes == nil && !same:
		return fmt.Errorf("harmless, and no longer %s", unchanging(want))
	case got.Status == Secure && !same:
		return fmt.Errorf("secure, and not %s", unchanging(want))
	case want.Status == Secure && !same && !slices.Contains(m.becomes, got.Status):
		return fmt.Errorf("want one of %v", m.becomes)
	case got.Status >= Insecure && got.Expires.After(want.Expires):
		return fmt.Errorf("it is kept until %v, and was until %v", got.Expires, want.Expires)
	}
	return nil
}

// TestHostile tries every mutation at every step of every lookup. A later step
// that many lookups share, as the keys of the root, is mangled once for each
// status that a lookup has.
func TestHostile(t *testing.T) {
	w := sound(t)
	anchors, tr := w.anchors(), newTruth(w)
	changed, empty := older(t, 30*24*time.Hour, otherwise), older(t, 30*24*time.Hour, emptied)
	type shared struct {
		at     question
		status Status
	}
	mangled, bites := map[shared]bool{}, newCounter()
	t.Run("lookup", func(t *testing.T) {
		for _, c := range disturbed {
			h := newHostile(t, tr, changed, empty)
			want := lookup(t, anchors, c.name, c.qtype, longTry, h.addr)
			if want.Status != c.status || want.Outcome != c.outcome {
				t.Fatalf("%s, undisturbed: %v, %v (%v)", c.what, want.Status, want.Outcome, want.Why)
			}
			own := question{must(c.name), c.qtype}
			// What was guessed at beforehand and never read is no step.
			steps := slices.DeleteFunc(questionsOf(want.Evidence), func(q question) bool {
				s := shared{q, c.status}
				known := mangled[s]
				mangled[s] = true
				return known && q != own
			})
			t.Run(c.what, func(t *testing.T) {
				t.Parallel()
				for i, at := range steps {
					for _, m := range slices.Concat(harmless, harmful) {
						if m.slow && i > 0 && c.name != disturbed[0].name {
							continue // it is no other silence at another step
						}
						h.set(at, &m)
						got := lookup(t, anchors, c.name, c.qtype, m.try(), h.addr)
						if err := judge(&m, want, got); err != nil {
							t.Errorf("%s %s, %s: %v, %v (%v): %v", at.name, TypeName(at.rtype), m.what, got.Status, got.Outcome, got.Why, err)
						}
						if !slices.Contains(h.steps(), at) {
							t.Errorf("%s %s, %s: it was not asked", at.name, TypeName(at.rtype), m.what)
						}
						if unchanging(got) != unchanging(want) {
							bites.add(m.what)
						}
					}
				}
			})
		}
	})
	for _, m := range harmful {
		if bites.of(m.what) == 0 && !m.chance {
			t.Errorf("%s: it does nothing to any lookup", m.what)
		}
	}
}

// A counter counts what parallel tests have seen.
type counter struct {
	sync.Mutex
	seen map[string]int
}

func newCounter() *counter { return &counter{seen: map[string]int{}} }

func (c *counter) add(what string) {
	c.Lock()
	defer c.Unlock()
	c.seen[what]++
}

func (c *counter) of(what string) int {
	c.Lock()
	defer c.Unlock()
	return c.seen[what]
}

// An old answer whose signatures still hold is as good as the new one: nothing
// in RFC 4035 tells them apart, and a cache may hand it out just as well. So a
// replay is Secure, with the data of then, no longer than its signatures hold,
// and it is never half of the one and half of the other.
func TestHostileReplay(t *testing.T) {
	w := sound(t)
	anchors, tr := w.anchors(), newTruth(w)
	const age = 6 * 24 * time.Hour // of the seven that signatures hold
	replay := mutation{do: old(func(h *hostile) *truth { return h.changed })}
	seen := newCounter()
	for what, past := range map[string]*truth{"otherwise": older(t, age, otherwise), "emptied": older(t, age, emptied)} {
		then := newHostile(t, past, nil, nil)
		for _, c := range disturbed {
			h := newHostile(t, tr, past, nil)
			now, before := lookup(t, anchors, c.name, c.qtype, longTry, h.addr), lookup(t, anchors, c.name, c.qtype, longTry, then.addr)
			for _, at := range h.steps() {
				h.set(at, &replay)
				got := lookup(t, anchors, c.name, c.qtype, longTry, h.addr)
				if v := unchanging(got); v != unchanging(now) && v != unchanging(before) {
					t.Errorf("%s, %s %s as it was %s: %s (%v), now %s, then %s", c.what, at.name, TypeName(at.rtype), what, v, got.Why, unchanging(now), unchanging(before))
				} else if v != unchanging(now) {
					seen.add(what)
				}
				if end := noon.Add(24*time.Hour + skew); got.Expires.After(end) {
					t.Errorf("%s, %s %s as it was %s: kept until %v", c.what, at.name, TypeName(at.rtype), what, got.Expires)
				}
			}
		}
		if seen.of(what) < 5 {
			t.Errorf("%s: only %d replays made a difference", what, seen.of(what))
		}
	}
}

// One honest server is enough: where the first one's data proves nothing, or
// is none, the next one is asked (and the third, where two are hostile, each
// in another way).
func TestHostileBesideHonest(t *testing.T) {
	w := sound(t)
	anchors, tr := w.anchors(), newTruth(w)
	changed, empty := older(t, 30*24*time.Hour, otherwise), older(t, 30*24*time.Hour, emptied)
	for _, c := range disturbed {
		if c.status != Secure || strings.HasPrefix(c.what, "NSEC:") {
			continue
		}
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			honest, first, second := newHostile(t, tr, nil, nil), newHostile(t, tr, changed, empty), newHostile(t, tr, changed, empty)
			want := lookup(t, anchors, c.name, c.qtype, longTry, honest.addr)
			steps := honest.steps()
			for i, m := range harmful {
				if m.slow {
					continue // see TestHostileSilence
				}
				first.set(steps[0], &m)
				servers := []string{first.addr, honest.addr}
				if i%2 == 1 {
					second.set(steps[len(steps)-1], &harmful[0])
					servers = []string{first.addr, second.addr, honest.addr}
				}
				got := lookup(t, anchors, c.name, c.qtype, longTry, servers...)
				same := unchanging(got) == unchanging(want)
				if !same {
					t.Errorf("%s, %d servers: %s (%v), want %s", m.what, len(servers), unchanging(got), got.Why, unchanging(want))
				}
			}
		})
	}
}

// A server that falls silent costs one try, and one that leaves half a message
// behind no answer.
func TestHostileSilence(t *testing.T) {
	w := sound(t)
	tr := newTruth(w)
	honest := newHostile(t, tr, nil, nil)
	for _, m := range harmful {
		if !m.slow {
			continue
		}
		first := newHostile(t, tr, nil, nil)
		first.set(question{must("mail.good.test."), typeA}, &m)
		got := lookup(t, w.anchors(), "mail.good.test.", typeA, 500*time.Millisecond, first.addr, honest.addr)
		if got.Status != Secure || len(got.Data) != 2 {
			t.Errorf("%s: %v, %v (%v)", m.what, got.Status, got.Outcome, got.Why)
		}
		if n := len(first.steps()); n != 1 && strings.HasPrefix(m.what, "silence") {
			t.Errorf("%s: the silent server was asked %d questions", m.what, n)
		}
	}
}
