package milter

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
)

// Ping asks the milter at an address whether it is at its work: it negotiates as
// an MTA does, and hangs up. Nothing is said of any mail.
func Ping(ctx context.Context, at net.Addr) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, at.Network(), at.String())
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if err := negotiate(conn); err != nil {
		return fmt.Errorf("milter: no answer at %s: %w", at, cause(ctx, err))
	}
	return nil
}

func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// negotiate offers what is required of an MTA, and says goodbye.
func negotiate(conn net.Conn) error {
	offer := command(cmdNegotiate, version, uint32(actions), uint32(required))
	if _, err := conn.Write(append(offer, command(cmdQuit)...)); err != nil {
		return err
	}
	answer := make([]byte, len(offer))
	if _, err := io.ReadFull(conn, answer); err != nil {
		return err
	}
	if answer[4] != cmdNegotiate {
		return fmt.Errorf("it says %q", answer[4])
	}
	return nil
}

func command(cmd byte, numbers ...uint32) []byte {
	f := binary.BigEndian.AppendUint32(nil, uint32(1+4*len(numbers)))
	f = append(f, cmd)
	for _, n := range numbers {
		f = binary.BigEndian.AppendUint32(f, n)
	}
	return f
}
