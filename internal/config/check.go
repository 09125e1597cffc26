package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"smimea.example/internal/cms"
	"smimea.example/internal/gateway"
)

// What is sound.
const (
	maxBudget      = 7 * time.Second
	minTry         = 100 * time.Millisecond
	maxConnections = 10_000
	maxWait        = 3 * time.Minute // a mail's end may take four
	maxCopies      = 1000
	minMemory      = 64e6
	minCopiesSize  = 1e6
	maxMemory      = 1e12
)

// check says everything that is wrong, so that one start is enough to see it.
func (c *Config) check() error {
	return errors.Join(
		c.checkListen(),
		c.checkMode(),
		c.Resubmit.check(),
		c.DNS.check(),
		c.Limits.check(),
		c.Metrics.check(),
		c.checkRules(),
	)
}

func (c *Config) checkListen() error {
	if len(c.Listen) == 0 {
		return errors.New(`listen is empty: write ["unix:/var/spool/postfix/smimea/milter.sock"]`)
	}
	var faults []error
	for _, socket := range c.Listen {
		kind, rest, _ := strings.Cut(socket, ":")
		unix := (kind == "unix" || kind == "local") && strings.HasPrefix(rest, "/")
		inet := (kind == "inet" || kind == "inet6") && isHostPort(rest)
		if !unix && !inet {
			faults = append(faults, fmt.Errorf(`listen: %q is not a socket: write "unix:/path" or "inet:127.0.0.1:8893"`, socket))
		}
	}
	return errors.Join(faults...)
}

func (c *Config) checkMode() error {
	if c.Mode != "enforce" && c.Mode != "shadow" {
		return fmt.Errorf(`mode = %q is unknown: write "enforce" or "shadow"`, c.Mode)
	}
	return nil
}

// check wants the address to be of this machine. What goes there may be in
// clear, and whoever can send to it gets around the gateway.
func (r Resubmit) check() error {
	if r.Address == "" {
		return nil
	}
	at, err := netip.ParseAddrPort(r.HostPort())
	if err != nil || !at.Addr().Unmap().IsLoopback() || at.Port() == 0 {
		return fmt.Errorf(`resubmit.address = %q: write a loopback address and a port, as in "inet:127.0.0.1:10026"`, r.Address)
	}
	if !filepath.IsAbs(r.Journal) {
		return fmt.Errorf("resubmit.journal = %q: write the whole path of a file, as in \"/var/lib/smimea/journal.db\"", r.Journal)
	}
	return nil
}

// HostPort is the address without the word in front of it.
func (r Resubmit) HostPort() string { return strings.TrimPrefix(r.Address, "inet:") }

// isHostPort takes Postfix's spelling, host:port, and Sendmail's, port@host.
func isHostPort(s string) bool {
	port, host, ok := strings.Cut(s, "@")
	if !ok {
		var err error
		host, port, err = net.SplitHostPort(s)
		ok = err == nil
	}
	return ok && host != "" && port != ""
}

func (d *DNS) check() error {
	var faults []error
	if d.TrustAnchors == "" {
		faults = append(faults, errors.New(`dns.trust_anchors is empty: write "builtin", or the name of a file`))
	}
	if len(d.Upstreams) == 0 {
		faults = append(faults, errors.New(`dns.upstreams is empty: write ["system"], or a resolver as in ["192.0.2.53:53"]`))
	}
	budget := within("dns.budget", d.Budget, time.Second, maxBudget)
	longest := d.Budget.Duration
	if budget != nil {
		longest = maxBudget
	}
	return errors.Join(append(faults, budget, within("dns.try", d.Try, minTry, longest))...)
}

// within checks a duration.
func within(setting string, d Duration, least, most time.Duration) error {
	switch {
	case d.wrong != "":
		return fmt.Errorf(`%s = %q is not a duration: write a number and its unit, in quotes, as in "2s"`, setting, d.wrong)
	case d.Duration < least || d.Duration > most:
		return fmt.Errorf(`%s = "%v": write a duration from "%v" to "%v"`, setting, d.Duration, least, most)
	}
	return nil
}

func (l *Limits) check() error {
	var faults []error
	if l.Connections < 1 || l.Connections > maxConnections {
		faults = append(faults, fmt.Errorf("limits.connections = %d: write a number from 1 to %d", l.Connections, maxConnections))
	}
	if l.Mails < 1 || l.Mails > maxConnections {
		faults = append(faults, fmt.Errorf("limits.mails = %d: write a number from 1 to %d", l.Mails, maxConnections))
	}
	if l.Copies < 1 || l.Copies > maxCopies {
		faults = append(faults, fmt.Errorf("limits.copies = %d: write a number from 1 to %d", l.Copies, maxCopies))
	}
	return errors.Join(append(faults,
		l.Memory.check("limits.memory", minMemory, "64MB"),
		l.CopiesSize.check("limits.copies_size", minCopiesSize, "1MB"),
		within("limits.wait", l.Wait, time.Second, maxWait))...)
}

