package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"smimea.example/smimea/dnssec"
	"smimea.example/tools/testnet"
)

const (
	owner           = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717._smimecert.good.test."
	certificateSize = 1024
)

// The zones whose keys the answer needs.
var zones = []string{".", "test.", "good.test."}

// A lab is a DNS, the distance to its resolver, and who asks there.
type lab struct {
	ctx   context.Context
	n     int
	delay time.Duration

	world    *testnet.Net
	distance *distance
	unbound  *unbound // nil: there is none
	options  dnssec.Options
}

func (l *lab) start(program string) (err error) {
	record := owner + " SMIMEA 3 0 0 " + strings.Repeat("5a", certificateSize)
	if l.world, err = testnet.Start(testnet.Zone{Name: "good.test.", Records: []string{record}}); err != nil {
		return err
	}
	if l.distance, err = newDistance(l.world.Resolver()); err != nil {
		return err
	}
	resolver := l.distance.Addr().String()
	l.options.Servers = []string{resolver}
	if l.options.Anchors, err = dnssec.ParseAnchors(strings.NewReader(l.world.TrustAnchor())); err != nil {
		return err
	}
	if program != "" {
		l.unbound, err = startUnbound(l.ctx, program, l.world.TrustAnchor(), resolver)
	}
	return err
}

// close stops whatever has been started.
func (l *lab) close() {
	if l.unbound != nil {
		l.unbound.close()
	}
	if l.distance != nil {
		l.distance.close()
	}
	if l.world != nil {
		l.world.Close()
	}
}

// inTurns does both so many times in turns, and that n times.
func (l *lab) inTurns(here func() error, times int, there func() error, timesThere int) (p pair, err error) {
	for range l.n {
		if err := p.add(l.repeat(times, here), l.repeat(timesThere, there)); err != nil {
			return p, err
		}
	}
	return p, nil
}

func (l *lab) repeat(times int, f func() error) timed {
	if f == nil {
		return nil
	}
	return func() (time.Duration, error) {
		begin := time.Now()
		for range times {
			if err := f(); err != nil {
				return 0, err
			}
		}
		return time.Since(begin) / time.Duration(times), l.ctx.Err()
	}
}

// lookup demands a secure answer.
func (l *lab) lookup(v *dnssec.Validator) error {
	if a := v.Lookup(l.ctx, owner, dnssec.TypeSMIMEA); a.Status != dnssec.Secure || len(a.Data) != 1 {
		return fmt.Errorf("the lookup is %v: %w", a.Status, a.Why)
	}
	return nil
}

// cold measures lookups by those who know nothing yet.
func (l *lab) cold(w io.Writer) error {
	here, there := l.unknown(l.coldHere), timed(nil)
	if l.unbound != nil {
		there = l.unknown(l.coldUnbound)
	}
	if err := new(pair).add(here, there); err != nil { // the first one pays for much else
		return err
	}
	var near, far pair
	for range l.n {
		l.distance.trip.Store(0)
		if err := near.add(here, there); err != nil {
			return err
		}
		l.distance.trip.Store(int64(l.delay))
		if err := far.add(here, there); err != nil {
			return err
		}
	}
	l.distance.trip.Store(0)
	near.heading(w, "cold lookup")
	near.row(w, "  no distance to the resolver")
	far.row(w, fmt.Sprintf("  %v to the resolver and back", l.delay))
	waiting := []float64{trips(near.here, far.here, l.delay)}
	if near.there != nil {
		waiting = append(waiting, trips(near.there, far.there, l.delay))
	}
	columns(w, "  waiting, in round trips", cells("%.1f", waiting...)...)
	goal(w, "waits for two round trips", waiting[0] < 2.5)
	return nil
}

// trips tells how many round trips longer it takes from afar.
func trips(near, far []time.Duration, delay time.Duration) float64 {
	return float64(median(far)-median(near)) / float64(delay)
}

// unknown makes sure that the keys had to be asked for.
func (l *lab) unknown(lookup timed) timed {
	return func() (time.Duration, error) {
		before := len(l.world.Questions())
		took, err := lookup()
		asked := l.world.Questions()[before:]
		for _, zone := range zones {
			if err == nil && !slices.Contains(asked, zone+" DNSKEY") {
				err = fmt.Errorf("not a cold lookup: the keys of %s were known; asked was %q", zone, asked)
			}
		}
		return took, errors.Join(err, l.ctx.Err())
	}
}

