package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// What Linux tells of processes: proc(5).

// tick is the unit of processor times. Programs see hundredths of a second on
// every architecture that Go runs on, whatever the kernel counts in.
const tick = time.Second / 100

// A stat is what is wanted of /proc/PID/stat.
type stat struct {
	parent   int
	own      time.Duration // processor time of its threads
	children time.Duration // of its children that have ended, and theirs
}

// parseStat reads the one line there. The name of the program may hold anything.
func parseStat(line string) (s stat, err error) {
	name := strings.LastIndexByte(line, ')')
	fields := strings.Fields(line[name+1:])
	if name < 0 || len(fields) < 15 {
		return stat{}, fmt.Errorf("not a line of /proc/PID/stat: %.100q", line)
	}
	var ticks [4]int64 // utime, stime, cutime, cstime
	for i := range ticks {
		if ticks[i], err = strconv.ParseInt(fields[11+i], 10, 64); err != nil {
			return stat{}, fmt.Errorf("a processor time in /proc/PID/stat: %w", err)
		}
	}
	if s.parent, err = strconv.Atoi(fields[1]); err != nil {
		return stat{}, fmt.Errorf("the parent in /proc/PID/stat: %w", err)
	}
	s.own = time.Duration(ticks[0]+ticks[1]) * tick
	s.children = time.Duration(ticks[2]+ticks[3]) * tick
	return s, nil
}

// parsePeak reads the most memory that a process had, in octets, from its
// /proc/PID/status.
func parsePeak(status string) (int64, error) {
	_, rest, _ := strings.Cut(status, "\nVmHWM:")
	fields := strings.Fields(rest)
	if len(fields) < 2 || fields[1] != "kB" {
		return 0, errors.New("no VmHWM in /proc/PID/status")
	}
	kilobytes, err := strconv.ParseInt(fields[0], 10, 64)
	return kilobytes << 10, err
}

// parseModel reads the name of the first processor from /proc/cpuinfo. Not every
// architecture has one there.
func parseModel(cpuinfo string) string {
	for line := range strings.Lines(cpuinfo) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.Join(strings.Fields(value), " ")
		}
	}
	return "unknown processors"
}

func readStat(pid int) (stat, error) {
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return stat{}, err
	}
	return parseStat(string(line))
}

// peakMemory is the most memory that a process had since forgetPeak.
func peakMemory(pid int) (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	return parsePeak(string(status))
}

func forgetPeak(pid int) error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0)
}

// familyTime is the processor time of a process and all its children, those that
// have ended too.
func familyTime(pid int) (time.Duration, error) {
	s, err := readStat(pid)
	if err != nil {
		return 0, err
	}
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0, err
	}
	sum := s.own + s.children
	for _, file := range files {
		line, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // it has just ended
		}
		if err != nil {
			return 0, err
		}
		child, err := parseStat(string(line))
		if err != nil {
			return 0, err
		}
		if child.parent == pid {
			sum += child.own + child.children
		}
	}
	return sum, nil
}
