package main

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// All records of a name come in one answer, which has its bounds.
func TestPublishBounds(t *testing.T) {
	now := time.Now()
	files := &fixture{files: map[string][]byte{}}
	key := newEC(t)
	for i := range maxRecords + 1 {
		files.add(t, fmt.Sprintf("small%d", i), key, certificate("Alice", "alice@good.test", now))
	}
	for i := range 4 {
		large := certificate("Alice", "alice@good.test", now)
		large.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Value: make([]byte, 15<<10)}}
		files.add(t, fmt.Sprintf("large%d", i), key, large)
	}
	for _, test := range []struct {
		kind string
		n    int
		why  string
	}{
		{"small", maxRecords, ""},
		{"small", maxRecords + 1, "21 certificates are too many"},
		{"large", 3, ""},
		{"large", 4, "bytes together, too many for one answer of the DNS"},
	} {
		dir := t.TempDir()
		var paths []string
		for i := range test.n {
			path := filepath.Join(dir, fmt.Sprint(i))
			if err := os.WriteFile(path, files.files[fmt.Sprintf("%s%d.pem", test.kind, i)], 0o600); err != nil {
				t.Fatal(err)
			}
			paths = append(paths, path, path) // again: it counts once
		}
		p := publication{now: now}
		certs, err := p.collect(paths)
		if test.why == "" && (err != nil || len(certs) != test.n) {
			t.Errorf("%d %s ones: %d, %v", test.n, test.kind, len(certs), err)
		}
		if test.why != "" && (err == nil || !strings.Contains(err.Error(), test.why)) {
			t.Errorf("%d %s ones: %v, want %q", test.n, test.kind, err, test.why)
		}
	}
}
