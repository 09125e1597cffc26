package main

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"smimea.example/keystore"
	"smimea.example/smimea"
)

const (
	maxRecords   = 20       // what the gateway reads of one name
	maxPublished = 60 << 10 // octets of RDATA; an answer has at most 64 KB (RFC 1035, Section 4.2.2)
)

// maxTTL is a week: who has to withdraw a certificate waits as long as that.
const maxTTL = 7 * 24 * 60 * 60

// A publication is what the publish command was asked for.
type publication struct {
	address smimea.Address
	owner   string
	generic bool // RFC 3597 syntax, for servers that do not know the type
	ttl     uint32
	force   bool
	now     time.Time
}

func newPublish() *cobra.Command {
	var format string
	p := publication{now: time.Now()}
	cmd := &cobra.Command{
		Use:   "publish ADDRESS CERT…",
		Short: "Make the DNS record that publishes a certificate",
		Long: `Prints an SMIMEA record (RFC 8162) for every certificate in the files, ready to
paste into the zone of the address, and says on standard error what to check.
Nothing is changed in the DNS.

The local part of the address is taken as it stands: senders who write it in
other letters ask for another name. The record holds the whole certificate
(3 0 0), because a sender who has never met the recipient has no other.

Refused are a file with a private key, a certificate that has expired, and one
that cannot encrypt. --force is for a certificate that is not valid yet (the
next one, published ahead) and for that of a CA (self-made ones often are).`,
		Example: `  smimea publish alice@example.org alice.pem >>example.org.zone
  smimea publish --format generic alice@example.org alice.pem`,
		Args: cobra.MinimumNArgs(2),
		RunE: does(func(cmd *cobra.Command, args []string) error {
			if err := p.check(args[0], format); err != nil {
				return err
			}
			return p.run(cmd.OutOrStdout(), cmd.ErrOrStderr(), args[1:])
		}),
	}
	cmd.Flags().StringVar(&format, "format", "zone", "`FORMAT` of the record: zone, or generic for TYPE53 (RFC 3597)")
	cmd.Flags().Uint32Var(&p.ttl, "ttl", 3600, "`SECONDS` that others may remember the record")
	cmd.Flags().BoolVar(&p.force, "force", false, "publish a certificate that is not valid yet, or that of a CA")
	return cmd
}

func (p *publication) check(address, format string) (err error) {
	if p.address, p.owner, err = parseAddress(address); err != nil {
		return err
	}
	switch format {
	case "zone", "generic":
		p.generic = format == "generic"
	default:
		return wrongUsage("no such format: %q", format).hint("--format is zone or generic")
	}
	if p.ttl > maxTTL {
		return wrongUsage("a TTL of %d seconds is too long", p.ttl).
			hint("a week, %d, is the most: that long a withdrawn certificate stays in use", maxTTL)
	}
	return nil
}

// run prints all the records, or none.
func (p *publication) run(out, remarks io.Writer, files []string) error {
	certs, err := p.collect(files)
	if err != nil {
		return err
	}
	var zone strings.Builder
	var checks sheet
	checks.title("%s", p.address)
	checks.row("owner name", "%s", p.owner)
	for _, der := range certs {
		fmt.Fprintln(&zone, p.line(der))
		checks.title("Certificate")
		describe(&checks, der)
		p.doubt(&checks, der)
	}
	p.advise(&checks)
	if err := checks.print(remarks); err != nil {
		return err
	}
	_, err = io.WriteString(out, zone.String())
	return err
}

// line is the record as it goes into a zone file.
func (p *publication) line(der []byte) string {
	record := smimea.Record{Usage: 3, Selector: 0, Matching: 0, Data: der}
	if p.generic {
		return record.GenericLine(p.owner, p.ttl)
	}
	return record.ZoneLine(p.owner, p.ttl)
}

// collect reads the certificates, each once, and refuses all of them for the
// fault of one.
func (p *publication) collect(files []string) ([][]byte, error) {
	var all [][]byte
	for _, file := range files {
		certs, err := readCertificates(file)
		if errors.Is(err, keystore.ErrPrivateKey) {
			return nil, failure("%w", err).
				hint(`"openssl x509 -in %s -out FILE" takes the certificate out`, file)
		}
		if err != nil {
			return nil, err
		}
		for _, der := range certs {
			if slices.ContainsFunc(all, func(have []byte) bool { return bytes.Equal(have, der) }) {
				continue
			}
			if err := p.object(file, der); err != nil {
				return nil, err
			}
			all = append(all, der)
		}
	}
	return all, tooMuch(all)
}

// tooMuch says why the certificates cannot all be one mailbox's.
func tooMuch(certs [][]byte) error {
	if len(certs) > maxRecords {
		return failure("%d certificates are too many for one address", len(certs)).
			hint("senders read at most %d records", maxRecords)
	}
	size := 0
	for _, der := range certs {
		size += len(der) + 3 // usage, selector, matching
	}
	if size > maxPublished {
		return failure("the certificates have %d bytes together, too many for one answer of the DNS", size)
	}
	return nil
}

// object says why a certificate must not be published.
func (p *publication) object(file string, der []byte) error {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return failure("%s: the certificate cannot be read: %w", file, err)
	}
	if p.now.After(cert.NotAfter) {
		// RFC 8162, Section 9: nobody may use it, so there is no forcing it.
		return failure("%s: the certificate has expired on %s", file, cert.NotAfter.UTC().Format(day)).
			hint("publish its successor")
	}
	if _, _, err := keystore.Usable(p.address.String(), der, p.usedFrom(cert)); err != nil {
		return failure("%s: nobody could encrypt to the certificate: %w", file, err)
	}
	return p.objectUnlessForced(file, cert)
}

// objectUnlessForced has the doubts that may be wrong.
func (p *publication) objectUnlessForced(file string, cert *x509.Certificate) error {
	switch {
	case p.force:
		return nil
	case p.now.Before(cert.NotBefore):
		return failure("%s: the certificate is not valid before %s", file, cert.NotBefore.UTC().Format(day)).
			hint("--force publishes it ahead of time, beside the present one")
	case cert.BasicConstraintsValid && cert.IsCA:
		return failure("%s: the certificate is that of a CA, not of a mailbox", file).
			hint("--force publishes it all the same: certificates that \"openssl req -x509\" makes look like this")
	}
	return nil
}

// doubt warns of what does not stand in the way.
func (p *publication) doubt(s *sheet, der []byte) {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return // Not here: object has refused it.
	}
	s.row("left", "%s; publish the next one in time", remaining(cert.NotAfter, p.now))
	if p.now.Before(cert.NotBefore) {
		s.row("warning", "not valid yet: senders ignore it until %s", cert.NotBefore.UTC().Format(day))
	}
	_, warnings, _ := keystore.Usable(p.address.String(), der, p.usedFrom(cert))
	for _, w := range warnings {
		s.row("warning", "%s", w)
	}
}

// usedFrom is when senders begin to use the certificate.
func (p *publication) usedFrom(cert *x509.Certificate) time.Time {
	if p.now.Before(cert.NotBefore) {
		return cert.NotBefore
	}
	return p.now
}

// advise says what only a person can check, and how to see that it worked.
func (p *publication) advise(s *sheet) {
	s.title("Check before you publish")
	if p.address.Local != strings.ToLower(p.address.Local) {
		s.row("spelling", "capital letters count: senders who write the address without them find nothing")
	}
	s.row("owner", "does the SHA-256 match what the owner of the mailbox reads to you?")
	s.row("zone", "it must be signed (DNSSEC): senders ignore the record otherwise")
	s.row("afterwards", "smimea lookup %s", p.address)
}
