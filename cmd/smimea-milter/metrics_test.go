package main

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"smimea.example/smimea/dnssec"
	"smimea.example/tools/testnet"
)

const goneKey = ". IN DS 20326 8 2 E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D\n"

// The daemon tells Prometheus, and the log, that an anchor's key is gone.
func TestMetrics(t *testing.T) {
	internet, err := testnet.Start()
	if err != nil {
		t.Fatal(err)
	}
	defer internet.Close()
	anchors := filepath.Join(t.TempDir(), "root.ds")
	if err := os.WriteFile(anchors, []byte(internet.TrustAnchor()+"\n"+goneKey), 0o600); err != nil {
		t.Fatal(err)
	}
	address := deadPort(t) // free a moment ago
	d := startDaemonWith(t, fmt.Sprintf("[dns]\nupstreams = [%q]\ntrust_anchors = %q\n[metrics]\nlisten = %q\n", internet.Resolver(), anchors, address)+neverRule)
	d.waitFor(`"why":"trust anchor 20326 names no key of the root"`)
	for range 50 { // the log line comes a moment after the numbers of the same look
		if strings.Contains(get(t, address, "GET", "/metrics", 200), "smimea_trust_anchor_missing_keys{") {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	page := get(t, address, "GET", "/metrics", 200)
	for _, want := range []string{
		"smimea_trust_anchor_missing_keys{zone=\".\"} 1\n",
		"smimea_trust_anchor_unknown_keys{zone=\".\"} 0\n",
		"smimea_trust_anchor_checked_timestamp_seconds{zone=\".\"} 1.",
		"go_build_info{", "go_goroutines ", "process_open_fds ",
	} {
		if !strings.Contains(page, "\n"+want) {
			t.Errorf("no line %q in\n%s", want, page)
		}
	}
	get(t, address, "GET", "/", 404)
	get(t, address, "GET", "/debug/pprof/", 404)
	get(t, address, "POST", "/metrics", 405)
}

func get(t *testing.T, address, method, path string, status int) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, "http://"+address+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	reply, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	body, err := io.ReadAll(reply.Body)
	if err != nil || reply.StatusCode != status {
		t.Errorf("%s %s: %s, %v", method, path, reply.Status, err)
	}
	return string(body)
}

// A request is bounded in its header, and those who come in crowds wait, without
// a descriptor of the daemon for each.
func TestMetricsBounds(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		newMetrics().serve(t.Context(), l, http.NotFoundHandler(), slog.New(slog.DiscardHandler))
	}()
	t.Cleanup(func() { <-done }) // t.Context has ended by then
	conn := dial(t, l)
	fmt.Fprintf(conn, "GET /metrics HTTP/1.1\r\nHost: x\r\nX: %s\r\n\r\n", strings.Repeat("x", 4*metricsHeader))
	if reply := make([]byte, 12); !reads(conn, reply) || string(reply) != "HTTP/1.1 431" {
		t.Errorf("a long header: %q", reply)
	}
	conn.Close()
	var crowd []net.Conn
	for range metricsConnections {
		crowd = append(crowd, dial(t, l))
	}
	last := dial(t, l)
	fmt.Fprint(last, "GET / HTTP/1.0\r\n\r\n")
	last.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	if _, err := last.Read(make([]byte, 1)); err == nil {
		t.Error("one more than the crowd was answered")
	}
	crowd[0].Close()
	if reply := make([]byte, 12); !reads(last, reply) || string(reply) != "HTTP/1.0 404" {
		t.Errorf("when one has gone: %q", reply)
	}
}

func dial(t *testing.T, l net.Listener) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func reads(conn net.Conn, reply []byte) bool {
	conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	_, err := io.ReadFull(conn, reply)
	return err == nil
}

// A line for each change, and none in between. Not to know is no change.
func TestAnchorWatchTells(t *testing.T) {
	var out bytes.Buffer
	m := newMetrics()
	w := newAnchorWatch(nil, m, slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{ReplaceAttr: withoutTime})))
	agree := dnssec.AnchorReport{Zone: ".", Status: dnssec.Secure}
	newKey := dnssec.AnchorReport{Zone: ".", Status: dnssec.Secure, Unknown: []uint16{38696}}
	both := dnssec.AnchorReport{Zone: ".", Status: dnssec.Secure, Unknown: []uint16{38696}, Missing: []uint16{1}, Revoked: []uint16{20326}}
	down := dnssec.AnchorReport{Zone: ".", Why: fmt.Errorf("no server answered")}
	const (
		fails = `level=WARN msg="trust anchors: could not get the zone's keys" zone=. why="no server answered"` + "\n"
		warns = `level=WARN msg="trust anchors: they do not agree with the zone's keys" zone=. why="the root has key 38696, which no trust anchor names`
		try   = `" try="smimea-milter -check"` + "\n"
		again = `level=INFO msg="trust anchors: they agree with the zone's keys again" zone=.` + "\n"
	)
	for i, step := range []struct {
		report dnssec.AnchorReport
		want   string
	}{
		{agree, ""},
		{down, fails},
		{down, ""},
		{newKey, warns + try},
		{newKey, ""},
		{down, fails},
		{newKey, ""},
		{both, warns + "; trust anchor 1 names no key of the root; the root has revoked key 20326, which a trust anchor names" + try},
		{agree, again},
		{agree, ""},
	} {
		out.Reset()
		w.tell(step.report)
		if out.String() != step.want {
			t.Errorf("step %d: %q, want %q", i, out.String(), step.want)
		}
	}
}

func withoutTime(_ []string, a slog.Attr) slog.Attr {
	if a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}

// The watch looks at once, and ends with its context.
func TestAnchorWatchRuns(t *testing.T) {
	v, err := dnssec.New(dnssec.Options{Servers: []string{deadPort(t)}})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	m := newMetrics()
	if newAnchorWatch(func() (*dnssec.Validator, func()) { return v, func() {} }, m, slog.New(slog.DiscardHandler)).look(t.Context()) {
		t.Error("nobody answered, and nothing was missing")
	}
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, f := range families {
		if strings.HasPrefix(f.GetName(), "smimea_trust_anchor_") {
			found = f.GetName() == "smimea_trust_anchor_checked_timestamp_seconds" && f.GetMetric()[0].GetGauge().GetValue() == 0
		}
	}
	if !found {
		t.Error("that the anchors were never compared is not told by 0 alone")
	}
}
