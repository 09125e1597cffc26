package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"smimea.example/keystore"
)

// reload takes the settings over at each signal, until ctx ends.
func (p *process) reload(ctx context.Context, anchors *anchorWatch) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.hup:
			notify(daemon.SdNotifyReloading + "\n" + daemon.SdNotifyMonotonicUsec())
			status := "the settings of the file are in force"
			if !p.takeOver() {
				status = "older settings are in force than those of the file: see the log"
			}
			notify(daemon.SdNotifyReady + "\nSTATUS=" + status)
			anchors.lookAgain()
		}
	}
}

// takeOver reads the settings and all that they name, and has the mails that
// begin from now on handled as they say. If anything is wrong, all of them stay
// as they were; but what is revoked must be known whatever slip there is
// elsewhere, so the directories of before are read again, each by itself.
func (p *process) takeOver() (whole bool) {
	next, err := p.next()
	if err != nil {
		p.metrics.reloaded.Set(0)
		p.log.Error("settings: nothing was taken over; the old ones stay in force", "why", err.Error(), "try", "smimea-milter -check -config "+p.path)
		reloadAll(p.houses.current, p.log)
		return false
	}
	p.houses.replace(next)
	p.metrics.reloaded.Set(1)
	p.log.Info("settings: taken over", "rules", len(next.settings.Rules))
	next.tell(p.log)
	return true
}

// next opens what the settings describe now, if it can be put in the place of
// the current house.
func (p *process) next() (*house, error) {
	next, err := openHouse(p.path, p.metrics)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(p.restartFor(next), next.crlFaults()); err != nil {
		next.Close()
		return nil, err
	}
	return next, nil
}

// restartFor says what must not change while we run. To take the rest over all
// the same would leave the daemon with settings that stand in no file.
func (p *process) restartFor(next *house) error {
	names := p.settings.NeedRestart(next.settings)
	if len(names) == 0 {
		return nil
	}
	return fmt.Errorf("%s: changed, and that takes a restart; restart, or put back what was there", strings.Join(names, ", "))
}

// crlFaults: the current house knows what a file said before it was spoilt, and
// the next one would not.
func (h *house) crlFaults() error {
	if h.CRLs == nil {
		return nil
	}
	return errors.Join(h.CRLs.Faults()...)
}

// tell says what was read.
func (h *house) tell(log *slog.Logger) {
	tellOf(log, "pinned certificates", h.Pinned)
	tellOf(log, "candidates", h.Candidates)
	if h.CRLs != nil {
		log.Info("read the CRLs", "number", len(h.CRLs.List()))
	}
	tellOfCRLs(h.CRLs, time.Now(), log)
}

// tellOf says how many certificates a directory holds; nil means that there is
// none.
func tellOf(log *slog.Logger, what string, directory *keystore.Dir) {
	if directory != nil {
		log.Info("read the "+what, "number", len(directory.List()))
	}
}

// reloadAll reads each directory by itself: a slip in one must not keep what is
// revoked from being known. What the DNS published is asked again, since it was
// judged by them.
func reloadAll(h *house, log *slog.Logger) {
	reloadOne(log, "pinned certificates", h.Pinned)
	reloadOne(log, "candidates", h.Candidates)
	reloadCRLs(h.CRLs, log)
	tellOfCRLs(h.CRLs, time.Now(), log)
	h.Forget()
}

// reloadOne reads a directory of certificates; nil means that there is none.
func reloadOne(log *slog.Logger, what string, directory *keystore.Dir) {
	if directory == nil {
		return
	}
	if err := directory.Reload(); err != nil {
		log.Error("reading the "+what+"; the old ones stay in force", "why", err.Error())
		return
	}
	tellOf(log, what, directory)
}

// reloadCRLs reads their directory. What went wrong is for tellOfCRLs.
func reloadCRLs(crls *keystore.CRLs, log *slog.Logger) {
	if crls != nil && crls.Reload() == nil {
		log.Info("read the CRLs", "number", len(crls.List()))
	}
}

// tellOfCRLs tells of files that could not be read, and warns of CRLs that say
// nothing any more: mail to whom they might be about is deferred.
func tellOfCRLs(crls *keystore.CRLs, now time.Time, log *slog.Logger) {
	if crls == nil {
		return
	}
	for _, fault := range crls.Faults() {
		log.Error("reading the CRLs; revoked certificates may be used", "why", fault.Error(), "try", "smimea-milter -check")
	}
	for _, crl := range crls.List() {
		if err := crl.Err(now); err != nil && !crl.Outdone {
			log.Warn("CRLs: one does not count; mail under its issuer is deferred", "issuer", crl.Issuer, "why", err.Error(), "try", "smimea-milter -check")
		}
	}
}
