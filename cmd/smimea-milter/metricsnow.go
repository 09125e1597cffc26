package main

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"smimea.example/internal/config"
	"smimea.example/milter"
)

// now adds what is looked at only when somebody asks: how busy the server is,
// and what the house of this moment knows of CRLs.
func (m *metrics) now(load *milter.Load, limits config.Limits, hs *houses) {
	gauge := func(name, help string, value func() int) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "smimea", Name: name, Help: help},
			func() float64 { return float64(value()) })
	}
	m.registry.MustRegister(
		gauge("connections", "Connections of mail servers that are open.", load.Connections),
		gauge("connections_max", "How many there may be (limits.connections).", func() int { return limits.Connections }),
		gauge("mails_in_flight", "Mails between MAIL and the answer at their end.", load.Mails),
		gauge("mails_in_flight_max", "How many there may be; one more is deferred (limits.mails, limits.connections).",
			func() int { return min(limits.Mails, limits.Connections) }),
		crlMetrics{hs},
	)
}

// crlMetrics tell of CRLs while there is time to get newer ones. Without a
// directory of CRLs there are none.
type crlMetrics struct{ houses *houses }

var (
	crlFaults = prometheus.NewDesc("smimea_crl_faults",
		"Files in the directory of CRLs, or the directory, that could not be read.", nil, nil)
	crlOutdated = prometheus.NewDesc("smimea_crl_outdated",
		"CRLs that are out of date, or not yet valid, so that mail to whom they might be about is deferred.", nil, nil)
	crlNextUpdate = prometheus.NewDesc("smimea_crl_next_update_timestamp_seconds",
		"When the first of the CRLs that count is out of date.", nil, nil)
)

func (c crlMetrics) Describe(to chan<- *prometheus.Desc) {
	to <- crlFaults
	to <- crlOutdated
	to <- crlNextUpdate
}

func (c crlMetrics) Collect(to chan<- prometheus.Metric) {
	h, leave := c.houses.enter()
	defer leave()
	if h.CRLs == nil {
		return
	}
	now, outdated := time.Now(), 0
	var first time.Time
	for _, crl := range h.CRLs.List() {
		if crl.Outdone {
			continue
		}
		if crl.Err(now) != nil {
			outdated++
		}
		if first.IsZero() || crl.NextUpdate.Before(first) {
			first = crl.NextUpdate
		}
	}
	number := func(desc *prometheus.Desc, value float64) {
		to <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value)
	}
	number(crlFaults, float64(len(h.CRLs.Faults())))
	number(crlOutdated, float64(outdated))
	if !first.IsZero() {
		number(crlNextUpdate, float64(first.Unix()))
	}
}
