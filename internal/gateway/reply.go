package gateway

import (
	"fmt"
	"strings"
)

// What the sending side reads. Each text is one line of printable ASCII, and
// names the recipient, the cause, and what to do next; nothing in it comes
// from the DNS or out of a certificate. Codes are those of RFC 5321, RFC 3463
// and RFC 5248; RFC 7505 has those for domains that take no mail.

var accepted = Reply{Action: Accept, Code: 250, Status: "2.1.5", Text: "ok"}

func refuse(code int, status, format string, args ...any) Reply {
	return Reply{Refuse, code, status, oneLine(fmt.Sprintf(format, args...))}
}

func deferred(code int, status, format string, args ...any) Reply {
	return Reply{Defer, code, status, oneLine(fmt.Sprintf(format, args...))}
}

// At RCPT.

func badAddress(address string) Reply {
	return refuse(550, "5.1.3", "%s: not a complete mail address; correct it and send again", shown(address))
}

func routedAddress(address string) Reply {
	return refuse(550, "5.1.3", "%s: addresses that name a route (with %%, ! or a second @) are not taken; use the recipient's own address", shown(address))
}

func noCertificate(address string) Reply {
	return refuse(550, "5.7.5", "%s: not sent, since mail to this address must be encrypted and its domain publishes no certificate for it "+
		"that DNSSEC proves; ask the recipient to have one published, or your postmaster for another way", shown(address))
}

func unusable(address string) Reply {
	return refuse(550, "5.7.5", "%s: not sent, since mail to this address must be encrypted and none of its certificates can be used "+
		"(expired, not for encryption, or not for this address); ask the recipient to renew it; your postmaster's log has the details", shown(address))
}

func tooWeak(address string) Reply {
	return refuse(550, "5.7.6", "%s: not sent, since mail to this address must be encrypted and its certificates use algorithms that are too weak "+
		"or not supported; ask the recipient for one with RSA of 2048 bits or more, or P-256", shown(address))
}

func noDomain(address string) Reply {
	return refuse(550, "5.1.2", "%s: the domain of this address does not exist; check its spelling", shown(address))
}

func takesNoMail(address string) Reply {
	return refuse(556, "5.1.10", "%s: the domain of this address takes no mail (null MX); check its spelling, or ask the recipient for another address", shown(address))
}

func bogus(address string) Reply {
	return deferred(451, "4.7.5", "%s: what the DNS says of this recipient's certificate does not stand up to DNSSEC and may be forged; "+
		"try again later; if this lasts, the recipient's domain has to repair its DNS", shown(address))
}

func notFoundOut(address string) Reply {
	return deferred(451, "4.4.3", "%s: could not find out whether this recipient has a certificate; try again later; "+
		"if this lasts, tell your postmaster", shown(address))
}

func noRule(address string) Reply {
	return deferred(451, "4.3.5", "%s: no rule of the encryption gateway is for this recipient; "+
		"tell your postmaster to add a rule, and try again", shown(address))
}

// TooSlow is for whoever cannot wait for [Mail.Recipient] any longer.
func TooSlow(address string) Reply {
	return deferred(451, "4.4.3", "%s: the look-up of this recipient's keys took too long; try again later", shown(address))
}

// At RCPT, because of the other recipients.

func anotherFate(address string) Reply {
	return deferred(452, "4.5.3", "send separately to %s: one mail cannot go out encrypted to some recipients and in clear to others"+splitting, shown(address))
}

func anotherForm(address string) Reply {
	return deferred(452, "4.5.3", "send separately to %s: this recipient's key or mail program asks for another kind of envelope than those of the recipients before"+splitting, shown(address))
}

// splitting tells whom it concerns.
const splitting = ` (the postmaster can have such mail split: setting "resubmit")`

func tooMany(address string) Reply {
	return deferred(452, "4.5.3", "send separately to %s: the mail has as many recipients as it can take", shown(address))
}

// forGood turns what does not get better by waiting, "send separately" and "no
// rule", into a refusal, for mail whose sender hears of it only when the mail
// comes back. Deferred, it would wait for ever.
func forGood(r Reply) Reply {
	switch {
	case r.Code == 452:
		return Reply{Refuse, 550, "5.5.3", r.Text}
	case r.Status == "4.3.5":
		return Reply{Refuse, 550, "5.3.5", r.Text}
	}
	return r
}

// At the end of the header, or of the mail.

func sendSeparately(hidden []string) Reply {
	return refuse(550, "5.7.3", "send separately to %s: in neither To nor Cc (a Bcc?), and an encrypted mail would name such a recipient to the others; "+
		"nothing was sent to anybody"+splitting, list(hidden))
}

