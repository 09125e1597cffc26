package gateway

import (
	"context"
	"testing"
	"time"
)

// Where nobody can keep the mail in hand there is one copy more.
func TestAllInCopiesAtTheLimit(t *testing.T) {
	g, rsa, _ := newGateway(t)
	g.Keys.(fakeStore)["RSA@example.net"] = found(rsa.to)
	office := splittingGateway(t, g)
	g.Resubmit.Copies = 1
	m := begin(t, g, "rsa@example.net", "RSA@example.net")
	for _, f := range header("To: undisclosed-recipients:;") {
		m.Header(f)
	}
	m.EndHeader("")
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	v := m.End(ctx, "")
	if v.Reply.Action != Accept || !v.Nobody || len(office.mails()) != 2 {
		t.Errorf("%s %s, %v, %d copies", codes(v.Reply), v.Reply.Text, v.Trouble, len(office.mails()))
	}
}
