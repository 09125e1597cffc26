package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// Bounds of what is read of Postfix's tables.
const (
	maxEntries = 200_000 // of one table
	maxLine    = 1 << 20 // octets of one of its lines
	mapTime    = 20 * time.Second
)

// errTooMany says that a table was not read to its end.
var errTooMany = fmt.Errorf("it has more than %d entries", maxEntries)

// A mapEntry is what a table of Postfix makes of something. The key of a
// pattern is the pattern.
type mapEntry struct{ key, value string }

// readMap shows the entries of a table, given as main.cf does: "hash:/etc/aliases".
// list is the command that lists it, postmap or postalias. An error may come
// after some entries.
func readMap(list, table string, visit func(mapEntry)) error {
	// What proxymap(8) opens for others is the table behind its name.
	table = strings.TrimPrefix(table, "proxy:")
	kind, name, _ := strings.Cut(table, ":")
	switch kind {
	case "hash", "btree", "lmdb", "cdb", "dbm", "sdbm", "texthash", "inline":
		return listMap(list, table, visit)
	case "static":
		visit(mapEntry{"everything", unbrace(name)})
		return nil
	case "regexp", "pcre", "cidr":
		return readPatterns(name, visit)
	}
	if strings.HasPrefix(table, "/") { // of $default_database_type
		return listMap(list, table, visit)
	}
	return errors.New("a table of this type cannot be listed")
}

// listMap has Postfix list a table: what it has made of the file counts, and
// not what stands in the file today.
func listMap(list, table string, visit func(mapEntry)) error {
	ctx, cancel := context.WithTimeout(context.Background(), mapTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, list, "-s", table)
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	err = readList(out, visit)
	if err != nil {
		cancel() // nobody reads the rest
	}
	switch ended := cmd.Wait(); {
	case err != nil:
		return err
	case ctx.Err() != nil:
		return fmt.Errorf("it could not be listed within %v", mapTime)
	case ended != nil:
		return fmt.Errorf("%w: %s", ended, lastLine(complaints.String()))
	}
	return nil
}

// readList reads what postmap -s and postalias -s print: key, tab, value. The
// latter puts a colon behind the key, and shows what it has noted for itself.
func readList(r io.Reader, visit func(mapEntry)) error {
	lines := newLines(r)
	for n := 0; lines.Scan(); n++ {
		if n == maxEntries {
			return errTooMany
		}
		key, value, _ := strings.Cut(lines.Text(), "\t")
		switch key = strings.TrimSuffix(key, ":"); key {
		case "@", "YP_LAST_MODIFIED", "YP_MASTER_NAME":
		default:
			visit(mapEntry{key, value})
		}
	}
	return lines.Err()
}

func newLines(r io.Reader) *bufio.Scanner {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	return lines
}

// lastLine is where a program says what has ended it.
func lastLine(complaints string) string {
	complaints = strings.TrimSpace(complaints)
	return complaints[strings.LastIndexByte(complaints, '\n')+1:]
}

// readPatterns reads a table of patterns: a file, or in Postfix 3.7 and later
// "{ {/pattern/ value}, ... }".
func readPatterns(name string, visit func(mapEntry)) error {
	if strings.HasPrefix(name, "{") {
		for _, line := range listItems(unbrace(name)) {
			visitPattern(unbrace(line), visit)
		}
		return nil
	}
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	return readLogical(file, func(line string) { visitPattern(line, visit) })
}

// readLogical reads lines as all of Postfix's files have them: a line that
// begins with a blank goes on with the one before, and "#" begins a comment.
func readLogical(r io.Reader, visit func(string)) error {
	var line strings.Builder
	flush := func() {
		if line.Len() > 0 {
			visit(strings.TrimSpace(line.String()))
		}
		line.Reset()
	}
	lines := newLines(r)
	for n := 0; lines.Scan(); n++ {
		text := lines.Text()
		first := strings.TrimLeft(text, " \t\r")
		switch {
		case n == maxEntries:
			return errTooMany
		case first == "", strings.HasPrefix(first, "#"):
			continue
		case first == text: // no blank in front
			flush()
		case line.Len()+len(text) > maxLine:
			return bufio.ErrTooLong
		}
		line.WriteString(text)
	}
	flush()
	return lines.Err()
}

// visitPattern takes a line of regexp_table(5), pcre_table(5) or cidr_table(5)
// apart. "if" and "endif" have no value.
func visitPattern(line string, visit func(mapEntry)) {
	switch word := line[:strings.IndexAny(line+" ", " \t!")]; strings.ToLower(word) {
	case "if", "endif":
		return
	}
	end := patternEnd(line)
	blank := strings.IndexAny(line[end:], " \t") // behind the flags
	if blank < 0 {
		return
	}
	visit(mapEntry{line[:end], strings.TrimSpace(line[end+blank:])})
}

// patternEnd finds the end of /pattern/ or !/pattern/, whatever its delimiter;
// of a pattern without any, the first blank.
func patternEnd(line string) int {
	start := len(line) - len(strings.TrimLeft(line, "!"))
	if start == len(line) || isWord(line[start]) {
		return strings.IndexAny(line+" ", " \t")
	}
	for i := start + 1; i < len(line); i++ {
		switch line[i] {
		case '\\':
			i++
		case line[start]:
			return i + 1
		}
	}
	return len(line)
}

// isWord says whether a pattern that begins so has no delimiters: cidr's.
func isWord(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == ':' || c == '['
}

// listItems takes one of Postfix's lists apart, in which braces hold together
// what has blanks and commas in it.
func listItems(list string) []string {
	var items []string
	depth, start := 0, -1
	for i := 0; i <= len(list); i++ {
		separates := i == len(list) || depth == 0 && strings.IndexByte(separators, list[i]) >= 0
		switch {
		case separates && start >= 0:
			items, start = append(items, list[start:i]), -1
		case !separates && start < 0:
			start = i
		}
		if i < len(list) {
			depth = max(0, depth+nesting(list[i]))
		}
	}
	return items
}

func nesting(c byte) int {
	switch c {
	case '{':
		return 1
	case '}':
		return -1
	}
	return 0
}

// unbrace takes off the braces around a text.
func unbrace(s string) string {
	s = strings.TrimSpace(s)
	if strings.HasPrefix(s, "{") && strings.HasSuffix(s, "}") {
		return strings.TrimSpace(s[1 : len(s)-1])
	}
	return s
}
