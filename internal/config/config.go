// Package config reads the settings file, and plugs together what it names.
//
// The file is TOML. Nothing in it is guessed: a setting that is not known
// stops the start, and is shown with its line. Every setting but the rules
// has a default that is right for most houses.
//
//	listen = ["unix:/var/spool/postfix/smimea/milter.sock"]
//
//	[[rule]]
//	recipient = ["example.org", ".example.org"]
//	action = "never"
//
//	[[rule]]
//	recipient = ["*"]
//	action = "require"
package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"

	"smimea.example/internal/cms"
	"smimea.example/internal/gateway"
)

// A Config is a settings file. One that was read has its defaults filled in,
// and is sound as far as can be seen without opening what it names.
type Config struct {
	// Listen are the milter's sockets, as Postfix writes them: "unix:/path" or
	// "inet:host:port". Default: unix:/var/spool/postfix/smimea/milter.sock,
	// which Debian's chrooted smtpd and cleanup can reach.
	Listen []string `toml:"listen"`

	// Mode is "enforce", or "shadow": everything is done and logged as if, and no
	// mail is changed, refused or deferred. Default: enforce.
	Mode string `toml:"mode"`

	DNS    DNS    `toml:"dns"`
	Keys   Keys   `toml:"keys"`
	Rules  []Rule `toml:"rule"`
	Limits Limits `toml:"limits"`

	Resubmit Resubmit `toml:"resubmit"`

	Metrics Metrics `toml:"metrics"`
}

// DNS is the table [dns]: whom to ask, and what to believe.
type DNS struct {
	// Upstreams are the recursive resolvers to ask, in this order: "192.0.2.53",
	// "192.0.2.53:53", "system" for those in /etc/resolv.conf, or over TLS
	// "tls://192.0.2.53:853#dns.example.net", as dnssec.ParseServer reads them;
	// at most eight. They need not be trusted, but must pass on DNSSEC's
	// records. Default: system.
	Upstreams []string `toml:"upstreams"`

	// TrustAnchors is what DNSSEC's proofs begin with: "builtin", the keys of
	// the root; or a file of DS or DNSKEY lines, or IANA's root-anchors.xml.
	// Default: builtin.
	TrustAnchors string `toml:"trust_anchors"`

	// PrivateAnchors are DS or DNSKEY lines for zones that the root does not
	// lead to, "corp.example. IN DS 12345 13 2 ...". Default: none.
	PrivateAnchors []string `toml:"private_anchors"`

	// Try bounds one question to one resolver. Default: 2s.
	Try Duration `toml:"try"`

	// Budget bounds everything that is asked for one recipient; at most 7s,
	// since mail servers wait for little more. Default: 7s.
	Budget Duration `toml:"budget"`
}

// Keys is the table [keys]: certificates beside those in the DNS.
type Keys struct {
	// Pinned is a directory of certificates that are believed as they are.
	// Default: none.
	Pinned string `toml:"pinned"`

	// Candidates is a directory like that, of certificates that are used only
	// if a record vouches for them. Default: none.
	Candidates string `toml:"candidates"`

	// Roots is a PEM file of the CAs to which certificates of usage 0 and 1 must
	// lead. Default: none, so that these cannot be used.
	Roots string `toml:"roots"`

	// Intermediates is a PEM file of CAs that help to find the way there.
	// Default: none.
	Intermediates string `toml:"intermediates"`

	// CRLs is a directory of revocation lists, which somebody keeps fresh. Each
	// is signed by one of the roots or intermediates. Default: none, so that
	// nothing is known to be revoked.
	CRLs string `toml:"crls"`
}

