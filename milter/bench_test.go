package milter

import (
	"bufio"
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"smimea.example/internal/cms"
	"smimea.example/internal/gateway"
	"smimea.example/keystore"
	"smimea.example/tools/testnet"
)

// BenchmarkSmallMail takes mails of 4 kB over one connection through the server
// and the gateway, in the frames that Postfix sends. Each mail gets encrypted.
func BenchmarkSmallMail(b *testing.B) {
	conn := benchServer(b)
	conn.SetDeadline(time.Now().Add(10 * time.Minute)) // not for ever
	in := bufio.NewReader(conn)
	talk := func(until byte, frames ...string) {
		if _, err := io.WriteString(conn, strings.Join(frames, "")); err != nil {
			b.Fatal(err)
		}
		for {
			got, err := readReply(in)
			if err != nil {
				b.Fatal(err)
			}
			if got == until {
				return
			}
			if strings.ContainsRune("acyrt", rune(got)) {
				b.Fatalf("the milter says %q", got)
			}
		}
	}
	talk('O', hello)
	talk('c', frame('D', "Cj\x00mail.house.test\x00{daemon_name}\x00mail.house.test\x00v\x00Postfix 3.7.11\x00"),
		frame('C', "localhost\x004\x10\x92127.0.0.1\x00"))
	body := strings.Repeat("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ+-*/0123456789\r\n", 48)
	b.ReportAllocs()
	for b.Loop() {
		talk('c', frame('D', "M{mail_addr}\x00bob@house.test\x00{mail_host}\x00house.test\x00{mail_mailer}\x00local\x00"), frame('M', "<bob@house.test>\x00"))
		talk('c', frame('D', "Ri\x004F1\x00{rcpt_addr}\x00alice@good.test\x00{rcpt_host}\x00good.test\x00{rcpt_mailer}\x00smtp\x00"), frame('R', "<alice@good.test>\x00"))
		talk('c', frame('D', "Ti\x004F1\x00"), frame('T', ""))
		talk('c', frame('L', "From\x00 bob@house.test\x00"), frame('L', "To\x00 alice@good.test\x00"), frame('L', "Subject\x00 The figures\x00"),
			frame('L', "Date\x00 Sat, 28 Nov 2026 09:00:00 +0000\x00"), frame('L', "Message-ID\x00 <figures@house.test>\x00"),
			frame('L', "MIME-Version\x00 1.0\x00"), frame('L', "Content-Type\x00 text/plain; charset=us-ascii\x00"),
			frame('D', "Ni\x004F1\x00"), frame('N', ""))
		talk('a', frame('B', body), frame('D', "Ei\x004F1\x00"), frame('E', ""))
		if _, err := io.WriteString(conn, frame('A', "")); err != nil {
			b.Fatal(err)
		}
	}
}

// readReply reads a frame and returns what it is.
func readReply(r *bufio.Reader) (byte, error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, err
	}
	_, err := r.Discard(int(binary.BigEndian.Uint32(head[:])) - 1)
	return head[4], err
}

// everybody has the same certificate.
type everybody struct{ cms.Recipient }

func (e everybody) Find(context.Context, string) keystore.Keys {
	return keystore.Keys{Outcome: keystore.Found, Certs: []cms.Recipient{e.Recipient}}
}

// benchServer starts a server at a UNIX-domain socket, and connects.
func benchServer(b *testing.B) net.Conn {
	der, _, err := testnet.NewCertificate(testnet.Subject{Address: "alice@good.test"})
	if err != nil {
		b.Fatal(err)
	}
	alice, err := cms.NewRecipient(der)
	if err != nil {
		b.Fatal(err)
	}
	s := &Server{
		Gateway: &gateway.Gateway{
			Rules: []gateway.Rule{{Recipients: []string{"*"}, Action: gateway.Require}},
			Keys:  everybody{alice},
		},
		Log: slog.New(slog.NewJSONHandler(io.Discard, nil)),
	}
	path := filepath.Join(b.TempDir(), "socket")
	l, err := net.Listen("unix", path)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	stopped := make(chan error, 1)
	go func() { stopped <- s.Serve(ctx, l) }()
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		conn.Close()
		cancel()
		if err := <-stopped; err != nil {
			b.Error(err)
		}
	})
	return conn
}
