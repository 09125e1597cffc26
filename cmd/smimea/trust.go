package main

import (
	"github.com/spf13/cobra"

	"smimea.example/keystore"
	"smimea.example/smimea"
)

// trustFlags name what may vouch, or be vouched for, besides the DNS.
type trustFlags struct {
	roots, intermediates, candidates string
}

func (f *trustFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.roots, "roots", "", "PEM `FILE` of the CAs to which usage 0 and 1 must lead (default: none)")
	flags.StringVar(&f.intermediates, "intermediates", "", "PEM `FILE` of CAs that help to find the way there")
	flags.StringVar(&f.candidates, "candidates", "", "`DIR` of certificates that count if a record vouches for them")
}

// fill puts what the flags name into a client.
func (f *trustFlags) fill(client *smimea.Client) error {
	var err error
	if f.roots != "" {
		if client.Trust.Roots, err = keystore.LoadAuthorities(f.roots); err != nil {
			return failure("--roots: %w", err)
		}
	}
	if f.intermediates != "" {
		if client.Trust.Intermediates, err = keystore.LoadAuthorities(f.intermediates); err != nil {
			return failure("--intermediates: %w", err)
		}
	}
	if f.candidates != "" {
		dir, err := keystore.OpenDir(f.candidates)
		if err != nil {
			return failure("--candidates: %w", err)
		}
		client.Candidates = dir.Candidates
	}
	return nil
}
