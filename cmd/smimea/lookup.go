package main

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"smimea.example/internal/cms"
	"smimea.example/keystore"
	"smimea.example/smimea"
	"smimea.example/smimea/dnssec"
)

func newLookup() *cobra.Command {
	var dns resolverFlags
	var trust trustFlags
	var asPEM bool
	cmd := &cobra.Command{
		Use:   "lookup ADDRESS",
		Short: "Show the certificates that a domain publishes for an address",
		Long: `Asks the DNS for the SMIMEA records of an address, checks the proof (DNSSEC),
and says for each record what it is good for, and for each certificate whether a
mail would be encrypted to it today, if nobody has revoked it: "explain --config"
asks the gateway's CRLs too. It asks once, for the address as it stands.

Exit codes: 0 there is a certificate to encrypt to; 3 it is proven that there is
none; 4 that could not be found out.`,
		Example: `  smimea lookup alice@example.org
  smimea lookup --pem alice@example.org >alice.pem`,
		Args: cobra.ExactArgs(1),
		RunE: does(func(cmd *cobra.Command, args []string) error {
			if _, err := smimea.ParseAddress(args[0]); err != nil {
				return wrongUsage("%w", err).hint("an address looks like alice@example.org")
			}
			resolver, clock, err := dns.resolver()
			if err != nil {
				return err
			}
			defer resolver.Close()
			now := clock()
			client := smimea.Client{Resolver: resolver, Trust: smimea.Trust{Now: now}}
			if err := trust.fill(&client); err != nil {
				return err
			}
			answer := judgeResult(client.Lookup(cmd.Context(), args[0]), now)
			if err := answer.print(cmd.OutOrStdout(), cmd.ErrOrStderr(), dns.json, asPEM); err != nil {
				return err
			}
			return outcome(answer.exitCode())
		}),
	}
	dns.register(cmd)
	trust.register(cmd)
	cmd.Flags().BoolVar(&asPEM, "pem", false, "print the certificates that can be used, and nothing else")
	cmd.MarkFlagsMutuallyExclusive("json", "pem")
	return cmd
}

// A found is a result with the last word on each certificate: the DNS says
// whose it is, and the key store whether it may be used today.
type found struct {
	smimea.Result
	records []judgedRecord
	usable  [][]byte // certificates in DER, each once
}

// A judgedRecord is a record with what became of the certificate in it.
type judgedRecord struct {
	smimea.Finding
	cert     []byte // in DER; nil if the record holds none
	warnings []string
}

func judgeResult(r smimea.Result, now time.Time) *found {
	f := &found{Result: r}
	for _, finding := range r.Records {
		f.records = append(f.records, judgeRecord(r.Address, finding, now))
	}
	for _, der := range r.Certificates() {
		if _, _, err := keystore.Usable(r.Address, der, now); err == nil {
			f.usable = append(f.usable, der)
		}
	}
	if r.Outcome == smimea.Found && f.usable == nil {
		f.Outcome = smimea.Unusable
		f.Why = errors.New("the records are proven, but none of their certificates can be used")
		if len(f.records) == 1 {
			f.Why = fmt.Errorf("the record is proven, but its certificate cannot be used: %w", f.records[0].Why)
		}
	}
	return f
}

// judgeRecord takes back the verdict on a record whose certificate cannot be
// used, expired ones above all (RFC 8162, Section 9).
func judgeRecord(address string, finding smimea.Finding, now time.Time) judgedRecord {
	j := judgedRecord{Finding: finding, cert: finding.Record.Certificate()}
	if finding.Verdict != smimea.Usable {
		return j
	}
	_, warnings, err := keystore.Usable(address, j.cert, now)
	if err != nil {
		j.Verdict, j.Why = smimea.Ignored, err
	}
	j.warnings = warnings
	return j
}

// exitCode: see the manual page.
func (f *found) exitCode() int {
	switch f.Outcome {
	case smimea.Found:
		return 0
	case smimea.None, smimea.Unusable:
		return exitNothing
	}
	return exitUnknown
}

func (f *found) print(out, remarks io.Writer, asJSON, asPEM bool) error {
	switch {
	case asJSON:
		return printJSON(out, f.object())
	case asPEM:
		if f.Outcome != smimea.Found {
			remark(remarks, "%s: %s: %v", printable(f.Address), f.Outcome, f.Why)
		}
		return f.printPEM(out)
	}
	return f.sheet().print(out)
}

func (f *found) printPEM(w io.Writer) error {
	for _, der := range f.usable {
		if err := pem.Encode(w, &pem.Block{Type: "CERTIFICATE", Bytes: der}); err != nil {
			return err
		}
	}
	return nil
}

// sheet is the answer for people.
func (f *found) sheet() *sheet {
	s := new(sheet)
	s.title("%s: %s", f.Address, f.headline())
	s.row("owner name", "%s", f.Owner)
	if f.Owner != "" { // Otherwise nobody was asked.
		believed(s, f.Answer)
		s.row("proven by", "%s", chainLine(f.Answer))
	}
	s.row("why", "%s", text(f.Why))
	for _, r := range f.records {
		r.describe(s)
	}
	return s
}