func (l *lab) coldHere() (time.Duration, error) {
	begin := time.Now()
	v, err := dnssec.New(l.options)
	if err != nil {
		return 0, err
	}
	defer v.Close()
	err = l.lookup(v)
	return time.Since(begin), err
}

func (l *lab) coldUnbound() (time.Duration, error) {
	if err := l.unbound.forget(); err != nil {
		return 0, err
	}
	begin := time.Now()
	conn, err := l.unbound.client.Dial(l.unbound.address)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	err = l.unbound.lookup(conn)
	return time.Since(begin), err
}

// warm measures lookups by those who know the answer.
func (l *lab) warm(w io.Writer) error {
	v, err := dnssec.New(l.options)
	if err != nil {
		return err
	}
	defer v.Close()
	here, there := func() error { return l.lookup(v) }, (func() error)(nil)
	if l.unbound != nil {
		conn, err := l.unbound.client.Dial(l.unbound.address)
		if err != nil {
			return err
		}
		defer conn.Close()
		there = func() error { return l.unbound.lookup(conn) }
	}
	if err := here(); err != nil { // Unbound has answered before.
		return err
	}
	p, err := l.inTurns(here, 1000, there, 20)
	if err != nil {
		return err
	}
	p.heading(w, "warm lookup")
	p.row(w, "  the same name again")
	goal(w, "under 2 µs in process", median(p.here) < 2*time.Microsecond)
	return nil
}

// judging measures validation alone, on one core, beside the signature checks
// in it.
func (l *lab) judging(w io.Writer) error {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	v, signatures, err := l.replay()
	if err != nil {
		return err
	}
	defer v.Close()
	bare, err := bareChecks(signatures)
	if err != nil {
		return err
	}
	p, err := l.inTurns(func() error { return l.lookup(v) }, 30, bare, 30)
	if err != nil {
		return err
	}
	var over []float64
	for i := range p.here {
		over = append(over, 100*(float64(p.here[i])/float64(p.there[i])-1))
	}
	columns(w, "validation alone, on one core", "per second")
	columns(w, "  the proof of one answer", cells("%.0f", 1/median(p.here).Seconds())...)
	columns(w, fmt.Sprintf("  %d bare checks by crypto/ecdsa", signatures), cells("%.0f", 1/median(p.there).Seconds())...)
	columns(w, "  over the bare checks", cells("%.1f %%", median(over))...)
	goal(w, "under 30 % over the bare checks", median(over) < 30)
	return nil
}

// replay makes a validator that asks nobody and remembers nothing, and counts
// the signatures in what it has.
func (l *lab) replay() (v *dnssec.Validator, signatures int, err error) {
	o := l.options
	o.Evidence = true
	first, err := dnssec.New(o)
	if err != nil {
		return nil, 0, err
	}
	defer first.Close()
	proof := first.Lookup(l.ctx, owner, dnssec.TypeSMIMEA).Evidence
	for _, raw := range proof {
		m := new(dns.Msg)
		if err := m.Unpack(raw); err != nil {
			return nil, 0, err
		}
		for _, rr := range m.Answer {
			if rr.Header().Rrtype == dns.TypeRRSIG {
				signatures++
			}
		}
	}
	v, err = dnssec.NewReplay(o, proof)
	return v, signatures, err
}

// bareChecks returns what checks so many signatures, each of another P-256 key.
func bareChecks(n int) (check func() error, err error) {
	sum := sha256.Sum256([]byte(owner))
	keys, sigs := make([]*ecdsa.PrivateKey, n), make([][]byte, n)
	for i := range n {
		if keys[i], err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			return nil, err
		}
		if sigs[i], err = ecdsa.SignASN1(rand.Reader, keys[i], sum[:]); err != nil {
			return nil, err
		}
	}
	return func() error {
		for i, k := range keys {
			if !ecdsa.VerifyASN1(&k.PublicKey, sum[:], sigs[i]) {
				return errors.New("crypto/ecdsa does not believe its own signature")
			}
		}
		return nil
	}, nil
}
