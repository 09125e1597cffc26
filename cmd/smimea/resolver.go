package main

import (
	"bytes"
	"time"

	"github.com/spf13/cobra"

	"smimea.example/smimea/dnssec"
)

// resolverFlags are the flags of every command that looks something up.
type resolverFlags struct {
	servers []string
	anchors string
	at      string
	json    bool

	evidence bool // keep what proves an answer
}

func (f *resolverFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringArrayVar(&f.servers, "server", nil, "recursive resolver to ask, `HOST:PORT` or tls://HOST:PORT#NAME (repeatable; default: /etc/resolv.conf)")
	flags.StringVar(&f.anchors, "trust-anchor", "", "`FILE` with DS or DNSKEY lines, such as Debian's root.ds, or IANA's root-anchors.xml (default: the root's keys)")
	flags.StringVar(&f.at, "at", "", "validate as of that `TIME`, such as 2026-11-25T07:00:00Z (default: now)")
	flags.BoolVar(&f.json, "json", false, "print JSON, one object a line")
}

// resolver is the resolver that the flags ask for, and the clock that counts.
func (f *resolverFlags) resolver() (*dnssec.Validator, func() time.Time, error) {
	now, err := f.clock()
	if err != nil {
		return nil, nil, err
	}
	servers, err := f.upstreams()
	if err != nil {
		return nil, nil, err
	}
	anchors, err := f.trustAnchors()
	if err != nil {
		return nil, nil, err
	}
	v, err := dnssec.New(dnssec.Options{Servers: servers, Anchors: anchors, Now: now, Evidence: f.evidence})
	return v, now, err
}

// upstreams are whom to ask.
func (f *resolverFlags) upstreams() ([]string, error) {
	if len(f.servers) == 0 {
		servers, err := dnssec.SystemServers()
		if err != nil {
			return nil, failure("%w", err).hint("name a resolver with --server HOST:PORT")
		}
		return servers, nil
	}
	var servers []string
	for _, s := range f.servers {
		server, err := dnssec.ParseServer(s)
		if err != nil {
			return nil, wrongUsage("--server: %w", err).hint("a resolver is written as in 192.0.2.53:53 or tls://192.0.2.53:853#dns.example.net")
		}
		servers = append(servers, server)
	}
	return servers, nil
}

// trustAnchors are what every proof begins with.
func (f *resolverFlags) trustAnchors() ([]dnssec.Anchor, error) {
	if f.anchors == "" {
		return dnssec.BuiltinAnchors(), nil
	}
	content, err := readFile(f.anchors)
	if err != nil {
		return nil, err
	}
	anchors, err := dnssec.ParseAnchors(bytes.NewReader(content))
	if err != nil {
		return nil, failure("%s: %w", f.anchors, err).
			hint("a trust anchor is a line such as \". IN DS 20326 8 2 E06D…\"")
	}
	return anchors, nil
}

// clock is the time of --at, standing still, or the present.
func (f *resolverFlags) clock() (func() time.Time, error) {
	if f.at == "" {
		return time.Now, nil
	}
	for _, layout := range []string{time.RFC3339, time.DateTime, time.DateOnly} {
		if t, err := time.Parse(layout, f.at); err == nil {
			return func() time.Time { return t }, nil
		}
	}
	return nil, wrongUsage("no such time: %q", f.at).
		hint("write it as 2026-11-25 or 2026-11-25T07:00:00Z")
}
