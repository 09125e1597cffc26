package gateway

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The postmaster's guide says of each reply what it means.
func TestGuideExplainsTheReplies(t *testing.T) {
	source, err := os.ReadFile("reply.go")
	if err != nil {
		t.Fatal(err)
	}
	guide, err := os.ReadFile("../../docs/postmaster.md")
	if err != nil {
		t.Fatal(err)
	}
	explained := inFirstColumn(string(guide))
	replies := regexp.MustCompile(`([45]\d\d), "([45]\.\d+\.\d+)"`).FindAllStringSubmatch(string(source), -1)
	if len(replies) < 20 {
		t.Fatalf("only %d replies were found", len(replies))
	}
	for _, r := range replies {
		if reply := r[1] + " " + r[2]; !slices.Contains(explained, reply) {
			t.Errorf("the guide does not explain %s", reply)
		}
	}
}

// inFirstColumn returns the replies that begin the rows of the guide's table.
func inFirstColumn(guide string) (replies []string) {
	reply := regexp.MustCompile(`[45]\d\d [45]\.\d+\.\d+`)
	for line := range strings.Lines(guide) {
		if row, ok := strings.CutPrefix(line, "| "); ok {
			cell, _, _ := strings.Cut(row, " | ")
			replies = append(replies, reply.FindAllString(cell, -1)...)
		}
	}
	return replies
}
