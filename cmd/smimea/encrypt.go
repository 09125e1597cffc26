package main

import (
	"fmt"
	"io"
	"mime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"smimea.example/internal/cms"
	"smimea.example/internal/gateway"
	"smimea.example/internal/message"
	"smimea.example/keystore"
)

// maxMessage bounds a message on standard input.
const maxMessage = 100 << 20

func newEncrypt() *cobra.Command {
	var to []string
	var cipher string
	cmd := &cobra.Command{
		Use:   "encrypt --to CERT [--to CERT…] [--cipher CIPHER]",
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
be valid today and able to encrypt. Keys of different kinds (RSA, EC, X25519,
ML-KEM) cannot share an envelope, because some mail programs could not open it
then.

The cipher is aes256-cbc, aes128-cbc, aes256-gcm or aes128-gcm. Every mail
program reads the first two. With the others nobody can alter the message
unnoticed, and many mail programs, Thunderbird among them, show nothing at all.
Such a message is held in memory. The default, auto, is the one that all the
certificates name (SMIMECapabilities, RFC 4262), or else aes256-cbc.`,
		Example: `  smimea encrypt --to alice.pem <mail.eml >sealed.eml
  smimea encrypt --to alice.pem --to archive.pem <mail.eml | sendmail -t`,
		Args: cobra.NoArgs,
		RunE: does(func(cmd *cobra.Command, _ []string) error {
			setting, err := parseCipher(cipher)
			if err != nil {
				return err
			}
			recipients, err := recipientsFrom(to, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			e := encryption{to: recipients, cipher: chooseCipher(recipients, setting)}
			return e.run(cmd.OutOrStdout(), cmd.InOrStdin(), cmd.ErrOrStderr())
		}),
	}
	cmd.Flags().StringArrayVar(&to, "to", nil, "file `CERT` with certificates to encrypt to, PEM or DER (repeatable)")
	cmd.Flags().StringVar(&cipher, "cipher", "auto", "`CIPHER` for the content; auto is what the certificates ask for")
	cmd.MarkFlagRequired("to")
	return cmd
}

// parseCipher reads the name of a cipher; auto is nil.
func parseCipher(name string) (*cms.Cipher, error) {
	if name == "auto" {
		return nil, nil
	}
	cipher, ok := cms.ParseCipher(name)
	if !ok {
		return nil, wrongUsage("cipher %q is not built in", name).
			hint("built in are %s, and auto, which chooses one", names(words(cms.Ciphers)))
	}
	return &cipher, nil
}

// words are the names of things.
func words[T fmt.Stringer](list []T) []string {
	all := make([]string, 0, len(list))
	for _, item := range list {
		all = append(all, item.String())
	}
	return all
}

// chooseCipher follows the setting, or the certificates.
func chooseCipher(to []cms.Recipient, setting *cms.Cipher) cms.Cipher {
	if setting != nil {
		return *setting
	}
	return gateway.ChooseCipher(to, cms.AES256CBC)
}

// An encryption is the work of this command on one message.
type encryption struct {
	to     []cms.Recipient
	cipher cms.Cipher
}

// run is the whole of the command: header outside, entity inside.
func (e encryption) run(out io.Writer, in io.Reader, remarks io.Writer) error {
	r := newReadAhead(in)
	unix := unixLines(r)
	header, err := message.ReadHeader(r)
	if err != nil {
		return failure("reading the message: %w", err).
			hint("a message begins with header fields, then comes an empty line")
	}
	if err := checkEncryptable(header, unix); err != nil {
		return err
	}
	if fieldValue(header, "Bcc") != "" {
		remark(remarks, "the Bcc field was dropped")
	}
	inside := entity{fields: header.Entity(), body: r, unix: unix}
	inside.size, inside.sized = unread(in, r.Buffered())
	w := newLines(out, unix)
	if err := e.write(w, header.Outside(), inside); err != nil {
		return err
	}
	return w.Close()
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

// oneKind refuses a mixture: one recipient of a newer kind makes a message
// unreadable for the others, if their mail programs do not know it.
func oneKind(to []cms.Recipient) error {
	for _, r := range to {
		if r.Kind() != to[0].Kind() {
			return failure("certificates of the kinds %s and %s cannot share an envelope", to[0].Kind(), r.Kind()).
				hint("encrypt the message twice, once for each kind: some mail programs open nothing that is for a kind they do not know, too")
		}
	}
	return nil
}
