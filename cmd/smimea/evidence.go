package main

import (
	"bytes"
	"os"
	"time"

	"github.com/spf13/cobra"

	"smimea.example/smimea/dnssec"
)

// keepEvidence answers one question, and writes what the answer rests on.
func keepEvidence(cmd *cobra.Command, dns resolverFlags, path string, args []string) error {
	if args[0] == "-" {
		return wrongUsage("--evidence is for one question").hint("name it: smimea resolve --evidence FILE NAME TYPE")
	}
	q, err := parseQuestion(args)
	if err != nil {
		return err
	}
	dns.evidence = true
	resolver, clock, err := dns.resolver()
	if err != nil {
		return err
	}
	defer resolver.Close()
	then := clock()
	b := batch{resolver: resolver, now: clock, out: cmd.OutOrStdout(), remarks: cmd.ErrOrStderr(), asJSON: dns.json}
	a, err := b.answer(cmd.Context(), q)
	if err != nil {
		return err
	}
	if len(a.Evidence) == 0 {
		return failure("nobody answered, so there is no evidence: %s is not written", path)
	}
	e := dnssec.Evidence{Question: dnssec.Question{Name: q.name, Type: q.qtype}, Time: then, Messages: a.Evidence}
	if err := writeEvidence(path, e); err != nil {
		return err
	}
	return outcome(answerCode(a))
}

func writeEvidence(path string, e dnssec.Evidence) error {
	var content bytes.Buffer
	if err := e.Write(&content); err != nil {
		return err
	}
	return os.WriteFile(path, content.Bytes(), 0o644)
}

// replayEvidence judges what a file holds: as of when it was written, or --at.
func replayEvidence(cmd *cobra.Command, dns resolverFlags, path string, args []string) error {
	e, err := readEvidence(path)
	if err != nil {
		return err
	}
	anchors, err := dns.trustAnchors()
	if err != nil {
		return err
	}
	if dns.at == "" {
		dns.at = e.Time.UTC().Format(time.RFC3339)
	}
	clock, err := dns.clock()
	if err != nil {
		return err
	}
	q := question{e.Question.Name, e.Question.Type}
	if len(args) > 0 && args[0] == "-" {
		return wrongUsage("--replay is for one question").hint("name it, or leave it to the file")
	}
	if len(args) > 0 {
		if q, err = parseQuestion(args); err != nil {
			return err
		}
	}
	resolver, err := dnssec.NewReplay(dnssec.Options{Anchors: anchors, Now: clock}, e.Messages)
	if err != nil {
		return err
	}
	defer resolver.Close()
	b := batch{resolver: resolver, now: clock, out: cmd.OutOrStdout(), remarks: cmd.ErrOrStderr(), asJSON: dns.json, asOf: true}
	a, err := b.answer(cmd.Context(), q)
	if err != nil {
		return err
	}
	return outcome(answerCode(a))
}

func readEvidence(path string) (dnssec.Evidence, error) {
	f, err := os.Open(path)
	if err != nil {
		return dnssec.Evidence{}, err
	}
	defer f.Close()
	e, err := dnssec.ReadEvidence(f)
	if err != nil {
		return e, failure("%s: %w", path, err).hint("such a file is written by smimea resolve --evidence")
	}
	return e, nil
}
