package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"smimea.example/internal/config"
	"smimea.example/milter"
	"smimea.example/smimea/dnssec"
)

// A report prints findings, one a line, and remembers whether one was an error.
type report struct {
	w      io.Writer
	failed bool
	copies string // where copies go, host:port; empty for nowhere
	most   int    // how many of one mail
}

func (r *report) ok(format string, args ...any) {
	fmt.Fprintf(r.w, "ok: "+format+"\n", args...)
}

// warn is for what may be meant: it says what to do if it is not.
func (r *report) warn(format string, args ...any) {
	fmt.Fprintf(r.w, "warning: "+format+"\n", args...)
}

func (r *report) fail(format string, args ...any) {
	r.failed = true
	fmt.Fprintf(r.w, "error: "+format+"\n", args...)
}

// checkAll tries everything the settings name, and returns the exit code.
func checkAll(path string, stdout io.Writer) int {
	r := &report{w: stdout}
	r.everything(path)
	if r.failed {
		return 1
	}
	return 0
}

func (r *report) everything(path string) {
	settings, err := config.Load(path)
	if err != nil {
		r.fail("%v", err)
		return
	}
	house, err := settings.Build()
	if err != nil {
		r.fail("%s: %v", path, err)
		without := *settings
		without.Keys = config.Keys{} // which are what is mostly at fault
		if house, err = without.Build(); err != nil {
			return
		}
	}
	defer house.Close()
	r.ok("%s: %s", path, count(len(settings.Rules), "rule"))
	r.shadow(settings)
	r.keys(settings.Keys, house.Certificates, time.Now()) // says nothing of what was not read
	r.archives(house.Gateway.Rules, time.Now())
	for _, upstream := range settings.DNS.Upstreams {
		r.upstream(settings, upstream)
	}
	for _, zone := range house.Resolver.AnchorZones() {
		r.trustAnchors(settings, house, zone)
	}
	for _, spec := range settings.Listen {
		r.socket(spec)
	}
	r.metrics(settings.Metrics.Listen)
	r.resubmit(settings)
	if mta, err := readPostfix(); err != nil {
		r.warn("Postfix was not looked at: %v", err)
	} else {
		r.postfix(mta, settings.Listen, house.Gateway.Rules)
	}
}

const typeDNSKEY = 48 // RFC 4034, Section 2

// upstream asks one resolver alone for the root's keys, and has them proven:
// which takes a resolver that passes on DNSSEC's records, and a clock that is
// right.
func (r *report) upstream(settings *config.Config, upstream string) {
	alone := *settings
	alone.DNS.Upstreams = []string{upstream}
	alone.Keys = config.Keys{} // which were read already
	house, err := alone.Build()
	if err != nil {
		r.fail("upstream %s: %v", upstream, err)
		return
	}
	defer house.Close()
	ctx, cancel := context.WithTimeout(context.Background(), settings.DNS.Budget.Duration)
	defer cancel()
	start := time.Now()
	answer := house.Resolver.Lookup(ctx, ".", typeDNSKEY)
	if answer.Status != dnssec.Secure {
		r.fail("upstream %s: the root's keys are %s: %v", upstream, answer.Status, answer.Why)
		return
	}
	r.ok("upstream %s: the root's keys are secure (%d ms)", upstream, time.Since(start).Milliseconds())
}

// trustAnchors compares the anchors of a zone with its keys: a key that we do
// not know will sign some day, and nothing of the zone be proven then.
func (r *report) trustAnchors(settings *config.Config, house *config.Built, zone string) {
	ctx, cancel := context.WithTimeout(context.Background(), settings.DNS.Budget.Duration)
	defer cancel()
	found := house.Resolver.CheckAnchors(ctx, zone)
	repair := "ask who runs the zone, and change dns.private_anchors"
	switch {
	case zone == "." && settings.DNS.TrustAnchors == "builtin":
		repair = "get a newer smimea-milter, or set dns.trust_anchors to a newer file"
	case zone == ".":
		repair = "get a newer " + settings.DNS.TrustAnchors
	}
	switch warnings := found.Warnings(); {
	case found.Status != dnssec.Secure:
		r.fail("trust anchors of %s: not compared, since its keys are %s: %v", zone, found.Status, found.Why)
	case len(warnings) == 0:
		r.ok("trust anchors of %s: they name the keys that it has", zone)
	default:
		for _, w := range warnings {
			r.warn("trust anchors: %s (%s)", w, repair)
		}
	}
}

