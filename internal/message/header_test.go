package message

import (
	"bufio"
	"bytes"
	"io"
	"strings"
	"testing"
)

func readHeader(s string) (Header, error) { return ReadHeader(bufio.NewReader(strings.NewReader(s))) }

func mustRead(t *testing.T, s string) Header {
	t.Helper()
	h, err := readHeader(s)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func written(t *testing.T, h Header) string {
	t.Helper()
	var b bytes.Buffer
	n, err := h.WriteTo(&b)
	if err != nil || n != int64(b.Len()) {
		t.Fatalf("WriteTo = %d, %v; wrote %d octets", n, err, b.Len())
	}
	return b.String()
}

// A header comes out as it went in.
func TestHeaderRoundTrip(t *testing.T) {
	for name, in := range map[string]string{
		"no field":                     "",
		"usual":                        "From: alice@example.org\r\nSubject: hello\r\n",
		"folds":                        "To: alice@example.org,\r\n\tbob@example.org,\r\n   carol@example.org\r\n",
		"a fold of blanks alone":       "Subject: a\r\n \r\n b\r\n",
		"a fold at once":               "Subject:\r\n hello\r\n",
		"odd spaces":                   "Subject:no space\r\nSubject:   \t three and a tab \t\r\n",
		"blank before the colon":       "Subject : hello\r\nTo\t :bob@example.org\r\n",
		"From with a blank":            "From : alice@example.org\r\n",
		"empty value":                  "Subject:\r\nX:\r\n",
		"case":                         "sUBJECT: hello\r\nMIME-version: 1.0\r\n",
		"colons in the value":          "X: a:b: c\r\n",
		"the same twice":               "Received: b\r\nReceived: a\r\nReceived: b\r\n",
		"octets of all kinds":          "Subject: \x80\xff\x00\x1b$B\x07 \u00e9\r\n",
		"CR inside":                    "Subject: a\rb\r\r\n",
		"odd name":                     "!#$%&'*+-./;<=>?@[]^_`{|}~: x\r\n",
		"17 KB of References":          "References: " + strings.Repeat("<0123456789@example.org>\r\n ", 640) + "x\r\n",
		"a line of 100,000 octets":     "X: " + strings.Repeat("x", 100_000) + "\r\n",
		"2,000 fields":                 strings.Repeat("X-Field: value\r\n", 2000),
		"1,000,000 folds of two bytes": "X:" + strings.Repeat("\r\n \ty", 800_000) + "\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			r := bufio.NewReader(strings.NewReader(in + "\r\n body\r\n"))
			h, err := ReadHeader(r)
			if err != nil {
				t.Fatal(err)
			}
			if got := written(t, h); got != in {
				t.Errorf("got %.200q, want %.200q", got, in)
			}
			if body, _ := io.ReadAll(r); string(body) != " body\r\n" {
				t.Errorf("body = %q", body)
			}
		})
	}
}

