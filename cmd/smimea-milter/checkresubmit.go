package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/emersion/go-smtp"

	"smimea.example/internal/config"
	"smimea.example/milter"
)

// resubmit asks the listener for copies whether it is there, and offers what it
// must.
func (r *report) resubmit(settings *config.Config) {
	at := settings.Resubmit.HostPort()
	if at == "" {
		return
	}
	r.copies, r.most = at, settings.Limits.Copies
	if err := askListener(at); err != nil {
		r.fail("copies cannot go to %s, and mails that need some are deferred: %v (Postfix needs the lines below in master.cf; for Sendmail see smimea-milter(8))\n%s",
			at, err, listenerLines(at, settings.Limits.Copies))
	} else {
		r.ok("copies go to %s: it answers, and keeps what is in clear out of bounces", at)
	}
	dir := filepath.Dir(settings.Resubmit.Journal)
	switch info, err := os.Stat(dir); {
	case errors.Is(err, fs.ErrNotExist):
		r.warn("resubmit.journal: there is no %s; systemd makes it, or: install -d -o smimea -m 700 %s", dir, dir)
	case err != nil:
		r.fail("resubmit.journal: %v", err)
	case info.Mode().Perm()&0o022 != 0:
		r.warn("resubmit.journal: others may write to %s (chmod 700 %s)", dir, dir)
	default:
		r.ok("resubmit.journal: %s is there", dir)
	}
}

// listenerLines are what makes Postfix take so many copies at once; the README has
// them for 100.
func listenerLines(at string, copies int) string {
	return fmt.Sprintf(`%s inet n - y - %d smtpd
  -o syslog_name=postfix/smimea
  -o `+daemonName+`=`+milter.ResubmitDaemon+`
  -o smtpd_milters=
  -o local_header_rewrite_clients=
  -o mynetworks=127.0.0.0/8
  -o smtpd_client_restrictions=permit_mynetworks,reject
  -o smtpd_helo_restrictions=
  -o smtpd_sender_restrictions=
  -o smtpd_relay_restrictions=permit_mynetworks,reject
  -o smtpd_recipient_restrictions=permit_mynetworks,reject
  -o smtpd_data_restrictions=
  -o smtpd_end_of_data_restrictions=
  -o smtpd_reject_unlisted_recipient=no
  -o receive_override_options=no_header_body_checks
  -o smtpd_discard_ehlo_keywords=
  -o smtpd_tls_security_level=none`, at, copies+10)
}

// askListener says what keeps a listener from taking copies.
func askListener(at string) error {
	conn, err := net.DialTimeout("tcp", at, 5*time.Second)
	if err != nil {
		return err
	}
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	c := smtp.NewClient(conn)
	defer c.Close()
	if err := c.Hello("localhost"); err != nil {
		return err
	}
	if ok, _ := c.Extension("DSN"); !ok {
		return errors.New("it does not offer DSN (smtpd_discard_ehlo_keywords)")
	}
	return c.Quit()
}

// originalRecipients: without them Postfix takes an alias and whom it stands for
// off a mail together.
func (r *report) originalRecipients(value string) {
	if r.copies != "" && value == "no" {
		r.warn("enable_original_recipient = no: an alias and its target, both in one mail that is split, may BOTH LOSE it (postconf -e enable_original_recipient=yes)")
	}
}

// isListener says whether a service of master.cf is the listener for copies.
func (r *report) isListener(service string) bool {
	_, port, _ := net.SplitHostPort(r.copies)
	return r.copies != "" && (service == r.copies || service == port || service == "localhost:"+port)
}

// daemonName is the parameter by which a listener says that copies come back there.
const daemonName = "milter_macro_daemon_name"

// daemonNames: what comes by a listener of that name passes unseen, so that only the
// one for copies may have it.
func (r *report) daemonNames(mta map[string]string) {
	if mta[daemonName] == milter.ResubmitDaemon {
		r.warn("%s = %s in main.cf: whatever programs of this machine send by SMTP passes the gateway UNSEEN (remove it there; only the listener for copies has it)",
			daemonName, milter.ResubmitDaemon)
	}
	for own, name := range ofServices(mta, daemonName) {
		if service := strings.TrimSuffix(own, "/inet/"+daemonName); name == milter.ResubmitDaemon && !r.isListener(service) {
			r.warn("%s = %s: what programs of this machine send by %s passes the gateway UNSEEN (remove it; only the listener for copies has it)",
				own, name, service)
		}
	}
}

// listener looks at the service's own settings. The gateway itself passes what
// comes back, if the listener says that it is one.
func (r *report) listener(mta map[string]string, service string, asksUs bool) {
	r.processes(mta, service)
	name := mta[service+"/inet/"+daemonName]
	switch {
	case asksUs && name != milter.ResubmitDaemon:
		r.warn("%s/inet/smtpd_milters: copies come back to the gateway (postconf -P '%s/inet/smtpd_milters=', or name your DKIM signer there)", service, service)
	case asksUs:
		r.ok("%s: copies come back to the gateway, which passes them", service)
	default:
		r.ok("%s: copies do not come back to the gateway", service)
	}
}

// processes: all copies of a mail stand in the listener at once, each in a process
// of its own.
func (r *report) processes(mta map[string]string, service string) {
	parameter := service + "/inet/process_limit"
	value := mta[parameter]
	if value == "-" {
		value = mta["default_process_limit"]
	}
	if n, err := strconv.Atoi(value); err == nil && n != 0 && n <= r.most {
		r.warn("%s = %d: a mail that needs more copies is deferred for ever, and limits.copies is %d (postconf -F %s=%d)", parameter, n, r.most, parameter, r.most+10)
	}
}

// sharedListener: one without milters of its own asks those of main.cf, and so the
// gateway.
func (r *report) sharedListener(mta map[string]string) {
	for own, name := range ofServices(mta, daemonName) {
		service := strings.TrimSuffix(own, "/inet/"+daemonName)
		if r.isListener(service) && name == milter.ResubmitDaemon {
			r.ok("%s: copies come back to the gateway, which passes them", service)
			return
		}
	}
	r.warn("%s: copies come back to the gateway (add -o smtpd_milters= to that service of master.cf, or name your DKIM signer there)", r.copies)
}
