package dnssec

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/miekg/dns"
)

// ParseType reads the name of a record type: "SMIMEA", or "TYPE53" for any
// number (RFC 3597, Section 5). Case does not matter. Types that are no data
// of a zone (ANY, AXFR, OPT and their like) are refused.
func ParseType(s string) (uint16, error) {
	upper := strings.ToUpper(s)
	t, ok := dns.StringToType[upper]
	if number, generic := strings.CutPrefix(upper, "TYPE"); generic && !ok {
		n, err := strconv.ParseUint(number, 10, 16)
		t, ok = uint16(n), err == nil
	}
	if !ok {
		return 0, fmt.Errorf("dnssec: unknown record type %q", s)
	}
	if !isData(t) {
		return 0, fmt.Errorf("dnssec: %q is no type that a zone holds", s)
	}
	return t, nil
}

// isData tells the types that can be asked for and proven: not the Q and meta
// types (RFC 6895, Section 3.1), and not signatures, which are part of an
// answer to something else.
func isData(t uint16) bool {
	switch t {
	case 0, dns.TypeOPT, dns.TypeSIG, dns.TypeRRSIG, dns.TypeReserved:
		return false
	}
	return t < 128 || t > 255
}

// TypeName returns the name of a type, "TYPE65280" if it has none.
func TypeName(t uint16) string {
	if s, ok := dns.TypeToString[t]; ok && t != 0 && t != dns.TypeReserved {
		return s
	}
	return "TYPE" + strconv.Itoa(int(t))
}

// Present returns RDATA in presentation form, or in the generic form of RFC
// 3597, Section 5, where it does not fit the type. The result is printable
// ASCII whatever the data.
func Present(qtype uint16, rdata []byte) (text string) {
	generic := strings.TrimSpace(fmt.Sprintf(`\# %d %s`, len(rdata), hex.EncodeToString(rdata)))
	// The library has a text form for each of ninety types; one that cannot
	// bear what a stranger wrote must not take the process with it.
	defer func() {
		if recover() != nil {
			text = generic
		}
	}()
	if len(rdata) == 0 || len(rdata) > 65535 {
		return generic
	}
	if _, known := dns.TypeToRR[qtype]; !known {
		return generic
	}
	header := dns.RR_Header{Name: ".", Rrtype: qtype, Class: dns.ClassINET, Rdlength: uint16(len(rdata))}
	rr, end, err := dns.UnpackRRWithHeader(header, rdata, 0)
	if err != nil || end != len(rdata) {
		return generic
	}
	// The library takes data that ends too early for complete.
	if again, ok := rdataOf(rr); !ok || !bytes.Equal(again, rdata) {
		return generic
	}
	text = strings.TrimPrefix(rr.String(), rr.Header().String())
	if text == "" || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) {
		return generic
	}
	return text
}
