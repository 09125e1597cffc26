package gateway

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/emersion/go-smtp"
)

// An envelope is what a client has said of a mail and goes with every copy: its
// sender, and the parameters of ESMTP that have a meaning on the way.
type envelope struct {
	from    string
	options smtp.MailOptions
}

// newEnvelope reads the parameters of MAIL: RET and ENVID (RFC 3461), SMTPUTF8
// (RFC 6531), REQUIRETLS (RFC 8689). SIZE is that of another copy, BODY is
// added where it can be, and AUTH has served its turn. A bounce of a copy quotes its header
// only: the body may be plaintext, and the bounce goes through the world in
// clear.
func newEnvelope(from Sender) (envelope, error) {
	e := envelope{from: from.Address, options: smtp.MailOptions{Return: smtp.DSNReturnHeaders}}
	for _, p := range parameters(from.Options) {
		switch p.name {
		case "ENVID":
			id, err := fromXtext(p.value)
			if err != nil {
				return e, fmt.Errorf("ENVID: %w", err)
			}
			e.options.EnvelopeID = id
		case "SMTPUTF8":
			e.options.UTF8 = true
		case "REQUIRETLS":
			e.options.RequireTLS = true
		}
	}
	return e, nil
}

// rcptOptions reads the parameters of RCPT: NOTIFY and ORCPT (RFC 3461, Sections
// 4.1 and 4.2).
func rcptOptions(options string) *smtp.RcptOptions {
	var o smtp.RcptOptions
	for _, p := range parameters(options) {
		switch p.name {
		case "NOTIFY":
			for word := range strings.SplitSeq(strings.ToUpper(p.value), ",") {
				if notify := smtp.DSNNotify(word); !slices.Contains(o.Notify, notify) {
					o.Notify = append(o.Notify, notify)
				}
			}
		case "ORCPT":
			o.OriginalRecipient, o.OriginalRecipientType = originalRecipient(p.value)
		}
	}
	return &o
}

// originalRecipient reads an ORCPT. It is for people who read a bounce, so that of
// one that the library cannot pass on, of type X400 say, the copy has none: MTAs
// take it, and would be asked for ever to take the mail.
func originalRecipient(value string) (address string, kind smtp.DSNAddressType) {
	word, text, _ := strings.Cut(value, ";")
	switch kind = smtp.DSNAddressType(strings.ToUpper(word)); kind {
	case smtp.DSNAddressTypeRFC822:
		if address, err := fromXtext(text); err == nil && isPrintable(address) {
			return address, kind
		}
	case smtp.DSNAddressTypeUTF8:
		return text, kind // as it is: the library writes anew what has to be (RFC 6533, Section 3)
	}
	return "", ""
}

// A parameter is one of MAIL or RCPT. Its name is in upper case.
type parameter struct{ name, value string }

func parameters(s string) []parameter {
	var all []parameter
	for word := range strings.FieldsSeq(s) {
		name, value, _ := strings.Cut(word, "=")
		all = append(all, parameter{strings.ToUpper(name), value})
	}
	return all
}

// fromXtext: RFC 3461, Section 4.
func fromXtext(s string) (string, error) {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(s, "+")
		b.WriteString(before)
		if !found {
			return b.String(), nil
		}
		if len(after) < 2 {
			return "", fmt.Errorf("%q ends within an octet", s)
		}
		octet, err := strconv.ParseUint(after[:2], 16, 8)
		if err != nil {
			return "", fmt.Errorf("%q is no octet", after[:2])
		}
		b.WriteByte(byte(octet))
		s = after[2:]
	}
}
