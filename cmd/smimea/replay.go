package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"smimea.example/internal/config"
	"smimea.example/internal/gateway"
	"smimea.example/keystore"
	"smimea.example/milter"
)

func newReplay() *cobra.Command {
	var settings string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "replay LOG --config FILE",
		Short: "Say what other rules would do with the mails of a log",
		Long: `Reads what the gateway logged, in shadow mode or not, and judges each recipient
anew by the rules of other settings, from what was found then. It is the
gateway's own code that does so. Nobody is asked: where a rule wants to know of
keys that nobody looked for then, the outcome is unknown.

"-" stands for standard input. Lines of something else are skipped, and what
journalctl or syslog puts in front of a line.

Exit codes: 0 nothing would change; 3 something would; 4 of some recipients
nobody can tell.`,
		Example: `  smimea replay milter.log --config new.toml
  journalctl -u smimea-milter -S -7d -o cat | smimea replay - --config new.toml`,
		Args: cobra.ExactArgs(1),
		RunE: does(func(cmd *cobra.Command, args []string) error {
			c, err := config.Load(settings)
			if err != nil {
				return err
			}
			log, err := openLog(cmd, args[0])
			if err != nil {
				return err
			}
			defer log.Close()
			x := &replayer{policy: c.Policy(), out: cmd.OutOrStdout(), asJSON: asJSON, counts: map[[2]way]int{}}
			return x.all(log, cmd.ErrOrStderr())
		}),
	}
	cmd.Flags().StringVar(&settings, "config", "", "settings `FILE` with the rules to try")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON, one object a line")
	cmd.MarkFlagRequired("config")
	return cmd
}

func openLog(cmd *cobra.Command, name string) (io.ReadCloser, error) {
	if name == "-" {
		return io.NopCloser(cmd.InOrStdin()), nil
	}
	return os.Open(name)
}

// A way is how a mail gets to one of its recipients, or why it does not.
type way string

const (
	encrypted way = "encrypted"
	inClear   way = "in clear"
	ifMarked  way = "in clear if the mail has the mark"
	refused   way = "refused"
	deferred  way = "deferred"
	unknown   way = "unknown"
)

var ways = []way{encrypted, inClear, ifMarked, refused, deferred, unknown}

// A fate is what becomes of a recipient.
type fate struct {
	way   way
	reply string // codes alone, as in "550 5.7.5", if he does not get the mail
}

// A replayer replays a log under another policy.
type replayer struct {
	policy *gateway.Gateway
	out    io.Writer
	asJSON bool

	recipients int
	counts     map[[2]way]int // of recipients whose fate changes, by both
	printed    bool
}

// all replays a log, and ends with the exit code.
func (x *replayer) all(log io.Reader, stderr io.Writer) error {
	lines := milter.NewLogReader(log)
	for {
		m, err := lines.Next()
		if err == io.EOF {
			break
		}
		if err == nil {
			err = x.mail(m)
		}
		if err != nil {
			return err
		}
	}
	if lines.Mails == 0 {
		return failure("there is no line of a mail in the log, and %d of something else", lines.Others+lines.Broken).
			hint("try: journalctl -u smimea-milter -o cat | smimea replay - --config FILE")
	}
	x.remarks(lines, stderr)
	sum := x.sum(lines)
	if err := x.print(sum, sum.sheet()); err != nil {
		return err
	}
	return outcome(sum.code())
}

// remarks says what the answer does not look at.
func (x *replayer) remarks(lines *milter.LogReader, stderr io.Writer) {
	if lines.Broken > 0 {
		remark(stderr, "hint: journald cuts lines that are longer than LineMax (48K): see journald.conf")
	}
	if slices.ContainsFunc(x.policy.Rules, func(r gateway.Rule) bool { return r.Kinds != nil }) {
		remark(stderr, "hint: kinds were not looked at: the log does not tell which keys there are")
	}
}

// mail prints the recipients of a mail whose fates would change.
func (x *replayer) mail(m *milter.Logged) error {
	again := x.policy.Replay(gateway.Sender{Address: m.From, Pickup: m.Pickup})
	s := new(sheet)
	for _, r := range m.Recipients {
		x.recipients++
		c, changed := x.compare(m, r, again)
		if !changed {
			continue
		}
		x.counts[[2]way{c.Was, c.WouldBe}]++
		if x.asJSON {
			if err := printJSON(x.out, c); err != nil {
				return err
			}
			continue
		}
		if s.text.Len() == 0 {
			s.title("%s from <%s>, %s", cmp.Or(m.QueueID, "(no queue id)"), m.From, toSeconds(m.Time))
		}
		c.rows(s)
	}
	if s.text.Len() == 0 {
		return nil
	}
	return x.print(nil, s)
}

