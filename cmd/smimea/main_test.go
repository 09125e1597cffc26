package main

import (
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"smimea.example/tools/judges"
)

// The scripts in testdata are the second manual of this command: each shows one
// subcommand at work. What they find in their directory is in fixture_test.go.

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"smimea": main})
}

func TestScripts(t *testing.T) {
	lan := newFixture(t)
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup:               lan.setup,
		Condition:           condition,
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "flip": flip},
	})
}

// exits runs a command that must end with an exit code:
//
//	exits 3 smimea lookup nobody@good.test
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Logf("[stdout]\n%s[stderr]\n%s", ts.ReadFile("stdout"), ts.ReadFile("stderr"))
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// flip turns one bit of a file, so many octets before its end:
//
//	flip 100 smime.p7m
func flip(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: flip OCTETS FILE")
	}
	back, err := strconv.Atoi(args[0])
	ts.Check(err)
	content := []byte(ts.ReadFile(args[1]))
	if back < 1 || back > len(content) {
		ts.Fatalf("%s has %d octets", args[1], len(content))
	}
	content[len(content)-back] ^= 1
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), content, 0o600))
}

// condition knows [judge:PROGRAM]: the program is here to judge our work. Where
// SMIMEA_TEST_ALL=1 is set, a missing one is an error instead of a skipped line.
func condition(cond string) (bool, error) {
	program, ok := strings.CutPrefix(cond, "judge:")
	if !ok {
		return false, errors.New("no such condition")
	}
	_, err := exec.LookPath(program)
	if err != nil && judges.All() {
		return false, errors.New("needs " + program)
	}
	return err == nil, nil
}
