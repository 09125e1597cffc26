package gateway

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"
	boltErrors "go.etcd.io/bbolt/errors"
)

// A Journal remembers, of mails whose copies are being handed over, who has got
// his copy. When such a mail fails, or the process dies, its sender sends it
// again; the journal then keeps those who have theirs from getting it twice. It
// survives the process, and the machine.
//
// A mail is in the journal only while it is not known whether its sender will
// send it again: from before the first copy is handed over until the mail as a
// whole was accepted, and five days at most. So an honest second sending of
// the same mail goes through. Mails and recipients are kept as HMACs with a secret
// that is the journal's own.
type Journal struct {
	db     *bolt.DB
	secret []byte
	mails  atomic.Int64 // in it
	now    func() time.Time

	mu      sync.Mutex      // guards what follows
	busy    map[string]bool // people in a mail that is on its way: see enter
	cleaned time.Time       // when old entries were dropped
}

const (
	keepFor    = 5 * 24 * time.Hour // as long as mail servers try
	cleanEvery = time.Hour
	maxMails   = 100_000
	personSize = 16 // octets of a recipient's HMAC
	timeSize   = 8

	// spare is the room that the journal keeps for itself on the disk, in octets.
	spare = 1 << 20
)

var (
	metaBucket  = []byte("meta")
	mailsBucket = []byte("mails")
	secretKey   = []byte("secret")
	spareKey    = []byte("spare")
)

// OpenJournal opens the journal in a file, or makes one. Only one process can
// have it open.
func OpenJournal(path string) (j *Journal, err error) {
	// bbolt trusts its file: a page that is no page is a panic, and one that is not
	// there a fault in the memory that the file is mapped to.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if damage := recover(); damage != nil {
			j, err = nil, fmt.Errorf("journal %s is damaged (%v): move it away and start again; mails that failed in the last days may then come twice", path, damage)
		}
	}()
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: 5 * time.Second})
	if errors.Is(err, boltErrors.ErrTimeout) {
		return nil, fmt.Errorf("journal %s: another process has it open", path)
	}
	if err != nil {
		return nil, fmt.Errorf("journal %s: %w", path, err)
	}
	db.MaxBatchDelay = time.Millisecond
	j = &Journal{db: db, now: time.Now, busy: make(map[string]bool)}
	if err := db.Update(j.prepare); err != nil {
		db.Close()
		return nil, fmt.Errorf("journal %s: %w", path, err)
	}
	return j, nil
}

// Close closes the file.
func (j *Journal) Close() error { return j.db.Close() }

func (j *Journal) prepare(tx *bolt.Tx) error {
	meta, err := tx.CreateBucketIfNotExists(metaBucket)
	if err != nil {
		return err
	}
	mails, err := tx.CreateBucketIfNotExists(mailsBucket)
	if err != nil {
		return err
	}
	if j.secret = bytes.Clone(meta.Get(secretKey)); j.secret == nil {
		j.secret = make([]byte, 32)
		rand.Read(j.secret)
		if err := meta.Put(secretKey, j.secret); err != nil {
			return err
		}
	}
	all := int64(0)
	err = mails.ForEach(func(_, _ []byte) error { all++; return nil })
	tx.OnCommit(func() { j.mails.Add(all) })
	return errors.Join(err, j.expire(tx))
}

// expire drops the mails that nobody will send again. What is done on commit may
// be done after the next one, so it adds, and sets nothing.
func (j *Journal) expire(tx *bolt.Tx) error {
	mails := tx.Bucket(mailsBucket)
	var old [][]byte
	err := mails.ForEach(func(key, entry []byte) error {
		if j.isOld(entry) {
			old = append(old, bytes.Clone(key))
		}
		return nil
	})
	for _, key := range old {
		err = errors.Join(err, mails.Delete(key))
	}
	tx.OnCommit(func() { j.mails.Add(-int64(len(old))) })
	return err
}

// isOld says that an entry is of no use any more, or never was.
func (j *Journal) isOld(entry []byte) bool {
	if len(entry) < timeSize || (len(entry)-timeSize)%personSize != 0 {
		return true
	}
	then := time.Unix(int64(binary.BigEndian.Uint64(entry)), 0)
	return j.now().Sub(then) > keepFor
}

// empty says that no mail is in it, so that none need be looked up.
func (j *Journal) empty() bool { return j.mails.Load() == 0 }

// served returns who has got his copy of a mail: a function of his address.
func (j *Journal) served(mail mailKey) (has func(address string) bool, err error) {
	var entry []byte
	err = j.db.View(func(tx *bolt.Tx) error {
		entry = bytes.Clone(tx.Bucket(mailsBucket).Get(mail[:]))
		return nil
	})
	if j.isOld(entry) {
		return func(string) bool { return false }, err
	}
	people := entry[timeSize:]
	return func(address string) bool {
		return contains(people, j.person(mail, address))
	}, err
}