// print prints a block for people, or an object for programs.
func (x *replayer) print(object any, s *sheet) error {
	if x.asJSON {
		return printJSON(x.out, object)
	}
	if x.printed {
		fmt.Fprintln(x.out)
	}
	x.printed = true
	return s.print(x.out)
}

// A change is the answer about one recipient. Its keys are an interface.
type change struct {
	QueueID  string `json:"queue_id"`
	Time     string `json:"time"`
	From     string `json:"from"`
	To       string `json:"to"`
	Was      way    `json:"was"`
	WasReply string `json:"was_reply"` // as logged, if he did not get the mail
	OfMail   string `json:"of_mail"`   // the reply to the mail as a whole, as logged
	WasRule  string `json:"was_rule"`  // the action; empty if no rule counted
	Outcome  string `json:"outcome"`   // of the key store then; empty if it was not asked
	WouldBe  way    `json:"would_be"`
	Reply    string `json:"reply"`  // empty if he would get the mail
	Rule     string `json:"rule"`   // the action; empty if no rule counts
	Number   int    `json:"number"` // of the rule, from 1 on
	Why      string `json:"why"`
}

// compare judges a recipient again.
func (x *replayer) compare(m *milter.Logged, r milter.LoggedRecipient, again *gateway.Replay) (c change, changed bool) {
	found, known := keystore.ParseOutcome(r.Outcome)
	e, open := again.Recipient(r.To, found, known)
	was, now := loggedFate(m, r), fateOf(e)
	if open {
		now = fate{way: unknown}
	}
	c = change{
		QueueID: m.QueueID, Time: m.Time, From: m.From, To: r.To,
		Was: was.way, WasReply: wasReply(m, r, was), OfMail: m.Reply, WasRule: r.Rule, Outcome: r.Outcome,
		WouldBe: now.way, Rule: string(e.Rule.Action), Number: e.Number,
	}
	if now.reply != "" {
		c.Reply = replyText(e.Reply)
	}
	c.Why = x.why(r, e, was, now)
	return c, was != now && !x.stands(r, was, now)
}

// loggedFate is what became of a recipient, or would have in shadow mode.
func loggedFate(m *milter.Logged, r milter.LoggedRecipient) fate {
	switch {
	case r.Reply != "ok":
		return turnedAway(r.Reply)
	case codes(m.Reply) == cannotShare: // the mail as a whole
		return turnedAway(m.Reply)
	case r.Outcome == keystore.Found.String():
		return fate{way: encrypted}
	case r.Rule == string(gateway.Require) && r.Sent != "plain":
		return fate{way: ifMarked}
	}
	return fate{way: inClear}
}

func turnedAway(reply string) fate {
	if strings.HasPrefix(reply, "5") {
		return fate{refused, codes(reply)}
	}
	return fate{deferred, codes(reply)}
}

func wasReply(m *milter.Logged, r milter.LoggedRecipient, was fate) string {
	switch {
	case was.reply == "":
		return ""
	case r.Reply == "ok":
		return m.Reply
	}
	return r.Reply
}

// fateOf is what would become of a recipient.
func fateOf(e gateway.Explanation) fate {
	switch {
	case e.Reply.Action == gateway.Refuse:
		return fate{refused, codes(replyText(e.Reply))}
	case e.Reply.Action != gateway.Accept:
		return fate{deferred, codes(replyText(e.Reply))}
	case e.Mark != gateway.Mark{}:
		return fate{way: ifMarked}
	case e.InClear():
		return fate{way: inClear}
	}
	return fate{way: encrypted}
}

// codes are a reply without its text.
func codes(reply string) string {
	words := strings.Fields(reply)
	return strings.Join(words[:min(len(words), 2)], " ")
}

// Replies that tell of other recipients, or of no rule.
const (
	separately    = "452 4.5.3"
	separatelyNow = "550 5.5.3" // to mail of the machine itself
	cannotShare   = "550 5.7.3"
	noRule        = "451 4.3.5"
	noRuleNow     = "550 5.3.5"
)

