package smimea

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
	"golang.org/x/text/unicode/norm"
)

// Errors of [ParseAddress] and [OwnerName].
var (
	// ErrSyntax: this is no mail address.
	ErrSyntax = errors.New("smimea: not a mail address")
	// ErrTooLong: the address, or the owner name made of it, is longer than
	// the DNS or this package takes.
	ErrTooLong = errors.New("smimea: address too long")
	// ErrLiteral: the domain is an address literal, which has no name in the
	// DNS and so no certificate there.
	ErrLiteral = errors.New("smimea: an address literal has no owner name")
)

const (
	maxAddress = 1000 // octets; SMTP takes 256 (RFC 5321, Section 4.5.3.1.3)
	maxLabel   = 63   // RFC 1035, Section 2.3.4
	maxName    = 255  // octets on the wire, the root's label included

	hashedOctets = 28 // RFC 8162, Section 3, step 4
)

// OwnerName returns the name at which the SMIMEA records of an address are,
// with its final dot. The hash and the domain are in lower case, the domain is
// in A-labels (RFC 8162, Section 3; RFC 6531, Section 3.2).
func OwnerName(address string) (string, error) {
	a, err := ParseAddress(address)
	if err != nil {
		return "", err
	}
	return a.Owner()
}

// An Address is a mail address taken apart.
type Address struct {
	// Local is the local part as it is hashed: in NFC, without quotes,
	// backslashes and comments. Its case is kept.
	Local string

	// Domain is the domain as given, without comments; an address literal
	// has its brackets.
	Domain string

	// ASCIIDomain is the domain in A-labels and lower case, without a final
	// dot. It is empty for an address literal.
	ASCIIDomain string

	// Routed: the local part, once unquoted, holds "%", "!" or "@", or a
	// source route stood before it. Mail servers may send such mail on to
	// another domain than the one it names.
	Routed bool
}

// Owner is [OwnerName] for an address that is parsed already.
func (a Address) Owner() (string, error) {
	if a.ASCIIDomain == "" {
		return "", ErrLiteral
	}
	hash := sha256.Sum256([]byte(a.Local))
	name := hex.EncodeToString(hash[:hashedOctets]) + "._smimecert." + a.ASCIIDomain + "."
	// On the wire each label has a length in place of its dot, and the root
	// one more.
	if len(name)+1 > maxName {
		return "", fmt.Errorf("%w: its owner name has %d octets, the DNS allows %d", ErrTooLong, len(name)+1, maxName)
	}
	return name, nil
}

// String returns the address with its local part quoted where it must be, and
// with its domain in A-labels. Two addresses with the same owner name have the
// same String.
func (a Address) String() string {
	domain := a.ASCIIDomain
	if domain == "" {
		domain = a.Domain
	}
	return quote(a.Local) + "@" + domain
}

// ParseAddress takes apart an address as SMTP has it, without angle brackets:
// local-part "@" domain, with all that RFC 5321 and RFC 5322 allow around it
// (quoted strings, comments, white space at dots, source routes), and UTF-8
// (RFC 6532).
//
// It is lenient where mail servers are: dots may be doubled or trail without
// quotes, as in old addresses of Japanese mobile carriers, and a local part
// may hold a second "@"; see Routed. It refuses what two programs could read
// in two ways: control characters, broken UTF-8, words without a dot between
// them, unquoted specials.
//
// Domains in ASCII are taken as they are, underscores included. Others are
// mapped by the Lookup profile of UTS #46, nontransitional, as mail servers
// that speak SMTPUTF8 do.
//
// The error is ErrSyntax or ErrTooLong, wrapped.
func ParseAddress(address string) (Address, error) {
	if err := plausible(address); err != nil {
		return Address{}, err
	}
	tokens, err := lex(address)
	if err != nil {
		return Address{}, err
	}
	tokens, routed, err := cutRoute(tokens)
	if err != nil {
		return Address{}, err
	}
	return assemble(tokens, routed)
}

