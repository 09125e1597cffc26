package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"smimea.example/internal/gateway"
)

// addressMaps are Postfix's tables that give a mail other recipients, after the
// gateway has been asked about those it came with.
var addressMaps = []string{
	"canonical_maps", "recipient_canonical_maps", "virtual_alias_maps",
	"recipient_bcc_maps", "sender_bcc_maps", "alias_maps",
}

// addresses are the single addresses that do, and for whom.
var addresses = []struct{ parameter, whose string }{
	{"always_bcc", "every mail"},
	{"luser_relay", "an unknown user"},
}

// behindParameters are the names of all these.
func behindParameters() []string {
	names := slices.Clone(addressMaps)
	for _, a := range addresses {
		names = append(names, a.parameter)
	}
	return names
}

// notations are the ways to write an address elsewhere as one of the house.
var notations = []struct{ parameter, form string }{
	{"allow_percent_hack", "user%elsewhere@own"},
	{"swap_bangpath", "elsewhere!user@own"},
}

// A behind looks for what leads out of the house behind the gateway's back.
type behind struct {
	*report
	mta   map[string]string
	house gateway.Gateway // without a key store, nothing is looked up
	again bool            // what leaves passes the gateway once more
	out   int             // how many entries lead out
}

// behindBack names what Postfix does to recipients after the gateway has seen
// them, as far as that may lead out of the house.
func (r *report) behindBack(mta map[string]string, sockets []string, rules []gateway.Rule) {
	b := behind{report: r, mta: mta, house: gateway.Gateway{Rules: rules}}
	b.again = r.passesAgain(mta, sockets)
	b.declined(rules)
	for _, parameter := range addressMaps {
		b.everywhere(parameter, b.maps)
	}
	for _, a := range addresses {
		b.everywhere(a.parameter, func(parameter, value string) {
			found := findings{behind: &b, parameter: parameter}
			found.entry(mapEntry{a.whose, value})
			found.sum(value, nil)
		})
	}
	b.forwards()
	b.rerouted(asks(mta["smtpd_milters"], mta, sockets))
	if b.out > 0 && !b.again {
		r.warn("what leads out of the house leaves in PLAINTEXT (let it pass once more: smimea-milter(8), ALIASES AND FORWARDS)")
	}
}

// declined: the mark is taken off when the mail comes, and is missing when it
// leaves.
func (b *behind) declined(rules []gateway.Rule) {
	marked := func(r gateway.Rule) bool { return r.Mark != gateway.Mark{} }
	if b.again && slices.ContainsFunc(rules, marked) {
		b.warn("sender_may_decline: who declines is refused when his mail passes once more (use one of the two)")
	}
}

// everywhere looks at what a parameter is in main.cf, and in master.cf.
func (b *behind) everywhere(parameter string, look func(parameter, value string)) {
	if value := b.mta[parameter]; value != "" {
		look(parameter, value)
	}
	for own, value := range ofServices(b.mta, parameter) {
		if value != "" {
			look(own, value)
		}
	}
}

// maps looks at a list of tables.
func (b *behind) maps(parameter, value string) {
	list := "postmap"
	if parameter[strings.LastIndexByte(parameter, '/')+1:] == "alias_maps" {
		list = "postalias"
	}
	for _, table := range listItems(value) {
		found := findings{behind: b, parameter: parameter}
		found.sum(table, readMap(list, table, found.entry))
	}
}

// forwards: everybody with an account may forward his mail. His files are his
// own, and are not read here.
func (b *behind) forwards() {
	kind, _, _ := strings.Cut(b.mta["local_transport"], ":")
	switch {
	case b.mta["forward_path"] == "" || b.mta["mydestination"] == "" || kind != "local":
	case b.again:
		b.ok("forward_path: what .forward files lead to passes the gateway once more")
	default:
		b.warn("forward_path: .forward files of local users may lead out of the house, and were not read (postconf -e forward_path= if nobody needs them, or let it pass once more)")
	}
}

// rerouted: Postfix takes the house's own domain off such an address, and sends
// to the other. The gateway refuses these, where it is asked.
func (b *behind) rerouted(everything bool) {
	for _, n := range notations {
		switch {
		case b.mta[n.parameter] != "yes":
		case everything:
			b.ok("%s = yes: the gateway refuses %s", n.parameter, n.form)
		case b.again:
			b.ok("%s = yes: what %s leads to passes the gateway once more", n.parameter, n.form)
		default:
			b.warn("%s = yes: %s leads out of the house (postconf -e %s=no)", n.parameter, n.form, n.parameter)
		}
	}
}

// leads says whether an address leads out of the house, which is what the
// rules call `never`.
func (b *behind) leads(address string) bool {
	address = strings.TrimSuffix(strings.TrimPrefix(address, "<"), ">")
	if strings.HasPrefix(address, "@") { // whoever it was, there
		address = "somebody" + address
	}
	if !strings.ContainsAny(address, "@%!") {
		return false // of $myorigin
	}
	e := b.house.Explain(context.Background(), "somebody@elsewhere.invalid", address)
	return e.Rule.Action != gateway.Never || e.Reply.Action != gateway.Accept
}

