package main

import (
	"fmt"
	"io"
	"strings"

	eastasian "golang.org/x/text/width"
)

// width is the terminal that everybody has.
const width = 80

// labelWidth is where the second column of a sheet begins.
const labelWidth = 14

// A sheet is what we print for people: labels on the left, values on the
// right, folded at 80 columns. What stands in it was written by strangers, and
// goes through [printable].
type sheet struct{ text strings.Builder }

// title begins a block.
func (s *sheet) title(format string, args ...any) {
	if s.text.Len() > 0 {
		s.text.WriteByte('\n')
	}
	s.fold(0, "", fmt.Sprintf(format, args...))
}

// row is a label and a value. An empty value is left out.
func (s *sheet) row(label, format string, args ...any) {
	if value := fmt.Sprintf(format, args...); value != "" {
		s.fold(labelWidth, "  "+label, value)
	}
}

// fold writes a value from the given column on, on as many lines as it needs. A
// word that does not fit there, as many owner names, has a line to itself, so
// that it can be copied with the mouse.
func (s *sheet) fold(column int, label, value string) {
	line, space := fmt.Sprintf("%-*s", column, label), ""
	for word := range strings.FieldsSeq(printable(value)) {
		used := strings.TrimSpace(line) != ""
		if used && columns(line+space+word) > width {
			s.text.WriteString(strings.TrimRight(line, " ") + "\n")
			line, space = indent(max(column, 2), word), ""
		}
		line, space = line+space+word, " "
	}
	s.text.WriteString(line + "\n")
}

// indent is what stands before a word on a new line: nothing if the word needs
// all of it, as owner names do.
func indent(column int, word string) string {
	if column+columns(word) > width {
		column = 0
	}
	return strings.Repeat(" ", column)
}

// columns is the room that s takes on a terminal: two for each letter of the
// East Asian scripts.
func columns(text string) int {
	n := 0
	for _, r := range text {
		n++
		if k := eastasian.LookupRune(r).Kind(); k == eastasian.EastAsianWide || k == eastasian.EastAsianFullwidth {
			n++
		}
	}
	return n
}

// print writes the sheet.
func (s *sheet) print(w io.Writer) error {
	_, err := io.WriteString(w, s.text.String())
	return err
}
