package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"smimea.example/internal/config"
	"smimea.example/internal/gateway"
	"smimea.example/keystore"
	"smimea.example/smimea"
)

func newExplain() *cobra.Command {
	var dns resolverFlags
	var settings, from string
	var bcc []string
	cmd := &cobra.Command{
		Use:   "explain RECIPIENT…",
		Short: "Say what the gateway would do with a mail, and why",
		Long: `Walks the way of a mail to each recipient as far as the answer that its sender
would get: the rule that counts, what was found in the key store and the DNS,
the reply. It is the gateway's own code that does so. Nothing is sent. Several
recipients are those of one mail, in To and Cc; those of --bcc are in neither.

With --config the settings of a gateway are used. Without it there is one rule,
"require" for everybody, and nothing is pinned.

Exit codes: 0 the gateway would take the mail for all recipients; 3 it would
refuse at least one; 4 it would tell the sender to try again.`,
		Example: `  smimea explain alice@example.org
  smimea explain --config /etc/smimea/smimea.toml alice@example.org
  smimea explain --from bob@example.org --bcc carol@example.net alice@example.com`,
		Args: cobra.MinimumNArgs(1),
		RunE: does(func(cmd *cobra.Command, args []string) error {
			gw, done, err := gatewayFor(settings, &dns)
			if err != nil {
				return err
			}
			defer done()
			return explainer{gw, from, cmd.OutOrStdout(), dns.json}.all(cmd.Context(), args, bcc)
		}),
	}
	dns.register(cmd)
	cmd.Flags().StringVar(&settings, "config", "", "settings `FILE` of the gateway")
	cmd.Flags().StringVar(&from, "from", "", "`SENDER` of the mail (default: the null sender)")
	cmd.Flags().StringArrayVar(&bcc, "bcc", nil, "`RECIPIENT` in neither To nor Cc; repeatable")
	for _, name := range []string{"server", "trust-anchor", "at"} {
		cmd.MarkFlagsMutuallyExclusive("config", name) // The settings say whom to ask.
	}
	return cmd
}

// gatewayFor is the gateway that the settings file makes, or the plain one.
// The function closes it.
func gatewayFor(settings string, dns *resolverFlags) (*gateway.Gateway, func(), error) {
	if settings == "" {
		return plainGateway(dns)
	}
	c, err := config.Load(settings)
	if err != nil {
		return nil, nil, err
	}
	built, err := c.Build()
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", settings, err)
	}
	return built.Gateway, built.Close, nil
}

// plainGateway requires a certificate from the DNS for everybody.
func plainGateway(dns *resolverFlags) (*gateway.Gateway, func(), error) {
	resolver, clock, err := dns.resolver()
	if err != nil {
		return nil, nil, err
	}
	client := smimea.Client{Resolver: resolver, Trust: smimea.Trust{Now: clock()}}
	return &gateway.Gateway{
		Rules: []gateway.Rule{{Recipients: []string{"*"}, Action: gateway.Require}},
		Keys:  keystore.Published{Client: client, Now: clock},
	}, resolver.Close, nil
}

// An explainer explains what becomes of the recipients of one sender's mail.
type explainer struct {
	gateway *gateway.Gateway
	from    string
	out     io.Writer
	asJSON  bool
}

// all explains each recipient, and ends with the highest exit code.
func (x explainer) all(ctx context.Context, to, hidden []string) error {
	worst := 0
	all := x.gateway.ExplainMail(ctx, x.from, to, hidden)
	for i, e := range all {
		worst = max(worst, replyCode(e.Reply))
		if i > 0 && !x.asJSON {
			fmt.Fprintln(x.out)
		}
		if err := x.print(e, len(all) > 1); err != nil {
			return err
		}
	}
	return outcome(worst)
}

func (x explainer) print(e gateway.Explanation, several bool) error {
	if x.asJSON {
		return printJSON(x.out, explainObjectOf(e))
	}
	return explainSheet(e, several).print(x.out)
}

// replyCode is the exit code: see the manual page.
func replyCode(r gateway.Reply) int {
	switch r.Action {
	case gateway.Accept:
		return 0
	case gateway.Refuse:
		return exitNothing
	}
	return exitUnknown
}

