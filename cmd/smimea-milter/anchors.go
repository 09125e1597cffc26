package main

import (
	"context"
	"log/slog"
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
	validator *dnssec.Validator
	metrics   *metrics
	log       *slog.Logger

	told   map[string]string // by zone: the warnings of the last line
	failed map[string]bool   // by zone: the last line said that we do not know
}

func newAnchorWatch(v *dnssec.Validator, m *metrics, log *slog.Logger) *anchorWatch {
	return &anchorWatch{v, m, log, map[string]string{}, map[string]bool{}}
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
		case <-time.After(next):
		}
	}
}

// look compares all, and reports whether that was possible.
func (w *anchorWatch) look(ctx context.Context) bool {
	all := true
	for _, zone := range w.validator.AnchorZones() {
		r := w.validator.CheckAnchors(ctx, zone)
		if ctx.Err() != nil {
			return false
		}
		w.metrics.anchors(r)
		w.tell(r)
		all = all && r.Status == dnssec.Secure
	}
	return all
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
