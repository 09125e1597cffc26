package gateway

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"smimea.example/internal/message"
)

// TestModelClients has several clients send the same mail at the same time, and
// come again until it is accepted, while the office refuses dots at random. They are
// one that has lost patience, to the same recipients, or the parts that a relay has
// made. However they meet, nobody gets more copies than mails to him were accepted,
// and nobody whose mail was accepted gets none.
func TestModelClients(t *testing.T) {
	theT = t
	dir := modelDir(t.TempDir())
	t.Cleanup(func() { os.RemoveAll(dir) })
	for seed := range uint64(*modelCases / 20) {
		if *modelSeed != 0 {
			seed = *modelSeed
		}
		if err := meet(seed, filepath.Join(dir, fmt.Sprint(seed))); err != nil {
			t.Fatalf("%v\nAgain, though it may go otherwise: go test ./internal/gateway -run TestModelClients -model.seed=%d", err, seed)
		}
	}
}

// A meeting is what has become of a mail that several clients have sent.
type meeting struct {
	gateway *Gateway
	office  postOffice

	mu       sync.Mutex // guards what follows
	rand     *rand.Rand
	copies   map[string]int
	accepted map[string]int
}

func meet(seed uint64, path string) error {
	journal, err := OpenJournal(path)
	if err != nil {
		return err
	}
	defer journal.Close()
	w := &meeting{rand: rand.New(rand.NewPCG(seed, 7)), copies: map[string]int{}, accepted: map[string]int{}}
	people := modelPeople()
	w.gateway = &Gateway{
		Rules: []Rule{{Recipients: []string{"house.test"}, Action: Never}, {Recipients: []string{"*"}, Action: Require}},
		Keys: fakeStore{
			"a@a.test": found(people["rsa"][0].to), "b@a.test": found(people["rsa"][1].to),
			"c@a.test": found(people["ec"][2].to), "d@a.test": found(people["ec gcm"][3].to),
		},
		Resubmit: &Resubmission{Journal: journal, Copies: 4 + 4*w.rand.IntN(2), dial: w.office.open},
	}
	w.office.fails = func(command, _ string) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		if command == "DOT" && w.rand.IntN(4) == 0 || command == "RCPT" && w.rand.IntN(20) == 0 {
			return errors.New("not now")
		}
		return nil
	}
	to := []string{"a@a.test", "b@a.test", "c@a.test", "d@a.test", "e@house.test", "f@house.test"}
	w.rand.Shuffle(len(to), func(i, j int) { to[i], to[j] = to[j], to[i] })
	to = to[:2+w.rand.IntN(5)]
	some := [][]string{to, to, to}
	if cut := w.rand.IntN(len(to)); cut > 0 {
		some = [][]string{to[:cut], to[cut:]}
	}
	// Other mails have all the places, until each client has asked the journal.
	release, err := w.gateway.Resubmit.reserve(theT.Context(), w.gateway.Resubmit.copies()+1)
	if err != nil {
		return err
	}
	errs := make([]error, len(some))
	var all sync.WaitGroup
	for i := range some {
		all.Go(func() { errs[i] = w.client(some[i]) })
	}
	time.Sleep(time.Duration(w.rand.IntN(5)) * time.Millisecond)
	release()
	all.Wait()
	for _, p := range w.office.mails() {
		for _, to := range p.to {
			w.copies[to]++
		}
	}
	for to, n := range w.accepted {
		if got := w.copies[to]; got < 1 || got > n {
			errs = append(errs, fmt.Errorf("%s gets it %d times, of %d mails to him", to, got, n))
		}
	}
	return errors.Join(errs...)
}

// client sends the mail until it is accepted.
func (w *meeting) client(to []string) error {
	for range 1000 {
		m := w.gateway.Begin(Sender{Address: "alice@corp.test"})
		for _, address := range to {
			m.Recipient(theT.Context(), Rcpt{Address: address})
		}
		h := message.Header{{Name: "To", Value: " a@a.test, c@a.test, d@a.test"}, {Name: "Message-ID", Value: " <1@corp.test>"}}
		v := send(theT.(*testing.T), m, h, []byte(greeting))
		if v.Reply.Action == Accept {
			w.accept(to, v)
			err := m.Accepted()
			m.Close()
			return err
		}
		m.Close()
		if codes(v.Reply) != "451 4.3.0" {
			return fmt.Errorf("%s %s", codes(v.Reply), v.Reply.Text)
		}
	}
	return errors.New("never accepted")
}

func (w *meeting) accept(to []string, v Verdict) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, address := range to {
		w.accepted[address]++
		if !v.Nobody && !slices.Contains(v.Removes, address) {
			w.copies[address]++
		}
	}
}
