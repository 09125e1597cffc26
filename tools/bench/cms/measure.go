package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"smimea.example/internal/cms"
	"smimea.example/internal/gateway"
	"smimea.example/internal/message"
	"smimea.example/keystore"
	"smimea.example/tools/testnet"
)

// A lab is where things are measured.
type lab struct {
	ctx     context.Context
	n       int
	sizes   []int
	openssl string // empty: there is none

	dir    string
	smimea string // the command
	to     cms.Recipient
}

const largest = 25_000_000 // from this size on there are goals

func (l *lab) path(name string) string { return filepath.Join(l.dir, name) }

func (l *lab) close() { os.RemoveAll(l.dir) }

// start makes the certificate and the entities, and builds the command.
func (l *lab) start() (err error) {
	if l.dir, err = os.MkdirTemp("", "bench-cms-"); err != nil {
		return err
	}
	der, _, err := testnet.NewCertificate(testnet.Subject{Address: "alice@example.org"})
	if err != nil {
		return err
	}
	if l.to, err = cms.NewRecipient(der); err != nil {
		return err
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := os.WriteFile(l.path("cert.pem"), cert, 0o600); err != nil {
		return err
	}
	for _, size := range l.sizes {
		if err := writeEntity(l.path(sizeName(size)), size); err != nil {
			return err
		}
	}
	l.smimea = l.path("smimea")
	build := exec.CommandContext(l.ctx, "go", "build", "-o", l.smimea, "smimea.example/cmd/smimea")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("building the command: %w\n%s", err, out)
	}
	return nil
}

const (
	fields = "Content-Type: text/plain\r\n\r\n"
	line   = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ+-*/0123456789\r\n"
)

// entity makes the fields and the body of a mail of so many octets.
func entity(size int) []byte {
	b := append(make([]byte, 0, size), fields...)
	for len(b) < size {
		b = append(b, line[:min(len(line), size-len(b))]...)
	}
	return b
}

// writeEntity writes one. It is never in memory as a whole: see file.
func writeEntity(path string, size int) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	w.WriteString(fields)
	for left := size - len(fields); left > 0; left -= len(line) {
		w.WriteString(line[:min(len(line), left)])
	}
	return errors.Join(w.Flush(), f.Close())
}

// files compares with OpenSSL.
func (l *lab) files(w io.Writer) error {
	if l.openssl == "" {
		return nil
	}
	fmt.Fprint(w, "From the entity in a file to the mail in base64: here, smimea, openssl\n\n")
	fmt.Fprintf(w, "  %-7s %-10s %9s %9s %9s  %6s %6s  %7s\n", "size", "cipher", "here", "smimea", "openssl", "ratio", "ratio", "peak")
	for _, c := range []cms.Cipher{cms.AES256CBC, cms.AES256GCM} {
		for _, size := range l.sizes {
			if err := l.file(w, c, size); err != nil {
				return err
			}
		}
	}
	_, err := fmt.Fprintln(w)
	return err
}

func (l *lab) file(w io.Writer, c cms.Cipher, size int) error {
	var peak, ignored int64
	file, cert := l.path(sizeName(size)), l.path("cert.pem")
	smimea := func() (time.Duration, error) {
		return l.command(file, &peak, l.smimea, "encrypt", "--cipher", c.String(), "--to", cert)
	}
	option := map[cms.Cipher]string{cms.AES256CBC: "-aes256", cms.AES256GCM: "-aes-256-gcm"}[c]
	openssl := func() (time.Duration, error) {
		return l.command("", &ignored, l.openssl, "cms", "-encrypt", "-binary", "-stream", option, "-in", file, cert)
	}
	// The command first, as long as this process is small: what it takes at most
	// counts from before it was another program.
	process, _, processRatio, err := l.compare(smimea, openssl)
	if err != nil {
		return err
	}
	here, theirs, ratio, err := l.compare(l.here(c, file, size), openssl)
	if err != nil {
		return err
	}
	verdict := ""
	if size >= largest {
		verdict = goal(ratio, map[cms.Cipher]float64{cms.AES256CBC: 0.5, cms.AES256GCM: 0.3}[c])
	}
	if size == 100_000_000 && !c.Authenticated() {
		verdict += map[bool]string{true: ", below 16 MB", false: ", 16 MB MISSED"}[peak < 16_000_000]
	}
	_, err = fmt.Fprintf(w, "  %-7s %-10s %6.1f ms %6.1f ms %6.1f ms  %6.2f %6.2f %5.1f MB  %s\n", sizeName(size), c,
		milliseconds(here), milliseconds(process), milliseconds(theirs), ratio, processRatio, float64(peak)/1e6, verdict)
	return err
}

