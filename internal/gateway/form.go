package gateway

import (
	"slices"

	"smimea.example/internal/cms"
)

// What a recipient can open hangs on his certificate and on who else is in the
// envelope. This file decides both; it is pure.

// A form is what the envelope for an address has to be like.
type form struct {
	kind   cms.Kind
	cipher cms.Cipher
	mixed  bool // the rule lets RSA and EC share an envelope

	archive cms.Recipient // that it is for as well; zero if there is none
}

func (f form) archived() bool { return f.archive.Certificate() != nil }

// pick chooses, of an address's usable certificates, newest first, those that
// his envelope is for: all of the first of the kinds for which there is any, and
// at most five. A mailbox gets one object, whatever it has keys for. Of two that
// a reader cannot tell apart the newer one counts, and none that would lock the
// archive out.
func pick(certs []cms.Recipient, rule Rule) ([]cms.Recipient, form) {
	certs = slices.DeleteFunc(slices.Clone(certs), rule.Archive.Clashes)
	for _, kind := range rule.kinds() {
		if own := ofKind(certs, kind); len(own) > 0 {
			return own, form{kind, ChooseCipher(own, rule.Cipher), rule.Mixed, rule.Archive}
		}
	}
	return nil, form{}
}

// ofKind returns the first certificates of a kind.
func ofKind(certs []cms.Recipient, kind cms.Kind) []cms.Recipient {
	var found []cms.Recipient
	for _, c := range certs {
		if c.Kind() == kind && len(found) < maxCerts && !slices.ContainsFunc(found, c.Clashes) {
			found = append(found, c)
		}
	}
	return found
}

// ChooseCipher chooses a cipher for an envelope to certificates, the most
// important first: the one that the first certificate likes best and all the
// others can do (RFC 4262; RFC 8551, Section 2.7.1.1). Of a certificate that
// says nothing it is known what the settings say of its domain, and that its
// owner reads what everybody reads. Where they have nothing in common it is the
// cipher that every reader opens.
func ChooseCipher(certs []cms.Recipient, otherwise cms.Cipher) cms.Cipher {
	var common []cms.Cipher
	for i, r := range certs {
		able := r.Ciphers()
		if len(able) == 0 {
			able = []cms.Cipher{otherwise, cms.AES256CBC, cms.AES128CBC}
		}
		if i == 0 {
			common = able
			continue
		}
		common = slices.DeleteFunc(common, func(c cms.Cipher) bool { return !slices.Contains(able, c) })
	}
	if len(common) == 0 {
		return cms.AES256CBC
	}
	return common[0]
}

// shares says whether envelopes of two forms may be one. Whoever has an RSA key
// and a program of before 2024 (NSS 3.87) opens none that is for another kind of
// key too, and with ML-KEM in it none opens to later ones either (NSS 3.124). What
// X25519 does to all the others, nobody knows yet. RSA-OAEP does no harm beside
// PKCS #1 v1.5. The table of what opens what is in the tests of cms.
func (f form) shares(g form) bool {
	switch {
	case f.cipher != g.cipher, f.alone(), g.alone():
		return false
	case f.kind == g.kind:
		return true
	}
	return f.mixed && g.mixed
}

func (f form) alone() bool { return f.kind != cms.RSA && f.kind != cms.EC }

// share puts recipients into groups, so that each can open the envelope of his
// group. Each goes to the first group that has room for him.
func share(recipients []recipient) []Group {
	var groups []Group
next:
	for _, r := range recipients {
		for i, g := range groups {
			if g.admits(r) {
				groups[i] = append(g, r)
				continue next
			}
		}
		groups = append(groups, Group{r})
	}
	return groups
}

// admits says whether one more may share the envelope: everybody can open it with
// him in it, or it is for his certificates anyhow.
func (g Group) admits(r recipient) bool {
	more := slices.DeleteFunc(slices.Clone(r.certs), g.has)
	switch {
	case r.form.archive.Fingerprint() != g[0].form.archive.Fingerprint():
		return false
	case len(more) == 0:
		return r.form.cipher == g.cipher()
	case size(g)+len(more) > maxEnvelope:
		return false
	}
	for _, other := range g {
		if !other.form.shares(r.form) || other.clashes(more) {
			return false
		}
	}
	return true
}

func (g Group) has(c cms.Recipient) bool {
	return slices.ContainsFunc(g, func(r recipient) bool {
		return slices.ContainsFunc(r.certs, func(have cms.Recipient) bool { return have.Fingerprint() == c.Fingerprint() })
	})
}

// clashes: whoever publishes a certificate with the issuer and serial number of
// another's would keep him from reading.
func (r recipient) clashes(certs []cms.Recipient) bool {
	return slices.ContainsFunc(certs, func(c cms.Recipient) bool { return slices.ContainsFunc(r.certs, c.Clashes) })
}
