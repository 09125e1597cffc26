package testnet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/emersion/go-milter"
	"github.com/emersion/go-smtp"
)

// maxMessage bounds a mail, in octets.
const maxMessage = 64 << 20

// A MailServer takes mail by SMTP, asks a milter about it as Postfix would, and
// keeps what it was allowed to deliver. Its side of the milter protocol is by
// another author than the side that is tried out on it.
type MailServer struct {
	smtp             *smtp.Server
	listener         net.Listener
	network, address string // of the milter; no address: there is none
	finished         chan error

	mu        sync.Mutex // guards what follows
	delivered []Delivery
	arrived   chan struct{} // closed at the next delivery
	mails     int           // begun, for their queue ids
	refused   []string      // recipients
	conns     []net.Conn    // all there ever were, of both protocols
	closed    bool
}

// A Delivery is a mail that was accepted, as the milter left it.
type Delivery struct {
	From       string
	To         []string
	EnvelopeID string         // ENVID, RFC 3461
	Return     smtp.DSNReturn // RET
	Data       []byte         // header and body, lines ending in CRLF
}

// StartMail starts a mail server that asks the milter at an address ("unix",
// path or "tcp", host:port) about each mail. Without an address it is a sink.
func StartMail(milterNetwork, milterAddress string) (*MailServer, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &MailServer{
		listener: l, network: milterNetwork, address: milterAddress,
		finished: make(chan error, 1), arrived: make(chan struct{}),
	}
	s.smtp = smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) {
		return &mailSession{server: s, client: c}, nil
	}))
	s.smtp.Domain = "mail.test"
	s.smtp.MaxMessageBytes = maxMessage
	s.smtp.EnableSMTPUTF8, s.smtp.EnableDSN = true, true // and 8BITMIME always
	s.smtp.ReadTimeout, s.smtp.WriteTimeout = 5*time.Minute, time.Minute
	s.smtp.ErrorLog = log.New(io.Discard, "", 0)
	go func() { s.finished <- s.smtp.Serve(trackedListener{l, s}) }()
	return s, nil
}

// Addr returns the server's address, host:port.
func (s *MailServer) Addr() string { return s.listener.Addr().String() }

// Delivered returns the mails delivered so far, the first one first.
func (s *MailServer) Delivered() []Delivery {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.delivered)
}

// Wait waits until n mails have been delivered in all, but not longer than the
// timeout, and returns what was delivered.
func (s *MailServer) Wait(n int, timeout time.Duration) []Delivery {
	late := time.After(timeout)
	for {
		s.mu.Lock()
		arrived, delivered := s.arrived, slices.Clone(s.delivered)
		s.mu.Unlock()
		if len(delivered) >= n {
			return delivered
		}
		select {
		case <-arrived:
		case <-late:
			return delivered
		}
	}
}

// Close cuts all connections, stops the server and waits for it.
func (s *MailServer) Close() error {
	s.mu.Lock()
	s.closed = true
	for _, c := range s.conns {
		c.Close()
	}
	s.mu.Unlock()
	if err := s.smtp.Shutdown(context.Background()); err != nil {
		return err
	}
	return <-s.finished
}

// Refuse has the server refuse a recipient.
func (s *MailServer) Refuse(address string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refused = append(s.refused, address)
}

func (s *MailServer) refuses(address string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Contains(s.refused, address)
}

func (s *MailServer) deliver(d Delivery) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.delivered = append(s.delivered, d)
	close(s.arrived)
	s.arrived = make(chan struct{})
}

func (s *MailServer) queueID() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mails++
	return fmt.Sprintf("TEST%04X", s.mails)
}

// track has Close close a connection too.
func (s *MailServer) track(c net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns = append(s.conns, c)
	if s.closed {
		c.Close()
	}
}

type trackedListener struct {
	net.Listener
	server *MailServer
}

func (l trackedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.server.track(c)
	}
	return c, err
}

type trackedDialer struct{ server *MailServer }

