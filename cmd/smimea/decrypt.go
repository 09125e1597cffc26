package main

import (
	"bufio"
	"bytes"
	"crypto"
	"crypto/x509"
	"errors"
	"io"

	"github.com/spf13/cobra"

	"smimea.example/internal/cms"
	"smimea.example/internal/message"
	"smimea.example/keystore"
)

// maxSealed bounds an encrypted message: base64 takes 1.37 times the room.
const maxSealed = maxMessage + maxMessage/2

func newDecrypt() *cobra.Command {
	var keyFile, certFile, passwordFile string
	cmd := &cobra.Command{
		Use:   "decrypt --key KEY [--cert CERT] [--password-file FILE]",
		Short: "Decrypt a message with a private key",
		Long: `Reads an encrypted message from standard input and writes it in clear to
standard output: the header fields that stood outside, then the fields and the
body that were inside. Not a byte is written unless all of it could be
decrypted, and authenticated if it is of that kind.

A bare envelope (smime.p7m, in DER, BER, PEM or base64) will do as well; what
was inside it is written byte for byte. A message with the line ends of Unix
(LF) is written with LF, unless its body is binary.

The key may be in PKCS #8, PKCS #1 or SEC 1, PEM or DER, or in PKCS #12 (.p12,
.pfx). If it has a password, that is asked for at the terminal, or read from the
first line of the file given with --password-file.

The certificate is needed because the envelope names its readers by issuer and
serial number; it may have expired. One that lies beside the key in PKCS #12 or
PEM need not be given once more. That a message can be decrypted says nothing
about who wrote it.`,
		Example: `  smimea decrypt --key alice.key --cert alice.pem <sealed.eml >mail.eml
  smimea decrypt --key alice.p12 <sealed.eml >mail.eml`,
		Args: cobra.NoArgs,
		RunE: does(func(cmd *cobra.Command, _ []string) error {
			reader, err := newReader(keyFile, certFile, passwordSource{passwordFile})
			if err != nil {
				return err
			}
			return reader.decrypt(cmd.OutOrStdout(), cmd.InOrStdin())
		}),
	}
	cmd.Flags().StringVar(&keyFile, "key", "", "file `KEY` with the private key: PEM, DER or PKCS #12")
	cmd.Flags().StringVar(&certFile, "cert", "", "file `CERT` with its certificate, PEM or DER")
	cmd.Flags().StringVar(&passwordFile, "password-file", "", "`FILE` whose first line is the password of the key")
	cmd.MarkFlagRequired("key")
	return cmd
}

// A reader is somebody who can open envelopes: all his certificates have the
// same key, as those that were renewed do.
type reader struct {
	key   crypto.PrivateKey
	certs []*x509.Certificate
}

func newReader(keyFile, certFile string, password passwordSource) (*reader, error) {
	file, err := readKeyFile(keyFile, password)
	if err != nil {
		return nil, err
	}
	certs := file.certs
	if certFile != "" {
		more, err := parseCertificates(certFile)
		if err != nil {
			return nil, err
		}
		certs = append(more, certs...)
	}
	r := &reader{key: file.key}
	for _, cert := range certs {
		if cms.Belongs(file.key, cert) {
			r.certs = append(r.certs, cert)
		}
	}
	switch {
	case len(r.certs) > 0:
		return r, nil
	case certFile != "":
		return nil, failure("no certificate in %s belongs to the key in %s", certFile, keyFile)
	}
	return nil, failure("%s holds no certificate that belongs to its key", keyFile).
		hint("give the certificate with --cert")
}

// parseCertificates reads the certificates in a file. What cannot be parsed is
// nobody's here.
func parseCertificates(path string) ([]*x509.Certificate, error) {
	files, err := readCertificates(path)
	if errors.Is(err, keystore.ErrPrivateKey) {
		return nil, failure("%w", err).hint("give --cert a file with the certificate alone")
	}
	var certs []*x509.Certificate
	for _, der := range files {
		if cert, err := x509.ParseCertificate(der); err == nil {
			certs = append(certs, cert)
		}
	}
	return certs, err
}

// decrypt is the whole of the command.
func (r *reader) decrypt(out io.Writer, in io.Reader) error {
	data, err := readBounded(in, "the message", maxSealed)
	if err != nil {
		return err
	}
	object, err := bareEnvelope(data)
	if err != nil {
		return err
	}
	if object != nil {
		entity, err := r.open(object)
		if err != nil {
			return err
		}
		_, err = out.Write(entity)
		return err
	}
	return r.decryptMail(out, data)
}

func (r *reader) decryptMail(out io.Writer, data []byte) error {
	in := bufio.NewReaderSize(bytes.NewReader(data), 64<<10)
	unix := unixLines(in)
	header, err := message.ReadHeader(in)
	if err != nil {
		return failure("reading the message: %w", err).
			hint("give a whole message, or an envelope (smime.p7m) in DER, BER, PEM or base64")
	}
	object, err := envelopeIn(header, in, len(data))
	if err != nil {
		return err
	}
	entity, err := r.open(object)
	if err != nil {
		return err
	}
	return writeOpened(out, header, entity, unix)
}

// open decrypts an object that names one of our certificates.
func (r *reader) open(object []byte) ([]byte, error) {
	if err := checkEncrypted(object); err != nil {
		return nil, err
	}
	err := error(cms.ErrNotRecipient)
	for _, cert := range r.certs {
		var entity []byte
		if entity, err = cms.Decrypt(object, cert, r.key); err == nil {
			return entity, nil
		}
		if !errors.Is(err, cms.ErrNotRecipient) {
			break
		}
	}
	return nil, failure("decrypting: %w", err)
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