// stands says that a fate did not come from the rules, as far as the log tells,
// so that others would not change it.
func (x *replayer) stands(r milter.LoggedRecipient, was, now fate) bool {
	switch {
	case r.Sent == "already encrypted":
		return now.reply == "" && now.way != unknown
	case now.way == ifMarked: // the mark that a mail had is not in the log
		return was.way == inClear && r.Rule == string(gateway.Require)
	case r.Rule == "" && r.Reply != "ok": // nobody has judged him, for want of time perhaps
		return was.reply != noRule && was.reply != noRuleNow
	case was.reply == separately, was.reply == separatelyNow, was.reply == cannotShare:
		return x.policy.Resubmit == nil && now.way == encrypted
	}
	return false
}

// why says what a change comes from.
func (x *replayer) why(r milter.LoggedRecipient, e gateway.Explanation, was, now fate) string {
	switch {
	case now.way == unknown && (!e.Asked || r.Outcome != ""):
		return "it hangs on another recipient of the mail, of whom nobody can tell, since there is no resubmit"
	case now.way == unknown:
		return fmt.Sprintf("%s asks for keys, and nobody had asked for them", ruleWords(e))
	case now.reply == separately, now.reply == separatelyNow:
		return "another recipient of the mail needs another copy, and there is no resubmit"
	case now.reply == "" && (was.reply == separately || was.reply == separatelyNow || was.reply == cannotShare):
		return "not all recipients of the mail can share a copy, and with resubmit there may be several"
	}
	why := ruleWords(e)
	if string(e.Rule.Action) != r.Rule {
		why += " in place of " + cmp.Or(r.Rule, "none")
	}
	if e.Asked && r.Outcome != "" {
		why += "; in the key store was found: " + r.Outcome
	}
	return why
}

func ruleWords(e gateway.Explanation) string {
	if e.Number == 0 {
		return "no rule"
	}
	return fmt.Sprintf("rule %d (%s)", e.Number, e.Rule.Action)
}

// rows is the change for people.
func (c change) rows(s *sheet) {
	s.row("to", "%s", c.To)
	was := withCodes(c.Was, c.WasReply)
	if c.WasReply == "" && c.OfMail != "" {
		was += ", but for the reply to the mail as a whole: " + codes(c.OfMail)
	}
	s.row("was", "%s", was)
	s.row("would be", "%s", withCodes(c.WouldBe, c.Reply))
	s.row("why", "%s", c.Why)
}

func withCodes(w way, reply string) string {
	if reply == "" {
		return string(w)
	}
	return fmt.Sprintf("%s (%s)", w, codes(reply))
}

// A replaySum is the end of the answer. Its keys are an interface.
type replaySum struct {
	Mails      int        `json:"mails"`
	Recipients int        `json:"recipients"`
	Changed    int        `json:"changed"`
	Unknown    int        `json:"unknown"`
	Kinds      []kindsSum `json:"kinds"`
	Others     int        `json:"others"` // lines
	Broken     int        `json:"broken"` // lines
}

type kindsSum struct {
	Was        way `json:"was"`
	WouldBe    way `json:"would_be"`
	Recipients int `json:"recipients"`
}

func (x *replayer) sum(lines *milter.LogReader) replaySum {
	sum := replaySum{Mails: lines.Mails, Recipients: x.recipients, Kinds: []kindsSum{}, Others: lines.Others, Broken: lines.Broken}
	for _, was := range ways {
		for _, now := range ways {
			n := x.counts[[2]way{was, now}]
			switch {
			case n == 0:
				continue
			case now == unknown:
				sum.Unknown += n
			default:
				sum.Changed += n
			}
			sum.Kinds = append(sum.Kinds, kindsSum{was, now, n})
		}
	}
	return sum
}

// code is the exit code: see the manual page.
func (sum replaySum) code() int {
	switch {
	case sum.Unknown > 0:
		return exitUnknown
	case sum.Changed > 0:
		return exitNothing
	}
	return 0
}

func (sum replaySum) sheet() *sheet {
	s := new(sheet)
	s.title("%d mails with %d recipients: %d would fare otherwise, of %d nobody can tell", sum.Mails, sum.Recipients, sum.Changed, sum.Unknown)
	for _, k := range sum.Kinds {
		would := "would be " + string(k.WouldBe)
		if k.WouldBe == k.Was {
			would = "with another reply"
		}
		s.row(fmt.Sprintf("%10d", k.Recipients), "%s, %s", k.Was, would)
	}
	if sum.Others+sum.Broken > 0 {
		s.row("skipped", "%d lines of something else, %d of mails that cannot be read", sum.Others, sum.Broken)
	}
	return s
}

// toSeconds shortens a time as the log has it.
func toSeconds(logged string) string {
	t, err := time.Parse(time.RFC3339Nano, logged)
	if err != nil {
		return logged
	}
	return t.Format("2006-01-02 15:04:05Z07:00")
}
