// Command smimea is the postmaster's tool for encrypted mail by way of the DNS.
//
// A domain can publish the certificates of its mailboxes in the DNS, in SMIMEA
// records (RFC 8162), and DNSSEC proves that they are the domain's own. The
// gateway, smimea-milter, encrypts to them. With this command one looks at the
// DNS as the gateway does, asks what would become of a mail and why, makes
// records to publish, keeps certificates by hand, and encrypts and decrypts a
// message on the way through a pipe:
//
//	smimea lookup alice@example.org              which certificates has Alice?
//	smimea resolve example.org MX                what does the DNS prove?
//	smimea explain alice@example.org             what would the gateway do?
//	smimea replay milter.log --config new.toml   and with other rules?
//	smimea publish alice@example.org alice.pem   the record for Alice
//	smimea keys pin alice@example.org alice.pem  believe this, whatever the DNS says
//	smimea encrypt --to alice.pem <mail >sealed
//	smimea decrypt --key alice.key --cert alice.pem <sealed
//	smimea demo                                  watch the gateway at work
//
// Results go to standard output, everything else to standard error. The exit
// code is 0 for found or done, 1 for failed, 2 for wrong usage, 3 for "there is
// nothing usable" and 4 for "could not find out": scripts may rely on it.
//
// There is a file for each subcommand. What several of them share is in
// resolver.go (flags of everything that looks something up), pemfile.go
// (certificates in files), certinfo.go (what we say of a certificate) and tui.go
// (complaints and exit codes). Private keys, for decrypt alone, are read in
// keyfile.go, pbes2.go, pkcs12.go and password.go. The manual page is smimea.1.
package main

import (
	"context"
	"os"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
)

func main() { os.Exit(run()) }

func run() int {
	ran, err := newRoot().ExecuteContextC(context.Background())
	return complain(os.Stderr, ran, err)
}

func newRoot() *cobra.Command {
	cobra.EnableCommandSorting = false // The tour has an order.
	root := &cobra.Command{
		Use:   "smimea",
		Short: "Find, check and publish mail certificates in the DNS",
		Long: `Encrypted mail (S/MIME) needs the certificate of the person who is to read it.
Domains can publish these certificates in the DNS, as SMIMEA records (RFC 8162),
and DNSSEC proves that nobody has put others in their place.

This command shows what a domain has published and whether it is proven, says
what the mail gateway smimea-milter would do with a mail and why, and makes the
records for your own domain. It changes neither the DNS nor the mail server.`,
		Example: `  smimea lookup alice@example.org
  smimea publish alice@example.org alice.pem`,
		Version:       version(),
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetVersionTemplate("smimea {{.Version}}\n")
	root.SetUsageTemplate(strings.ReplaceAll(root.UsageTemplate(), ".FlagUsages", ".FlagUsagesWrapped 80"))
	root.AddCommand(
		newLookup(),
		newResolve(),
		newExplain(),
		newReplay(),
		newPublish(),
		newKeys(),
		newEncrypt(),
		newDecrypt(),
		newDemo(),
	)
	return root
}

// version is the module's version, as the Go command has stamped it.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}
