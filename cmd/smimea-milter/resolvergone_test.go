package main_test

import (
	"syscall"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
)

// testResolverGone has the resolver fall silent, so that questions time out, die,
// and come back. What was proven is used as long as it holds and no longer, and
// where nothing can be asked mail waits.
func (l *lab) testResolverGone(t *testing.T) {
	want := entity{"Content-Type: text/plain\r\n", secret + "\r\n"}
	reads := func(who string) {
		t.Helper()
		if got := l.deliver(t, want, who); string(got) != want.String() {
			t.Errorf("%s reads %q", who, got)
		}
	}
	reads("brief@good.test") // for a second
	reads("rsa@good.test")   // for five minutes

	l.unbound.Process.Signal(syscall.SIGSTOP)
	time.Sleep(1100 * time.Millisecond)
	l.refused(t, "brief@good.test", 451, smtp.EnhancedCode{4, 4, 3})
	reads("rsa@good.test")

	l.unbound.Process.Kill()
	l.unbound.Wait()
	l.refused(t, "brief@good.test", 451, smtp.EnhancedCode{4, 4, 3})

	l.unbound = l.launch("unbound", "-d", "-c", l.path("unbound.conf"))
	waitForPort(t, l.resolver)
	before := len(l.sink.Delivered())
	wait(t, "the client to come again", func() bool { // the failure is remembered for some seconds
		err := l.send(mail(want, "brief@good.test"), "brief@good.test")
		if err != nil {
			wantDeferred(t, err)
		}
		return err == nil
	})
	l.gets(t, l.after(t, before, 1), want, "brief@good.test")
}
