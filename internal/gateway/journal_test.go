package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"smimea.example/internal/message"
)

func openJournal(t *testing.T, path string) *Journal {
	t.Helper()
	j, err := OpenJournal(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	return j
}

func people(addresses ...string) Group {
	var g Group
	for _, a := range addresses {
		g = append(g, recipient{address: a})
	}
	return g
}

// has fails unless the journal knows exactly these of some to have got their copy.
func has(t *testing.T, j *Journal, mail mailKey, want ...string) {
	t.Helper()
	served, err := j.served(mail)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, a := range []string{"alice@example.org", "bob@example.org", "carol@example.org"} {
		if served(a) {
			got = append(got, a)
		}
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("%q have got it, want %q", got, want)
	}
}

// What was noted outlives the process.
func TestJournalOutlivesTheProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	mail, other := mailKey{1}, mailKey{2}
	j := openJournal(t, path)
	if !j.empty() {
		t.Error("a new journal is not empty")
	}
	for _, err := range []error{j.begin(mail), j.note(mail, people("alice@example.org")), j.note(mail, people("carol@Example.ORG"))} {
		if err != nil {
			t.Fatal(err)
		}
	}
	has(t, j, mail, "alice@example.org", "carol@example.org")
	has(t, j, other)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}

	j = openJournal(t, path)
	if j.empty() {
		t.Error("empty after it was opened again")
	}
	has(t, j, mail, "alice@example.org", "carol@example.org")
	if err := j.begin(mail); err != nil { // the retry
		t.Fatal(err)
	}
	has(t, j, mail, "alice@example.org", "carol@example.org")
	if err := j.settle(mail, people("carol@example.org", "bob@example.org")); err != nil || j.empty() {
		t.Errorf("empty %v, %v", j.empty(), err)
	}
	has(t, j, mail, "alice@example.org")
	if err := j.settle(mail, people("alice@example.org")); err != nil || !j.empty() {
		t.Errorf("empty %v, %v", j.empty(), err)
	}
}

// Nobody can read in it who has sent what to whom.
func TestJournalKeepsAddressesToItself(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	j := openJournal(t, path)
	if err := errors.Join(j.begin(mailKey{1}), j.note(mailKey{1}, people("alice@example.org"))); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(content), "alice") || strings.Contains(string(content), "example") {
		t.Error("an address stands in the file")
	}
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	two := openJournal(t, filepath.Join(t.TempDir(), "journal.db"))
	if string(two.secret) == string(j.secret) || len(j.secret) != 32 {
		t.Error("the secret is not this installation's own")
	}
}

// An entry is kept as long as mail servers try, and no longer.
func TestJournalForgets(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	j := openJournal(t, path)
	now := time.Now()
	j.now = func() time.Time { return now }
	mail := mailKey{1}
	if err := errors.Join(j.begin(mail), j.note(mail, people("alice@example.org"))); err != nil {
		t.Fatal(err)
	}
	now = now.Add(keepFor - time.Minute)
	has(t, j, mail, "alice@example.org")
	now = now.Add(2 * time.Minute)
	has(t, j, mail)
	if err := j.begin(mailKey{2}); err != nil { // which cleans up
		t.Fatal(err)
	}
	if n := j.mails.Load(); n != 1 {
		t.Errorf("%d mails, want the new one", n)
	}
}

// A full journal takes mails again when old ones have run out.
func TestJournalIsNoLongerFull(t *testing.T) {
	j := openJournal(t, filepath.Join(t.TempDir(), "journal.db"))
	now := time.Now()
	j.now = func() time.Time { return now }
	if err := j.begin(mailKey{1}); err != nil {
		t.Fatal(err)
	}
	j.mails.Add(maxMails - 1) // as if there were so many
	if err := j.begin(mailKey{2}); err == nil {
		t.Error("a full journal takes one more")
	}
	now = now.Add(keepFor + time.Minute)
	if err := j.begin(mailKey{2}); err != nil {
		t.Error(err)
	}
}

