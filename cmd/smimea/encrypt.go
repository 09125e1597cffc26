package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"mime"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"smimea.example/internal/cms"
	"smimea.example/internal/message"
	"smimea.example/keystore"
)

// maxMessage bounds a message on standard input.
const maxMessage = 100 << 20

func newEncrypt() *cobra.Command {
	var to []string
	var cipher string
	cmd := &cobra.Command{
		Use:   "encrypt --to CERT [--to CERT…]",
		Short: "Encrypt a message to certificates",
		Long: `Reads a message from standard input and writes it to standard output, encrypted
to every certificate in the files given with --to. Its header fields stay as
they are, in clear, the Subject too; its Content-* fields and its body go inside
(S/MIME 4.0, RFC 8551). A Bcc field is dropped.

A message that arrives with the line ends of Unix (LF) gets those of mail (CRLF)
inside the envelope, as S/MIME wants them, and leaves with LF again outside. A
message with CRLF is encrypted byte for byte. A message that is encrypted
already is an error. Nothing is signed.

Nothing is looked up: the certificates are believed as they are, but they must
be valid today and able to encrypt. RSA and EC keys cannot share an envelope,
because some mail programs could not open it then.`,
		Example: `  smimea encrypt --to alice.pem <mail.eml >sealed.eml
  smimea encrypt --to alice.pem --to archive.pem <mail.eml | sendmail -t`,
		Args: cobra.NoArgs,
		RunE: does(func(cmd *cobra.Command, _ []string) error {
			if err := checkCipher(cipher); err != nil {
				return err
			}
			recipients, err := recipientsFrom(to, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			return encrypt(cmd.OutOrStdout(), cmd.InOrStdin(), cmd.ErrOrStderr(), recipients)
		}),
	}
	cmd.Flags().StringArrayVar(&to, "to", nil, "file `CERT` with certificates to encrypt to, PEM or DER (repeatable)")
	cmd.Flags().StringVar(&cipher, "cipher", "auto", "`CIPHER` for the content: auto or aes256-cbc")
	cmd.MarkFlagRequired("to")
	return cmd
}

// checkCipher knows the one cipher that every mail program reads.
func checkCipher(name string) error {
	switch name {
	case "auto", "aes256-cbc":
		return nil
	}
	return wrongUsage("cipher %q is not built in", name).
		hint("built in are auto and aes256-cbc, which are the same")
}

// encrypt is the whole of the command: header outside, entity inside.
func encrypt(out io.Writer, in io.Reader, remarks io.Writer, to []cms.Recipient) error {
	r := bufio.NewReaderSize(in, 64<<10)
	unix := unixLines(r)
	header, err := message.ReadHeader(r)
	if err != nil {
		return failure("reading the message: %w", err).
			hint("a message begins with header fields, then comes an empty line")
	}
	if err := checkEncryptable(header, unix); err != nil {
		return err
	}
	spool, err := newSpool()
	if err != nil {
		return err
	}
	defer spool.Close()
	head, err := seal(spool, header.Entity(), r, unix, to)
	if err != nil {
		return err
	}
	if fieldValue(header, "Bcc") != "" {
		remark(remarks, "the Bcc field was dropped")
	}
	return writeSealed(out, header, head, spool, unix)
}

// checkEncryptable refuses messages that would come out wrong.
func checkEncryptable(h message.Header, unix bool) error {
	kind, params, _ := mime.ParseMediaType(fieldValue(h, "Content-Type"))
	smime := strings.ToLower(params["smime-type"])
	switch {
	case strings.HasSuffix(kind, "/pkcs7-mime") && strings.HasSuffix(smime, "enveloped-data"),
		kind == "multipart/encrypted":
		// The header alone may lie; but who is asked to encrypt and refuses
		// discloses nothing. The gateway looks at the content.
		return failure("the message is encrypted already").
			hint("decrypt it first if it is to be encrypted to somebody else")
	case unix && isBinary(h):
		return failure("the body is binary, and the message has Unix line ends").
			hint("give it with CRLF line ends: in a binary body nobody can tell a line end from data")
	}
	return nil
}

// newSpool is a nameless file for ciphertext: what stands before it in the
// message is only known when all of it has been written.
func newSpool() (*os.File, error) {
	f, err := os.CreateTemp("", "smimea-ciphertext-*")
	if err != nil {
		return nil, err
	}
	return f, os.Remove(f.Name())
}

// seal encrypts the entity: its fields, an empty line, the body.
func seal(spool io.Writer, fields message.Header, body io.Reader, unix bool, to []cms.Recipient) ([]byte, error) {
	buffered := bufio.NewWriterSize(spool, 64<<10)
	w, err := cms.NewWriter(buffered, to, cms.AES256CBC)
	if err != nil {
		return nil, err
	}
	if _, err := fields.WriteTo(w); err != nil {
		return nil, err
	}
	if _, err := io.WriteString(w, "\r\n"); err != nil {
		return nil, err
	}
	if err := copyBody(w, body, unix); err != nil {
		return nil, err
	}
	object, err := w.Close()
	if err != nil {
		return nil, err
	}
	return object.Head, buffered.Flush()
}

func copyBody(w io.Writer, body io.Reader, unix bool) error {
	if unix {
		w = &crlfWriter{w: w}
	}
	n, err := io.Copy(w, io.LimitReader(body, maxMessage+1))
	if err != nil {
		return err
	}
	if n > maxMessage {
		return fmt.Errorf("the message is larger than %d MB", maxMessage>>20)
	}
	return nil
}

// writeSealed writes the encrypted message.
func writeSealed(out io.Writer, h message.Header, head []byte, spool *os.File, unix bool) error {
	if _, err := spool.Seek(0, io.SeekStart); err != nil {
		return err
	}
	w := newLines(out, unix)
	if err := writeHeader(w, h.Outside(), message.Envelope(false)); err != nil {
		return err
	}
	body := message.NewBase64Writer(w)
	if _, err := io.Copy(body, io.MultiReader(bytes.NewReader(head), spool)); err != nil {
		return err
	}
	if err := body.Close(); err != nil {
		return err
	}
	return w.Close()
}

// writeHeader writes the fields and the empty line behind them.
func writeHeader(w io.Writer, parts ...message.Header) error {
	for _, fields := range parts {
		if _, err := fields.WriteTo(w); err != nil {
			return err
		}
	}
	_, err := io.WriteString(w, "\r\n")
	return err
}

// recipientsFrom reads the certificates to encrypt to, and warns of the odd
// ones.
func recipientsFrom(files []string, remarks io.Writer) ([]cms.Recipient, error) {
	var all []cms.Recipient
	for _, file := range files {
		certs, err := readCertificates(file)
		if err != nil {
			return nil, err
		}
		for _, der := range certs {
			r, warnings, err := keystore.Usable("", der, time.Now())
			if err != nil {
				return nil, failure("%s: the certificate cannot be used: %w", file, err)
			}
			for _, w := range warnings {
				remark(remarks, "warning: %s: %s", file, w)
			}
			all = append(all, r)
		}
	}
	return all, oneKind(all)
}

// oneKind refuses a mixture: one EC recipient makes a message unreadable for
// the RSA recipients of older mail programs.
func oneKind(to []cms.Recipient) error {
	for _, r := range to {
		if r.Kind() != to[0].Kind() {
			return failure("certificates of the kinds %s and %s cannot share an envelope", to[0].Kind(), r.Kind()).
				hint("encrypt the message twice, once for each kind")
		}
	}
	return nil
}
