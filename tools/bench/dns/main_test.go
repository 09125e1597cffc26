package main

import (
	"context"
	"net"
	"os"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"smimea.example/tools/judges"
)

// What is printed, line by line; empty lines apart. A blank is any space.
var (
	title   = `One SMIMEA record of 1024 octets, three zones deep; medians of 2\.`
	judging = []string{
		`validation alone, on one core per second`,
		`the proof of one answer [1-9]\d*`,
		`6 bare checks by crypto/ecdsa [1-9]\d*`,
		`over the bare checks -?\d+\.\d %`,
		`goal: under 30 % over the bare checks: (met|missed)`,
	}
	withUnbound = append([]string{
		title,
		`cold lookup here Unbound ratio`,
		`no distance to the resolver \d+\.\d µs \d+\.\d µs \d+\.\d+`,
		`4ms to the resolver and back \d{4,}\.\d µs \d{4,}\.\d µs \d+\.\d+`,
		`waiting, in round trips -?\d+\.\d -?\d+\.\d`,
		`goal: waits for two round trips: (met|missed)`,
		`warm lookup here Unbound ratio`,
		`the same name again \d+\.\d µs \d+\.\d µs 0\.\d+`,
		`goal: under 2 µs in process: (met|missed)`,
	}, judging...)
	alone = append([]string{
		title,
		`There is no unbound in PATH: nothing to compare lookups with\.`,
		`cold lookup here`,
		`no distance to the resolver \d+\.\d µs`,
		`4ms to the resolver and back \d{4,}\.\d µs`,
		`waiting, in round trips -?\d+\.\d`,
		`goal: waits for two round trips: (met|missed)`,
		`warm lookup here`,
		`the same name again \d+\.\d µs`,
		`goal: under 2 µs in process: (met|missed)`,
	}, judging...)
)

func TestBesideUnbound(t *testing.T) { measures(t, judges.Find(t, "unbound"), withUnbound) }
func TestAlone(t *testing.T)         { measures(t, "", alone) }

func measures(t *testing.T, unbound string, want []string) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	var out strings.Builder
	if err := run(t.Context(), &out, 2, 4*time.Millisecond, unbound); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("it leaves %v behind (%v)", left, err)
	}
	var got []string
	for line := range strings.Lines(out.String()) {
		if n := len([]rune(strings.TrimRight(line, "\n"))); n > 80 {
			t.Errorf("a line of %d columns: %q", n, line)
		}
		if words := strings.Fields(line); len(words) > 0 {
			got = append(got, strings.Join(words, " "))
		}
	}
	if len(got) != len(want) {
		t.Fatalf("%d lines, want %d:\n%s", len(got), len(want), out.String())
	}
	for i, line := range got {
		if !regexp.MustCompile("^" + want[i] + "$").MatchString(line) {
			t.Errorf("%q, want %s", line, want[i])
		}
	}
}

// Nothing is left running, and the caller hears of it, when the user stops it.
func TestStopped(t *testing.T) {
	program := judges.Find(t, "unbound")
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(500*time.Millisecond, cancel)
	if err := run(ctx, new(strings.Builder), 1e6, time.Millisecond, program); err == nil {
		t.Error("it measures on")
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("it leaves %v behind (%v)", left, err)
	}
}

// An Unbound that does not start is no Unbound that is slow.
func TestBrokenUnbound(t *testing.T) {
	err := run(t.Context(), new(strings.Builder), 1, time.Millisecond, judges.Find(t, "false"))
	if err == nil || !strings.Contains(err.Error(), "starting unbound: it has ended") {
		t.Errorf("%v", err)
	}
}

// What is sent while something else is under way arrives just as late, and no later.
func TestCarry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, sender := net.Pipe()
		receiver, far := net.Pipe()
		const oneWay = 50 * time.Millisecond
		go carry(near, far, func() time.Duration { return oneWay })
		begin := time.Now()
		go func() {
			for i := range byte(5) {
				sender.Write([]byte{i})
				time.Sleep(time.Millisecond)
			}
			sender.Close()
		}()
		for i := range byte(5) {
			var b [1]byte
			if _, err := receiver.Read(b[:]); err != nil {
				t.Fatal(err)
			}
			if want := oneWay + time.Duration(i)*time.Millisecond; b[0] != i || time.Since(begin) != want {
				t.Errorf("octet %d after %v, want %d after %v", b[0], time.Since(begin), i, want)
			}
		}
	})
}
