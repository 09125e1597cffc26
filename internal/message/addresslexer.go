package message

import (
	"errors"
	"fmt"
	"strings"
)

// A tokenKind is one of those below, or a special character: RFC 5322,
// Section 3.2.3. The zero kind ends the input.
type tokenKind byte

const (
	endToken     tokenKind = 0
	atomToken    tokenKind = 'a' // with dots, wherever they are
	quotedToken  tokenKind = '"'
	literalToken tokenKind = '['
	badToken     tokenKind = '?'
)

// A token is a word or a special character.
type token struct {
	kind tokenKind
	text string // of a quoted string, without quotes; of a literal, with brackets
}

// joins reports whether there is a dot between two words.
func (t token) joins(before token) bool {
	return t.kind == atomToken && strings.HasPrefix(t.text, ".") ||
		before.kind == atomToken && strings.HasSuffix(before.text, ".")
}

// An addressLexer takes an unfolded field value apart. Behind the first error
// there are only bad tokens.
type addressLexer struct {
	rest string
	err  error
}

func (l *addressLexer) next() token {
	l.skipBlanks()
	switch {
	case l.err != nil:
		return token{kind: badToken}
	case l.rest == "":
		return token{kind: endToken}
	}
	switch c := l.rest[0]; {
	case c == '"':
		return l.quoted()
	case c == '[':
		return l.literal()
	case strings.IndexByte("<>,:;@", c) >= 0:
		l.rest = l.rest[1:]
		return token{kind: tokenKind(c)}
	case isAtomOctet(c):
		return l.atom()
	default:
		return l.fail(fmt.Errorf("%q is out of place", c))
	}
}

func (l *addressLexer) fail(err error) token {
	l.err = err
	return token{kind: badToken}
}

// isAtomOctet goes by RFC 5322, Section 3.2.3, with the dot, and RFC 6532.
func isAtomOctet(c byte) bool {
	return c > ' ' && c != 0x7f && strings.IndexByte(`()<>[]:;@\,"`, c) < 0
}

func (l *addressLexer) atom() token {
	n := 0
	for n < len(l.rest) && isAtomOctet(l.rest[n]) {
		n++
	}
	t := token{kind: atomToken, text: l.rest[:n]}
	l.rest = l.rest[n:]
	return t
}

// skipBlanks passes over blanks and comments: RFC 5322, Section 3.2.2.
func (l *addressLexer) skipBlanks() {
	for l.err == nil {
		l.rest = strings.TrimLeft(l.rest, " \t")
		if !strings.HasPrefix(l.rest, "(") {
			return
		}
		l.comment()
	}
}

// comment passes over a comment, and those inside it.
func (l *addressLexer) comment() {
	depth := 0
	for i := 0; i < len(l.rest); i++ {
		switch l.rest[i] {
		case '\\':
			i++
		case '(':
			depth++
		case ')':
			depth--
		}
		if depth == 0 {
			l.rest = l.rest[i+1:]
			return
		}
	}
	l.fail(errors.New("a comment has no end"))
}

// quoted reads a quoted string: RFC 5322, Section 3.2.4.
func (l *addressLexer) quoted() token {
	var text strings.Builder
	for i := 1; i < len(l.rest); i++ {
		c := l.rest[i]
		if c == '"' {
			l.rest = l.rest[i+1:]
			return token{kind: quotedToken, text: text.String()}
		}
		if c == '\\' && i+1 < len(l.rest) {
			i++
			c = l.rest[i]
		}
		if isControl(c) {
			return l.fail(fmt.Errorf("%q in a quoted string", c))
		}
		text.WriteByte(c)
	}
	return l.fail(errors.New("a quoted string has no end"))
}

// literal reads an address literal: RFC 5322, Section 3.4.1.
func (l *addressLexer) literal() token {
	end := strings.IndexByte(l.rest, ']')
	if end < 0 || strings.ContainsFunc(l.rest[1:end], func(r rune) bool {
		return r <= ' ' || r > '~' || r == '[' || r == '\\'
	}) {
		return l.fail(errors.New("an address literal that is none"))
	}
	t := token{kind: literalToken, text: l.rest[:end+1]}
	l.rest = l.rest[end+1:]
	return t
}

func isControl(c byte) bool { return c < ' ' && c != '\t' || c == 0x7f }
