package config

import (
	"os"
	"strings"
	"testing"
)

// The settings that the documents show are settings.
func TestDocumentedSettings(t *testing.T) {
	blocks := 0
	for _, file := range []string{"../../README.md", "../../docs/postmaster.md"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, rest := range strings.Split(string(text), "```toml\n")[1:] {
			block, _, closed := strings.Cut(rest, "```")
			if !closed {
				t.Fatalf("%s: a block has no end", file)
			}
			blocks++
			if !strings.Contains(block, "[[rule]]") {
				block += "\n" + oneRule
			}
			if _, err := Parse([]byte(block), file); err != nil {
				t.Errorf("%v\n%s", err, block)
			}
		}
	}
	if blocks < 5 {
		t.Errorf("%d blocks: there must be more", blocks)
	}
}
