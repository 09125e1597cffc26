package main

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// notify tells systemd, if that is who started us.
func notify(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		slog.Warn("telling systemd", "why", err.Error())
	}
}

// watchdog tells systemd that the daemon is at its work, for as long as it is,
// until ctx ends. Systemd ends one that it has not heard of, and starts another
// one: it does not serve mail servers anyway, who defer their mail.
func (p *process) watchdog(ctx context.Context) {
	patience, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		p.log.Warn("systemd's watchdog", "why", err.Error())
	}
	if err != nil || patience == 0 {
		return
	}
	tick := time.NewTicker(patience / 3)
	defer tick.Stop()
	var told bool
	for {
		told = p.sayAlive(told)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// sayAlive says so if it is true. The log hears when that changes.
func (p *process) sayAlive(told bool) (failed bool) {
	err := p.health.check()
	if err == nil || errors.Is(err, errDraining) { // which is work too, and ends in time
		if told {
			p.log.Info("mail servers are answered again")
		}
		notify(daemon.SdNotifyWatchdog)
		return false
	}
	if !told {
		p.log.Error("mail servers are not answered; unless that changes, systemd starts the daemon anew", "why", err.Error())
	}
	return true
}
