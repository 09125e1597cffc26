package main

import (
	"os"
	"os/exec"
	"testing"
	"time"

	"smimea.example/tools/judges"
)

func TestParseStat(t *testing.T) {
	const times = " S 4242 77 77 0 -1 4194560 1500 9000 0 0 123 45 600 7 20 0 1 0 5000 1000000 300 18446744073709551615"
	for _, name := range []string{"smtpd", "a b", ") S 1 2 3 (", ""} { // a program may call itself anything
		got, err := parseStat("77 (" + name + ")" + times + "\n")
		if want := (stat{4242, 1680 * time.Millisecond, 6070 * time.Millisecond}); got != want || err != nil {
			t.Errorf("of %q: %+v, %v, want %+v", name, got, err, want)
		}
	}
	for _, bad := range []string{
		"",
		"77 smtpd S 4242 77 77 0 -1 4194560 1500 9000 0 0 123 45 600 7", // no parentheses
		"77 (smtpd) S 4242 77 77", // cut off
		"77 (smtpd) S 4242 77 77 0 -1 4194560 1500 9000 0 0 123 x 600 7 20 0", // a time that is none
		"77 (smtpd) S y 77 77 0 -1 4194560 1500 9000 0 0 123 45 600 7 20 0",   // a parent that is none
	} {
		if got, err := parseStat(bad); err == nil {
			t.Errorf("parseStat(%q) = %+v", bad, got)
		}
	}
}

func TestParsePeak(t *testing.T) {
	got, err := parsePeak("Name:\tsmimea-milter\nVmPeak:\t  900000 kB\nVmHWM:\t   20480 kB\nVmRSS:\t   10000 kB\n")
	if want := int64(20480 << 10); got != want || err != nil {
		t.Errorf("%d, %v, want %d", got, err, want)
	}
	for _, bad := range []string{
		"",
		"Name:\tkthreadd\nState:\tS\n", // a kernel thread has no memory
		"Name:\tx\nVmHWM:\t 20480 MB\n",
		"Name:\tx\nVmHWM:\t many kB\n",
		"Name:\tx\nVmHWM:",
	} {
		if got, err := parsePeak(bad); err == nil {
			t.Errorf("parsePeak(%q) = %d", bad, got)
		}
	}
}

func TestParseModel(t *testing.T) {
	if got := parseModel("processor\t: 0\nmodel\t\t: 1\nmodel name\t: Abacus  9000 \nmodel name\t: other\n"); got != "Abacus 9000" {
		t.Errorf("%q", got)
	}
	if got := parseModel("processor\t: 0\n"); got != "unknown processors" {
		t.Errorf("%q", got)
	}
}

// What children took counts while they live, and after their end.
func TestFamilyTime(t *testing.T) {
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		judges.Missing(t, "/proc of Linux")
	}
	// The shell is the family's head; its child is busy for a while, then sleeps.
	shell := exec.Command("sh", "-c", `sh -c 'i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; echo; read x'; echo; read x`)
	in, err := shell.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := shell.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := shell.Start(); err != nil {
		t.Fatal(err)
	}
	defer shell.Wait()
	defer in.Close()
	var times []time.Duration
	for _, when := range []string{"while the child lives", "after its end"} {
		if _, err := out.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		took, err := familyTime(shell.Process.Pid)
		if err != nil {
			t.Fatal(err)
		}
		if took < 2*tick {
			t.Errorf("%s: %v", when, took)
		}
		times = append(times, took)
		in.Write([]byte("\n"))
	}
	if own, err := readStat(os.Getpid()); err != nil || own.parent != os.Getppid() {
		t.Errorf("our parent is %d, not %d (%v)", own.parent, os.Getppid(), err)
	}
	if times[1] < times[0] {
		t.Errorf("it had taken %v, and %v later", times[0], times[1])
	}
}

func TestForgetPeak(t *testing.T) {
	if err := forgetPeak(os.Getpid()); err != nil {
		t.Skipf("needs /proc/PID/clear_refs of Linux: %v", err)
	}
	before, err := peakMemory(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	// Another process: this one would keep the memory.
	child := exec.Command("sh", "-c", `x=$(head -c 30000000 /dev/zero | tr '\0' x); unset x; echo; read y`)
	in, _ := child.StdinPipe()
	out, _ := child.StdoutPipe()
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer child.Wait()
	defer in.Close()
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	large, err := peakMemory(child.Process.Pid)
	if err != nil || large < 30_000_000 {
		t.Errorf("30 MB were %d octets (%v)", large, err)
	}
	if err := forgetPeak(child.Process.Pid); err != nil {
		t.Fatal(err)
	}
	if small, err := peakMemory(child.Process.Pid); err != nil || small >= large || before <= 0 {
		t.Errorf("it had %d octets, and after it was forgotten %d (%v)", large, small, err)
	}
}
