package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"smimea.example/tools/judges"
)

func TestListItems(t *testing.T) {
	for _, tt := range []struct {
		name, list string
		want       []string
	}{
		{"nothing", " ,", nil},
		{"one", "hash:/etc/aliases", []string{"hash:/etc/aliases"}},
		{"commas, blanks, lines", "hash:/a, pcre:/b\n\thash:/c", []string{"hash:/a", "pcre:/b", "hash:/c"}},
		{"braces", "inline:{ {a = b, c}, d=e } hash:/a", []string{"inline:{ {a = b, c}, d=e }", "hash:/a"}},
		{"a brace too many", "a } b", []string{"a", "}", "b"}},
		{"a brace too few", "a { b, c", []string{"a", "{ b, c"}},
	} {
		if got := listItems(tt.list); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: listItems(%q) = %q, want %q", tt.name, tt.list, got, tt.want)
		}
	}
}

func TestReadList(t *testing.T) {
	for _, tt := range []struct {
		name, list string
		want       []mapEntry
	}{
		{"postmap", "a@b\tc, d\n@old\t@new\n", []mapEntry{{"a@b", "c, d"}, {"@old", "@new"}}},
		{"postalias", "info:\tbob@far.test\n@:\t@\nYP_MASTER_NAME:\tvm\nYP_LAST_MODIFIED:\t1\n", []mapEntry{{"info", "bob@far.test"}}},
		{"no value", "a\n", []mapEntry{{"a", ""}}},
	} {
		var got []mapEntry
		if err := readList(strings.NewReader(tt.list), func(e mapEntry) { got = append(got, e) }); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		if !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestReadListIsBounded(t *testing.T) {
	n := 0
	err := readList(strings.NewReader(strings.Repeat("a\tb\n", maxEntries+1)), func(mapEntry) { n++ })
	if err != errTooMany || n != maxEntries {
		t.Errorf("%d entries and %v, want %d and %v", n, err, maxEntries, errTooMany)
	}
	if err := readList(strings.NewReader("a\tb\n"+strings.Repeat("a", maxLine+1)), func(mapEntry) {}); err == nil {
		t.Error("a line without an end was read")
	}
}

func TestPatternLines(t *testing.T) {
	for _, tt := range []struct {
		name, file string
		want       []mapEntry
	}{
		{"a pattern", "/^(.*)@old$/ $1@far.test\n", []mapEntry{{"/^(.*)@old$/", "$1@far.test"}}},
		{"flags", "/a/iU\tb@c\n", []mapEntry{{"/a/", "b@c"}}},
		{"negated", "!/a b/ c@d\n", []mapEntry{{"!/a b/", "c@d"}}},
		{"no delimiters", "m?no a@b\n", []mapEntry{{"m?no", "a@b"}}},
		{"bars", "|a/b| c@d\n", []mapEntry{{"|a/b|", "c@d"}}},
		{"escaped", `/a\/b \\/ c@d`, []mapEntry{{`/a\/b \\/`, "c@d"}}},
		{"a network", "192.0.2.0/24 a@b\n2001:db8::/32 c@d\n", []mapEntry{{"192.0.2.0/24", "a@b"}, {"2001:db8::/32", "c@d"}}},
		{"goes on", "/a/ b@c,\n\td@e\n/f/ g@h\n", []mapEntry{{"/a/", "b@c,\td@e"}, {"/f/", "g@h"}}},
		{"comments between", "# x\n/a/ b@c,\n# y\n\n  d@e\n", []mapEntry{{"/a/", "b@c,  d@e"}}},
		{"conditions", "if /x/\n/a/ b@c\nendif\nIF !/y/\n/d/ e@f\nENDIF\n", []mapEntry{{"/a/", "b@c"}, {"/d/", "e@f"}}},
		{"no value", "/a/\n", nil},
		{"no end", "/a b@c\n", nil},
	} {
		path := filepath.Join(t.TempDir(), "table")
		if err := os.WriteFile(path, []byte(tt.file), 0o600); err != nil {
			t.Fatal(err)
		}
		var got []mapEntry
		if err := readMap("postmap", "pcre:"+path, func(e mapEntry) { got = append(got, e) }); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		if !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// Tables that nobody has to be asked about.
func TestReadMap(t *testing.T) {
	for _, tt := range []struct {
		name, table string
		want        []mapEntry
		err         string
	}{
		{"static", "static:a@b", []mapEntry{{"everything", "a@b"}}, ""},
		{"static with blanks", "static:{ a@b, c@d }", []mapEntry{{"everything", "a@b, c@d"}}, ""},
		{"patterns in line", "regexp:{ {/a,b/ c@d, e@f}, {!/g/ h@i} }", []mapEntry{{"/a,b/", "c@d, e@f"}, {"!/g/", "h@i"}}, ""},
		{"behind proxymap", "proxy:static:a@b", []mapEntry{{"everything", "a@b"}}, ""},
		{"no such file", "pcre:/nonexistent/table", nil, "no such file"},
		{"another directory", "ldap:/etc/postfix/ldap.cf", nil, "cannot be listed"},
		{"another machine", "tcp:127.0.0.1:1", nil, "cannot be listed"},
		{"a database", "proxy:mysql:/etc/postfix/mysql.cf", nil, "cannot be listed"},
		{"no type", "nonsense", nil, "cannot be listed"},
	} {
		var got []mapEntry
		err := readMap("postmap", tt.table, func(e mapEntry) { got = append(got, e) })
		if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.err)
		}
		if !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// Tables that the real postmap and postalias list.
func TestReadRealMap(t *testing.T) {
	judges.Find(t, "postmap")
	dir := t.TempDir()
	t.Setenv("MAIL_CONFIG", dir)
	for name, content := range map[string]string{
		"main.cf": "compatibility_level = 3.6\n",
		"virtual": "# mine\n@old.test @far.test\n",
		"aliases": "sales: bob@far.test,\n amy@far.test\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{{"postmap", "hash:" + dir + "/virtual"}, {"postalias", "hash:" + dir + "/aliases"}} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%q: %v\n%s", args, err, out)
		}
	}
	for _, tt := range []struct {
		name, list, table string
		want              []mapEntry
		err               string
	}{
		{"hash", "postmap", "hash:" + dir + "/virtual", []mapEntry{{"@old.test", "@far.test"}}, ""},
		{"texthash", "postmap", "texthash:" + dir + "/virtual", []mapEntry{{"@old.test", "@far.test"}}, ""},
		{"aliases", "postalias", "hash:" + dir + "/aliases", []mapEntry{{"sales", "bob@far.test, amy@far.test"}}, ""},
		{"type of the house", "postalias", dir + "/aliases", []mapEntry{{"sales", "bob@far.test, amy@far.test"}}, ""},
		{"in line", "postmap", "inline:{ {a@b = c@d, e@f} }", []mapEntry{{"a@b", "c@d, e@f"}}, ""},
		{"not made yet", "postmap", "hash:" + dir + "/missing", nil, "missing.db: No such file"},
	} {
		var got []mapEntry
		err := readMap(tt.list, tt.table, func(e mapEntry) { got = append(got, e) })
		if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.err)
		}
		if !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}
