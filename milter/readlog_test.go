package milter

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"time"

	"smimea.example/internal/gateway"
)

// What a record writes is what a LogReader reads, key by key.
func TestLogIsReadBack(t *testing.T) {
	r := record{
		started: time.Now(), queue: "4FxyzQ", client: "client[192.0.2.1]", shadow: true, reply: &refusal,
		sender: gateway.Sender{Address: "alice@example.org", Pickup: true},
		fates: []gateway.Fate{{
			Address: "bob@example.net", Rule: "require", Outcome: "found", Reply: accept, Origin: "dns", DNSSEC: "secure", Certs: []string{"aa", "bb"},
			Cipher: "aes256-cbc", Archive: "cc", Warnings: []string{"pinned and expired"}, Why: errors.New("because"),
		}, {Address: "carol@example.com", Reply: refusal}},
	}
	var out bytes.Buffer
	r.log(slog.New(slog.NewJSONHandler(&out, nil)))
	got, err := NewLogReader(&out).Next()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := time.Parse(time.RFC3339Nano, got.Time); err != nil {
		t.Error(err)
	}
	got.Time = ""
	want := &Logged{
		Message: "mail", QueueID: "4FxyzQ", Client: "client[192.0.2.1]", Pickup: true, From: "alice@example.org",
		Recipients: r.recipients(), Result: "refused", Reply: line(refusal), Mode: "shadow",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("read\n%+v, want\n%+v", got, want)
	}
}

const aMail = `{"time":"2026-11-28T09:00:00Z","level":"INFO","msg":"mail","queue_id":"Q1","from":"","recipients":[{"to":"bob@example.net","reply":"ok"}],"result":"passed"}`

func TestLogLines(t *testing.T) {
	for _, tt := range []struct {
		name, log             string
		mails, others, broken int
	}{
		{"nothing", "", 0, 0, 0},
		{"one", aMail + "\n", 1, 0, 0},
		{"without its last line end", aMail, 1, 0, 0},
		{"CRLF", aMail + "\r\n" + aMail + "\r\n", 2, 0, 0},
		{"journalctl", "Nov 28 10:00:00 mx smimea-milter[42]: " + aMail + "\n", 1, 0, 0},
		{"syslog", "<30>1 2026-11-28T09:00:00Z mx smimea-milter 42 - - " + aMail + "\n", 1, 0, 0},
		{"others between", "-- Boot 1234 --\n" + aMail + "\n\n" + `{"msg":"ready"}` + "\n" + aMail, 2, 3, 0},
		{"another program's", `{"msg":"mail log rotated"}` + "\n" + `{"message":"\"msg\":\"mail\""}`, 0, 2, 0},
		{"a mail in a mail", `{"msg":"quoted","text":{"msg":"mail"}}`, 0, 1, 0},
		{"cut by journald", aMail[:100] + "\n" + aMail[100:] + "\n", 0, 1, 1},
		{"another type", strings.Replace(aMail, `"queue_id":"Q1"`, `"queue_id":7`, 1), 0, 0, 1},
		{"too long", strings.Replace(aMail, "Q1", strings.Repeat("Q", maxLogLine), 1) + "\n" + aMail, 1, 0, 1},
		{"too long at the end", strings.Replace(aMail, "Q1", strings.Repeat("Q", maxLogLine), 1), 0, 0, 1},
		{"too long and of something else", strings.Repeat("x", 2*maxLogLine) + "\n" + aMail, 1, 1, 0},
		{"just not too long", strings.Replace(aMail, "Q1", strings.Repeat("Q", maxLogLine-len(aMail)), 1) + "\n", 1, 0, 0},
	} {
		l := NewLogReader(strings.NewReader(tt.log))
		n := 0
		for {
			m, err := l.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", tt.name, err)
			}
			if len(m.Recipients) != 1 || m.Recipients[0].To != "bob@example.net" {
				t.Errorf("%s: read %+v", tt.name, m)
			}
			n++
		}
		if n != tt.mails || l.Mails != tt.mails || l.Others != tt.others || l.Broken != tt.broken {
			t.Errorf("%s: %d mails, %d others, %d broken; want %d, %d, %d", tt.name, l.Mails, l.Others, l.Broken, tt.mails, tt.others, tt.broken)
		}
	}
}

// An error of the disk is none of the log's.
func TestLogThatCannotBeRead(t *testing.T) {
	l := NewLogReader(io.MultiReader(strings.NewReader(aMail+"\nhalf a li"), failing{}))
	if _, err := l.Next(); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Next(); err == nil || err == io.EOF {
		t.Errorf("%v", err)
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("the disk is gone") }

// Whatever a log holds: each of its lines is counted once, and a mail that was
// read is one for every reader of JSON.
func FuzzLogReader(f *testing.F) {
	f.Add([]byte(aMail + "\nother\n" + aMail[:60] + "\n"))
	f.Add([]byte("Nov 28 10:00:00 mx smimea-milter[42]: " + aMail))
	f.Fuzz(func(t *testing.T, log []byte) {
		l := NewLogReader(bytes.NewReader(log))
		for {
			m, err := l.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if _, err := json.Marshal(m); err != nil {
				t.Error(err)
			}
		}
		lines := bytes.Count(log, []byte("\n"))
		if len(log) > 0 && log[len(log)-1] != '\n' {
			lines++
		}
		if got := l.Mails + l.Others + l.Broken; got != lines {
			t.Errorf("counted %d of %d lines", got, lines)
		}
	})
}
