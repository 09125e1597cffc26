package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/spf13/cobra"

	"smimea.example/internal/gateway"
	"smimea.example/keystore"
	"smimea.example/milter"
	"smimea.example/smimea"
	"smimea.example/smimea/dnssec"
	"smimea.example/tools/testnet"
)

func newDemo() *cobra.Command {
	var keepServing bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Watch a mail being encrypted, and others being refused",
		Long: `Starts a small signed Internet, the real gateway and a mail server in this
process, and sends a mail to four kinds of recipients: one who has published a
certificate, one who has not, one whose domain is not signed, and one whose
domain has been tampered with. It needs no network, no root and nothing
installed, and leaves nothing behind.`,
		Example: `  smimea demo
  smimea demo --serve`,
		Args: cobra.NoArgs,
		RunE: does(func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			d, err := startDemo(cmd.OutOrStdout())
			if err != nil {
				return err
			}
			defer d.close()
			if err := d.show(ctx); err != nil || !keepServing {
				return err
			}
			return d.serve(ctx)
		}),
	}
	cmd.Flags().BoolVar(&keepServing, "serve", false, "keep everything up afterwards, and print where to send mail to")
	return cmd
}

// The people of the demo. Bob, in the house, writes to the others.
const (
	bob   = "bob@house.test"
	alice = "alice@good.test"    // has published her certificate
	carol = "carol@good.test"    // has not
	dave  = "dave@unsigned.test" // has, in a zone that is not signed
	erin  = "erin@broken.test"   // has, and somebody has changed the answer
)

// A demo is a whole world: DNS, gateway, mail server.
type demo struct {
	out      io.Writer
	net      *testnet.Net
	resolver *dnssec.Validator
	gateway  *gateway.Gateway
	mail     *testnet.MailServer
	alice    *reader
	seen     int // how many mails have left and been shown
	stop     func()
}

func startDemo(out io.Writer) (*demo, error) {
	d := &demo{out: out, stop: func() {}}
	for _, start := range []func() error{d.startDNS, d.startGateway} {
		if err := start(); err != nil {
			d.close()
			return nil, fmt.Errorf("starting the demo: %w", err)
		}
	}
	return d, nil
}

// startDNS publishes the certificates, and starts a resolver that knows
// nothing but the demo's own root.
func (d *demo) startDNS() error {
	var err error
	if d.alice, err = newPerson(alice); err != nil {
		return err
	}
	record := map[string][]string{}
	for _, address := range []string{alice, dave, erin} {
		line, err := publishedAs(address, d.alice.certs[0])
		if err != nil {
			return err
		}
		record[address] = []string{line}
	}
	d.net, err = testnet.Start(
		testnet.Zone{Name: "house.test."},
		testnet.Zone{Name: "good.test.", Records: record[alice]},
		testnet.Zone{Name: "unsigned.test.", Records: record[dave], Unsigned: true},
		testnet.Zone{Name: "broken.test.", Records: record[erin], Fault: testnet.BadSignature},
	)
	if err != nil {
		return err
	}
	anchors, err := dnssec.ParseAnchors(strings.NewReader(d.net.TrustAnchor()))
	if err != nil {
		return err
	}
	d.resolver, err = dnssec.New(dnssec.Options{Servers: []string{d.net.Resolver()}, Anchors: anchors})
	return err
}

// newPerson makes somebody who can read encrypted mail.
func newPerson(address string) (*reader, error) {
	der, key, err := testnet.NewCertificate(testnet.Subject{Address: address})
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return &reader{key, []*x509.Certificate{cert}}, err
}

// publishedAs is the line of a zone that publishes a certificate (3 0 0).
func publishedAs(address string, cert *x509.Certificate) (string, error) {
	owner, err := smimea.OwnerName(address)
	if err != nil {
		return "", err
	}
	return smimea.Record{Usage: 3, Data: cert.Raw}.ZoneLine(owner, 3600), nil
}

