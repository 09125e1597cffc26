package config

import (
	"slices"
	"strings"
	"testing"
)

// What the process has as a whole takes a restart, and nothing else does.
func TestNeedRestart(t *testing.T) {
	parse := func(text string) *Config {
		t.Helper()
		c, err := Parse([]byte(text), "smimea.toml")
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	for _, tt := range []struct {
		name, changed string
		want          []string
	}{
		{"nothing", oneRule, nil},
		{"the defaults spelt out", "listen = [\"unix:/var/spool/postfix/smimea/milter.sock\"]\n" + oneRule +
			"[limits]\nconnections = 200\nmails = 150\nmemory = \"256000kB\"\nwait = \"1m\"\n", nil},
		{"rules, keys and resolvers", "[dns]\nupstreams = [\"192.0.2.53\"]\ntry = \"1s\"\n[keys]\npinned = \"/etc/smimea/pinned\"\n" +
			strings.ReplaceAll(oneRule, "require", "never"), nil},
		{"sockets", "listen = [\"inet:127.0.0.1:8893\"]\n" + oneRule + "[metrics]\nlisten = \"127.0.0.1:9893\"\n", []string{"listen", "metrics.listen"}},
		{"mode", "mode = \"shadow\"\n" + oneRule, []string{"mode"}},
		{"copies", oneRule + "[resubmit]\naddress = \"inet:127.0.0.1:10026\"\njournal = \"/var/lib/copies\"\n",
			[]string{"resubmit.address", "resubmit.journal"}},
		{"limits", oneRule + "[limits]\nconnections = 10\nmails = 5\nmemory = \"64MB\"\nwait = \"1s\"\ncopies = 5\n",
			[]string{"limits.connections", "limits.mails", "limits.memory", "limits.wait", "limits.copies"}},
	} {
		if got := parse(oneRule).NeedRestart(parse(tt.changed)); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}
