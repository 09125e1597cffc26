package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf16"

	"github.com/spf13/cobra"
)

// Exit codes, as the manual page lists them.
const (
	exitFailed  = 1 // the command could not do its work
	exitUsage   = 2 // it was called in a wrong way
	exitNothing = 3 // insecure, or proven that there is nothing usable
	exitUnknown = 4 // could not find out: bogus or indeterminate
)

// A problem ends the command. The zero problem is a failure without a word.
type problem struct {
	code  int      // exit code; 0 means exitFailed
	err   error    // nil if what was printed already says it all
	hints []string // things to try
}

func (p *problem) Error() string {
	if p.err == nil {
		return ""
	}
	return p.err.Error()
}

func (p *problem) Unwrap() error { return p.err }

// failure is a problem with the exit code 1. %w works.
func failure(format string, args ...any) *problem {
	return &problem{code: exitFailed, err: fmt.Errorf(format, args...)}
}

// wrongUsage is a problem with the exit code 2. %w works.
func wrongUsage(format string, args ...any) *problem {
	return &problem{code: exitUsage, err: fmt.Errorf(format, args...)}
}

// hint adds a thing to try.
func (p *problem) hint(format string, args ...any) *problem {
	p.hints = append(p.hints, fmt.Sprintf(format, args...))
	return p
}

// outcome is the problem of a command that has already printed its answer.
func outcome(code int) error {
	if code == 0 {
		return nil
	}
	return &problem{code: code}
}

// complain prints what err has to say and returns the exit code.
func complain(w io.Writer, ran *cobra.Command, err error) int {
	if err == nil {
		return 0
	}
	p := asProblem(ran, err)
	if p.err != nil {
		first, more, _ := strings.Cut(plain(p.err), "\n")
		remark(w, "error: %s", first)
		for line := range strings.Lines(more) { // as errors in settings have them
			remark(w, "  %s", strings.TrimRight(line, "\n"))
		}
	}
	for _, h := range p.hints {
		remark(w, "hint: %s", h)
	}
	if p.code == 0 {
		return exitFailed
	}
	return p.code
}

// asProblem takes every error that is not ours for one that cobra found in the
// command line: all our own go through [does].
func asProblem(ran *cobra.Command, err error) *problem {
	if p, ok := errors.AsType[*problem](err); ok {
		return p
	}
	// Cobra puts its suggestions on lines of their own.
	text, more, _ := strings.Cut(err.Error(), "\n")
	p := &problem{code: exitUsage, err: errors.New(text)}
	if suggestion := strings.Fields(more); len(suggestion) > 3 {
		p.hint("%s", strings.Join(suggestion, " "))
	}
	return p.hint("try \"%s --help\"", ran.CommandPath())
}

// does makes cobra's RunE of a function: whatever it returns is a problem of
// ours, and never taken for wrong usage.
func does(run func(cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		err := run(cmd, args)
		if _, ok := errors.AsType[*problem](err); ok || err == nil {
			return err
		}
		return failure("%w", err)
	}
}

// plain is an error without the names of our packages, which tell a postmaster
// nothing.
func plain(err error) string {
	text := ": " + err.Error()
	for _, name := range []string{"cms", "dnssec", "keystore", "message", "smimea"} {
		text = strings.ReplaceAll(text, ": "+name+": ", ": ")
	}
	return strings.TrimPrefix(text, ": ")
}

// remark prints one line that is not a result.
func remark(w io.Writer, format string, args ...any) {
	text := printable(fmt.Sprintf(format, args...))
	fmt.Fprintf(w, "smimea: %s\n", text)
}

// printable shows s on one line and without anything that a terminal would
// obey: names in certificates, and errors that quote the DNS, were written by
// strangers.
func printable(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case unicode.IsPrint(r) && r != unicode.ReplacementChar:
			b.WriteRune(r)
		case r < 0x80:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r <= 0xffff:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
	}
	return b.String()
}

// printJSON prints one object on one line. What is not [printable] is escaped:
// encoding/json leaves in what a terminal may obey, DEL and C1 for example.
func printJSON(w io.Writer, object any) error {
	var b strings.Builder
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(object); err != nil {
		return err
	}
	_, err := io.WriteString(w, escaped(strings.TrimSuffix(b.String(), "\n"))+"\n")
	return err
}

// escaped writes JSON in other words. What cannot be printed occurs in its
// strings only.
func escaped(object string) string {
	var b strings.Builder
	for _, r := range object {
		switch {
		case unicode.IsPrint(r):
			b.WriteRune(r)
		case r <= 0xffff:
			fmt.Fprintf(&b, `\u%04x`, r)
		default: // RFC 8259, Section 7
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		}
	}
	return b.String()
}

// text is what an error says, and nothing for no error.
func text(err error) string {
	if err == nil {
		return ""
	}
	return plain(err)
}