func TestReadHeaderLineEnds(t *testing.T) {
	want := "A: 1\r\n 2\r\nB: 3\r\n"
	for name, in := range map[string]string{
		"LF":                "A: 1\n 2\nB: 3\n\nbody",
		"both":              "A: 1\n 2\r\nB: 3\n\r\nbody",
		"header alone":      "A: 1\r\n 2\r\nB: 3\r\n",
		"without an end":    "A: 1\r\n 2\r\nB: 3",
		"empty line and LF": "A: 1\r\n 2\r\nB: 3\r\n\n",
	} {
		t.Run(name, func(t *testing.T) {
			if got := written(t, mustRead(t, in)); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

func TestReadHeaderErrors(t *testing.T) {
	for name, test := range map[string]struct{ in, want string }{
		"nothing":              {"", "the input is empty"},
		"text":                 {"Dear Bob,\n", `line 1 is no header field: "Dear Bob," has no colon`},
		"text with a colon":    {"Dear Bob: hello\n", `line 1 is no header field: "Dear Bob" is no name of one`},
		"long text":            {strings.Repeat("x", 100) + "\n", `"` + strings.Repeat("x", 40) + `"… has no colon`},
		"text behind a header": {"A: 1\n 2\nB: 3\ntext\n", "line 4 is no header field"},
		"no name":              {": x\n", "line 1 is no header field"},
		"name in UTF-8":        {"Größe: x\n", "is no name of one"},
		"blank first":          {" A: 1\n", "line 1 begins with a blank"},
		"mailbox file":         {"From alice@example.org Thu Jan  1 00:00:00 2026\nA: 1\n\n", `line 1 begins with "From "`},
		"without a time":       {"From alice@example.org\nA: 1\n\n", `line 1 begins with "From "`},
		"binary":               {"\x00\x01\x02\n", "has no colon"},
		"too long":             {"A: " + strings.Repeat("x", maxHeader) + "\n\n", "more than 4194304 octets"},
		"too long a fold":      {"A: 1" + strings.Repeat("\n x", maxHeader/3) + "\n\n", "more than 4194304 octets"},
		"too many":             {strings.Repeat("A:\n", maxFields+1) + "\n", "more than 100000 fields"},
	} {
		t.Run(name, func(t *testing.T) {
			h, err := readHeader(test.in)
			if err == nil || !strings.Contains(err.Error(), test.want) || h != nil {
				t.Errorf("ReadHeader = %d fields, %v; want %s", len(h), err, test.want)
			}
		})
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestReadHeaderPassesErrorsOn(t *testing.T) {
	r := io.MultiReader(strings.NewReader("A: 1\r\n"), brokenReader{})
	if h, err := ReadHeader(bufio.NewReader(r)); err != io.ErrUnexpectedEOF || h != nil {
		t.Errorf("ReadHeader = %v, %v", h, err)
	}
}

func TestIs(t *testing.T) {
	for _, test := range []struct {
		name, is string
		want     bool
	}{
		{"To", "to", true},
		{"TO", "To", true},
		{"To \t", "To", true},
		{" To", "To", false},
		{"Tó", "TÓ", false},
		{"MIME-Ver\u017fion", "MIME-Version", false}, // the long s
		{"Too", "To", false},
	} {
		if got := (Field{Name: test.name}).Is(test.is); got != test.want {
			t.Errorf("%q.Is(%q) = %v", test.name, test.is, got)
		}
	}
}

func TestNewField(t *testing.T) {
	f := NewField("To", " a,\n\tb,\r\n c\rd")
	if want := (Field{"To", " a,\r\n\tb,\r\n c\rd"}); f != want {
		t.Errorf("NewField = %q, want %q", f, want)
	}
}

func TestValues(t *testing.T) {
	h := mustRead(t, "To: a,\r\n\tb \r\nX: y\r\ntO :c\r\n")
	if got := strings.Join(h.Values("to"), "|"); got != "a,\tb|c" {
		t.Errorf("Values = %q", got)
	}
}

func FuzzReadHeader(f *testing.F) {
	for _, seed := range []string{"A: 1\r\n 2\r\nB : 3\r\n\r\nbody", "A: 1\n\n", "From a b\n", " x", ":", "A:", "", "A: \r\r\n\r"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		r := bufio.NewReaderSize(bytes.NewReader(in), 16)
		h, err := ReadHeader(r)
		if err != nil {
			return
		}
		rest, _ := io.ReadAll(r)
		again := written(t, h)
		if h2 := mustRead(t, again+"\r\n"); written(t, h2) != again || len(h2) != len(h) {
			t.Errorf("%q became %q", again, written(t, h2))
		}
		crlf := strings.ReplaceAll(strings.ReplaceAll(string(in[:len(in)-len(rest)]), "\r\n", "\n"), "\n", "\r\n")
		if strings.TrimSuffix(crlf, "\r\n") != again && strings.TrimSuffix(crlf, "\r\n")+"\r\n" != again {
			t.Errorf("%q became %q", in, again)
		}
	})
}
