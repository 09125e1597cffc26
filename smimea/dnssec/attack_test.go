package dnssec

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// Each case here is something that a validator once called secure, or insecure,
// and that is neither: an answer of a sound world, changed by somebody on the
// way who has no key but his own.

// only changes the answers to one question.
func only(n string, qtype uint16, change func(m *dns.Msg)) func(question, *dns.Msg) {
	return func(q question, m *dns.Msg) {
		if q == (question{must(n), qtype}) {
			change(m)
		}
	}
}

// instead gives the answer to another question.
func instead(w *world, n string, qtype uint16) func(m *dns.Msg) {
	return func(m *dns.Msg) {
		other := w.answerUntouched(question{must(n), qtype})
		m.Answer, m.Ns, m.Rcode = other.Answer, other.Ns, other.Rcode
	}
}

func (w *world) answerUntouched(q question) *dns.Msg {
	tamper := w.tamper
	w.tamper = nil
	defer func() { w.tamper = tamper }()
	return w.answer(q)
}

// without takes out records of these types, and their signatures.
func without(section []dns.RR, types ...uint16) []dns.RR {
	return slices.DeleteFunc(slices.Clone(section), func(rr dns.RR) bool {
		if sig, ok := rr.(*dns.RRSIG); ok {
			return slices.Contains(types, sig.TypeCovered) || slices.Contains(types, dns.TypeRRSIG)
		}
		return slices.Contains(types, rr.Header().Rrtype)
	})
}

func strip(_ question, m *dns.Msg) {
	m.Answer, m.Ns = without(m.Answer, dns.TypeRRSIG), without(m.Ns, dns.TypeRRSIG)
}

// stripped takes the signatures from a name's answers, and does something else.
func stripped(n string, also func(question, *dns.Msg)) func(question, *dns.Msg) {
	return func(q question, m *dns.Msg) {
		if q.name == must(n) {
			strip(q, m)
		}
		also(q, m)
	}
}

func records(section []dns.RR, rtype uint16) []dns.RR {
	return slices.DeleteFunc(slices.Clone(section), func(rr dns.RR) bool { return rr.Header().Rrtype != rtype })
}

func parseRR(t *testing.T, s string) dns.RR {
	t.Helper()
	rr, err := dns.NewRR(s)
	if err != nil {
		t.Fatal(err)
	}
	return rr
}

