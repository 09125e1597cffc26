package dnssec

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
)

// A distant world takes its time for each answer, but for all at once.
type distant struct{ *world }

const away = 100 * time.Millisecond

func (d distant) ask(ctx context.Context, q question) (*reply, error) {
	time.Sleep(away)
	return d.world.ask(ctx, q)
}

// A cold lookup waits for the answer, and then for its whole proof at once: the
// name that signed the answer tells which keys and delegations will be needed.
func TestRoundTrips(t *testing.T) {
	for _, c := range []struct {
		name  string
		qtype uint16
		want  int
	}{
		{"mail.good.test.", typeA, 2},
		{"a._smimecert.good.test.", typeSMIMEA, 2}, // three zones deep
		{"b._smimecert.good.test.", typeSMIMEA, 2},
		{"mail.nsec3.test.", dns.TypeMX, 2},
		{"none.nsec3.test.", typeA, 2},
		{"any.wild.good.test.", typeA, 2},
		{"good.test.", dns.TypeDS, 2},
		{"good.test.", dns.TypeDNSKEY, 2},
		{"b._smimecert.unsigned.test.", typeSMIMEA, 2},
		{"mail.unsigned.test.", typeA, 2},
		{"far.good.test.", typeA, 3},       // its target comes along with the proof of the alias
		{"mail.tree.good.test.", typeA, 3}, // to the same zone
	} {
		t.Run(c.name, func(t *testing.T) {
			w := sound(t)
			synctest.Test(t, func(t *testing.T) {
				v, err := newValidator(Options{Anchors: w.anchors(), Now: func() time.Time { return w.now }}, distant{w})
				if err != nil {
					t.Fatal(err)
				}
				defer v.Close()
				begin := time.Now()
				a := v.Lookup(context.Background(), c.name, c.qtype)
				if trips := int(time.Since(begin) / away); trips != c.want || a.Status < Insecure {
					t.Errorf("%d round trips, want %d: %v (%v) after %v", trips, c.want, a.Status, a.Why, w.asked)
				}
				t.Logf("%d questions", w.questions())

				// A neighbour is asked for alone.
				begin = time.Now()
				neighbour := "none." + must(c.name).parent().String()
				v.Lookup(context.Background(), neighbour, dns.TypeTXT)
				if trips := int(time.Since(begin) / away); trips > c.want-1 {
					t.Errorf("%d round trips for the neighbour %s", trips, neighbour)
				}
			})
		})
	}
}
