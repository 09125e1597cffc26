// Package judges finds the real programs that judge our work in tests: Postfix,
// Unbound, OpenSSL and others. It is for tests only.
package judges

import (
	"os"
	"os/exec"
	"testing"
)

// Find returns the path of a program. Without it the test is skipped; where all
// tests are to run it fails, see [Missing].
func Find(t testing.TB, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		Missing(t, program)
	}
	return path
}

// Missing gives a test up for want of something. With SMIMEA_TEST_ALL set, as
// tools/test --install does, that is a failure.
func Missing(t testing.TB, what string) {
	t.Helper()
	if All() {
		t.Fatalf("needs %s", what)
	}
	t.Skipf("needs %s", what)
}

// All reports whether every test is to run.
func All() bool { return os.Getenv("SMIMEA_TEST_ALL") != "" }