func (d trackedDialer) Dial(network, address string) (net.Conn, error) {
	c, err := net.DialTimeout(network, address, 10*time.Second)
	if err == nil {
		d.server.track(c)
	}
	return c, err
}

// A mailSession is one SMTP connection and the milter connection beside it,
// which outlives a mail, as Postfix's does.
type mailSession struct {
	server *MailServer
	client *smtp.Conn
	milter *milter.ClientSession // nil: not yet, or no more

	id      string // the mail's; "" between mails
	from    string
	options smtp.MailOptions
	to      []string

	settled   bool // the milter wants to see no more of this mail,
	discarded bool // and nobody is to see it
}

// Mail asks about the sender.
func (s *mailSession) Mail(from string, opts *smtp.MailOptions) error {
	s.Reset()
	if err := s.connect(); err != nil {
		return err
	}
	s.id, s.from, s.options = s.server.queueID(), from, *opts
	return s.ask(func() (*milter.Action, error) { return s.milter.Mail(from, mailArguments(opts)) })
}

// connect opens the milter connection, if need be, and introduces the client.
func (s *mailSession) connect() error {
	if s.server.address == "" || s.milter != nil {
		return nil
	}
	var err error
	if s.milter, err = s.server.dialMilter(); err != nil {
		return errTempfail
	}
	if err := s.ask(s.introduce); err != nil {
		s.hangUp()
		return err
	}
	return nil
}

func (s *mailSession) introduce() (*milter.Action, error) {
	peer := s.client.Conn().RemoteAddr().(*net.TCPAddr)
	a, err := s.milter.Conn("localhost", milter.FamilyInet, uint16(peer.Port), peer.IP.String())
	if err != nil || a.Code != milter.ActContinue {
		return a, err
	}
	return s.milter.Helo(s.client.Hostname())
}

// dialMilter offers what is done here and no more: what a milter asks for
// beyond that is an error. Postfix offers a little more.
func (s *MailServer) dialMilter() (*milter.ClientSession, error) {
	const (
		actions = milter.OptAddHeader | milter.OptChangeHeader | milter.OptChangeBody | milter.OptRemoveRcpt
		// All that protocol version 6 has, but for three: the client knows no
		// answer "skip", shows no refused recipients, and sends no DATA.
		steps = 0x1fffff &^ (milter.OptSkip | milter.OptRcptRej | milter.OptNoDataReply)
	)
	c, err := milter.NewClientWithOptions(s.network, s.address, milter.ClientOptions{
		Dialer: trackedDialer{s}, ReadTimeout: 30 * time.Second, WriteTimeout: 30 * time.Second,
		ActionMask: actions, ProtocolMask: steps,
	}).Session()
	if err != nil {
		return nil, err
	}
	if c.ActionOpts&^actions != 0 || c.ProtocolOpts&^steps != 0 {
		c.Close()
		return nil, errors.New("testnet: the milter asks for what was not offered")
	}
	return c, nil
}

func mailArguments(opts *smtp.MailOptions) []string {
	var args []string
	if opts.Size > 0 {
		args = append(args, fmt.Sprintf("SIZE=%d", opts.Size))
	}
	if opts.Body != "" {
		args = append(args, "BODY="+string(opts.Body))
	}
	if opts.UTF8 {
		args = append(args, "SMTPUTF8")
	}
	return args
}

// Rcpt asks about a recipient.
func (s *mailSession) Rcpt(to string, _ *smtp.RcptOptions) error {
	if s.server.refuses(to) {
		return errReject
	}
	err := s.ask(func() (*milter.Action, error) {
		if err := s.milter.Macros(milter.CodeRcpt, "i", s.id); err != nil {
			return nil, err
		}
		return s.milter.Rcpt(to, nil)
	})
	if err == nil {
		s.to = append(s.to, to)
	}
	return err
}

