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
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, rest := range strings.Split(string(text), "```toml\n")[1:] {
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

// The example explains every setting, as the manual says.
func TestExampleHasEverySetting(t *testing.T) {
	example, err := os.ReadFile("../../cmd/smimea-milter/smimea.toml")
	if err != nil {
		t.Fatal(err)
	}
	var set []string // names of tables and settings, commented out or not
	for line := range strings.Lines(string(example)) {
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
