package main_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"smimea.example/tools/judges"
)

// A postfix is a Postfix of our own: Debian's main.cf and master.cf, the
// README's lines for what the heading says, and what tells this instance from
// the system's.
type postfix struct{ heading string }

func (postfix) custom() custom { return customsOfPostfix }

func newPostfix(t *testing.T, heading string) postfix {
	t.Helper()
	judges.Find(t, "postfix")
	return postfix{heading}
}

func (p postfix) start(l *lab) {
	l.smtp = fmt.Sprintf("127.0.0.1:%d", freePort(l.t))
	l.submit = fmt.Sprintf("127.0.0.1:%d", freePort(l.t))
	l.write("postfix/main.cf", p.main(l))
	l.write("postfix/master.cf", p.master(l))
	l.write("postfix/dynamicmaps.cf", "")
	for _, dir := range []string{"spool", "data", "spool/smimea"} {
		if err := os.MkdirAll(l.path(dir), 0o755); err != nil {
			l.t.Fatal(err)
		}
	}
	l.own("data", "postfix", "postfix", 0o700)
	// As the README has it: the milter's user makes the socket, Postfix' group opens it.
	l.own("spool/smimea", "nobody", "postfix", 0o750|os.ModeSetgid)
	l.run("postfix", "-c", l.path("postfix"), "start")
	l.t.Cleanup(func() { l.run("postfix", "-c", l.path("postfix"), "stop") })
	waitForPort(l.t, l.smtp)
}

func (p postfix) main(l *lab) string {
	_, sinkPort, _ := net.SplitHostPort(l.sink.Addr())
	return readFile(l.t, "/usr/share/postfix/main.cf.debian") + readmeLines(l.t, "# /etc/postfix/main.cf, "+p.heading) + fmt.Sprintf(`
queue_directory = %[1]s/spool
data_directory = %[1]s/data
maillog_file = %[1]s/postfix.log
maillog_file_prefixes = %[1]s
myhostname = mail.house.test
mydestination = house.test
mynetworks = 127.0.0.0/8
inet_interfaces = loopback-only
inet_protocols = ipv4
mail_spool_directory = %[1]s/mail
alias_maps =
alias_database =
relayhost = [127.0.0.1]:%[2]s
`, l.dir, sinkPort)
}

// master changes the one line of master.cf that two instances on a machine
// cannot share, and adds the submission service, which Debian leaves to be
// switched on.
func (p postfix) master(l *lab) string {
	master := strings.Replace(readFile(l.t, "/usr/share/postfix/master.cf.dist"),
		"\nsmtp      inet", fmt.Sprintf("\n%s inet", l.smtp), 1)
	if p.heading != "for everything" {
		master += fmt.Sprintf("%s inet n - y - - smtpd\n", l.submit) +
			readmeLines(l.t, "# /etc/postfix/master.cf, below submission and submissions")
	}
	return master
}

// takeBack adds the README's listener for copies.
func (p postfix) takeBack(l *lab) {
	l.copies = fmt.Sprintf("127.0.0.1:%d", freePort(l.t))
	lines := readmeLines(l.t, "# /etc/postfix/master.cf, for copies")
	if !strings.HasPrefix(lines, "127.0.0.1:10026 ") {
		l.t.Fatalf("the README's listener: %s", lines)
	}
	l.write("postfix/master.cf", readFile(l.t, l.path("postfix/master.cf"))+l.copies+strings.TrimPrefix(lines, "127.0.0.1:10026"))
	l.run("postfix", "-c", l.path("postfix"), "reload")
}

func (p postfix) command(l *lab, from string, to ...string) *exec.Cmd {
	cmd := exec.Command("sendmail", append([]string{"-C", l.path("postfix"), "-f", from}, to...)...)
	cmd.Env = append(os.Environ(), "MAIL_CONFIG="+l.path("postfix"))
	return cmd
}

// checkFinds runs smimea-milter -check beside Postfix and wants these lines of it.
func (l *lab) checkFinds(lines ...string) {
	l.t.Helper()
	cmd := exec.Command(l.bin+"/smimea-milter", "-check", "-config", l.path("smimea.toml"))
	cmd.Env = append(os.Environ(), "MAIL_CONFIG="+l.path("postfix"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		l.t.Errorf("smimea-milter -check: %v", err)
	}
	for _, line := range lines {
		if !strings.Contains(string(out), line) {
			l.t.Errorf("no line %q in\n%s", line, out)
		}
	}
}
