package main

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	mta "github.com/emersion/go-milter"
)

// requireAll would defer every mail, as nobody answers its questions.
const requireAll = "[dns]\nupstreams = [\"127.0.0.1:9\"]\ntry = \"100ms\"\nbudget = \"1s\"\n[[rule]]\nrecipient = [\"*\"]\naction = \"require\"\n"

// The daemon says that it is in shadow mode, lets a mail go on that would be
// deferred, needs no journal, and does not leave the mode by a reload.
func TestDaemonInShadow(t *testing.T) {
	journal := filepath.Join(t.TempDir(), "journal.db")
	settings := requireAll + "[resubmit]\naddress = \"inet:127.0.0.1:9\"\njournal = \"" + journal + "\"\n"
	d := startDaemonWith(t, "mode = \"shadow\"\n"+settings)
	d.waitFor(`"level":"WARN","msg":"shadow mode: nothing is encrypted`)
	s := d.begin()
	if changes, act, err := s.End(); err != nil || act.Code != mta.ActAccept || len(changes) > 0 {
		t.Errorf("end of message: %v, %v, %v", changes, act, err)
	}
	d.waitFor(`"reply":"451 4.4.3 `)
	if _, err := os.Stat(journal); err == nil {
		t.Error("there is a journal")
	}
	d.write(settings)
	d.signal(syscall.SIGHUP)
	d.waitFor("mode: changed, and that takes a restart")
}

func TestReminderOfShadow(t *testing.T) {
	var out bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	remindOfShadow(ctx, 30*time.Millisecond, slog.New(slog.NewTextHandler(&out, nil)))
	if n := strings.Count(out.String(), "level=WARN"); n < 2 || n > 4 {
		t.Errorf("%d times in 100 ms, every 30:\n%s", n, out.String())
	}
}

func TestCheckTellsOfShadow(t *testing.T) {
	path := filepath.Join(t.TempDir(), "smimea.toml")
	for mode, want := range map[string]bool{"shadow": true, "enforce": false} {
		if err := os.WriteFile(path, []byte("mode = \""+mode+"\"\n"+requireAll), 0o600); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		checkAll(path, &out)
		if got := strings.Contains(out.String(), `warning: mode = "shadow": mail leaves as it came, in PLAINTEXT`); got != want {
			t.Errorf("%s:\n%s", mode, out.String())
		}
	}
}
