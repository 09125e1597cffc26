package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/emersion/go-smtp"

	"smimea.example/internal/cms"
	"smimea.example/internal/config"
	"smimea.example/internal/gateway"
	"smimea.example/keystore"
	"smimea.example/milter"
	"smimea.example/tools/testnet"
)

// policies are such as a postmaster may try one after the other.
var policies = map[string]string{
	"the usual": `
[[rule]]
recipient = ["a.test"]
action = "never"
[[rule]]
recipient = ["*"]
action = "require"
`,
	"softer": `
[[rule]]
sender = ["bob@house.test"]
recipient = ["a.test"]
action = "prefer"
[[rule]]
recipient = ["b.test", "a.test"]
action = "require"
`,
	"by the mark, with copies": `
[resubmit]
address = "inet:127.0.0.1:10026"
[[rule]]
recipient = ["*"]
action = "require"
sender_may_decline = "subject: [plain]"
`,
	"soft, with copies": `
[resubmit]
address = "inet:127.0.0.1:10026"
[[rule]]
recipient = ["c.test"]
action = "never"
[[rule]]
recipient = ["*"]
action = "prefer"
`,
	"nothing": `
[[rule]]
recipient = ["*"]
action = "never"
`,
}

// outcomes is a key store that finds of an address what its local part says.
type outcomes struct{ cert cms.Recipient }

func (s outcomes) Find(_ context.Context, address string) keystore.Keys {
	local, _, _ := strings.Cut(address, "@")
	o, _ := keystore.ParseOutcome(strings.ReplaceAll(local, "-", " "))
	k := keystore.Keys{Outcome: o, Origin: "dns"}
	if o == keystore.Found {
		k.Certs = []cms.Recipient{s.cert}
	}
	return k
}

// What a replay says of a policy is what a gateway with that policy does with the
// same mails; and a policy replayed with itself changes nothing.
func TestReplayTellsTheTruth(t *testing.T) {
	logs := map[string][]*milter.Logged{}
	mails := randomMails(60)
	for name, policy := range policies {
		logs[name] = logOf(t, policy, mails)
	}
	told := 0
	for before := range policies {
		for after, policy := range policies {
			x := &replayer{policy: parsed(t, policy).Policy()}
			for i, m := range logs[before] {
				again := x.policy.Replay(gateway.Sender{Address: m.From})
				for j, r := range m.Recipients {
					c, changed := x.compare(m, r, again)
					truth := loggedFate(logs[after][i], logs[after][i].Recipients[j])
					said := fate{c.WouldBe, codes(c.Reply)}
					if said.way == unknown {
						continue
					}
					told++
					if said != truth {
						t.Errorf("%s, then %s: %s to %s: said %v, and it is %v (%s)", before, after, m.From, r.To, said, truth, c.Why)
					}
					if before == after && changed {
						t.Errorf("%s, replayed with itself: %+v", before, c)
					}
				}
			}
		}
	}
	if told < 1000 {
		t.Errorf("something was said of %d recipients only", told)
	}
}

type testMail struct {
	from string
	to   []string
}

func randomMails(n int) []testMail {
	random := rand.New(rand.NewPCG(1, 2))
	pick := func(of ...string) string { return of[random.IntN(len(of))] }
	var mails []testMail
	for range n {
		m := testMail{from: pick("bob@house.test", "carol@house.test", "")}
		for range 1 + random.IntN(4) {
			to := pick("found", "found", "found", "none", "none", "unusable", "weak", "bogus", "failed", "no-domain", "null-mx", "x%y") + "@" + pick("a.test", "b.test", "c.test")
			if !slices.Contains(m.to, to) {
				m.to = append(m.to, to)
			}
		}
		mails = append(mails, m)
	}
	return mails
}

