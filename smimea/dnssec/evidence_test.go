package dnssec

import (
	"bytes"
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// evidenceOf looks something up and keeps what it rests on.
func (w *world) evidenceOf(n string, qtype uint16) (Answer, Evidence) {
	v := w.validator(func(o *Options) { o.Evidence = true })
	a := v.Lookup(context.Background(), n, qtype)
	return a, Evidence{Question{n, qtype}, w.now, a.Evidence}
}

// replayed judges evidence once more.
func replayed(t *testing.T, w *world, e Evidence, now time.Time) Answer {
	t.Helper()
	v, err := NewReplay(Options{Anchors: w.anchors(), Now: func() time.Time { return now }}, e.Messages)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	return v.Lookup(context.Background(), e.Question.Name, e.Question.Type)
}

// Whatever was found out can be found out again, without asking anybody.
func TestReplay(t *testing.T) {
	w := sound(t)
	w.fails = func(q question) error {
		if q == (question{must("a._smimecert.unsigned.test."), typeSMIMEA}) {
			return &rcodeError{rcode: dns.RcodeServerFailure}
		}
		return nil
	}
	broken := only("mail.good.test.", dns.TypeTXT, func(m *dns.Msg) { m.Ns = nil })
	w.tamper = func(q question, m *dns.Msg) {
		broken(q, m)
		if q.name == must("x.wild.good.test.") {
			strip(q, m)
		}
	}
	for _, q := range []Question{
		{"mail.good.test.", typeA},
		{"a._smimecert.good.test.", typeSMIMEA},
		{"b._smimecert.nsec3.test.", typeSMIMEA},
		{"any.wild.nsec3.test.", typeA},
		{"none.good.test.", typeA},
		{"mail.tree.good.test.", typeA},
		{"away.good.test.", typeA},
		{"mail.unsigned.test.", typeA},
		{"none.unsigned.test.", typeA},
		{"good.test.", dns.TypeDS},
		{"plain.optout.test.", dns.TypeDS},
		{"a._smimecert.unsigned.test.", typeSMIMEA}, // nobody answers it
		{"mail.good.test.", dns.TypeTXT},            // bogus
		{"x.wild.good.test.", typeA},                // bogus
	} {
		a, e := w.evidenceOf(q.Name, q.Type)
		var file bytes.Buffer
		if err := e.Write(&file); err != nil {
			t.Fatal(err)
		}
		read, err := ReadEvidence(&file)
		if err != nil || !reflect.DeepEqual(read.Messages, e.Messages) || read.Question != q || !read.Time.Equal(w.now) {
			t.Fatalf("%v: read as %v at %v, %d messages of %d (%v)", q, read.Question, read.Time, len(read.Messages), len(e.Messages), err)
		}
		again := replayed(t, w, read, w.now)
		a.Evidence = nil
		if q.Type == typeSMIMEA && a.Status == Insecure {
			// What the server said instead of an answer is not kept.
			if again.Status != Insecure || again.Outcome != a.Outcome {
				t.Errorf("%v: %v, and again %v (%v)", q, a.Status, again.Status, again.Why)
			}
			continue
		}
		if describe(again) != describe(a) {
			t.Errorf("%v:\n%s, and again\n%s", q, describe(a), describe(again))
		}
		if a.Status == Secure && a.Outcome == Data {
			if late := replayed(t, w, read, w.now.AddDate(1, 0, 0)); late.Status != Bogus {
				t.Errorf("%v a year later: %v (%v)", q, late.Status, late.Why)
			}
		}
		// Nothing in it is superfluous, if it proves anything.
		for i := range e.Messages {
			less := e
			less.Messages = slices.Delete(slices.Clone(e.Messages), i, i+1)
			// That no zone begins in between may not be known: see speaksFor.
			asked, _ := questionOf(e.Messages[i])
			between := asked.rtype == dns.TypeDS && asked.name == must("wild.nsec3.test.")
			if got := replayed(t, w, less, w.now); a.Status == Secure && got.Status == Secure && !between {
				t.Errorf("%v: message %d of %d is not needed", q, i+1, len(e.Messages))
			} else if a.Status != Secure && got.Status == Secure {
				t.Errorf("%v: without message %d, %v", q, i+1, got.Status)
			}
		}
	}
}

// describe is an answer as text.
func describe(a Answer) string {
	why := ""
	if a.Why != nil {
		why = a.Why.Error()
		a.Why = nil
	}
	return fmt.Sprintf("%+v %s", a, why)
}

// Evidence is complete each time, whatever was looked up before.
func TestEvidenceIsComplete(t *testing.T) {
	w := sound(t)
	v := w.validator(func(o *Options) { o.Evidence = true })
	for range 3 {
		a := v.Lookup(context.Background(), "mail.good.test.", typeA)
		if len(a.Evidence) != 6 {
			t.Errorf("%d messages", len(a.Evidence))
		}
	}
	if a := w.lookup("mail.good.test.", typeA); a.Evidence != nil {
		t.Error("evidence that nobody wanted")
	}
}

func TestReadEvidence(t *testing.T) {
	w := sound(t)
	_, e := w.evidenceOf("mail.good.test.", typeA)
	var file strings.Builder
	if err := e.Write(&file); err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(file.String(), "\n")
	head, line := lines[0], strings.TrimSpace(lines[1])
	for _, c := range []struct{ what, file, why string }{
		{"nothing", "", "there is no message"},
		{"an empty line", "\n", "line 1: unexpected end of JSON"},
		{"text", "hello\n", "line 1: invalid character"},
		{"no question", "{}", "line 1: QNAME: "},
		{"no type", `{"QNAME":"a.test."}`, "line 1: QTYPEname: "},
		{"no message", head, "there is no message"},
		{"an empty message", head + "{}", "line 2: messageOctetsHEX is no DNS message"},
		{"no hexadecimal", head + line + "\n" + `{"messageOctetsHEX":"XYZ"}`, "line 3: messageOctetsHEX: "},
		{"half a message", head + `{"messageOctetsHEX":"00010203"}`, "no DNS message"},
		{"too many", head + strings.Repeat(line+"\n", maxMessages+1), "more than 120 messages"},
		{"too long", `{"messageOctetsHEX":"` + strings.Repeat("00", 1<<17), "token too long"},
	} {
		if got, err := ReadEvidence(strings.NewReader(c.file)); err == nil || !strings.Contains(err.Error(), c.why) || got.Messages != nil {
			t.Errorf("%s: %v, want %q", c.what, err, c.why)
		}
	}
	if _, err := NewReplay(Options{}, [][]byte{{1, 2, 3}}); err == nil {
		t.Error("three octets are evidence")
	}
}

func FuzzReadEvidence(f *testing.F) {
	reply := rightReply(&dns.Msg{Question: []dns.Question{{Name: "a.test.", Qtype: typeA, Qclass: 1}}})
	var file bytes.Buffer
	if err := (Evidence{Question: Question{"a.test.", typeA}, Time: noon, Messages: [][]byte{reply, reply}}).Write(&file); err != nil {
		f.Fatal(err)
	}
	f.Add(file.Bytes())
	f.Add([]byte("{}\n{}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := ReadEvidence(bytes.NewReader(b))
		if err != nil {
			return
		}
		var again bytes.Buffer
		if err := e.Write(&again); err != nil {
			t.Fatal(err)
		}
		read, err := ReadEvidence(&again)
		if err != nil || !reflect.DeepEqual(read.Messages, e.Messages) || read.Question != e.Question {
			t.Errorf("%v: %+v read as %+v", err, e, read)
		}
	})
}
