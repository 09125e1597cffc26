package main_test

import "testing"

// TestBreaks breaks whatever can break, while mails are encrypted and split.
func TestBreaks(t *testing.T) { testBreaks(t, newPostfix(t, "for everything")) }

// TestBreaksSendmail is the same with Sendmail.
func TestBreaksSendmail(t *testing.T) { testBreaks(t, newSendmail(t)) }

func testBreaks(t *testing.T, m mta) {
	l := startLab(t, m)
	l.splits()
	l.copiesTap = l.tapCopies()
	l.startMilter(l.resolver)
	l.sub("KilledWhileSplitting", l.testKilledWhileSplitting)
	l.sub("KilledWhileAnswering", l.testKilledWhileAnswering)
	l.sub("SecondCopyFails", l.testSecondCopyFails)
	l.sub("Restarts", l.testRestarts)
	l.sub("FullSpool", l.testFullSpool)
	l.sub("FullJournal", l.testFullJournal)
}
