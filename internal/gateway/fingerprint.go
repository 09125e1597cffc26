package gateway

import (
	"crypto/hmac"
	"crypto/sha256"
	"hash"
	"io"
	"strings"

	"smimea.example/internal/message"
)

// A fingerprint tells a mail that comes again from others, whichever way it
// comes. It is an HMAC with the journal's secret over what the sender has made:
// envelope sender, ENVID (RFC 3461, Section 4.4), header and body. What mail
// servers and scanners put in is left out, since it differs from try to try.
type fingerprint struct{ hash.Hash }

// A mailKey is a finished fingerprint.
type mailKey [sha256.Size]byte

// newFingerprint begins one. The queue id is the MTA's for this try.
func newFingerprint(secret []byte, from Sender, envelopeID, queueID string, h message.Header) fingerprint {
	p := fingerprint{hmac.New(sha256.New, secret)}
	for _, s := range []string{from.Address, envelopeID} {
		io.WriteString(p, s)
		p.Write([]byte{0})
	}
	sendersOwn(h, queueID).WriteTo(p)
	io.WriteString(p, "\r\n")
	return p
}

func (p fingerprint) sum() (key mailKey) {
	p.Sum(key[:0])
	return key
}

// sendersOwn returns the fields that the mail has had from its sender.
func sendersOwn(h message.Header, queueID string) message.Header {
	var own message.Header
	made := false // by the MTA: the Message-ID, and with it the Date behind
	for i, f := range h {
		switch {
		case isTrace(f):
		case f.Is("Message-ID") && hasQueueID(f, queueID):
			made = true
		case f.Is("Date") && (made || onlyMade(h[i+1:], queueID)):
		default:
			own = append(own, f)
		}
	}
	return own
}

// onlyMade says whether an MTA may have put in all of these, as Postfix does
// behind the sender's own fields, in this order: Message-ID, Date, From, To.
func onlyMade(fields message.Header, queueID string) bool {
	for _, f := range fields {
		if !f.Is("From") && !f.Is("To") && !(f.Is("Message-ID") && hasQueueID(f, queueID)) {
			return false
		}
	}
	return true
}

// hasQueueID: Postfix makes <TIME.QUEUEID@HOST>, and so does Sendmail.
func hasQueueID(f message.Field, queueID string) bool {
	return queueID != "" && strings.Contains(f.Value, "."+queueID+"@")
}

// trace are the fields that are put in on the way: RFC 5322, Section 3.6.7, and
// what the RFCs 5451, 6376, 7208, 8617 and 9228 have added. Of the fields that
// begin with "X-" nobody knows; scanners write times and scores there.
var trace = []string{
	"received", "return-path", "authentication-results", "dkim-signature", "received-spf",
	"arc-seal", "arc-message-signature", "arc-authentication-results", "delivered-to",
}

func isTrace(f message.Field) bool {
	for _, name := range trace {
		if f.Is(name) {
			return true
		}
	}
	return strings.HasPrefix(lower(f.Name), "x-")
}
