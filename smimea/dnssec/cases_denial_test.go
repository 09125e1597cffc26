package dnssec

import (
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// The rules of what is not there, 7 to 9.

func rule7() []labCase {
	const why = "without a proof that there is no closer name"
	return []labCase{
		good("NSEC: a wildcard", "any.wild.good.test.", typeA, Data, nil),
		good("NSEC: a wildcard, two labels", "a.ny.wild.good.test.", typeA, Data, nil),
		good("NSEC: a wildcard, another type", "any.wild.good.test.", typeSMIMEA, NoData, nil),
		good("NSEC: beside a wildcard, no expansion", "er.wild.good.test.", typeA, NoData, nil),
		good("NSEC: below a name beside a wildcard", "any.er.wild.good.test.", typeA, NXDomain, nil),
		good("the wildcard itself", "*.wild.good.test.", typeA, Data, nil),
		good("NSEC3: a wildcard", "any.wild.nsec3.test.", typeA, Data, nil),
		good("NSEC3: a wildcard, two labels", "a.ny.wild.nsec3.test.", typeA, Data, nil),
		good("NSEC3: a wildcard, another type", "any.wild.nsec3.test.", typeSMIMEA, NoData, nil),
		good("NSEC3: below a name beside a wildcard", "any.er.wild.nsec3.test.", typeA, NXDomain, nil),
		good("an alias from a wildcard", "any.alias.good.test.", typeA, Data, nil),
		bad("a wildcard played over a name that exists", "x.wild.good.test.", typeA, "without a proof that there is no closer name", func(w *world) {
			w.tamper = only("x.wild.good.test.", typeA, replayWildcard(w, "any.wild.good.test.", "x.wild.good.test."))
		}),
		bad("NSEC3: a wildcard played over a name that exists", "x.wild.nsec3.test.", typeA, "without a proof that there is no closer name", func(w *world) {
			w.tamper = only("x.wild.nsec3.test.", typeA, replayWildcard(w, "any.wild.nsec3.test.", "x.wild.nsec3.test."))
		}),
		bad("a wildcard without any proof", "any.wild.good.test.", typeA, "without a proof that there is no closer name", func(w *world) {
			w.tamper = only("any.wild.good.test.", typeA, func(m *dns.Msg) { m.Ns = nil })
		}),
		bad("NSEC3: a wildcard without any proof", "any.wild.nsec3.test.", typeA, "without a proof that there is no closer name", func(w *world) {
			w.tamper = only("any.wild.nsec3.test.", typeA, func(m *dns.Msg) { m.Ns = nil })
		}),
		bad("a wildcard played over an empty non-terminal", "er.wild.good.test.", typeA, "without a proof that there is no closer name", func(w *world) {
			w.tamper = only("er.wild.good.test.", typeA, func(m *dns.Msg) {
				denial := m.Ns
				replayWildcard(w, "any.wild.good.test.", "er.wild.good.test.")(m)
				m.Ns = denial
			})
		}),
		bad("a wildcard played below a name that exists beside it", "any.er.wild.good.test.", typeA, "without a proof that there is no closer name", func(w *world) {
			w.tamper = only("any.er.wild.good.test.", typeA, func(m *dns.Msg) {
				denial := m.Ns
				replayWildcard(w, "any.wild.good.test.", "any.er.wild.good.test.")(m)
				m.Ns = denial
			})
		}),
		bad("a wildcard denied in place of the name", "x.wild.good.test.", typeA, "the denial records prove something else", func(w *world) {
			w.tamper = only("x.wild.good.test.", typeA, instead(w, "any.wild.good.test.", typeSMIMEA))
		}),
		bad("a DS made from a wildcard", "mail.any.wild.good.test.", typeA, "the DS was made from a wildcard", func(w *world) {
			good := w.zones[must("good.test.")]
			ds := intruder(w).ToDS(2)
			ds.Hdr.Name, ds.Hdr.Ttl = "*.wild.good.test.", 3600
			w.tamper = func(q question, m *dns.Msg) {
				switch q {
				case question{must("any.wild.good.test."), dns.TypeDS}:
					m.Answer = expand(w.signed(good, []dns.RR{ds}), q.name)
					m.Ns = w.cover(good, q.name)
				case question{must("mail.any.wild.good.test."), typeA}:
					strip(q, m)
				}
			}
		}),
		// RFC 6672, Section 3.3, discourages it, and there is no rule by which to prove
		// such a DNAME. BIND follows it, to where nothing is signed.
		bad("a DNAME made from a wildcard", "mail.any.wild.good.test.", typeA, "a DNAME made from a wildcard", func(w *world) {
			good := w.zones[must("good.test.")]
			w.tamper = only("mail.any.wild.good.test.", typeA, func(m *dns.Msg) {
				dname := []dns.RR{parseRR(w.t, "*.wild.good.test. 3600 IN DNAME unsigned.test.")}
				m.Answer = expand(w.signed(good, dname), must("any.wild.good.test."))
				m.Ns = w.cover(good, must("any.wild.good.test."))
			})
		}).differs("delv", Insecure),
		bad("a wildcard with the proof for another name", "any.wild.good.test.", typeA, why, changing("any.wild.good.test.", typeA, func(w *world, m *dns.Msg) {
			m.Ns = w.nsecOf("good.test.", "good.test.")
		})),
		bad("NSEC3: a wildcard with the proof for another name", "any.wild.nsec3.test.", typeA, why, changing("any.wild.nsec3.test.", typeA, func(w *world, m *dns.Msg) {
			zone := w.zones[must("nsec3.test.")]
			m.Ns = w.match(zone, must("wild.nsec3.test."))
		})),
		bad("a wildcard with an unsigned proof", "any.wild.good.test.", typeA, why, changing("any.wild.good.test.", typeA, func(_ *world, m *dns.Msg) {
			m.Ns = without(m.Ns, dns.TypeRRSIG)
		})),
		bad("a wildcard with the proof of another zone", "any.wild.good.test.", typeA, why, changing("any.wild.good.test.", typeA, func(w *world, m *dns.Msg) {
			m.Ns = w.nsecOf("test.", "forgotten.test.")
		})),
		bad("an alias from a wildcard, played over a name that exists", "x.wild.test.", typeA, why, changing("x.wild.test.", typeA, func(w *world, m *dns.Msg) {
			instead(w, "any.wild.test.", typeA)(m)
			m.Answer = append(expand(m.Answer[:2], must("x.wild.test.")), m.Answer[2:]...)
		})).in(func(t testing.TB) *world {
			return newWorld(t, zoneOf("test.", "mail A 192.0.2.1\n*.wild CNAME mail\nx.wild A 192.0.2.2"))
		}),
		bad("a wildcard's certificate played over a mailbox that has none", "b._smimecert.wild.test.", typeSMIMEA, why, func(w *world) {
			w.tamper = only("b._smimecert.wild.test.", typeSMIMEA, func(m *dns.Msg) {
				instead(w, "c._smimecert.wild.test.", typeSMIMEA)(m)
				m.Answer = expand(m.Answer, must("b._smimecert.wild.test."))
			})
		}).in(func(t testing.TB) *world {
			return newWorld(t, zoneOf("test.", ""), zoneOf("wild.test.", "*._smimecert SMIMEA 3 0 0 aabb\nb._smimecert TXT gone"))
		}),
	}
}

func mailAt(zone string) string { return "mail." + zone }

func rule8() []labCase {
	const mail, why = "mail.good.test.", "the denial records prove something else"
	return []labCase{
		good("NSEC: another type", "mail.good.test.", typeSMIMEA, NoData, nil),
		good("NSEC: another type at the apex", "good.test.", typeSMIMEA, NoData, nil),
		good("NSEC: no such name", "b._smimecert.good.test.", typeSMIMEA, NXDomain, nil),
		good("NSEC: no such name, after the last", "zzz.good.test.", typeA, NXDomain, nil),
		good("NSEC: an empty non-terminal", "_smimecert.good.test.", typeSMIMEA, NoData, nil),
		good("NSEC: no such zone", "none.test.", typeSMIMEA, NXDomain, nil),
		good("NSEC: no DS of a name that is no zone", "mail.good.test.", dns.TypeDS, NoData, nil),
		good("NSEC: no DS of an unsigned zone", "unsigned.test.", dns.TypeDS, NoData, nil),
		bad("a type denied by the NSEC of another name", mail, typeA, "the denial records prove something else", func(w *world) {
			w.tamper = only(mail, typeA, instead(w, "x.wild.good.test.", typeSMIMEA))
		}),
		bad("a type denied by an NSEC that names it", mail, typeA, "the denial records prove something else", func(w *world) {
			w.tamper = only(mail, typeA, instead(w, mail, typeSMIMEA))
		}),
		bad("a name denied by the denial of another", mail, typeA, "the denial records prove something else", func(w *world) {
			w.tamper = only(mail, typeA, instead(w, "zzz.good.test.", typeA))
		}),
		bad("a name denied from the parent's side of the cut", mail, typeA, "another zone begins below it", func(w *world) {
			w.tamper = only(mail, typeA, instead(w, "forgotten.test.", dns.TypeDS))
		}),
		bad("a name denied by the parent's NSEC at the cut", "mail.child.good.test.", typeA, "another zone begins below it", func(w *world) {
			w.tamper = only("mail.child.good.test.", typeA, func(m *dns.Msg) {
				m.Answer, m.Ns = nil, w.nsecOf("good.test.", "child.good.test.")
				m.Rcode = dns.RcodeNameError
			})
		}),
		bad("a type at the apex denied from the parent's side", "child.good.test.", dns.TypeSOA, "the denial records prove something else", func(w *world) {
			w.tamper = only("child.good.test.", dns.TypeSOA, func(m *dns.Msg) {
				m.Answer, m.Ns = nil, w.nsecOf("good.test.", "child.good.test.")
			})
		}),
		bad("a name below a DNAME denied by the DNAME's NSEC", "mail.tree.good.test.", typeA, "the denial records prove something else", func(w *world) {
			w.tamper = only("mail.tree.good.test.", typeA, func(m *dns.Msg) {
				instead(w, "tree.good.test.", typeA)(m)
				m.Rcode = dns.RcodeNameError
			})
		}),
		bad("an alias denied by its own NSEC", "alias.good.test.", typeSMIMEA, "the denial records prove something else", func(w *world) {
			w.tamper = only("alias.good.test.", typeSMIMEA, func(m *dns.Msg) {
				m.Answer, m.Ns = nil, w.nsecOf("good.test.", "alias.good.test.")
			})
		}),
		bad("a name denied, and not the wildcard that would answer", "any.wild.good.test.", typeA, "the denial records prove something else", func(w *world) {
			w.tamper = only("any.wild.good.test.", typeA, func(m *dns.Msg) {
				m.Answer, m.Rcode = nil, dns.RcodeNameError
			})
		}),
		bad("an NSEC made from a wildcard", "x.wild.good.test.", typeSMIMEA, "the denial records prove something else", func(w *world) {
			// *.wild has no SMIMEA, and its NSEC would say so for any name.
			w.tamper = only("x.wild.good.test.", typeSMIMEA, func(m *dns.Msg) {
				m.Ns = expand(w.nsecOf("good.test.", "*.wild.good.test."), must("x.wild.good.test."))
			})
		}),
		bad("a type denied by the NSEC of a wildcard that is an alias", "any.alias.good.test.", typeA, why, changing("any.alias.good.test.", typeA, func(w *world, m *dns.Msg) {
			m.Answer, m.Ns = nil, w.nsecOf("good.test.", "*.alias.good.test.")
		})),
		// RFC 4035, Section 5.4, asks for what the records prove, not for the code.
		// BIND asks for both.
		good("a code that says too much", mail, typeSMIMEA, NoData, changing(mail, typeSMIMEA, func(_ *world, m *dns.Msg) {
			m.Rcode = dns.RcodeNameError
		})).differs("delv", Bogus),
		bad("an empty non-terminal denied as a name", "_smimecert.good.test.", typeSMIMEA, why, changing("_smimecert.good.test.", typeSMIMEA, func(w *world, m *dns.Msg) {
			instead(w, "b.a._smimecert.good.test.", typeSMIMEA)(m)
		})),
		bad("a certificate denied by what denies its neighbour", "a._smimecert.good.test.", typeSMIMEA, why, changing("a._smimecert.good.test.", typeSMIMEA, func(w *world, m *dns.Msg) {
			instead(w, "b._smimecert.good.test.", typeSMIMEA)(m)
		})),
		bad("a type denied by the NSEC of the child's apex, at the parent", "child.good.test.", dns.TypeDS, why, changing("child.good.test.", dns.TypeDS, func(w *world, m *dns.Msg) {
			m.Answer, m.Ns = nil, w.nsecOf("good.test.", "x.wild.good.test.")
		})),
		bad("a name denied by an unsigned NSEC", mail, typeA, "there is no proof", changing(mail, typeA, func(w *world, m *dns.Msg) {
			instead(w, "zzz.good.test.", typeA)(m)
			m.Ns = append(records(m.Ns, dns.TypeSOA), parseRR(w.t, "good.test. 300 IN NSEC zzz.good.test. SOA NS"), w.nsecOf("good.test.", "x.wild.good.test.")[1])
		})),
		bad("a name denied, and its wildcard with a changed NSEC", "none.good.test.", typeA, "", changing("none.good.test.", typeA, func(_ *world, m *dns.Msg) {
			for _, rr := range records(m.Ns, dns.TypeNSEC) {
				rr.(*dns.NSEC).NextDomain = "zzzz.good.test."
			}
		})),
		bad("a name denied, and nothing about its wildcard", "none.good.test.", typeA, why, changing("none.good.test.", typeA, func(w *world, m *dns.Msg) {
			zone := w.zones[must("good.test.")]
			m.Ns = w.nsecAt(zone, before(zone.names(), must("none.good.test.")))
		})),
	}
}

func rule9() []labCase {
	const why = "the denial records prove something else"
	denial := func(n string, change func(r *dns.NSEC3)) func(w *world) {
		return func(w *world) { w.tamper = only(n, typeA, w.resigned("nsec3.test.", change)) }
	}
	costly := func(c labCase, n uint16) labCase {
		return c.in(func(t testing.TB) *world {
			return newWorld(t, zoneOf("test.", "mail A 192.0.2.1\n*.wild A 192.0.2.2", iterations(n)))
		})
	}
	return []labCase{
		good("NSEC3: another type", "mail.nsec3.test.", typeSMIMEA, NoData, nil),
		good("NSEC3: another type at the apex", "nsec3.test.", typeSMIMEA, NoData, nil),
		good("NSEC3: no such name", "b._smimecert.nsec3.test.", typeSMIMEA, NXDomain, nil),
		good("NSEC3: an empty non-terminal", "_smimecert.nsec3.test.", typeSMIMEA, NoData, nil),
		good("NSEC3: no DS of a name that is no zone", "mail.nsec3.test.", dns.TypeDS, NoData, nil),
		good("Opt-Out: a record", "mail.optout.test.", typeA, Data, nil),
		good("Opt-Out: a signed zone", "mail.signed.optout.test.", typeA, Data, nil),
		plain("Opt-Out: an unsigned zone", "mail.plain.optout.test.", typeA, Data, nil),
		plain("Opt-Out: an unsigned zone, further down", "mail.sub.ent.optout.test.", typeA, Data, nil),
		// RFC 5155, Section 9.2: where Opt-Out covers the next closer name, the answer
		// is not to be called authentic. BIND does so.
		plain("Opt-Out: no such name is not proven", "none.optout.test.", typeA, NXDomain, nil).differs("delv", Secure),
		good("Opt-Out: another type", "mail.optout.test.", typeSMIMEA, NoData, nil),
		plain("Opt-Out: a wildcard is not proven", "any.wild.optout.test.", typeA, Data, nil),
		costly(good("100 iterations", "none.test.", typeA, NXDomain, nil), 100),
		// RFC 9276, Section 3.2: many iterations make a denial worthless, not
		// bogus, once the record is known to be the zone's.
		// BIND takes up to 150 iterations. Each may draw the line himself.
		costly(plain("101 iterations", "none.test.", typeA, NXDomain, nil), 101).differs("delv", Secure),
		costly(good("101 iterations, and nothing to deny", mailAt("test."), typeA, Data, nil), 101),
		// As above.
		costly(plain("101 iterations, and a wildcard", "any.wild.test.", typeA, Data, nil), 101).differs("delv", Secure),
		costly(plain("2500 iterations", "none.test.", typeA, NXDomain, nil), 2500),
		costly(bad("101 iterations, by somebody else's hand", "none.test.", typeA, "does not verify", func(w *world) {
			w.tamper = func(_ question, m *dns.Msg) {
				for _, rr := range records(m.Ns, dns.TypeNSEC3) {
					rr.(*dns.NSEC3).Iterations++
				}
			}
		}), 100),
		// RFC 9276, Section 3.2, again, in the denial of its DS: whoever asks for
		// that sees that nothing there can be proven. BIND does not ask, and where
		// it has seen the name denied, it hands out that for the DS, too.
		costly(plain("101 iterations, and no signature", "none.test.", typeA, NXDomain, changing("none.test.", typeA, func(_ *world, m *dns.Msg) { strip(question{}, m) })), 101).differs("delv", Bogus).differs("bind", Bogus),
		bad("a DS denied by Opt-Out, though it is in the zone", "mail.signed.optout.test.", typeA, "the denial records prove something else", func(w *world) {
			w.tamper = only("signed.optout.test.", dns.TypeDS, instead(w, "plain.optout.test.", dns.TypeDS))
		}),
		bad("NSEC3: a type denied by an NSEC3 that names it", "mail.nsec3.test.", typeA, "the denial records prove something else", func(w *world) {
			w.tamper = only("mail.nsec3.test.", typeA, instead(w, "mail.nsec3.test.", typeSMIMEA))
		}),
		bad("NSEC3: a name denied by the denial of another", "mail.nsec3.test.", typeA, "the denial records prove something else", func(w *world) {
			w.tamper = only("mail.nsec3.test.", typeA, instead(w, "zzz.nsec3.test.", typeA))
		}),
		bad("NSEC3: a name denied by the parent's record at the cut", "mail.signed.optout.test.", typeA, "another zone begins below it", func(w *world) {
			w.tamper = only("mail.signed.optout.test.", typeA, func(m *dns.Msg) {
				optout := w.zones[must("optout.test.")]
				m.Answer, m.Ns = nil, w.match(optout, must("signed.optout.test."))
				for i := range optout.hashes() {
					m.Ns = append(m.Ns, w.nsec3At(optout, i)...)
				}
				m.Ns = unique(m.Ns)
			})
		}),
		bad("NSEC3: a name below a DNAME denied", "mail.tree.nsec3.test.", typeA, "the denial records prove something else", func(w *world) {
			zone := w.zones[must("nsec3.test.")]
			w.tamper = only("mail.tree.nsec3.test.", typeA, func(m *dns.Msg) {
				m.Answer, m.Ns = nil, nil
				for _, n := range []string{"mail.tree.nsec3.test.", "*.tree.nsec3.test."} {
					m.Ns = append(m.Ns, w.nsec3At(zone, zone.beforeHash(zone.hash(must(n))))...)
				}
				m.Ns = unique(append(m.Ns, w.match(zone, must("tree.nsec3.test."))...))
			})
		}),
		bad("NSEC3: a name denied, and not the wildcard that would answer", "any.wild.nsec3.test.", typeA, "the denial records prove something else", func(w *world) {
			w.tamper = only("any.wild.nsec3.test.", typeA, func(m *dns.Msg) {
				m.Answer, m.Rcode = nil, dns.RcodeNameError
			})
		}),
		bad("NSEC3 with another hash", "none.nsec3.test.", typeA, "the denial records prove something else", func(w *world) {
			w.tamper = only("none.nsec3.test.", typeA, w.resigned("nsec3.test.", func(r *dns.NSEC3) { r.Hash = 2 }))
		}),
		// RFC 5155, Section 8.2: such a record must be ignored. BIND does not.
		bad("NSEC3 with an unknown flag", "none.nsec3.test.", typeA, "the denial records prove something else", func(w *world) {
			w.tamper = only("none.nsec3.test.", typeA, w.resigned("nsec3.test.", func(r *dns.NSEC3) { r.Flags = 2 }))
		}).differs("delv", Secure),
		bad("NSEC3 with another salt than its owner's hash", "none.nsec3.test.", typeA, why, denial("none.nsec3.test.", func(r *dns.NSEC3) { r.Salt = "ccdd" })),
		bad("NSEC3 with other iterations than its owner's hash", "none.nsec3.test.", typeA, why, denial("none.nsec3.test.", func(r *dns.NSEC3) { r.Iterations = 1 })),
		bad("a name denied where a record of its hash is", mailAt("nsec3.test."), typeA, why, changing(mailAt("nsec3.test."), typeA, func(w *world, m *dns.Msg) {
			// Equality is no cover: the record before ends at the name's hash.
			zone := w.zones[must("nsec3.test.")]
			i := zone.beforeHash(zone.hash(must(mailAt("nsec3.test."))))
			m.Answer, m.Rcode = nil, dns.RcodeNameError
			m.Ns = append(w.match(zone, must("nsec3.test.")), w.nsec3At(zone, (i+len(zone.hashes())-1)%len(zone.hashes()))...)
			m.Ns = unique(append(m.Ns, w.nsec3At(zone, zone.beforeHash(zone.hash(must("*.nsec3.test."))))...))
		})),
		bad("a name denied without its closest encloser", "none.nsec3.test.", typeA, why, changing("none.nsec3.test.", typeA, func(w *world, m *dns.Msg) {
			zone := w.zones[must("nsec3.test.")]
			m.Ns = w.nsec3At(zone, zone.beforeHash(zone.hash(must("none.nsec3.test."))))
		})),
		bad("an empty non-terminal denied as a name", "_smimecert.nsec3.test.", typeSMIMEA, why, changing("_smimecert.nsec3.test.", typeSMIMEA, func(w *world, m *dns.Msg) {
			instead(w, "zzz.nsec3.test.", typeA)(m)
		})),
		bad("a DS denied by the child's own NSEC3", "nsec3.test.", dns.TypeDS, "", changing("nsec3.test.", dns.TypeDS, func(w *world, m *dns.Msg) {
			instead(w, "nsec3.test.", typeSMIMEA)(m)
		})),
		bad("an NSEC3 with an owner that is no hash", "none.nsec3.test.", typeA, why, changing("none.nsec3.test.", typeA, func(w *world, m *dns.Msg) {
			zone := w.zones[must("nsec3.test.")]
			r := dns.Copy(records(m.Ns, dns.TypeNSEC3)[0]).(*dns.NSEC3)
			r.Hdr.Name = "short." + zone.apex.String()
			m.Ns = w.signed(zone, []dns.RR{r})
		})),
		plain("a name in an unsigned zone of an Opt-Out span, stripped", "mail.plain.optout.test.", typeA, Data, func(w *world) {
			w.tamper = only("mail.plain.optout.test.", typeA, func(m *dns.Msg) { strip(question{}, m) })
		}),
		bad("two NSEC3 at one name", "none.nsec3.test.", typeA, "", changing("none.nsec3.test.", typeA, func(w *world, m *dns.Msg) {
			zone := w.zones[must("nsec3.test.")]
			r := records(m.Ns, dns.TypeNSEC3)[0].(*dns.NSEC3)
			other := dns.Copy(r).(*dns.NSEC3)
			other.NextDomain = strings.Repeat("V", 32)
			m.Ns = w.signed(zone, []dns.RR{r, other})
		})),
	}
}
