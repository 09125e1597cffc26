package smimea

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"smimea.example/tools/judges"
)

func TestRecordForms(t *testing.T) {
	r := Record{Usage: 3, Selector: 1, Matching: 2, Data: []byte{0xAB, 0x01}}
	const owner = hugh + "._smimecert.example.com."
	for _, test := range []struct{ name, got, want string }{
		{"presentation", r.String(), "3 1 2 ab01"},
		{"zone line", r.ZoneLine(owner, 3600), owner + " 3600 IN SMIMEA 3 1 2 ab01"},
		{"generic line", r.GenericLine(owner, 3600), owner + ` 3600 IN TYPE53 \# 5 030102ab01`},
	} {
		if test.got != test.want {
			t.Errorf("%s: %q, want %q", test.name, test.got, test.want)
		}
	}
}

func TestParseRecord(t *testing.T) {
	r, err := ParseRecord([]byte{3, 0, 1, 9, 8})
	if err != nil || r.Usage != 3 || r.Selector != 0 || r.Matching != 1 || !bytes.Equal(r.Data, []byte{9, 8}) {
		t.Errorf("ParseRecord = %v, %v", r, err)
	}
	for _, short := range [][]byte{nil, {3}, {3, 1}, {3, 1, 2}} {
		r, err := ParseRecord(short)
		if err == nil || r.Data != nil || !bytes.HasPrefix(r.RDATA(), short) {
			t.Errorf("ParseRecord(%v) = %v, %v", short, r, err)
		}
	}
}

func FuzzParseRecord(f *testing.F) {
	f.Add([]byte{3, 0, 0, 0x30, 0})
	f.Add([]byte{255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, rdata []byte) {
		r, err := ParseRecord(rdata)
		if err != nil {
			return
		}
		if got := r.RDATA(); !bytes.Equal(got, rdata) {
			t.Errorf("RDATA of %x is %x", rdata, got)
		}
		if der := r.Certificate(); der != nil && !r.Matches(der) {
			t.Errorf("%v does not match its own certificate", r)
		}
	})
}

// Other people's programs read our zone lines, and see the same record in both.
func TestZoneLinesWithLDNS(t *testing.T) {
	read := judges.Find(t, "ldns-read-zone")
	der := newCert(t, cert{emails: []string{"hugh@example.com"}}).Raw
	r := Record{Usage: 3, Data: der}
	owner, err := OwnerName("hugh@example.com")
	if err != nil {
		t.Fatal(err)
	}
	var outputs []string
	for _, line := range []string{r.ZoneLine(owner, 300), r.GenericLine(owner, 300)} {
		zone := filepath.Join(t.TempDir(), "zone")
		if err := os.WriteFile(zone, []byte(line+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(read, zone).CombinedOutput()
		if err != nil {
			t.Fatalf("ldns-read-zone: %v\n%s", err, out)
		}
		outputs = append(outputs, strings.ToLower(strings.Join(strings.Fields(string(out)), " ")))
	}
	if outputs[0] != outputs[1] || !strings.Contains(outputs[0], "smimea 3 0 0 "+strings.Fields(r.String())[3]) {
		t.Errorf("ldns reads\n%.200s\n%.200s", outputs[0], outputs[1])
	}
}
