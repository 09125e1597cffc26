package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"smimea.example/smimea/dnssec"
)

func newResolve() *cobra.Command {
	var dns resolverFlags
	var keep, replay string
	cmd := &cobra.Command{
		Use:   "resolve NAME [TYPE]",
		Short: "Show what the DNS says of a name, and whether that is proven",
		Long: `Asks the DNS for the records of a type at a name, validates the answer (DNSSEC),
and says how it is proven or why it is not. Without a type it asks for A.

With "-" as the name, lines with a name and a type are read from standard input
and answered in their order, each as soon as it is there. What is learnt on the
way serves all of them.

With --evidence the messages that prove the verdict, or do not, are kept in a
file. With --replay they are judged again, as of then or of another time, and
nobody is asked: the question is the one in the file, unless a name is given.

For the keys (DNSKEY) of a zone that has trust anchors, the root above all, it
warns when they are not the keys that the anchors name.

Exit codes: 0 the records are proven; 3 it is proven that there are none, or
that the zone is not signed; 4 it could not be found out. With "-", the highest.`,
		Example: `  smimea resolve example.org MX
  printf 'example.org MX\nexample.net MX\n' | smimea resolve --json -
  smimea resolve --evidence example.evidence example.org MX
  smimea resolve --replay example.evidence`,
		Args: func(cmd *cobra.Command, args []string) error {
			if replay != "" {
				return cobra.MaximumNArgs(2)(cmd, args)
			}
			return cobra.RangeArgs(1, 2)(cmd, args)
		},
		RunE: does(func(cmd *cobra.Command, args []string) error {
			switch {
			case replay != "":
				return replayEvidence(cmd, dns, replay, args)
			case keep != "":
				return keepEvidence(cmd, dns, keep, args)
			}
			resolver, clock, err := dns.resolver()
			if err != nil {
				return err
			}
			defer resolver.Close()
			b := batch{resolver: resolver, now: clock, out: cmd.OutOrStdout(), remarks: cmd.ErrOrStderr(), asJSON: dns.json}
			if args[0] == "-" {
				return b.all(cmd.Context(), cmd.InOrStdin())
			}
			code, err := b.one(cmd.Context(), args)
			if err != nil {
				return err
			}
			return outcome(code)
		}),
	}
	dns.register(cmd)
	cmd.Flags().StringVar(&keep, "evidence", "", "keep the messages that the verdict rests on in `FILE`")
	cmd.Flags().StringVar(&replay, "replay", "", "judge the messages in `FILE` again, and ask nobody")
	cmd.MarkFlagsMutuallyExclusive("evidence", "replay")
	cmd.MarkFlagsMutuallyExclusive("server", "replay")
	return cmd
}

// A batch answers questions with one resolver, whose memory they share.
type batch struct {
	resolver *dnssec.Validator
	now      func() time.Time
	out      io.Writer
	remarks  io.Writer
	asJSON   bool
	asOf     bool // the time of the verdict is not the present, and is shown
}

// all answers a question a line, and ends with the highest exit code.
func (b batch) all(ctx context.Context, in io.Reader) error {
	worst := 0
	lines := bufio.NewScanner(in) // of at most 64 KB each
	for n := 1; lines.Scan(); n++ {
		words := strings.Fields(lines.Text())
		if len(words) == 0 {
			continue
		}
		code, err := b.one(ctx, words)
		if err != nil {
			return wrongUsage("line %d: %w", n, err)
		}
		if !b.asJSON {
			fmt.Fprintln(b.out)
		}
		worst = max(worst, code)
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("reading questions: %w", err)
	}
	return outcome(worst)
}

// one answers one question: a name, and perhaps a type.
func (b batch) one(ctx context.Context, words []string) (int, error) {
	q, err := parseQuestion(words)
	if err != nil {
		return 0, err
	}
	a, err := b.answer(ctx, q)
	return answerCode(a), err
}

// answer looks something up, and prints what came of it.
func (b batch) answer(ctx context.Context, q question) (dnssec.Answer, error) {
	a := b.resolver.Lookup(ctx, q.name, q.qtype)
	err := b.print(q, a)
	if q.qtype == typeDNSKEY && slices.Contains(b.resolver.AnchorZones(), q.name) {
		b.compare(ctx, q.name)
	}
	return a, err
}

func (b batch) print(q question, a dnssec.Answer) error {
	if b.asJSON {
		return printJSON(b.out, q.object(a, b.now()))
	}
	s := q.sheet(a, b.now())
	if b.asOf {
		s.row("as of", "%s", b.now().UTC().Format(time.RFC3339))
	}
	return s.print(b.out)
}

const typeDNSKEY = 48 // RFC 4034, Section 2

// compare warns of trust anchors that are not those of the zone's keys. That
// they could not be compared the answer itself has said.
func (b batch) compare(ctx context.Context, zone string) {
	warnings := b.resolver.CheckAnchors(ctx, zone).Warnings()
	for _, w := range warnings {
		remark(b.remarks, "warning: %s", w)
	}
	if len(warnings) > 0 {
		remark(b.remarks, "hint: see TRUST ANCHORS in smimea(1)")
	}
}

