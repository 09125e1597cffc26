package main_test

import (
	"fmt"
	"net"
	"net/textproto"
	"strings"
	"time"
)

// A rawSMTP sends octets as they are, where well-behaved clients mend them.
type rawSMTP struct {
	*textproto.Conn
	chunking bool // BDAT is offered
}

func dialRaw(address string) (*rawSMTP, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	conn.SetDeadline(time.Now().Add(2 * time.Minute))
	c := &rawSMTP{Conn: textproto.NewConn(conn)}
	if _, _, err := c.ReadResponse(220); err != nil {
		return nil, err
	}
	reply, err := c.command("EHLO client.house.test")
	c.chunking = strings.Contains(reply, "CHUNKING")
	return c, err
}

func (c *rawSMTP) hangUp() {
	if c != nil {
		c.Close()
	}
}

// command sends a line and returns the reply.
func (c *rawSMTP) command(line string) (string, error) {
	if err := c.PrintfLine("%s", line); err != nil {
		return "", err
	}
	return c.reply()
}

func (c *rawSMTP) reply() (string, error) {
	code, text, err := c.ReadResponse(0)
	return fmt.Sprint(code, " ", text), err
}

// refuses says whether a reply is the last word on a mail.
func refuses(reply string) bool { return reply[0] == '4' || reply[0] == '5' }

// send sends one mail, and returns the reply to the whole of it, or what refused
// it before. Where there is no BDAT, DATA has to do.
func (c *rawSMTP) send(s *sentMail) (reply string, err error) {
	s.bdat = s.bdat && c.chunking
	params := " BODY=8BITMIME"
	if s.utf8 {
		params += " SMTPUTF8"
	}
	commands := []string{"MAIL FROM:<" + s.from + ">" + params, "RCPT TO:<" + s.to + ">"}
	octets := fmt.Sprintf("BDAT %d LAST\r\n%s", len(s.raw), s.raw)
	if !s.bdat {
		commands = append(commands, "DATA")
		octets = dotted(s.raw)
	}
	for _, line := range commands {
		if reply, err = c.command(line); err != nil || refuses(reply) {
			return reply, err
		}
	}
	// Sendmail may hang up in the middle, with a word of farewell.
	c.W.WriteString(octets)
	c.W.Flush()
	reply, err = c.reply()
	if strings.HasPrefix(reply, "250 ") {
		reply = "250"
	}
	return reply, err
}

// dotted puts a mail between DATA and the dot (RFC 5321, Section 4.5.2). For
// Postfix a bare LF ends a line, too.
func dotted(raw string) string {
	raw = strings.ReplaceAll("\n"+raw, "\n.", "\n..")[1:]
	if raw != "" && !strings.HasSuffix(raw, "\n") {
		raw += "\r\n"
	}
	return raw + ".\r\n"
}
