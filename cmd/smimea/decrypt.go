package main

import (
	"bufio"
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"smimea.example/internal/cms"
	"smimea.example/internal/message"
	"smimea.example/keystore"
)

// maxSealed bounds an encrypted message: base64 takes 1.37 times the room.
const maxSealed = maxMessage + maxMessage/2

func newDecrypt() *cobra.Command {
	var keyFile, certFile string
	cmd := &cobra.Command{
		Use:   "decrypt --key KEY --cert CERT",
		Short: "Decrypt a message with a private key",
		Long: `Reads an encrypted message from standard input and writes it in clear to
standard output: the header fields that stood outside, then the fields and the
body that were inside. Not a byte is written unless all of it could be
decrypted.

A bare envelope will do as well (smime.p7m, in DER or PEM); what was inside it
is written byte for byte. A message with the line ends of Unix (LF) is written
with LF, unless its body is binary.

The key may be in PKCS #8, PKCS #1 or SEC 1, PEM or DER, without a password. The
certificate is needed because the envelope names its readers by issuer and
serial number; it may have expired. That a message can be decrypted says nothing
about who wrote it.`,
		Example: `  smimea decrypt --key alice.key --cert alice.pem <sealed.eml >mail.eml`,
		Args:    cobra.NoArgs,
		RunE: does(func(cmd *cobra.Command, _ []string) error {
			reader, err := newReader(keyFile, certFile)
			if err != nil {
				return err
			}
			return reader.decrypt(cmd.OutOrStdout(), cmd.InOrStdin())
		}),
	}
	cmd.Flags().StringVar(&keyFile, "key", "", "file `KEY` with the private key, PEM or DER")
	cmd.Flags().StringVar(&certFile, "cert", "", "file `CERT` with its certificate, PEM or DER")
	cmd.MarkFlagRequired("key")
	cmd.MarkFlagRequired("cert")
	return cmd
}

// A reader is somebody who can open envelopes.
type reader struct {
	key  crypto.PrivateKey
	cert *x509.Certificate
}

func newReader(keyFile, certFile string) (*reader, error) {
	key, err := readPrivateKey(keyFile)
	if errors.Is(err, errLocked) {
		return nil, failure("%w", err).
			hint(`"openssl pkey -in %s -out FILE" removes the password`, keyFile)
	}
	if err != nil {
		return nil, err
	}
	certs, err := readCertificates(certFile)
	if errors.Is(err, keystore.ErrPrivateKey) {
		return nil, failure("%w", err).hint("give --cert a file with the certificate alone")
	}
	if err != nil {
		return nil, err
	}
	for _, der := range certs {
		cert, err := x509.ParseCertificate(der)
		if err == nil && belongs(key, cert) {
			return &reader{key, cert}, nil
		}
	}
	return nil, failure("no certificate in %s belongs to the key in %s", certFile, keyFile)
}

// belongs reports whether the certificate is for the key.
func belongs(key crypto.PrivateKey, cert *x509.Certificate) bool {
	private, ok := key.(interface{ Public() crypto.PublicKey })
	if !ok {
		return false
	}
	public, ok := private.Public().(interface{ Equal(crypto.PublicKey) bool })
	return ok && public.Equal(cert.PublicKey)
}

// decrypt is the whole of the command.
func (r *reader) decrypt(out io.Writer, in io.Reader) error {
	data, err := readBounded(in, "the message", maxSealed)
	if err != nil {
		return err
	}
	if object, ok := bareEnvelope(data); ok {
		entity, err := r.open(object)
		if err != nil {
			return err
		}
		_, err = out.Write(entity)
		return err
	}
	return r.decryptMail(out, data)
}

// bareEnvelope takes a CMS object that is not in a message: DER begins with a
// SEQUENCE, and no header field does.
func bareEnvelope(data []byte) ([]byte, bool) {
	if len(data) > 1 && data[0] == 0x30 && data[1] >= 0x80 { // long, or of unknown length
		return data, true
	}
	if !bytes.HasPrefix(data, []byte("-----BEGIN ")) {
		return nil, false
	}
	block, _ := pem.Decode(data)
	if block == nil || !slices.Contains([]string{"CMS", "PKCS7"}, block.Type) {
		return nil, false
	}
	return block.Bytes, true
}

func (r *reader) decryptMail(out io.Writer, data []byte) error {
	in := bufio.NewReaderSize(bytes.NewReader(data), 64<<10)
	unix := unixLines(in)
	header, err := message.ReadHeader(in)
	if err != nil {
		return failure("reading the message: %w", err).
			hint("give a whole message, or an envelope (smime.p7m) in DER or PEM")
	}
	object, err := envelopeIn(header, in)
	if err != nil {
		return err
	}
	entity, err := r.open(object)
	if err != nil {
		return err
	}
	return writeOpened(out, header, entity, unix)
}

// envelopeIn reads the body of an encrypted message.
func envelopeIn(h message.Header, body io.Reader) ([]byte, error) {
	if isBinary(h) {
		return io.ReadAll(body)
	}
	object, err := io.ReadAll(base64.NewDecoder(base64.StdEncoding, body))
	if err != nil || len(object) == 0 {
		return nil, failure("the message is not encrypted: its body is not one piece of base64").
			hint(`an encrypted one has "Content-Type: application/pkcs7-mime"; this one has %q`,
				fieldValue(h, "Content-Type"))
	}
	return object, nil
}

func (r *reader) open(object []byte) ([]byte, error) {
	entity, err := cms.Decrypt(object, r.cert, r.key)
	if err != nil {
		return nil, failure("decrypting: %w", err)
	}
	return entity, nil
}

// writeOpened puts the entity back into the message. Its bytes stay as they
// are, line ends excepted; a field that its sender put both inside and outside
// stands twice, the one from outside first.
func writeOpened(out io.Writer, outer message.Header, entity []byte, unix bool) error {
	inner, err := message.ReadHeader(bufio.NewReader(bytes.NewReader(entity)))
	bare := err != nil // No header inside: all of it is body.
	w := newLines(out, unix && !isBinary(inner))
	if _, err := outer.Outside().WriteTo(w); err != nil {
		return err
	}
	if err := writeBetween(w, inner, bare); err != nil {
		return err
	}
	if _, err := w.Write(entity); err != nil {
		return err
	}
	return w.Close()
}

// writeBetween writes what has to stand between the outer fields and the
// entity.
func writeBetween(w io.Writer, inner message.Header, bare bool) error {
	between := ""
	switch {
	case bare:
		between = "\r\n"
	case len(inner.Entity()) > 0 && fieldValue(inner, "MIME-Version") == "":
		between = "MIME-Version: 1.0\r\n"
	}
	_, err := io.WriteString(w, between)
	return err
}
