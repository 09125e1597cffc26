package config

import (
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// The settings that the documents show are settings.
func TestDocumentedSettings(t *testing.T) {
	blocks := 0
	for _, file := range []string{"../../README.md", "../../docs/postmaster.md"} {
		text := read(t, file)
		for _, rest := range strings.Split(text, "```toml\n")[1:] {
			block, _, closed := strings.Cut(rest, "```")
			if !closed {
				t.Fatalf("%s: a block has no end", file)
			}
			blocks++
			if !strings.Contains(block, "[[rule]]") {
				block += "\n" + oneRule
			}
			if _, err := Parse([]byte(block), file); err != nil {
				t.Errorf("%v\n%s", err, block)
			}
		}
	}
	if blocks < 5 {
		t.Errorf("%d blocks: there must be more", blocks)
	}
}

// The guide has the settings of mail servers in full, and they are the README's, which
// are tried with these mail servers.
func TestGuideHasTheLinesOfTheREADME(t *testing.T) {
	readme := read(t, "../../README.md")
	guide := read(t, "../../docs/postmaster.md")
	for _, heading := range []string{
		"# /etc/postfix/main.cf, for everything", "# /etc/postfix/master.cf, for copies",
		"# /etc/postfix/main.cf, with a DKIM signer", "# /etc/postfix/master.cf, for copies, with a DKIM signer",
		"dnl /etc/mail/sendmail.mc, above MAILER_DEFINITIONS", "dnl /etc/mail/sendmail.mc, for copies",
		"dnl /etc/mail/sendmail.mc, with a DKIM signer, below the gateway", "dnl /etc/mail/sendmail.mc, for copies, with a DKIM signer",
	} {
		_, block, ok := strings.Cut(readme, "```cfg\n"+heading+"\n")
		block, _, _ = strings.Cut(block, "```")
		if !ok || !strings.Contains(guide, "\n"+block) {
			t.Errorf("the README has below %q, and the guide has not:\n%s", heading, block)
		}
	}
}

// The manual has those of main.cf, without their comments.
func TestManualHasTheLinesOfTheREADME(t *testing.T) {
	readme := read(t, "../../README.md")
	manual := read(t, "../../cmd/smimea-milter/smimea-milter.8")
	for _, heading := range []string{"for everything", "so that what leaves passes once more"} {
		_, block, ok := strings.Cut(readme, "```cfg\n# /etc/postfix/main.cf, "+heading+"\n")
		block, _, _ = strings.Cut(block, "```")
		if !ok {
			t.Fatalf("the README has no lines %q", heading)
		}
		for line := range strings.Lines(block) {
			if !strings.HasPrefix(line, "#") && !strings.Contains(manual, "\n"+line) {
				t.Errorf("the README has, and the manual has not: %s", line)
			}
		}
	}
}

// The example explains every setting, as the manual says.
func TestExampleHasEverySetting(t *testing.T) {
	example := read(t, "../../cmd/smimea-milter/smimea.toml")
	var set []string // names of tables and settings, commented out or not
	for line := range strings.Lines(example) {
		name, _, _ := strings.Cut(strings.TrimLeft(line, "# "), " = ")
		set = append(set, strings.TrimSpace(name))
	}
	for _, name := range settingNames(reflect.TypeFor[Config]()) {
		if !slices.Contains(set, name) && !slices.Contains(set, "["+name+"]") && !slices.Contains(set, "[["+name+"]]") {
			t.Errorf("the example does not have %q", name)
		}
	}
}

func settingNames(table reflect.Type) (names []string) {
	switch table.Kind() {
	case reflect.Slice:
		return settingNames(table.Elem())
	case reflect.Struct:
		for i := range table.NumField() {
			if name := table.Field(i).Tag.Get("toml"); name != "" {
				names = append(append(names, name), settingNames(table.Field(i).Type)...)
			}
		}
	}
	return names
}

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
