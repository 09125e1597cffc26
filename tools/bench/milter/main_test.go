package main

import (
	"context"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"smimea.example/tools/judges"
)

// needs skips a test where there is no real Postfix to run.
func needs(t *testing.T) (dir string) {
	if os.Getuid() != 0 {
		judges.Missing(t, "root, for Postfix")
	}
	judges.Find(t, "postfix")
	dir = t.TempDir()
	for _, d := range []string{dir, dir + "/.."} { // Postfix is another user
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("TMPDIR", dir)
	return dir
}

func leavesNothing(t *testing.T, dir string) {
	t.Helper()
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("it leaves %v behind (%v)", left, err)
	}
}

var few = options{rounds: 2, length: 100 * time.Millisecond, sizes: []int{4000}, connections: []int{3}}

func TestMeasures(t *testing.T) {
	dir := needs(t)
	var out strings.Builder
	if err := run(t.Context(), &out, few); err != nil {
		t.Fatal(err)
	}
	leavesNothing(t, dir)
	for _, want := range []string{
		`^\d{4}-\d\d-\d\d, \d+ cores of .*, Postfix 3\.\d+\.\d+;\nmedians of 2 rounds of 100ms\.\n`,
		`\n4 kB, 3 connections +none +nothing +gateway +noth\./none +gate\./noth\.\n`,
		`\nmails/s( +\d+){3}( +\d+\.\d\d){2}\n`,
		`\np99, ms( +[\d.]+){3}( +\d+\.\d\d){2}\n`,
		`\nmemory of the milter, MB( +[\d.]+){2} +\d+\.\d\d\n`,
		`\n  (met|MISSED) +4 kB, 3 connections: \d\.\d\d of the throughput beside nothing, at least 0\.90\n`,
		`\n  met     all: \d+ MB of memory, at most 256\n$`,
	} {
		if !regexp.MustCompile(want).MatchString(out.String()) {
			t.Errorf("no %s in\n%s", want, out.String())
		}
	}
}

// Nothing is left running, and the caller hears of it, when the user stops it.
func TestStopped(t *testing.T) {
	dir := needs(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	long := few
	long.length = time.Hour
	out := &signalling{of: "medians", then: func() { time.AfterFunc(300*time.Millisecond, cancel) }}
	if err := run(ctx, out, long); err == nil || err.Error() != "stopped" {
		t.Errorf("%v, want that it was stopped", err)
	}
	leavesNothing(t, dir)
}

// A signalling does something when it is written to.
type signalling struct {
	of   string
	then func()
}

func (s *signalling) Write(p []byte) (int, error) {
	if strings.Contains(string(p), s.of) {
		s.then()
	}
	return len(p), nil
}

func TestParseSizes(t *testing.T) {
	got, err := parseSizes("4kB,200kB,10MB")
	if err != nil || len(got) != 3 || got[0] != 4000 || got[1] != 200_000 || got[2] != 10_000_000 {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{
		"",
		"4",      // of what
		"4 kB",   // a blank
		"4KB",    // of 1024?
		"kB",     // how many
		"0kB",    // nothing
		"41MB",   // encrypted it is more than Postfix takes
		"4kB,,",  // an empty one
		"4kBkB",  // two units
		"-10kB",  // less than nothing
		"4.5MB",  // a fraction
		"4kB;9B", // no list
	} {
		if got, err := parseSizes(bad); err == nil {
			t.Errorf("parseSizes(%q) = %v", bad, got)
		}
	}
}

func TestParseConnections(t *testing.T) {
	got, err := parseConnections("1,10,50")
	if err != nil || len(got) != 3 || got[0] != 1 || got[1] != 10 || got[2] != 50 {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"", "0", "-1", "x", "1,", "1 2", "91"} {
		if got, err := parseConnections(bad); err == nil {
			t.Errorf("parseConnections(%q) = %v", bad, got)
		}
	}
}
