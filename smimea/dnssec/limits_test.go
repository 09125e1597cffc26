package dnssec

import (
	"context"
	"encoding/base64"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// A stranger's zone can ask for much work. It gets little, and no answer.

// keysOfOneTag returns keys that all have the tag of another: where two octets
// weigh the same in the checksum, what one gains the other loses.
func keysOfOneTag(k *dns.DNSKEY) []dns.RR {
	rdata, _ := rdataOf(k)
	var keys []dns.RR
	for at := 10; at < 40; at += 4 {
		sum := int(rdata[at]) + int(rdata[at+2])
		for i := max(0, sum-255); i <= min(255, sum); i++ {
			forged := append([]byte(nil), rdata...)
			forged[at], forged[at+2] = byte(i), byte(sum-i)
			other := dns.Copy(k).(*dns.DNSKEY)
			other.PublicKey = base64.StdEncoding.EncodeToString(forged[4:])
			keys = append(keys, other)
		}
	}
	return keys
}

func TestSignatureChecksAreCounted(t *testing.T) {
	w := sound(t)
	set := find(w.answerUntouched(question{must("mail.good.test."), typeA}).Answer, must("mail.good.test."), typeA)
	set.data = set.data[:1] // no signature fits any more
	for range 100 {
		set.sigs = append(set.sigs, set.sigs[0])
	}
	var keys []key
	for _, rr := range w.zones[must("good.test.")].set(must("good.test."), dns.TypeDNSKEY) {
		rdata, _ := rdataOf(rr)
		k, _ := parseKey(rdata)
		keys = append(keys, k, k, k, k, k, k)
	}
	work := newWork()
	if _, why := verify(set, must("good.test."), keys, w.now, work); why == nil || work.checks != maxFailed || work.exhausted {
		t.Errorf("%d checks, exhausted %t, %v", work.checks, work.exhausted, why)
	}
	set.sigs = set.sigs[:1]
	work = newWork()
	if _, why := verify(set, must("good.test."), keys, w.now, work); why == nil || work.checks != maxTagged {
		t.Errorf("%d checks for one signature, %v", work.checks, why)
	}
}

func TestDigestsAreCounted(t *testing.T) {
	zone := must("test.")
	s := newSigner(t, zone, 13, 257, "ksk")
	rdata, _ := rdataOf(s.DNSKEY)
	k, _ := parseKey(rdata)
	right := digest{k.tag, k.algorithm, 2, digestOf(2, zone, rdata)}
	wrong := digest{k.tag, k.algorithm, 2, make([]byte, 32)}
	digests := make([]digest, 0, maxDigests+1)
	for range maxDigests {
		digests = append(digests, wrong)
	}
	if got := entryKeys(zone, []key{k}, append(digests, right)); len(got) != 0 {
		t.Error("a digest beyond the limit was computed")
	}
	if got := entryKeys(zone, []key{k}, append(digests[1:], right)); len(got) != 1 {
		t.Error("the last digest within the limit was not")
	}
}

func TestHashesAreCounted(t *testing.T) {
	w := newWorld(t, zoneOf("test.", "mail A 192.0.2.1", iterations(100)))
	work := newWork()
	work.hashes = maxHashes
	zone := w.zones[must("test.")]
	var records []nsec3
	for i := range zone.hashes() {
		rr := w.nsec3At(zone, i)[0]
		rdata, _ := rdataOf(rr)
		r, ok := parseNSEC3(must(rr.Header().Name), rdata)
		if !ok {
			t.Fatal("an NSEC3 that cannot be read")
		}
		records = append(records, r)
	}
	q := question{must("none.test."), typeA}
	if d := denyByNSEC3(must("test."), records, q, work); d.outcome != Failed || d.unsigned || !work.exhausted {
		t.Errorf("%+v without a hash left", d)
	}
	work.hashes = maxHashes - 4 // the name, the zone, the wildcard: one is known twice
	if d := denyByNSEC3(must("test."), records, q, work); d.outcome != NXDomain {
		t.Errorf("%+v with enough left", d)
	}
}

func TestQuestionsAreCounted(t *testing.T) {
	w := newWorld(t, zoneOf("test.", "*.test. A 192.0.2.1"))
	// 125 labels, and a resolver that says of each that it is no zone.
	long := strings.Repeat("a.", 124) + "test."
	w.tamper = func(q question, m *dns.Msg) {
		if q.name.below(must("test.")) && q.rtype == dns.TypeDS {
			m.Answer, m.Rcode = nil, dns.RcodeSuccess
			m.Ns = w.signed(w.zones[must("test.")], []dns.RR{&dns.NSEC{
				Hdr:        dns.RR_Header{Name: q.name.String(), Rrtype: dns.TypeNSEC, Class: 1, Ttl: 300},
				NextDomain: "test.", TypeBitMap: []uint16{dns.TypeNSEC},
			}})
		}
		if q.rtype == typeA {
			m.Answer, m.Ns = nil, nil
		}
	}
	a := w.lookup(long, typeA)
	if a.Status == Secure || a.Status == Insecure {
		t.Errorf("%v (%v)", a.Status, a.Why)
	}
	if w.questions() > maxQuestions {
		t.Errorf("%d questions", w.questions())
	}
}

// A DS question at an alias is answered with the alias. If that one is bogus,
// asking whether it might be unsigned leads back to the same DS.
func TestBogusAliasIsNoCircle(t *testing.T) {
	w := sound(t)
	w.tamper = func(q question, m *dns.Msg) {
		if q.name == must("alias.good.test.") {
			strip(q, m)
		}
	}
	a := w.lookup("alias.good.test.", typeA)
	if a.Status != Bogus || a.Outcome != Failed || w.questions() > 10 {
		t.Errorf("%v, %v (%v) after %d questions", a.Status, a.Outcome, a.Why, w.questions())
	}
	if slices.Contains(w.asked, question{must("mail.good.test."), typeA}) {
		t.Error("a bogus alias was followed")
	}
}

// Signed or not, an alias leads to one name.
func TestTwoAliasesAtAName(t *testing.T) {
	for _, option := range []func(*authority){unsigned, withNSEC3} {
		w := newWorld(t, zoneOf("test.", "a CNAME b\na CNAME c\nb A 192.0.2.1\nc A 192.0.2.2", option))
		if a := w.lookup("a.test.", typeA); a.Status != Indeterminate || a.Outcome != Failed {
			t.Errorf("%v, %v (%v)", a.Status, a.Outcome, a.Why)
		}
	}
}

func TestAliases(t *testing.T) {
	for n, want := range map[int]Status{8: Secure, 9: Indeterminate} {
		records := ""
		for i := range n {
			records += "a" + string(rune('0'+i)) + " CNAME a" + string(rune('0'+i+1)) + "\n"
		}
		records += "a" + string(rune('0'+n)) + " A 192.0.2.1\n"
		w := newWorld(t, zoneOf("test.", records))
		if a := w.lookup("a0.test.", typeA); a.Status != want {
			t.Errorf("%d aliases: %v (%v), want %v", n, a.Status, a.Why, want)
		}
	}
}

func TestDNAMEThatGrows(t *testing.T) {
	w := newWorld(t, zoneOf("test.", "tree DNAME "+strings.Repeat("a.", 60)+"tree\n"))
	a := w.lookup("mail.tree.test.", typeA)
	if a.Status != Indeterminate {
		t.Errorf("%v (%v)", a.Status, a.Why)
	}
}

func TestBudget(t *testing.T) {
	w := sound(t)
	v, err := newValidator(Options{Anchors: w.anchors(), Budget: 50 * time.Millisecond}, silent{})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	start := time.Now()
	a := v.Lookup(context.Background(), "mail.good.test.", typeA)
	if a.Status != Indeterminate || a.Outcome != Failed {
		t.Errorf("%v, %v (%v)", a.Status, a.Outcome, a.Why)
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("it took %v", took)
	}
}

// silent never answers.
type silent struct{}

func (silent) ask(ctx context.Context, _ question) (*reply, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func newWork() *work { return &work{} }
