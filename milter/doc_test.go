package milter

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// The keys of the log are an interface, so that the package comment and the manual
// list each of them.
func TestKeysAreDocumented(t *testing.T) {
	manual := read(t, "../cmd/smimea-milter/smimea-milter.8")
	_, manual, _ = strings.Cut(manual, "\n.Sh LOG\n")
	manual, _, _ = strings.Cut(manual, "\n.Sh ")
	comment := read(t, "doc.go")
	for _, key := range loggedKeys(t) {
		if !strings.Contains(comment, "\n//\t"+key+" ") && !strings.Contains(comment, "\n//\t  "+key+" ") {
			t.Errorf("the package comment does not list %q", key)
		}
		listed := false
		for line := range strings.Lines(manual) {
			words := strings.Fields(line)
			listed = listed || len(words) > 1 && (words[0] == ".Cm" || words[0] == ".It") && slices.Contains(words[1:], key)
		}
		if !listed {
			t.Errorf("the manual does not list %q", key)
		}
	}
}

// loggedKeys are those of a line that has everything, and of its recipients.
func loggedKeys(t *testing.T) (keys []string) {
	t.Helper()
	r := record{started: time.Now(), shadow: true, reply: &refusal}
	var out bytes.Buffer
	r.log(slog.New(slog.NewJSONHandler(&out, nil)))
	var line map[string]any
	if err := json.Unmarshal(out.Bytes(), &line); err != nil {
		t.Fatal(err)
	}
	for key := range line {
		if key != slog.TimeKey && key != slog.LevelKey && key != slog.MessageKey {
			keys = append(keys, key)
		}
	}
	recipient := reflect.TypeFor[LoggedRecipient]()
	for i := range recipient.NumField() {
		key, _, _ := strings.Cut(recipient.Field(i).Tag.Get("json"), ",")
		keys = append(keys, key)
	}
	return keys
}

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
