package gateway

import (
	"context"
	"slices"
	"strings"
)

// A division of a mail says who gets it how.
type division struct {
	hand   Group   // by the mail in hand; empty if that is for nobody
	copies []Group // by copies of their own
	served Group   // by an earlier try
}

// divide divides the mail, in the light of the journal. As it is, it is one copy
// for everybody.
func (m *Mail) divide(ctx context.Context, asItIs bool) (d division, err error) {
	has := func(string) bool { return false }
	if m.known != nil {
		journal := m.gateway.Resubmit.Journal
		m.key = m.known.sum()
		if err := journal.enter(ctx, m.key, m.to); err != nil {
			return d, err
		}
		m.entered = true
		if has, err = journal.served(m.key); err != nil {
			return d, err
		}
	}
	groups := m.groups
	if asItIs {
		groups = []Group{m.to}
	}
	var pending []Group
	for _, g := range groups {
		served, left := g.part(has)
		d.served = append(d.served, served...)
		if len(left) > 0 {
			pending = append(pending, left)
		}
	}
	m.opened = len(d.served) > 0
	d.deal(pending, len(groups) == 1, m.from.Pickup)
	return d, nil
}

// part parts those who have got their copy from those who have not.
func (g Group) part(has func(address string) bool) (served, left Group) {
	for _, r := range g {
		if has(r.address) {
			served = append(served, r)
		} else {
			left = append(left, r)
		}
	}
	return served, left
}

// deal chooses whom the mail in hand is for. Of a mail that was split it is never
// those who get it in clear: should the MTA not take the others off it, they get
// what they cannot read, and nobody reads what he must not.
func (d *division) deal(pending []Group, whole, pickup bool) {
	ambiguous := ambiguousNames(append(slices.Clone(pending), d.served), pickup)
	hand := slices.IndexFunc(pending, func(g Group) bool {
		return whole || !g.plain() && !g.goesBy(ambiguous, pickup)
	})
	for i, g := range pending {
		if i == hand {
			d.hand = g
		} else {
			d.copies = append(d.copies, g)
		}
	}
}

// ambiguousNames are those by which an MTA, told to take somebody off the mail,
// could take somebody of another group for him.
func ambiguousNames(groups []Group, pickup bool) map[string]bool {
	owner := make(map[string]int)
	ambiguous := make(map[string]bool)
	for i, g := range groups {
		for _, r := range g {
			for _, name := range r.names(pickup) {
				if other, ok := owner[name]; ok && other != i {
					ambiguous[name] = true
				}
				owner[name] = i
			}
		}
	}
	return ambiguous
}

// goesBy says whether one of the group goes by one of these names.
func (g Group) goesBy(names map[string]bool, pickup bool) bool {
	return slices.ContainsFunc(g, func(r recipient) bool {
		return slices.ContainsFunc(r.names(pickup), func(name string) bool { return names[name] })
	})
}

// names are what an MTA may know a recipient by. It need not tell upper from lower
// case (Sendmail does not in its own domains), Sendmail goes by what its
// virtusertable says, and Postfix's pickup by what was typed, which may be the
// local part alone.
func (r recipient) names(pickup bool) []string {
	names := []string{lower(mailboxName(r.address))}
	if r.resolved != "" {
		names = append(names, lower(r.resolved))
	}
	if pickup {
		names = append(names, lower(localPart(r.address)))
	}
	return names
}

func localPart(address string) string {
	if i := strings.LastIndexByte(address, '@'); i >= 0 {
		return address[:i]
	}
	return address
}

// removed are those whom the mail in hand is not for, as the MTA knows them. A
// milter names a recipient as it was told him; an MTA that finds nobody of that
// name says nothing.
func (d division) removed(pickup bool) []string {
	var all []string
	seen := make(map[string]bool)
	remove := func(name string) {
		if !seen[name] {
			seen[name] = true
			all = append(all, name)
		}
	}
	gone := slices.Clone(d.copies)
	ambiguous := ambiguousNames([]Group{d.hand, d.served}, pickup)
	for _, r := range d.served {
		if one := (Group{r}); !one.goesBy(ambiguous, pickup) { // rather twice than not at all
			gone = append(gone, one)
		}
	}
	for _, g := range gone {
		for _, r := range g {
			remove(r.address)
			if pickup { // Postfix shows us another name than it has, if that has no domain
				remove(localPart(r.address))
			}
		}
	}
	return all
}
