package gateway

import (
	"bytes"
	"testing"
	"time"
)

// In shadow mode the verdict is that of a mail whose copies were handed over, and
// none was: without a journal, and with nobody to take them.
func TestShadowOfASplit(t *testing.T) {
	g, _, _ := newGateway(t)
	g.Shadow, g.Resubmit = true, &Resubmission{Address: "nobody"}
	m := begin(t, g, "rsa@example.net", "ec@example.net", "bob@example.org")
	v := send(t, m, header("To: rsa@example.net, ec@example.net"), []byte(greeting))
	if v.Reply.Action != Accept || len(v.Removes) != 2 || !v.Encrypted {
		t.Errorf("%s %v: encrypted %v, removes %q", codes(v.Reply), v.Trouble, v.Encrypted, v.Removes)
	}
	for i, want := range []struct {
		sent string
		copy int
	}{{"encrypted", 0}, {"encrypted", 1}, {"plain", 2}} {
		if f := m.Fates()[i]; f.Sent != want.sent || f.Copy != want.copy {
			t.Errorf("%s: %s by copy %d, want %s by %d", f.Address, f.Sent, f.Copy, want.sent, want.copy)
		}
	}
	if err := m.Accepted(); err != nil {
		t.Error(err)
	}
}

// The copies are made all the same: what keeps one from being made is what the
// log has to tell. Here the mail in hand is in CBC, and the copy in GCM, which
// needs memory.
func TestShadowMakesCopies(t *testing.T) {
	_, gcm := gcmGateway(t, "rsa")
	cbc := able(t, "rsa", "cbc")
	for _, tt := range []struct {
		name   string
		memory int64
		want   string
	}{
		{"enough memory", 0, "250 2.1.5"},
		{"too little", 1000, "552 5.3.4"},
	} {
		g := &Gateway{
			Rules:    []Rule{{Recipients: []string{"*"}, Action: Require}},
			Keys:     fakeStore{"cbc@example.net": found(cbc.to), "gcm@example.net": found(gcm.to)},
			Memory:   tt.memory,
			Wait:     10 * time.Millisecond,
			Resubmit: &Resubmission{Address: "nobody"},
			Shadow:   true,
		}
		m := begin(t, g, "cbc@example.net", "gcm@example.net")
		v := send(t, m, header("To: cbc@example.net, gcm@example.net"), bytes.Repeat([]byte(greeting), 1000))
		if codes(v.Reply) != tt.want {
			t.Errorf("%s: %s, want %s: %v", tt.name, codes(v.Reply), tt.want, v.Trouble)
		}
		m.Close()
	}
}