func parsed(t testing.TB, policy string) *config.Config {
	t.Helper()
	c, err := config.Parse([]byte(policy), "smimea.toml")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// logOf is what a gateway with a policy says of mails, in shadow mode.
func logOf(t *testing.T, policy string, mails []testMail) []*milter.Logged {
	t.Helper()
	der, _, err := testnet.NewCertificate(testnet.Subject{Address: "everybody@a.test"})
	if err != nil {
		t.Fatal(err)
	}
	cert, err := cms.NewRecipient(der)
	if err != nil {
		t.Fatal(err)
	}
	g := parsed(t, policy).Policy()
	g.Shadow, g.Keys = true, outcomes{cert}
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	server := milter.Server{Gateway: g, Shadow: true, Log: slog.New(slog.NewJSONHandler(&log, nil)), Drain: 5 * time.Second}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, socket) }()
	mta, err := testnet.StartMail("tcp", socket.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	client, err := smtp.Dial(mta.Addr())
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mails {
		text := "To: " + strings.Join(m.to, ", ") + "\r\n\r\nhello\r\n"
		if err := client.SendMail(m.from, m.to, strings.NewReader(text)); err != nil {
			t.Fatal(err)
		}
	}
	client.Quit()
	mta.Close()
	stop()
	if err := <-served; err != nil {
		t.Fatal(err)
	}
	lines := milter.NewLogReader(&log)
	var all []*milter.Logged
	for {
		m, err := lines.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, m)
	}
	if len(all) != len(mails) {
		t.Fatalf("%d lines of %d mails", len(all), len(mails))
	}
	return all
}

