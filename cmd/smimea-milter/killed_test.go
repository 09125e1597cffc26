package main_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/emersion/go-smtp"
)

// splitPeople are recipients who need three copies beside the mail in hand. The
// last of them is in Bcc.
var splitPeople = []string{"rsa@good.test", "ec@good.test", "carol@friend.test", "rsa2@good.test"}

// A splitMail is a mail to them that its client sends again, as it was, until it
// is taken.
type splitMail struct {
	number int
	entity entity
}

func newSplitMail(number, octets int) splitMail {
	return splitMail{number, entity{"Content-Type: text/plain\r\n", secret + "\r\n" + encoded(octets)}}
}

func (m splitMail) send(l *lab) error {
	id := fmt.Sprintf("Message-ID: <again%d@house.test>\r\n", m.number)
	return l.send(id+mail(m.entity, splitPeople[:3]...), splitPeople...)
}

// arrives wants that since then everybody has got it so many times, and these
// once more.
func (m splitMail) arrives(t *testing.T, l *lab, before, times int, more ...string) {
	t.Helper()
	want := append(slices.Repeat(splitPeople, times), more...)
	l.gets(t, l.after(t, before, len(want)), m.entity, want...)
}

// testKilledWhileSplitting kills the milter at each step of a mail that is
// split. Its client is told to come again, and does: everybody gets the mail
// once, and as he must.
func (l *lab) testKilledWhileSplitting(t *testing.T) {
	copies := l.copiesTap
	for i, c := range []struct {
		name   string
		judge  judge
		holds  int // before it is killed
		gone   int // copies that have left by then
		twice  int // of these, whom the journal does not know of
		octets int // of the body
	}{
		{name: "BeforeTheFirstCopy", judge: at(1, "MAIL"), holds: 1},
		{name: "BetweenTwoCopies", judge: at(2, "MAIL"), holds: 1},
		{name: "BeforeTheLastDATA", judge: at(3, "DATA"), holds: 1},
		// Longer than what the kernel keeps in between.
		{name: "InTheMiddleOfACopy", judge: at(2, "text"), holds: 1, octets: 4 << 20},
		{name: "BeforeTheDots", judge: at(0, "dot"), holds: 3},
		{name: "BehindTheFirstDot", judge: first(at(1, "QUIT"), at(0, "dot").but(1)), holds: 3, gone: 1},
		{name: "BeforeTheLastDot", judge: first(at(0, "QUIT"), at(3, "dot")), holds: 3, gone: 2},
		{name: "BehindAllDots", judge: at(0, "QUIT"), holds: 3, gone: 3},
		// The one exception: the MTA has the copy, and nobody here can know.
		{name: "BetweenTheReplyAndTheJournal", judge: first(at(1, "250 to the dot"), at(0, "dot").but(1)), holds: 3, gone: 1, twice: 1},
	} {
		l.sub(c.name, func(t *testing.T) {
			before := len(l.sink.Delivered())
			m := newSplitMail(i, c.octets)
			copies.set(c.judge)
			first := make(chan error, 1)
			go func() { first <- m.send(l) }()
			copies.wait(t, c.holds)
			handed := copies.seen()
			l.killMilter()
			copies.release()
			wantDeferred(t, <-first)
			l.left(t, before, c.gone)
			l.startMilter(l.resolver)
			if err := m.send(l); err != nil {
				t.Fatalf("the second time: %v", err)
			}
			var twice []string
			for _, copy := range handed[:c.twice] {
				twice = append(twice, copy.to...)
			}
			m.arrives(t, l, before, 1, twice...)
		})
	}
}

// left wants that so many mails have left since, of one that was not accepted.
func (l *lab) left(t *testing.T, before, mails int) {
	t.Helper()
	if sent := l.after(t, before, mails); len(sent) != mails {
		t.Errorf("%d mails left before it was accepted, not %d", len(sent), mails)
	}
}

// A judge says what becomes of something in a session.
type judge func(session int, what string) handling

// at holds something in one session, or in all: 0.
func at(session int, what string) judge {
	return func(n int, seen string) handling {
		if (session == 0 || n == session) && seen == what {
			return hold
		}
		return pass
	}
}

