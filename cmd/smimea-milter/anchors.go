package main

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"time"

	"smimea.example/smimea/dnssec"
)

// How often the trust anchors are compared with the keys of their zones. A
// new key is there for months before it signs.
const (
	eachDay   = 24 * time.Hour
	whenFails = time.Hour // the network may come up after us
)

// An anchorWatch tells of keys that come and go, while there is time to get new
// trust anchors.
type anchorWatch struct {
	resolver func() (v *dnssec.Validator, leave func())
	again    chan struct{} // the settings have changed
	metrics  *metrics
	log      *slog.Logger

	zones  []string          // that were looked at last
	told   map[string]string // by zone: the warnings of the last line
	failed map[string]bool   // by zone: the last line said that we do not know
}

func newAnchorWatch(resolver func() (*dnssec.Validator, func()), m *metrics, log *slog.Logger) *anchorWatch {
	return &anchorWatch{
		resolver: resolver, again: make(chan struct{}, 1), metrics: m, log: log,
		told: map[string]string{}, failed: map[string]bool{},
	}
}

// lookAgain has it look without waiting for the next day.
func (w *anchorWatch) lookAgain() {
	select {
	case w.again <- struct{}{}:
	default: // it is about to
	}
}

// run looks at once, and then each day, until ctx ends.
func (w *anchorWatch) run(ctx context.Context) {
	for {
		next := eachDay
		if !w.look(ctx) {
			next = whenFails
		}
		select {
		case <-ctx.Done():
			return
		case <-w.again:
		case <-time.After(next):
		}
	}
}

// look compares all, and reports whether that was possible.
func (w *anchorWatch) look(ctx context.Context) bool {
	v, leave := w.resolver()
	defer leave()
	w.forget(v.AnchorZones())
	all := true
	for _, zone := range w.zones {
		r := v.CheckAnchors(ctx, zone)
		if ctx.Err() != nil {
			return false
		}
		w.metrics.anchors(r)
		w.tell(r)
		all = all && r.Status == dnssec.Secure
	}
	return all
}

// forget drops what is known of zones for which there are no anchors any more.
func (w *anchorWatch) forget(zones []string) {
	for _, zone := range w.zones {
		if !slices.Contains(zones, zone) {
			w.metrics.noAnchors(zone)
			delete(w.told, zone)
			delete(w.failed, zone)
		}
	}
	w.zones = zones
}

// tell writes a line when something has changed.
func (w *anchorWatch) tell(r dnssec.AnchorReport) {
	if r.Status != dnssec.Secure {
		if !w.failed[r.Zone] {
			w.log.Warn("trust anchors: could not get the zone's keys", "zone", r.Zone, "why", r.Why)
		}
		w.failed[r.Zone] = true
		return
	}
	w.failed[r.Zone] = false
	warnings := strings.Join(r.Warnings(), "; ")
	switch {
	case warnings == w.told[r.Zone]:
	case warnings == "":
		w.log.Info("trust anchors: they agree with the zone's keys again", "zone", r.Zone)
	default:
		w.log.Warn("trust anchors: they do not agree with the zone's keys", "zone", r.Zone, "why", warnings, "try", "smimea-milter -check")
	}
	w.told[r.Zone] = warnings
}
