package main

import (
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	mta "github.com/emersion/go-milter"
	"github.com/prometheus/client_golang/prometheus"

	"smimea.example/internal/gateway"
	"smimea.example/keystore"
	"smimea.example/milter"
)

// startWatched starts a daemon that shows its metrics at the returned address.
func startWatched(t *testing.T, more string) (d *daemonProcess, address string) {
	t.Helper()
	address = deadPort(t) // free a moment ago
	return startDaemonWith(t, fmt.Sprintf("[dns]\nupstreams = [\"127.0.0.1:9\"]\n[metrics]\nlisten = %q\n", address)+more), address
}

// What becomes of mails is counted, and nobody is named.
func TestMailMetrics(t *testing.T) {
	d, address := startWatched(t, `[[rule]]
recipient = ["bob@example.net"]
action = "never"
[[rule]]
recipient = ["*"]
action = "require"
`)
	for _, name := range []string{
		`smimea_mails_total{result="passed"} 0`, `smimea_mails_total{result="refused"} 0`,
		`smimea_recipients_total{outcome="bogus",reply="4xx"} 0`,
		`smimea_settings_last_reload_successful 1`,
		`smimea_connections_max 200`, `smimea_mails_in_flight_max 150`,
	} {
		wantLine(t, address, name)
	}
	if err := d.mail(); err != nil {
		t.Fatal(err)
	}
	s := d.connect()
	d.step("mail", func() (*mta.Action, error) { return s.Mail("alice@example.org", nil) })
	s.Rcpt("carol@example.com", nil) // nobody can be asked
	wantLine(t, address, `smimea_mails_in_flight 1`)
	wantLine(t, address, `smimea_connections 1`)
	s.Close()
	d.waitFor(`"result":"deferred"`)
	for _, line := range []string{
		`smimea_mails_total{result="passed"} 1`,
		`smimea_mails_total{result="deferred"} 1`,
		`smimea_recipients_total{outcome="not asked",reply="2xx"} 1`,
		`smimea_recipients_total{outcome="failed",reply="4xx"} 1`,
		`smimea_recipients_sent_total{sent="plain"} 1`,
		`smimea_recipients_sent_total{sent="encrypted"} 0`,
		`smimea_octets_total{direction="in"} 7`,
		`smimea_lookup_duration_seconds_count 1`,
		`smimea_mail_duration_seconds_count 2`,
		`smimea_mails_in_flight 0`,
		`smimea_connections 0`,
	} {
		wantLine(t, address, line)
	}
	page := get(t, address, "GET", "/metrics", 200)
	if strings.Contains(page, "example.") || strings.Contains(page, "@") {
		t.Errorf("somebody is named in\n%s", page)
	}
	d.write("slip")
	d.signal(syscall.SIGHUP)
	wantLine(t, address, `smimea_settings_last_reload_successful 0`)
}

// wantLine waits a little for a line of the page.
func wantLine(t *testing.T, address, line string) {
	t.Helper()
	var page string
	for range 100 {
		if page = get(t, address, "GET", "/metrics", 200); strings.Contains(page, "\n"+line+"\n") {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("no line %q in\n%s", line, page)
}

// Every word the key store has for what it found has its series from the start.
func TestOutcomesAreKnown(t *testing.T) {
	m := newMailMetrics()
	before := series(t, m)
	for outcome := range keystore.Found + 1 {
		m.count(milter.Summary{Result: "refused", Recipients: []milter.Recipient{{Outcome: outcome.String()}}})
		m.count(milter.Summary{Result: "passed", Recipients: []milter.Recipient{{Outcome: outcome.String(), Reply: gateway.Reply{Action: gateway.Refuse}}}})
	}
	if after := series(t, m); after != before {
		t.Errorf("%d series, %d before anything was counted", after, before)
	}
}

func series(t *testing.T, m mailMetrics) int {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(m.collectors()...)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, f := range families {
		n += len(f.GetMetric())
	}
	return n
}

// Somebody hears of a CRL before it is out of date, and of one that is spoilt.
func TestCRLMetrics(t *testing.T) {
	f := newKeyFiles(t)
	f.crl("ca.crl", -time.Hour, time.Hour)
	h := testHouse(t)
	hs := newHouses(h)
	defer hs.close()
	gather := func() map[string]float64 {
		t.Helper()
		registry := prometheus.NewRegistry()
		registry.MustRegister(crlMetrics{hs})
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		values := map[string]float64{}
		for _, f := range families {
			values[strings.TrimPrefix(f.GetName(), "smimea_crl_")] = f.GetMetric()[0].GetGauge().GetValue()
		}
		return values
	}
	if got := gather(); len(got) > 0 {
		t.Errorf("without a directory of CRLs: %v", got)
	}
	var err error
	if h.CRLs, err = keystore.OpenCRLs(filepath.Join(f.dir, "crls"), []*x509.Certificate{f.ca}); err != nil {
		t.Fatal(err)
	}
	if got := gather(); got["outdated"] != 0 || got["faults"] != 0 || got["next_update_timestamp_seconds"] < float64(time.Now().Unix()) {
		t.Errorf("a good one: %v", got)
	}
	f.crl("ca.crl", -2*time.Hour, -time.Hour)
	f.write("crls/other.crl", "X509 CRL", []byte("half a"))
	h.CRLs.Reload()
	if got := gather(); got["outdated"] != 1 || got["faults"] != 1 || got["next_update_timestamp_seconds"] > float64(time.Now().Unix()) {
		t.Errorf("one out of date, and one spoilt: %v", got)
	}
}

// Those who watch over the daemon hear whether it serves, and if not, why.
func TestHealth(t *testing.T) {
	d, address := startWatched(t, neverRule+"[limits]\nconnections = 2\n")
	if got := get(t, address, "GET", "/healthz", 200); got != "ok\n" {
		t.Errorf("serving: %q", got)
	}
	first, second := d.begin(), d.begin()
	time.Sleep(selfCheckAge)
	if got := get(t, address, "GET", "/healthz", 200); got != "ok\n" {
		t.Errorf("busy to the last connection: %q", got)
	}
	second.Close()
	d.waitFor(`"result":"abandoned"`)
	hidden := d.socket + ".hidden"
	if err := os.Rename(d.socket, hidden); err != nil {
		t.Fatal(err)
	}
	time.Sleep(selfCheckAge)
	if got := get(t, address, "GET", "/healthz", 503); !strings.HasPrefix(got, "self-check: dial unix "+d.socket) {
		t.Errorf("where no mail server finds it: %q", got)
	}
	if err := os.Rename(hidden, d.socket); err != nil {
		t.Fatal(err)
	}
	d.signal(syscall.SIGTERM)
	d.waitFor(`"msg":"stopping"`)
	if got := get(t, address, "GET", "/healthz", 503); !strings.HasPrefix(got, "draining: ") {
		t.Errorf("draining: %q", got)
	}
	wantLine(t, address, "smimea_mails_in_flight 1")
	if _, act, err := first.End(); err != nil || act.Code != mta.ActAccept {
		t.Errorf("the mail in flight: %v, %v", act, err)
	}
	if err := d.cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// A socket at which nobody accepts is told from one that is busy.
func TestHealthOfADeafSocket(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := newHealth([]net.Listener{l}, 1, new(milter.Load))
	l.Close()
	if err := h.check(); err == nil || !strings.Contains(err.Error(), "self-check: dial tcp") {
		t.Errorf("nobody listens: %v", err)
	}
	h.draining.Store(true)
	if err := h.check(); err != errDraining {
		t.Errorf("draining: %v", err)
	}
}
