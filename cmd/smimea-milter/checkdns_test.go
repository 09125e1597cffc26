package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"smimea.example/tools/testnet"
)

// The check asks each resolver by itself: one that is good hides none that is
// not.
func TestUpstreamFindings(t *testing.T) {
	internet, err := testnet.Start()
	if err != nil {
		t.Fatal(err)
	}
	defer internet.Close()
	dir := t.TempDir()
	anchors := filepath.Join(dir, "root.key")
	if err := os.WriteFile(anchors, []byte(internet.TrustAnchor()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	two := filepath.Join(dir, "two.key")
	if err := os.WriteFile(two, []byte(internet.TrustAnchor()+"\n"+goneKey), 0o600); err != nil {
		t.Fatal(err)
	}
	dead := deadPort(t)

	for _, tt := range []struct {
		name, anchors string
		upstreams     []string
		code          int
		want          []string
	}{
		{"good", anchors, []string{internet.Resolver()}, 0, []string{
			"ok: upstream " + internet.Resolver() + ": the root's keys are secure"}},
		{"anchors agree", anchors, []string{internet.Resolver()}, 0, []string{
			"ok: trust anchors of .: they name the keys that it has"}},
		{"an anchor's key is gone", two, []string{internet.Resolver()}, 0, []string{
			"ok: upstream " + internet.Resolver() + ": the root's keys are secure",
			"warning: trust anchors: trust anchor 20326 names no key of the root (get a newer " + two + ")"}},
		{"nobody to compare with", anchors, []string{dead}, 1, []string{
			"error: trust anchors of .: not compared, since its keys are indeterminate: . DNSKEY: no server answered"}},
		{"one is dead", anchors, []string{internet.Resolver(), dead}, 1, []string{
			"ok: upstream " + internet.Resolver() + ": the root's keys are secure",
			"error: upstream " + dead + ": the root's keys are indeterminate: "}},
		{"another root", "builtin", []string{internet.Resolver()}, 1, []string{
			"error: upstream " + internet.Resolver() + ": the root's keys are bogus: "}},
	} {
		settings := filepath.Join(dir, "smimea.toml")
		content := fmt.Sprintf("listen = [\"inet:127.0.0.1:8893\"]\n[dns]\nupstreams = [%s]\ntrust_anchors = %q\nbudget = \"2s\"\n[[rule]]\nrecipient = [\"*\"]\naction = \"require\"\n",
			`"`+strings.Join(tt.upstreams, `", "`)+`"`, tt.anchors)
		if err := os.WriteFile(settings, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if code := checkAll(settings, &out); code != tt.code {
			t.Errorf("%s: exit code %d, want %d:\n%s", tt.name, code, tt.code, out.String())
		}
		for _, want := range tt.want {
			if !strings.Contains("\n"+out.String(), "\n"+want) {
				t.Errorf("%s: no line %q in\n%s", tt.name, want, out.String())
			}
		}
	}
}

// deadPort is an address at which nobody answers.
func deadPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
