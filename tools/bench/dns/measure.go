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
	world   *testnet.Net
	proxy   *proxy
	unbound *unbound // nil: there is none
	options dnssec.Options
}

func newLab(ctx context.Context, program string) (l *lab, err error) {
	l = new(lab)
	defer func() {
		if err != nil {
			err = errors.Join(err, l.close())
		}
	}()
	record := owner + " SMIMEA 3 0 0 " + strings.Repeat("5a", certificateSize)
	if l.world, err = testnet.Start(testnet.Zone{Name: "good.test.", Records: []string{record}}); err != nil {
		return l, err
	}
	if l.proxy, err = newProxy(l.world.Resolver()); err != nil {
		return l, err
	}
	l.options.Servers = []string{l.proxy.address()}
	if l.options.Anchors, err = dnssec.ParseAnchors(strings.NewReader(l.world.TrustAnchor())); err != nil {
		return l, err
	}
	if program != "" {
		l.unbound, err = startUnbound(ctx, program, l.world.TrustAnchor(), l.proxy.address())
	}
	return l, err
}

// close stops whatever has been started.
func (l *lab) close() (err error) {
	if l.unbound != nil {
		err = l.unbound.close()
	}
	if l.proxy != nil {
		l.proxy.close()
	}
	if l.world != nil {
		err = errors.Join(err, l.world.Close())
	}
	return err
}

// cold measures lookups by those who know nothing yet.
func (l *lab) cold(ctx context.Context, w io.Writer, n int, delay time.Duration) error {
	if err := l.coldPair(ctx, new(pair), 0); err != nil { // the first one pays for much else
		return err
	}
	var at0, away pair
	for range n {
		if err := l.coldPair(ctx, &at0, 0); err != nil {
			return err
		}
		if err := l.coldPair(ctx, &away, delay); err != nil {
			return err
		}
	}
	at0.heading(w, "cold lookup")
	at0.row(w, "  no distance to the resolver")
	away.row(w, fmt.Sprintf("  %v to the resolver and back", delay))
	waitingRow(w, at0, away, delay)
	goal(w, "waits for two round trips", trips(at0.ours, away.ours, delay) < 2.5)
	return nil
}

// coldPair adds one lookup of each to a pair.
func (l *lab) coldPair(ctx context.Context, p *pair, delay time.Duration) error {
	l.proxy.trip.Store(int64(delay))
	took, err := l.asking(func() (time.Duration, error) { return l.coldHere(ctx) })
	if err != nil {
		return err
	}
	p.ours = append(p.ours, took)
	if l.unbound == nil {
		return ctx.Err()
	}
	if took, err = l.asking(l.coldUnbound); err != nil {
		return err
	}
	p.theirs = append(p.theirs, took)
	return ctx.Err()
}

// asking makes a lookup, and makes sure that the keys were asked for: nobody
// knew them still.
func (l *lab) asking(lookup func() (time.Duration, error)) (time.Duration, error) {
	before := len(l.world.Questions())
	took, err := lookup()
	if err != nil {
		return 0, err
	}
	asked := l.world.Questions()[before:]
	for _, zone := range zones {
		if !slices.Contains(asked, zone+" DNSKEY") {
			return 0, fmt.Errorf("not a cold lookup: the keys of %s were known; asked was %q", zone, asked)
		}
	}
	return took, nil
}

func (l *lab) coldHere(ctx context.Context) (time.Duration, error) {
	begin := time.Now()
	v, err := dnssec.New(l.options)
	if err != nil {
		return 0, err
	}
	defer v.Close()
	err = lookup(ctx, v)
	return time.Since(begin), err
}

