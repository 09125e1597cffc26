// Command smimea-milter stands beside a mail server and encrypts what leaves the house.
//
// Usage:
//
//	smimea-milter [-config FILE]          serve
//	smimea-milter [-config FILE] -check   try the settings, look at Postfix
//	smimea-milter -version
//
// It reads its settings (default: /etc/smimea/smimea.toml), listens where they
// say, and writes one line of JSON to standard error for each mail; the keys
// are listed in package milter's comment and in smimea-milter(8).
//
// SIGTERM and SIGINT let it finish the mails in flight and end; a second one
// ends it at once. SIGHUP takes changed settings over, whole or not at all
// (mainreload.go).
//
// Exit codes: 0 ended as told, or the check found no error · 1 failed · 2 wrong
// usage.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"smimea.example/internal/config"
	"smimea.example/milter"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

func run(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("smimea-milter", flag.ContinueOnError)
	flags.SetOutput(stderr)
	path := flags.String("config", "/etc/smimea/smimea.toml", "read settings from `FILE`")
	check := flags.Bool("check", false, "try everything the settings name, look at Postfix, and exit")
	version := flags.Bool("version", false, "print the version and exit")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		return 2
	}
	switch {
	case flags.NArg() > 0:
		complain(stderr, fmt.Errorf("unexpected argument %q", flags.Arg(0)), "smimea-milter -help")
		return 2
	case *version:
		fmt.Fprintln(stdout, "smimea-milter", programVersion())
		return 0
	case *check:
		return checkAll(*path, stdout)
	}
	log := slog.New(slog.NewJSONHandler(stderr, nil))
	slog.SetDefault(log)
	p, err := open(*path, log)
	if err != nil {
		complain(stderr, err, "smimea-milter -check -config "+*path)
		return 1
	}
	if err := p.serve(); err != nil {
		fmt.Fprintf(stderr, "smimea-milter: error: %v\n", err)
		return 1
	}
	return 0
}

func complain(w io.Writer, err error, try string) {
	fmt.Fprintf(w, "smimea-milter: error: %v\nsmimea-milter: hint: try: %s\n", err, try)
}

// programVersion is what the Go command has noted in the binary.
func programVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(unknown version)"
}

// A process is everything that the settings name, opened.
type process struct {
	path      string         // of the settings
	settings  *config.Config // those of the start: what the process has as a whole does not change
	houses    *houses        // all the rest, which does
	listeners []net.Listener // where mail servers come
	scraped   net.Listener   // where Prometheus asks; nil for nowhere
	load      *milter.Load
	metrics   *metrics
	health    *health
	log       *slog.Logger
	hup       chan os.Signal
}

func open(path string, log *slog.Logger) (*process, error) {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP) // which else would end us, and systemd hold that for meant
	m := newMetrics()
	first, err := openHouse(path, m)
	if err != nil {
		return nil, err
	}
	settings := first.settings
	p := &process{path: path, settings: settings, houses: newHouses(first), load: new(milter.Load), metrics: m, log: log, hup: hup}
	if err := p.houses.openJournal(); err != nil {
		p.close()
		return nil, err
	}
	if p.listeners, err = listen(settings.Listen); err != nil {
		p.close()
		return nil, err
	}
	if settings.Metrics.Listen != "" {
		if p.scraped, err = net.Listen("tcp", settings.Metrics.Listen); err != nil {
			p.close()
			return nil, fmt.Errorf("metrics.listen: %w", err)
		}
	}
	p.metrics.now(p.load, settings.Limits, p.houses)
	p.health = newHealth(p.listeners, settings.Limits.Connections, p.load)
	return p, nil
}

// close undoes an open that came to nothing.
func (p *process) close() {
	for _, l := range p.listeners {
		l.Close()
	}
	p.houses.close()
}

// serve serves until it is told to stop.
func (p *process) serve() error {
	defer p.houses.close()
	var background sync.WaitGroup
	defer background.Wait()
	toTheLastMail, over := context.WithCancel(context.Background())
	defer over()
	if p.scraped != nil {
		background.Go(func() { p.metrics.serve(toTheLastMail, p.scraped, p.health, p.log) })
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	defer context.AfterFunc(ctx, func() {
		stop() // the next signal ends the process
		p.health.draining.Store(true)
		notify(daemon.SdNotifyStopping)
		p.log.Info("stopping", "wait", p.settings.Limits.Wait.String())
	})()
	tellOfCRLs(p.houses.current.CRLs, time.Now(), p.log)

	debug.SetMemoryLimit(goMemory(p.settings.Limits.Memory.Octets))
	notify(daemon.SdNotifyReady)
	p.log.Info("ready", "listen", p.settings.Listen, "version", programVersion())
	background.Go(func() { p.watchdog(toTheLastMail) })
	if p.settings.Mode == "shadow" {
		background.Go(func() { remindOfShadow(ctx, eachDay, p.log) })
	}
	anchors := newAnchorWatch(p.houses.resolver, p.metrics, p.log)
	background.Go(func() { anchors.run(ctx) })
	background.Go(func() { p.reload(ctx, anchors) })
	return p.server().Serve(ctx, p.listeners...)
}

func (p *process) server() *milter.Server {
	limits := p.settings.Limits
	return &milter.Server{
		Enter:       p.houses.forMail,
		Done:        p.metrics.mail.count,
		Shadow:      p.settings.Mode == "shadow",
		Load:        p.load,
		Log:         p.log,
		Connections: limits.Connections,
		Mails:       limits.Mails,
		Drain:       limits.Wait.Duration,
	}
}

// goMemory is how much of the memory is for what Go counts. The rest is for the
// pages of the program itself, and for what Go takes before it notices.
func goMemory(all int64) int64 { return min(all/8*7, all-20e6) }
