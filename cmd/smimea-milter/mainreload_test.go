package main

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"smimea.example/internal/config"
	"smimea.example/internal/gateway"
	"smimea.example/smimea"
	"smimea.example/tools/testnet"
)

// What a new CRL lists is not used any more, though the answer of the DNS holds
// for long and was remembered; and with no CRL that holds, nobody knows.
func TestReloadForgets(t *testing.T) {
	f := newKeyFiles(t)
	content, err := os.ReadFile(filepath.Join(f.dir, "alice", "alice.pem"))
	if err != nil {
		t.Fatal(err)
	}
	alice := derOf(t, content)
	owner, err := smimea.OwnerName("alice@good.test")
	if err != nil {
		t.Fatal(err)
	}
	internet, err := testnet.Start(testnet.Zone{Name: "good.test.", Records: []string{
		smimea.Record{Usage: smimea.DANEEE, Data: alice}.GenericLine(owner, 3600)}})
	if err != nil {
		t.Fatal(err)
	}
	defer internet.Close()
	anchors := filepath.Join(f.dir, "root.key")
	if err := os.WriteFile(anchors, []byte(internet.TrustAnchor()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	settings, err := config.Parse([]byte(fmt.Sprintf("[dns]\nupstreams = [%q]\ntrust_anchors = %q\n[keys]\nroots = %q\ncrls = %q\n[[rule]]\nrecipient = [\"*\"]\naction = \"require\"\n",
		internet.Resolver(), anchors, filepath.Join(f.dir, "root.pem"), filepath.Join(f.dir, "crls"))), "smimea.toml")
	if err != nil {
		t.Fatal(err)
	}
	house, err := settings.Build()
	if err != nil {
		t.Fatal(err)
	}
	defer house.Close()
	reply := func() gateway.Explanation {
		return house.Gateway.Explain(t.Context(), "bob@example.org", "alice@good.test")
	}
	for _, step := range []struct {
		name string
		do   func()
		code int
		why  string
	}{
		{"no CRL", func() {}, 250, ""},
		{"not listed", func() { f.crl("ca.crl", -3*time.Hour, time.Hour, 2) }, 250, ""},
		{"listed", func() { f.crl("ca.crl", -2*time.Hour, time.Hour, 1) }, 550, "revoked on"},
		{"broken", func() { f.write("crls/ca.crl", "X509 CRL", []byte("half")) }, 550, "revoked on"},
		{"out of date", func() { f.crl("ca.crl", -2*time.Hour, -time.Hour) }, 451, "the CRL ca.crl ended"},
		{"renewed", func() { f.crl("ca.crl", -time.Hour, time.Hour) }, 250, ""},
	} {
		step.do()
		reloadAll(house, slog.New(slog.DiscardHandler))
		e := reply()
		if e.Reply.Code != step.code || (e.Why == nil) != (step.why == "") || e.Why != nil && !strings.Contains(e.Why.Error(), step.why) {
			t.Errorf("%s: %d %s (%v), want %d, %q", step.name, e.Reply.Code, e.Reply.Text, e.Why, step.code, step.why)
		}
	}
}

func derOf(t *testing.T, content []byte) []byte {
	t.Helper()
	block, _ := pem.Decode(content)
	if block == nil {
		t.Fatal("no PEM")
	}
	if _, err := x509.ParseCertificate(block.Bytes); err != nil {
		t.Fatal(err)
	}
	return block.Bytes
}
