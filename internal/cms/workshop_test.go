package cms

import (
	"bytes"
	"context"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"smimea.example/tools/judges"
)

// A workshop is a directory in which real programs work.
type workshop struct {
	t     testing.TB
	dir   string
	input string // for the standard input of each program
}

// newWorkshop skips the test if one of the programs is missing, and fails it
// where all of them are said to be there.
func newWorkshop(t testing.TB, programs ...string) workshop {
	t.Helper()
	for _, program := range programs {
		judges.Find(t, program)
	}
	return workshop{t: t, dir: t.TempDir()}
}

func (w workshop) path(name string) string { return filepath.Join(w.dir, name) }

func (w workshop) write(name string, content []byte) string {
	w.t.Helper()
	if err := os.WriteFile(w.path(name), content, 0o600); err != nil {
		w.t.Fatal(err)
	}
	return w.path(name)
}

func (w workshop) read(name string) []byte {
	w.t.Helper()
	content, err := os.ReadFile(w.path(name))
	if err != nil {
		w.t.Fatal(err)
	}
	return content
}

func (w workshop) writePEM(name, label string, der []byte) string {
	w.t.Helper()
	return w.write(name, pem.EncodeToMemory(&pem.Block{Type: label, Bytes: der}))
}

// admit writes the certificate and the key of a person to files.
func (w workshop) admit(who string) (cert, key string) {
	w.t.Helper()
	p := the(w.t, who)
	return w.writePEM(who+".crt", "CERTIFICATE", p.cert().Raw), w.writePEM(who+".key", "PRIVATE KEY", marshalKey(w.t, p.key))
}

// run runs a program and returns what it printed.
func (w workshop) run(program string, args ...string) []byte {
	w.t.Helper()
	out, err := w.try(program, args...)
	if err != nil {
		w.t.Fatalf("%s %q: %v", program, args, err)
	}
	return out
}

// try runs a program in the workshop, for a minute at most.
func (w workshop) try(program string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var out, complaints bytes.Buffer
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = w.dir
	cmd.Env = append(os.Environ(), "GNUPGHOME="+w.dir, "HOME="+w.dir, "LC_ALL=C")
	cmd.Stdin = strings.NewReader(w.input)
	cmd.Stdout, cmd.Stderr = &out, &complaints
	if err := cmd.Run(); err != nil {
		return out.Bytes(), fmt.Errorf("%w\n%s", err, complaints.Bytes())
	}
	return out.Bytes(), nil
}