// explainSheet is the answer for people. Of a mail to several it says which copy
// the recipient gets.
func explainSheet(e gateway.Explanation, several bool) *sheet {
	s := new(sheet)
	s.title("%s: %s", e.Address, fateWords(e))
	s.row("rule", "%s", ruleText(e))
	if e.Asked {
		s.row("owner name", "%s", e.Owner)
		s.row("key store", "%s", keysText(e.Keys))
	}
	if len(e.Certs) > 0 {
		s.row("envelope", "%s, %s", e.Certs[0].Kind(), e.Cipher)
	}
	if e.Rule.Archive.Certificate() != nil && len(e.Certs) > 0 {
		s.row("archive", "%s", e.Rule.Archive.Certificate().Subject)
	}
	if several && e.Reply.Action == gateway.Accept {
		s.row("copy", "%s", copyText(e.Copy))
	}
	for _, c := range e.Certs {
		s.row("certificate", "%s, valid until %s", c.Certificate().Subject, c.Certificate().NotAfter.UTC().Format(day))
		s.row("sha256", "%s", c.Fingerprint())
	}
	for _, r := range e.Keys.Refused {
		s.row("not used", "%s: %v", r.Subject, r.Why)
		s.row("sha256", "%s", r.Fingerprint)
	}
	for _, w := range e.Keys.Warnings {
		s.row("warning", "%s", w)
	}
	s.row("why", "%s", text(e.Why))
	if e.Mark != (gateway.Mark{}) {
		s.row("mark", "%s; without it the mail is refused", e.Mark)
	}
	s.row("reply", "%s", replyText(e.Reply))
	return s
}

func fateWords(e gateway.Explanation) string {
	switch {
	case e.Reply.Action == gateway.Refuse:
		return "the mail would be refused"
	case e.Reply.Action == gateway.Defer:
		return "the sender would be told to try again later"
	case len(e.Certs) > 0:
		return "the mail would be encrypted"
	case e.Mark != (gateway.Mark{}):
		return "the mail would go in clear, if its sender wants that"
	}
	return "the mail would pass as it is"
}

func copyText(number int) string {
	if number == 0 {
		return "the mail itself"
	}
	return fmt.Sprintf("number %d, handed over", number)
}

func ruleText(e gateway.Explanation) string {
	if e.Number == 0 {
		return "none counts"
	}
	return fmt.Sprintf("%d (%s)", e.Number, e.Rule.Action)
}

func keysText(k keystore.Keys) string {
	if k.Origin == "" {
		return k.Outcome.String()
	}
	return fmt.Sprintf("%s (%s)", k.Outcome, k.Origin)
}

func replyText(r gateway.Reply) string {
	return strings.TrimSpace(fmt.Sprintf("%d %s %s", r.Code, r.Status, r.Text))
}

// An explainObject is the answer for programs. Its keys are an interface.
type explainObject struct {
	Address  string   `json:"address"`
	Rule     string   `json:"rule"`    // the action; empty if no rule counts
	Number   int      `json:"number"`  // of the rule, from 1 on
	Owner    string   `json:"owner"`   // empty if the key store was not asked
	Outcome  string   `json:"outcome"` // of the key store
	Origin   string   `json:"origin"`
	SHA256   []string `json:"sha256"` // of the certificates to encrypt to
	Kind     string   `json:"kind"`   // of their keys; empty without them
	Cipher   string   `json:"cipher"` // what the mail would be encrypted with
	Copy     int      `json:"copy"`   // of a mail to several, which he gets; 0 is the mail itself
	Mark     string   `json:"mark"`   // what the mail must have to go in clear; empty if nothing
	Warnings []string `json:"warnings"`
	Action   string   `json:"action"` // accept, refuse or defer
	Reply    string   `json:"reply"`
	Why      string   `json:"why"`
}

func explainObjectOf(e gateway.Explanation) explainObject {
	o := explainObject{
		Address:  e.Address,
		Rule:     string(e.Rule.Action),
		Number:   e.Number,
		Owner:    e.Owner,
		Origin:   e.Keys.Origin,
		Copy:     e.Copy,
		SHA256:   []string{},
		Warnings: append([]string{}, e.Keys.Warnings...),
		Action:   actionWords[e.Reply.Action],
		Reply:    replyText(e.Reply),
		Why:      text(e.Why),
	}
	if e.Asked {
		o.Outcome = e.Keys.Outcome.String()
	}
	if e.Mark != (gateway.Mark{}) {
		o.Mark = e.Mark.String()
	}
	if len(e.Certs) > 0 {
		o.Kind, o.Cipher = e.Certs[0].Kind().String(), e.Cipher.String()
	}
	for _, c := range e.Certs {
		o.SHA256 = append(o.SHA256, c.Fingerprint())
	}
	return o
}

var actionWords = map[gateway.Action]string{
	gateway.Accept: "accept",
	gateway.Refuse: "refuse",
	gateway.Defer:  "defer",
}
