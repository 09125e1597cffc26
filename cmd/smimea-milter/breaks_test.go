package main_test

import "testing"

// TestBreaks breaks whatever can break, while mails are encrypted and split.
func TestBreaks(t *testing.T) {
	l := startLab(t, newPostfix(t, "for everything"))
	l.splits()
	l.copiesTap = l.tapCopies()
	l.startMilter(l.resolver)
	l.sub("KilledWhileSplitting", l.testKilledWhileSplitting)
	l.sub("KilledWhileAnswering", l.testKilledWhileAnswering)
	l.sub("SecondCopyFails", l.testSecondCopyFails)
	l.sub("FullSpool", l.testFullSpool)
	l.sub("FullJournal", l.testFullJournal)
}
