package dnssec

import (
	"encoding/hex"
	"strings"
	"testing"
)

func TestParseType(t *testing.T) {
	for in, want := range map[string]uint16{
		"SMIMEA": 53, "smimea": 53, "TYPE53": 53, "type53": 53, "A": 1, "MX": 15, "TYPE65280": 65280, "CAA": 257,
	} {
		if got, err := ParseType(in); err != nil || got != want {
			t.Errorf("ParseType(%q) = %d, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "X", "TYPE", "TYPE-1", "TYPE65536", "TYPE0", "None", "ANY", "AXFR", "OPT", "RRSIG", "TSIG", "Reserved", "TYPE 1"} {
		if got, err := ParseType(in); err == nil {
			t.Errorf("ParseType(%q) = %d", in, got)
		}
	}
	for in, want := range map[uint16]string{53: "SMIMEA", 1: "A", 65280: "TYPE65280", 0: "TYPE0", 65535: "TYPE65535"} {
		if got := TypeName(in); got != want {
			t.Errorf("TypeName(%d) = %q", in, got)
		}
	}
}

func TestPresent(t *testing.T) {
	for _, c := range []struct {
		what  string
		qtype uint16
		rdata string // hex
		want  string
	}{
		{"SMIMEA", 53, "030000aabb", "3 0 0 aabb"},
		{"A", 1, "c0000201", "192.0.2.1"},
		{"MX", 15, "000a046d61696c0474657374 00", "10 mail.test."},
		{"null MX", 15, "000000", "0 ."},
		{"TXT with a quote and a control character", 16, "03 22 0a 61", `"\"\010a"`},
		{"an unknown type", 65280, "aabb", `\# 2 aabb`},
		{"no data", 53, "", `\# 0`},
		{"too little data", 53, "03", `\# 1 03`},
		{"A with too little data", 1, "c000", `\# 2 c000`},
		{"A with too much data", 1, "c000020101", `\# 5 c000020101`},
		{"a name that points at itself", 15, "000ac002", `\# 4 000ac002`},
	} {
		rdata, err := hex.DecodeString(strings.ReplaceAll(c.rdata, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		if got := Present(c.qtype, rdata); got != c.want {
			t.Errorf("%s: %q, want %q", c.what, got, c.want)
		}
	}
	if got := Present(1, make([]byte, 70000)); !strings.HasPrefix(got, `\# 70000 `) {
		t.Errorf("70,000 octets: %.20q", got)
	}
}

func FuzzPresent(f *testing.F) {
	for qtype := range uint16(70) {
		f.Add(qtype, []byte{3, 0, 0, 1, 'a', 0, 1, 2, 3})
	}
	f.Fuzz(func(t *testing.T, qtype uint16, rdata []byte) {
		text := Present(qtype, rdata)
		if text == "" || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("Present(%d, %x) = %q", qtype, rdata, text)
		}
	})
}
