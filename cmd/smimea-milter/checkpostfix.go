package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"smimea.example/internal/gateway"
	"smimea.example/milter"
)

// parameters are what is asked of postconf(1).
var parameters = []string{
	"queue_directory", "milter_default_action", "milter_protocol", "smtpd_milters", "non_smtpd_milters",
	"message_size_limit", "mailbox_size_limit", "virtual_mailbox_limit", "receive_override_options", "enable_original_recipient", "default_process_limit",
	daemonName,
	"myorigin", "mydestination", "virtual_alias_domains", "virtual_mailbox_domains", "relay_domains",
	"local_transport", "forward_path", "allow_percent_hack", "swap_bangpath",
	"default_transport", "transport_maps", "sender_dependent_default_transport_maps",
}

// overrides are those of which services of master.cf may have their own.
var overrides = []string{
	"*/inet/smtpd_milters", "*/inet/" + daemonName, "*/inet/content_filter",
	"*/*/milter_default_action", "*/*/receive_override_options",
}

// readPostfix reads Postfix's parameters, with everything in them expanded, and
// what single services of master.cf have instead (named
// "submission/inet/smtpd_milters"). postconf looks where MAIL_CONFIG says, if
// it is set.
func readPostfix() (map[string]string, error) {
	if _, err := exec.LookPath("postconf"); err != nil {
		return nil, errors.New("there is no postconf here; for another mail server see smimea-milter(8)")
	}
	values := make(map[string]string)
	main, master := append([]string{"-x"}, parameters...), append([]string{"-Px"}, overrides...)
	for _, parameter := range behindParameters() {
		main, master = append(main, parameter), append(master, "*/*/"+parameter)
	}
	for _, args := range [][]string{main, master, {"-F", "*/inet/process_limit"}} {
		if err := postconf(values, args...); err != nil {
			return nil, err
		}
	}
	values["myorigin"] = readOrigin(values["myorigin"])
	return values, nil
}

// readOrigin reads the file that myorigin may name; in Debian it does.
func readOrigin(value string) string {
	if !strings.HasPrefix(value, "/") {
		return value
	}
	content, err := os.ReadFile(value)
	if err != nil {
		return value
	}
	first, _, _ := strings.Cut(string(content), "\n")
	return strings.TrimSpace(first)
}

// postconf adds what postconf(1) prints, lines of "name = value".
func postconf(values map[string]string, args ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "postconf", args...).Output()
	if err != nil {
		return fmt.Errorf("postconf: %w", err)
	}
	for line := range strings.Lines(string(out)) {
		if name, value, ok := strings.Cut(line, "="); ok {
			values[strings.TrimSpace(name)] = strings.TrimSpace(value)
		}
	}
	return nil
}

// postfix looks whether Postfix does its part.
func (r *report) postfix(mta map[string]string, sockets []string, rules []gateway.Rule) {
	r.defaultActions(mta)
	r.overridden(mta)
	if p := mta["milter_protocol"]; p != "6" {
		r.warn("milter_protocol = %s: the gateway needs version 6 and refuses to talk (postconf -e milter_protocol=6)", p)
	}
	r.smtpMilters(mta, sockets)
	const local = "what programs of this machine send"
	if !r.milters("non_smtpd_milters", local, mta, sockets) {
		r.missing("non_smtpd_milters", local, mta, sockets)
	}
	r.sizeLimit(mta["message_size_limit"])
	r.originalRecipients(mta["enable_original_recipient"])
	r.daemonNames(mta)
	r.mailboxLimit("mailbox_size_limit", "local", mta)
	r.mailboxLimit("virtual_mailbox_limit", "virtual", mta)
	r.ownDomains(mta, rules)
	r.behindBack(mta, sockets, rules)
}

// defaultActions looks at what holds for all services, and for single ones.
func (r *report) defaultActions(mta map[string]string) {
	const parameter = "milter_default_action"
	r.defaultAction(parameter, mta[parameter])
	for own, action := range ofServices(mta, parameter) {
		r.defaultAction(own, action)
	}
}

// overridden: Postfix asks no milter at all where it is told no_milters.
func (r *report) overridden(mta map[string]string) {
	const parameter, option = "receive_override_options", "no_milters"
	if slices.Contains(fields(mta[parameter]), option) {
		r.warn("%s has %s: NOTHING goes through the gateway (remove it from main.cf)", parameter, option)
	}
	for own, value := range ofServices(mta, parameter) {
		if slices.Contains(fields(value), option) {
			r.warn("%s has %s: what comes by %s does NOT go through the gateway (right only where a filter gives mail back)",
				own, option, strings.TrimSuffix(own, "/"+parameter))
		}
	}
}