// startGateway starts the gateway as smimea-milter has it, and a mail server
// that asks it.
func (d *demo) startGateway() error {
	d.gateway = &gateway.Gateway{
		Rules: []gateway.Rule{
			{Recipients: []string{"house.test"}, Action: gateway.Never},
			{Recipients: []string{"*"}, Action: gateway.Require},
		},
		Keys: &keystore.Published{Client: smimea.Client{Resolver: d.resolver}},
	}
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan struct{})
	server := milter.Server{Gateway: d.gateway, Log: slog.New(slog.DiscardHandler), Drain: time.Second}
	go func() {
		defer close(served)
		server.Serve(ctx, socket)
	}()
	d.stop = func() { cancel(); <-served }
	d.mail, err = testnet.StartMail("tcp", socket.Addr().String())
	return err
}

func (d *demo) close() {
	if d.mail != nil {
		d.mail.Close()
	}
	d.stop()
	if d.resolver != nil {
		d.resolver.Close()
	}
	if d.net != nil {
		d.net.Close()
	}
}

// show sends the four mails, and tells what happens to them.
func (d *demo) show(ctx context.Context) error {
	d.say(`A small Internet is running in this process: a DNS root, its zones, signed
by keys made a moment ago, and a resolver. Beside it runs the real gateway, and
a mail server that asks it about every mail, as Postfix would. The rule is
"require": encrypted, or not at all. Bob, in the house, writes four mails.`)
	d.title("1. To %s, who has published a certificate", alice)
	if err := d.encrypted(ctx); err != nil {
		return err
	}
	for i, who := range []struct{ address, story string }{
		{carol, "who has published nothing"},
		{dave, "whose zone is not signed: anybody could have put that certificate there"},
		{erin, "whose record was changed on the way: its signature does not fit"},
	} {
		d.title("%d. To %s, %s", i+2, who.address, who.story)
		if err := d.refused(ctx, who.address); err != nil {
			return err
		}
	}
	d.title("What was that?")
	d.say(`A domain publishes the certificates of its people in the DNS (SMIMEA, RFC 8162),
DNSSEC proves them, and the gateway encrypts to them: no password, no second
mail, nothing for the sender to do. What cannot be proven does not leave.
Note what travels in clear all the same: the Subject and the other header lines.`)
	return nil
}

// encrypted shows the way of the mail that leaves.
func (d *demo) encrypted(ctx context.Context) error {
	d.proof(ctx, alice)
	mail := letter(alice)
	d.step("The mail, as Bob sends it")
	d.quote(mail)
	if err := d.send(alice, mail); err != nil {
		return fmt.Errorf("the mail server did not take the mail: %w", err)
	}
	sent := d.left()
	if len(sent) != 1 {
		return fmt.Errorf("%d mails left the house, and not one", len(sent))
	}
	d.step("The mail, as it leaves the house")
	d.quote(string(sent[0].Data))
	return d.read(sent[0].Data)
}

// read shows a mail after decryption.
func (d *demo) read(sealed []byte) error {
	var opened bytes.Buffer
	if err := d.alice.decryptMail(&opened, sealed); err != nil {
		return err
	}
	d.step("The mail, as Alice reads it with her key")
	d.quote(opened.String())
	return nil
}

// refused shows the way of a mail that does not leave.
func (d *demo) refused(ctx context.Context, to string) error {
	d.proof(ctx, to)
	err := d.send(to, letter(to))
	var reply *smtp.SMTPError
	if !errors.As(err, &reply) {
		return fmt.Errorf("the mail to %s was not refused: %v", to, err)
	}
	d.step("What Bob's mail program is told")
	code := reply.EnhancedCode
	d.paragraph("   ", fmt.Sprintf("%d %d.%d.%d %s", reply.Code, code[0], code[1], code[2], reply.Message))
	if n := len(d.left()); n > 0 {
		return fmt.Errorf("%d mails left the house, and none should", n)
	}
	d.say("   Nothing has left the house.")
	return nil
}

// proof shows the question to the DNS and what the validator makes of the
// answer.
func (d *demo) proof(ctx context.Context, address string) {
	e := d.gateway.Explain(ctx, bob, address)
	d.step("The question to the DNS, over TCP")
	d.say("   " + strings.TrimSuffix(e.Owner, "."))
	d.paragraph("   ", fmt.Sprintf("SMIMEA?   (the first label is SHA-256 of %q, cut to 28 octets)", address[:strings.Index(address, "@")]))
	answer := d.resolver.Lookup(ctx, e.Owner, dnssec.TypeSMIMEA)
	d.step("Its proof, checked here, from the root's key down")
	for _, link := range answer.Chain {
		d.paragraph("   ", fmt.Sprintf("%-15s %-9s %s", link.Name, link.Status, link.Note))
	}
	d.paragraph("   ", fmt.Sprintf("%-15s %-9s %s", "the answer", answer.Status, d.finding(answer, e)))
}

