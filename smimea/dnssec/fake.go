package dnssec

import (
	"context"
	"fmt"
)

// A Question is a name, absolute and in lower case as [ParseName] returns it,
// and a record type.
type Question struct {
	Name string
	Type uint16
}

// A Fake is a [Resolver] for tests that knows its answers beforehand. What is
// not in the map could not be found out.
type Fake map[Question]Answer

// Lookup returns the answer of the map.
func (f Fake) Lookup(_ context.Context, name string, qtype uint16) Answer {
	absolute, err := ParseName(name)
	if err != nil {
		return Answer{Why: err}
	}
	answer, ok := f[Question{absolute, qtype}]
	if !ok {
		return Answer{Why: fmt.Errorf("dnssec: the fake has no answer for %s %s", absolute, TypeName(qtype))}
	}
	return answer
}
