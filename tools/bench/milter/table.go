package main

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

// A cell is what all rounds showed of one size and number of connections.
type cell struct {
	size, connections int
	runs              [services][]sample
}

// median of a figure of one service.
func (c cell) median(of int, figure func(sample) float64) float64 {
	var all []float64
	for _, s := range c.runs[of] {
		all = append(all, figure(s))
	}
	return median(all)
}

// ratio is the median of the ratios, each of two runs of the same round.
func (c cell) ratio(a, b int, figure func(sample) float64) float64 {
	var all []float64
	for i := range c.runs[a] {
		all = append(all, figure(c.runs[a][i])/figure(c.runs[b][i]))
	}
	return median(all)
}

// median is the middle one, or between the two in the middle.
func median(all []float64) float64 {
	if len(all) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(all))
	half := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[half]
	}
	return (sorted[half-1] + sorted[half]) / 2
}

// percentile is the least one that p of 100 do not exceed: the nearest rank.
func percentile[T cmp.Ordered](all []T, p int) (least T) {
	if len(all) == 0 {
		return least
	}
	sorted := slices.Sorted(slices.Values(all))
	rank := (len(sorted)*p + 99) / 100
	return sorted[max(rank, 1)-1]
}

// The figures of a run.
var (
	perSecond = sample.perSecond
	p50       = func(s sample) float64 { return milliseconds(s.p50) }
	p99       = func(s sample) float64 { return milliseconds(s.p99) }
	ofMilter  = func(s sample) float64 { return milliseconds(s.milter) }
	ofPostfix = func(s sample) float64 { return milliseconds(s.postfix) }
	peak      = func(s sample) float64 { return float64(s.peak) / 1e6 }
)

func milliseconds(d time.Duration) float64 { return d.Seconds() * 1000 }

// A table prints what was measured, and what that means for the goals.
type table struct {
	options
	machine, postfix string
	verdicts         []string
	most             float64 // memory of the gateway in any run, in MB
}

// machine is what it was measured on, and when.
func machine() string {
	cpuinfo, _ := os.ReadFile("/proc/cpuinfo") // without one it is unknown
	return fmt.Sprintf("%s, %d cores of %s", time.Now().UTC().Format(time.DateOnly), runtime.NumCPU(), parseModel(string(cpuinfo)))
}

func (t *table) heading(w io.Writer) {
	rounds := fmt.Sprintf("medians of %d rounds", t.rounds)
	if t.rounds == 1 {
		rounds = "one round"
	}
	fmt.Fprintf(w, "%s, Postfix %s;\n%s of %v.\n", t.machine, t.postfix, rounds, t.length)
	if t.markdown {
		fmt.Fprint(w, "\n| mails, connections | mails/s | nothing / none | gateway / nothing | p50, ms | p99, ms | gateway / nothing | CPU of the milter, ms | CPU of Postfix, ms | memory, MB |\n"+
			"| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n")
	}
}

func (t *table) row(w io.Writer, c cell) {
	if t.markdown {
		t.markdownRow(w, c)
	} else {
		t.plainRow(w, c)
	}
	t.judge(c)
}

// markdownRow has the three services in one field.
func (t *table) markdownRow(w io.Writer, c cell) {
	fmt.Fprintf(w, "| %s, %d | %s | %.2f | %.2f | %s | %s | %.2f | %s | %s | %s |\n", sizeName(c.size), c.connections,
		c.three(none, perSecond), c.ratio(nothing, none, perSecond), c.ratio(gateway, nothing, perSecond),
		c.three(none, p50), c.three(none, p99), c.ratio(gateway, nothing, p99),
		c.three(nothing, ofMilter), c.three(none, ofPostfix), c.three(nothing, peak))
}

// three shows a figure of the services, from the first that has it.
func (c cell) three(first int, figure func(sample) float64) string {
	var shown []string
	for of := first; of < services; of++ {
		shown = append(shown, short(c.median(of, figure)))
	}
	return strings.Join(shown, " · ")
}

// short shows two digits at least.
func short(f float64) string {
	if f < 10 {
		return fmt.Sprintf("%.1f", f)
	}
	return fmt.Sprintf("%.0f", f)
}

func (t *table) plainRow(w io.Writer, c cell) {
	fmt.Fprintf(w, "\n%-25s %9s %9s %9s %11s %11s\n", fmt.Sprintf("%s, %s", sizeName(c.size), plural(c.connections)),
		"none", "nothing", "gateway", "noth./none", "gate./noth.")
	for _, line := range []struct {
		name   string
		first  int
		figure func(sample) float64
	}{
		{"mails/s", none, perSecond},
		{"p50, ms", none, p50},
		{"p99, ms", none, p99},
		{"CPU of the milter, ms", nothing, ofMilter},
		{"CPU of Postfix, ms", none, ofPostfix},
		{"memory of the milter, MB", nothing, peak},
	} {
		fmt.Fprintf(w, "%-25s", line.name)
		for of := range services {
			shown := ""
			if of >= line.first {
				shown = short(c.median(of, line.figure))
			}
			fmt.Fprintf(w, " %9s", shown)
		}
		shown := ""
		if line.first == none {
			shown = fmt.Sprintf("%.2f", c.ratio(nothing, none, line.figure))
		}
		fmt.Fprintf(w, " %11s %11.2f\n", shown, c.ratio(gateway, nothing, line.figure))
	}
}

func plural(connections int) string {
	if connections == 1 {
		return "1 connection"
	}
	return fmt.Sprintf("%d connections", connections)
}

func sizeName(octets int) string {
	if octets%1_000_000 == 0 {
		return fmt.Sprintf("%d MB", octets/1_000_000)
	}
	return fmt.Sprintf("%d kB", octets/1000)
}

// The goals: what the gateway may cost beside a milter that does nothing, with
// small mails, and the memory that it was given.
const (
	leastThroughput = 0.9
	mostP99         = 1.5
	smallMail       = 4000      // octets, and less
	memoryLimit     = 256 * 1e6 // octets
)

// judge notes what a cell means for the goals.
func (t *table) judge(c cell) {
	where := fmt.Sprintf("%s, %s", sizeName(c.size), plural(c.connections))
	if c.size <= smallMail {
		throughput, slow := c.ratio(gateway, nothing, perSecond), c.ratio(gateway, nothing, p99)
		t.goal(throughput >= leastThroughput, "%s: %.2f of the throughput beside nothing, at least %.2f", where, throughput, leastThroughput)
		t.goal(slow <= mostP99, "%s: %.2f of the p99 beside nothing, at most %.2f", where, slow, mostP99)
	}
	for _, s := range c.runs[gateway] {
		t.most = max(t.most, peak(s))
	}
}

func (t *table) goal(met bool, format string, args ...any) {
	verdict := map[bool]string{true: "met", false: "MISSED"}[met]
	t.verdicts = append(t.verdicts, fmt.Sprintf("  %-6s  %s", verdict, fmt.Sprintf(format, args...)))
}

func (t *table) goals(w io.Writer) {
	t.goal(t.most <= memoryLimit/1e6, "all: %.0f MB of memory, at most %.0f", t.most, memoryLimit/1e6)
	fmt.Fprintf(w, "\nGoals:\n\n%s\n", strings.Join(t.verdicts, "\n"))
}