func unreadable(recipients []string) Reply {
	return refuse(550, "5.7.3", "the To or Cc field cannot be read, so that nobody knows who may be named to whom; "+
		"correct it, or send separately to %s; nothing was sent to anybody"+splitting, list(recipients))
}

func tooManyCopies(needed, most int) Reply {
	return refuse(550, "5.5.3", "this mail would need %d copies, since not all of its recipients can share one, and there may be %d; "+
		"send it to fewer at a time, or in Bcc to fewer; nothing was sent to anybody", needed, most)
}

func notMarked(recipients []string, mark Mark) Reply {
	return refuse(550, "5.7.5", "not sent, since there is no certificate for %s; to have the mail go to them in clear, which anybody can read, "+
		"send it again with %s; nothing was sent to anybody", list(recipients), mark)
}

// worst makes one reply for a whole mail of those for its recipients. A
// refusal comes first, since no waiting will take it away.
func worst(fates []Fate) Reply {
	reply := accepted
	var others []string
	for _, f := range fates {
		switch {
		case f.Reply.Action == Accept:
		case reply.Action == Accept:
			reply = f.Reply
		case reply.Action == Defer && f.Reply.Action == Refuse:
			reply = f.Reply
		}
	}
	for _, f := range fates {
		if f.Reply.Action != Accept && f.Reply != reply {
			others = append(others, f.Address)
		}
	}
	if len(others) > 0 {
		reply.Text = oneLine(reply.Text + "; nothing was sent to anybody, and not only for this recipient: " + list(others))
	} else if reply.Action != Accept && len(fates) > 1 {
		reply.Text = oneLine(reply.Text + "; nothing was sent to the other recipients either")
	}
	return reply
}

var (
	outOfOrder = deferred(451, "4.3.0", "the encryption gateway did not understand its mail server; try again later")
	noRoom     = deferred(451, "4.3.1", "the encryption gateway has no room for this mail now; try again later")
	notSealed  = deferred(451, "4.3.0", "the encryption gateway could not encrypt this mail; try again later; if this lasts, tell your postmaster")
	tooLate    = deferred(451, "4.3.0", "the encryption gateway was not ready in time; try again later")
	notSplit   = deferred(451, "4.3.0", "the encryption gateway could not hand over the copies of this mail; try again later; if this lasts, tell your postmaster")
	onItsWay   = deferred(451, "4.3.0", "this mail is on its way already, by an earlier try whose end is not known yet; try again later")
	noMemory   = deferred(451, "4.3.2", "the encryption gateway is busy with other mails; try again later")
	tooLong    = refuse(552, "5.3.4", "the mail is too long for the encryption that its recipients ask for; send less at a time, or ask your postmaster for more memory")
	tooMuch    = refuse(550, "5.5.3", "the copies that this mail needs for its recipients are too long together; send it to fewer at a time, or less at a time")
	strayBlank = refuse(550, "5.6.0", "a header field of this mail has a blank before its colon; correct it")
	longHeader = refuse(552, "5.3.4", "the header of this mail is too long; remove fields")
)

// How long things get in a reply, in octets.
const (
	maxLine    = 400
	maxShown   = 100
	maxListed  = 3 // addresses
	ellipsis   = "..."
	printables = maxShown - len(ellipsis)
)

// shown renders an address in angle brackets. What is not printable ASCII, or
// could end the brackets, is written as \x and two digits for each octet.
func shown(address string) string {
	var b strings.Builder
	for i := range len(address) {
		if b.Len() > printables-len(`\x00`) {
			b.WriteString(ellipsis)
			break
		}
		if c := address[i]; c < ' ' || c > '~' || strings.IndexByte(`<>\`, c) >= 0 {
			fmt.Fprintf(&b, `\x%02x`, c)
		} else {
			b.WriteByte(c)
		}
	}
	return "<" + b.String() + ">"
}

// list renders a few addresses, and counts the others.
func list(addresses []string) string {
	var names []string
	for i, address := range addresses {
		if i == maxListed-1 && len(addresses) > maxListed {
			names = append(names, fmt.Sprintf("and %d more", len(addresses)-i))
			break
		}
		names = append(names, shown(address))
	}
	return strings.Join(names, ", ")
}

// oneLine keeps a text within one line of SMTP (RFC 5321, Section 4.5.3.1.5).
func oneLine(text string) string {
	if len(text) <= maxLine {
		return text
	}
	return text[:maxLine-len(ellipsis)] + ellipsis
}
