package main

import (
	"fmt"
	"sync"

	"smimea.example/internal/config"
	"smimea.example/internal/gateway"
	"smimea.example/smimea/dnssec"
)

// A house is what a settings file describes, opened. It is closed when it has
// been replaced and the last mail that began in it has ended.
type house struct {
	*config.Built
	settings *config.Config

	users int // mails and others, and the place in houses; guarded by houses.mu
}

func openHouse(path string, m *metrics) (*house, error) {
	settings, err := config.Load(path)
	if err != nil {
		return nil, err
	}
	built, err := settings.Build()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	built.Gateway.Keys = timed{built.Gateway.Keys, m.mail.lookup}
	return &house{Built: built, settings: settings}, nil
}

// houses has the one in which mails begin.
type houses struct {
	// journal is of copies, and one for all of them; nil if none are made.
	journal *gateway.Journal

	mu      sync.Mutex // guards what follows
	current *house
}

func newHouses(first *house) *houses {
	first.users++
	return &houses{current: first}
}

// openJournal opens it, if the first house hands over copies.
func (hs *houses) openJournal() (err error) {
	if hs.current.Gateway.Resubmit == nil || hs.current.Gateway.Shadow {
		return nil
	}
	if hs.journal, err = gateway.OpenJournal(hs.current.settings.Resubmit.Journal); err != nil {
		return fmt.Errorf("resubmit.journal: %w", err)
	}
	hs.current.Gateway.Resubmit.Journal = hs.journal
	return nil
}

// enter returns the current house, which stays open until leave is called.
func (hs *houses) enter() (h *house, leave func()) {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	h = hs.current
	h.users++
	return h, func() { hs.leave(h) }
}

// forMail is what a [milter.Server] asks for each mail.
func (hs *houses) forMail() (*gateway.Gateway, func()) {
	h, leave := hs.enter()
	return h.Gateway, leave
}

// resolver is the current one, for as long as leave is not called.
func (hs *houses) resolver() (v *dnssec.Validator, leave func()) {
	h, leave := hs.enter()
	return h.Resolver, leave
}

func (hs *houses) leave(h *house) {
	hs.mu.Lock()
	h.users--
	last := h.users == 0
	hs.mu.Unlock()
	if last {
		h.Close()
	}
}

// replace has mails begin in the next house from now on. Both together keep to
// the memory that mails have.
func (hs *houses) replace(next *house) {
	hs.mu.Lock()
	old := hs.current
	next.Gateway.ShareMemory(old.Gateway)
	if next.Gateway.Resubmit != nil {
		next.Gateway.Resubmit.Succeed(old.Gateway.Resubmit)
	}
	next.users++
	hs.current = next
	hs.mu.Unlock()
	hs.leave(old)
}

// close leaves the current house, when no more mails begin.
func (hs *houses) close() {
	hs.leave(hs.current)
	if hs.journal != nil {
		hs.journal.Close()
	}
}
