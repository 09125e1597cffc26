package main_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"smimea.example/tools/judges"
)

// A smallDisk is a file system of its own, which is soon full. It belongs to
// the milter's user.
type smallDisk struct {
	t    *testing.T
	path string
}

func (l *lab) smallDisk(t *testing.T, name, size string) smallDisk {
	t.Helper()
	d := smallDisk{t, l.path(name)}
	if err := os.MkdirAll(d.path, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("smimea-lab", d.path, "tmpfs", 0, "size="+size); err != nil {
		judges.Missing(t, "the right to mount: "+err.Error())
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(d.path, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	l.own(name, "nobody", "nogroup", 0o700)
	return d
}

func (d smallDisk) resize(size string) {
	d.t.Helper()
	if err := syscall.Mount("smimea-lab", d.path, "tmpfs", syscall.MS_REMOUNT, "size="+size); err != nil {
		d.t.Fatal(err)
	}
}

// used returns how much is on it, in octets.
func (d smallDisk) used() int {
	d.t.Helper()
	var s syscall.Statfs_t
	if err := syscall.Statfs(d.path, &s); err != nil {
		d.t.Fatal(err)
	}
	return int(s.Blocks-s.Bfree) * int(s.Bsize)
}

// fill takes all the room there is.
func (d smallDisk) fill() {
	d.t.Helper()
	f, err := os.Create(filepath.Join(d.path, "full"))
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
}

// testFullSpool has no room for long mails. They are deferred, nothing is left of
// them, and short ones go on.
func (l *lab) testFullSpool(t *testing.T) {
	disk := l.smallDisk(t, "tmp", "512k")
	t.Setenv("TMPDIR", disk.path)
	l.stopMilter()
	l.startMilter(l.resolver)
	defer func() { // who has no longer a place for them
		os.Unsetenv("TMPDIR")
		l.stopMilter()
		l.startMilter(l.resolver)
	}()
	long := entity{"Content-Type: text/plain\r\n", secret + "\r\n" + encoded(1<<20)}
	one := func() error { return l.send(mail(long, "rsa@good.test"), "rsa@good.test") }
	several := newSplitMail(300, 1<<20)

	before := len(l.sink.Delivered())
	wantDeferred(t, one())
	wantDeferred(t, several.send(l))
	if used := disk.used(); used > 0 {
		t.Errorf("%d octets are left of mails that were deferred", used)
	}
	l.nothingLeft(t, before)
	newSplitMail(301, 0).deliver(t, l)

	disk.resize("64m")
	before = len(l.sink.Delivered())
	if err := one(); err != nil {
		t.Errorf("when there is room: %v", err)
	}
	l.gets(t, l.after(t, before, 1), long, "rsa@good.test")
	several.deliver(t, l)
	if used := disk.used(); used > 0 {
		t.Errorf("%d octets are left of mails that were accepted", used)
	}
}

// deliver sends it, and wants that everybody gets it once.
func (m splitMail) deliver(t *testing.T, l *lab) {
	t.Helper()
	before := len(l.sink.Delivered())
	if err := m.send(l); err != nil {
		t.Fatal(err)
	}
	m.arrives(t, l, before, 1)
}

// testFullJournal has no room for the journal. Mails that need it are deferred,
// before anybody has got a copy; others go on.
func (l *lab) testFullJournal(t *testing.T) {
	disk := l.smallDisk(t, "small", "64k")
	rules := l.rules
	l.rules = strings.Replace(rules, l.path("journal/journal.db"), filepath.Join(disk.path, "journal.db"), 1)
	l.stopMilter()
	l.startMilter(l.resolver)
	defer func() {
		l.stopMilter()
		l.rules = rules
		l.startMilter(l.resolver)
	}()
	disk.fill()
	crowd := []string{"rsa@good.test"}
	for i := range 300 {
		crowd = append(crowd, fmt.Sprintf("friend%d@friend.test", i))
	}
	want := entity{"Content-Type: text/plain\r\n", secret + "\r\n"}
	send := func(id string) error {
		return l.send("Message-ID: <"+id+"@house.test>\r\n"+mail(want, crowd...), crowd...)
	}

	before := len(l.sink.Delivered())
	wantDeferred(t, send("first"))
	l.nothingLeft(t, before)
	if got := l.deliver(t, want, "rsa@good.test"); string(got) != want.String() {
		t.Errorf("a mail that needs no journal: %q", got)
	}

	disk.resize("8m")
	before = len(l.sink.Delivered())
	if err := send("first"); err != nil {
		t.Fatalf("when there is room: %v", err)
	}
	l.everybodyOnce(t, before, crowd)

	// What the journal has taken on the disk is its own: it is full again, and
	// there is still room for who has got his copy.
	disk.fill()
	before = len(l.sink.Delivered())
	if err := send("second"); err != nil {
		t.Fatal(err)
	}
	l.everybodyOnce(t, before, crowd)
}

// everybodyOnce wants that each has got one mail since then.
func (l *lab) everybodyOnce(t *testing.T, before int, people []string) {
	t.Helper()
	var got []string
	wait(t, "everybody to get it", func() bool {
		got = nil
		for _, d := range l.sink.Delivered()[before:] {
			got = append(got, d.To...)
		}
		return len(got) >= len(people)
	})
	l.after(t, len(l.sink.Delivered()), 0)
	got = slices.Sorted(slices.Values(got))
	if want := slices.Sorted(slices.Values(people)); !slices.Equal(got, want) {
		t.Errorf("%d people got it, not each of %d once", len(got), len(want))
	}
}
