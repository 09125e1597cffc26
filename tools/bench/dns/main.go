// Command dns measures how fast package dnssec validates, beside Unbound and
// beside the bare signature checks.
//
//	go run ./tools/bench/dns [-n 100] [-delay 10ms]
//
// It makes a small signed Internet (package testnet) with one SMIMEA record
// three zones deep, all keys P-256, and a recursive resolver in front that
// validates nothing. Between the resolver and those who ask it lies a
// distance: each octet takes half the delay, in both directions, however many
// are under way. Three things are measured, in turns with what they are
// compared to, and the median of many counts:
//
//   - A cold lookup: a validator with nothing remembered and no connection, in
//     this process, beside a validating Unbound that has just forgotten
//     everything (but keeps its connection) and is asked by a plain stub over
//     TCP. Opening a connection costs no delay here; on a real way it takes one
//     round trip more.
//   - A warm lookup of the same name, beside Unbound on a kept connection.
//   - The proof of one answer judged again and again without any network, on
//     one core, beside as many bare checks of signatures by crypto/ecdsa as
//     that answer needs.
//
// For each it says whether the goal was met. The times depend on the machine and
// on what else it does, so a goal that was missed is no failure: the exit code
// is 1 only if something could not be measured. Without an unbound in PATH the
// rest is measured.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"syscall"
	"time"
)

func main() {
	n := flag.Int("n", 100, "measure each thing `N` times")
	delay := flag.Duration("delay", 10*time.Millisecond, "the round trip to the resolver takes `TIME`")
	flag.Parse()
	if flag.NArg() > 0 || *n < 1 || *delay <= 0 {
		flag.Usage()
		os.Exit(2)
	}
	unbound, _ := exec.LookPath("unbound") // empty: there is none
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Stdout, *n, *delay, unbound)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench/dns: error: %v\n", err)
		os.Exit(1)
	}
}

// run measures everything n times, and prints what came of it.
func run(ctx context.Context, w io.Writer, n int, delay time.Duration, unbound string) (err error) {
	l, err := newLab(ctx, unbound)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	fmt.Fprintf(w, "One SMIMEA record of %d octets, three zones deep; medians of %d.\n\n", certificateSize, n)
	if unbound == "" {
		fmt.Fprint(w, "There is no unbound in PATH: nothing to compare lookups with.\n\n")
	}
	for _, part := range []func(context.Context, io.Writer, int, time.Duration) error{l.cold, l.warm, l.judging} {
		if err := part(ctx, w, n, delay); err != nil {
			return err
		}
	}
	return nil
}

// A pair holds the times that both took for the same thing.
type pair struct{ ours, theirs []time.Duration }

// row prints the medians of a pair in microseconds, and their ratio.
func (p pair) row(w io.Writer, what string) {
	ours := median(p.ours)
	fmt.Fprintf(w, "%-40s %10.1f µs", what, micro(ours))
	if p.theirs != nil {
		theirs := median(p.theirs)
		fmt.Fprintf(w, "%10.1f µs %8.3f", micro(theirs), float64(ours)/float64(theirs))
	}
	fmt.Fprintln(w)
}

// waitingRow prints how much longer lookups take at a distance, in round trips.
func waitingRow(w io.Writer, at0, away pair, delay time.Duration) {
	fmt.Fprintf(w, "%-40s %10.1f   ", "  waiting, in round trips", trips(at0.ours, away.ours, delay))
	if away.theirs != nil {
		fmt.Fprintf(w, "%10.1f", trips(at0.theirs, away.theirs, delay))
	}
	fmt.Fprintln(w)
}

func trips(at0, away []time.Duration, delay time.Duration) float64 {
	return float64(median(away)-median(at0)) / float64(delay)
}

func (p pair) heading(w io.Writer, what string) {
	fmt.Fprintf(w, "%-40s %10s", what, "here")
	if p.theirs != nil {
		fmt.Fprintf(w, "   %10s   %8s", "Unbound", "ratio")
	}
	fmt.Fprintln(w)
}

// goal prints whether a goal was met.
func goal(w io.Writer, what string, met bool) {
	verdict := "missed"
	if met {
		verdict = "met"
	}
	fmt.Fprintf(w, "  goal: %s: %s\n\n", what, verdict)
}

func micro(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// median returns the middle one of what is not empty.
func median[T time.Duration | float64](all []T) T {
	return slices.Sorted(slices.Values(all))[len(all)/2]
}
