package milter

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	dj "github.com/d--j/go-milter"

	"smimea.example/internal/gateway"
)

// A record is what the log says of a mail. The keys are listed in the package
// comment; programs rely on them.
type record struct {
	started   time.Time
	queue     string
	client    string
	sender    gateway.Sender
	fates     []gateway.Fate
	reply     *gateway.Reply // nil if the mail did not come to its end
	encrypted bool
	shadow    bool // nothing of it was so; it would have been
	in, out   int64
}

// A LoggedRecipient is one entry of the key "recipients".
type LoggedRecipient struct {
	To       string   `json:"to"`
	Reply    string   `json:"reply"`
	Sent     string   `json:"sent,omitempty"`
	Copy     int      `json:"copy,omitempty"`
	Rule     string   `json:"rule,omitempty"`
	Outcome  string   `json:"outcome,omitempty"`
	Origin   string   `json:"origin,omitempty"`
	DNSSEC   string   `json:"dnssec,omitempty"`
	Certs    []string `json:"certs,omitempty"`
	Cipher   string   `json:"cipher,omitempty"`
	Archive  string   `json:"archive,omitempty"`
	Warnings []string `json:"warnings,omitempty"`
	Why      string   `json:"why,omitempty"`
}

// see notes the queue id, which Postfix tells only after the first recipient.
func (r *record) see(m dj.Macros) {
	if id := m.Get(dj.MacroQueueId); id != "" {
		r.queue = id
	}
}

// explain puts what the gateway says of the recipients in place of the bare
// replies. Whom it does not name keeps his.
func (r *record) explain(fates []gateway.Fate) {
	named := make(map[string]bool, len(fates))
	for _, f := range fates {
		named[f.Address] = true
	}
	for _, f := range r.fates {
		if !named[f.Address] {
			fates = append(fates, f)
		}
	}
	r.fates = fates
}

func (r *record) log(to *slog.Logger) {
	attrs := []slog.Attr{
		slog.String("queue_id", r.queue),
		slog.String("client", r.client),
		slog.Bool("pickup", r.sender.Pickup),
		slog.String("from", r.sender.Address),
		slog.Any("recipients", r.recipients()),
		slog.String("result", r.result()),
		slog.Int64("size_in", r.in),
		slog.Int64("size_out", r.out),
		slog.Int64("took_ms", time.Since(r.started).Milliseconds()),
	}
	if r.shadow {
		attrs = append(attrs, slog.String("mode", "shadow"))
	}
	if r.reply != nil && r.reply.Action != gateway.Accept {
		attrs = append(attrs, slog.String("reply", line(*r.reply)))
	}
	to.LogAttrs(context.Background(), r.level(), "mail", attrs...)
}

func (r *record) result() string {
	switch {
	case r.reply == nil:
		return r.turnedAway()
	case r.reply.Action == gateway.Refuse:
		return "refused"
	case r.reply.Action != gateway.Accept:
		return "deferred"
	case r.encrypted, slices.ContainsFunc(r.fates, func(f gateway.Fate) bool { return f.Sent == "encrypted" }):
		return "encrypted"
	}
	return "passed"
}

// turnedAway is the result of a mail that did not come to its end. Where every
// recipient was turned away, its client had nothing left to send.
func (r *record) turnedAway() string {
	result := "refused"
	for _, f := range r.fates {
		switch {
		case f.Reply.Action == gateway.Accept:
			return "abandoned"
		case f.Reply.Action != gateway.Refuse:
			result = "deferred"
		}
	}
	if len(r.fates) == 0 || r.sender.Pickup { // pickup's recipients are all accepted at first
		return "abandoned"
	}
	return result
}

// level draws the postmaster's eye to what nobody else hears of.
func (r *record) level() slog.Level {
	if !r.shadow && r.sender.Pickup && r.result() == "deferred" {
		return slog.LevelWarn
	}
	return slog.LevelInfo
}

// sent says whether the mail has gone on.
func (r *record) sent() bool { return r.reply != nil && r.reply.Action == gateway.Accept }

func (r *record) recipients() []LoggedRecipient {
	list := make([]LoggedRecipient, 0, len(r.fates))
	for _, f := range r.fates {
		entry := LoggedRecipient{
			To: f.Address, Reply: line(f.Reply),
			Rule: f.Rule, Outcome: f.Outcome, Origin: f.Origin, DNSSEC: f.DNSSEC, Certs: f.Certs, Cipher: f.Cipher, Archive: f.Archive, Warnings: f.Warnings,
		}
		if r.sent() {
			entry.Sent, entry.Copy = f.Sent, f.Copy
		}
		if f.Why != nil {
			entry.Why = f.Why.Error()
		}
		list = append(list, entry)
	}
	return list
}

// line is a reply as an SMTP client sees it.
func line(r gateway.Reply) string {
	switch {
	case r.Action == gateway.Accept:
		return "ok"
	case r.Code == 0:
		return "deferred"
	}
	return strings.TrimSpace(fmt.Sprintf("%d %s %s", r.Code, r.Status, r.Text))
}
