package main

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		all  []float64
		want float64
	}{
		{[]float64{7}, 7},
		{[]float64{9, 1, 5}, 5},
		{[]float64{9, 1, 5, 6}, 5.5}, // between the two in the middle
		{[]float64{1, 1, 1, 1000}, 1},
	} {
		before := slices.Clone(c.all)
		if got := median(c.all); got != c.want {
			t.Errorf("median(%v) = %v, want %v", before, got, c.want)
		}
		if !slices.Equal(c.all, before) {
			t.Errorf("median has put %v in order", before)
		}
	}
	if got := median(nil); !math.IsNaN(got) {
		t.Errorf("the median of nothing is %v", got)
	}
}

// The nearest rank: an odd number, an even one, and too few for a percentile.
func TestPercentile(t *testing.T) {
	upTo := func(n int) (all []int) {
		for i := range n {
			all = append(all, n-i)
		}
		return all
	}
	for _, c := range []struct{ n, p, want int }{
		{1, 50, 1}, {1, 99, 1},
		{2, 50, 1}, {2, 99, 2},
		{5, 50, 3}, {5, 99, 5},
		{100, 50, 50}, {100, 99, 99}, {100, 100, 100},
		{101, 99, 100},
		{1000, 99, 990}, {1000, 50, 500}, {1000, 0, 1},
	} {
		if got := percentile(upTo(c.n), c.p); got != c.want {
			t.Errorf("of 1 to %d the percentile %d is %d, want %d", c.n, c.p, got, c.want)
		}
	}
	if got := percentile[int](nil, 99); got != 0 {
		t.Errorf("of nothing it is %d", got)
	}
}

func mails(n int, seconds float64) sample {
	return sample{mails: n, took: time.Duration(seconds * float64(time.Second)), p99: time.Duration(n) * time.Millisecond}
}

// The machine was slower by half in the second round, for all. In the third the
// gateway alone had bad luck.
var threeRounds = cell{size: 4000, connections: 10, runs: [services][]sample{
	none:    {mails(400, 1), mails(400, 2), mails(400, 1)},
	nothing: {mails(300, 1), mails(150, 1), mails(300, 1)},
	gateway: {mails(270, 1), mails(135, 1), mails(30, 1)},
}}

func TestRatio(t *testing.T) {
	for _, c := range []struct {
		a, b int
		want float64
	}{
		{nothing, none, 0.75},
		{gateway, nothing, 0.9},
		{gateway, none, 0.675},
	} {
		if got := threeRounds.ratio(c.a, c.b, perSecond); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("ratio of %d and %d: %v, want %v", c.a, c.b, got, c.want)
		}
	}
	if got := threeRounds.median(gateway, perSecond); got != 135 {
		t.Errorf("the median of the gateway is %v", got)
	}
}

func TestGoals(t *testing.T) {
	slow := threeRounds
	slow.runs[gateway] = []sample{mails(460, 2), mails(230, 2), mails(460, 2)}
	var table table
	table.judge(threeRounds)
	table.judge(slow)
	large := slow
	large.size = 10_000_000
	large.runs[gateway] = []sample{{peak: 100e6}, {peak: 257e6}, {peak: 100e6}}
	table.judge(large)
	var out strings.Builder
	table.goals(&out)
	const want = `
Goals:

  met     4 kB, 10 connections: 0.90 of the throughput beside nothing, at least 0.90
  met     4 kB, 10 connections: 0.90 of the p99 beside nothing, at most 1.50
  MISSED  4 kB, 10 connections: 0.77 of the throughput beside nothing, at least 0.90
  MISSED  4 kB, 10 connections: 1.53 of the p99 beside nothing, at most 1.50
  MISSED  all: 257 MB of memory, at most 256
`
	if out.String() != want {
		t.Errorf("%s, want\n%s", out.String(), want)
	}
}

func TestMarkdown(t *testing.T) {
	table := table{options: options{rounds: 1, length: time.Second, markdown: true}, machine: "2026-11-28, 2 cores of abacus", postfix: "3.7.11"}
	one := func(mails int, p50, p99 time.Duration, milter, postfix time.Duration, peak int64) []sample {
		return []sample{{mails, time.Second, p50, p99, milter, postfix, peak}}
	}
	const ms = time.Millisecond
	var out strings.Builder
	table.heading(&out)
	table.row(&out, cell{size: 200_000, connections: 50, runs: [services][]sample{
		none:    one(400, 2*ms, 10*ms, 0, 3*ms, 0),
		nothing: one(300, 3*ms, 12*ms, 400*time.Microsecond, 4*ms, 11e6),
		gateway: one(279, 3500*time.Microsecond, 15*ms, 900*time.Microsecond, 4400*time.Microsecond, 20e6),
	}})
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	const want = "| 200 kB, 50 | 400 · 300 · 279 | 0.75 | 0.93 | 2.0 · 3.0 · 3.5 | 10 · 12 · 15 | 1.25 | 0.4 · 0.9 | 3.0 · 4.0 · 4.4 | 11 · 20 |"
	if got := lines[len(lines)-1]; got != want {
		t.Errorf("%s, want\n%s", got, want)
	}
	for _, line := range lines[len(lines)-3:] {
		if n := strings.Count(line, "|"); n != 11 {
			t.Errorf("%d bars, want 11: %s", n, line)
		}
	}
	if lines[0] != "2026-11-28, 2 cores of abacus, Postfix 3.7.11;" || lines[1] != "one round of 1s." {
		t.Errorf("it begins with %q", lines[:2])
	}
}
