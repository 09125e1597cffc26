package config

import (
	"encoding/pem"
	"fmt"
	"os"
	"slices"
	"strings"

	"smimea.example/internal/cms"
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
	rules, err := c.builtRules()
	if err != nil {
		resolver.Close()
		return nil, err
	}
	keys := keystore.Chain{published}
	if certificates.Pinned != nil {
		keys = keystore.Chain{certificates.Pinned, published}
	}
	return &Built{
		Gateway: &gateway.Gateway{
			Rules:    rules,
			Keys:     keys,
			Budget:   budget,
			Memory:   c.Limits.Memory.Octets / 2,
			Wait:     c.Limits.Wait.Duration,
			Resubmit: c.resubmission(),
			Shadow:   c.Mode == "shadow",
		},
		Resolver:     resolver,
		Certificates: certificates,
		published:    published,
		close:        resolver.Close,
	}, nil
}

// Policy is a gateway that has the rules and nothing of what they name, to replay
// what was logged. It finds no keys.
func (c *Config) Policy() *gateway.Gateway {
	return &gateway.Gateway{Rules: c.gatewayRules(), Resubmit: c.resubmission()}
}

// builtRules are the gateway's rules with the archives that they name.
func (c *Config) builtRules() ([]gateway.Rule, error) {
	rules := c.gatewayRules()
	for i, r := range c.Rules {
		if r.Archive == "" {
			continue
		}
		archive, err := readArchive(r.Archive)
		if err != nil {
			return nil, fmt.Errorf("rule %d: archive: %w", i+1, err)
		}
		rules[i].Archive = archive
	}
	return rules, nil
}

// readArchive wants an RSA key: that is the one kind beside which every reader
// finds its own.
func readArchive(path string) (cms.Recipient, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return cms.Recipient{}, err
	}
	if block, _ := pem.Decode(data); block != nil {
		data = block.Bytes
	}
	archive, err := cms.NewRecipient(data)
	switch {
	case err != nil:
		return cms.Recipient{}, fmt.Errorf("%s: %w", path, err)
	case archive.Kind() != cms.RSA:
		return cms.Recipient{}, fmt.Errorf("%s: the key is of kind %s, which would lock old mail programs out of every envelope; take a certificate with an RSA key", path, archive.Kind())
	}
	return archive, nil
}

// resubmission is the way for copies, without its journal.
func (c *Config) resubmission() *gateway.Resubmission {
	if c.Resubmit.Address == "" {
		return nil
	}
	return &gateway.Resubmission{
		Address: c.Resubmit.HostPort(),
		Copies:  c.Limits.Copies,
		Octets:  c.Limits.CopiesSize.Octets,
	}
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
