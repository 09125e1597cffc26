package config

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"smimea.example/internal/gateway"
	"smimea.example/keystore"
)

// A closed port: nobody answers, and nothing leaves the machine.
func deadServer(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func parse(t *testing.T, settings string) *Config {
	t.Helper()
	c, err := Parse([]byte(settings), "smimea.toml")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

const twoRules = `
[[rule]]
recipient = ["example.org"]
action = "never"

[[rule]]
recipient = ["*"]
action = "require"
`

func TestBuild(t *testing.T) {
	pinned := t.TempDir()
	c := parse(t, `
[dns]
upstreams = ["`+deadServer(t)+`"]
try = "200ms"
budget = "1s"
[keys]
pinned = "`+pinned+`"
`+twoRules)
	b, err := c.Build()
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if b.Pinned == nil || b.Resolver == nil || b.Gateway.Budget != time.Second {
		t.Errorf("%+v", b)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	ours := b.Gateway.Explain(ctx, "alice@example.org", "bob@example.org")
	if ours.Reply.Action != gateway.Accept || ours.Number != 1 || ours.Asked {
		t.Errorf("our own house: %+v", ours)
	}
	theirs := b.Gateway.Explain(ctx, "alice@example.org", "bob@example.net")
	if theirs.Reply.Code != 451 || theirs.Number != 2 || theirs.Keys.Outcome != keystore.Failed {
		t.Errorf("without a resolver: %+v", theirs)
	}
}

// The budget bounds everything that is asked: by the gateway, by the cache,
// which goes on when the gateway has given up, and by the resolver.
func TestBuildBudget(t *testing.T) {
	const eight = `"%[1]s", "%[1]s", "%[1]s", "%[1]s", "%[1]s", "%[1]s", "%[1]s", "%[1]s"`
	b, err := parse(t, "[dns]\nupstreams = ["+fmt.Sprintf(eight, silentServer(t))+"]\ntry = \"1s\"\nbudget = \"1s\"\n"+twoRules).Build()
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	chain := b.Gateway.Keys.(keystore.Chain)
	if cache := chain[len(chain)-1].(*keystore.Cache); b.Gateway.Budget != time.Second || cache.Budget != time.Second {
		t.Errorf("budgets: %v at the gateway, %v at the cache", b.Gateway.Budget, cache.Budget)
	}
	start := time.Now()
	b.Resolver.Lookup(t.Context(), "example.org.", 53)
	if took := time.Since(start); took > 3*time.Second {
		t.Errorf("eight silent resolvers were asked for %v", took)
	}
}

// silentServer takes questions and never answers.
func silentServer(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}

func TestBuildWithoutPinned(t *testing.T) {
	c := parse(t, "[dns]\nupstreams = [\"127.0.0.1:53\"]\n"+twoRules)
	b, err := c.Build()
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if b.Pinned != nil {
		t.Error("a directory that nobody named")
	}
}

func TestBuildFaults(t *testing.T) {
	dir := t.TempDir()
	broken := filepath.Join(dir, "root.key")
	if err := os.WriteFile(broken, []byte("hello\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cut := filepath.Join(dir, "root-anchors.xml")
	if err := os.WriteFile(cut, []byte("<TrustAnchor id=\"x\">\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const upstream = "[dns]\nupstreams = [\"127.0.0.1:53\"]\n"
	for _, test := range []struct{ name, settings, want string }{
		{"no such directory", upstream + "[keys]\npinned = \"" + dir + "/missing\"\n", "keys.pinned: "},
		{"no server", "[dns]\nupstreams = [\"ns.example:domain\"]\n", "dns.upstreams: "},
		{"no pin", "[dns]\nupstreams = [\"tls://192.0.2.53:853#pin-sha256=x\"]\n", "dns.upstreams: "},
		{"too many servers", "[dns]\nupstreams = [" + strings.Repeat("\"192.0.2.53\", ", 9) + "]\n", "dns: "},
		{"no such file", upstream + "trust_anchors = \"" + dir + "/missing\"\n", "dns.trust_anchors: "},
		{"no anchors", upstream + "trust_anchors = \"" + broken + "\"\n", "dns.trust_anchors: "},
		{"XML that is cut off", upstream + "trust_anchors = \"" + cut + "\"\n", "dns.trust_anchors: "},
		{"no private anchor", upstream + "private_anchors = [\"hello\"]\n", "dns.private_anchors: "},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := parse(t, test.settings+twoRules).Build()
			if err == nil || !strings.HasPrefix(err.Error(), test.want) {
				t.Errorf("error %v, want %s", err, test.want)
			}
		})
	}
}

// What is set reaches the gateway.
func TestBuildLimitsAndRules(t *testing.T) {
	c := parse(t, `
[dns]
upstreams = ["`+deadServer(t)+`"]
[limits]
memory = "100MB"
wait = "9s"
[[rule]]
recipient = ["*"]
action = "require"
cipher = "aes256-gcm"
kinds = ["ec", "rsa"]
mixed = true
`)
	b, err := c.Build()
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	rule := b.Gateway.Rules[0]
	same(t, "memory for whole mails", b.Gateway.Memory, 50_000_000)
	same(t, "wait", b.Gateway.Wait, 9*time.Second)
	same(t, "rule", fmt.Sprint(rule.Cipher, rule.Kinds, rule.Mixed), "aes256-gcm [ec rsa] true")
}