// here encrypts a file in this process. With GCM it has a buffer, as the gateway
// has, that other mails have had before.
func (l *lab) here(c cms.Cipher, file string, size int) timed {
	to := []cms.Recipient{l.to}
	var whole []byte
	return func() (time.Duration, error) {
		if c.Authenticated() && whole == nil {
			whole = make([]byte, size, size+cms.SealOverhead)
		}
		start := time.Now()
		in, err := os.Open(file)
		if err != nil {
			return 0, err
		}
		defer in.Close()
		out, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
		if err != nil {
			return 0, err
		}
		defer out.Close()
		body := message.NewBase64Writer(out)
		if c.Authenticated() {
			err = sealFile(body, in, whole, to, c)
		} else {
			err = cms.Encrypt(body, in, int64(size), to, c)
		}
		err = errors.Join(err, body.Close())
		return time.Since(start), err
	}
}

func sealFile(body io.Writer, in io.Reader, whole []byte, to []cms.Recipient, c cms.Cipher) error {
	if _, err := io.ReadFull(in, whole); err != nil {
		return err
	}
	o, err := cms.Seal(whole, to, c)
	if err == nil {
		_, err = io.Copy(body, o.Reader(bytes.NewReader(whole)))
	}
	return err
}

func milliseconds(d time.Duration) float64 { return d.Seconds() * 1000 }

// command runs a program, whose output goes nowhere, and notes the most memory
// that it has ever taken.
func (l *lab) command(stdin string, peak *int64, program string, args ...string) (time.Duration, error) {
	cmd := exec.CommandContext(l.ctx, program, args...)
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	if stdin != "" {
		f, err := os.Open(stdin)
		if err != nil {
			return 0, err
		}
		defer f.Close()
		cmd.Stdin = f
	}
	start := time.Now()
	err := cmd.Run()
	took := time.Since(start)
	if err != nil {
		return 0, fmt.Errorf("%s: %w\n%s", program, err, complaints.Bytes())
	}
	if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		*peak = max(*peak, usage.Maxrss*1024)
	}
	return took, nil
}

// parts compares the encryption in this process with the cipher and base64 alone.
func (l *lab) parts(w io.Writer) error {
	fmt.Fprint(w, "The same in one process, beside the bare cipher and bare base64:\n\n")
	fmt.Fprintf(w, "  %-7s %-11s %10s %10s %6s\n", "size", "cipher", "mail", "parts", "ratio")
	for _, c := range []cms.Cipher{cms.AES256CBC, cms.AES256GCM} {
		for _, size := range l.sizes {
			content := entity(size)
			a, b, ratio, err := l.compare(l.mail(c, content), bare(c, content))
			if err != nil {
				return err
			}
			verdict := ""
			if size >= largest {
				verdict = goal(ratio, 1.15)
			}
			fmt.Fprintf(w, "  %-7s %-11s %7.2f ms %7.2f ms %6.2f  %s\n", sizeName(size), c, milliseconds(a), milliseconds(b), ratio, verdict)
		}
	}
	_, err := fmt.Fprintln(w)
	return err
}

// mail encrypts the content and writes it in base64. With GCM the content is
// encrypted where it lies, which costs no time to undo: it is content again.
func (l *lab) mail(c cms.Cipher, content []byte) timed {
	to := []cms.Recipient{l.to}
	whole := append(make([]byte, 0, len(content)+cms.SealOverhead), content...)
	return func() (time.Duration, error) {
		start := time.Now()
		body := message.NewBase64Writer(io.Discard)
		var err error
		if c.Authenticated() {
			var o cms.Object
			o, err = cms.Seal(whole, to, c)
			for _, part := range [][]byte{o.Head, whole, o.Tail} {
				body.Write(part)
			}
		} else {
			err = cms.Encrypt(body, bytes.NewReader(content), int64(len(content)), to, c)
		}
		err = errors.Join(err, body.Close())
		return time.Since(start), err
	}
}

// bare does no more than the cipher, in pieces that lie in the processor's cache
// with CBC and at once with GCM, and base64 of as much.
func bare(c cms.Cipher, content []byte) timed {
	whole := append(make([]byte, 0, len(content)+cms.SealOverhead), content...)
	block, err := aes.NewCipher(make([]byte, 32))
	return func() (time.Duration, error) {
		if err != nil {
			return 0, err
		}
		start := time.Now()
		if c.Authenticated() {
			aead, err := cipher.NewGCM(block)
			if err != nil {
				return 0, err
			}
			aead.Seal(whole[:0], make([]byte, aead.NonceSize()), whole, nil)
		} else {
			mode := cipher.NewCBCEncrypter(block, make([]byte, aes.BlockSize))
			for rest := whole; len(rest) >= aes.BlockSize; {
				n := min(len(rest), 32<<10) / aes.BlockSize * aes.BlockSize
				mode.CryptBlocks(rest[:n], rest[:n])
				rest = rest[n:]
			}
		}
		body := message.NewBase64Writer(io.Discard)
		body.Write(whole)
		err := body.Close()
		return time.Since(start), err
	}
}

