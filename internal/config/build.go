package config

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"smimea.example/internal/gateway"
	"smimea.example/keystore"
	"smimea.example/smimea"
	"smimea.example/smimea/dnssec"
)

// Built is what the settings describe, ready for work.
type Built struct {
	Gateway  *gateway.Gateway
	Resolver *dnssec.Validator

	// Pinned is the directory of pinned certificates, to be read again when
	// the daemon is told to; nil if there is none.
	Pinned *keystore.Dir

	close func()
}

// Close ends what is being asked, and closes the connections to the resolvers.
func (b *Built) Close() { b.close() }

// Build plugs resolver, key store and gateway together: the pinned certificates
// first, then a cache in front of what the DNS publishes. It reads the files
// that the settings name, and asks nobody anything. An error names the setting.
func (c *Config) Build() (*Built, error) {
	pinned, err := c.Keys.open()
	if err != nil {
		return nil, err
	}
	resolver, err := c.DNS.resolver()
	if err != nil {
		return nil, err
	}
	budget := c.DNS.Budget.Duration
	published := &keystore.Cache{
		Source: keystore.Published{Client: smimea.Client{Resolver: resolver}},
		Budget: budget,
	}
	keys := keystore.Chain{published}
	if pinned != nil {
		keys = keystore.Chain{pinned, published}
	}
	return &Built{
		Gateway: &gateway.Gateway{
			Rules:  c.gatewayRules(),
			Keys:   keys,
			Budget: budget,
			Memory: c.Limits.Memory.Octets / 2,
			Wait:   c.Limits.Wait.Duration,
		},
		Resolver: resolver,
		Pinned:   pinned,
		close:    resolver.Close,
	}, nil
}

func (k Keys) open() (*keystore.Dir, error) {
	if k.Pinned == "" {
		return nil, nil
	}
	dir, err := keystore.OpenDir(k.Pinned)
	if err != nil {
		return nil, fmt.Errorf("keys.pinned: %w", err)
	}
	return dir, nil
}

func (d DNS) resolver() (*dnssec.Validator, error) {
	servers, err := d.servers()
	if err != nil {
		return nil, fmt.Errorf("dns.upstreams: %w", err)
	}
	anchors, err := d.anchors()
	if err != nil {
		return nil, err
	}
	v, err := dnssec.New(dnssec.Options{
		Servers: servers,
		Anchors: anchors,
		Try:     d.Try.Duration,
		Budget:  d.Budget.Duration,
	})
	if err != nil {
		return nil, fmt.Errorf("dns: %w", err)
	}
	return v, nil
}

// servers puts the system's resolvers in the place of "system".
func (d DNS) servers() ([]string, error) {
	var servers []string
	for _, upstream := range d.Upstreams {
		if upstream == "system" {
			system, err := dnssec.SystemServers()
			if err != nil {
				return nil, err
			}
			servers = append(servers, system...)
			continue
		}
		server, err := dnssec.ParseServer(upstream)
		if err != nil {
			return nil, err
		}
		servers = append(servers, server)
	}
	return servers, nil
}

func (d DNS) anchors() ([]dnssec.Anchor, error) {
	anchors, err := d.rootAnchors()
	if err != nil {
		return nil, fmt.Errorf("dns.trust_anchors: %w", err)
	}
	if len(d.PrivateAnchors) == 0 {
		return anchors, nil
	}
	private, err := dnssec.ParseAnchors(strings.NewReader(strings.Join(d.PrivateAnchors, "\n")))
	if err != nil {
		return nil, fmt.Errorf("dns.private_anchors: %w", err)
	}
	return slices.Concat(anchors, private), nil
}

func (d DNS) rootAnchors() ([]dnssec.Anchor, error) {
	if d.TrustAnchors == "builtin" {
		return dnssec.BuiltinAnchors(), nil
	}
	f, err := os.Open(d.TrustAnchors)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return dnssec.ParseAnchors(f)
}
