package dnssec

import (
	"context"
	"fmt"
	"strings"

	"github.com/miekg/dns"
)

// The rules of what need not be signed, 6 and 10.

func rule6() []labCase {
	const mail = "mail.test."
	// ds changes what the root says of test.'s key.
	ds := func(change func(ds *dns.DS) []*dns.DS) func(w *world) {
		return func(w *world) {
			set := []dns.RR{}
			for _, d := range change(w.zones[must("test.")].ds()) {
				set = append(set, d)
			}
			w.tamper = only("test.", dns.TypeDS, func(m *dns.Msg) { m.Answer = w.signed(w.zones[root], set) })
		}
	}
	one := func(change func(ds *dns.DS)) func(w *world) {
		return ds(func(ds *dns.DS) []*dns.DS { change(ds); return []*dns.DS{ds} })
	}
	// digest makes another DS for the same key.
	digest := func(w *world, kind uint8) *dns.DS {
		d := w.zones[must("test.")].ksk.ToDS(kind)
		d.Hdr.Ttl = 3600
		return d
	}
	two := func(change func(w *world, sha256 *dns.DS) []*dns.DS) func(w *world) {
		return func(w *world) { ds(func(d *dns.DS) []*dns.DS { return change(w, d) })(w) }
	}
	const none = "no DS has an algorithm and a digest that are understood"
	unknown := func(what string, do func(w *world)) labCase {
		c := plain(what, mail, typeA, Data, do)
		c.why = none
		return c
	}
	list := []labCase{
		good("one DS", mail, typeA, Data, nil),
		unknown("an unknown digest", one(func(ds *dns.DS) { ds.DigestType = 99 })),
		unknown("an unknown algorithm", one(func(ds *dns.DS) { ds.Algorithm = 200 })),
		unknown("a private algorithm", one(func(ds *dns.DS) { ds.Algorithm = 253 })),
		unknown("RSA/MD5", one(func(ds *dns.DS) { ds.Algorithm = 1 })),
		unknown("DSA", one(func(ds *dns.DS) { ds.Algorithm = 3 })),
		// RFC 9905, Section 2: SHA-1 is to be treated as if it were not understood.
		// Unbound and BIND, of these versions, go on with it.
		unknown("SHA-1", func(w *world) {
			two(func(w *world, _ *dns.DS) []*dns.DS { return []*dns.DS{digest(w, 1)} })(w)
		}).differs("unbound", Secure).differs("delv", Secure),
		unknown("SHA-1 that fits nothing", one(func(ds *dns.DS) { ds.DigestType, ds.Digest = 1, strings.Repeat("aa", 20) })).differs("unbound", Bogus).differs("delv", Bogus),
		good("an unknown digest beside one that fits", mail, typeA, Data, two(func(w *world, d *dns.DS) []*dns.DS {
			other := *d
			other.DigestType = 99
			return []*dns.DS{&other, d}
		})),
		good("an unknown algorithm beside one that fits", mail, typeA, Data, two(func(w *world, d *dns.DS) []*dns.DS {
			other := *d
			other.Algorithm = 200
			return []*dns.DS{&other, d}
		})),
		good("SHA-1 beside SHA-256", mail, typeA, Data, two(func(w *world, d *dns.DS) []*dns.DS { return []*dns.DS{digest(w, 1), d} })),
		good("SHA-384 beside SHA-256", mail, typeA, Data, two(func(w *world, d *dns.DS) []*dns.DS { return []*dns.DS{digest(w, 4), d} })),
		bad("an unknown digest beside one that does not fit", mail, typeA, "no key that the DS matches", two(func(w *world, d *dns.DS) []*dns.DS {
			other := *d
			other.DigestType, d.Digest = 99, strings.Repeat("aa", 32)
			return []*dns.DS{&other, d}
		})),
		// RFC 4509, Section 3: the SHA-1 one must be ignored.
		// Unbound tries it nevertheless.
		bad("SHA-1 that fits beside SHA-256 that does not", mail, typeA, "no key that the DS matches", two(func(w *world, d *dns.DS) []*dns.DS {
			d.Digest = strings.Repeat("aa", 32)
			return []*dns.DS{digest(w, 1), d}
		})).differs("unbound", Secure),
		bad("a digest of the wrong length", mail, typeA, "no key that the DS matches", one(func(ds *dns.DS) { ds.Digest = ds.Digest[:40] })),
		bad("a digest of no length", mail, typeA, "", one(func(ds *dns.DS) { ds.Digest = "aa" })),
		bad("another key tag", mail, typeA, "no key that the DS matches", one(func(ds *dns.DS) { ds.KeyTag++ })),
		bad("another algorithm that is understood", mail, typeA, "no key that the DS matches", one(func(ds *dns.DS) { ds.Algorithm = 15 })),
		bad("an unknown algorithm inside the zone", mail, typeA, "which is not understood", changing(mail, typeA, func(_ *world, m *dns.Msg) { signatureIn(m.Answer).Algorithm = 200 })),
		bad("keys of an unknown algorithm inside the zone", mail, typeA, "", changing("test.", dns.TypeDNSKEY, func(w *world, m *dns.Msg) {
			zone := w.zones[must("test.")]
			other := dns.Copy(zone.zsk.DNSKEY).(*dns.DNSKEY)
			other.Algorithm = 200
			m.Answer = w.signed(zone, []dns.RR{zone.ksk.DNSKEY, other})
		})),
	}
	for i := range list {
		list[i] = list[i].in(mailIn())
	}
	for _, alg := range []uint8{8, 10, 13, 14, 15} {
		for _, kind := range []uint8{2, 4} {
			list = append(list, good(fmt.Sprintf("algorithm %d, digest %d", alg, kind), mail, typeA, Data, nil).in(mailIn(algorithm(alg), digestType(kind))))
		}
	}
	for _, alg := range []uint8{5, 7} {
		// RFC 9905, Section 2, as above.
		list = append(list, unknown(fmt.Sprintf("algorithm %d, which is RSA/SHA-1", alg), nil).in(mailIn(algorithm(alg))).differs("unbound", Secure).differs("delv", Secure))
	}
	return list
}

