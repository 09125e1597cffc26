package smimea

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"smimea.example/smimea/dnssec"
)

// a resolver that gives one answer, and notes what it was asked.
type answering struct {
	answer dnssec.Answer
	asked  []string
}

func (r *answering) Lookup(_ context.Context, name string, qtype uint16) dnssec.Answer {
	r.asked = append(r.asked, fmt.Sprintf("%s %d", name, qtype))
	return r.answer
}

func TestLookup(t *testing.T) {
	mine := newCert(t, cert{emails: []string{"alice@example.org"}})
	usable := record(3, 0, 0, mine).RDATA()
	digest := record(3, 1, 1, mine).RDATA()
	secure := func(data ...[]byte) dnssec.Answer {
		return dnssec.Answer{Status: dnssec.Secure, Outcome: dnssec.Data, Data: data}
	}
	many := make([][]byte, 21)
	for i := range many {
		many[i] = append([]byte{3, 0, 0}, byte(i))
	}
	many[20] = usable

	for _, test := range []struct {
		name   string
		answer dnssec.Answer
		want   Outcome
		why    string
	}{
		{"a certificate", secure(usable), Found, ""},
		{"a certificate beside a digest", secure(digest, usable), Found, ""},
		{"a certificate beside malformed records", secure([]byte{3}, []byte{9, 9, 9, 9}, usable), Found, ""},
		{"only a digest", secure(digest), Unusable, "3 1 1: constraint only"},
		{"only malformed records", secure([]byte{3}, []byte{9, 9, 9, 9}), Unusable, "no record can be used"},
		{"a record without data", secure([]byte{3, 1, 2}), Unusable, "3 1 2: smimea: record without data"},
		{"21 records", secure(many...), Unusable, "21 records"},
		{"64 KB and more", secure(usable, make([]byte, 65536)), Unusable, "2 records"},
		{"proven: no such name", dnssec.Answer{Status: dnssec.Secure, Outcome: dnssec.NXDomain}, None, "no SMIMEA record"},
		{"proven: no such type", dnssec.Answer{Status: dnssec.Secure, Outcome: dnssec.NoData}, None, "no SMIMEA record"},
		{"unsigned, nothing", dnssec.Answer{Status: dnssec.Insecure, Outcome: dnssec.NXDomain}, None, "not signed"},
		{"unsigned, with records", dnssec.Answer{Status: dnssec.Insecure, Outcome: dnssec.Data, Unproven: [][]byte{usable}}, None, "what it publishes does not count"},
		{"unsigned, and data where none may be", dnssec.Answer{Status: dnssec.Insecure, Outcome: dnssec.Data, Data: [][]byte{usable}}, None, "not signed"},
		{"unsigned, no answer", dnssec.Answer{Status: dnssec.Insecure}, None, "not signed"},
		{"forged", dnssec.Answer{Status: dnssec.Bogus, Outcome: dnssec.Data, Unproven: [][]byte{usable}, Why: errors.New("signature expired")}, Bogus, "signature expired"},
		{"forged denial", dnssec.Answer{Status: dnssec.Bogus, Outcome: dnssec.NXDomain}, Bogus, "bogus"},
		{"no answer", dnssec.Answer{Why: errors.New("timeout")}, Failed, "timeout"},
		{"the zero answer", dnssec.Answer{}, Failed, "could not be proven"},
		{"denial without a proof", dnssec.Answer{Outcome: dnssec.NXDomain}, Failed, "could not be proven"},
		{"data without a proof", dnssec.Answer{Outcome: dnssec.Data, Data: [][]byte{usable}}, Failed, "could not be proven"},
		{"proven, and yet failed", dnssec.Answer{Status: dnssec.Secure}, Failed, "nothing"},
		{"proven data, and yet none", secure(), Failed, "nothing"},
		{"a status from the future", dnssec.Answer{Status: 77, Outcome: dnssec.NXDomain}, Failed, "could not be proven"},
	} {
		resolver := &answering{answer: test.answer}
		r := Client{Resolver: resolver, Trust: Trust{Now: noon}}.Lookup(context.Background(), "alice@example.org")
		if r.Outcome != test.want || r.Status != test.answer.Status {
			t.Errorf("%s: %v, %v (%v), want %v", test.name, r.Outcome, r.Status, r.Why, test.want)
		}
		if test.want == Found {
			if r.Why != nil || len(r.Certificates()) != 1 || len(r.Records) != len(test.answer.Data) {
				t.Errorf("%s: %d certificates, %d records (%v)", test.name, len(r.Certificates()), len(r.Records), r.Why)
			}
		} else if r.Why == nil || !strings.Contains(r.Why.Error(), test.why) || r.Certificates() != nil {
			t.Errorf("%s: %d certificates, why %v, want %q", test.name, len(r.Certificates()), r.Why, test.why)
		}
		if want := alice + "._smimecert.example.org. 53"; len(resolver.asked) != 1 || resolver.asked[0] != want {
			t.Errorf("%s: asked %q, want %q", test.name, resolver.asked, want)
		}
	}
}

func TestLookupWithoutName(t *testing.T) {
	for _, test := range []struct {
		name, address string
		want          Outcome
		why           error
	}{
		{"no address", "alice", Failed, ErrSyntax},
		{"an address literal", "alice@[192.0.2.1]", None, ErrLiteral},
		{"a name too long for the DNS", "alice@" + strings.Repeat("a.", 100) + "org", None, ErrTooLong},
		{"a local part too long for us", strings.Repeat("a", maxAddress) + "@example.org", Failed, ErrTooLong},
	} {
		resolver := &answering{}
		r := Client{Resolver: resolver}.Lookup(context.Background(), test.address)
		if r.Outcome != test.want || !errors.Is(r.Why, test.why) || r.Owner != "" || resolver.asked != nil {
			t.Errorf("%s: %v, %v, asked %q", test.name, r.Outcome, r.Why, resolver.asked)
		}
	}
}

func TestLookupWithCandidates(t *testing.T) {
	mine := newCert(t, cert{emails: []string{"alice@example.org"}})
	client := Client{
		Resolver: &answering{answer: dnssec.Answer{
			Status: dnssec.Secure, Outcome: dnssec.Data, Data: [][]byte{record(3, 1, 1, mine).RDATA()},
		}},
		Candidates: func(a Address) [][]byte {
			if a.Local != "alice" {
				return nil
			}
			return [][]byte{mine.Raw}
		},
	}
	r := client.Lookup(context.Background(), "alice@example.org")
	if r.Outcome != Found || r.Records[0].Verdict != Constraint || len(r.Certificates()) != 1 {
		t.Errorf("Lookup = %v, %v", r.Outcome, r.Why)
	}
}
