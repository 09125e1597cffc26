package main

import (
	"context"
	"log/slog"
	"os"
	"time"

	"smimea.example/internal/config"
	"smimea.example/keystore"
)

// reload reads again at each signal what may change while we run, until ctx ends.
func reload(ctx context.Context, hup <-chan os.Signal, house *config.Built, log *slog.Logger) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-hup:
			reloadAll(house, log)
		}
	}
}

// reloadAll reads each directory by itself: a slip in one must not keep what is
// revoked from being known. What the DNS published is asked again, since it was
// judged by them.
func reloadAll(house *config.Built, log *slog.Logger) {
	if house.Pinned == nil {
		log.Info("no certificates are pinned")
	}
	reloadOne(log, "pinned certificates", house.Pinned)
	reloadOne(log, "candidates", house.Candidates)
	reloadCRLs(house.CRLs, log)
	tellOfCRLs(house.CRLs, time.Now(), log)
	house.Forget()
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
	log.Info("read the "+what, "number", len(directory.List()))
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
