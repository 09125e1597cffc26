package main

import (
	"os"
	"reflect"
	"strings"
	"testing"
)

// The keys of JSON are an interface, so the manual lists each of them.
func TestManualListsTheKeys(t *testing.T) {
	manual, err := os.ReadFile("smimea.1")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		section string
		object  any
	}{
		{"lookup", lookupObject{}},
		{"resolve", resolveObject{}},
		{"explain", explainObject{}},
		{"replay", change{}},
		{"replay", replaySum{}},
	} {
		_, text, ok := strings.Cut(string(manual), "\n.Ss "+test.section+"\n")
		if !ok {
			t.Fatalf("the manual has no section %s", test.section)
		}
		text, _, _ = strings.Cut(text, "\n.Ss ")
		_, text, _ = strings.Cut(text, "\nThe keys of the JSON object ")
		for _, key := range keysOf(reflect.TypeOf(test.object)) {
			if !strings.Contains(text, "\n.Li "+key+"\n") && !strings.Contains(text, "\n.Li "+key+" ") {
				t.Errorf("%s: the manual does not list %q", test.section, key)
			}
		}
	}
}

// keysOf returns the keys of an object, and of those in it.
func keysOf(object reflect.Type) (keys []string) {
	switch object.Kind() {
	case reflect.Slice:
		return keysOf(object.Elem())
	case reflect.Struct:
		for i := range object.NumField() {
			key, _, _ := strings.Cut(object.Field(i).Tag.Get("json"), ",")
			keys = append(append(keys, key), keysOf(object.Field(i).Type)...)
		}
	}
	return keys
}
