module smimea.example

go 1.26.0

require (
	github.com/cloudflare/circl v1.6.5 // Ed448 signatures of DNSSEC
	github.com/coreos/go-systemd/v22 v22.7.0 // the daemon tells systemd how it is, and takes its sockets
	github.com/d--j/go-milter v0.10.2 // the milter protocol, the server's side
	github.com/emersion/go-smtp v0.25.1 // hands copies over to the mail server; is one in tests and the demo
	github.com/miekg/dns v1.1.73 // DNS messages and zone lines
	github.com/pelletier/go-toml/v2 v2.4.3 // the settings
	github.com/prometheus/client_golang v1.25.0 // the daemon's metrics
	github.com/spf13/cobra v1.10.2 // the command
	go.etcd.io/bbolt v1.5.0 // the journal of copies
	golang.org/x/crypto v0.58.0 // cryptobyte: reading and writing DER; scrypt
	golang.org/x/net v0.62.0 // IDNA; a bound on connections that ask for metrics
	golang.org/x/sync v0.25.0 // one look-up for those who ask at the same time; shares of memory
	golang.org/x/term v0.47.0 // asks for the password of a key
	golang.org/x/text v0.44.0 // NFC; the width of letters; charsets of a Subject
	software.sslmate.com/src/go-pkcs12 v0.7.4 // opens a file with key and certificates
)

// For tools/testnet, which tests and the demo run on.
require github.com/emersion/go-milter v0.5.0 // the milter protocol, the mail server's side

// For tests.
require (
	github.com/emersion/go-message v0.18.2 // reads what was written, as a receiving program
	github.com/rogpeppe/go-internal v1.14.1 // scripts for the command
	go.mozilla.org/pkcs7 v0.10.0 // opens envelopes, as one more judge
)

require (
	github.com/BurntSushi/toml v1.4.1-0.20240526193622-a339e1f7089c // indirect
	github.com/beorn7/perks v1.0.1 // indirect
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	github.com/emersion/go-sasl v0.0.0-20241020182733-b788ff22d5a6 // indirect
	github.com/inconshreveable/mousetrap v1.1.0 // indirect
	github.com/munnerz/goautoneg v0.0.0-20191010083416-a7dc8b61c822 // indirect
	github.com/prometheus/client_model v0.6.3 // indirect
	github.com/prometheus/common v0.72.0 // indirect
	github.com/prometheus/procfs v0.22.0 // indirect
	github.com/spf13/pflag v1.0.10 // indirect
	golang.org/x/exp/typeparams v0.0.0-20231108232855-2478ac86f678 // indirect
	golang.org/x/mod v0.42.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
	golang.org/x/tools v0.52.0 // indirect
	google.golang.org/protobuf v1.36.12 // indirect
	honnef.co/go/tools v0.7.0 // indirect
)

tool honnef.co/go/tools/cmd/staticcheck
