package main

import (
	"cmp"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"

	"smimea.example/internal/config"
	"smimea.example/internal/gateway"
	"smimea.example/keystore"
)

// soon is how early a CRL that ends is told of.
const soon = 48 * time.Hour

// keys says what the table [keys] holds.
func (r *report) keys(set config.Keys, found config.Certificates, now time.Time) {
	if found.Pinned != nil {
		r.ok("pinned: %s in %s", count(len(found.Pinned.List()), "certificate"), set.Pinned)
		r.certificates("pinned", found.Pinned.List(), now)
	}
	if found.Candidates != nil {
		r.ok("candidates: %s in %s", count(len(found.Candidates.List()), "certificate"), set.Candidates)
		r.certificates("candidates", found.Candidates.List(), now)
	}
	r.authorities("roots", set.Roots, found.Roots, now)
	r.authorities("intermediates", set.Intermediates, found.Intermediates, now)
	switch {
	case found.CRLs != nil:
		for _, fault := range found.CRLs.Faults() {
			r.fail("crls: %v", fault)
		}
		r.crls(set.CRLs, found.CRLs.List(), now)
		r.uncovered(found.CRLs, slices.Concat(found.Roots, found.Intermediates), now)
	case found.Roots != nil:
		r.warn("crls: there are none, so that nobody sees that a certificate is revoked (set keys.crls to a directory that is kept fresh)")
	}
}

// certificates warns of those that cannot be used today.
func (r *report) certificates(what string, all []keystore.Pinned, now time.Time) {
	const most = 10
	n := 0
	for _, p := range all {
		_, _, err := keystore.Usable("", p.DER, now)
		if err == nil {
			continue
		}
		if n++; n <= most {
			r.warn("%s: %s cannot be used: %v", what, p.File, err)
		}
	}
	if n > most {
		r.warn("%s: and %d more cannot be used", what, n-most)
	}
}

// archives warns of certificates that a reader of the archive may have no key for any
// more. Mail goes on being encrypted to them: no partner's mail is to wait for that.
func (r *report) archives(rules []gateway.Rule, now time.Time) {
	for i, rule := range rules {
		cert := rule.Archive.Certificate()
		if cert == nil {
			continue
		}
		if _, _, err := keystore.Usable("", cert.Raw, now); err != nil {
			r.warn("rule %d: archive: %v; envelopes are for it all the same (take a new one while its key is there)", i+1, err)
		} else {
			r.ok("rule %d: archive: %s, until %s", i+1, cert.Subject, cert.NotAfter.UTC().Format(time.DateOnly))
		}
	}
}

// uncovered warns of CAs that no CRL is by, where there are CRLs of others.
func (r *report) uncovered(crls *keystore.CRLs, cas []*x509.Certificate, now time.Time) {
	const most = 3
	var names []string
	if len(crls.List()) == 0 {
		return
	}
	for _, ca := range cas {
		if !crls.Covers(ca) && !now.After(ca.NotAfter) {
			names = append(names, name(cmp.Or(ca.Subject.CommonName, ca.Subject.String())))
		}
	}
	if n := len(names); n > most {
		names = append(names[:most], fmt.Sprintf("and %d more", n-most))
	}
	if len(names) > 0 {
		r.warn("crls: none is by %s: what these revoke is not seen", strings.Join(names, ", "))
	}
}

// authorities warns of CAs that lead nowhere any more.
func (r *report) authorities(what, file string, cas []*x509.Certificate, now time.Time) {
	if cas == nil {
		return
	}
	r.ok("%s: %s in %s", what, count(len(cas), "CA"), file)
	for _, ca := range cas {
		switch {
		case now.After(ca.NotAfter):
			r.warn("%s: %s has expired on %s (remove it from %s, or get a newer one)", what, name(ca.Subject.String()), day(ca.NotAfter), file)
		case now.Before(ca.NotBefore):
			r.warn("%s: %s is not valid before %s (look at the clock)", what, name(ca.Subject.String()), day(ca.NotBefore))
		}
	}
}

// crls warns of those that say nothing any more, or soon will not.
func (r *report) crls(dir string, all []keystore.CRL, now time.Time) {
	revoked := 0
	for _, crl := range all {
		if !crl.Outdone {
			revoked += crl.Revoked
		}
	}
	if len(all) == 0 {
		r.warn("crls: there is none in %s (put files there that end in .crl, .pem or .der)", dir)
		return
	}
	r.ok("crls: %s in %s, with %s", count(len(all), "CRL"), dir, count(revoked, "entry"))
	for _, crl := range all {
		err := crl.Err(now)
		switch {
		case crl.Outdone:
			r.ok("crls: %s: there is a newer one, this one can be removed", crl.File)
		case err != nil:
			r.warn("crls: mail to holders of certificates of %s is deferred: %v", name(crl.Issuer), err)
		case crl.NextUpdate.Sub(now) < soon:
			r.warn("crls: %s, of %s, ends on %s (see that a newer one comes)", crl.File, name(crl.Issuer), crl.NextUpdate.UTC().Format("2006-01-02 15:04 MST"))
		}
	}
}

// name quotes a CA's name, which somebody else has written.
func name(s string) string { return fmt.Sprintf("%.200q", s) }

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }

func count(n int, what string) string {
	switch {
	case n == 1:
		return "1 " + what
	case what == "entry":
		return fmt.Sprint(n, " entries")
	}
	return fmt.Sprint(n, " ", what, "s")
}
