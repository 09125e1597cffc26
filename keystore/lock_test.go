package keystore

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// Between its file and its line a certificate would be everybody's that it
// names. Nobody looks then.
func TestReadersWait(t *testing.T) {
	path := directory(t, nil)
	before := open(t, path)
	unlock, err := lock(path, syscall.LOCK_EX)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(path, "a.pem")
	if err := os.WriteFile(file, pemOf(cert{emails: []string{"ceo@example.org"}}.der(t)), 0o600); err != nil {
		t.Fatal(err)
	}
	var readers sync.WaitGroup
	see := func(how string, d *Dir, err error) {
		if err != nil {
			t.Errorf("%s: %v", how, err)
		} else if _, err := d.certificates("ceo@example.org"); err == nil {
			t.Errorf("%s saw the file without its line", how)
		}
	}
	readers.Go(func() {
		d, err := OpenDir(path)
		see("OpenDir", d, err)
	})
	readers.Go(func() { see("Reload", before, before.Reload()) })
	time.Sleep(100 * time.Millisecond) // in which they would be done
	if err := os.WriteFile(filepath.Join(path, indexName), []byte(alice+" a.pem\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	unlock()
	readers.Wait()
}

func TestReadersShare(t *testing.T) {
	path := directory(t, nil)
	unlock, err := lock(path, syscall.LOCK_SH)
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	open(t, path)
}

// Whoever holds the lock for ever does not stop us for ever.
func TestLockIsNotWaitedForEver(t *testing.T) {
	path := directory(t, nil)
	unlock, err := lock(path, syscall.LOCK_EX)
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		if _, err := OpenDir(path); err == nil || time.Since(start) < patience {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

// Two programs pin at once, and none takes away what the other has written.
func TestPinTogether(t *testing.T) {
	path := directory(t, nil)
	der := pemOf(cert{}.der(t))
	const each = 20
	var programs sync.WaitGroup
	for who := range 2 {
		d := open(t, path)
		programs.Go(func() {
			for i := range each {
				if _, err := d.Pin(fmt.Sprintf("a%d@%d.test", i, who), der); err != nil {
					t.Error(err)
				}
			}
		})
	}
	programs.Wait()
	if list := open(t, path).List(); len(list) != 1 || len(list[0].For) != 2*each {
		t.Errorf("pinned is %+v", list)
	}
}

// What is pinned for a partner is at no time pinned for those it names.
func TestLoadWhileForgetting(t *testing.T) {
	files := make(map[string][]byte)
	for i := range 50 { // so that reading takes a while
		files[fmt.Sprintf("z%d.pem", i)] = pemOf(cert{key: ecKey(), emails: []string{fmt.Sprintf("p%d@example.net", i)}}.der(t))
	}
	path := directory(t, files)
	d, der := open(t, path), pemOf(cert{emails: []string{"ceo@example.org"}}.der(t))
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	var editor sync.WaitGroup
	editor.Go(func() {
		for ctx.Err() == nil {
			if _, err := d.Pin("@partner.test", der); err != nil {
				t.Error(err)
			}
			if _, err := d.Forget("@partner.test"); err != nil {
				t.Error(err)
			}
		}
	})
	for ctx.Err() == nil {
		r, err := OpenDir(path)
		if err != nil {
			t.Error(err)
			break
		}
		if _, err := r.certificates("ceo@example.org"); err == nil {
			t.Error("the partner's certificate is pinned for ceo@example.org")
			break
		}
	}
	cancel()
	editor.Wait()
}
