package main

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	mta "github.com/emersion/go-milter"

	"smimea.example/internal/gateway"
	"smimea.example/smimea"
	"smimea.example/tools/testnet"
)

// What a new CRL lists is not used any more, though the answer of the DNS holds
// for long and was remembered; and with no CRL that holds, nobody knows. Neither
// a CRL that was spoilt nor a slip elsewhere changes that.
func TestReloadForgets(t *testing.T) {
	f := newKeyFiles(t)
	content, err := os.ReadFile(filepath.Join(f.dir, "alice", "alice.pem"))
	if err != nil {
		t.Fatal(err)
	}
	alice := derOf(t, content)
	owner, err := smimea.OwnerName("alice@good.test")
	if err != nil {
		t.Fatal(err)
	}
	internet, err := testnet.Start(testnet.Zone{Name: "good.test.", Records: []string{
		smimea.Record{Usage: smimea.DANEEE, Data: alice}.GenericLine(owner, 3600)}})
	if err != nil {
		t.Fatal(err)
	}
	defer internet.Close()
	anchors := filepath.Join(f.dir, "root.key")
	if err := os.WriteFile(anchors, []byte(internet.TrustAnchor()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(f.dir, "smimea.toml")
	settings := fmt.Sprintf("[dns]\nupstreams = [%q]\ntrust_anchors = %q\n[keys]\nroots = %q\ncrls = %q\n[[rule]]\nrecipient = [\"*\"]\naction = \"require\"\n",
		internet.Resolver(), anchors, filepath.Join(f.dir, "root.pem"), filepath.Join(f.dir, "crls"))
	if err := os.WriteFile(path, []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	m := newMetrics()
	first, err := openHouse(path, m)
	if err != nil {
		t.Fatal(err)
	}
	p := &process{path: path, settings: first.settings, houses: newHouses(first), metrics: m, log: slog.New(slog.DiscardHandler)}
	defer p.houses.close()
	reply := func() gateway.Explanation {
		return p.houses.current.Gateway.Explain(t.Context(), "bob@example.org", "alice@good.test")
	}
	for _, step := range []struct {
		name string
		do   func()
		code int
		why  string
	}{
		{"no CRL", func() {}, 250, ""},
		{"not listed", func() { f.crl("ca.crl", -3*time.Hour, time.Hour, 2) }, 250, ""},
		{"listed", func() { f.crl("ca.crl", -2*time.Hour, time.Hour, 1) }, 550, "revoked on"},
		{"broken", func() { f.write("crls/ca.crl", "X509 CRL", []byte("half")) }, 550, "revoked on"},
		{"a slip in the settings", func() {
			f.crl("ca.crl", -time.Hour, time.Hour, 2)
			if err := os.WriteFile(path, []byte(settings+"slip"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, 250, ""},
		{"listed while there is a slip", func() { f.crl("ca.crl", -30*time.Minute, time.Hour, 1) }, 550, "revoked on"},
		{"out of date", func() { f.crl("ca.crl", -2*time.Hour, -time.Hour) }, 451, "the CRL ca.crl ended"},
		{"renewed", func() { f.crl("ca.crl", -time.Hour, time.Hour) }, 250, ""},
	} {
		step.do()
		p.takeOver()
		e := reply()
		if e.Reply.Code != step.code || (e.Why == nil) != (step.why == "") || e.Why != nil && !strings.Contains(e.Why.Error(), step.why) {
			t.Errorf("%s: %d %s (%v), want %d, %q", step.name, e.Reply.Code, e.Reply.Text, e.Why, step.code, step.why)
		}
	}
}

func derOf(t *testing.T, content []byte) []byte {
	t.Helper()
	block, _ := pem.Decode(content)
	if block == nil {
		t.Fatal("no PEM")
	}
	if _, err := x509.ParseCertificate(block.Bytes); err != nil {
		t.Fatal(err)
	}
	return block.Bytes
}

const requireRule = "[[rule]]\nrecipient = [\"*\"]\naction = \"require\"\n"

// Changed settings are for the mails that begin from then on. With a slip in
// them, nothing is taken over.
func TestSettingsAreTakenOverWholeOrNotAtAll(t *testing.T) {
	const dns = "[dns]\nupstreams = [\"127.0.0.1:9\"]\n"
	d := startDaemonWith(t, dns+neverRule)
	inFlight := d.begin()
	for _, step := range []struct {
		name, settings, log string
		plain               bool // mail goes out as it is
	}{
		{"another rule", dns + requireRule, `"msg":"settings: taken over","rules":1}`, false},
		{"a slip of the pen", dns + "upstream = []\n" + neverRule, `"msg":"settings: nothing was taken over; the old ones stay in force","why":"` + d.settings + `: \"dns.upstream\" is not a setting`, false},
		{"a directory that is not there", dns + "[keys]\npinned = \"/nonexistent\"\n" + neverRule, `keys.pinned: `, false},
		{"another limit", dns + neverRule + "[limits]\nconnections = 100\n", `"why":"limits.connections: changed, and that takes a restart; `, false},
		{"put back", dns + neverRule, `"msg":"settings: taken over"`, true},
	} {
		d.write(step.settings)
		d.signal(syscall.SIGHUP)
		d.waitFor(step.log)
		s, act, err := d.rcpt()
		if err != nil || (act.Code == mta.ActContinue) != step.plain {
			t.Errorf("%s: a recipient is answered %v, %v", step.name, act, err)
		}
		s.Close()
	}
	d.step("the rest of the first mail", func() (*mta.Action, error) { return inFlight.BodyChunk([]byte("more\r\n")) })
	if _, act, err := inFlight.End(); err != nil || act.Code != mta.ActAccept {
		t.Errorf("the mail that was in flight: %v, %v", act, err)
	}
}

// rcpt begins a mail up to its recipient, and returns the answer.
func (d *daemonProcess) rcpt() (*mta.ClientSession, *mta.Action, error) {
	d.t.Helper()
	s := d.connect()
	d.step("mail", func() (*mta.Action, error) { return s.Mail("alice@example.org", nil) })
	act, err := s.Rcpt("bob@example.net", nil)
	return s, act, err
}

// No mail is dropped, however often the settings change, and nothing is left of
// the old ones.
func TestReloadUnderLoad(t *testing.T) {
	const dns = "[dns]\nupstreams = [\"127.0.0.1:9\"]\n"
	d := startDaemonWith(t, dns+neverRule)
	go io.Copy(io.Discard, d.log)
	done := make(chan struct{})
	var clients sync.WaitGroup
	var mails atomic.Int64
	for range 8 {
		clients.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if err := d.mail(); err != nil {
					t.Errorf("after %d mails: %v", mails.Load(), err)
					return
				}
				mails.Add(1)
			}
		})
	}
	before := d.descriptors()
	for i := range 60 {
		d.write(dns + strings.Repeat(neverRule, i%4)) // without a rule they are not taken over
		d.signal(syscall.SIGHUP)
		time.Sleep(25 * time.Millisecond)
	}
	close(done)
	clients.Wait()
	if mails.Load() < 100 {
		t.Errorf("only %d mails", mails.Load())
	}
	if after := d.descriptors(); after > before+10 {
		t.Errorf("%d descriptors are open, %d before", after, before)
	}
}

// mail sends a whole mail, which is to be accepted.
func (d *daemonProcess) mail() error {
	s, err := mta.NewClientWithOptions("unix", d.socket, mta.ClientOptions{
		ReadTimeout: 5 * time.Second, ActionMask: 0x1ff, ProtocolMask: 0x1fffff,
	}).Session()
	if err != nil {
		return err
	}
	defer s.Close()
	for _, step := range []func() (*mta.Action, error){
		func() (*mta.Action, error) { return s.Conn("client", mta.FamilyInet, 4711, "192.0.2.1") },
		func() (*mta.Action, error) { return s.Mail("alice@example.org", nil) },
		func() (*mta.Action, error) { return s.Rcpt("bob@example.net", nil) },
		s.HeaderEnd,
		func() (*mta.Action, error) { return s.BodyChunk([]byte("Hello\r\n")) },
		func() (*mta.Action, error) { _, act, err := s.End(); return act, err },
	} {
		if act, err := step(); err != nil || act.Code != mta.ActContinue && act.Code != mta.ActAccept {
			return fmt.Errorf("%v, %w", act, err)
		}
	}
	return nil
}

func (d *daemonProcess) descriptors() int {
	d.t.Helper()
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", d.cmd.Process.Pid))
	if err != nil {
		d.t.Fatal(err)
	}
	return len(list)
}
