package config

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"smimea.example/internal/gateway"
	"smimea.example/keystore"
	"smimea.example/smimea/dnssec"
)

// Built is what the settings describe, ready for work.
type Built struct {
	Gateway  *gateway.Gateway
	Resolver *dnssec.Validator

	// Certificates is what the table [keys] names, to be read again when the
	// daemon is told to.
	Certificates

	published *keystore.Cache
	close     func()
}

// Close ends what is being asked, and closes the connections to the resolvers.
func (b *Built) Close() { b.close() }

// Forget forgets what the DNS published: it was judged by candidates and CRLs
// that have changed.
func (b *Built) Forget() { b.published.Forget() }

// Build plugs resolver, key store and gateway together: the pinned certificates
// first, then a cache in front of what the DNS publishes. It reads the files
// that the settings name, and asks nobody anything. An error names the setting.
func (c *Config) Build() (*Built, error) {
	certificates, err := c.Keys.open()
	if err != nil {
		return nil, err
	}
	resolver, err := c.DNS.resolver()
	if err != nil {
		return nil, err
	}
	budget := c.DNS.Budget.Duration
	published := &keystore.Cache{
		Source: certificates.published(resolver),
		Budget: budget,
	}
	keys := keystore.Chain{published}
	if certificates.Pinned != nil {
		keys = keystore.Chain{certificates.Pinned, published}
	}
	return &Built{
		Gateway: &gateway.Gateway{
			Rules:  c.gatewayRules(),
			Keys:   keys,
			Budget: budget,
			Memory: c.Limits.Memory.Octets / 2,
			Wait:   c.Limits.Wait.Duration,
		},
		Resolver:     resolver,
		Certificates: certificates,
		published:    published,
		close:        resolver.Close,
	}, nil
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
