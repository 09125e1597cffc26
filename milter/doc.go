// Package milter stands between a mail server and the gateway: Postfix or
// Sendmail on one side, package gateway on the other. It knows the milter
// protocol, and what real mail servers make of it; it decides nothing.
//
// A connection comes in through the guard (guard.go), which lets only whole and
// well-formed frames pass to the protocol library. A session (session.go) turns
// the commands of one connection into the calls of a [gateway.Mail], and its
// replies and verdict into answers. The server (server.go) listens, and when
// it is told to stop finishes the mails that are in flight (inflight.go). Others
// may ask it whether it is there (ping.go).
//
// # When something goes wrong
//
// The answer to everything unforeseen, a panic included, is that the
// connection ends. An MTA then does what it has been told to do without its
// milter: Postfix with milter_default_action = tempfail (its default) and
// Sendmail with F=T (not its default) defer the mail. With "accept" both
// would send it in plaintext, and no milter can prevent that.
//
// One answer is never given: "shutdown", to which Postfix replies "250 queued" and
// loses the mail. "Discard" is given at the end of a mail all of whose recipients
// have copies of their own, and "accept" before the end to such copies alone, when
// the MTA shows them to us.
//
// # In the shadow
//
// With Server.Shadow all this is done and nobody sees it but in the log: the MTA is
// told to go on, whatever the answer is (shadow.go). Nothing of a mail is changed,
// refused or deferred, and a panic of ours does not defer one either. It takes
// as long as it would, since the look-ups and the encryption are real.
//
// # The log
//
// There is one line for each mail, at its end, with the message "mail". Its level
// is INFO; WARN for a mail of pickup that was deferred, since Postfix leaves it
// in its maildrop, tries again each minute, and tells nobody. Its keys are relied
// upon by those who search the log:
//
//	queue_id    the MTA's; empty if there was none yet
//	client      the MTA's client: name[address]
//	pickup      true if it was submitted on the MTA's own machine (sendmail -t)
//	from        envelope sender; empty for <>
//	recipients  a list, one entry each:
//	  to          the address as the client gave it
//	  reply       "ok", or the SMTP reply
//	  sent        "encrypted", "plain", "already encrypted"; "handed over before", if
//	              the mail came again and this recipient had got his copy; no such
//	              key if not sent
//	  copy        number of the copy that was handed over for him and perhaps others;
//	              no such key for those who got the mail itself
//	  rule        the action of the rule that matched
//	  outcome     what the key store found, if it was asked
//	  origin      where the certificates came from
//	  dnssec      "secure", "insecure", "bogus", "indeterminate": what the answer
//	              of the DNS about the address is worth, if it was asked
//	  certs       fingerprints of those that were encrypted to
//	  cipher      what they were encrypted with
//	  archive     fingerprint of the certificate that the envelope is for, too
//	  warnings    what the postmaster should look at
//	  why         details that were not told to the sender
//	result      "encrypted" or "passed"; "refused" or "deferred", the mail or all
//	            of its recipients ("deferred" if one of them was); "abandoned":
//	            the client or the MTA gave up, or the connection broke
//	reply       the SMTP reply to the mail, if it was refused or deferred as a
//	            whole
//	size_in     bytes of body received
//	size_out    bytes of body put in its place; 0 unless encrypted
//	took_ms     milliseconds from MAIL to the end
//	mode        "shadow" if nothing of all that was so, and would have been; no
//	            such key otherwise
package milter