// metrics says who can read them.
func (r *report) metrics(address string) {
	at, err := netip.ParseAddrPort(address)
	switch {
	case err != nil: // there are none
	case at.Addr().Unmap().IsLoopback():
		r.ok("metrics http://%s/metrics: for programs of this machine", address)
	default:
		r.warn("metrics http://%s/metrics: everyone who reaches it may read them (use 127.0.0.1)", address)
	}
}

// socket looks at where the daemon listens, and who can come there.
func (r *report) socket(spec string) {
	network, address, err := milter.ParseSpec(spec)
	if err != nil {
		r.fail("%v", err)
		return
	}
	if network == "unix" {
		r.unixSocket(address)
		return
	}
	host, _, _ := net.SplitHostPort(address)
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		r.warn("socket %s: everyone who reaches it may talk to the gateway, unencrypted (use 127.0.0.1 or a unix socket)", spec)
		return
	}
	r.ok("socket %s: for programs of this machine", spec)
}

func (r *report) unixSocket(path string) {
	dir := filepath.Dir(path)
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		r.fail("socket %s: there is no directory %s (install -d -o smimea -g postfix -m 2750 %s)", path, dir, dir)
		return
	case err != nil:
		r.fail("socket %s: %v", path, err)
		return
	case !info.IsDir():
		r.fail("socket %s: %s is not a directory", path, dir)
		return
	}
	if occupied, err := occupied(path); err != nil {
		r.fail("socket %s: %v", path, err)
		return
	} else if occupied {
		r.ok("socket %s: somebody answers there", path)
	}
	r.whoMayOpen(path, dir, info)
}

// occupied says whether somebody listens at a socket. What is there and is no
// socket is an error.
func occupied(path string) (bool, error) {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return false, errors.New("something is there that is not a socket")
	}
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err != nil {
		return false, nil
	}
	conn.Close()
	return true, nil
}

// whoMayOpen: the socket has mode 0660, and the group of its directory if that
// is setgid. Postfix must be of the group, and nobody else needs to be.
func (r *report) whoMayOpen(path, dir string, info fs.FileInfo) {
	repair := fmt.Sprintf("chown smimea:postfix %s && chmod 2750 %s", dir, dir)
	gid := info.Sys().(*syscall.Stat_t).Gid
	group := groupName(gid)
	switch {
	case info.Mode()&fs.ModeSetgid == 0:
		r.warn("socket %s: %s is not setgid, so that the socket gets the daemon's own group (%s)", path, dir, repair)
	case info.Mode().Perm()&0o010 == 0:
		r.warn("socket %s: the group %s may not enter %s (%s)", path, group, dir, repair)
	case info.Mode().Perm()&0o002 != 0:
		r.warn("socket %s: everybody may put something else in its place (%s)", path, repair)
	case !isMember("postfix", gid):
		r.warn("socket %s: Postfix's user is not of the group %s (%s)", path, group, repair)
	default:
		r.ok("socket %s: for its owner, and for the group %s, to which Postfix belongs", path, group)
	}
}

func groupName(gid uint32) string {
	id := strconv.FormatUint(uint64(gid), 10)
	if g, err := user.LookupGroupId(id); err == nil {
		return g.Name
	}
	return id
}

// isMember says whether a user is of a group, as far as is known.
func isMember(name string, gid uint32) bool {
	u, err := user.Lookup(name)
	if err != nil {
		return false
	}
	ids, err := u.GroupIds()
	if err != nil {
		return false
	}
	for _, id := range ids {
		if id == strconv.FormatUint(uint64(gid), 10) {
			return true
		}
	}
	return false
}
