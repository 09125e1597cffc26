package milter

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	dj "github.com/d--j/go-milter"

	"smimea.example/internal/gateway"
)

// What the program counts on. An MTA that does not offer it is refused, and
// defers its mail.
const (
	version = 6
	actions = dj.OptAddHeader | dj.OptChangeHeader | dj.OptChangeBody | dj.OptRemoveRcpt

	// Without the space behind the colon a header field cannot be moved into
	// the envelope as it was.
	required = dj.OptHeaderLeadingSpace

	// What spares a round trip, where it is offered. The two flags about the
	// DATA command are left alone: over TCP they cost 40 ms a mail, as two
	// small packets in one direction run into Nagle's algorithm.
	wanted = dj.OptNoHelo | dj.OptNoUnknown | dj.OptNoHeaderReply | dj.OptNoBodyReply
)

// A Server serves MTAs. Its fields are set once, before Serve; a zero field
// has the default named beside it.
type Server struct {
	Gateway *gateway.Gateway
	Log     *slog.Logger // default: slog.Default()

	// Enter returns the gateway for a mail that begins now, and what is called
	// once when that mail has ended: for those whose gateway changes while they
	// serve. Default: always Gateway.
	Enter func() (g *gateway.Gateway, leave func())

	// Done is told of each mail that has ended, by many goroutines. Default:
	// nobody is.
	Done func(Summary)

	// Shadow has the MTA see nothing of what is done: shadow.go. Every gateway
	// must be in shadow mode then, and none may be otherwise: whoever does not
	// hand over copies must take nobody off a mail.
	Shadow bool

	// Load is kept up to date. Default: one that nobody sees.
	Load *Load

	Connections int           // at a time; 200
	Mails       int           // in flight; one that is too many is deferred; as many as Connections
	Recipient   time.Duration // the answer to a RCPT is due; 8 s
	End         time.Duration // for everything that is done at the end of a message; 240 s
	Idle        time.Duration // silence between two mails; 15 minutes, as an SMTP client may take 5
	Frame       time.Duration // one command, from its first byte to its last; 30 s
	Drain       time.Duration // for mails in flight, after Serve has been told to stop; 60 s

	begin    func(gateway.Sender) mail // a test's way in
	progress time.Duration             // between two signs of life at the end of a message
}

func init() {
	// The library complains here about a connection that it closes.
	dj.LogWarning = func(format string, v ...any) {
		slog.Warn("milter: connection closed", "why", fmt.Sprintf(format, v...))
	}
}

// Serve serves MTAs at the listeners, which it closes, until ctx ends or a
// listener fails. Then it takes no more mail, waits for those in flight, and
// returns: nil if ctx has ended and every mail was finished.
func (s *Server) Serve(ctx context.Context, listeners ...net.Listener) error {
	s = s.withDefaults()
	g := newGuard(s.Connections, s.Idle, s.Frame, s.Log)
	g.load = s.Load
	server := dj.NewServer(
		dj.WithMilter(s.newMilter),
		dj.WithActions(actions),
		dj.WithProtocols(required|wanted),
		dj.WithNegotiationCallback(s.negotiate),
	)
	failed := make(chan error, len(listeners))
	for _, l := range listeners {
		defer l.Close()
		go func() { failed <- server.Serve(g.listen(l)) }()
	}
	var err error
	running := len(listeners)
	select {
	case <-ctx.Done():
	case err = <-failed:
		running--
	}
	err = errors.Join(err, s.stop(server, g))
	for range running {
		<-failed
	}
	return err
}

// stop drains, and in the end closes what did not finish in time.
func (s *Server) stop(server *dj.Server, g *guard) error {
	g.drain()
	ctx, cancel := context.WithTimeout(context.Background(), s.Drain)
	defer cancel()
	err := server.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("mails unfinished after %s were broken off; their clients were told to try again", s.Drain)
	}
	return err
}

func (s *Server) withDefaults() *Server {
	t := *s
	if t.Log == nil {
		t.Log = slog.Default()
	}
	if t.Connections <= 0 {
		t.Connections = 200
	}
	if t.Mails <= 0 {
		t.Mails = t.Connections
	}
	if t.Load == nil {
		t.Load = new(Load)
	}
	if t.begin == nil {
		t.begin = t.hold
	}
	orDefault(&t.Recipient, 8*time.Second)
	orDefault(&t.End, 240*time.Second)
	orDefault(&t.Idle, 15*time.Minute)
	orDefault(&t.Frame, 30*time.Second)
	orDefault(&t.Drain, 60*time.Second)
	orDefault(&t.progress, 10*time.Second)
	return &t
}

func orDefault(d *time.Duration, value time.Duration) {
	if *d <= 0 {
		*d = value
	}
}

// negotiate refuses an MTA that cannot do what is needed. The pieces are of
// 64 KB whatever is offered: the library miscounts larger ones.
func (s *Server) negotiate(mta, _ uint32, mtaActions, _ dj.OptAction, mtaProtocol, _ dj.OptProtocol, _ dj.DataSize) (uint32, dj.OptAction, dj.OptProtocol, dj.DataSize, error) {
	err := errors.Join(
		lacking("milter protocol version 6", mta >= version),
		lacking("changing headers, body and recipients", mtaActions&actions == actions),
		lacking("header values with their leading space", mtaProtocol&required == required),
	)
	if err != nil {
		s.Log.Warn("milter: connection closed", "why", err.Error())
	}
	return version, actions, required | wanted&mtaProtocol, dj.DataSize64K, err
}

func lacking(what string, offered bool) error {
	if offered {
		return nil
	}
	return errors.New("the MTA does not offer " + what)
}
