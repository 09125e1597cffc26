package dnssec

import (
	"encoding/binary"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// The rules of what is in an answer, and of how it comes, 11 and 12.

func rule11() []labCase {
	const mail = "mail.good.test."
	list := lifetimes()
	more := func(what string, change func(w *world, m *dns.Msg)) labCase {
		return good(what, mail, typeA, Data, changing(mail, typeA, change))
	}
	return append(list,
		more("a record of another name", func(w *world, m *dns.Msg) { m.Answer = append(m.Answer, parseRR(w.t, "x. 1 IN A 192.0.2.9")) }),
		more("records of another type", func(w *world, m *dns.Msg) { m.Answer = append(m.Answer, parseRR(w.t, mail+" 1 IN TXT x")) }),
		more("records twice", func(_ *world, m *dns.Msg) { m.Answer = append(m.Answer, m.Answer...) }),
		more("another order", func(_ *world, m *dns.Msg) { slices.Reverse(m.Answer) }),
		more("upper case", func(_ *world, m *dns.Msg) { m.Answer[0].Header().Name = "MAIL.good.TEST." }),
		more("the rest of the message full of junk", func(w *world, m *dns.Msg) {
			m.Extra = append(m.Extra, parseRR(w.t, mail+" 1 IN A 192.0.2.66"))
			m.Ns = append(m.Ns, parseRR(w.t, "good.test. 1 IN NS ns.intruder.test."))
		}),
		bad("a record more", mail, typeA, "does not verify", changing(mail, typeA, func(w *world, m *dns.Msg) { m.Answer = append(m.Answer, forged(w)...) })),
		bad("a record of another type, alone", mail, typeA, "", changing(mail, typeA, func(w *world, m *dns.Msg) {
			m.Answer = w.signed(w.zones[must("good.test.")], []dns.RR{parseRR(w.t, mail+" 3600 IN TXT x")})
		})),
		bad("a record of another name, alone", mail, typeA, "", changing(mail, typeA, func(w *world, m *dns.Msg) {
			instead(w, "x.wild.good.test.", typeA)(m)
		})),
		good("an alias", "alias.good.test.", typeA, Data, nil),
		good("an alias, asked for", "alias.good.test.", dns.TypeCNAME, Data, nil),
		good("an alias to another zone", "far.good.test.", typeA, Data, nil),
		plain("an alias into an unsigned zone", "away.good.test.", typeA, Data, nil),
		good("an alias to nothing", "nowhere.good.test.", typeA, NXDomain, nil),
		unsure("aliases in a circle", "loop.good.test.", typeA, "", nil),
		good("a renamed tree", "mail.tree.good.test.", typeA, Data, nil),
		good("a renamed tree, nothing in it", "nothing.tree.good.test.", typeA, NXDomain, nil),
		good("a renamed tree, an alias in it", "alias.tree.good.test.", typeA, Data, nil),
		plain("a tree renamed into an unsigned zone", "mail.treeout.good.test.", typeA, Data, nil),
		good("the DNAME itself", "tree.good.test.", dns.TypeDNAME, Data, nil),
		good("beside a DNAME", "tree.good.test.", typeA, NoData, nil),
		bad("an alias led elsewhere", "alias.good.test.", typeA, "does not verify", changing("alias.good.test.", typeA, func(_ *world, m *dns.Msg) {
			m.Answer[0].(*dns.CNAME).Target = "x.wild.good.test."
		})),
		bad("a DNAME led elsewhere", "mail.tree.good.test.", typeA, "does not verify", changing("mail.tree.good.test.", typeA, func(_ *world, m *dns.Msg) {
			m.Answer[0].(*dns.DNAME).Target = "good.test."
		})),
		good("only the first step of an alias", "far.good.test.", typeA, Data, changing("far.good.test.", typeA, func(_ *world, m *dns.Msg) { m.Answer = m.Answer[:2] })),
		good("an alias, and a forged record behind it", "alias.good.test.", typeA, Data, changing("alias.good.test.", typeA, func(w *world, m *dns.Msg) {
			m.Answer = append(m.Answer[:2:2], forged(w)...)
		})),
		bad("an alias, and behind it a forged record wherever it is asked for", "alias.good.test.", typeA, "", func(w *world) {
			w.tamper = func(_ question, m *dns.Msg) {
				for _, rr := range records(m.Answer, typeA) {
					rr.(*dns.A).A[3] = 99
				}
			}
		}),
	)
}

func lifetimes() []labCase {
	long := valid(-time.Hour, 90*24*time.Hour)
	ttl := func(n string, qtype uint16, ttls ...uint32) func(w *world) {
		return changing(n, qtype, func(_ *world, m *dns.Msg) {
			for i, ttl := range ttls {
				if ttl != 0 {
					m.Answer[i].Header().Ttl = ttl
				}
			}
		})
	}
	const mail = "mail.test."
	list := []labCase{
		good("the TTL", mail, typeA, Data, nil).lasting(600 * time.Second),
		good("the signature's TTL, if lower", mail, typeA, Data, ttl(mail, typeA, 0, 60)).lasting(time.Minute),
		good("the TTL left in a cache", mail, typeA, Data, ttl(mail, typeA, 47, 47)).lasting(47 * time.Second),
		good("the original TTL, if somebody raised the others", mail, typeA, Data, ttl(mail, typeA, 86400, 86400)).lasting(600 * time.Second),
		good("the end of the signature", mail, typeA, Data, func(w *world) { w.zones[must("test.")].to = 5 * time.Minute }).lasting(5 * time.Minute),
		good("the TTL of the zone's keys", mail, typeA, Data, ttl("test.", dns.TypeDNSKEY, 90)).lasting(90 * time.Second),
		good("the TTL of a DS", mail, typeA, Data, ttl("test.", dns.TypeDS, 30)).lasting(30 * time.Second),
		good("a TTL with the top bit set", mail, typeA, Data, ttl(mail, typeA, 1<<31)).lasting(-1),
		good("the SOA's last field, for a denial", "none.test.", typeA, NXDomain, nil).lasting(300 * time.Second),
		good("the SOA's TTL, for a denial", "none.test.", typeA, NXDomain, changing("none.test.", typeA, func(_ *world, m *dns.Msg) {
			m.Ns[0].Header().Ttl = 20
		})).lasting(20 * time.Second),
		good("the shortest of an alias's steps", "alias.test.", typeA, Data, nil).lasting(100 * time.Second),
		good("a wildcard, no longer than the proof", "any.wild.test.", typeA, Data, nil).lasting(300 * time.Second),
		plain("an unsigned record", "mail.plain.test.", typeA, Data, nil).lasting(200 * time.Second),
		plain("an unsigned record, no longer than the proof", "long.plain.test.", typeA, Data, nil).lasting(300 * time.Second),
	}
	for i := range list {
		list[i] = list[i].in(func(t testing.TB) *world {
			return newWorld(t, zoneOf(".", "", long), zoneOf("plain.test.", "mail 200 A 192.0.2.1\nlong 900 A 192.0.2.2", unsigned),
				zoneOf("test.", "mail 600 A 192.0.2.1\nalias 100 CNAME mail\n*.wild 600 A 192.0.2.1", long))
		})
	}
	return list
}

// Whoever cannot read a reply asks again. Here every reply to the question is
// changed in the same way, so that asking again is of no use to anybody.
func rule12() []labCase {
	const mail = "mail.good.test."
	// pieces is what goes over the wire in place of a framed reply.
	pieces := func(change func(framed []byte) [][]byte) func(w *world) {
		return func(w *world) {
			w.wire = func(q question, framed []byte) [][]byte {
				if q != (question{must(mail), typeA}) {
					return nil
				}
				return change(framed)
			}
		}
	}
	// raw changes a reply without its length.
	raw := func(change func(m []byte) []byte) func(w *world) {
		return pieces(func(whole []byte) [][]byte { return [][]byte{framed(change(slices.Clone(whole[2:])))} })
	}
	// parsed changes a reply as a message.
	parsed := func(change func(m *dns.Msg)) func(w *world) {
		return raw(func(b []byte) []byte {
			m := new(dns.Msg)
			if err := m.Unpack(b); err != nil {
				panic(err)
			}
			change(m)
			b, err := m.Pack()
			if err != nil {
				panic(err)
			}
			return b
		})
	}
	lost := func(what string, do func(w *world)) labCase {
		return unsure(what, mail, typeA, "no server answered", do)
	}
	const idAt, flagsAt, additionalAt = 0, 2, 10
	return []labCase{
		good("a reply in three pieces", mail, typeA, Data, pieces(func(b []byte) [][]byte { return [][]byte{b[:1], b[1:40], b[40:]} })),
		good("a reply, and something behind it", mail, typeA, Data, pieces(func(b []byte) [][]byte {
			other := slices.Clone(b)
			other[2] ^= 0xff
			return [][]byte{append(slices.Clip(b), other...)}
		})),
		good("a reply without compression", mail, typeA, Data, parsed(func(m *dns.Msg) { m.Compress = false })),
		good("a reply with compression", mail, typeA, Data, parsed(func(m *dns.Msg) { m.Compress = true })),
		good("a reply that claims to be authoritative, and authentic", mail, typeA, Data, parsed(func(m *dns.Msg) { m.Authoritative, m.AuthenticatedData = true, true })),
		good("a reply in capitals", mail, typeA, Data, parsed(func(m *dns.Msg) {
			m.Question[0].Name = strings.ToUpper(m.Question[0].Name)
			for _, rr := range m.Answer {
				rr.Header().Name = strings.ToUpper(rr.Header().Name)
			}
		})),
		good("a reply as long as can be", "many.test.", typeSMIMEA, Data, nil).in(func(t testing.TB) *world {
			records := ""
			for i := range 45 {
				records += "many SMIMEA 3 0 0 " + strings.Repeat(string("0123456789abcdef"[i%16])+string("0123456789abcdef"[i/16]), 1380) + "\n"
			}
			return newWorld(t, zoneOf("test.", records))
		}),
		lost("another ID", raw(func(b []byte) []byte { b[idAt] ^= 0xff; return b })),
		lost("a query", raw(func(b []byte) []byte { b[flagsAt] &^= 0x80; return b })),
		lost("another opcode", raw(func(b []byte) []byte { b[flagsAt] |= 4 << 3; return b })),
		lost("another name in question", parsed(func(m *dns.Msg) { m.Question[0].Name = "x.wild.good.test." })),
		lost("another type in question", parsed(func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeAAAA })),
		lost("another class in question", parsed(func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS })),
		lost("no question", parsed(func(m *dns.Msg) { m.Question = nil })),
		lost("truncated", raw(func(b []byte) []byte { b[flagsAt] |= 2; return b })),
		lost("truncated, and empty", parsed(func(m *dns.Msg) { m.Truncated, m.Answer = true, nil })),
		lost("truncated, and without signatures", parsed(func(m *dns.Msg) { m.Truncated = true; strip(question{}, m) })),
		lost("a message of no length", raw(func(b []byte) []byte { return nil })),
		lost("half a header", raw(func(b []byte) []byte { return b[:6] })),
		lost("a header alone", raw(func(b []byte) []byte { return b[:12] })),
		lost("half a message", pieces(func(b []byte) [][]byte { return [][]byte{b[:len(b)/2]} })),
		lost("the length, and nothing", pieces(func(b []byte) [][]byte { return [][]byte{b[:2]} })),
		lost("one octet", pieces(func(b []byte) [][]byte { return [][]byte{b[:1]} })),
		lost("nothing", pieces(func(b []byte) [][]byte { return [][]byte{{}} })),
		lost("a message cut short", raw(func(b []byte) []byte { return b[:len(b)-20] })),
		lost("more records than there are", raw(func(b []byte) []byte { b[additionalAt+1]++; return b })),
		lost("a name that leads to itself", raw(func(b []byte) []byte { return append(binary.BigEndian.AppendUint16(b[:12], 0xc00c), b[14:]...) })),
		lost("refused", parsed(func(m *dns.Msg) { m.Rcode, m.Answer = dns.RcodeRefused, nil })),
		lost("not understood", parsed(func(m *dns.Msg) { m.Rcode, m.Answer = dns.RcodeFormatError, nil })),
		lost("an error, and a good answer", parsed(func(m *dns.Msg) { m.Rcode = dns.RcodeServerFailure })),
	}
}
