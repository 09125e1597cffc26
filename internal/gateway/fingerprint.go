package gateway

import (
	"crypto/hmac"
	"crypto/sha256"
	"hash"
	"io"
	"strings"
	"time"

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
	var arrived, own message.Header
	for _, f := range h {
		if !isTrace(f) {
			arrived = append(arrived, f)
		}
	}
	for i, f := range arrived {
		if !isMade(f, arrived[i+1:], queueID) {
			own = append(own, f)
		}
	}
	return own
}

// isMade says whether the MTA may have made a Message-ID or a Date, for this try
// alone. Postfix appends what is missing, in this order: Message-ID, Date, From;
// or those fields with Resent- in front. What scanners have put behind them since
// is not among the fields any more. Sendmail does not show what it adds.
func isMade(f message.Field, behind message.Header, queueID string) bool {
	switch {
	case isField(f, "Message-ID"):
		// Postfix makes <TIME.QUEUEID@HOST>.
		return queueID != "" && strings.Contains(f.Value, "."+queueID+"@")
	case isField(f, "Date"):
		return len(behind) == 0 || len(behind) == 1 && isField(behind[0], "From")
	}
	return false
}

func isField(f message.Field, name string) bool { return f.Is(name) || f.Is("Resent-"+name) }

// trace are the fields that are put in on the way: RFC 5322, Section 3.6.7, and
// what the RFCs 5451, 6376, 7208, 8617 and 9228 have added; and those in which
// OpenDKIM, OpenDMARC and OpenARC write their names and the queue id. Of the fields
// that begin with "X-" nobody knows; scanners write times and scores there.
var trace = []string{
	"received", "return-path", "authentication-results", "dkim-signature", "received-spf",
	"arc-seal", "arc-message-signature", "arc-authentication-results", "delivered-to",
	"dkim-filter", "dmarc-filter", "arc-filter",
}

func isTrace(f message.Field) bool {
	if isHandOver(f) {
		return false
	}
	for _, name := range trace {
		if f.Is(name) {
			return true
		}
	}
	return strings.HasPrefix(lower(f.Name), "x-")
}

// handOverTrace begins the trace field of a copy.
const handOverTrace = "by smimea-milter (copy)"

// handedOver is the trace field of a copy (RFC 5321, Section 4.4). A copy may come by
// here once more, on its way out, while the mail that it was made of is still being
// answered. By this field it is known not to be a second try of that mail, of which
// its recipient has got his copy, and would now lose it.
func handedOver(at time.Time) message.Field {
	return message.Field{Name: "Received", Value: " " + handOverTrace + "; " + at.Format(time.RFC1123Z)}
}

func isHandOver(f message.Field) bool {
	return f.Is("Received") && strings.HasPrefix(f.Text(), handOverTrace)
}
