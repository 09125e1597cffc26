package main_test

import (
	"os"
	"path/filepath"
	"testing"
)

// A smallQueue is a Postfix whose queue has a disk of its own.
type smallQueue struct {
	postfix
	disk *smallDisk
}

func (p smallQueue) start(l *lab) {
	// Postfix wants half as much again as the longest mail.
	*p.disk = l.smallDisk(l.t, "spool", "300m")
	l.own("spool", "root", "root", 0o755)
	p.postfix.start(l)
}

// TestFullQueue fills the disk of Postfix' queue when it has all copies of a mail
// and is told what becomes of the mail in hand. Its client has to come again, and
// nobody loses the mail. The milter hears the same as of a mail that was accepted:
// whoever has got a copy gets a second one. README names it among the known gaps.
func TestFullQueue(t *testing.T) {
	var disk smallDisk
	l := startLab(t, smallQueue{newPostfix(t, "for everything"), &disk})
	l.splits()
	l.copiesTap = l.tapCopies()
	l.startMilter(l.resolver)
	before := len(l.sink.Delivered())
	m := newSplitMail(400, 200_000)
	hand, others := splitPeople[0], splitPeople[1:]
	left := len(others)
	l.copiesTap.set(func(_ int, what string) handling {
		if what == "QUIT" {
			if left--; left == 0 {
				disk.fill()
			}
		}
		return pass
	})
	wantDeferred(t, m.send(l))
	l.copiesTap.set(nil)
	if err := os.Remove(filepath.Join(disk.path, "full")); err != nil {
		t.Fatal(err)
	}
	if err := m.send(l); err != nil {
		t.Fatalf("the second time: %v", err)
	}
	all := append([]string{hand}, others...)
	l.gets(t, l.after(t, before, len(all)+len(others)), m.entity, append(all, others...)...)
}
