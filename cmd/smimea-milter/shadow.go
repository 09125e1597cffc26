package main

import (
	"context"
	"log/slog"
	"time"

	"smimea.example/internal/config"
)

// remindOfShadow says at the start, and each day, that mail leaves as it came: a
// shadow that somebody has forgotten looks like a gateway. It ends with ctx.
func remindOfShadow(ctx context.Context, every time.Duration, log *slog.Logger) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		log.Warn("shadow mode: nothing is encrypted, refused or deferred; the log says what would be",
			"try", `mode = "enforce" in the settings, and a restart; smimea replay shows what another policy would do`)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// shadow says so if nothing is changed.
func (r *report) shadow(settings *config.Config) {
	if settings.Mode == "shadow" {
		r.warn(`mode = "shadow": mail leaves as it came, in PLAINTEXT; the log says what would be (mode = "enforce", and restart)`)
	}
}
