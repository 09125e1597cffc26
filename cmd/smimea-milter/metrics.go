package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/net/netutil"

	"smimea.example/smimea/dnssec"
)

// metrics are what Prometheus may ask for. They are few: the log tells what
// became of each mail.
type metrics struct {
	registry *prometheus.Registry
	mail     mailMetrics
	reloaded prometheus.Gauge // 1 if the settings were taken over when that was last asked for

	// By zone. Unknown and missing are set once the zone's keys were had.
	unknown, missing, checked *prometheus.GaugeVec
}

// newMetrics makes them in a registry of their own: what a library puts into
// the common one is none of ours.
func newMetrics() *metrics {
	gauge := func(name, help string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "smimea", Subsystem: "trust_anchor", Name: name, Help: help}, []string{"zone"})
	}
	m := &metrics{
		registry: prometheus.NewRegistry(),
		mail:     newMailMetrics(),
		reloaded: prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "smimea", Subsystem: "settings", Name: "last_reload_successful",
			Help: "1 if the settings were taken over at the start or the last SIGHUP; 0 if older ones are in force."}),
		unknown: gauge("unknown_keys", "Key-signing keys of the zone that no trust anchor names."),
		missing: gauge("missing_keys", "Keys that valid trust anchors name and the zone has not, or has revoked."),
		checked: gauge("checked_timestamp_seconds", "When the anchors were last compared with the zone's proven keys; 0 for never."),
	}
	m.reloaded.Set(1)
	m.registry.MustRegister(m.mail.collectors()...)
	m.registry.MustRegister(
		m.reloaded,
		m.unknown, m.missing, m.checked,
		collectors.NewBuildInfoCollector(),
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return m
}

// anchors takes down how a zone's anchors and keys agree. Where that could not
// be found out the old numbers stand, and the time beside them says how old
// they are.
func (m *metrics) anchors(r dnssec.AnchorReport) {
	checked := m.checked.WithLabelValues(r.Zone) // 0 if it is new
	if r.Status != dnssec.Secure {
		return
	}
	m.unknown.WithLabelValues(r.Zone).Set(float64(len(r.Unknown)))
	m.missing.WithLabelValues(r.Zone).Set(float64(len(r.Missing) + len(r.Revoked)))
	checked.SetToCurrentTime()
}

// noAnchors takes down that a zone has none any more.
func (m *metrics) noAnchors(zone string) {
	for _, v := range []*prometheus.GaugeVec{m.unknown, m.missing, m.checked} {
		v.DeleteLabelValues(zone)
	}
}

// What somebody may take who asks for metrics: he must not get in the way of mail.
const (
	metricsConnections = 16
	metricsRequests    = 4 // at once
	metricsTime        = 10 * time.Second
	metricsHeader      = 8 << 10 // octets
)

// serve answers GET /metrics and GET /healthz, and nothing else, until ctx ends.
func (m *metrics) serve(ctx context.Context, l net.Listener, healthz http.Handler, log *slog.Logger) {
	errorLog := slog.NewLogLogger(log.Handler(), slog.LevelWarn)
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		ErrorLog:            errorLog,
		MaxRequestsInFlight: metricsRequests,
		DisableCompression:  true,
	}))
	mux.Handle("GET /healthz", healthz)
	server := &http.Server{
		Handler:        mux,
		ReadTimeout:    metricsTime,
		WriteTimeout:   metricsTime,
		IdleTimeout:    2 * time.Minute, // Prometheus asks each minute or so
		MaxHeaderBytes: metricsHeader,
		ErrorLog:       errorLog,
	}
	defer context.AfterFunc(ctx, func() { server.Close() })()
	if err := server.Serve(netutil.LimitListener(l, metricsConnections)); !errors.Is(err, http.ErrServerClosed) {
		log.Error("serving metrics", "why", err.Error())
	}
}