// findings are those about one table.
type findings struct {
	*behind
	parameter string

	entries    int
	named      int // of those, as leading out
	lists      int // files of lists
	unreadable int // of those
}

// mostNamed is how many entries of a table are named, the others are counted.
const mostNamed = 10

func (f *findings) entry(e mapEntry) {
	f.entries++
	for _, to := range f.targets(e) {
		if f.leads(to) {
			f.name(e.key, to)
			return
		}
	}
}

func (f *findings) name(key, to string) {
	f.out++
	f.named++
	switch {
	case f.named > mostNamed:
	case f.again:
		f.ok("%s: %s leads to %s, through the gateway", f.parameter, short(key), short(to))
	default:
		f.warn("%s: %s leads to %s", f.parameter, short(key), short(to))
	}
}

// sum tells of what has not been named.
func (f *findings) sum(table string, err error) {
	table = short(table)
	switch more := f.named - mostNamed; {
	case more > 0 && f.again:
		f.ok("%s: %d more of %s lead out, through the gateway", f.parameter, more, table)
	case more > 0:
		f.warn("%s: %d more of %s lead out of the house", f.parameter, more, table)
	case f.named == 0 && f.unreadable == 0 && err == nil:
		f.ok("%s: %s: nothing leads out of the house (%s)", f.parameter, table, count(f.entries, "entry"))
	}
	switch {
	case err != nil && f.entries > 0:
		f.doubt("%s: %s was read in part: %v", f.parameter, table, err)
	case err != nil:
		f.doubt("%s: %s was not read: %v", f.parameter, table, err)
	}
	if more := f.unreadable - mostNamed; more > 0 {
		f.doubt("%s: %d more lists of %s were not read", f.parameter, more, table)
	}
}

// targets are the addresses of an entry, those in the files of lists included.
// Commands and files are none: what a command sends passes the gateway, too.
func (f *findings) targets(e mapEntry) []string {
	var all []string
	seen := make(map[string]bool)
	for rest := splitTargets(e.value); len(rest) > 0; rest = rest[1:] {
		to := strings.Trim(rest[0], `"`)
		path, isList := strings.CutPrefix(to, ":include:")
		switch {
		case isList && !seen[path]:
			seen[path] = true
			rest = append(rest, f.members(e.key, path)...)
		case isList, to == "", to[0] == '|', to[0] == '/' && !strings.Contains(to, "@"):
		default:
			all = append(all, rest[0])
		}
	}
	return all
}

// Bounds of the lists of a table.
const (
	maxLists = 1000
	maxList  = 1 << 20 // octets of a list's file
)

// members are the addresses in the file of a list.
func (f *findings) members(key, path string) (all []string) {
	f.lists++
	if f.lists > maxLists {
		f.unread(key, fmt.Errorf("only %d lists of a table are", maxLists))
		return nil
	}
	file, err := os.Open(path)
	if err != nil {
		f.unread(key, err)
		return nil
	}
	defer file.Close()
	bounded := &io.LimitedReader{R: file, N: maxList}
	err = readLogical(bounded, func(line string) { all = append(all, splitTargets(line)...) })
	if err == nil && bounded.N == 0 {
		err = fmt.Errorf("%s has more than %d octets", path, maxList)
	}
	if err != nil {
		f.unread(key, err)
	}
	return all
}

// unread tells of a list that was not read, or not to its end.
func (f *findings) unread(key string, err error) {
	f.unreadable++
	if f.unreadable <= mostNamed {
		f.doubt("%s: %s: its list was not read: %v", f.parameter, short(key), err)
	}
}

// doubt is for what may lead out of the house.
func (b *behind) doubt(format string, args ...any) {
	if b.again {
		b.ok(format, args...)
	} else {
		b.warn(format+" (see yourself whether it leads out of the house)", args...)
	}
}

// splitTargets takes a list of addresses apart, at commas and blanks that are
// not in quotes. Of a name with an address nothing is lost by that: the words of
// the name lead nowhere.
func splitTargets(list string) []string {
	quoted, escaped := false, false
	return strings.FieldsFunc(list, func(c rune) bool {
		switch {
		case escaped:
			escaped = false
		case c == '\\':
			escaped = true
		case c == '"':
			quoted = !quoted
		default:
			return !quoted && strings.ContainsRune(separators, c)
		}
		return false
	})
}

// short makes room for two of a kind in a line, and lets no control characters
// into it.
func short(s string) string {
	const most = 40
	s = strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f {
			return '?'
		}
		return c
	}, s)
	if r := []rune(s); len(r) > most {
		return string(r[:most-3]) + "..."
	}
	return s
}