// While a mail is on its way to somebody, the same mail to him must wait; to
// others it need not, nor another mail.
func TestJournalIsBusy(t *testing.T) {
	j := openJournal(t, filepath.Join(t.TempDir(), "journal.db"))
	mail, to := mailKey{1}, people("alice@example.org", "bob@example.org")
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if err := j.enter(t.Context(), mail, to); err != nil {
		t.Fatal(err)
	}
	if err := j.enter(over, mail, people("carol@example.org", "bob@example.org")); !errors.Is(err, errBusy) {
		t.Errorf("entered twice: %v", err)
	}
	if err := j.enter(over, mail, people("carol@example.org")); err != nil {
		t.Errorf("to somebody else: %v", err)
	}
	if err := j.enter(over, mailKey{2}, to); err != nil {
		t.Errorf("another mail: %v", err)
	}
	time.AfterFunc(50*time.Millisecond, func() { j.leave(mail, to) })
	if err := j.enter(t.Context(), mail, to); err != nil {
		t.Errorf("after its end: %v", err)
	}
}

func TestJournalManyAtOnce(t *testing.T) {
	j := openJournal(t, filepath.Join(t.TempDir(), "journal.db"))
	var wait sync.WaitGroup
	for i := range 50 {
		wait.Go(func() {
			mail := mailKey{byte(i)}
			if err := errors.Join(j.begin(mail), j.note(mail, people("alice@example.org")), j.note(mail, people("bob@example.org"))); err != nil {
				t.Error(err)
			}
			if err := j.settle(mail, people("alice@example.org", "bob@example.org")); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	if !j.empty() {
		t.Errorf("%d mails are left", j.mails.Load())
	}
}

// What is in the way is said.
func TestJournalCannotBeOpened(t *testing.T) {
	dir := t.TempDir()
	if _, err := OpenJournal(filepath.Join(dir, "nowhere", "journal.db")); err == nil {
		t.Error("opened in a directory that is not there")
	}
	rubbish := filepath.Join(dir, "rubbish")
	if err := os.WriteFile(rubbish, []byte(strings.Repeat("rubbish ", 4096)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenJournal(rubbish); err == nil {
		t.Error("rubbish was opened")
	}
}

// A damaged file is an error that says what to do, whatever is damaged in it.
func TestJournalIsDamaged(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "journal.db")
	j := openJournal(t, path)
	for i := range 200 {
		if err := j.begin(mailKey{byte(i)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const page = 4096
	told := 0
	open := func(name string, content []byte) {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if j, err := OpenJournal(path); err == nil {
			j.Close()
		} else if strings.Contains(err.Error(), "move it away") {
			told++
		}
	}
	for at := 0; at < len(good); at += page {
		bad := bytes.Clone(good)
		clear(bad[at : at+page])
		open(fmt.Sprintf("page-%d", at/page), bad)
		open(fmt.Sprintf("cut-%d", at/page), good[:at])
	}
	if told == 0 {
		t.Error("nobody was told what to do")
	}
}

// A stunted entry is nobody's.
func TestJournalWithStuntedEntries(t *testing.T) {
	j := openJournal(t, filepath.Join(t.TempDir(), "journal.db"))
	for i, entry := range []string{"", "1234567", strings.Repeat("\x00", 8), "\x7f" + strings.Repeat("x", 30)} {
		mail := mailKey{byte(i)}
		if err := j.db.Update(func(tx *bolt.Tx) error { return tx.Bucket(mailsBucket).Put(mail[:], []byte(entry)) }); err != nil {
			t.Fatal(err)
		}
		has(t, j, mail)
		if err := errors.Join(j.begin(mail), j.note(mail, people("bob@example.org"))); err != nil {
			t.Errorf("%q: %v", entry, err)
		}
		has(t, j, mail, "bob@example.org")
	}
}

// Which mails are the same.
func TestFingerprint(t *testing.T) {
	const queue = "4FxyzQ"
	first := header("From: alice@example.org\nTo: bob@example.net\nSubject: x")
	withMade := func(h message.Header, id string) message.Header {
		return append(append(message.Header{}, h...),
			message.Field{Name: "Message-Id", Value: fmt.Sprintf(" <20261128105307.%s@mail.example.org>", id)},
			message.Field{Name: "Date", Value: " Sat, 28 Nov 2026 10:53:07 +0000 of try " + id})
	}
	for _, test := range []struct {
		name          string
		one, two      message.Header
		oneID, twoID  string // queue ids
		oneEnv, twoEv string
		same          bool
	}{
		{"the same", first, first, queue, "other", "", "", true},
		{"made by the MTA for each try", withMade(first, "A1"), withMade(first, "B2"), "A1", "B2", "", "", true},
		{"and From, too", append(withMade(first[1:], "A1"), first[0]), append(withMade(first[1:], "B2"), first[0]), "A1", "B2", "", "", true},
		{"another Message-ID of the sender's", withMade(first, "A1"), withMade(first, "B2"), "C3", "C3", "", "", false},
		{"another Date of the sender's", header("Date: 1\nTo: x"), header("Date: 2\nTo: x\nCc: y"), queue, queue, "", "", false},
		{"a Date of the sender's before other fields", header("Date: 1\nX: x\nTo: x"), header("Date: 2\nX: x\nTo: x"), queue, queue, "", "", false},
		{"trace fields", append(header("Received: one\nReturn-Path: <x>\nX-Spam-Score: 1.5\nDKIM-Signature: t=1"), first...), first, queue, queue, "", "", true},
		{"another subject", first, append(append(message.Header{}, first[:2]...), message.Field{Name: "Subject", Value: " y"}), queue, queue, "", "", false},
		{"resent", append(append(message.Header{}, first...), header("Resent-Message-Id: <1.A1@x>\nResent-Date: 1")...),
			append(append(message.Header{}, first...), header("Resent-Message-Id: <1.B2@x>\nResent-Date: 2")...), "A1", "B2", "", "", true},
		{"made by the MTA, and fields of a scanner behind them", append(withMade(first, "A1"), header("X-Spam-Score: 1\nAuthentication-Results: x")...),
			append(withMade(first, "B2"), header("X-Spam-Score: 2\nAuthentication-Results: y")...), "A1", "B2", "", "", true},
		{"what milters say of themselves, with the queue id", append(header("DKIM-Filter: OpenDKIM Filter v2.11.0 mail.example.org A1\nDMARC-Filter: A1\nARC-Filter: A1"), first...),
			append(header("DKIM-Filter: OpenDKIM Filter v2.11.0 mail.example.org B2\nDMARC-Filter: B2\nARC-Filter: B2"), first...), "A1", "B2", "", "", true},
		{"another ENVID", first, first, queue, queue, "1", "2", false},
		{"fields that could be the envelope", first, first, queue, queue, "", "x", false},
	} {
		from := Sender{Address: "alice@example.org"}
		one := newFingerprint([]byte("secret"), from, test.oneEnv, test.oneID, test.one)
		two := newFingerprint([]byte("secret"), from, test.twoEv, test.twoID, test.two)
		if (one.sum() == two.sum()) != test.same {
			t.Errorf("%s: the same: %v, want %v", test.name, !test.same, test.same)
		}
	}
	p := newFingerprint([]byte("secret"), Sender{Address: "alice@example.org"}, "", queue, first)
	if q := newFingerprint([]byte("secret"), Sender{Address: "bob@example.org"}, "", queue, first); p.sum() == q.sum() {
		t.Error("another sender's is the same")
	}
	if q := newFingerprint([]byte("another"), Sender{Address: "alice@example.org"}, "", queue, first); p.sum() == q.sum() {
		t.Error("another house's is the same")
	}
	before := p.sum()
	p.Write([]byte("body"))
	if p.sum() == before {
		t.Error("the body does not count")
	}
}

// A journal on a full disk must fail before anybody has got a copy, and not when
// that is to be noted: it has room to spare, however much is in it.
func TestJournalHasRoomBeforeItIsNeeded(t *testing.T) {
	j := openJournal(t, filepath.Join(t.TempDir(), "journal.db"))
	var crowd Group
	for i := range maxRecipients {
		crowd = append(crowd, recipient{address: fmt.Sprintf("%d@example.net", i)})
	}
	for i := range 100 {
		mail := mailKey{byte(i)}
		if err := j.begin(mail); err != nil {
			t.Fatal(err)
		}
		need := 4 * personSize * len(crowd)
		if room := j.db.Stats().FreeAlloc; room < need {
			t.Errorf("mail %d: room for %d octets, not %d", i, room, need)
		}
		if err := j.note(mail, crowd); err != nil {
			t.Fatal(err)
		}
	}
}

// The number of mails in the journal stays right while old ones are dropped: at 0
// nobody would look a mail up.
func TestJournalCounts(t *testing.T) {
	g, _, _ := newGateway(t)
	splittingGateway(t, g)
	j := g.Resubmit.Journal
	j.db.NoSync = true
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(16)) // it takes several at the same time
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			for k := range 200 {
				var err error
				if i < 4 {
					err = j.db.Update(j.expire)
				} else {
					err = j.add(mailKey{byte(i), byte(k)}, nil)
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if n := j.mails.Load(); n != 16*200 {
		t.Errorf("%d, want %d", n, 16*200)
	}
}