func TestAttacks(t *testing.T) {
	const mail = "mail.good.test."
	forged := func(t *testing.T) []dns.RR { return []dns.RR{parseRR(t, mail+" 3600 IN A 192.0.2.99")} }
	intruder := newSigner(t, must("good.test."), 13, 257, "intruder")
	signedBy := func(w *world, s *signer, zone string, set []dns.RR) []dns.RR {
		return append(slices.Clip(set), s.sign(t, set, must(zone), w.now.Add(-time.Hour), w.now.Add(time.Hour)))
	}
	for _, c := range []struct {
		what  string
		name  string
		qtype uint16
		do    func(t *testing.T, w *world)
		why   string
	}{
		// Who may sign.
		{"the real keys and the intruder's, signed by the intruder", mail, typeA, func(t *testing.T, w *world) {
			w.tamper = func(q question, m *dns.Msg) {
				switch q {
				case question{must("good.test."), dns.TypeDNSKEY}:
					set := append(without(m.Answer, dns.TypeRRSIG), intruder.DNSKEY)
					m.Answer = signedBy(w, intruder, "good.test.", set)
				case question{must(mail), typeA}:
					m.Answer = signedBy(w, intruder, "good.test.", forged(t))
				}
			}
		}, "no key that the DS matches has signed the keys"},
		{"the real keys and the intruder's, signed by the zone's other key", mail, typeA, func(t *testing.T, w *world) {
			w.tamper = only("good.test.", dns.TypeDNSKEY, func(m *dns.Msg) {
				m.Answer = signedBy(w, w.zones[must("good.test.")].zsk, "good.test.", without(m.Answer, dns.TypeRRSIG))
			})
		}, "no key that the DS matches has signed the keys"},
		{"a DNSKEY set without the key that the DS names", mail, typeA, func(t *testing.T, w *world) {
			w.tamper = only("good.test.", dns.TypeDNSKEY, func(m *dns.Msg) {
				m.Answer = signedBy(w, intruder, "good.test.", []dns.RR{intruder.DNSKEY})
			})
		}, "no key that the DS matches has signed the keys"},
		{"no DNSKEY set", mail, typeA, func(t *testing.T, w *world) {
			w.tamper = only("good.test.", dns.TypeDNSKEY, func(m *dns.Msg) { m.Answer = nil })
		}, "the zone has no keys"},
		{"a signature by a zone whose name ends alike", "mail.notgood.test.", typeA, func(t *testing.T, w *world) {
			good := w.zones[must("good.test.")]
			w.tamper = only("mail.notgood.test.", typeA, func(m *dns.Msg) {
				set := without(m.Answer, dns.TypeRRSIG)
				m.Answer = signedBy(w, good.zsk, "good.test.", set)
			})
		}, "there is no signature"},
		{"a signature by a sister zone", mail, typeA, func(t *testing.T, w *world) {
			w.tamper = only(mail, typeA, func(m *dns.Msg) {
				m.Answer = signedBy(w, w.zones[must("nsec3.test.")].zsk, "nsec3.test.", forged(t))
			})
		}, "there is no signature"},
		{"a parent's record signed by the child", "good.test.", dns.TypeDS, func(t *testing.T, w *world) {
			w.tamper = only("good.test.", dns.TypeDS, func(m *dns.Msg) {
				m.Answer = signedBy(w, w.zones[must("good.test.")].zsk, "good.test.", []dns.RR{intruder.ToDS(2)})
			})
		}, "there is no signature"},
		{"a signature by a name that is no zone", "a._smimecert.good.test.", typeSMIMEA, func(t *testing.T, w *world) {
			w.tamper = only("a._smimecert.good.test.", typeSMIMEA, func(m *dns.Msg) {
				m.Answer = signedBy(w, intruder, "_smimecert.good.test.", without(m.Answer, dns.TypeRRSIG))
			})
		}, "signs as a zone, and is proven to be none"},
		{"a changed record", mail, typeA, func(t *testing.T, w *world) {
			w.tamper = only(mail, typeA, func(m *dns.Msg) { m.Answer = append(m.Answer, forged(t)...) })
		}, "does not verify"},
		{"a record left out", mail, typeA, func(t *testing.T, w *world) {
			w.tamper = only(mail, typeA, func(m *dns.Msg) { m.Answer = m.Answer[1:] })
		}, "does not verify"},
		{"signatures stripped from everything", mail, typeA, func(t *testing.T, w *world) { w.tamper = strip }, "the server leaves out signatures"},
		{"signatures stripped from the answer", mail, typeA, func(t *testing.T, w *world) {
			w.tamper = only(mail, typeA, func(m *dns.Msg) { strip(question{}, m) })
		}, "there is no signature"},
		{"the AD bit, and no signature", mail, typeA, func(t *testing.T, w *world) {
			w.tamper = func(q question, m *dns.Msg) { strip(q, m); m.AuthenticatedData = true }
		}, "the server leaves out signatures"},
		{"more labels signed than there are", mail, typeA, func(t *testing.T, w *world) {
			w.tamper = only(mail, typeA, func(m *dns.Msg) { m.Answer[2].(*dns.RRSIG).Labels = 7 })
		}, "counts 7 labels"},
		{"labels of a wildcard above the zone", mail, typeA, func(t *testing.T, w *world) {
			w.tamper = only(mail, typeA, func(m *dns.Msg) { m.Answer[2].(*dns.RRSIG).Labels = 1 })
		}, "counts 1 labels"},

		// Where the signed part ends.
		{"a DS taken away", mail, typeA, func(t *testing.T, w *world) {
			w.tamper = stripped(mail, only("good.test.", dns.TypeDS, func(m *dns.Msg) { m.Answer = nil }))
		}, "there is no proof that it does not exist"},
		{"a DS denied by the NSEC of the child's apex", "mail.good.test.", typeA, func(t *testing.T, w *world) {
			w.tamper = stripped(mail, only("good.test.", dns.TypeDS, instead(w, "good.test.", typeSMIMEA)))
		}, "there is no proof that it does not exist"},
		{"a DS denied by the NSEC of another unsigned zone", mail, typeA, func(t *testing.T, w *world) {
			w.tamper = only("good.test.", dns.TypeDS, instead(w, "unsigned.test.", dns.TypeDS))
		}, "the denial records prove something else"},
		{"a DS denied by a changed NSEC", mail, typeA, func(t *testing.T, w *world) {
			w.tamper = only("good.test.", dns.TypeDS, func(m *dns.Msg) {
				instead(w, "unsigned.test.", dns.TypeDS)(m)
				for _, rr := range m.Ns {
					if rr.Header().Name == "unsigned.test." {
						rr.Header().Name = "good.test."
					}
				}
			})
		}, "does not verify"},
		{"a DS denied by Opt-Out, though it is in the zone", "mail.signed.optout.test.", typeA, func(t *testing.T, w *world) {
			w.tamper = only("signed.optout.test.", dns.TypeDS, instead(w, "plain.optout.test.", dns.TypeDS))
		}, "the denial records prove something else"},
		{"a DS that names the intruder's key", mail, typeA, func(t *testing.T, w *world) {
			w.tamper = only("good.test.", dns.TypeDS, func(m *dns.Msg) {
				m.Answer = append([]dns.RR{intruder.ToDS(2)}, records(m.Answer, dns.TypeRRSIG)...)
			})
		}, "does not verify"},
		{"an alias without a signature in the place of a DS", mail, typeA, func(t *testing.T, w *world) {
			w.tamper = func(q question, m *dns.Msg) {
				if q.rtype == dns.TypeDS && q.name == must("good.test.") {
					m.Answer = []dns.RR{parseRR(t, "good.test. 3600 IN CNAME unsigned.test.")}
				}
				if q.name == must(mail) {
					strip(q, m)
				}
			}
		}, "there is no signature"},
		{"an unsigned DNAME above", mail, typeA, func(t *testing.T, w *world) {
			w.tamper = only(mail, typeA, func(m *dns.Msg) {
				m.Answer = []dns.RR{parseRR(t, "good.test. 3600 IN DNAME unsigned.test.")}
			})
		}, "there is no signature"},
		{"an unsigned CNAME into an unsigned zone", mail, typeA, func(t *testing.T, w *world) {
			w.tamper = only(mail, typeA, func(m *dns.Msg) {
				m.Answer = []dns.RR{parseRR(t, mail+" 3600 IN CNAME mail.unsigned.test.")}
			})
		}, "there is no signature"},
		{"the CNAME of a DNAME, led elsewhere", "mail.tree.good.test.", typeA, func(t *testing.T, w *world) {
			w.tamper = only("mail.tree.good.test.", typeA, func(m *dns.Msg) {
				m.Answer = []dns.RR{parseRR(t, "mail.tree.good.test. 3600 IN CNAME mail.unsigned.test.")}
			})
		}, "there is no signature"},

		// Wildcards.
		{"a wildcard played over a name that exists", "x.wild.good.test.", typeA, func(t *testing.T, w *world) {
			w.tamper = only("x.wild.good.test.", typeA, replayWildcard(w, "any.wild.good.test.", "x.wild.good.test."))
		}, "without a proof that there is no closer name"},
		{"NSEC3: a wildcard played over a name that exists", "x.wild.nsec3.test.", typeA, func(t *testing.T, w *world) {
			w.tamper = only("x.wild.nsec3.test.", typeA, replayWildcard(w, "any.wild.nsec3.test.", "x.wild.nsec3.test."))
		}, "without a proof that there is no closer name"},
		{"a wildcard without any proof", "any.wild.good.test.", typeA, func(t *testing.T, w *world) {
			w.tamper = only("any.wild.good.test.", typeA, func(m *dns.Msg) { m.Ns = nil })
		}, "without a proof that there is no closer name"},
		{"NSEC3: a wildcard without any proof", "any.wild.nsec3.test.", typeA, func(t *testing.T, w *world) {
			w.tamper = only("any.wild.nsec3.test.", typeA, func(m *dns.Msg) { m.Ns = nil })
		}, "without a proof that there is no closer name"},
		{"a wildcard played over an empty non-terminal", "er.wild.good.test.", typeA, func(t *testing.T, w *world) {
			w.tamper = only("er.wild.good.test.", typeA, func(m *dns.Msg) {
				denial := m.Ns
				replayWildcard(w, "any.wild.good.test.", "er.wild.good.test.")(m)
				m.Ns = denial
			})
		}, "without a proof that there is no closer name"},
		{"a wildcard played below a name that exists beside it", "any.er.wild.good.test.", typeA, func(t *testing.T, w *world) {
			w.tamper = only("any.er.wild.good.test.", typeA, func(m *dns.Msg) {
				denial := m.Ns
				replayWildcard(w, "any.wild.good.test.", "any.er.wild.good.test.")(m)
				m.Ns = denial
			})
		}, "without a proof that there is no closer name"},
		{"a wildcard denied in place of the name", "x.wild.good.test.", typeA, func(t *testing.T, w *world) {
			w.tamper = only("x.wild.good.test.", typeA, instead(w, "any.wild.good.test.", typeSMIMEA))
		}, "the denial records prove something else"},

		{"a DS made from a wildcard", "mail.any.wild.good.test.", typeA, func(t *testing.T, w *world) {
			good := w.zones[must("good.test.")]
			ds := intruder.ToDS(2)
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
		}, "the DS was made from a wildcard"},
		{"a DNAME made from a wildcard", "mail.any.wild.good.test.", typeA, func(t *testing.T, w *world) {
			good := w.zones[must("good.test.")]
			w.tamper = only("mail.any.wild.good.test.", typeA, func(m *dns.Msg) {
				dname := []dns.RR{parseRR(t, "*.wild.good.test. 3600 IN DNAME unsigned.test.")}
				m.Answer = expand(w.signed(good, dname), must("any.wild.good.test."))
				m.Ns = w.cover(good, must("any.wild.good.test."))
			})
		}, "a DNAME made from a wildcard"},

		// Denial of what exists.
		{"a type denied by the NSEC of another name", mail, typeA, func(t *testing.T, w *world) {
			w.tamper = only(mail, typeA, instead(w, "x.wild.good.test.", typeSMIMEA))
		}, "the denial records prove something else"},
		{"a type denied by an NSEC that names it", mail, typeA, func(t *testing.T, w *world) {
			w.tamper = only(mail, typeA, instead(w, mail, typeSMIMEA))
		}, "the denial records prove something else"},
		{"NSEC3: a type denied by an NSEC3 that names it", "mail.nsec3.test.", typeA, func(t *testing.T, w *world) {
			w.tamper = only("mail.nsec3.test.", typeA, instead(w, "mail.nsec3.test.", typeSMIMEA))
		}, "the denial records prove something else"},
		{"a name denied by the denial of another", mail, typeA, func(t *testing.T, w *world) {
			w.tamper = only(mail, typeA, instead(w, "zzz.good.test.", typeA))
		}, "the denial records prove something else"},
		{"NSEC3: a name denied by the denial of another", "mail.nsec3.test.", typeA, func(t *testing.T, w *world) {
			w.tamper = only("mail.nsec3.test.", typeA, instead(w, "zzz.nsec3.test.", typeA))
		}, "the denial records prove something else"},
		{"a name denied from the parent's side of the cut", mail, typeA, func(t *testing.T, w *world) {
			w.tamper = only(mail, typeA, instead(w, "forgotten.test.", dns.TypeDS))
		}, "the denial records prove something else"},
		{"a name denied by the parent's NSEC at the cut", "mail.child.good.test.", typeA, func(t *testing.T, w *world) {
			w.tamper = only("mail.child.good.test.", typeA, func(m *dns.Msg) {
				m.Answer, m.Ns = nil, w.nsecOf("good.test.", "child.good.test.")
				m.Rcode = dns.RcodeNameError
			})
		}, "the denial records prove something else"},
		{"a type at the apex denied from the parent's side", "child.good.test.", dns.TypeSOA, func(t *testing.T, w *world) {
			w.tamper = only("child.good.test.", dns.TypeSOA, func(m *dns.Msg) {
				m.Answer, m.Ns = nil, w.nsecOf("good.test.", "child.good.test.")
			})
		}, "the denial records prove something else"},
		{"NSEC3: a name denied by the parent's record at the cut", "mail.signed.optout.test.", typeA, func(t *testing.T, w *world) {
			w.tamper = only("mail.signed.optout.test.", typeA, func(m *dns.Msg) {
				optout := w.zones[must("optout.test.")]
				m.Answer, m.Ns = nil, w.match(optout, must("signed.optout.test."))
				for i := range optout.hashes() {
					m.Ns = append(m.Ns, w.nsec3At(optout, i)...)
				}
				m.Ns = unique(m.Ns)
			})
		}, "the denial records prove something else"},
		{"a name below a DNAME denied by the DNAME's NSEC", "mail.tree.good.test.", typeA, func(t *testing.T, w *world) {
			w.tamper = only("mail.tree.good.test.", typeA, func(m *dns.Msg) {
				instead(w, "tree.good.test.", typeA)(m)
				m.Rcode = dns.RcodeNameError
			})
		}, "the denial records prove something else"},
		{"NSEC3: a name below a DNAME denied", "mail.tree.nsec3.test.", typeA, func(t *testing.T, w *world) {
			zone := w.zones[must("nsec3.test.")]
			w.tamper = only("mail.tree.nsec3.test.", typeA, func(m *dns.Msg) {
				m.Answer, m.Ns = nil, nil
				for _, n := range []string{"mail.tree.nsec3.test.", "*.tree.nsec3.test."} {
					m.Ns = append(m.Ns, w.nsec3At(zone, zone.beforeHash(zone.hash(must(n))))...)
				}
				m.Ns = unique(append(m.Ns, w.match(zone, must("tree.nsec3.test."))...))
			})
		}, "the denial records prove something else"},
		{"an alias denied by its own NSEC", "alias.good.test.", typeSMIMEA, func(t *testing.T, w *world) {
			w.tamper = only("alias.good.test.", typeSMIMEA, func(m *dns.Msg) {
				m.Answer, m.Ns = nil, w.nsecOf("good.test.", "alias.good.test.")
			})
		}, "the denial records prove something else"},
		{"a name denied, and not the wildcard that would answer", "any.wild.good.test.", typeA, func(t *testing.T, w *world) {
			w.tamper = only("any.wild.good.test.", typeA, func(m *dns.Msg) {
				m.Answer, m.Rcode = nil, dns.RcodeNameError
			})
		}, "the denial records prove something else"},
		{"NSEC3: a name denied, and not the wildcard that would answer", "any.wild.nsec3.test.", typeA, func(t *testing.T, w *world) {
			w.tamper = only("any.wild.nsec3.test.", typeA, func(m *dns.Msg) {
				m.Answer, m.Rcode = nil, dns.RcodeNameError
			})
		}, "the denial records prove something else"},
		{"an NSEC made from a wildcard", "x.wild.good.test.", typeSMIMEA, func(t *testing.T, w *world) {
			// *.wild has no SMIMEA, and its NSEC would say so for any name.
			w.tamper = only("x.wild.good.test.", typeSMIMEA, func(m *dns.Msg) {
				m.Ns = expand(w.nsecOf("good.test.", "*.wild.good.test."), must("x.wild.good.test."))
			})
		}, "the denial records prove something else"},
		{"nothing, and a code that says so", mail, typeA, func(t *testing.T, w *world) {
			w.tamper = only(mail, typeA, func(m *dns.Msg) { m.Answer, m.Rcode = nil, dns.RcodeNameError })
		}, "there is no proof that it does not exist"},
		{"a SOA as all the proof", mail, typeA, func(t *testing.T, w *world) {
			w.tamper = only(mail, typeA, func(m *dns.Msg) {
				m.Answer, m.Ns = nil, w.signed(w.zones[must("good.test.")], w.zones[must("good.test.")].set(must("good.test."), dns.TypeSOA))
			})
		}, "there is no proof that it does not exist"},
		{"NSEC3 with another hash", "none.nsec3.test.", typeA, func(t *testing.T, w *world) {
			w.tamper = only("none.nsec3.test.", typeA, w.resigned("nsec3.test.", func(r *dns.NSEC3) { r.Hash = 2 }))
		}, "the denial records prove something else"},
		{"NSEC3 with an unknown flag", "none.nsec3.test.", typeA, func(t *testing.T, w *world) {
			w.tamper = only("none.nsec3.test.", typeA, w.resigned("nsec3.test.", func(r *dns.NSEC3) { r.Flags = 2 }))
		}, "the denial records prove something else"},
	} {
		t.Run(c.what, func(t *testing.T) {
			w := sound(t)
			c.do(t, w)
			a := w.lookup(c.name, c.qtype)
			if a.Status != Bogus {
				t.Fatalf("%v, %v (%v)", a.Status, a.Outcome, a.Why)
			}
			if err := consistent(a); err != nil {
				t.Error(err)
			}
			if !strings.Contains(a.Why.Error(), c.why) {
				t.Errorf("why: %v, want %q", a.Why, c.why)
			}
		})
	}
}

// replayWildcard gives a wildcard's answer for one name to another.
func replayWildcard(w *world, from, to string) func(m *dns.Msg) {
	return func(m *dns.Msg) {
		instead(w, from, typeA)(m)
		m.Answer = expand(m.Answer, must(to))
	}
}

// nsecOf returns a zone's own NSEC at a name.
func (w *world) nsecOf(zone, owner string) []dns.RR {
	a := w.zones[must(zone)]
	return w.nsecAt(a, slices.Index(a.names(), must(owner)))
}

// resigned changes NSEC3 records as their own zone might.
func (w *world) resigned(zone string, change func(*dns.NSEC3)) func(m *dns.Msg) {
	return func(m *dns.Msg) {
		var changed []dns.RR
		for _, rr := range records(m.Ns, dns.TypeNSEC3) {
			r := dns.Copy(rr).(*dns.NSEC3)
			change(r)
			changed = append(changed, w.signed(w.zones[must(zone)], []dns.RR{r})...)
		}
		m.Ns = changed
	}
}
