package dnssec

import (
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// The rules of keys and signatures, 1 to 5.

func rule1() []labCase {
	const mail = "mail.good.test."
	// keys changes good.test's keys, and what signs them.
	keys := func(change func(w *world, good *authority, set []dns.RR) []dns.RR) func(w *world) {
		return changing("good.test.", dns.TypeDNSKEY, func(w *world, m *dns.Msg) {
			m.Answer = change(w, w.zones[must("good.test.")], without(m.Answer, dns.TypeRRSIG))
		})
	}
	return []labCase{
		good("the keys of a zone", "good.test.", dns.TypeDNSKEY, Data, nil),
		good("the keys of the root", ".", dns.TypeDNSKEY, Data, nil),
		good("one key for everything", mail, typeA, Data, func(w *world) {
			good := w.zones[must("good.test.")]
			good.records = slices.DeleteFunc(good.records, func(rr dns.RR) bool { return rr == dns.RR(good.zsk.DNSKEY) })
			good.zsk = good.ksk
		}),
		good("a second key-signing key, of which the DS says nothing", mail, typeA, Data, keys(func(w *world, good *authority, set []dns.RR) []dns.RR {
			set = append(set, intruder(w).DNSKEY)
			return append(signedBy(w, intruder(w), "good.test.", set), signatureIn(w.signed(good, set)))
		})),
		good("a DS of a key that is not there yet, beside the DS", mail, typeA, Data, changing("good.test.", dns.TypeDS, func(w *world, m *dns.Msg) {
			m.Answer = w.signed(w.zones[must("test.")], []dns.RR{w.zones[must("good.test.")].ds(), dsOf(intruder(w))})
		})),
		good("the zone's other key has signed the keys as well", mail, typeA, Data, keys(func(w *world, good *authority, set []dns.RR) []dns.RR {
			return append(signedBy(w, good.zsk, "good.test.", set), signatureIn(w.signed(good, set)))
		})),
		bad("the real keys and the intruder's, signed by the intruder", mail, typeA, "no key that the DS matches has signed the keys", func(w *world) {
			w.tamper = func(q question, m *dns.Msg) {
				switch q {
				case question{must("good.test."), dns.TypeDNSKEY}:
					set := append(without(m.Answer, dns.TypeRRSIG), intruder(w).DNSKEY)
					m.Answer = signedBy(w, intruder(w), "good.test.", set)
				case question{must(mail), typeA}:
					m.Answer = signedBy(w, intruder(w), "good.test.", forged(w))
				}
			}
		}),
		bad("the real keys and the intruder's, signed by the zone's other key", mail, typeA, "no key that the DS matches has signed the keys", func(w *world) {
			w.tamper = only("good.test.", dns.TypeDNSKEY, func(m *dns.Msg) {
				m.Answer = signedBy(w, w.zones[must("good.test.")].zsk, "good.test.", without(m.Answer, dns.TypeRRSIG))
			})
		}),
		bad("a DNSKEY set without the key that the DS names", mail, typeA, "no key that the DS matches has signed the keys", func(w *world) {
			w.tamper = only("good.test.", dns.TypeDNSKEY, func(m *dns.Msg) {
				m.Answer = signedBy(w, intruder(w), "good.test.", []dns.RR{intruder(w).DNSKEY})
			})
		}),
		bad("no DNSKEY set", mail, typeA, "the zone has no keys", func(w *world) {
			w.tamper = only("good.test.", dns.TypeDNSKEY, func(m *dns.Msg) { m.Answer = nil })
		}),
		bad("the keys without a signature", mail, typeA, "no key that the DS matches has signed the keys", keys(func(_ *world, _ *authority, set []dns.RR) []dns.RR { return set })),
		bad("a key added after signing", mail, typeA, "no key that the DS matches has signed the keys", keys(func(w *world, good *authority, set []dns.RR) []dns.RR {
			return append(w.signed(good, set), intruder(w).DNSKEY)
		})),
		bad("a key taken away after signing", mail, typeA, "no key that the DS matches has signed the keys", changing("good.test.", dns.TypeDNSKEY, func(_ *world, m *dns.Msg) { m.Answer = m.Answer[:1:1] })),
		bad("the keys of the zone above", mail, typeA, "the zone has no keys", changing("good.test.", dns.TypeDNSKEY, func(w *world, m *dns.Msg) {
			instead(w, "test.", dns.TypeDNSKEY)(m)
		})),
		bad("the keys of the zone above, under this zone's name", mail, typeA, "no key that the DS matches has signed the keys", changing("good.test.", dns.TypeDNSKEY, func(w *world, m *dns.Msg) {
			instead(w, "test.", dns.TypeDNSKEY)(m)
			m.Answer = expand(m.Answer, must("good.test."))
		})),
		bad("the root's keys, and an intruder's, signed by the intruder", mail, typeA, "no key that the anchor matches has signed the keys", changing(".", dns.TypeDNSKEY, func(w *world, m *dns.Msg) {
			other := newSigner(w.t, root, 13, 257, "intruder")
			m.Answer = signedBy(w, other, ".", append(without(m.Answer, dns.TypeRRSIG), other.DNSKEY))
		})),
		// RFC 4034, Section 3.1.3: so few labels mean a wildcard above the zone,
		// which the zone cannot sign for. Unbound does not look at it here.
		bad("keys made from a wildcard", mail, typeA, "the keys", func(w *world) {
			good := w.zones[must("good.test.")]
			w.tamper = only("good.test.", dns.TypeDNSKEY, func(m *dns.Msg) {
				sig := m.Answer[2].(*dns.RRSIG)
				set := expand(m.Answer[:2], must("*.test."))
				wild := good.ksk.sign(w.t, set, must("good.test."), w.now.Add(-time.Hour), w.now.Add(time.Hour))
				wild.Hdr.Name = sig.Hdr.Name
				m.Answer[2] = wild
			})
		}).differs("unbound", Secure),
	}
}

func dsOf(s *signer) *dns.DS {
	ds := s.ToDS(2)
	ds.Hdr.Ttl = 3600
	return ds
}

func rule2() []labCase {
	const mail = "mail.good.test."
	return []labCase{
		good("a record", "mail.good.test", typeA, Data, nil),
		good("upper case", "MAIL.Good.TEST.", typeA, Data, nil),
		good("a dot inside a label", `dotin\.label.good.test.`, typeA, Data, nil),
		good("an apex", "good.test.", dns.TypeSOA, Data, nil),
		good("the DS of the root", ".", dns.TypeDS, NoData, nil),
		good("a DS", "good.test.", dns.TypeDS, Data, nil),
		good("a certificate", "a._smimecert.good.test.", typeSMIMEA, Data, nil),
		good("a zone in a zone", "www.child.good.test.", typeA, Data, nil),
		bad("a signature by a zone whose name ends alike", "mail.notgood.test.", typeA, "there is no signature", func(w *world) {
			good := w.zones[must("good.test.")]
			w.tamper = only("mail.notgood.test.", typeA, func(m *dns.Msg) {
				set := without(m.Answer, dns.TypeRRSIG)
				m.Answer = signedBy(w, good.zsk, "good.test.", set)
			})
		}),
		bad("a signature by a sister zone", mail, typeA, "there is no signature", func(w *world) {
			w.tamper = only(mail, typeA, func(m *dns.Msg) {
				m.Answer = signedBy(w, w.zones[must("nsec3.test.")].zsk, "nsec3.test.", forged(w))
			})
		}),
		bad("a parent's record signed by the child", "good.test.", dns.TypeDS, "there is no signature", func(w *world) {
			w.tamper = only("good.test.", dns.TypeDS, func(m *dns.Msg) {
				m.Answer = signedBy(w, w.zones[must("good.test.")].zsk, "good.test.", []dns.RR{intruder(w).ToDS(2)})
			})
		}),
		bad("a signature by a name that is no zone", "a._smimecert.good.test.", typeSMIMEA, "signs as a zone, and is proven to be none", func(w *world) {
			w.tamper = only("a._smimecert.good.test.", typeSMIMEA, func(m *dns.Msg) {
				m.Answer = signedBy(w, intruder(w), "_smimecert.good.test.", without(m.Answer, dns.TypeRRSIG))
			})
		}),
		bad("a changed record", mail, typeA, "does not verify", func(w *world) {
			w.tamper = only(mail, typeA, func(m *dns.Msg) { m.Answer = append(m.Answer, forged(w)...) })
		}),
		bad("a record left out", mail, typeA, "does not verify", func(w *world) {
			w.tamper = only(mail, typeA, func(m *dns.Msg) { m.Answer = m.Answer[1:] })
		}),
		bad("more labels signed than there are", mail, typeA, "counts 7 labels", func(w *world) {
			w.tamper = only(mail, typeA, func(m *dns.Msg) { m.Answer[2].(*dns.RRSIG).Labels = 7 })
		}),
		bad("labels of a wildcard above the zone", mail, typeA, "counts 1 labels", func(w *world) {
			w.tamper = only(mail, typeA, func(m *dns.Msg) { m.Answer[2].(*dns.RRSIG).Labels = 1 })
		}),
		bad("a signature by a zone below", mail, typeA, "there is no signature", changing(mail, typeA, func(w *world, m *dns.Msg) {
			m.Answer = signedBy(w, w.zones[must("child.good.test.")].zsk, "child.good.test.", forged(w))
		})),
		// RFC 4035, Section 5.3.1, wants a signature by the zone that has the
		// record. Nobody looks, as this would take a DS question for each label in
		// between, and the zone above can make the zone's keys its own anyway.
		// RFC 4035, Section 5.3.1: the signer is the zone that has the record. The
		// judges go by the signer's name alone.
		bad("a signature by the zone above the zone", "www.child.good.test.", typeA, "another zone begins below it", changing("www.child.good.test.", typeA, func(w *world, m *dns.Msg) {
			m.Answer = signedBy(w, w.zones[must("good.test.")].zsk, "good.test.", m.Answer[:1])
		})).differs("unbound", Secure).differs("delv", Secure),
		// RFC 4035, Section 5.3.1: by the zone that has the record.
		bad("a DS signed by the zone above the zone above", mail, typeA, "", changing("good.test.", dns.TypeDS, func(w *world, m *dns.Msg) {
			m.Answer = signedBy(w, w.zones[root].zsk, ".", m.Answer[:1])
		})).differs("delv", Secure),
		bad("a DS signed by its own zone", mail, typeA, "", changing("good.test.", dns.TypeDS, func(w *world, m *dns.Msg) {
			m.Answer = signedBy(w, w.zones[must("good.test.")].ksk, "good.test.", m.Answer[:1])
		})),
		bad("a DS denied by its own zone, and the rest stripped", mail, typeA, "", func(w *world) {
			w.tamper = stripped(mail, only("good.test.", dns.TypeDS, func(m *dns.Msg) {
				good := w.zones[must("good.test.")]
				r := parseRR(w.t, "good.test. 300 IN NSEC a.good.test. NS RRSIG NSEC")
				m.Answer, m.Ns = nil, w.signed(good, []dns.RR{r})
			}))
		}),
		// As above.
		bad("a name denied by the zone above the zone", "www.child.good.test.", typeA, "another zone begins below it", changing("www.child.good.test.", typeA, func(w *world, m *dns.Msg) {
			r := parseRR(w.t, "child.good.test. 300 IN NSEC mail.good.test. A RRSIG NSEC")
			m.Answer, m.Ns, m.Rcode = nil, w.signed(w.zones[must("good.test.")], []dns.RR{r}), dns.RcodeNameError
			m.Ns = append(m.Ns, w.nsecOf("good.test.", "good.test.")...)
		})).differs("unbound", Secure).differs("delv", Secure),
		bad("the right key, and the name of another zone", mail, typeA, "", changing(mail, typeA, func(w *world, m *dns.Msg) {
			signatureIn(m.Answer).SignerName = "test."
		})),
		bad("the signature of another type", mail, typeA, "there is no signature", changing(mail, typeA, func(w *world, m *dns.Msg) {
			other := w.signed(w.zones[must("good.test.")], []dns.RR{parseRR(w.t, mail+" 3600 IN TXT x")})
			m.Answer = append(without(m.Answer, dns.TypeRRSIG), other[1])
		})),
		bad("the signature of another name", mail, typeA, "does not verify", changing(mail, typeA, func(w *world, m *dns.Msg) {
			instead(w, `dotin\.label.good.test.`, typeA)(m)
			m.Answer = append(forged(w), expand(m.Answer[1:], must(mail))...)
		})),
		bad("a DS that names the intruder's key", mail, typeA, "does not verify", changing("good.test.", dns.TypeDS, func(w *world, m *dns.Msg) {
			m.Answer = append([]dns.RR{dsOf(intruder(w))}, records(m.Answer, dns.TypeRRSIG)...)
		})),
		bad("a DS denied by the NSEC of the child's apex", mail, typeA, "there is no proof that it does not exist", func(w *world) {
			w.tamper = stripped(mail, only("good.test.", dns.TypeDS, instead(w, "good.test.", typeSMIMEA)))
		}),
	}
}

func rule3() []labCase {
	// key changes the zone's key-signing key, and its DS with it.
	key := func(change func(k *dns.DNSKEY)) func(w *world) {
		return func(w *world) {
			zone := w.zones[must("test.")]
			other := &signer{dns.Copy(zone.ksk.DNSKEY).(*dns.DNSKEY), zone.ksk.private}
			change(other.DNSKEY)
			w.tamper = func(q question, m *dns.Msg) {
				switch q {
				case question{must("test."), dns.TypeDS}:
					m.Answer = w.signed(w.zones[root], []dns.RR{dsOf(other)})
				case question{must("test."), dns.TypeDNSKEY}:
					m.Answer = signedBy(w, other, "test.", []dns.RR{other.DNSKEY, zone.zsk.DNSKEY})
				}
			}
		}
	}
	// other changes the key that signs the zone's data.
	other := func(change func(k *dns.DNSKEY)) func(w *world) {
		return func(w *world) {
			zone := w.zones[must("test.")]
			other := &signer{dns.Copy(zone.zsk.DNSKEY).(*dns.DNSKEY), zone.zsk.private}
			change(other.DNSKEY)
			w.tamper = func(q question, m *dns.Msg) {
				switch q {
				case question{must("test."), dns.TypeDNSKEY}:
					m.Answer = w.signed(zone, []dns.RR{zone.ksk.DNSKEY, other.DNSKEY})
				case question{must("mail.test."), typeA}:
					m.Answer = signedBy(w, other, "test.", m.Answer[:1])
				}
			}
		}
	}
	sig := func(change func(sig *dns.RRSIG)) func(w *world) {
		return changing("mail.test.", typeA, func(_ *world, m *dns.Msg) { change(signatureIn(m.Answer)) })
	}
	list := []labCase{
		good("the DS names a key that is not called a secure entry point", "mail.test.", typeA, Data, key(func(k *dns.DNSKEY) { k.Flags = 256 })),
		good("a secure entry point signs the data", "mail.test.", typeA, Data, other(func(k *dns.DNSKEY) { k.Flags = 257 })),
		good("unknown flags", "mail.test.", typeA, Data, other(func(k *dns.DNSKEY) { k.Flags = 256 | 0x8000 })),
		// BIND looks neither at the flag nor at the protocol (RFC 4034, Sections 2.1.1
		// and 2.1.2) of these.
		bad("the DS names no zone key", "mail.test.", typeA, "no key that the DS matches", key(func(k *dns.DNSKEY) { k.Flags = 1 })).differs("delv", Secure),
		bad("the DS names a key of another protocol", "mail.test.", typeA, "no key that the DS matches", key(func(k *dns.DNSKEY) { k.Protocol = 4 })).differs("delv", Secure),
		// RFC 5011, Section 2.1: a revoked key is for nothing but its own revocation.
		// Unbound keeps to that for its anchors alone.
		bad("the DS names a revoked key", "mail.test.", typeA, "no key that the DS matches", key(func(k *dns.DNSKEY) { k.Flags = 257 | 128 })).differs("unbound", Secure),
		bad("no zone key signs the data", "mail.test.", typeA, "which the zone has not", other(func(k *dns.DNSKEY) { k.Flags = 0 })),
		// As above.
		bad("a key of another protocol signs the data", "mail.test.", typeA, "which the zone has not", other(func(k *dns.DNSKEY) { k.Protocol = 255 })).differs("delv", Secure),
		// As above.
		bad("a revoked key signs the data", "mail.test.", typeA, "which the zone has not", other(func(k *dns.DNSKEY) { k.Flags = 256 | 128 })).differs("unbound", Secure),
		bad("a signature of another tag", "mail.test.", typeA, "which the zone has not", sig(func(sig *dns.RRSIG) { sig.KeyTag++ })),
		bad("a signature of another algorithm", "mail.test.", typeA, "which the zone has not", sig(func(sig *dns.RRSIG) { sig.Algorithm = 15 })),
		bad("a signature with the tag of the key-signing key", "mail.test.", typeA, "does not verify", func(w *world) {
			sig(func(sig *dns.RRSIG) { sig.KeyTag = w.zones[must("test.")].ksk.KeyTag() })(w)
		}),
		bad("a key that is no point of the curve", "mail.test.", typeA, "does not verify", func(w *world) {
			zone := w.zones[must("test.")]
			broken := dns.Copy(zone.zsk.DNSKEY).(*dns.DNSKEY)
			broken.PublicKey = strings.Repeat("qqqq", 21) + "qg=="
			w.tamper = func(q question, m *dns.Msg) {
				switch q {
				case question{must("test."), dns.TypeDNSKEY}:
					m.Answer = w.signed(zone, []dns.RR{zone.ksk.DNSKEY, broken})
				case question{must("mail.test."), typeA}:
					signatureIn(m.Answer).KeyTag = broken.KeyTag()
				}
			}
		}),
	}
	for i := range list {
		list[i] = list[i].in(mailIn())
	}
	return list
}

func rule4() []labCase {
	const day = 24 * time.Hour
	data := func(c labCase, from, to time.Duration) labCase { return c.in(mailIn(valid(from, to))) }
	// set makes one answer of a sound world, signed for another time.
	set := func(n string, qtype uint16, from, to time.Duration) func(w *world) {
		return func(w *world) {
			w.tamper = only(n, qtype, func(m *dns.Msg) {
				q := question{must(n), qtype}
				zone := w.zoneFor(topOf(q))
				old := [2]time.Duration{zone.from, zone.to}
				zone.from, zone.to = from, to
				again := w.answerUntouched(q).Copy()
				zone.from, zone.to = old[0], old[1]
				m.Answer, m.Ns = again.Answer, again.Ns
			})
		}
	}
	const mail = "mail.good.test."
	return []labCase{
		data(good("valid", "mail.test.", typeA, Data, nil), -day, day),
		// RFC 4033, Section 6: our own clock may be wrong. BIND allows for nothing,
		// rule 4 for five minutes.
		data(good("expired four minutes ago", "mail.test.", typeA, Data, nil), -day, -4*time.Minute).differs("delv", Bogus),
		data(good("valid in four minutes", "mail.test.", typeA, Data, nil), 4*time.Minute, day).differs("delv", Bogus),
		data(bad("expired six minutes ago", "mail.test.", typeA, "the signature expired at", nil), -day, -6*time.Minute),
		data(bad("expired a year ago", "mail.test.", typeA, "the signature expired at", nil), -400*day, -365*day),
		data(bad("valid in six minutes", "mail.test.", typeA, "the signature is not valid before", nil), 6*time.Minute, day),
		data(bad("valid next year", "mail.test.", typeA, "the signature is not valid before", nil), 365*day, 400*day),
		data(bad("beyond 68 years, which is the past", "mail.test.", typeA, "the signature expired", nil), -day, 69*366*day),
		data(bad("ends before it begins", "mail.test.", typeA, "the signature expired", nil), day, -day),
		bad("the answer alone expired", mail, typeA, "the signature expired", set(mail, typeA, -2*day, -day)),
		bad("the keys expired", mail, typeA, "the signature expired", set("good.test.", dns.TypeDNSKEY, -2*day, -day)),
		bad("the keys of the root expired", mail, typeA, "the signature expired", set(".", dns.TypeDNSKEY, -2*day, -day)),
		bad("the DS expired", mail, typeA, "the signature expired", set("good.test.", dns.TypeDS, -2*day, -day)),
		bad("the DS is not valid yet", mail, typeA, "not valid before", set("good.test.", dns.TypeDS, day, 2*day)),
		bad("the denial of a name expired", "none.good.test.", typeA, "the signature expired", set("none.good.test.", typeA, -2*day, -day)),
		bad("NSEC3: the denial of a name expired", "none.nsec3.test.", typeA, "the signature expired", set("none.nsec3.test.", typeA, -2*day, -day)),
		bad("the denial of a DS expired", "mail.unsigned.test.", typeA, "the signature expired", set("unsigned.test.", dns.TypeDS, -2*day, -day)),
		bad("a changed end", mail, typeA, "does not verify", changing(mail, typeA, func(_ *world, m *dns.Msg) { signatureIn(m.Answer).Expiration += 3600 })),
		bad("a changed beginning", mail, typeA, "does not verify", changing(mail, typeA, func(_ *world, m *dns.Msg) { signatureIn(m.Answer).Inception -= 3600 })),
	}
}

func rule5() []labCase {
	const mail = "mail.good.test."
	// beside puts changed signatures before the good one.
	beside := func(n int, change func(i int, sig *dns.RRSIG)) func(w *world) {
		return changing(mail, typeA, func(_ *world, m *dns.Msg) {
			for i := range n {
				other := dns.Copy(m.Answer[2]).(*dns.RRSIG)
				change(i, other)
				m.Answer = slices.Insert(m.Answer, 2, dns.RR(other))
			}
		})
	}
	broken := func(i int, sig *dns.RRSIG) { sig.Inception -= uint32(1 + i) }
	return []labCase{
		// RFC 4035, Section 5.3.3: one signature that holds is enough. BIND gives up
		// at the first failure (its answer to KeyTrap).
		good("an expired signature beside the good one", mail, typeA, Data, beside(1, func(_ int, sig *dns.RRSIG) { sig.Expiration = sig.Inception })).differs("delv", Bogus),
		good("a signature of an unknown algorithm beside the good one", mail, typeA, Data, beside(1, func(_ int, sig *dns.RRSIG) { sig.Algorithm = 200 })),
		// As above.
		good("a broken signature beside the good one", mail, typeA, Data, beside(1, broken)).differs("delv", Bogus),
		// As above.
		good("five broken signatures beside the good one", mail, typeA, Data, beside(5, broken)).differs("delv", Bogus),
		good("forty signatures of unknown keys beside the good one", mail, typeA, Data, beside(40, func(i int, sig *dns.RRSIG) { sig.KeyTag += uint16(1 + i) })),
		good("a signature of another zone behind the good one", mail, typeA, Data, changing(mail, typeA, func(_ *world, m *dns.Msg) {
			other := dns.Copy(m.Answer[2]).(*dns.RRSIG)
			other.SignerName = "nsec3.test."
			m.Answer = append(m.Answer, other)
		})),
		// As above.
		good("a signature without a signature beside the good one", mail, typeA, Data, beside(1, func(_ int, sig *dns.RRSIG) { sig.Signature = "AA==" })).differs("delv", Bogus),
		// As above.
		good("two keys of one tag", mail, typeA, Data, func(w *world) { w.decoys("good.test.", 1) }).differs("delv", Bogus),
		// As above.
		good("three keys of one tag", mail, typeA, Data, func(w *world) { w.decoys("good.test.", 2) }).differs("delv", Bogus),
		// The KeyTrap of 2024: many keys of one tag, and many signatures that fit none.
		bad("many keys of one tag, and many broken signatures", mail, typeA, "too many signatures", func(w *world) {
			w.decoys("good.test.", 60)
			keys := w.tamper
			answer := only(mail, typeA, func(m *dns.Msg) {
				for i := range 60 {
					sig := dns.Copy(m.Answer[2]).(*dns.RRSIG)
					broken(i, sig)
					m.Answer = append(m.Answer, sig)
				}
				m.Answer = slices.Delete(m.Answer, 2, 3)
			})
			w.tamper = func(q question, m *dns.Msg) { keys(q, m); answer(q, m) }
		}),
		bad("many broken signatures, and a good one behind them", mail, typeA, "too many signatures", beside(60, broken)),
		bad("many broken signatures alone", mail, typeA, "too many signatures", func(w *world) {
			beside(40, broken)(w)
			many := w.tamper
			w.tamper = func(q question, m *dns.Msg) {
				many(q, m)
				if q == (question{must(mail), typeA}) {
					m.Answer = m.Answer[:len(m.Answer)-1]
				}
			}
		}),
		bad("broken signatures alone", mail, typeA, "does not verify", changing(mail, typeA, func(_ *world, m *dns.Msg) {
			other := dns.Copy(m.Answer[2]).(*dns.RRSIG)
			broken(0, other)
			broken(1, m.Answer[2].(*dns.RRSIG))
			m.Answer = append(m.Answer, other)
		})),
		bad("signatures of unknown keys alone", mail, typeA, "which the zone has not", changing(mail, typeA, func(_ *world, m *dns.Msg) {
			other := dns.Copy(m.Answer[2]).(*dns.RRSIG)
			other.KeyTag += 2
			m.Answer[2].(*dns.RRSIG).KeyTag++
			m.Answer = append(m.Answer, other)
		})),
		bad("many signatures of the keys, none good", mail, typeA, "", changing("good.test.", dns.TypeDNSKEY, func(_ *world, m *dns.Msg) {
			sig := m.Answer[2].(*dns.RRSIG)
			for i := range 30 {
				other := dns.Copy(sig).(*dns.RRSIG)
				broken(i+1, other)
				m.Answer = append(m.Answer, other)
			}
			broken(0, sig)
		})),
		bad("many DS of one tag, none of a key", mail, typeA, "no key that the DS matches", changing("good.test.", dns.TypeDS, func(w *world, m *dns.Msg) {
			var set []dns.RR
			for i := range 30 {
				ds := w.zones[must("good.test.")].ds()
				ds.Digest = strings.Repeat(string("0123456789abcdef"[i%16])+string("0123456789abcdef"[i/16]), 32)
				set = append(set, ds)
			}
			m.Answer = w.signed(w.zones[must("test.")], set)
		})),
	}
}

// decoys puts keys into a zone that have the tag of the one that signs it.
func (w *world) decoys(zone string, n int) {
	a := w.zones[must(zone)]
	all := keysOfOneTag(a.zsk.DNSKEY)
	w.tamper = only(zone, dns.TypeDNSKEY, func(m *dns.Msg) {
		m.Answer = w.signed(a, append(without(m.Answer, dns.TypeRRSIG), all[:n]...))
	})
}
