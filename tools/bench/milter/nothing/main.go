// Command nothing is a milter that has everything sent to it, and does nothing. It
// is what tools/bench/milter compares the gateway with.
//
//	nothing SOCKET ACTIONS PROTOCOL
//
// SOCKET is written as in the gateway's settings. ACTIONS and PROTOCOL are the two
// numbers of the negotiation, so that it asks for what the gateway asks for: with
// other ones Postfix would have other work.
package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	dj "github.com/d--j/go-milter"

	"smimea.example/milter"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "nothing: error: %v\n", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 3 {
		return fmt.Errorf("%d arguments, not socket, actions and protocol", len(args))
	}
	actions, err := strconv.ParseUint(args[1], 0, 32)
	if err != nil {
		return err
	}
	protocol, err := strconv.ParseUint(args[2], 0, 32)
	if err != nil {
		return err
	}
	l, err := milter.Listen(args[0])
	if err != nil {
		return err
	}
	return serve(l, dj.OptAction(actions), dj.OptProtocol(protocol))
}

func serve(l net.Listener, actions dj.OptAction, protocol dj.OptProtocol) error {
	server := dj.NewServer(
		dj.WithMilter(func() dj.Milter { return nothing{} }),
		dj.WithActions(actions),
		dj.WithProtocols(protocol),
		dj.WithNegotiationCallback(func(_, version uint32, _, _ dj.OptAction, _, _ dj.OptProtocol, _ dj.DataSize) (uint32, dj.OptAction, dj.OptProtocol, dj.DataSize, error) {
			return version, actions, protocol, dj.DataSize64K, nil
		}),
	)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	defer context.AfterFunc(ctx, func() { server.Close() })()
	return server.Serve(l)
}

// nothing says "continue" to all, also at the end, as the gateway does: to skip
// the rest would spare the MTA its work.
type nothing struct{ dj.NoOpMilter }

func (nothing) RcptTo(string, string, dj.Modifier) (*dj.Response, error) {
	return dj.RespContinue, nil
}

func (nothing) Header(string, string, dj.Modifier) (*dj.Response, error) {
	return dj.RespContinue, nil
}

func (nothing) BodyChunk([]byte, dj.Modifier) (*dj.Response, error) { return dj.RespContinue, nil }

func (nothing) EndOfMessage(dj.Modifier) (*dj.Response, error) { return dj.RespContinue, nil }