func contains(people, person []byte) bool {
	for ; len(people) >= personSize; people = people[personSize:] {
		if bytes.Equal(people[:personSize], person) {
			return true
		}
	}
	return false
}

// person is how a recipient of a mail is written down.
func (j *Journal) person(mail mailKey, address string) []byte {
	mac := hmac.New(sha256.New, j.secret)
	mac.Write(mail[:])
	mac.Write([]byte(mailboxName(address)))
	return mac.Sum(nil)[:personSize]
}

func (j *Journal) people(mail mailKey, to Group) (all [][]byte) {
	for _, r := range to {
		all = append(all, j.person(mail, r.address))
	}
	return all
}

// errBusy is for a sender who has lost patience with the first try.
var errBusy = errors.New("the same mail is on its way just now")

// patience is how long the same mail waits for the one before it.
const patience = 5 * time.Second

// enter says that a try to send the mail to these people is on its way, until leave:
// from before it asks who has got his copy until it is known whether the mail as a
// whole was accepted. Another try for one of them waits for that, but not for long.
// Tries for other people need not: a mail server that splits a long list of
// recipients sends the parts at once.
func (j *Journal) enter(ctx context.Context, mail mailKey, to Group) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	all := j.people(mail, to)
	for !j.tryEnter(all) {
		select {
		case <-ctx.Done():
			return errBusy
		case <-time.After(10 * time.Millisecond):
		}
	}
	return nil
}

func (j *Journal) tryEnter(people [][]byte) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	if slices.ContainsFunc(people, func(person []byte) bool { return j.busy[string(person)] }) {
		return false
	}
	for _, person := range people {
		j.busy[string(person)] = true
	}
	return true
}

// leave says that it has come to its end.
func (j *Journal) leave(mail mailKey, to Group) {
	all := j.people(mail, to)
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, person := range all {
		delete(j.busy, string(person))
	}
}

// begin enters a mail, before anybody gets a copy, so that a journal that cannot
// be written to is known of in time. Who is in there already stays.
func (j *Journal) begin(mail mailKey) error {
	if err := j.clean(); err != nil {
		return err
	}
	if j.mails.Load() >= maxMails {
		return fmt.Errorf("the journal is full: %d mails failed in the last days", maxMails)
	}
	return errors.Join(j.makeRoom(), j.add(mail, nil))
}

// makeRoom makes the file long enough for what will have to be noted, so that a
// full disk is known of before anybody has got a copy. It writes, as only then the
// disk has given the room; what is deleted again stays the file's.
func (j *Journal) makeRoom() error {
	if j.db.Stats().FreeAlloc >= spare/2 {
		return nil
	}
	err := j.db.Update(func(tx *bolt.Tx) error {
		return tx.Bucket(metaBucket).Put(spareKey, make([]byte, spare))
	})
	if err != nil {
		return fmt.Errorf("making room in the journal: %w", err)
	}
	return j.db.Update(func(tx *bolt.Tx) error {
		return tx.Bucket(metaBucket).Delete(spareKey)
	})
}

// clean drops old entries, now and then.
func (j *Journal) clean() error {
	j.mu.Lock()
	due := j.now().Sub(j.cleaned) > cleanEvery
	if due {
		j.cleaned = j.now()
	}
	j.mu.Unlock()
	if !due {
		return nil
	}
	return j.db.Update(j.expire)
}

// note writes down that these have got their copy. It returns when that is on
// the disk.
func (j *Journal) note(mail mailKey, to Group) error {
	return j.add(mail, slices.Concat(j.people(mail, to)...))
}

func (j *Journal) add(mail mailKey, people []byte) error {
	return j.db.Batch(func(tx *bolt.Tx) error {
		mails := tx.Bucket(mailsBucket)
		before := mails.Get(mail[:])
		if before == nil {
			tx.OnCommit(func() { j.mails.Add(1) })
		}
		entry := binary.BigEndian.AppendUint64(nil, uint64(j.now().Unix()))
		if !j.isOld(before) {
			entry = append(entry, before[timeSize:]...)
		}
		return mails.Put(mail[:], append(entry, people...))
	})
}

// settle drops those for whom the mail was accepted, and will not come again; the
// others may come by themselves. It is also for a mail of which nobody has got a
// copy.
func (j *Journal) settle(mail mailKey, to Group) error {
	settled := make(map[string]bool)
	for _, r := range to {
		settled[string(j.person(mail, r.address))] = true
	}
	return j.db.Batch(func(tx *bolt.Tx) error {
		mails := tx.Bucket(mailsBucket)
		before := mails.Get(mail[:])
		if len(before) < timeSize {
			return nil
		}
		left := bytes.Clone(before[:timeSize])
		for people := before[timeSize:]; len(people) >= personSize; people = people[personSize:] {
			if person := people[:personSize]; !settled[string(person)] {
				left = append(left, person...)
			}
		}
		if len(left) > timeSize {
			return mails.Put(mail[:], left)
		}
		tx.OnCommit(func() { j.mails.Add(-1) })
		return mails.Delete(mail[:])
	})
}
