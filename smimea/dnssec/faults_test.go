package dnssec

import (
	"context"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// Faults that this package once had, each with the case that showed it.

// A DNAME above a trust anchor cannot speak for what is below the anchor: not an
// unsigned one in the place of a DS, nor one that its zone has signed.
func TestDNAMEAboveAnAnchor(t *testing.T) {
	w := newWorld(t, zoneOf("test.", "", unsigned), zoneOf("corp.test.", "www A 192.0.2.1"), zoneOf("a.corp.test.", "mail A 192.0.2.7"))
	w.tamper = func(q question, m *dns.Msg) {
		if q.name == must("mail.a.corp.test.") {
			strip(q, m)
		}
		if q == (question{must("a.corp.test."), dns.TypeDS}) {
			m.Answer, m.Ns = []dns.RR{parseRR(t, "test. 3600 IN DNAME evil.")}, nil
		}
	}
	anchored := func(o *Options) { o.Anchors = append(w.anchors(), w.anchorsOf("corp.test.")...) }
	if a := w.validator(anchored).Lookup(context.Background(), "mail.a.corp.test.", typeA); a.Status != Bogus {
		t.Errorf("an unsigned one: %v (%v)", a.Status, a.Why)
	}

	w = newWorld(t, zoneOf("test.", ""), zoneOf("corp.test.", "www A 192.0.2.1"), zoneOf("good.test.", "www.corp.x A 192.0.2.66"))
	w.tamper = only("www.corp.test.", typeA, func(m *dns.Msg) {
		m.Answer = w.signed(w.zones[must("test.")], []dns.RR{parseRR(t, "test. 3600 IN DNAME x.good.test.")})
	})
	if a := w.validator(anchored).Lookup(context.Background(), "www.corp.test.", typeA); a.Status != Bogus {
		t.Errorf("a signed one: %v, %v (%v)", a.Status, a.Data, a.Why)
	}
}

// What a zone above has signed is worth nothing where another one begins.
func TestSignedByAZoneAbove(t *testing.T) {
	for _, signer := range []string{"test.", "."} {
		w := sound(t)
		w.tamper = only("mail.good.test.", typeA, func(m *dns.Msg) {
			m.Answer = w.signed(w.zones[must(signer)], []dns.RR{parseRR(t, "mail.good.test. 3600 IN A 192.0.2.99")})
		})
		if a := w.lookup("mail.good.test.", typeA); a.Status != Bogus {
			t.Errorf("%s: %v (%v)", signer, a.Status, a.Why)
		}
	}
}

// The DS of a zone is of the zone above, whatever its own servers do.
func TestDSOfADeadZone(t *testing.T) {
	for _, zone := range []string{"unsigned.test.", "good.test."} {
		w := sound(t)
		v := w.validator()
		v.Lookup(context.Background(), "mail."+zone, typeA)
		w.fails = func(q question) error {
			if q.name == must("y."+zone) {
				return errUnanswered
			}
			return nil
		}
		v.Lookup(context.Background(), "y."+zone, dns.TypeDS)
		if a := v.Lookup(context.Background(), zone, dns.TypeDS); a.Status != Secure {
			t.Errorf("%s: %v (%v)", zone, a.Status, a.Why)
		}
	}
}

// A key that the zone has revoked does not make the rest of the file useless.
func TestRevokedKeyBesideAnother(t *testing.T) {
	k := newSigner(t, root, 13, 257, "ksk").DNSKEY
	revoked := dns.Copy(k).(*dns.DNSKEY)
	revoked.Flags |= flagRevoke
	anchors, err := ParseAnchors(strings.NewReader(k.String() + " ;;state=2 [  VALID  ]\n" + revoked.String() + " ;;state=4 [ REVOKED ]\n"))
	if err != nil || len(anchors) != 1 || anchors[0].KeyTag != k.KeyTag() {
		t.Errorf("%v, %v", anchors, err)
	}
}

// Sixty questions, and a server that answers one on each connection.
func TestOneAnswerForEachOfManyConnections(t *testing.T) {
	addr, _ := listen(t, func(conn net.Conn, _ *dns.Msg, raw []byte) { write(conn, raw); conn.Close() })
	u := servers(addr)
	defer u.close()
	if answers, err := several(u, 60); answers != 60 {
		t.Errorf("%d answers (%v)", answers, err)
	}
}

// A reply that does not fit is no reason to try again and again.
func TestMisfitIsNotTriedAgainAndAgain(t *testing.T) {
	for what, p := range map[string]peer{
		"a header only": changed(func(m *dns.Msg) { m.Question, m.Answer, m.Rcode = nil, nil, dns.RcodeFormatError }),
		"another name":  changed(func(m *dns.Msg) { m.Question[0].Name = "mail.evil.test." }),
	} {
		addr, conns := listen(t, p)
		u := servers(addr)
		if _, err := u.ask(context.Background(), mailA); err == nil || conns.Load() > 2 {
			t.Errorf("%s: %v, %d connections", what, err, conns.Load())
		}
		u.close()
	}
}

// Who waits for the same answer as others takes nobody's place.
func TestManyWaitForOneName(t *testing.T) {
	w := sound(t)
	g := stuck{w, must("a._smimecert.good.test.")}
	v, err := newValidator(Options{Anchors: w.anchors(), Now: func() time.Time { return w.now }, Budget: 5 * time.Second}, g)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	var asking sync.WaitGroup
	for range maxLookups + 10 {
		asking.Add(1)
		go func() {
			asking.Done()
			v.Lookup(context.Background(), "a._smimecert.good.test.", typeSMIMEA)
		}()
	}
	asking.Wait()
	begin := time.Now()
	if a := v.Lookup(context.Background(), "mail.nsec3.test.", typeA); a.Status != Secure || time.Since(begin) > 3*time.Second {
		t.Errorf("%v after %v (%v)", a.Status, time.Since(begin), a.Why)
	}
}

// stuck is a world that never answers for one name.
type stuck struct {
	*world
	n name
}

func (s stuck) ask(ctx context.Context, q question) (*reply, error) {
	if q.name == s.n {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return s.world.ask(ctx, q)
}

// That we were too busy to ask says nothing of a zone.
func TestBusyBuriesNoZone(t *testing.T) {
	w := sound(t)
	addr := worldly(t, w, func(question, *dns.Msg) {})
	v, err := New(Options{Servers: []string{addr}, Anchors: w.anchors(), Now: func() time.Time { return w.now }, Try: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	v.Lookup(context.Background(), "mail.good.test.", typeA)
	u := v.views[0].(upstreams).servers[0]
	for range maxInFlight {
		u.slots <- struct{}{}
	}
	if a := v.Lookup(context.Background(), "a._smimecert.good.test.", typeSMIMEA); a.Status != Indeterminate {
		t.Errorf("%v without a place", a.Status)
	}
	for range maxInFlight {
		<-u.slots
	}
	if a := v.Lookup(context.Background(), "b._smimecert.good.test.", typeSMIMEA); a.Status != Secure {
		t.Errorf("%v (%v)", a.Status, a.Why)
	}
}