// Data asks about header and body, changes them as told and delivers.
func (s *mailSession) Data(r io.Reader) error {
	data, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	m := parseMail(data)
	err = s.ask(func() (*milter.Action, error) { return s.show(m) })
	if err == nil && !s.discarded {
		s.server.deliver(Delivery{s.from, s.to, s.options.EnvelopeID, s.options.Return, m.bytes()})
	}
	return err
}

// show gives the milter a mail and makes the changes it asks for. It stops at
// the first answer that is not "continue".
func (s *mailSession) show(m *mail) (*milter.Action, error) {
	spaced := s.milter.ProtocolOption(milter.OptHeaderLeadingSpace)
	for _, f := range m.fields {
		if a, err := s.milter.HeaderField(f.name, f.toMilter(spaced)); err != nil || a.Code != milter.ActContinue {
			return a, err
		}
	}
	if a, err := s.milter.HeaderEnd(); err != nil || a.Code != milter.ActContinue {
		return a, err
	}
	for chunk := range slices.Chunk(m.body, milter.MaxBodyChunk) {
		if a, err := s.milter.BodyChunk(chunk); err != nil || a.Code != milter.ActContinue {
			return a, err
		}
	}
	if err := s.milter.Macros(milter.CodeEOB, "i", s.id); err != nil {
		return nil, err
	}
	changes, a, err := s.milter.End()
	if err != nil {
		return nil, err
	}
	changes = slices.DeleteFunc(changes, s.removeRecipient)
	return a, m.change(changes, spaced)
}

// removeRecipient does what a change asks for, if that is this.
func (s *mailSession) removeRecipient(c milter.ModifyAction) bool {
	if c.Code != milter.ActDelRcpt {
		return false
	}
	s.to = slices.DeleteFunc(s.to, func(to string) bool { return strings.EqualFold("<"+to+">", c.Rcpt) })
	return true
}

// Reset ends a mail.
func (s *mailSession) Reset() {
	if s.milter != nil && s.id != "" && s.milter.Abort() != nil {
		s.hangUp()
	}
	s.id, s.from, s.to = "", "", nil
	s.settled, s.discarded = false, false
}

// Logout ends the connection.
func (s *mailSession) Logout() error {
	s.hangUp()
	return nil
}

func (s *mailSession) hangUp() {
	if s.milter != nil {
		s.milter.Close()
	}
	s.milter = nil
}

// What Postfix says when the milter cannot be reached, breaks, or wants it so
// (milter_default_action = tempfail), and when it refuses without a text.
var (
	errTempfail = &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 7, 1},
		Message: "Service unavailable - try again later"}
	errReject = &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 7, 1},
		Message: "Command rejected"}
)

// ask puts a question to the milter, if there is one that wants to hear it, and
// returns what the client is told; nil to go on.
func (s *mailSession) ask(question func() (*milter.Action, error)) error {
	switch {
	case s.server.address == "" || s.settled:
		return nil
	case s.milter == nil: // it broke in the midst of the mail
		return errTempfail
	}
	a, err := question()
	if err != nil {
		s.hangUp()
		return errTempfail
	}
	switch a.Code {
	case milter.ActContinue:
		return nil
	case milter.ActAccept, milter.ActDiscard:
		s.settled, s.discarded = true, a.Code == milter.ActDiscard
		return nil
	case milter.ActReject:
		return errReject
	case milter.ActReplyCode:
		return reply(a)
	}
	return errTempfail
}

// reply is the milter's own. A milter writes "550-5.7.1 one\r\n550 5.7.1 two" in
// full, each % twice; its client here takes off the first code and no more.
func reply(a *milter.Action) error {
	lines := strings.Split(strings.ReplaceAll(a.SMTPText, "%%", "%"), "\n")
	for i, line := range lines {
		line = strings.TrimSuffix(line, "\r")
		if i > 0 && len(line) >= 4 {
			line = line[4:]
		}
		lines[i] = line
	}
	return &smtp.SMTPError{Code: a.SMTPCode, EnhancedCode: smtp.NoEnhancedCode, Message: strings.Join(lines, "\n")}
}