// but leaves a session alone.
func (j judge) but(session int) judge {
	return func(n int, what string) handling {
		if n == session {
			return pass
		}
		return j(n, what)
	}
}

// first is what the first says that does not let pass.
func first(judges ...judge) judge {
	return func(n int, what string) handling {
		for _, judge := range judges {
			if h := judge(n, what); h != pass {
				return h
			}
		}
		return pass
	}
}

// killMilter kills it as the kernel does that is out of memory.
func (l *lab) killMilter() {
	l.t.Helper()
	if err := l.milter.Process.Kill(); err != nil {
		l.t.Fatal(err)
	}
	l.milter.Wait()
	l.milter = nil
}

// wantDeferred wants that a client was told to come again.
func wantDeferred(t *testing.T, err error) {
	t.Helper()
	var reply *smtp.SMTPError
	if !errors.As(err, &reply) || reply.Code/100 != 4 {
		t.Fatalf("the client was told %v, not to come again", err)
	}
}

// testKilledWhileAnswering kills the milter when all copies have been handed
// over, and the MTA is being told what becomes of the mail in hand.
func (l *lab) testKilledWhileAnswering(t *testing.T) {
	for i, c := range []struct {
		name  string
		frame string // before which it is killed,
		nth   int    // of its kind
		taken bool   // the client has been told by then that the mail is accepted
	}{
		{"BeforeTheOthersAreTakenOff", "<-", 1, false},
		{"BetweenTheOthers", "<-", 2, false},
		{"BeforeTheBody", "<b", 1, false},
		{"InTheMiddleOfTheBody", "<b", 3, false},
		{"BeforeTheAnswer", "<a", 1, false},
		{"BehindTheAnswer", l.mta.custom().behind, 1, true},
	} {
		l.sub(c.name, func(t *testing.T) {
			before := len(l.sink.Delivered())
			m := newSplitMail(100+i, 200_000)
			answers := l.tapMilter()
			answers.set(behindEnd(c.frame, c.nth))
			first := make(chan error, 1)
			go func() { first <- m.send(l) }()
			answers.wait(t, 1)
			l.killMilter()
			answers.release()
			err := <-first
			answers.listener.Close()
			l.startMilter(l.resolver)
			if !c.taken {
				wantDeferred(t, err)
				l.left(t, before, 3)
				err = m.send(l)
			}
			if err != nil {
				t.Fatal(err)
			}
			m.arrives(t, l, before, 1)
		})
	}
}

// behindEnd holds a frame of those that follow the end of a mail.
func behindEnd(what string, nth int) judge {
	ended := false
	return func(_ int, seen string) handling {
		if ended && seen == what {
			nth--
		}
		ended = ended || seen == ">E"
		if nth == 0 {
			return hold
		}
		return pass
	}
}

// testSecondCopyFails has one copy fail and the others not. Before the dots that
// leaves nothing behind; behind the first the journal knows who has his. Once
// all have theirs the same mail may be sent anew.
func (l *lab) testSecondCopyFails(t *testing.T) {
	copies := l.copiesTap
	for i, c := range []struct {
		name, what string
		how        handling
		gone       int
	}{
		{"cut before MAIL", "MAIL", cut, 0},
		{"MAIL refused", "MAIL", refuse, 0},
		{"RCPT refused", "RCPT", refuse, 0},
		{"DATA refused", "DATA", refuse, 0},
		{"cut before the reply to DATA", "354 to the DATA", cut, 0},
		{"dot refused", "dot", refuse, 2},
		{"cut before the dot", "dot", cut, 2},
	} {
		l.sub(c.name, func(t *testing.T) {
			before := len(l.sink.Delivered())
			m := newSplitMail(200+i, 0)
			copies.set(func(n int, what string) handling {
				if n == 2 && what == c.what {
					return c.how
				}
				return pass
			})
			wantDeferred(t, m.send(l))
			l.left(t, before, c.gone)
			copies.set(nil)
			if err := m.send(l); err != nil {
				t.Fatalf("the second time: %v", err)
			}
			m.arrives(t, l, before, 1)
			if err := m.send(l); err != nil {
				t.Fatalf("sent anew: %v", err)
			}
			m.arrives(t, l, before, 2)
		})
	}
}
