package gateway

import (
	"slices"
	"strings"
	"testing"

	"smimea.example/internal/message"
)

func TestLongHeader(t *testing.T) {
	g, _, _ := newGateway(t)
	m := begin(t, g, "rsa@example.net")
	for range maxHeader/1000 + 1 {
		m.Header(message.Field{Name: "References", Value: strings.Repeat("x", 1000)})
	}
	if r := m.EndHeader(""); codes(r) != "552 5.3.4" {
		t.Errorf("%s %s", codes(r), r.Text)
	}
	if m.header != nil {
		t.Error("the header is still there")
	}
}

// Fields without contents take memory, too.
func TestManyFields(t *testing.T) {
	g, _, _ := newGateway(t)
	m := begin(t, g, "rsa@example.net")
	for range maxHeader/40 + 1 {
		m.Header(message.Field{Name: "X"})
	}
	if r := m.EndHeader(""); codes(r) != "552 5.3.4" || m.header != nil {
		t.Errorf("%s %s", codes(r), r.Text)
	}
}

// What passes as it is may be as long as the mail server lets it.
func TestLongHeaderUnderNever(t *testing.T) {
	g, _, _ := newGateway(t)
	m := begin(t, g, "bob@example.org")
	for range maxHeader/1000 + 1 {
		m.Header(message.Field{Name: "References", Value: strings.Repeat("x", 1000)})
	}
	if m.header != nil {
		t.Error("the header is kept")
	}
	if v := send(t, m, nil, []byte("hello\r\n")); v.Reply.Action != Accept || v.Encrypted {
		t.Errorf("%s %s", codes(v.Reply), v.Reply.Text)
	}
}

// The envelope's fields come in the place of what went inside, and of what is
// for nobody to see.
func TestReplaces(t *testing.T) {
	g, _, _ := newGateway(t)
	h := header("Bcc: carol@example.com\nTo: rsa@example.net\nMIME-Version: 1.0\nContent-Type: text/plain\nSubject: x\ncontent-TYPE: text/html")
	v := send(t, begin(t, g, "rsa@example.net"), h, nil)
	if want := []string{"Bcc", "Content-Type", "content-TYPE"}; !slices.Equal(v.Replaces, want) {
		t.Errorf("%q, want %q", v.Replaces, want)
	}
	if names := v.Header.Values("MIME-Version"); len(names) != 0 {
		t.Errorf("MIME-Version is changed to %q, which it is", names)
	}
	for _, other := range []string{"To: x\nMIME-Version: 1.0 (by hand)", "MIME-Version: 1.0\nMime-version: 1.0", "To: x"} {
		v := send(t, begin(t, g, "rsa@example.net"), header(other), nil)
		if values := v.Header.Values("MIME-Version"); len(values) != 1 || values[0] != "1.0" {
			t.Errorf("%q: MIME-Version becomes %q", other, values)
		}
	}
}

// A field with a blank before its colon cannot be taken off a mail by its name.
func TestBlankBeforeTheColon(t *testing.T) {
	g, _, _ := newGateway(t)
	for _, test := range []struct{ name, to, field, want string }{
		{"a field that goes inside", "rsa@example.net", "Content-Type ", "550 5.6.0"},
		{"a field that stays", "rsa@example.net", "Subject ", "250 2.1.5"},
		{"in a mail that passes", "bob@example.org", "Content-Type ", "250 2.1.5"},
		{"Bcc, in a mail that passes", "bob@example.org", "Bcc ", "550 5.6.0"},
	} {
		v := send(t, begin(t, g, test.to), message.Header{{Name: test.field, Value: " x"}}, []byte("hello\r\n"))
		if codes(v.Reply) != test.want {
			t.Errorf("%s: %s %s, want %s", test.name, codes(v.Reply), v.Reply.Text, test.want)
		}
	}
}

// Fields that go inside are taken off by the MTA, which takes the longer the more
// there are.
func TestManyFieldsInside(t *testing.T) {
	g, _, _ := newGateway(t)
	for n, want := range map[int]string{maxReplaced: "250 2.1.5", maxReplaced + 1: "552 5.3.4"} {
		m := begin(t, g, "rsa@example.net")
		v := send(t, m, header(strings.Repeat("Content-X: a\n", n)), []byte("hello\r\n"))
		if codes(v.Reply) != want || v.Encrypted != (n == maxReplaced) {
			t.Errorf("%d fields: %s, encrypted: %v, want %s", n, codes(v.Reply), v.Encrypted, want)
		}
		m.Close()
	}
}