func lookup(ctx context.Context, v *dnssec.Validator) error {
	if a := v.Lookup(ctx, owner, dnssec.TypeSMIMEA); a.Status != dnssec.Secure || len(a.Data) != 1 {
		return fmt.Errorf("the lookup is %v: %w", a.Status, a.Why)
	}
	return nil
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
func (l *lab) warm(ctx context.Context, w io.Writer, n int, _ time.Duration) error {
	v, err := dnssec.New(l.options)
	if err != nil {
		return err
	}
	defer v.Close()
	ours := func() error { return lookup(ctx, v) }
	theirs := func() error { return nil }
	if l.unbound != nil {
		conn, err := l.unbound.client.Dial(l.unbound.address)
		if err != nil {
			return err
		}
		defer conn.Close()
		theirs = func() error { return l.unbound.lookup(conn) }
	}
	if err := errors.Join(ours(), theirs()); err != nil { // now they know it
		return err
	}
	p, err := inTurns(ctx, n, ours, 1000, theirs, 20)
	if err != nil {
		return err
	}
	if l.unbound == nil {
		p.theirs = nil
	}
	p.heading(w, "warm lookup")
	p.row(w, "  the same name again")
	goal(w, "under 2 µs in process", median(p.ours) < 2*time.Microsecond)
	return nil
}

// inTurns does this and that in turns n times, each so many times at once, and
// returns how long each takes on average.
func inTurns(ctx context.Context, n int, this func() error, times int, that func() error, otherTimes int) (p pair, err error) {
	for range n {
		ours, err := averageOf(this, times)
		if err != nil {
			return p, err
		}
		theirs, err := averageOf(that, otherTimes)
		if err != nil {
			return p, err
		}
		p.ours, p.theirs = append(p.ours, ours), append(p.theirs, theirs)
		if ctx.Err() != nil {
			return p, ctx.Err()
		}
	}
	return p, nil
}

func averageOf(f func() error, times int) (time.Duration, error) {
	begin := time.Now()
	for range times {
		if err := f(); err != nil {
			return 0, err
		}
	}
	return time.Since(begin) / time.Duration(times), nil
}

// judging measures validation alone, on one core, beside the signature checks
// in it.
func (l *lab) judging(ctx context.Context, w io.Writer, n int, _ time.Duration) error {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	o := l.options
	o.Evidence = true // and so nothing is remembered
	proof, err := evidence(ctx, o)
	if err != nil {
		return err
	}
	checks, err := neededSignatures(ctx, o, proof)
	if err != nil {
		return err
	}
	v, err := dnssec.NewReplay(o, proof)
	if err != nil {
		return err
	}
	defer v.Close()
	bare, err := bareChecks(checks)
	if err != nil {
		return err
	}
	p, err := inTurns(ctx, n, func() error { return lookup(ctx, v) }, 10, bare, 10)
	if err != nil {
		return err
	}
	var over []float64
	for i := range p.ours {
		over = append(over, float64(p.ours[i])/float64(p.theirs[i])-1)
	}
	fmt.Fprintf(w, "%-40s %10s\n", "validation alone, on one core", "each s")
	fmt.Fprintf(w, "%-40s %10.0f\n", "  the proof of one answer", perSecond(p.ours))
	fmt.Fprintf(w, "%-40s %10.0f\n", fmt.Sprintf("  %d bare checks by crypto/ecdsa", checks), perSecond(p.theirs))
	fmt.Fprintf(w, "%-40s %10.1f %%\n", "  over the bare checks", 100*median(over))
	goal(w, "under 30 % over the bare checks", median(over) < 0.3)
	return nil
}

func perSecond(times []time.Duration) float64 { return float64(time.Second) / float64(median(times)) }

func evidence(ctx context.Context, o dnssec.Options) ([][]byte, error) {
	v, err := dnssec.New(o)
	if err != nil {
		return nil, err
	}
	defer v.Close()
	a := v.Lookup(ctx, owner, dnssec.TypeSMIMEA)
	return a.Evidence, a.Why
}

// neededSignatures counts the signatures without which a proof is none.
func neededSignatures(ctx context.Context, o dnssec.Options, proof [][]byte) (needed int, err error) {
	for i, raw := range proof {
		m := new(dns.Msg)
		if err := m.Unpack(raw); err != nil {
			return 0, err
		}
		for _, rr := range slices.Concat(m.Answer, m.Ns) {
			sig, ok := rr.(*dns.RRSIG)
			if !ok {
				continue
			}
			sound := sig.OrigTtl
			sig.OrigTtl++ // which is signed
			broken := slices.Clone(proof)
			if broken[i], err = m.Pack(); err != nil {
				return 0, err
			}
			sig.OrigTtl = sound
			v, err := dnssec.NewReplay(o, broken)
			if err != nil {
				return 0, err
			}
			if lookup(ctx, v) != nil {
				needed++
			}
			v.Close()
		}
	}
	return needed, nil
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