// check wants a size of at least so many octets, in words.
func (s Size) check(setting string, least int64, words string) error {
	switch {
	case s.wrong != "":
		return fmt.Errorf(`%s = %q is not a size: write a number and its unit, in quotes, as in "256MB"`, setting, s.wrong)
	case s.Octets < least || s.Octets > maxMemory:
		return fmt.Errorf(`%s is %d octets: write a size from %q to "1000GB"`, setting, s.Octets, words)
	}
	return nil
}

// check wants the address spelt out. A name may come to lie elsewhere, and no
// address at all means every one of the machine, where nobody keeps the world
// from reading.
func (m *Metrics) check() error {
	if m.Listen == "" {
		return nil
	}
	at, err := netip.ParseAddrPort(m.Listen)
	switch {
	case err != nil, at.Port() == 0, at.Addr().IsMulticast():
		return fmt.Errorf(`metrics.listen = %q: write an IP address and a port, as in "127.0.0.1:9893"`, m.Listen)
	case at.Addr().Unmap().IsUnspecified():
		return fmt.Errorf(`metrics.listen = %q is every address of the machine: write the one at which Prometheus asks, as in "127.0.0.1:9893"`, m.Listen)
	}
	return nil
}

func (c *Config) checkRules() error {
	if len(c.Rules) == 0 {
		return errors.New(theTwoRules)
	}
	var faults []error
	for i, rule := range c.gatewayRules() {
		if err := errors.Join(c.Rules[i].check(), checkPatterns(rule)); err != nil {
			faults = append(faults, fmt.Errorf("rule %d: %w", i+1, err))
		}
	}
	return errors.Join(faults...)
}

func (r Rule) check() error {
	return errors.Join(checkAction(r.Action), checkSender(r.Sender), checkCipher(r.Cipher), checkKinds(r.Kinds),
		checkBcc(r.Bcc), r.checkMark(), r.checkUse())
}

// checkUse complains of what has no meaning where nothing is encrypted.
func (r Rule) checkUse() error {
	if r.Action == "never" && (r.Cipher != "" || r.Kinds != nil || r.Mixed || r.Archive != "" || r.Bcc != "") {
		return errors.New(`cipher, kinds, mixed, archive and bcc say how to encrypt, and action = "never" does not: remove them, or write action = "require"`)
	}
	return nil
}

func checkBcc(bcc string) error {
	if bcc != "" && bcc != "alone" && bcc != "together" {
		return fmt.Errorf(`bcc = %q is unknown: write "alone" or "together"`, bcc)
	}
	return nil
}

func (r Rule) checkMark() error {
	if r.SenderMayDecline == "" {
		return nil
	}
	if r.Action != "require" {
		return fmt.Errorf(`sender_may_decline belongs to action = "require", which it softens: remove it from action = %q`, r.Action)
	}
	if _, err := gateway.ParseMark(r.SenderMayDecline); err != nil {
		return fmt.Errorf("sender_may_decline: %w", err)
	}
	return nil
}

func checkCipher(cipher string) error {
	if cipher == "" || cipher == "auto" {
		return nil
	}
	if _, ok := cms.ParseCipher(cipher); ok {
		return nil
	}
	return fmt.Errorf(`cipher = %q is unknown: write "auto", or one of %v`, cipher, cms.Ciphers)
}

func checkKinds(kinds []string) error {
	if kinds != nil && len(kinds) == 0 {
		return errors.New(`kinds is empty: leave it out for all kinds, or write kinds = ["rsa", "ec"]`)
	}
	for i, kind := range kinds {
		if _, ok := cms.ParseKind(kind); !ok {
			return fmt.Errorf(`kinds: %q is unknown: there are %v`, kind, cms.Kinds)
		}
		if slices.Contains(kinds[:i], kind) {
			return fmt.Errorf(`kinds: %q is there twice`, kind)
		}
	}
	return nil
}

func checkAction(action string) error {
	switch action {
	case "":
		return errors.New(`there is no action: write action = "require", "prefer" or "never"`)
	case "protect":
		return errors.New(`action = "protect" is not built yet, since the gateway cannot tell whether the way to a recipient is protected: write "require", or "prefer" where mail may go in clear`)
	case "require", "prefer", "never":
		return nil
	}
	return fmt.Errorf(`action = %q is unknown: write "require", "prefer" or "never"`, action)
}

// checkSender: an empty list would be nobody to some, and everybody to others.
func checkSender(sender []string) error {
	if sender != nil && len(sender) == 0 {
		return errors.New(`sender is empty: leave it out for everybody, or write sender = ["example.org"]`)
	}
	return nil
}

func checkPatterns(rule gateway.Rule) error {
	if len(rule.Recipients) == 0 {
		return errors.New(`there is no recipient: write recipient = ["example.org", ".example.org"], or ["*"] for everybody`)
	}
	rule.Action = gateway.Require // it was looked at already
	return rule.Check()
}
