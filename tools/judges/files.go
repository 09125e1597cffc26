package judges

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Node returns the path of Node 26 or later, which has ML-KEM. No distribution
// packages it yet: tools/test --install puts it into the user's cache directory,
// and names another one in SMIMEA_TEST_NODE where there is one.
func Node(t testing.TB) string {
	t.Helper()
	if path := os.Getenv("SMIMEA_TEST_NODE"); path != "" {
		return path
	}
	if cache, err := os.UserCacheDir(); err == nil {
		found, _ := filepath.Glob(filepath.Join(cache, "smimea-tests", "node-26.*", "bin", "node"))
		if len(found) > 0 {
			return found[len(found)-1]
		}
	}
	Missing(t, "Node 26, which tools/test --install fetches")
	return ""
}

// Sendmail returns the directory with Debian's packages of Sendmail, unpacked.
// They cannot be installed beside Postfix: tools/test --install puts them into
// the user's cache directory, and names another one in SMIMEA_TEST_SENDMAIL
// where there is one.
func Sendmail(t testing.TB) string {
	t.Helper()
	if dir := os.Getenv("SMIMEA_TEST_SENDMAIL"); dir != "" {
		return dir
	}
	if cache, err := os.UserCacheDir(); err == nil {
		dir := filepath.Join(cache, "smimea-tests", "sendmail")
		if _, err := os.Stat(dir); err == nil {
			return dir
		}
	}
	Missing(t, "Sendmail, which tools/test --install fetches")
	return ""
}

// ClassPath returns the class path with Bouncy Castle, for java -cp.
func ClassPath(t testing.TB) string {
	t.Helper()
	var paths []string
	for _, name := range []string{"bcmail", "bcpkix", "bcutil", "bcprov"} {
		path := filepath.Join("/usr/share/java", name+".jar") // where Debian puts it
		if _, err := os.Stat(path); err != nil {
			Missing(t, "libbcmail-java")
		}
		paths = append(paths, path)
	}
	return strings.Join(paths, ":")
}
