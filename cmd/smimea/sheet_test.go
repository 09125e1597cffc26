package main

import (
	"strings"
	"testing"
)

func TestSheetFolds(t *testing.T) {
	var s sheet
	s.title("A title")
	s.row("label", "%s", strings.Repeat("word ", 30))
	s.row("japanese", "%s", strings.Repeat("情報処理 ", 10))
	s.row("hash", "%s", strings.Repeat("0", 64))
	s.row("empty", "%s", "")
	s.row("owner name", "%s", strings.Repeat("0", 56)+"._smimecert.example.org.")
	for line := range strings.Lines(s.text.String()) {
		if n := columns(strings.TrimRight(line, "\n")); n > width {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	if strings.Contains(s.text.String(), "empty") {
		t.Error("a row without a value is printed")
	}
	if got := strings.Count(s.text.String(), "word"); got != 30 {
		t.Errorf("%d words are left of 30", got)
	}
}

// Nothing that a stranger wrote may reach the terminal as a command to it, or
// look like a line of ours.
func TestPrintable(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"plain text", "CN=佐藤 花子, é", "CN=佐藤 花子, é"},
		{"escape sequence", "\x1b]0;title\a", `\x1b]0;title\x07`},
		{"line end", "a\r\nb", `a\x0d\x0ab`},
		{"C1 control", "\u009b31m", `\u009b31m`},
		{"right-to-left override", "a\u202eb", `a\u202eb`},
		{"broken UTF-8", "a\xffb", `a\ufffdb`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := printable(test.in); got != test.want {
				t.Errorf("printable(%q) = %q, want %q", test.in, got, test.want)
			}
		})
	}
}
