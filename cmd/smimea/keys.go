package main

import (
	"errors"
	"io"
	"io/fs"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"smimea.example/keystore"
	"smimea.example/smimea"
)

// defaultPinned is where the gateway's example settings look.
const defaultPinned = "/etc/smimea/pinned"

func newKeys() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "keys",
		Short: "Keep certificates that are believed whatever the DNS says",
		Long: `Keeps the directory of pinned certificates. The gateway believes them as they
are, before it asks the DNS, so pin only what its owner has confirmed to you.

The certificates are plain files, and whom they are for stands in the file
"index" beside them, so that a text editor will do as well. A running gateway
reads them again when it is told to reload.`,
		Example: `  smimea keys pin bob@example.org bob.pem
  smimea keys list`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.PersistentFlags().StringVar(&path, "pinned", defaultPinned, "`DIRECTORY` of pinned certificates")
	cmd.AddCommand(newKeysList(&path), newKeysPin(&path), newKeysForget(&path))
	return cmd
}

func newKeysList(path *string) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "Show what is pinned, and whether it can be used today",
		Example: `  smimea keys list --pinned /etc/smimea/pinned`,
		Args:    cobra.NoArgs,
		RunE: does(func(cmd *cobra.Command, _ []string) error {
			dir, err := openPinned(*path)
			if err != nil {
				return err
			}
			all := dir.List()
			if len(all) == 0 {
				remark(cmd.ErrOrStderr(), "nothing is pinned in %s", *path)
			}
			return printPinned(cmd.OutOrStdout(), time.Now(), all...)
		}),
	}
}

func newKeysPin(path *string) *cobra.Command {
	return &cobra.Command{
		Use:   "pin ADDRESS CERT",
		Short: "Believe a certificate for an address, or for all of @domain",
		Long: `Pins the certificate in a file, PEM or DER, for an address, or for every address
of a domain ("@example.org"); the exact address goes before its domain. One that
has expired or cannot encrypt is refused; one that names only other addresses is
pinned, with a warning.`,
		Example: `  smimea keys pin bob@example.org bob.pem
  smimea keys pin @example.com gateway.pem`,
		Args: cobra.ExactArgs(2),
		RunE: does(func(cmd *cobra.Command, args []string) error {
			if err := checkWhom(args[0]); err != nil {
				return err
			}
			dir, err := openPinned(*path)
			if err != nil {
				return err
			}
			return pin(cmd.OutOrStdout(), cmd.ErrOrStderr(), dir, args[0], args[1])
		}),
	}
}

func newKeysForget(path *string) *cobra.Command {
	return &cobra.Command{
		Use:   "forget ADDRESS",
		Short: "Drop what is pinned for an address, or for @domain",
		Long: `Drops the certificates that are pinned for an address, or for "@domain", and
prints them. One that is pinned for others too stays for them.`,
		Example: `  smimea keys forget bob@example.org`,
		Args:    cobra.ExactArgs(1),
		RunE: does(func(cmd *cobra.Command, args []string) error {
			if err := checkWhom(args[0]); err != nil {
				return err
			}
			dir, err := openPinned(*path)
			if err != nil {
				return err
			}
			return forget(cmd.OutOrStdout(), dir, args[0])
		}),
	}
}

// openPinned opens the directory, which the postmaster makes: its owner and
// mode are his business.
func openPinned(path string) (*keystore.Dir, error) {
	dir, err := keystore.OpenDir(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, failure("%w", err).hint("make the directory first, or name another one with --pinned")
	}
	return dir, err
}

// printPinned shows certificates, for whom they are, and whether they can be
// used.
func printPinned(w io.Writer, now time.Time, all ...keystore.Pinned) error {
	var s sheet
	for _, p := range all {
		s.title("%s", names(p.For))
		s.row("file", "%s", p.File)
		describe(&s, p.DER)
		use := "yes"
		if _, _, err := keystore.Usable(strings.Join(p.For, " "), p.DER, now); err != nil {
			use = "no: " + err.Error()
		}
		s.row("encrypt", "%s", use)
	}
	return s.print(w)
}

// checkWhom tells an address that is none from a certificate that is none.
func checkWhom(whom string) error {
	if strings.HasPrefix(whom, "@") {
		whom = "everybody" + whom
	}
	if _, err := smimea.ParseAddress(whom); err != nil {
		return wrongUsage("%w", err).hint("write alice@example.org, or @example.org for everybody there")
	}
	return nil
}

func pin(out, remarks io.Writer, dir *keystore.Dir, whom, file string) error {
	content, err := readFile(file)
	if err != nil {
		return err
	}
	pinned, err := dir.Pin(whom, content)
	if errors.Is(err, keystore.ErrPrivateKey) {
		return failure("%s: %w", file, keystore.ErrPrivateKey).
			hint(`"openssl x509 -in %s -out FILE" takes the certificate out`, file)
	}
	if err != nil {
		return failure("%s: %w", file, err)
	}
	now := time.Now()
	// It is pinned: what is left to say are the warnings.
	_, warnings, _ := keystore.Usable(whom, pinned.DER, now)
	for _, w := range warnings {
		remark(remarks, "warning: %s: %s", file, w)
	}
	return printPinned(out, now, pinned)
}

func forget(w io.Writer, dir *keystore.Dir, whom string) error {
	dropped, err := dir.Forget(whom)
	if errors.Is(err, keystore.ErrNotPinned) {
		return failure("%w", err).hint(`"smimea keys list" shows what is pinned`)
	}
	if err != nil {
		return err
	}
	return printPinned(w, time.Now(), dropped...)
}
