package main

import (
	"path/filepath"
	"strings"
	"testing"

	"smimea.example/internal/config"
)

// A house stays open for those who are in it, and no longer.
func TestHouseClosesBehindTheLast(t *testing.T) {
	old, young := testHouse(t), testHouse(t)
	hs := newHouses(old)
	h, leave := hs.enter()
	other, leaveToo := hs.enter()
	if h != old || other != old {
		t.Fatal("not in the first house")
	}
	hs.replace(young)
	if h, leave := hs.enter(); h != young {
		t.Error("in the old house after it was replaced")
	} else {
		leave()
	}
	leave()
	if isClosed(t, old) {
		t.Error("the old house was closed with somebody in it")
	}
	leaveToo()
	if !isClosed(t, old) {
		t.Error("the old house is still open")
	}
	if isClosed(t, young) {
		t.Error("the current house was closed")
	}
	hs.close()
	if !isClosed(t, young) {
		t.Error("the last house is still open")
	}
}

func TestHouseWithNobodyInItClosesAtOnce(t *testing.T) {
	old := testHouse(t)
	hs := newHouses(old)
	hs.replace(testHouse(t))
	defer hs.close()
	if !isClosed(t, old) {
		t.Error("still open")
	}
}

func testHouse(t *testing.T) *house {
	t.Helper()
	settings, err := config.Parse([]byte("[dns]\nupstreams = [\"127.0.0.1:9\"]\n"+neverRule), filepath.Join(t.TempDir(), "smimea.toml"))
	if err != nil {
		t.Fatal(err)
	}
	built, err := settings.Build()
	if err != nil {
		t.Fatal(err)
	}
	return &house{Built: built, settings: settings}
}

// isClosed asks its resolver, whose connections are what there is to close.
func isClosed(t *testing.T, h *house) bool {
	t.Helper()
	answer := h.Resolver.Lookup(t.Context(), ".", typeDNSKEY)
	if answer.Why == nil {
		t.Fatal("an answer from nobody")
	}
	return strings.Contains(answer.Why.Error(), "closed")
}