// plausible says whether an address may be looked at more closely.
func plausible(address string) error {
	if len(address) > maxAddress {
		return fmt.Errorf("%w: %d octets", ErrTooLong, len(address))
	}
	if !utf8.ValidString(address) {
		return syntax("broken UTF-8")
	}
	for _, r := range address {
		if unicode.IsControl(r) && r != '\t' {
			return syntax("control character %U", r)
		}
	}
	return nil
}

func syntax(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrSyntax, fmt.Sprintf(format, args...))
}

// cutRoute takes away a source route, "@one,@two:" (RFC 5321, Appendix C).
func cutRoute(tokens []token) ([]token, bool, error) {
	tokens = trimSpace(tokens)
	if len(tokens) == 0 || tokens[0].kind != at {
		return tokens, false, nil
	}
	for i, t := range tokens {
		if t.kind == special && t.text == ":" {
			return tokens[i+1:], true, nil
		}
	}
	return nil, false, syntax("nothing before the @")
}

// assemble makes an address of its tokens. The last "@" is the one that counts.
func assemble(tokens []token, routed bool) (Address, error) {
	i := len(tokens) - 1
	for i >= 0 && tokens[i].kind != at {
		i--
	}
	if i < 0 {
		return Address{}, syntax("no @")
	}
	local, err := localPart(tokens[:i])
	if err != nil {
		return Address{}, err
	}
	domain, ascii, err := domainPart(tokens[i+1:])
	if err != nil {
		return Address{}, err
	}
	// RFC 8162, Section 3, step 3: NFC, not NFKC.
	local = norm.NFC.String(local)
	return Address{
		Local:       local,
		Domain:      domain,
		ASCIIDomain: ascii,
		Routed:      routed || strings.ContainsAny(local, "%!@"),
	}, nil
}

// localPart joins words and dots (RFC 8162, Section 3, step 2).
func localPart(tokens []token) (string, error) {
	tokens = trimSpace(tokens)
	if len(tokens) == 0 {
		return "", syntax("nothing before the @")
	}
	return join(tokens)
}

// join puts words and dots together and leaves out what stands around the dots.
func join(tokens []token) (string, error) {
	var b strings.Builder
	afterWord := false
	for _, t := range tokens {
		switch t.kind {
		case space:
			continue
		case word, quoted:
			if afterWord {
				return "", syntax("two words without a dot between them")
			}
			afterWord = true
		case dot, at:
			afterWord = false
		default:
			return "", syntax("unexpected %q", t.text)
		}
		b.WriteString(t.text)
	}
	return b.String(), nil
}

// domainPart returns the domain as given and in A-labels; the latter is empty
// for an address literal.
func domainPart(tokens []token) (given, ascii string, err error) {
	tokens = trimSpace(tokens)
	if len(tokens) == 0 {
		return "", "", syntax("no domain")
	}
	if len(tokens) == 1 && tokens[0].kind == literal {
		return tokens[0].text, "", nil
	}
	for _, t := range tokens {
		if t.kind == quoted {
			return "", "", syntax("quotes in the domain")
		}
	}
	if given, err = join(tokens); err != nil {
		return "", "", err
	}
	ascii, err = toASCII(given)
	return given, ascii, err
}

// toASCII returns a domain in A-labels and lower case, without a final dot.
func toASCII(domain string) (string, error) {
	ascii := strings.ToLower(domain)
	if !isASCII(domain) {
		var err error
		if ascii, err = idna.Lookup.ToASCII(domain); err != nil {
			return "", syntax("domain: %v", err)
		}
	}
	ascii = strings.TrimSuffix(ascii, ".")
	if len(ascii)+2 > maxName {
		return "", fmt.Errorf("%w: domain of %d octets", ErrTooLong, len(ascii))
	}
	for label := range strings.SplitSeq(ascii, ".") {
		if err := checkLabel(label); err != nil {
			return "", err
		}
	}
	return ascii, nil
}

