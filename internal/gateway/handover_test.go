package gateway

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"
)

// Where nobody can keep the mail in hand there is one copy more.
func TestAllInCopiesAtTheLimit(t *testing.T) {
	g, rsa, _ := newGateway(t)
	g.Keys.(fakeStore)["RSA@example.net"] = found(rsa.to)
	office := splittingGateway(t, g)
	g.Resubmit.Copies = 1
	m := begin(t, g, "rsa@example.net", "RSA@example.net")
	for _, f := range header("To: undisclosed-recipients:;") {
		m.Header(f)
	}
	m.EndHeader("")
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	v := m.End(ctx, "")
	if v.Reply.Action != Accept || !v.Nobody || len(office.mails()) != 2 {
		t.Errorf("%s %s, %v, %d copies", codes(v.Reply), v.Reply.Text, v.Trouble, len(office.mails()))
	}
}

// A client that has lost patience sends the mail again while its first try is not
// over: to everybody, and this try waits for the first one's places, or to some. What
// the first one is handing over the second one must not.
func TestSameMailAtTheSameTime(t *testing.T) {
	for _, second := range []string{"rsa@example.net ec@example.net bob@example.org", "bob@example.org", "rsa@example.net bob@example.org"} {
		t.Run(second, func(t *testing.T) {
			g, _, _ := newGateway(t)
			office := splittingGateway(t, g)
			g.Resubmit.Copies = 2
			arrived, goOn := make(chan struct{}, 4), make(chan struct{})
			var once sync.Once
			office.fails = func(command, argument string) (err error) {
				if command != "DOT" {
					return nil
				}
				arrived <- struct{}{}
				<-goOn
				if argument == "ec@example.net" {
					once.Do(func() { err = errors.New("no room") })
				}
				return err
			}
			try := func(to string) Verdict {
				m := begin(t, g, strings.Fields(to)...)
				defer m.Lost() // so that it may come again
				return send(t, m, header("To: rsa@example.net, ec@example.net\nMessage-ID: <1@example.org>"), []byte(greeting))
			}
			const everybody = "rsa@example.net ec@example.net bob@example.org"
			both := make(chan Verdict)
			go func() { both <- try(everybody) }()
			<-arrived
			<-arrived
			go func() { both <- try(second) }()
			time.Sleep(200 * time.Millisecond)
			close(goOn)
			// The second waits for the first, which fails, and then goes on.
			for _, want := range []string{"451 4.3.0", "250 2.1.5"} {
				if v := <-both; codes(v.Reply) != want {
					t.Errorf("%s %v, want %s", codes(v.Reply), v.Trouble, want)
				}
			}
			if v := try(everybody); v.Reply.Action != Accept {
				t.Errorf("%s %v", codes(v.Reply), v.Trouble)
			}
			got := map[string]int{}
			for _, c := range office.mails() {
				got[c.to[0]]++
			}
			if len(got) != 2 || got["bob@example.org"] != 1 || got["ec@example.net"] != 1 {
				t.Errorf("%v", got)
			}
		})
	}
}

// Of those who have got their copy only those stay on the mail in hand whom the MTA
// could take for somebody who has not.
func TestComesAgainForANamesake(t *testing.T) {
	g, _, _ := newGateway(t)
	splittingGateway(t, g)
	h := header("To: rsa@example.net, bob@example.org\nMessage-ID: <1@example.org>")
	first := begin(t, g, "rsa@example.net", "bob@example.org", "dave@example.org")
	if v := send(t, first, h, []byte(greeting)); v.Reply.Action != Accept {
		t.Fatal(v.Trouble)
	}
	first.Close()
	first.Lost() // the MTA has died
	m := begin(t, g, "bob@example.org", "dave@example.org", "Bob@example.org")
	v := send(t, m, h, []byte(greeting))
	if v.Reply.Action != Accept || v.Nobody || strings.Join(v.Removes, " ") != "dave@example.org" {
		t.Errorf("%s, removes %q, nobody %v", codes(v.Reply), v.Removes, v.Nobody)
	}
}
