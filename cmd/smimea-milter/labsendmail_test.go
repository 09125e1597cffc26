package main_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"smimea.example/tools/judges"
)

// A sendmail is a Sendmail of our own: Debian's sendmail.mc and submit.mc, the
// README's lines, and what lets it run from where it was unpacked.
type sendmail struct {
	root   string // where that is
	copies string // the listener for copies, host:port
	signer int    // the port of a DKIM signer; 0: there is none
}

func (*sendmail) custom() custom { return customsOfSendmail }

func newSendmail(t *testing.T) *sendmail {
	t.Helper()
	judges.Find(t, "m4")
	return &sendmail{root: judges.Sendmail(t)}
}

func (s *sendmail) start(l *lab) {
	port := freePort(l.t)
	l.smtp = fmt.Sprintf("127.0.0.1:%d", port)
	s.copies = fmt.Sprintf("127.0.0.1:%d", freePort(l.t))
	s.settings(l)
	s.makeConfig(l, "sendmail.mc", s.daemon(l, port))
	s.makeConfig(l, "submit.mc", s.submission(l, port))
	s.makeMaps(l)
	for _, dir := range []string{"queue", "submitted", "spool/smimea"} {
		if err := os.MkdirAll(l.path(dir), 0o755); err != nil {
			l.t.Fatal(err)
		}
	}
	l.own("submitted", "nobody", "nogroup", 0o700)
	l.own("spool/smimea", "nobody", "nogroup", 0o700)
	l.start(s.named(l), "-bD", "-C", l.path("sendmail.cf"))
	waitForPort(l.t, l.smtp)
}

// named makes a script that runs Sendmail on a machine with a whole name. Where
// the name has no dot, Sendmail sleeps for a minute before it does anything.
func (s *sendmail) named(l *lab) string {
	script := l.write("sendmail", fmt.Sprintf("#!/bin/sh\nexec unshare --uts sh -c 'hostname mail.house.test && exec %s \"$@\"' sendmail \"$@\"\n", s.program("sendmail")))
	if err := os.Chmod(script, 0o755); err != nil {
		l.t.Fatal(err)
	}
	return script
}

// takeBack has nothing to add: the listener for copies is there from the start.
func (s *sendmail) takeBack(l *lab) { l.copies = s.copies }

func (s *sendmail) program(name string) string {
	return filepath.Join(s.root, "usr/libexec/sendmail", name)
}

// settings fills what is /etc/mail elsewhere. Sendmail must not ask the DNS of
// the machine, which knows nothing of the lab.
func (s *sendmail) settings(l *lab) {
	for name, content := range map[string]string{
		"local-host-names": "house.test\n",
		"trusted-users":    "",
		"relay-domains":    "",
		"aliases":          "",
		"service.switch":   "hosts files\naliases files\npasswd files\n",
		"m4/dialup.m4":     "",
		"m4/provider.m4":   "",
	} {
		l.write("mail/"+name, content)
	}
}

// makeMaps makes its tables. Debian's example is the access map: without one it
// makes everybody wait, this machine too.
func (s *sendmail) makeMaps(l *lab) {
	l.t.Helper()
	for name, content := range map[string]string{
		"access":        readFile(l.t, filepath.Join(s.root, "usr/share/sendmail/examples/db/access")),
		"virtusertable": "sales@house.test\trsa@good.test\n",
	} {
		cmd := exec.Command(s.program("makemap"), "-C", l.path("sendmail.cf"), "hash", l.path("mail/"+name))
		cmd.Stdin = strings.NewReader(content)
		if out, err := cmd.CombinedOutput(); err != nil {
			l.t.Fatalf("makemap: %v\n%s", err, out)
		}
	}
}

// A load that is common in tests must not make Sendmail queue mail, or refuse it.
const anyLoad = `define("confQUEUE_LA", "1000")dnl
define("confDELAY_LA", "1000")dnl
define("confREFUSE_LA", "1000")dnl
`

