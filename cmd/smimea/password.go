package main

import (
	"bytes"
	"fmt"
	"os"
	"os/signal"

	"golang.org/x/term"
)

// A passwordSource is where the password of a key comes from: the first line of
// a file, or else the terminal. Standard input is for the message, and the
// command line can be read by everybody.
type passwordSource struct {
	file string // empty: ask
}

// get returns the password of the file with that name.
func (s passwordSource) get(name string) ([]byte, error) {
	if s.file == "" {
		return askPassword(name)
	}
	content, err := readFile(s.file)
	if err != nil {
		return nil, failure("%w", err) // not about the key
	}
	line, _, _ := bytes.Cut(content, []byte("\n"))
	return bytes.TrimSuffix(line, []byte("\r")), nil
}

// askPassword asks at the terminal that the command was called from, which is
// neither its input nor its output.
func askPassword(name string) ([]byte, error) {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return nil, failure("%s is protected by a password, and there is no terminal to ask for it", name).
			hint("write the password into a file that only you can read, and give that with --password-file")
	}
	defer tty.Close()
	defer restoreOnInterrupt(tty)()
	fmt.Fprintf(tty, "Password of %s: ", printable(name))
	password, err := term.ReadPassword(int(tty.Fd()))
	fmt.Fprintln(tty)
	if err != nil {
		return nil, fmt.Errorf("reading the password: %w", err)
	}
	return password, nil
}

// restoreOnInterrupt lets the terminal show again what is typed if the command
// is interrupted. It ends with the call of what it returns.
func restoreOnInterrupt(tty *os.File) (stop func()) {
	fd := int(tty.Fd())
	state, err := term.GetState(fd)
	if err != nil {
		return func() {}
	}
	interrupts, ended := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(interrupts, os.Interrupt)
	go func() {
		defer close(ended)
		if _, interrupted := <-interrupts; interrupted {
			term.Restore(fd, state)
			fmt.Fprintln(tty)
			os.Exit(exitFailed)
		}
	}()
	return func() {
		signal.Stop(interrupts)
		close(interrupts)
		<-ended
	}
}
