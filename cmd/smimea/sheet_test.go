package main

import (
	"encoding/json"
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

// What is not one of our own rows and remarks goes through printable as well.
func TestStrangersWords(t *testing.T) {
	const theirs, shown = "a\x1b[31m\u009b\x7fb", `a\x1b[31m\u009b\x7fb`
	var s sheet
	s.title("%s", theirs)
	s.row("label", "%s", theirs)
	if got := s.text.String(); strings.Count(got, shown) != 2 || strings.Contains(got, theirs) {
		t.Errorf("the sheet is %q", got)
	}
	var b strings.Builder
	remark(&b, "%s", theirs)
	if got := b.String(); got != "smimea: "+shown+"\n" {
		t.Errorf("the remark is %q", got)
	}
}

// JSON says the same in letters that can be printed.
func TestPrintJSON(t *testing.T) {
	const theirs = "é <佐藤>\x1b\x7f\u009b\u00a0\u202e\u2028\U000e0041\U0001f600\"\\\n\xff"
	var b strings.Builder
	if err := printJSON(&b, map[string]string{"a": theirs}); err != nil {
		t.Fatal(err)
	}
	want := `{"a":"é <佐藤>\u001b\u007f\u009b\u00a0\u202e\u2028\udb40\udc41😀\"\\\n` + `\ufffd"}` + "\n"
	if b.String() != want {
		t.Errorf("printed %q, want %q", b.String(), want)
	}
	var back map[string]string
	if err := json.Unmarshal([]byte(b.String()), &back); err != nil || back["a"] != strings.ToValidUTF8(theirs, "\ufffd") {
		t.Errorf("read back %q, %v", back["a"], err)
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
		{"language tag", "a\U000e0041b", `a\U000e0041b`},
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
