// Command cms measures how fast mail is encrypted, beside OpenSSL and beside the
// ciphers and base64 alone.
//
//	go run ./tools/bench/cms [-n 9] [-sizes 4kB,1MB,25MB,100MB]
//
// It makes an entity of each size (text in lines, as a mail has it) and a
// certificate with an RSA key of 2048 bits, and measures in turns, with the
// median of many ratios:
//
//   - From the entity in a file to the finished mail in base64, with AES-256 in
//     CBC and in GCM: in this process, as the gateway does it, and by "smimea
//     encrypt", each beside "openssl cms -encrypt -binary -stream"; and the most
//     memory that the command took. The goals are about the first, which starts
//     no process for a mail.
//   - In this process beside its parts: the bare cipher over as many octets, and
//     base64 lines of as many.
//   - What one recipient more costs, beside encrypting one key.
//   - Reading an object back before it is let go, beside all that the gateway does
//     with a mail.
//
// For each it says whether the goal was met. The times depend on the machine and
// on what else it does, so a goal that was missed is no failure: the exit code
// is 1 only if something could not be measured. Without an openssl in PATH the
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
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	n := flag.Int("n", 9, "measure each thing `N` times")
	sizes := flag.String("sizes", "4kB,1MB,25MB,100MB", "measure entities of these `SIZES`")
	flag.Parse()
	octets, err := parseSizes(*sizes)
	if flag.NArg() > 0 || *n < 1 || err != nil {
		flag.Usage()
		os.Exit(2)
	}
	openssl, _ := exec.LookPath("openssl") // empty: there is none
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err = run(ctx, os.Stdout, *n, octets, openssl)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench/cms: error: %v\n", err)
		os.Exit(1)
	}
}

// parseSizes reads sizes with their units, of 1000.
func parseSizes(list string) ([]int, error) {
	var sizes []int
	for word := range strings.SplitSeq(list, ",") {
		digits, unit := strings.TrimRight(word, "kMB"), 1
		switch word[len(digits):] {
		case "kB":
			unit = 1000
		case "MB":
			unit = 1000 * 1000
		default:
			return nil, fmt.Errorf("size %q: write it as in 4kB or 25MB", word)
		}
		n, err := strconv.Atoi(digits)
		if err != nil || n < 1 || n > 1000 {
			return nil, fmt.Errorf("size %q: write it as in 4kB or 25MB", word)
		}
		sizes = append(sizes, n*unit)
	}
	return sizes, nil
}

func sizeName(octets int) string {
	if octets%1_000_000 == 0 {
		return fmt.Sprintf("%d MB", octets/1_000_000)
	}
	return fmt.Sprintf("%d kB", octets/1000)
}

// run measures everything n times, and prints what came of it.
func run(ctx context.Context, w io.Writer, n int, sizes []int, openssl string) error {
	l := &lab{ctx: ctx, n: n, sizes: sizes, openssl: openssl}
	defer l.close()
	if err := l.start(); err != nil {
		return err
	}
	fmt.Fprintf(w, "One recipient with an RSA key of 2048 bits; medians of %d.\n\n", n)
	if openssl == "" {
		fmt.Fprint(w, "There is no openssl in PATH: nothing to compare processes with.\n\n")
	}
	for _, part := range []func(io.Writer) error{l.files, l.parts, l.recipients, l.check} {
		if err := part(w); err != nil {
			return err
		}
	}
	return nil
}

// A timed does something once, and returns how long it takes.
type timed func() (time.Duration, error)

// compare takes both in turns, and returns the median time of each and the
// median of their ratios.
func (l *lab) compare(ours, theirs timed) (a, b time.Duration, ratio float64, err error) {
	var as, bs []time.Duration
	var ratios []float64
	for i := range l.n + 1 {
		if err := l.ctx.Err(); err != nil {
			return 0, 0, 0, err
		}
		a, err := ours()
		if err != nil {
			return 0, 0, 0, err
		}
		b, err := theirs()
		if err != nil {
			return 0, 0, 0, err
		}
		if i > 0 { // the first warms up
			as, bs, ratios = append(as, a), append(bs, b), append(ratios, float64(a)/float64(b))
		}
	}
	return median(as), median(bs), median(ratios), nil
}

func median[T interface{ ~int64 | ~float64 }](list []T) T {
	slices.Sort(list)
	return list[len(list)/2]
}

// goal says whether a ratio is small enough.
func goal(ratio, most float64) string {
	if ratio <= most {
		return fmt.Sprintf("goal %.2f met", most)
	}
	return fmt.Sprintf("goal %.2f MISSED", most)
}
