// Package smimea finds the S/MIME certificates that a domain publishes for
// its mailboxes in the DNS (RFC 8162).
//
// # How it works
//
// Whoever wants to write to hugh@example.com needs Hugh's certificate, and
// his domain is the one to say which it is. It does so with SMIMEA records at
// a name made from the address: the first 28 octets of the SHA-256 of the
// local part in hex, the label "_smimecert", and the domain:
//
//	c93f1e400f26708f98cb19d936620da35eec8f72e57f9eec01c1afd6._smimecert.example.com.
//
// There is one name for an address, and one question. Nothing in the local
// part is folded, dropped or guessed: only the receiving host may interpret
// it (RFC 8162, Section 4; [OwnerName]).
//
// A record is a TLSA record under another name (RFC 8162, Section 2; RFC 6698,
// Section 2.1; [Record]): three numbers and data. They are mostly written as
// "3 0 0", and mean
//
//	usage      0  some CA in a chain that must also lead to a root you trust (PKIX-TA)
//	           1  the certificate, which must also chain to a root you trust (PKIX-EE)
//	           2  a CA to trust for this mailbox (DANE-TA)
//	           3  the certificate, and that is all (DANE-EE)
//	selector   0  the data is about the whole certificate
//	           1  … about its SubjectPublicKeyInfo
//	matching   0  the data is the thing itself
//	           1  … its SHA-256
//	           2  … its SHA-512
//
// One can encrypt to a certificate that one has. So "3 0 0" is the record
// that does the work, "1 0 0" does after a full path validation, and every
// other combination only certifies, or restricts, a certificate that has to
// come from somewhere else ([Certify]).
//
// None of this holds without DNSSEC: only answers proven to be genuine count
// (RFC 8162, Section 6). That "there is nothing", "I could not find out" and
// "this is forged" stay apart is the point of [Outcome]; the proof itself is
// the work of package dnssec. [Client] puts the pieces together.
//
// # What is left to the caller
//
// A certificate that a record vouches for is authentic. Whether it may be used
// today is another question, which this package does not ask for usage 3: it
// may have expired, which forbids its use (RFC 8162, Section 9), or not be made
// for encryption. Whether one is revoked is asked of [Trust], and only for the
// certificates of a path.
//
// Of RFC 8162 itself, encrypting to a bare key ("3 1 0") is left out: a
// recipient of a CMS object is named by what only a certificate holds, so such
// a record certifies like "3 1 1" does. A trust anchor given as a digest or
// as a bare key (2 0 1, 2 1 x) is found among the CA certificates at hand,
// and nowhere else (RFC 7671, Section 5.2.3, makes more optional).
package smimea