func (f *found) headline() string {
	switch f.Outcome {
	case smimea.Found:
		if len(f.usable) == 1 {
			return "found a certificate to encrypt to"
		}
		return fmt.Sprintf("found %d certificates to encrypt to", len(f.usable))
	case smimea.Unusable:
		return "nothing that is published can be used"
	case smimea.None:
		if f.Status == dnssec.Insecure {
			return "nothing is published that could be proven"
		}
		return "no certificate is published"
	case smimea.Bogus:
		return "the answer is not to be believed"
	}
	return "could not find out"
}

func (r judgedRecord) describe(s *sheet) {
	s.title("Record %d %d %d: %s", r.Record.Usage, r.Record.Selector, r.Record.Matching, r.Verdict)
	s.row("why", "%s", text(r.Why))
	if r.cert == nil {
		s.row("data", "%.64x", r.Record.Data)
		for _, der := range r.Vouched {
			s.row("vouches for", "a certificate that was found elsewhere:")
			describe(s, der)
		}
		return
	}
	describe(s, r.cert)
	for _, w := range r.warnings {
		s.row("warning", "%s", w)
	}
	s.row("encrypt", "%s", yesNo(r.Verdict == smimea.Usable))
}

func yesNo(yes bool) string {
	if yes {
		return "yes"
	}
	return "no"
}

// A lookupObject is the answer for programs. Its keys are an interface.
type lookupObject struct {
	Address string         `json:"address"`
	Owner   string         `json:"owner"`
	Status  string         `json:"status"`
	Outcome string         `json:"outcome"`
	Records []recordObject `json:"records"`
	Why     string         `json:"why"`
}

type recordObject struct {
	Usage    uint8  `json:"usage"`
	Selector uint8  `json:"selector"`
	Matching uint8  `json:"matching"`
	Verdict  string `json:"verdict"`
	Why      string `json:"why"`
	SHA256   string `json:"sha256"`    // of the certificate; empty if the record holds none
	Subject  string `json:"subject"`   // empty if it could not be read
	NotAfter string `json:"not_after"` // RFC 3339; empty if it could not be read
}

func (f *found) object() lookupObject {
	o := lookupObject{
		Address: f.Address,
		Owner:   f.Owner,
		Status:  f.Status.String(),
		Outcome: f.Outcome.String(),
		Records: []recordObject{},
		Why:     text(f.Why),
	}
	for _, r := range f.records {
		o.Records = append(o.Records, r.object())
	}
	return o
}

func (r judgedRecord) object() recordObject {
	o := recordObject{
		Usage:    r.Record.Usage,
		Selector: r.Record.Selector,
		Matching: r.Record.Matching,
		Verdict:  r.Verdict.String(),
		Why:      text(r.Why),
	}
	if r.cert == nil {
		return o
	}
	o.SHA256 = cms.Fingerprint(r.cert)
	if cert, err := x509.ParseCertificate(r.cert); err == nil {
		o.Subject = cert.Subject.String()
		o.NotAfter = cert.NotAfter.UTC().Format(time.RFC3339)
	}
	return o
}

// believed says how far an answer may be believed.
func believed(s *sheet, a dnssec.Answer) {
	s.row("dns", "%s", dnsWords[a.Status])
	if a.Wildcard {
		s.row("wildcard", "the answer speaks for many names, not for this one")
	}
}

// chainLine is the way from the trust anchor to an answer, zone by zone.
func chainLine(a dnssec.Answer) string {
	var names []string
	for _, l := range a.Chain {
		name := l.Name
		if l.Kind != dnssec.Zone {
			name = l.Kind.String() + " " + name
		}
		if l.Status != dnssec.Secure {
			name += " (" + l.Status.String() + ")"
		}
		names = append(names, name)
	}
	return strings.Join(names, " → ")
}

// proof says how far an answer may be believed, and on whose word, link by link.
func proof(s *sheet, a dnssec.Answer) {
	believed(s, a)
	for i, link := range a.Chain {
		label := ""
		if i == 0 {
			label = "proven by"
		}
		s.row(label, "%s", linkText(link))
	}
}

// dnsWords explains the four states of RFC 4035, Section 4.3.
var dnsWords = map[dnssec.Status]string{
	dnssec.Secure:        "secure: proven from the trust anchor to the answer",
	dnssec.Insecure:      "insecure: it is proven that this zone is not signed",
	dnssec.Bogus:         "bogus: the proof is missing, broken or expired",
	dnssec.Indeterminate: "indeterminate: there was no answer that could be checked",
}

func linkText(l dnssec.Link) string {
	text := fmt.Sprintf("%s %s", l.Kind, l.Name)
	if l.Target != "" {
		text += " → " + l.Target
	}
	if text += ": " + l.Status.String(); l.Note != "" {
		text += " (" + l.Note + ")"
	}
	return text
}