// ofServices are a parameter's values in master.cf, in the order of their
// names.
func ofServices(mta map[string]string, parameter string) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for _, own := range slices.Sorted(maps.Keys(mta)) {
			if strings.HasSuffix(own, "/"+parameter) && !yield(own, mta[own]) {
				return
			}
		}
	}
}

// fields takes one of Postfix's lists apart.
func fields(list string) []string {
	return strings.FieldsFunc(list, func(c rune) bool { return strings.ContainsRune(separators, c) })
}

// defaultAction is what Postfix does when the gateway is not there.
func (r *report) defaultAction(parameter, action string) {
	switch action {
	case "tempfail", "shutdown": // the latter is the default from Postfix 3.11 on
		r.ok("%s = %s: without the gateway no mail leaves", parameter, action)
	case "accept":
		r.warn("%s = accept: without the gateway mail leaves in PLAINTEXT (%s)", parameter, toTempfail(parameter))
	default:
		r.warn("%s = %s: without the gateway mail is not just deferred (%s)", parameter, action, toTempfail(parameter))
	}
}

// toTempfail says how to set a parameter of main.cf or of a service.
func toTempfail(parameter string) string {
	switch {
	case strings.Contains(parameter, ","): // of one milter in a list
		return "write tempfail there"
	case strings.Contains(parameter, "/"):
		return "postconf -P " + parameter + "=tempfail"
	}
	return "postconf -e " + parameter + "=tempfail"
}

// smtpMilters looks at what comes by SMTP: by all services, or by some of
// master.cf that have milters of their own.
func (r *report) smtpMilters(mta map[string]string, sockets []string) {
	const parameter, what = "smtpd_milters", "what comes by SMTP"
	everywhere := r.milters(parameter, what, mta, sockets)
	somewhere, ownListener := everywhere, false
	for own := range ofServices(mta, parameter) {
		service := strings.TrimSuffix(own, "/inet/"+parameter)
		switch {
		case r.isListener(service):
			ownListener = true
			r.listener(mta, service, asks(mta[own], mta, sockets))
		case r.milters(own, "what comes by "+service, mta, sockets):
			somewhere = true
		case everywhere:
			r.warn("%s: what comes by %s does NOT go through the gateway (right only where a filter gives mail back)", own, service)
		}
	}
	if !somewhere {
		r.missing(parameter, what, mta, sockets)
	}
	if r.copies != "" && everywhere && !ownListener {
		r.sharedListener(mta)
	}
}

// asks says whether a list of milters has our socket in it.
func asks(list string, mta map[string]string, sockets []string) bool {
	unheard := report{w: io.Discard}
	return unheard.milters("", "", map[string]string{"": list, "queue_directory": mta["queue_directory"]}, sockets)
}

// missing says that a list of milters should have our socket in it.
func (r *report) missing(parameter, what string, mta map[string]string, sockets []string) {
	r.warn("%s: %s does NOT go through the gateway (add %s)", parameter, what, asPostfixSees(sockets[0], mta["queue_directory"]))
}

// milters looks for our socket in a list of milters, and says what it finds.
func (r *report) milters(parameter, what string, mta map[string]string, sockets []string) (found bool) {
	for _, m := range parseMilters(mta[parameter]) {
		for _, socket := range sockets {
			same, note := sameSocket(m.endpoint, socket, mta["queue_directory"])
			if !same {
				continue
			}
			if note != "" {
				r.warn("%s: %s: %s", parameter, m.endpoint, note)
			} else {
				r.ok("%s: %s goes through the gateway", parameter, what)
			}
			if m.action != "" {
				r.defaultAction(parameter+", default_action", m.action)
			}
			return true
		}
	}
	return false
}

// A milterEntry is one of Postfix's list of milters.
type milterEntry struct {
	endpoint string
	action   string // its own default_action
}

// parseMilters reads a list of "inet:host:port" and "{ unix:path, name = value }".
func parseMilters(value string) []milterEntry {
	var entries []milterEntry
	for value = skipSeparators(value); value != ""; value = skipSeparators(value) {
		var entry string
		if strings.HasPrefix(value, "{") {
			entry, value, _ = strings.Cut(value[1:], "}")
		} else {
			end := strings.IndexAny(value+" ", separators)
			entry, value = value[:end], value[end:]
		}
		entries = append(entries, parseMilter(entry))
	}
	return entries
}

const separators = ", \t\n"

func skipSeparators(s string) string { return strings.TrimLeft(s, separators) }

func parseMilter(entry string) milterEntry {
	first, rest, _ := strings.Cut(entry, ",")
	m := milterEntry{endpoint: strings.TrimSpace(first)}
	for option := range strings.SplitSeq(rest, ",") {
		if name, value, ok := strings.Cut(option, "="); ok && strings.TrimSpace(name) == "default_action" {
			m.action = strings.TrimSpace(value)
		}
	}
	return m
}