// recipients compares one recipient more with encrypting one key.
func (l *lab) recipients(w io.Writer) error {
	const few, many = 1, 11
	var all []cms.Recipient
	for range many {
		der, _, err := testnet.NewCertificate(testnet.Subject{Address: "bob@example.org"})
		if err != nil {
			return err
		}
		r, err := cms.NewRecipient(der)
		if err != nil {
			return err
		}
		all = append(all, r)
	}
	content := entity(4000)
	encrypt := func(to []cms.Recipient) timed {
		return func() (time.Duration, error) {
			const times = 50
			start := time.Now()
			for range times {
				if err := cms.Encrypt(io.Discard, bytes.NewReader(content), int64(len(content)), to, cms.AES256CBC); err != nil {
					return 0, err
				}
			}
			return time.Since(start) / times, nil
		}
	}
	a, b, _, err := l.compare(encrypt(all[:many]), encrypt(all[:few]))
	if err != nil {
		return err
	}
	wrap, err := l.wrap()
	if err != nil {
		return err
	}
	more := (a - b) / (many - few)
	_, err = fmt.Fprintf(w, "A mail of 4 kB to %d takes %.0f µs, to %d %.0f µs: %.0f µs each more.\nEncrypting a key with RSA alone takes %.0f µs: ratio %.2f.\n\n",
		few, microseconds(b), many, microseconds(a), microseconds(more), microseconds(wrap), float64(more)/float64(wrap))
	return err
}

// wrap is how long one RSA encryption takes.
func (l *lab) wrap() (time.Duration, error) {
	key, ok := l.to.Certificate().PublicKey.(*rsa.PublicKey)
	if !ok {
		return 0, errors.New("the certificate has no RSA key")
	}
	var all []time.Duration
	cek := make([]byte, 32)
	for range l.n {
		const times = 500
		start := time.Now()
		for range times {
			//lint:ignore SA1019 what is measured
			if _, err := rsa.EncryptPKCS1v15(rand.Reader, key, cek); err != nil {
				return 0, err
			}
		}
		all = append(all, time.Since(start)/times)
	}
	return median(all), nil
}

func microseconds(d time.Duration) float64 { return d.Seconds() * 1e6 }

// check compares reading an object back with all of a mail's way through the
// gateway, of which it is a part.
func (l *lab) check(w io.Writer) error {
	content := entity(4000)
	to := []cms.Recipient{l.to}
	writer, err := cms.NewWriter(io.Discard, to, cms.AES256CBC)
	if err != nil {
		return err
	}
	writer.Write(content)
	o, err := writer.Close()
	if err != nil {
		return err
	}
	check := often(func() error { return o.Check(to, cms.AES256CBC, int64(len(content))) })
	a, b, ratio, err := l.compare(check, often(l.throughGateway(content)))
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "Reading an object back takes %.1f µs, all of a mail of 4 kB in the gateway %.1f µs: ratio %.3f, %s.\n",
		microseconds(a), microseconds(b), ratio, goal(ratio, 0.03))
	return err
}

// often does something many times.
func often(do func() error) timed {
	return func() (time.Duration, error) {
		const times = 2000
		start := time.Now()
		for range times {
			if err := do(); err != nil {
				return 0, err
			}
		}
		return time.Since(start) / times, nil
	}
}

// throughGateway sends a mail from its first recipient to its last octet.
func (l *lab) throughGateway(body []byte) func() error {
	const alice = "alice@example.org"
	g := &gateway.Gateway{
		Rules: []gateway.Rule{{Recipients: []string{"*"}, Action: gateway.Require}},
		Keys:  onlyKey{l.to},
		Spool: l.dir,
	}
	header := message.Header{
		{Name: "From", Value: " bob@example.org"}, {Name: "To", Value: " " + alice}, {Name: "Subject", Value: " lunch"},
		{Name: "Date", Value: " Wed, 25 Nov 2026 12:00:00 +0000"}, {Name: "Message-ID", Value: " <1@example.org>"},
		{Name: "MIME-Version", Value: " 1.0"}, {Name: "Content-Type", Value: " text/plain; charset=utf-8"},
	}
	return func() error {
		m := g.Begin(gateway.Sender{Address: "bob@example.org"})
		defer m.Close()
		m.Recipient(l.ctx, gateway.Rcpt{Address: alice})
		for _, f := range header {
			m.Header(f)
		}
		m.EndHeader("")
		m.Write(body)
		v := m.End(l.ctx, "")
		if !v.Encrypted {
			return errors.New(v.Reply.Text)
		}
		_, err := io.Copy(io.Discard, v.Body)
		return err
	}
}

// An onlyKey is everybody's.
type onlyKey struct{ cms.Recipient }

func (k onlyKey) Find(context.Context, string) keystore.Keys {
	return keystore.Keys{Outcome: keystore.Found, Certs: []cms.Recipient{k.Recipient}}
}