// daemon is what tells this instance from the system's. The queue of its
// listener is longer: one of 10 leaves clients hanging that come all at once.
func (s *sendmail) daemon(l *lab, port int) []string {
	_, sinkPort, _ := net.SplitHostPort(l.sink.Addr())
	own := m4(`
define("confTRUSTED_USER", "root")dnl
define("confPID_FILE", "%[1]s/sendmail.pid")dnl
define("confCONTROL_SOCKET_NAME", "")dnl
define("confHOST_STATUS_DIRECTORY", "")dnl
define("STATUS_FILE", "%[1]s/sendmail.st")dnl
define("QUEUE_DIR", "%[1]s/queue")dnl
define("confSERVICE_SWITCH_FILE", "%[1]s/mail/service.switch")dnl
define("confBIND_OPTS", "")dnl
%[3]sdefine("SMART_HOST", "relay:[127.0.0.1]")dnl
define("RELAY_MAILER_ARGS", "TCP $h %[2]s")dnl
define("LOCAL_MAILER_PATH", "/usr/bin/tee")dnl
define("LOCAL_MAILER_ARGS", "tee -a %[1]s/house.mbox")dnl
FEATURE("virtusertable", "hash -o %[1]s/mail/virtusertable")dnl
FEATURE("nocanonify")dnl
FEATURE("accept_unresolvable_domains")dnl
`, l.dir, sinkPort, anyLoad)
	return []string{
		"Port=smtp,", fmt.Sprintf("Port=%d, Listen=256,", port),
		"Port=submission,", fmt.Sprintf("Port=%d,", freePort(l.t)),
		"MAILER_DEFINITIONS", own + s.readme(l) + "MAILER_DEFINITIONS",
	}
}

// readme is the README's lines, with the lab's socket and port in them.
func (s *sendmail) readme(l *lab) string {
	l.t.Helper()
	filter := readmeLines(l.t, "dnl /etc/mail/sendmail.mc, above MAILER_DEFINITIONS")
	copies := readmeLines(l.t, "dnl /etc/mail/sendmail.mc, for copies")
	if !strings.Contains(copies, "Port=10026,") {
		l.t.Fatalf("the README's listener: %s", copies)
	}
	_, port, _ := net.SplitHostPort(s.copies)
	if s.signer > 0 {
		filter += readmeLines(l.t, "dnl /etc/mail/sendmail.mc, with a DKIM signer, below the gateway")
		copies = readmeLines(l.t, "dnl /etc/mail/sendmail.mc, for copies, with a DKIM signer")
	}
	return strings.NewReplacer("local:/run/smimea/milter.sock", "local:"+l.socket(), "Port=10026,", "Port="+port+",",
		"inet:8891@", fmt.Sprintf("inet:%d@", s.signer)).Replace(filter + copies)
}

// submission is what the sendmail command needs. It submits by SMTP.
func (s *sendmail) submission(l *lab, port int) []string {
	own := m4(`
define("confRUN_AS_USER", "nobody")dnl
define("confTRUSTED_USER", "nobody")dnl
define("confPID_FILE", "%[1]s/submit.pid")dnl
define("confCONTROL_SOCKET_NAME", "")dnl
define("STATUS_FILE", "%[1]s/submit.st")dnl
define("MSP_QUEUE_DIR", "%[1]s/submitted")dnl
define("confSERVICE_SWITCH_FILE", "%[1]s/mail/service.switch")dnl
define("confBIND_OPTS", "")dnl
define("RELAY_MAILER_ARGS", "TCP $h %[2]s")dnl
%[3]s`, l.dir, fmt.Sprint(port), anyLoad)
	return []string{"FEATURE(`msp'", own + "FEATURE(`msp'"}
}

// m4 writes quotes as m4 knows them.
func m4(format string, args ...any) string {
	var quoted strings.Builder
	for i, part := range strings.Split(fmt.Sprintf(format, args...), `"`) {
		if i > 0 {
			quoted.WriteString([]string{"'", "`"}[i%2])
		}
		quoted.WriteString(part)
	}
	return quoted.String()
}

// makeConfig makes a .cf file of one of Debian's macro files, with parts of it
// replaced: old, new, old, new, and so on. autoconf.m4 would be looked for below
// /usr, if it were not there already.
func (s *sendmail) makeConfig(l *lab, name string, replace []string) {
	l.t.Helper()
	cf := filepath.Join(s.root, "usr/share/sendmail/cf") + "/"
	debian := readFile(l.t, cf+"debian/"+name)
	replace = append(replace,
		"include(`/usr/share/sendmail/cf/m4/cf.m4')dnl", "include(`"+cf+"m4/cf.m4')dnl\ninclude(`"+cf+"debian/autoconf.m4')dnl",
		"/etc/mail/", l.path("mail")+"/")
	for i := 0; i < len(replace); i += 2 {
		if !strings.Contains(debian, replace[i]) {
			l.t.Fatalf("Debian's %s has no %q", name, replace[i])
		}
		debian = strings.ReplaceAll(debian, replace[i], replace[i+1])
	}
	out := l.run("m4", "-D_CF_DIR_="+cf, "-DMAIL_SETTINGS_DIR="+l.path("mail")+"/", l.write(name, debian))
	l.write(strings.TrimSuffix(name, ".mc")+".cf", string(out))
}

func (s *sendmail) command(l *lab, from string, to ...string) *exec.Cmd {
	return exec.Command(l.path("sendmail"), append([]string{"-C", l.path("submit.cf"), "-f", from}, to...)...)
}
