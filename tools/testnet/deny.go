package testnet

import (
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// A denial proves that there is nothing. Each method returns the record sets
// that make up the proof.
type denial interface {
	// noType: the name exists, with other types or with none.
	noType(name string) []*rrset
	// noName: the name does not exist, and what the wildcard below its
	// closest encloser has or has not is shown too.
	noName(name, encloser string) []*rrset
	// noCloser: the name does not exist, and a wildcard may stand in for it.
	noCloser(name string) []*rrset
}

// A link is one NSEC or NSEC3 record, and where it stands in its chain.
type link struct {
	key []string
	set *rrset
}

// find returns the link at a key, or the one whose gap the key falls into.
func find(links []link, key []string) (set *rrset, exact bool) {
	i, exact := slices.BinarySearchFunc(links, key, func(l link, key []string) int {
		return slices.Compare(l.key, key)
	})
	if !exact {
		i = (i + len(links) - 1) % len(links)
	}
	return links[i].set, exact
}

// An nsecChain denies by RFC 4035, Section 3.1.3.
type nsecChain struct{ links []link }

func (c *nsecChain) at(name string) *rrset {
	set, _ := find(c.links, canonicalLabels(name))
	return set
}

// An empty non-terminal has no NSEC; the one before it leads below it.
func (c *nsecChain) noType(name string) []*rrset { return []*rrset{c.at(name)} }

func (c *nsecChain) noName(name, encloser string) []*rrset {
	return []*rrset{c.at(name), c.at(wildcard(encloser))}
}

func (c *nsecChain) noCloser(name string) []*rrset { return []*rrset{c.at(name)} }

// An nsec3Chain denies by RFC 5155, Section 7.2.
type nsec3Chain struct {
	zone  *zone
	links []link
}

func (c *nsec3Chain) hash(name string) string {
	return dns.HashName(name, dns.SHA1, c.zone.Iterations, c.zone.Salt)
}

func (c *nsec3Chain) at(name string) (set *rrset, exact bool) {
	return find(c.links, []string{c.hash(name)})
}

// A name that opted out has no NSEC3: RFC 5155, Section 7.2.4.
func (c *nsec3Chain) noType(name string) []*rrset {
	if set, exact := c.at(name); exact {
		return []*rrset{set}
	}
	_, proof := c.encloser(name)
	return proof
}

func (c *nsec3Chain) noName(name, _ string) []*rrset {
	encloser, proof := c.encloser(name)
	set, _ := c.at(wildcard(encloser))
	return append(proof, set)
}

func (c *nsec3Chain) noCloser(name string) []*rrset {
	_, proof := c.encloser(name)
	return proof[1:]
}

// encloser returns the closest name that the chain shows to exist, with that
// proof and the one that the next closer name does not (RFC 5155, Section 7.2.1).
func (c *nsec3Chain) encloser(name string) (string, []*rrset) {
	for name != c.zone.Name {
		closer := name
		name = parent(name)
		if set, exact := c.at(name); exact {
			gap, _ := c.at(closer)
			return name, []*rrset{set, gap}
		}
	}
	return name, []*rrset{c.links[0].set, c.links[0].set} // not reached: the apex is in each chain
}

func wildcard(encloser string) string { return "*." + strings.TrimPrefix(encloser, ".") }