// What only other programs, other versions or other days put into a log.
func TestReplayOfALine(t *testing.T) {
	for _, tt := range []struct {
		name, policy, line string // of a recipient, and what else is in the line of the mail
		more               string
		want               string // was, would be, reply; empty: nothing changes
	}{
		{"too slow, and asked again", "the usual", `"to":"x@b.test","reply":"451 4.4.3 too slow"`, "", ""},
		{"too slow, and nobody asks", "the usual", `"to":"x@a.test","reply":"451 4.4.3 too slow"`, "", ""},
		{"no rule then", "the usual", `"to":"x@a.test","reply":"451 4.3.5 no rule"`, "", "deferred, in clear "},
		{"no rule then, and who knows", "the usual", `"to":"x@b.test","reply":"451 4.3.5 no rule"`, "", "deferred, unknown "},
		{"no rule then, pickup", "the usual", `"to":"x@a.test","reply":"550 5.3.5 no rule"`, `,"pickup":true`, "refused, in clear "},
		{"no rule now, pickup", "softer", `"to":"x@c.test","reply":"ok","sent":"plain","rule":"never"`, `,"pickup":true`, "in clear, refused 550 5.3.5"},
		{"no rule now", "softer", `"to":"x@c.test","reply":"ok","sent":"plain","rule":"never"`, "", "in clear, deferred 451 4.3.5"},
		{"one recipient too many, whom nobody judged", "the usual", `"to":"x@a.test","reply":"452 4.5.3 as many recipients"`, "", ""},
		{"a word of tomorrow", "the usual", `"to":"x@b.test","reply":"ok","rule":"require","outcome":"revoked"`, "", "in clear if the mail has the mark, unknown "},
		{"encrypted already", "the usual", `"to":"x@a.test","reply":"ok","sent":"already encrypted","rule":"require","outcome":"found"`, "", ""},
		{"encrypted already, and refused now", "softer", `"to":"x@b.test","reply":"ok","sent":"already encrypted","rule":"prefer","outcome":"none"`, "", "in clear, refused 550 5.7.5"},
		{"had the mark", "by the mark, with copies", `"to":"x@b.test","reply":"ok","sent":"plain","rule":"require","outcome":"none"`, "", ""},
		{"had the mark, which nobody asks for now", "soft, with copies", `"to":"x@b.test","reply":"ok","sent":"plain","rule":"require","outcome":"none"`, "", ""},
		{"had no mark", "soft, with copies", `"to":"x@b.test","reply":"ok","rule":"require","outcome":"none"`, `,"reply":"550 5.7.5 mark it"`, "in clear if the mail has the mark, in clear "},
		{"no copies then, none now", "the usual", `"to":"x@b.test","reply":"452 4.5.3 another kind","rule":"require","outcome":"found"`, "", ""},
		{"no copies then, some now", "soft, with copies", `"to":"x@b.test","reply":"452 4.5.3 another kind","rule":"require","outcome":"found"`, "", "deferred, encrypted "},
		{"hidden from one another", "the usual", `"to":"x@b.test","reply":"ok","rule":"require","outcome":"found"`, `,"reply":"550 5.7.3 separately"`, ""},
		{"hidden from one another, copies now", "soft, with copies", `"to":"x@b.test","reply":"ok","rule":"require","outcome":"found"`, `,"reply":"550 5.7.3 separately"`, "refused, encrypted "},
		{"no reply at all", "the usual", `"to":"x@b.test","reply":"deferred"`, "", ""},
		{"no address", "the usual", `"to":"<x","reply":"550 5.1.3 no address"`, "", ""},
	} {
		var m milter.Logged
		if err := json.Unmarshal([]byte(`{"msg":"mail","from":"bob@house.test"`+tt.more+`,"recipients":[{`+tt.line+`}]}`), &m); err != nil {
			t.Fatal(err)
		}
		x := &replayer{policy: parsed(t, policies[tt.policy]).Policy()}
		c, changed := x.compare(&m, m.Recipients[0], x.policy.Replay(gateway.Sender{Address: m.From, Pickup: m.Pickup}))
		got := ""
		if changed {
			got = fmt.Sprintf("%s, %s %s", c.Was, c.WouldBe, codes(c.Reply))
		}
		if got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// Where a mail cannot be split, an unknown recipient leaves those behind unknown.
func TestReplayHangsOnTheFirst(t *testing.T) {
	var m milter.Logged
	if err := json.Unmarshal([]byte(`{"msg":"mail","recipients":[{"to":"x@a.test","reply":"ok","rule":"never"},{"to":"x@b.test","reply":"ok","rule":"require","outcome":"found"}]}`), &m); err != nil {
		t.Fatal(err)
	}
	for policy, want := range map[string]way{"softer": unknown, "soft, with copies": encrypted} {
		x := &replayer{policy: parsed(t, policies[policy]).Policy()}
		again := x.policy.Replay(gateway.Sender{Address: "bob@house.test"})
		x.compare(&m, m.Recipients[0], again)
		if c, _ := x.compare(&m, m.Recipients[1], again); c.WouldBe != want {
			t.Errorf("%s: %s, want %s", policy, c.WouldBe, want)
		}
	}
}

// Whatever is in a log, what is printed is text that a terminal does not obey,
// and JSON that programs can read.
func FuzzReplay(f *testing.F) {
	const line = `{"time":"2026-11-28T09:00:00Z","msg":"mail","queue_id":"Q1","from":"bob@house.test","recipients":[{"to":"\u001b[2Jx@a.test","reply":"452 4.5.3","rule":"never","outcome":"none"}],"reply":"550 5.7.3 x"}`
	f.Add([]byte(line), true)
	f.Add([]byte("Nov 28 "+strings.ReplaceAll(line, "bob@house.test", "")+"\n\n{"), false)
	policy := parsed(f, policies["softer"]).Policy()
	f.Fuzz(func(t *testing.T, log []byte, asJSON bool) {
		var out bytes.Buffer
		x := &replayer{policy: policy, out: &out, asJSON: asJSON, counts: map[[2]way]int{}}
		x.all(bytes.NewReader(log), io.Discard)
		for text := range strings.Lines(out.String()) {
			text = strings.TrimSuffix(text, "\n")
			if strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
				t.Errorf("a terminal would obey %q", text)
			}
			if asJSON && !json.Valid([]byte(text)) {
				t.Errorf("no JSON: %q", text)
			}
		}
	})
}