// A Rule is one table [[rule]]. The first whose patterns match both recipient
// and sender counts.
type Rule struct {
	// Recipient holds patterns: an address, a domain, ".domain" for its
	// subdomains, "*" for everybody. There must be one.
	Recipient []string `toml:"recipient"`

	// Sender holds patterns too, and "<>" for the null sender. Default:
	// everybody.
	Sender []string `toml:"sender"`

	// Action is "require" (encrypted, or not at all), "prefer" (encrypted, or as it
	// is where there is proven to be no certificate) or "never" (as it is).
	Action string `toml:"action"`

	// Cipher is for recipients whose certificates do not say what they can read
	// (RFC 4262): "aes256-cbc", "aes128-cbc", "aes256-gcm" or "aes128-gcm".
	// Default: auto, which is the one that every mail program opens, aes256-cbc.
	Cipher string `toml:"cipher"`

	// Kinds are the kinds of keys that mail is encrypted to. Of a recipient's
	// certificates those of the first kind are used that he has. Default: rsa,
	// ec, x25519, mlkem.
	Kinds []string `toml:"kinds"`

	// Mixed lets recipients with RSA and with EC keys share an envelope, which
	// mail programs of before 2024 cannot open. Default: false.
	Mixed bool `toml:"mixed"`

	// Archive is the file of a certificate with an RSA key, in PEM or DER, that
	// every envelope of this rule is for, too. Default: none.
	Archive string `toml:"archive"`

	// Bcc is "alone" (each recipient in neither To nor Cc gets an envelope for
	// himself) or "together" (such recipients of this rule share one, which names
	// them to one another). Default: alone.
	Bcc string `toml:"bcc"`

	// SenderMayDecline is a mark by which a sender lets a mail go in clear to
	// recipients for whom there is proven to be no certificate, under "require":
	// "X-Header: value", or "subject: [tag]". Without it the mail is refused. It is
	// taken off. Default: none, so that such recipients are refused.
	SenderMayDecline string `toml:"sender_may_decline"`
}

// Resubmit is the table [resubmit]: the way for copies of a mail whose recipients
// cannot share one.
type Resubmit struct {
	// Address is a listener of the mail server on this machine that does not ask
	// the gateway: "inet:127.0.0.1:10026". Default: none, so that such recipients
	// must be written to separately.
	Address string `toml:"address"`

	// Journal is the file that remembers who has got his copy of a mail that
	// failed. Default: /var/lib/smimea/journal.db.
	Journal string `toml:"journal"`
}

// Limits is the table [limits].
type Limits struct {
	// Connections is how many mail servers' connections are served at a time.
	// Default: 200.
	Connections int `toml:"connections"`

	// Mails is how many mails may be in flight at a time, each from MAIL to the
	// answer at its end. One that is too many is deferred at once. A connection
	// has one at most, so that more than Connections are all of them. Default: 150.
	Mails int `toml:"mails"`

	// Memory is how much the daemon may take, in octets, kB, MB or GB (of 1000).
	// Half of it is for mails that must be in memory as a whole, as those in GCM;
	// they wait for one another. Default: 256MB.
	Memory Size `toml:"memory"`

	// Wait is how long such a mail waits for its share of the memory, and how long
	// mails in flight may take when the daemon is told to stop. Default: 60s.
	Wait Duration `toml:"wait"`

	// Copies is how many copies of one mail may be handed over to the mail server,
	// and of all mails at a time. Default: 100.
	Copies int `toml:"copies"`

	// CopiesSize is how long the copies of one mail may be together, as it is
	// before it is encrypted. Default: 1GB.
	CopiesSize Size `toml:"copies_size"`
}

// Metrics is the table [metrics].
type Metrics struct {
	// Listen is where Prometheus may ask for metrics, and others whether mail is
	// served, by HTTP and without a password: one IP address and a port,
	// "127.0.0.1:9893". Default: nowhere.
	Listen string `toml:"listen"`
}

// A Duration is written as in "2s" or "1m30s".
type Duration struct {
	time.Duration
	wrong string // what is written there, if it is no duration
}

// UnmarshalText implements [encoding.TextUnmarshaler]. It leaves complaining to
// check, which knows the name of the setting.
func (d *Duration) UnmarshalText(text []byte) error {
	var err error
	if d.Duration, err = time.ParseDuration(string(text)); err != nil {
		d.wrong = string(text)
	}
	return nil
}

// A Size is a number of octets, written as in "256MB".
type Size struct {
	Octets int64
	wrong  string // what is written there, if it is no size
}