// finding says in words what was found.
func (d *demo) finding(answer dnssec.Answer, e gateway.Explanation) string {
	if len(e.Certs) > 0 {
		cert := e.Certs[0].Certificate()
		return fmt.Sprintf("3 0 0 %x…: the certificate of %s, valid until %s",
			cert.Raw[:4], strings.Join(smimea.Names(cert), ", "), cert.NotAfter.Format("2006-01-02"))
	}
	switch {
	case answer.Status == dnssec.Secure:
		return "it is proven that there is no such record"
	case answer.Why != nil:
		return plain(answer.Why)
	}
	return answer.Outcome.String()
}

// letter is what Bob has to say.
func letter(to string) string {
	return strings.ReplaceAll(`From: Bob <`+bob+`>
To: `+to+`
Subject: The quarterly figures
MIME-Version: 1.0
Content-Type: text/plain; charset=utf-8

Here are the figures, in clear, with no password in a second mail.
Yours, Bob
`, "\n", "\r\n")
}

// send hands a mail to the mail server by SMTP.
func (d *demo) send(to, mail string) error {
	c, err := smtp.Dial(d.mail.Addr())
	if err != nil {
		return err
	}
	defer c.Close()
	return c.SendMail(bob, []string{to}, strings.NewReader(mail))
}

// left returns the mails that have left since it was last asked.
func (d *demo) left() []testnet.Delivery {
	all := d.mail.Delivered()
	fresh := all[d.seen:]
	d.seen = len(all)
	return fresh
}

// serve keeps everything up until ctx ends, and shows what leaves.
func (d *demo) serve(ctx context.Context) error {
	host, port, err := net.SplitHostPort(d.mail.Addr())
	if err != nil {
		return err
	}
	d.title("Now you: all of it stays up until you press Ctrl-C")
	d.say("   SMTP server   " + host + "\n   port          " + port + "   (no TLS, no password)" +
		"\n   from          " + bob + "\n   to            " + strings.Join([]string{alice, carol, dave, erin}, "\n                 "))
	d.step("Its DNS can be asked, too")
	d.say("   echo '" + d.net.TrustAnchor() + "' >demo.ds\n   smimea lookup --server " +
		d.net.Resolver() + " --trust-anchor demo.ds " + alice)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(200 * time.Millisecond):
		}
		for _, sent := range d.left() {
			d.title("A mail has left, to %s", strings.Join(sent.To, ", "))
			d.quote(string(sent.Data))
			if err := d.read(sent.Data); err != nil {
				d.say("   Alice cannot read it: " + plain(err))
			}
		}
	}
}

// say prints lines as they are.
func (d *demo) say(lines string) { fmt.Fprintln(d.out, lines) }

func (d *demo) title(format string, args ...any) {
	d.say("")
	d.paragraph("", fmt.Sprintf(format, args...))
	d.say(strings.Repeat("=", width))
}

func (d *demo) step(what string) { d.say("\n" + what + ":") }

// paragraph prints text behind an indent, in lines that fit a terminal.
func (d *demo) paragraph(indent, text string) {
	line := indent
	for i, word := range strings.Split(printable(text), " ") {
		if i > 0 && columns(line)+1+columns(word) > width {
			d.say(line)
			line = indent + "   "
		} else if i > 0 {
			line += " "
		}
		line += word
	}
	d.say(line)
}

// maxQuoted is how many lines of a mail are shown.
const maxQuoted = 18

// quote shows a mail, the middle of a long one left out.
func (d *demo) quote(mail string) {
	lines := strings.Split(strings.TrimSuffix(mail, "\r\n"), "\r\n")
	for i, line := range lines {
		if hidden := len(lines) - maxQuoted; hidden > 1 && i >= maxQuoted-2 && i < len(lines)-2 {
			if i == maxQuoted-2 {
				d.say(fmt.Sprintf("   | … %d lines more …", hidden))
			}
			continue
		}
		d.say("   | " + printable(line))
	}
}