// sameSocket says whether Postfix's endpoint is the socket that we listen at.
// Debian's smtpd and cleanup run chrooted in the queue directory.
func sameSocket(endpoint, socket, queue string) (same bool, note string) {
	network, ours, err := milter.ParseSpec(socket)
	if err != nil {
		return false, ""
	}
	kind, path, _ := strings.Cut(endpoint, ":")
	if network == "tcp" {
		_, theirs, err := milter.ParseSpec(endpoint)
		return err == nil && local(theirs) == local(ours), ""
	}
	if kind != "unix" && kind != "local" {
		return false, ""
	}
	switch ours = filepath.Clean(ours); ours {
	case filepath.Join(queue, path):
		return true, ""
	case filepath.Clean(path):
		return true, "a chrooted smtpd, as Debian's, does not find it there (write " + asPostfixSees(socket, queue) + ")"
	}
	return false, ""
}

func local(address string) string {
	return strings.Replace(address, "localhost:", "127.0.0.1:", 1)
}

// asPostfixSees is what to write into main.cf: a path below the queue directory
// is found there with and without chroot.
func asPostfixSees(socket, queue string) string {
	network, address, err := milter.ParseSpec(socket)
	if err != nil {
		return socket
	}
	if network == "tcp" {
		return "inet:" + address
	}
	if rel, err := filepath.Rel(queue, address); err == nil && filepath.IsLocal(rel) {
		return "unix:" + rel
	}
	return "unix:" + address
}

// largest is the size of mail that most houses let their people send.
const largest = 25_000_000

// sizeLimit: an encrypted mail is base64 once more, and Postfix measures that.
// What is too large is refused for good, at its very end.
func (r *report) sizeLimit(value string) {
	limit, err := strconv.ParseInt(value, 10, 64)
	switch {
	case err != nil:
		r.warn("message_size_limit = %s cannot be read", value)
	case limit == 0:
		r.ok("message_size_limit = 0: mails may be of any size")
	case limit < largest*14/10:
		r.warn("message_size_limit = %d: mails of more than %s are refused when they have been encrypted, to 1.4 times their size (for 25 MB: postconf -e message_size_limit=%d)",
			limit, megabytes(limit*10/14), largest*14/10)
	default:
		r.ok("message_size_limit = %d: mails of up to %s leave room to encrypt them", limit, megabytes(limit*10/14))
	}
}

// mailboxLimit: a delivery agent does not start when mails may be larger than
// its mailboxes. Who makes room for encrypted mails comes upon that.
func (r *report) mailboxLimit(parameter, agent string, mta map[string]string) {
	message, err := strconv.ParseInt(mta["message_size_limit"], 10, 64)
	if err != nil {
		return // which has been said
	}
	mailbox, err := strconv.ParseInt(mta[parameter], 10, 64)
	if err != nil || mailbox == 0 || message > 0 && message <= mailbox {
		return
	}
	r.warn("%s = %d: %s(8) delivers nothing while it is below message_size_limit (postconf -e %s=0)",
		parameter, mailbox, agent, parameter)
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }

// ownDomains: mail to the house's own people comes by here as well, and what
// no `never` rule covers would need a key.
func (r *report) ownDomains(mta map[string]string, rules []gateway.Rule) {
	// Without a key store nothing is looked up.
	g := gateway.Gateway{Rules: rules}
	var open []string
	domains, skipped := postfixDomains(mta)
	outright := ""
	if skipped {
		outright = " (those named outright)"
	}
	for _, domain := range domains {
		host := domain
		if strings.HasPrefix(domain, ".") {
			host = "any" + domain
		}
		e := g.Explain(context.Background(), "somebody@elsewhere.invalid", "somebody@"+host)
		if e.Rule.Action != gateway.Never {
			open = append(open, domain)
		}
	}
	switch {
	case len(open) > 0:
		r.warn("Postfix's own domains %s%s: no `never` rule covers them, so that mail to your own people needs keys and may be refused (add them to the first rule)",
			strings.Join(open, ", "), outright)
	case len(domains) > 0:
		r.ok("Postfix's own domains%s: mail to your own people stays as it is", outright)
	}
}

// postfixDomains are the domains that Postfix's lists name outright, and that
// which it puts behind a bare "root". It says whether tables and files were
// skipped.
func postfixDomains(mta map[string]string) (domains []string, skipped bool) {
	seen := make(map[string]bool)
	for _, parameter := range []string{"mydestination", "myorigin", "virtual_alias_domains", "virtual_mailbox_domains", "relay_domains"} {
		for _, item := range fields(mta[parameter]) {
			switch {
			case strings.ContainsAny(item, ":/!$[{}"):
				skipped = true
			case !seen[item]:
				seen[item] = true
				domains = append(domains, item)
			}
		}
	}
	return domains, skipped
}
