package main

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"smimea.example/internal/gateway"
	"smimea.example/keystore"
	"smimea.example/milter"
)

// mailMetrics count what becomes of mails. Their labels are fixed words: no
// address and no domain, of which there is no end, and which are nobody's
// business who looks at a dashboard. All series are there from the start, at 0,
// so that the first refusal is an increase.
type mailMetrics struct {
	mails, recipients, sent, octets *prometheus.CounterVec
	lookup, took                    prometheus.Histogram
}

// The words that labels may have.
var (
	results  = []string{"encrypted", "passed", "refused", "deferred", "abandoned"}
	sents    = []string{"encrypted", "plain", "already encrypted", "handed over before"}
	replies  = []string{"2xx", "4xx", "5xx"}
	outcomes = []string{notAsked,
		keystore.Failed.String(), keystore.Bogus.String(), keystore.None.String(), keystore.NoDomain.String(),
		keystore.NullMX.String(), keystore.Unusable.String(), keystore.WeakOnly.String(), keystore.Found.String()}
)

// notAsked is the outcome where none is known: the rule needs no certificate, or
// the answer was too late.
const notAsked = "not asked"

func newMailMetrics() mailMetrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "smimea", Name: name, Help: help}, labels)
	}
	seconds := func(name, help string, buckets ...float64) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: "smimea", Name: name, Help: help, Buckets: buckets})
	}
	m := mailMetrics{
		mails:      counter("mails_total", "Mails that have ended, by what became of them.", "result"),
		recipients: counter("recipients_total", "Recipients of mails that have ended, by what the key store found and by the reply.", "outcome", "reply"),
		sent:       counter("recipients_sent_total", "Recipients to whom a mail went, by how.", "sent"),
		octets:     counter("octets_total", "Octets of body: received (in), and put in the place of what was received (out).", "direction"),
		lookup: seconds("lookup_duration_seconds", "How long the key store took for a recipient.",
			.001, .005, .01, .025, .05, .1, .25, .5, 1, 2, 4, 7),
		took: seconds("mail_duration_seconds", "From MAIL to the answer at the end, which is the client's time too.",
			.01, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900),
	}
	for _, result := range results {
		m.mails.WithLabelValues(result)
	}
	for _, outcome := range outcomes {
		for _, reply := range replies {
			m.recipients.WithLabelValues(outcome, reply)
		}
	}
	for _, sent := range sents {
		m.sent.WithLabelValues(sent)
	}
	m.octets.WithLabelValues("in")
	m.octets.WithLabelValues("out")
	return m
}

func (m mailMetrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.mails, m.recipients, m.sent, m.octets, m.lookup, m.took}
}

// count takes down a mail that has ended.
func (m mailMetrics) count(mail milter.Summary) {
	m.mails.WithLabelValues(mail.Result).Inc()
	for _, r := range mail.Recipients {
		outcome := r.Outcome
		if outcome == "" {
			outcome = notAsked
		}
		m.recipients.WithLabelValues(outcome, class(r.Reply)).Inc()
		if r.Sent != "" {
			m.sent.WithLabelValues(r.Sent).Inc()
		}
	}
	m.octets.WithLabelValues("in").Add(float64(mail.In))
	m.octets.WithLabelValues("out").Add(float64(mail.Out))
	m.took.Observe(mail.Took.Seconds())
}

func class(r gateway.Reply) string {
	switch r.Action {
	case gateway.Accept:
		return "2xx"
	case gateway.Refuse:
		return "5xx"
	}
	return "4xx"
}

// timed is a key store whose answers are timed.
type timed struct {
	keystore.Source
	seconds prometheus.Observer
}

func (t timed) Find(ctx context.Context, address string) keystore.Keys {
	start := time.Now()
	defer func() { t.seconds.Observe(time.Since(start).Seconds()) }()
	return t.Source.Find(ctx, address)
}
