// Command milter measures what the gateway costs a Postfix, beside no milter at
// all and beside one that does nothing.
//
//	go run ./tools/bench/milter [-rounds 5] [-seconds 1.5] [-sizes 4kB,200kB,10MB]
//	                            [-connections 1,10,50] [-each 0] [-short] [-markdown]
//
// It needs Linux, root and Postfix. On loopback, in a directory of its own, it
// starts a Postfix with three SMTP services that differ in their milter: none; one
// made with the same library as the gateway, which negotiates the same, has the
// body sent and drops it; and smimea-milter. Behind Postfix is a sink, which
// counts the mails and sees that those of the gateway, and no others, are
// encrypted. The recipients' certificates are in a small signed Internet (package
// testnet), and the gateway remembers them from before the measuring begins.
//
// Mails of each size come over each number of connections, for some seconds, to
// one service after the other, in as many rounds. What is shown is the median of
// the rounds, and of ratios the median of the ratios in one round, since the
// machine may be another one a minute later:
//
//   - mails per second, from the first MAIL until the last mail is at the sink;
//   - how long one takes its client, from MAIL to the last reply, the median and
//     the 99th percentile;
//   - the processor time of the milter for a mail, and of all Postfix;
//   - the most memory that the milter takes.
//
// Clients keep their connections, since nothing else happens on them then; with
// -each N they open another after N mails. Postfix does not hold back mail that
// comes faster than it goes (in_flow_delay), which would hide all differences.
//
// For each goal it says whether it was met. The times depend on the machine and on
// what else it does, so a goal that was missed is no failure: the exit code is 1
// only if something could not be measured. With -markdown the table is the one in
// the README.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	o, err := parse()
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench/milter: error: %v\n", err)
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err = run(ctx, os.Stdout, o)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench/milter: error: %v\n", err)
		os.Exit(1)
	}
}

// Options say what to measure.
type options struct {
	rounds      int
	length      time.Duration // of one run of one service
	sizes       []int         // of the mails, in octets
	connections []int
	each        int // mails on a connection; 0: as many as there are
	markdown    bool
}

// parse reads the command line.
func parse() (o options, err error) {
	flag.IntVar(&o.rounds, "rounds", 5, "measure each thing `N` times")
	seconds := flag.Float64("seconds", 1.5, "send for so many `SECONDS`, and one mail on each connection at least")
	sizes := flag.String("sizes", "4kB,200kB,10MB", "send mails of these `SIZES`")
	connections := flag.String("connections", "1,10,50", "send over so many connections at a time, a `LIST`")
	flag.IntVar(&o.each, "each", 0, "open another connection after `N` mails; 0 keeps it")
	short := flag.Bool("short", false, "one round of half a second, for a first look")
	flag.BoolVar(&o.markdown, "markdown", false, "print the table of the README")
	flag.Parse()
	if *short {
		o.rounds, *seconds = 1, 0.5
	}
	o.length = time.Duration(*seconds * float64(time.Second))
	if o.sizes, err = parseSizes(*sizes); err != nil {
		return o, err
	}
	if o.connections, err = parseConnections(*connections); err != nil {
		return o, err
	}
	if flag.NArg() > 0 || o.rounds < 1 || o.length <= 0 || o.each < 0 {
		return o, errors.New("no such arguments")
	}
	return o, nil
}

const maxConnections = 90 // Postfix serves 100 (default_process_limit)

// parseSizes reads sizes with their units, of 1000.
func parseSizes(list string) (sizes []int, err error) {
	for word := range strings.SplitSeq(list, ",") {
		digits := strings.TrimRight(word, "kMB")
		unit, ok := map[string]int{"kB": 1000, "MB": 1000 * 1000}[word[len(digits):]]
		n, err := strconv.Atoi(digits)
		if !ok || err != nil || n < 1 || n*unit > 40_000_000 {
			return nil, fmt.Errorf("size %q: write it as in 4kB or 10MB; 40MB at most", word)
		}
		sizes = append(sizes, n*unit)
	}
	return sizes, nil
}

func parseConnections(list string) (numbers []int, err error) {
	for word := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(word)
		if err != nil || n < 1 || n > maxConnections {
			return nil, fmt.Errorf("%q connections: write a number from 1 to %d", word, maxConnections)
		}
		numbers = append(numbers, n)
	}
	return numbers, nil
}

// run measures everything, and prints what came of it.
func run(ctx context.Context, w io.Writer, o options) error {
	if os.Getuid() != 0 {
		return errors.New("only root can start a Postfix: run it as root")
	}
	l := new(lab)
	l.ctx, l.end = context.WithCancel(ctx)
	defer l.close()
	err := l.all(w, o)
	if ctx.Err() != nil { // whatever came of that
		return errors.New("stopped")
	}
	return err
}

func (l *lab) all(w io.Writer, o options) error {
	if err := l.start(); err != nil {
		return l.complain(err)
	}
	t := table{options: o, machine: machine(), postfix: l.postfix.version}
	t.heading(w)
	for _, size := range o.sizes {
		for _, connections := range o.connections {
			c, err := l.measure(size, connections, o)
			if err != nil {
				return l.complain(err)
			}
			t.row(w, c)
		}
	}
	t.goals(w)
	return l.remembered()
}

// measure takes the services in turns; each round begins with another one.
func (l *lab) measure(size, connections int, o options) (cell, error) {
	c := cell{size: size, connections: connections}
	for i := range l.services {
		// Their processes are there, and used to so many connections.
		warm := load{size: tiny, connections: connections, mails: 2}
		if _, err := l.load(&l.services[i], warm); err != nil {
			return c, err
		}
	}
	for round := range o.rounds {
		for i := range l.services {
			which := (round + i) % len(l.services)
			s, err := l.load(&l.services[which], load{size: size, connections: connections, length: o.length, each: o.each})
			if err != nil {
				return c, err
			}
			c.runs[which] = append(c.runs[which], s)
		}
	}
	return c, nil
}

// tiny is the size of a mail for what is not measured.
const tiny = 1000
