package dnssec

import (
	"context"
	"encoding/binary"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// scripted answers one question, or all, with bytes that somebody made up.
type scripted struct {
	raw   []byte
	at    question
	truth recorded // for the others; nil: there are no others
}

// recorded is what a world answers.
type recorded map[question][]byte

func (s scripted) ask(_ context.Context, q question) (*reply, error) {
	raw := append([]byte(nil), s.raw...)
	if s.truth != nil && q != s.at {
		raw = s.truth[q]
	}
	if len(raw) < 2 {
		return nil, errMalformed
	}
	return parseReply(raw, uint16(raw[0])<<8|uint16(raw[1]), q)
}

// record asks a world everything that a lookup of these questions may ask.
func record(w *world, questions ...question) recorded {
	all := recorded{}
	for _, q := range questions {
		for n := q.name; ; n = n.parent() {
			for _, rtype := range []uint16{q.rtype, dns.TypeDS, dns.TypeDNSKEY} {
				if raw, err := w.answer(question{n, rtype}).Pack(); err == nil {
					all[question{n, rtype}] = raw
				}
			}
			if n == root {
				break
			}
		}
	}
	return all
}

// Bytes that somebody puts in the place of one message of the proof never make
// the answer say what is not so.
func FuzzLookup(f *testing.F) {
	w := sound(f)
	targets := []question{
		{must("mail.good.test."), typeA},
		{must("good.test."), dns.TypeDNSKEY},
		{must("good.test."), dns.TypeDS},
		{must("test."), dns.TypeDS},
		{root, dns.TypeDNSKEY},
		{must("any.wild.nsec3.test."), typeA},
		{must("none.nsec3.test."), typeA},
		{must("mail.tree.good.test."), typeA},
	}
	for i, q := range targets {
		raw, err := w.answer(q).Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint8(i), raw)
	}
	f.Add(uint8(0), []byte{})
	anchors, truth := w.anchors(), record(w, append(targets, question{must("mail.nsec3.test."), typeA})...)
	undisturbed := map[question]Answer{}
	for _, q := range targets {
		undisturbed[q] = w.lookup(q.name.String(), q.rtype)
	}
	f.Fuzz(func(t *testing.T, i uint8, raw []byte) {
		at := targets[int(i)%len(targets)]
		asked := at
		if at.rtype != typeA {
			asked = targets[0]
		}
		v, err := newValidator(Options{Anchors: anchors, Now: func() time.Time { return noon }}, scripted{raw, at, truth})
		if err != nil {
			t.Fatal(err)
		}
		defer v.Close()
		a := v.Lookup(context.Background(), asked.name.String(), asked.rtype)
		if err := consistent(a); err != nil {
			t.Errorf("%v: %+v", err, a)
		}
		// All of these are in signed zones: what is proven is what is true.
		want := undisturbed[asked]
		if a.Status == Insecure || a.Status == Secure && (a.Outcome != want.Outcome || joinedData(a) != joinedData(want)) {
			t.Errorf("%s %d is %v, %v %v (%v)", asked.name, asked.rtype, a.Status, a.Outcome, a.Data, a.Why)
		}
	})
}

func joinedData(a Answer) string {
	s := ""
	for _, d := range a.Data {
		s += string(d) + "|"
	}
	return s
}

// The same bytes for every question.
func FuzzReply(f *testing.F) {
	w := sound(f)
	for _, q := range []question{{must("mail.good.test."), typeA}, {must("none.nsec3.test."), typeA}, {root, dns.TypeDNSKEY}} {
		raw, err := w.answer(q).Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(q.name.String(), q.rtype, raw)
	}
	anchors := w.anchors()
	f.Fuzz(func(t *testing.T, n string, qtype uint16, raw []byte) {
		v, err := newValidator(Options{Anchors: anchors, Now: func() time.Time { return noon }}, scripted{raw: raw})
		if err != nil {
			t.Fatal(err)
		}
		defer v.Close()
		if a := v.Lookup(context.Background(), n, qtype); a.Status >= Insecure && qtype != dns.TypeDNSKEY && qtype != dns.TypeDS {
			t.Errorf("%s %d is %v", n, qtype, a.Status)
		}
	})
}

// Whatever a server sends on a connection, each question ends, and a reply is
// one to its question.
func FuzzPipe(f *testing.F) {
	framed := func(raws ...[]byte) (b []byte) {
		for _, raw := range raws {
			b = append(binary.BigEndian.AppendUint16(b, uint16(len(raw))), raw...)
		}
		return b
	}
	reply := rightReply(&dns.Msg{Question: []dns.Question{{Name: "mail.good.test.", Qtype: typeA, Qclass: 1}}})
	f.Add(framed(reply))
	f.Add(framed(reply, reply))
	f.Add(framed(reply)[:20])
	f.Add(framed(nil, reply))
	f.Add([]byte{0xff, 0xff, 0})
	f.Fuzz(func(t *testing.T, stream []byte) {
		here, there := net.Pipe()
		p := newPipe(here, false)
		received := make(chan struct{})
		go func() {
			p.receive()
			close(received)
		}()
		go func() {
			defer there.Close()
			query := make([]byte, 512)
			n, err := there.Read(query)
			if err != nil || n < 4 {
				return
			}
			// The first reply gets the ID that it needs.
			answer := slices.Clone(stream)
			if len(answer) >= 4 {
				copy(answer[2:], query[2:4])
			}
			there.Write(answer)
		}()
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		r, err := p.ask(ctx, mailA)
		if (r == nil) == (err == nil) || ctx.Err() != nil {
			t.Errorf("%v, %v", r, err)
		}
		p.stop(errHungUp)
		<-received
	})
}