// units have the longer names first, of which the others are the end.
var units = []struct {
	name   string
	octets int64
}{{"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"KB", 1e3}, {"", 1}}

// UnmarshalText implements [encoding.TextUnmarshaler], and leaves complaining to
// check.
func (s *Size) UnmarshalText(text []byte) error {
	for _, unit := range units {
		digits, ok := strings.CutSuffix(string(text), unit.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
		if err != nil || n < 0 || n > math.MaxInt64/unit.octets {
			break
		}
		s.Octets = n * unit.octets
		return nil
	}
	s.wrong = string(text)
	return nil
}

// Load reads a settings file. The error is for the postmaster, and may have
// several lines.
func Load(path string) (*Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	return Parse(data, path)
}

// maxFile bounds a settings file, in octets.
const maxFile = 1 << 20

// Parse reads settings. The name is that of their file, for errors.
func Parse(data []byte, name string) (*Config, error) {
	if len(data) > maxFile {
		return nil, fmt.Errorf("%s: longer than %d octets: not a settings file", name, maxFile)
	}
	c := defaults()
	decoder := toml.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(c); err != nil {
		return nil, fmt.Errorf("%s: %w", name, explain(err))
	}
	if err := errors.Join(checkCase(data), c.check()); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return c, nil
}

// defaults are what stands where nothing is set.
func defaults() *Config {
	return &Config{
		Listen: []string{"unix:/var/spool/postfix/smimea/milter.sock"},
		DNS: DNS{
			Upstreams:    []string{"system"},
			TrustAnchors: "builtin",
			Try:          Duration{Duration: 2 * time.Second},
			Budget:       Duration{Duration: maxBudget},
		},
		Limits: Limits{
			Connections: 200,
			Mails:       150,
			Memory:      Size{Octets: 256e6},
			Wait:        Duration{Duration: time.Minute},
			Copies:      100,
			CopiesSize:  Size{Octets: 1e9},
		},
		Mode:     "enforce",
		Resubmit: Resubmit{Journal: "/var/lib/smimea/journal.db"},
	}
}

// explain makes an error of the TOML library readable: what is wrong, where,
// and what to write.
func explain(err error) error {
	var unknown *toml.StrictMissingError
	if errors.As(err, &unknown) {
		var faults []error
		for _, e := range unknown.Errors {
			faults = append(faults, at(&e, unknownSetting(e.Key())))
		}
		return errors.Join(faults...)
	}
	var fault *toml.DecodeError
	if !errors.As(err, &fault) {
		return err
	}
	what := message(fault)
	if strings.HasSuffix(what, "of type []string") {
		what = `this takes a list, in brackets, as in ["*"]`
	}
	return at(fault, what)
}

// at says what is wrong and shows where.
func at(e *toml.DecodeError, what string) error {
	return fmt.Errorf("%s\n%s", what, strings.Replace(e.String(), "~ "+message(e), "~", 1))
}

func message(e *toml.DecodeError) string {
	return strings.TrimPrefix(e.Error(), "toml: ")
}

// notBuilt are settings with a meaning that this version does not have.
// Whoever writes one relies on it, so it must stop the start.
var notBuilt = map[string]string{
	"tls_required_no": `it belongs to the action "protect"`,
}

func unknownSetting(key toml.Key) string {
	name := strings.Join(key, ".")
	if instead, ok := notBuilt[name]; ok {
		return fmt.Sprintf("%q is not built yet: %s; remove it", name, instead)
	}
	return fmt.Sprintf("%q is not a setting; look for a slip of the pen", name)
}

// theTwoRules are what most houses write.
const theTwoRules = `there is no [[rule]], so nobody knows what is to become of mail. Most houses need these two:

[[rule]]                                        # mail to our own people stays as it is
recipient = ["example.org", ".example.org"]     # put your own domains here
action = "never"

[[rule]]                                        # all other mail leaves encrypted, or not at all
recipient = ["*"]
action = "require"`

// gatewayRules are the rules as the gateway knows them.
func (c *Config) gatewayRules() []gateway.Rule {
	var rules []gateway.Rule
	for _, r := range c.Rules {
		rules = append(rules, gateway.Rule{
			Recipients: r.Recipient,
			Senders:    r.Sender,
			Action:     gateway.Treatment(r.Action),
			Cipher:     r.cipher(),
			Kinds:      r.kinds(),
			Mixed:      r.Mixed,
			Together:   r.Bcc == "together",
			Mark:       r.mark(),
		})
	}
	return rules
}

// cipher is what the word stands for, which check has looked at.
func (r Rule) cipher() cms.Cipher {
	c, _ := cms.ParseCipher(r.Cipher)
	return c
}

// mark is what check has looked at.
func (r Rule) mark() gateway.Mark {
	m, _ := gateway.ParseMark(r.SenderMayDecline)
	return m
}

func (r Rule) kinds() []cms.Kind {
	var kinds []cms.Kind
	for _, word := range r.Kinds {
		if k, ok := cms.ParseKind(word); ok {
			kinds = append(kinds, k)
		}
	}
	return kinds
}
