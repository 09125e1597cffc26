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
//     one core, beside bare checks by crypto/ecdsa of as many signatures as
//     there are in it.
//
// For each it says whether the goal was met. The times depend on the machine and
// on what else it does, so a goal that was missed is no failure: the exit code
// is 1 only if something could not be measured. Without an unbound in PATH the
// rest is measured.
package main

import (
	"context"
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
func run(ctx context.Context, w io.Writer, n int, delay time.Duration, unbound string) error {
	l := lab{ctx: ctx, n: n, delay: delay}
	defer l.close()
	if err := l.start(unbound); err != nil {
		return err
	}
	fmt.Fprintf(w, "One SMIMEA record of %d octets, three zones deep; medians of %d.\n\n", certificateSize, n)
	if unbound == "" {
		fmt.Fprint(w, "There is no unbound in PATH: nothing to compare lookups with.\n\n")
	}
	for _, part := range []func(io.Writer) error{l.cold, l.warm, l.judging} {
		if err := part(w); err != nil {
			return err
		}
	}
	return nil
}

// A timed does something once or more, and returns how long once takes.
type timed func() (time.Duration, error)

// A pair holds how long the same thing took here and elsewhere.
type pair struct{ here, there []time.Duration }

// add does it in both places; nil: there is no other.
func (p *pair) add(here, there timed) error {
	took, err := here()
	if err != nil {
		return err
	}
	p.here = append(p.here, took)
	if there == nil {
		return nil
	}
	took, err = there()
	p.there = append(p.there, took)
	return err
}

func (p pair) heading(w io.Writer, what string) {
	if p.there == nil {
		columns(w, what, "here")
	} else {
		columns(w, what, "here", "Unbound", "ratio")
	}
}

// row prints the medians, and their ratio.
func (p pair) row(w io.Writer, what string) {
	const micro = float64(time.Microsecond)
	here := float64(median(p.here))
	shown := cells("%.1f µs", here/micro)
	if p.there != nil {
		there := float64(median(p.there))
		shown = append(shown, cells("%.1f µs", there/micro)...)
		shown = append(shown, cells("%.3f", here/there)...)
	}
	columns(w, what, shown...)
}

func columns(w io.Writer, what string, cells ...string) {
	fmt.Fprintf(w, "%-34s", what)
	for _, c := range cells {
		fmt.Fprintf(w, " %14s", c)
	}
	fmt.Fprintln(w)
}

func cells(format string, numbers ...float64) (shown []string) {
	for _, n := range numbers {
		shown = append(shown, fmt.Sprintf(format, n))
	}
	return shown
}

// goal prints whether a goal was met.
func goal(w io.Writer, what string, met bool) {
	verdict := "missed"
	if met {
		verdict = "met"
	}
	fmt.Fprintf(w, "  goal: %s: %s\n\n", what, verdict)
}

// median returns the middle one of what is not empty.
func median[T time.Duration | float64](all []T) T {
	return slices.Sorted(slices.Values(all))[len(all)/2]
}