// checkLabel lets pass what hosts are called, and the underscore, which a few
// real mail domains have.
func checkLabel(label string) error {
	if label == "" {
		return syntax("empty label in the domain")
	}
	if len(label) > maxLabel {
		return fmt.Errorf("%w: label of %d octets in the domain", ErrTooLong, len(label))
	}
	for _, r := range label {
		if !strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789-_", r) {
			return syntax("%q in the domain", r)
		}
	}
	return nil
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// A token is a lexical part of an address (RFC 5322, Section 3.2).
type token struct {
	kind tokenKind
	text string // without quotes and backslashes; a literal has its brackets
}

type tokenKind uint8

const (
	space   tokenKind = iota // white space or a comment
	word                     // an atom
	quoted                   // a quoted string
	literal                  // an address literal
	dot
	at
	special // any other special character
)

// What ends an atom (RFC 5322, Section 3.2.3), and what an unquoted local part
// cannot hold.
const (
	notInLocal = `()<>[]:;@,"\` + " \t"
	specials   = `()<>[]:;@,."` + " \t"
)

// lex takes an address of at most maxAddress octets apart.
func lex(s string) ([]token, error) {
	var tokens []token
	for s != "" {
		t, n, err := next(s)
		if err != nil {
			return nil, err
		}
		tokens = append(tokens, t)
		s = s[n:]
	}
	return tokens, nil
}

// next reads the first token of s, and says how many octets it took.
func next(s string) (token, int, error) {
	switch s[0] {
	case ' ', '\t':
		return token{kind: space}, 1, nil
	case '(':
		n, err := comment(s)
		return token{kind: space}, n, err
	case '"':
		text, n, err := unquote(s)
		return token{quoted, text}, n, err
	case '[':
		end := strings.IndexByte(s, ']')
		if end < 0 {
			return token{}, 0, syntax("[ without ]")
		}
		return token{literal, s[:end+1]}, end + 1, nil
	case '.':
		return token{dot, "."}, 1, nil
	case '@':
		return token{at, "@"}, 1, nil
	}
	if strings.IndexByte(specials, s[0]) >= 0 {
		return token{special, s[:1]}, 1, nil
	}
	text, n, err := atom(s)
	return token{word, text}, n, err
}

// comment measures a comment, which may hold others.
func comment(s string) (int, error) {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return i + 1, nil
			}
		}
	}
	return 0, syntax("( without )")
}

// unquote reads a quoted string.
func unquote(s string) (text string, n int, err error) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			return b.String(), i + 1, nil
		case '\\':
			i++
		}
		if i == len(s) {
			break
		}
		if s[i] == '\t' {
			return "", 0, syntax("control character in quotes")
		}
		b.WriteByte(s[i])
	}
	return "", 0, syntax("quotes that do not end")
}

// atom reads everything up to the next special character. A backslash quotes
// the character behind it outside of quotes too, as in RFC 821; mail servers
// still take it.
func atom(s string) (text string, n int, err error) {
	var b strings.Builder
	for n = 0; n < len(s) && strings.IndexByte(specials, s[n]) < 0; n++ {
		if s[n] == '\\' {
			if n++; n == len(s) || s[n] == '\t' {
				return "", 0, syntax("backslash before nothing")
			}
		}
		b.WriteByte(s[n])
	}
	return b.String(), n, nil
}

func trimSpace(tokens []token) []token {
	for len(tokens) > 0 && tokens[0].kind == space {
		tokens = tokens[1:]
	}
	for len(tokens) > 0 && tokens[len(tokens)-1].kind == space {
		tokens = tokens[:len(tokens)-1]
	}
	return tokens
}

// quote writes a local part as an address has it (RFC 5321, Section 4.1.2).
// Doubled and trailing dots get no quotes: ParseAddress needs none.
func quote(local string) string {
	if local != "" && !strings.ContainsAny(local, notInLocal) {
		return local
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(local) + `"`
}
