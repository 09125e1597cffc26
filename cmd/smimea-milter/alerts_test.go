package main

import (
	"crypto/x509"
	"encoding/json"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"smimea.example/internal/config"
	"smimea.example/keystore"
	"smimea.example/milter"
	"smimea.example/smimea/dnssec"
	"smimea.example/tools/judges"
)

// Alerts and dashboard ask for what there is: a name that nobody has is an alert
// that never rings.
func TestAlertsAskForWhatThereIs(t *testing.T) {
	there := everyMetric(t)
	for _, a := range readAlerts(t) {
		there.judge(t, a.name, a.expr)
	}
	for _, p := range readDashboard(t).Panels {
		for _, target := range p.Targets {
			there.judge(t, p.Title, target.Expr)
		}
	}
}

// And it is found out if they do not.
func TestJudgeOfExpressions(t *testing.T) {
	there := everyMetric(t)
	for expr, want := range map[string]string{
		`up{job="smimea-milter"} == 0`:                                          "",
		`sum by (instance) (rate(smimea_recipients_total{reply="4xx"}[15m]))`:   "",
		`smimea_lookup_duration_seconds_bucket{le="0.5"}`:                       "",
		`smimea_mail_total`:                                                     "smimea_mail_total",
		`smimea_lookup_duration_seconds`:                                        "smimea_lookup_duration_seconds",
		`smimea_recipients_total{replies="4xx"}`:                                "replies",
		`smimea_recipients_total{outcome="bogus",reply="400"}`:                  `reply="400"`,
		`sum by (zones) (smimea_trust_anchor_unknown_keys)`:                     "zones",
		`sum(rate(smimea_mails_total{result!="refused"}[5m])`:                   "parentheses",
		`time() - process_start_times_seconds`:                                  "process_start_times_seconds",
		`sum by (result) (rate(smimea_mails_total{instance=~"$instance"}[1h]))`: "",
	} {
		faults := strings.Join(there.faults(expr), "; ")
		if (want == "") != (faults == "") || !strings.Contains(faults, want) {
			t.Errorf("%s: %q, want %q", expr, faults, want)
		}
	}
}

// exposed are the metrics there are, each with the words of its labels.
type exposed map[string]map[string][]string

// everyMetric gathers all of a daemon that has everything.
func everyMetric(t *testing.T) exposed {
	t.Helper()
	f := newKeyFiles(t)
	f.crl("ca.crl", -time.Hour, time.Hour)
	h := testHouse(t)
	var err error
	if h.CRLs, err = keystore.OpenCRLs(filepath.Join(f.dir, "crls"), []*x509.Certificate{f.ca}); err != nil {
		t.Fatal(err)
	}
	hs := newHouses(h)
	t.Cleanup(hs.close)
	m := newMetrics()
	m.now(new(milter.Load), config.Limits{}, hs)
	m.anchors(dnssec.AnchorReport{Zone: ".", Status: dnssec.Secure})
	page := httptest.NewRecorder()
	promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{}).ServeHTTP(page, httptest.NewRequest("GET", "/metrics", nil))
	all := exposed{"up": {}}
	for line := range strings.Lines(page.Body.String()) {
		if !strings.HasPrefix(line, "#") {
			all.add(line)
		}
	}
	for _, labels := range all { // Prometheus adds these
		labels["job"], labels["instance"] = nil, nil
	}
	return all
}

// add reads a line of the page.
func (e exposed) add(line string) {
	m := metricName.FindStringSubmatch(line)
	if m == nil {
		return
	}
	name, _, _ := strings.Cut(m[0], "{")
	if e[name] == nil {
		e[name] = map[string][]string{}
	}
	for _, label := range matcher.FindAllStringSubmatch(m[1], -1) {
		e[name][label[1]] = append(e[name][label[1]], label[3])
	}
}

var (
	metricName = regexp.MustCompile(`\b(?:up|(?:smimea|process|go)_[a-z0-9_]+)\b(?:\{([^}]*)\})?`)
	matcher    = regexp.MustCompile(`([a-z_]+)\s*(=~|!~|!=|=)\s*"([^"]*)"`)
	grouping   = regexp.MustCompile(`\bby \(([^)]*)\)`)
)

func (e exposed) judge(t *testing.T, where, expr string) {
	t.Helper()
	if expr == "" {
		t.Errorf("%s asks for nothing", where)
	}
	for _, fault := range e.faults(expr) {
		t.Errorf("%s: %s", where, fault)
	}
}

