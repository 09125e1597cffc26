package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"smimea.example/smimea/dnssec"
)

func newResolve() *cobra.Command {
	var dns resolverFlags
	cmd := &cobra.Command{
		Use:   "resolve NAME [TYPE]",
		Short: "Show what the DNS says of a name, and whether that is proven",
		Long: `Asks the DNS for the records of a type at a name, validates the answer (DNSSEC),
and says how it is proven or why it is not. Without a type it asks for A.

With "-" as the name, lines with a name and a type are read from standard input
and answered in their order, each as soon as it is there. What is learnt on the
way serves all of them.

Exit codes: 0 the records are proven; 3 it is proven that there are none, or
that the zone is not signed; 4 it could not be found out. With "-", the highest.`,
		Example: `  smimea resolve example.org MX
  printf 'example.org MX\nexample.net MX\n' | smimea resolve --json -`,
		Args: cobra.RangeArgs(1, 2),
		RunE: does(func(cmd *cobra.Command, args []string) error {
			resolver, clock, err := dns.resolver()
			if err != nil {
				return err
			}
			defer resolver.Close()
			b := batch{resolver, clock, cmd.OutOrStdout(), dns.json}
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
	return cmd
}

// A batch answers questions with one resolver, whose memory they share.
type batch struct {
	resolver dnssec.Resolver
	now      func() time.Time
	out      io.Writer
	asJSON   bool
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
	a := b.resolver.Lookup(ctx, q.name, q.qtype)
	if b.asJSON {
		err = printJSON(b.out, q.object(a, b.now()))
	} else {
		err = q.sheet(a, b.now()).print(b.out)
	}
	return answerCode(a), err
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
	}
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
