package message

import (
	"errors"
	"fmt"
	"strings"
)

// Visible returns the addresses in To and Cc, as addr-specs (RFC 5322,
// Section 3.4.1) without comments and folds, quoted only where they must be;
// members of groups are among them. An error means that a field could not be
// read: who is visible is not known then.
//
// Display names are not decoded, and may be in any charset that leaves ASCII
// alone; addresses may be in UTF-8 (RFC 6532). Obsolete syntax (RFC 5322,
// Section 4.4) is read, and so are local parts with dots where there should be
// none, which exist in Japan.
func (h Header) Visible() ([]string, error) {
	var all []string
	for _, f := range h {
		if !f.Is("To") && !f.Is("Cc") {
			continue
		}
		some, err := parseAddressList(f.Value)
		if err != nil {
			return nil, fmt.Errorf("reading the addresses in %s: %w", f.plainName(), err)
		}
		all = append(all, some...)
	}
	return all, nil
}

// A mailbox is an addr-spec, taken apart.
type mailbox struct {
	local  string // unquoted
	domain string // an address literal with its brackets
}

func (m mailbox) String() string {
	if isDotAtom(m.local) {
		return m.local + "@" + m.domain
	}
	return `"` + quoting.Replace(m.local) + `"@` + m.domain
}

var quoting = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

// isDotAtom: RFC 5322, Section 3.2.3.
func isDotAtom(s string) bool {
	for i := range len(s) {
		if !isAtomOctet(s[i]) {
			return false
		}
	}
	return s != "" && s[0] != '.' && s[len(s)-1] != '.' && !strings.Contains(s, "..")
}

// An addressParser reads a list of addresses, by one token of look-ahead. No
// part of it is recursive, and none goes back.
type addressParser struct {
	lexer   addressLexer
	token   token
	inGroup bool
	found   []string
}

// parseAddressList reads the value of a To or Cc field. An empty one has no
// addresses.
func parseAddressList(value string) ([]string, error) {
	p := newAddressParser(value)
	for !p.at(endToken) {
		if err := p.entry(); err != nil {
			return nil, p.explain(err)
		}
	}
	if p.inGroup {
		return nil, p.explain(errors.New("a group has no end"))
	}
	return p.found, nil
}

func newAddressParser(s string) *addressParser {
	p := &addressParser{lexer: addressLexer{rest: unfold(s)}}
	p.advance()
	return p
}

func (p *addressParser) advance() { p.token = p.lexer.next() }

// explain prefers what the lexer had to say.
func (p *addressParser) explain(err error) error {
	if err != nil && p.lexer.err != nil {
		return p.lexer.err
	}
	return err
}

func (p *addressParser) at(kind tokenKind) bool { return p.token.kind == kind }

func (p *addressParser) take(kind tokenKind) bool {
	if !p.at(kind) {
		return false
	}
	p.advance()
	return true
}

// entry reads what stands between two commas, or the beginning of a group, or
// its end: RFC 5322, Sections 3.4 and 4.4.
func (p *addressParser) entry() error {
	if p.take(',') {
		return nil
	}
	if p.inGroup && p.take(';') {
		p.inGroup = false
		return p.separated()
	}
	words := p.words()
	if !p.inGroup && len(words) > 0 && p.take(':') {
		p.inGroup = true
		return nil
	}
	m, err := p.mailbox(words)
	if err != nil {
		return err
	}
	p.found = append(p.found, m.String())
	return p.separated()
}

// separated checks that one thing ends before the next begins.
func (p *addressParser) separated() error {
	if p.at(endToken) || p.at(',') || p.inGroup && p.at(';') {
		return nil
	}
	return errors.New("a comma is missing")
}

// mailbox reads an addr-spec alone, or a display name with one in brackets.
func (p *addressParser) mailbox(words []token) (mailbox, error) {
	if !p.take('<') {
		return p.addrSpec(words)
	}
	if err := p.route(); err != nil {
		return mailbox{}, err
	}
	m, err := p.addrSpec(p.words())
	if err == nil && !p.take('>') {
		err = errors.New(`">" is missing`)
	}
	return m, err
}

// route passes over a source route: RFC 5322, Section 4.4.
func (p *addressParser) route() error {
	if !p.at('@') && !p.at(',') {
		return nil
	}
	for !p.take(':') {
		switch {
		case p.take(','):
		case p.take('@'):
			if _, err := p.domain(); err != nil {
				return err
			}
		default:
			return errors.New("a source route has no end")
		}
	}
	return nil
}

// addrSpec goes on behind the words of the local part.
func (p *addressParser) addrSpec(words []token) (mailbox, error) {
	if !p.take('@') {
		return mailbox{}, errors.New(`there is no address, or none with an "@"`)
	}
	local, joined := join(words)
	if !joined {
		return mailbox{}, errors.New(`what stands before an "@" is not one local part`)
	}
	domain, err := p.domain()
	return mailbox{local, domain}, err
}

// words reads atoms and quoted strings.
func (p *addressParser) words() []token {
	var words []token
	for p.at(atomToken) || p.at(quotedToken) {
		words = append(words, p.token)
		p.advance()
	}
	return words
}

// join makes a local part of words, with dots between them: RFC 5322,
// Section 4.4.
func join(words []token) (string, bool) {
	var s strings.Builder
	for i, w := range words {
		if i > 0 && !w.joins(words[i-1]) {
			return "", false
		}
		s.WriteString(w.text)
	}
	return s.String(), len(words) > 0
}

// domain reads a domain or an address literal.
func (p *addressParser) domain() (string, error) {
	last := p.token
	if p.take(literalToken) {
		return last.text, nil
	}
	if !p.take(atomToken) {
		return "", errors.New("a domain is missing")
	}
	words := []token{last}
	for p.at(atomToken) && p.token.joins(last) {
		last = p.token
		words = append(words, last)
		p.advance()
	}
	domain, _ := join(words)
	return domain, nil
}