// faults says what in an expression is not there. It reads just as much of the
// language as alerts and dashboard are written in.
func (e exposed) faults(expr string) (faults []string) {
	if strings.Count(expr, "(") != strings.Count(expr, ")") {
		faults = append(faults, "parentheses do not match in "+expr)
	}
	found := metricName.FindAllStringSubmatch(expr, -1)
	if len(found) == 0 {
		faults = append(faults, "no metric in "+expr)
	}
	groups := map[string]bool{}
	for _, m := range found {
		name, _, _ := strings.Cut(m[0], "{")
		labels, ok := e[name]
		if !ok {
			faults = append(faults, "there is no "+name)
			continue
		}
		for label := range labels {
			groups[label] = true
		}
		faults = append(faults, unmatched(name, labels, m[1])...)
	}
	for _, by := range grouping.FindAllStringSubmatch(expr, -1) {
		for _, label := range strings.Split(by[1], ",") {
			if !groups[strings.TrimSpace(label)] {
				faults = append(faults, "no metric has the label "+label)
			}
		}
	}
	return faults
}

// unmatched looks at what stands in braces behind a name.
func unmatched(name string, labels map[string][]string, selector string) (faults []string) {
	for _, m := range matcher.FindAllStringSubmatch(selector, -1) {
		words, ok := labels[m[1]]
		switch {
		case !ok:
			faults = append(faults, name+" has no label "+m[1])
		case words != nil && (m[2] == "=" || m[2] == "!=") && !slices.Contains(words, m[3]):
			faults = append(faults, name+" has no "+m[1]+`="`+m[3]+`"`)
		}
	}
	return faults
}

// An alert is one of the file.
type alert struct {
	name, expr, severity, summary, description string
}

// readAlerts reads as much of YAML as the file is written in.
func readAlerts(t *testing.T) (alerts []alert) {
	t.Helper()
	content, err := os.ReadFile("smimea-milter.rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	var a *alert
	block := false // the expression has lines of its own
	for line := range strings.Lines(string(content)) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), ": ")
		if name, isAlert := strings.CutPrefix(strings.TrimSpace(line), "- alert: "); isAlert {
			alerts = append(alerts, alert{name: name})
			a, block = &alerts[len(alerts)-1], false
			continue
		}
		if a == nil {
			continue
		}
		if block && strings.HasPrefix(line, strings.Repeat(" ", 10)) {
			a.expr += strings.TrimSpace(line) + " "
			continue
		}
		block = false
		if !ok {
			continue
		}
		switch key {
		case "expr":
			if block = value == "|"; !block {
				a.expr = value
			}
		case "severity":
			a.severity = value
		case "summary":
			a.summary = value
		case "description":
			a.description = value
		}
	}
	return alerts
}

// Each alert says how bad it is, what is the matter and what to do, and is one
// of its own.
func TestAlertsSayWhatToDo(t *testing.T) {
	seen := map[string]bool{}
	for _, a := range readAlerts(t) {
		if seen[a.name] {
			t.Errorf("%s is there twice", a.name)
		}
		seen[a.name] = true
		if a.severity != "critical" && a.severity != "warning" || a.summary == "" || a.description == "" {
			t.Errorf("%s: %+v", a.name, a)
		}
		// To YAML, these would be the end of the text, or another key.
		if text := a.summary + a.description; strings.Contains(text, " #") || strings.Contains(text, ": ") {
			t.Errorf("%s: the text needs quotes: %s", a.name, text)
		}
	}
	if len(seen) < 10 {
		t.Errorf("only %d alerts were read", len(seen))
	}
}

// Prometheus's own tool tries the alerts on series made up for them.
func TestAlertsRing(t *testing.T) {
	promtool := judges.Find(t, "promtool")
	for _, args := range [][]string{
		{"check", "rules", "smimea-milter.rules.yml"},
		{"test", "rules", "testdata/smimea-milter.rules.test.yml"},
	} {
		if out, err := exec.Command(promtool, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

// A dashboard is what of Grafana's format is looked at here.
type dashboard struct {
	Title  string
	Panels []struct {
		ID      int
		Type    string
		Title   string
		GridPos struct{ X, Y, W, H int }
		Targets []struct{ Expr string }
	}
}

func readDashboard(t *testing.T) (d dashboard) {
	t.Helper()
	content, err := os.ReadFile("smimea-milter.grafana.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(content, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// Every panel has its place, and something to show.
func TestDashboardIsWhole(t *testing.T) {
	d := readDashboard(t)
	taken := map[[2]int]string{}
	ids := map[int]bool{}
	for _, p := range d.Panels {
		if ids[p.ID] || p.Title == "" {
			t.Errorf("panel %d, %q: twice, or without a title", p.ID, p.Title)
		}
		ids[p.ID] = true
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("%s shows nothing", p.Title)
		}
		if p.GridPos.X+p.GridPos.W > 24 || p.GridPos.W == 0 || p.GridPos.H == 0 {
			t.Errorf("%s does not fit: %+v", p.Title, p.GridPos)
		}
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other, ok := taken[[2]int{x, y}]; ok {
					t.Fatalf("%s lies on %s", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
	}
	if len(d.Panels) < 10 {
		t.Errorf("only %d panels were read", len(d.Panels))
	}
}