// A question is a name and a type.
type question struct {
	name  string
	qtype uint16
}

func parseQuestion(words []string) (question, error) {
	if len(words) > 2 {
		return question{}, wrongUsage("%d words are too many for a question", len(words)).
			hint("a question is a name and a type")
	}
	name, err := dnssec.ParseName(words[0])
	if err != nil {
		return question{}, wrongUsage("%w", err)
	}
	word := "A"
	if len(words) == 2 {
		word = words[1]
	}
	qtype, err := dnssec.ParseType(word)
	if err != nil {
		return question{}, wrongUsage("%w", err).hint("types are called A, MX, SMIMEA or TYPE53")
	}
	return question{name, qtype}, nil
}

// answerCode is the exit code: see the manual page.
func answerCode(a dnssec.Answer) int {
	switch {
	case a.Status == dnssec.Secure && a.Outcome == dnssec.Data:
		return 0
	case a.Status == dnssec.Secure && a.Outcome != dnssec.Failed, a.Status == dnssec.Insecure:
		return exitNothing
	}
	return exitUnknown
}

// sheet is the answer for people.
func (q question) sheet(a dnssec.Answer, now time.Time) *sheet {
	s := new(sheet)
	s.title("%s %s: %s", q.name, dnssec.TypeName(q.qtype), headline(a))
	proof(s, a)
	s.row("why", "%s", text(a.Why))
	if f := failureOf(a); f.EDE != 0 {
		s.row("error code", "%s of RFC 8914", f.Extended())
	}
	if a.Status == dnssec.Secure || a.Status == dnssec.Insecure {
		s.row("ttl", "%d seconds", ttl(a, now))
	}
	label := "record"
	if a.Status != dnssec.Secure {
		label = "unproven" // Shown, and nothing more.
	}
	for _, record := range q.records(a) {
		s.row(label, "%s", record)
	}
	return s
}

// headline is what an answer comes to. What a bogus one claims is not repeated.
func headline(a dnssec.Answer) string {
	switch {
	case a.Status == dnssec.Bogus:
		return "the answer is not to be believed"
	case a.Status == dnssec.Indeterminate || a.Outcome == dnssec.Failed:
		return "could not find out"
	case a.Outcome == dnssec.Data:
		return "there are records"
	case a.Outcome == dnssec.NoData:
		return "the name exists, and has no such record"
	}
	return "the name does not exist"
}

// A resolveObject is the answer for programs. Its keys are an interface.
type resolveObject struct {
	Name     string   `json:"name"`
	Type     string   `json:"type"`
	Status   string   `json:"status"`
	Outcome  string   `json:"outcome"`
	Records  []string `json:"records"` // RDATA as in a zone file; believe status first
	TTL      int64    `json:"ttl"`     // seconds
	Wildcard bool     `json:"wildcard"`
	Why      string   `json:"why"`

	EDE   uint16       `json:"ede"`   // the code of RFC 8914 that fits; 0: none
	Chain []linkObject `json:"chain"` // from the trust anchor to the answer
}

// A linkObject is a zone or an alias on the way to an answer.
type linkObject struct {
	Kind   string `json:"kind"` // zone, cname, dname
	Name   string `json:"name"`
	Target string `json:"target,omitempty"`
	Status string `json:"status"`
	Note   string `json:"note,omitempty"`
}

func (q question) object(a dnssec.Answer, now time.Time) resolveObject {
	return resolveObject{
		Name:     q.name,
		Type:     dnssec.TypeName(q.qtype),
		Status:   a.Status.String(),
		Outcome:  a.Outcome.String(),
		Records:  q.records(a),
		TTL:      ttl(a, now),
		Wildcard: a.Wildcard,
		Why:      text(a.Why),
		EDE:      failureOf(a).EDE,
		Chain:    chain(a),
	}
}

// failureOf is what is known of an answer that is not secure.
func failureOf(a dnssec.Answer) dnssec.Failure {
	var f *dnssec.Failure
	if errors.As(a.Why, &f) {
		return *f
	}
	return dnssec.Failure{}
}

func chain(a dnssec.Answer) []linkObject {
	all := []linkObject{}
	for _, l := range a.Chain {
		all = append(all, linkObject{l.Kind.String(), l.Name, l.Target, l.Status.String(), l.Note})
	}
	return all
}

// records is the RDATA as a zone file has it.
func (q question) records(a dnssec.Answer) []string {
	all := []string{}
	for _, rdata := range append(a.Data[:len(a.Data):len(a.Data)], a.Unproven...) {
		all = append(all, dnssec.Present(q.qtype, rdata))
	}
	return all
}

// ttl is how many seconds an answer may be remembered.
func ttl(a dnssec.Answer, now time.Time) int64 {
	return max(0, int64(a.Expires.Sub(now).Seconds()))
}