func rule10() []labCase {
	const mail, noProof = "mail.good.test.", "there is no proof that it does not exist"
	servfail := &rcodeError{rcode: dns.RcodeServerFailure}
	return []labCase{
		good("a record", mail, typeA, Data, nil),
		plain("unsigned: a record", "mail.unsigned.test.", typeA, Data, nil),
		plain("unsigned: another type", "mail.unsigned.test.", typeSMIMEA, NoData, nil),
		plain("unsigned: no such name", "none.unsigned.test.", typeA, NXDomain, nil),
		plain("unsigned: an alias", "alias.unsigned.test.", typeA, Data, nil),
		plain("unsigned: an alias into a signed zone", "far.unsigned.test.", typeA, Data, nil),
		plain("unsigned: a renamed tree", "mail.tree.unsigned.test.", typeA, Data, nil),
		plain("a signed zone below an unsigned one", "mail.below.unsigned.test.", typeA, Data, nil),
		plain("a signed zone that its parent forgot", "mail.forgotten.test.", typeA, Data, nil),
		bad("signatures stripped from everything", mail, typeA, "the server leaves out signatures", func(w *world) { w.tamper = strip }),
		bad("signatures stripped from the answer", mail, typeA, "there is no signature", func(w *world) {
			w.tamper = only(mail, typeA, func(m *dns.Msg) { strip(question{}, m) })
		}),
		bad("the AD bit, and no signature", mail, typeA, "the server leaves out signatures", func(w *world) {
			w.tamper = func(q question, m *dns.Msg) { strip(q, m); m.AuthenticatedData = true }
		}),
		bad("a DS taken away", mail, typeA, "there is no proof that it does not exist", func(w *world) {
			w.tamper = stripped(mail, only("good.test.", dns.TypeDS, func(m *dns.Msg) { m.Answer = nil }))
		}),
		bad("a DS denied by the NSEC of another unsigned zone", mail, typeA, "the denial records prove something else", func(w *world) {
			w.tamper = only("good.test.", dns.TypeDS, instead(w, "unsigned.test.", dns.TypeDS))
		}),
		bad("a DS denied by a changed NSEC", mail, typeA, "does not verify", func(w *world) {
			w.tamper = only("good.test.", dns.TypeDS, func(m *dns.Msg) {
				instead(w, "unsigned.test.", dns.TypeDS)(m)
				for _, rr := range m.Ns {
					if rr.Header().Name == "unsigned.test." {
						rr.Header().Name = "good.test."
					}
				}
			})
		}),
		bad("an alias without a signature in the place of a DS", mail, typeA, "there is no signature", func(w *world) {
			w.tamper = func(q question, m *dns.Msg) {
				if q.rtype == dns.TypeDS && q.name == must("good.test.") {
					m.Answer = []dns.RR{parseRR(w.t, "good.test. 3600 IN CNAME unsigned.test.")}
				}
				if q.name == must(mail) {
					strip(q, m)
				}
			}
		}),
		bad("an unsigned DNAME above", mail, typeA, "there is no signature", func(w *world) {
			w.tamper = only(mail, typeA, func(m *dns.Msg) {
				m.Answer = []dns.RR{parseRR(w.t, "good.test. 3600 IN DNAME unsigned.test.")}
			})
		}),
		bad("an unsigned CNAME into an unsigned zone", mail, typeA, "there is no signature", func(w *world) {
			w.tamper = only(mail, typeA, func(m *dns.Msg) {
				m.Answer = []dns.RR{parseRR(w.t, mail+" 3600 IN CNAME mail.unsigned.test.")}
			})
		}),
		bad("the CNAME of a DNAME, led elsewhere", "mail.tree.good.test.", typeA, "there is no signature", func(w *world) {
			w.tamper = only("mail.tree.good.test.", typeA, func(m *dns.Msg) {
				m.Answer = []dns.RR{parseRR(w.t, "mail.tree.good.test. 3600 IN CNAME mail.unsigned.test.")}
			})
		}),
		bad("nothing, and a code that says so", mail, typeA, "there is no proof that it does not exist", func(w *world) {
			w.tamper = only(mail, typeA, func(m *dns.Msg) { m.Answer, m.Rcode = nil, dns.RcodeNameError })
		}),
		bad("a SOA as all the proof", mail, typeA, "there is no proof that it does not exist", func(w *world) {
			w.tamper = only(mail, typeA, func(m *dns.Msg) {
				m.Answer, m.Ns = nil, w.signed(w.zones[must("good.test.")], w.zones[must("good.test.")].set(must("good.test."), dns.TypeSOA))
			})
		}),
		bad("nothing at all", mail, typeA, noProof, changing(mail, typeA, func(_ *world, m *dns.Msg) { m.Answer, m.Ns = nil, nil })),
		bad("nothing at all, for every question below the root", mail, typeA, "", func(w *world) {
			w.tamper = func(q question, m *dns.Msg) {
				if q.name != root {
					m.Answer, m.Ns = nil, nil
				}
			}
		}),
		bad("a DS denied by a code alone", "mail.unsigned.test.", typeA, noProof, changing("unsigned.test.", dns.TypeDS, func(_ *world, m *dns.Msg) { m.Ns, m.Rcode = nil, dns.RcodeNameError })),
		bad("a DS denied without signatures", "mail.unsigned.test.", typeA, "", changing("unsigned.test.", dns.TypeDS, func(_ *world, m *dns.Msg) { strip(question{}, m) })),
		bad("a DS without signatures", mail, typeA, "", func(w *world) {
			w.tamper = only("good.test.", dns.TypeDS, func(m *dns.Msg) { strip(question{}, m) })
		}),
		bad("a zone denied that is signed, and a record of it without signatures", mail, typeA, "", func(w *world) {
			w.tamper = stripped(mail, only("good.test.", dns.TypeDS, instead(w, "none.test.", dns.TypeDS)))
		}),
		unsure("no answer to the question", mail, typeA, "the server says SERVFAIL", failing(mail, typeA, servfail)),
		unsure("no reply to the question", mail, typeA, "", failing(mail, typeA, context.DeadlineExceeded)),
		unsure("a malformed reply to the question", mail, typeA, "", failing(mail, typeA, errMalformed)),
		unsure("no answer about the zone's keys", mail, typeA, "SERVFAIL", failing("good.test.", dns.TypeDNSKEY, servfail)),
		unsure("no answer about the zone's DS", mail, typeA, "SERVFAIL", failing("good.test.", dns.TypeDS, servfail)),
		unsure("no answer about the keys of a zone above", mail, typeA, "SERVFAIL", failing("test.", dns.TypeDNSKEY, servfail)),
		unsure("no answer about the keys of the root", mail, typeA, "SERVFAIL", failing(".", dns.TypeDNSKEY, servfail)),
		unsure("no answer about the DS of an unsigned zone", "mail.unsigned.test.", typeA, "SERVFAIL", failing("unsigned.test.", dns.TypeDS, servfail)),
		unsure("no answer about the target of an alias", "alias.good.test.", typeA, "SERVFAIL", failing(mail, typeA, servfail)),
		// RFC 7672, Section 2.2.2: the failure of a zone that is proven to be
		// unsigned tells nothing about security. A resolver can only hand it on.
		plain("no answer from an unsigned zone", "mail.unsigned.test.", typeA, Failed, failing("mail.unsigned.test.", typeA, servfail)).differs("unbound", Bogus).differs("delv", Bogus),
		// A signature that fails does not make it bogus that the keys for
		// another one could not be had.
		unsure("no answer about the keys, and a bad signature", mail, typeA, "SERVFAIL", func(w *world) {
			failing("good.test.", dns.TypeDNSKEY, servfail)(w)
			w.tamper = only(mail, typeA, func(m *dns.Msg) {
				other := dns.Copy(m.Answer[2]).(*dns.RRSIG)
				other.SignerName = "test."
				m.Answer = append(m.Answer, other)
			})
		}),
		plain("an unsigned zone that shows signatures", "mail.unsigned.test.", typeA, Data, changing("mail.unsigned.test.", typeA, func(w *world, m *dns.Msg) {
			m.Answer = signedBy(w, intruder(w), "unsigned.test.", m.Answer)
		})),
		// RFC 4035, Section 5.2: where there is provably no DS, there is nothing to be
		// verified. Unbound takes the signature's word for which zone this is.
		plain("an unsigned zone that shows signatures of the zone above", "mail.unsigned.test.", typeA, Data, changing("mail.unsigned.test.", typeA, func(w *world, m *dns.Msg) {
			m.Answer = signedBy(w, intruder(w), "test.", m.Answer)
		})).differs("unbound", Bogus),
		plain("an unsigned zone, and a wrong denial of DS further down", "mail.unsigned.test.", typeA, Data, changing("mail.unsigned.test.", dns.TypeDS, func(_ *world, m *dns.Msg) { m.Ns = nil })),
	}
}
