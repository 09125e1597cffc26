package message

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"os"
	"os/exec"
	"strings"
	"testing"

	"smimea.example/tools/judges"
)

// packet makes a packet in the new format.
func packet(tag byte, contents []byte) []byte {
	p := []byte{0xc0 | tag, 255}
	p = binary.BigEndian.AppendUint32(p, uint32(len(contents)))
	return append(p, contents...)
}

func join2(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// The packets of a message, to be put together rightly and wrongly.
var (
	keyPacket       = packet(1, append([]byte{3}, make([]byte, 50)...))
	passwordPacket  = packet(3, append([]byte{4}, make([]byte, 12)...))
	encryptedPacket = packet(18, append([]byte{1}, make([]byte, 100)...))
	literalPacket   = packet(11, []byte("b\x00\x00\x00\x00\x00this is the plain text"))
)

func armored(packets []byte) string {
	s := base64.StdEncoding.EncodeToString(packets)
	var b strings.Builder
	b.WriteString("-----BEGIN PGP MESSAGE-----\r\n\r\n")
	for ; len(s) > 64; s = s[64:] {
		b.WriteString(s[:64] + "\r\n")
	}
	return b.String() + s + "\r\n=AbC/\r\n-----END PGP MESSAGE-----\r\n"
}

const (
	firstPart  = "--frontier\r\nContent-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n\r\n"
	secondHead = "--frontier\r\nContent-Type: application/octet-stream\r\n\r\n"
	lastLine   = "--frontier--\r\n"
)

var goodArmor = armored(join2(keyPacket, encryptedPacket))

func pgpMIME(armor string) string { return firstPart + secondHead + armor + "\r\n" + lastLine }

// scanPGP checks that a body in pieces is judged as it is at once.
func scanPGP(t *testing.T, body string) bool {
	t.Helper()
	one, many := NewPGPScanner("frontier"), NewPGPScanner("frontier")
	one.Write([]byte(body))
	for i := range len(body) {
		many.Write([]byte(body[i : i+1]))
	}
	if one.Encrypted() != many.Encrypted() || one.Hopeless() != many.Hopeless() {
		t.Errorf("at once: %v, hopeless %v; in pieces: %v, hopeless %v", one.Encrypted(), one.Hopeless(), many.Encrypted(), many.Hopeless())
	}
	if one.Encrypted() && one.Hopeless() {
		t.Error("encrypted, and hopeless")
	}
	return one.Encrypted()
}

func TestPGPMIME(t *testing.T) {
	replace := func(old, new string) string {
		t.Helper()
		whole := pgpMIME(goodArmor)
		if !strings.Contains(whole, old) {
			t.Fatalf("nothing to replace: %q", old)
		}
		return strings.Replace(whole, old, new, 1)
	}
	const octets = "application/octet-stream"
	for name, body := range map[string]string{
		"usual":                    pgpMIME(goodArmor),
		"LF":                       strings.ReplaceAll(pgpMIME(goodArmor), "\r\n", "\n"),
		"empty lines around":       "\r\n" + pgpMIME(goodArmor) + "\r\n \r\n",
		"no line end":              strings.TrimSuffix(pgpMIME(goodArmor), "\r\n"),
		"blanks behind delimiters": strings.ReplaceAll(pgpMIME(goodArmor), "--frontier\r\n", "--frontier \t\r\n"),
		"no empty line after":      firstPart + secondHead + goodArmor + lastLine,
		"empty line before armour": firstPart + secondHead + "\r\n" + goodArmor + lastLine,
		"fields of mail programs": replace(octets, octets+"; name=\"encrypted.asc\"\r\nContent-Description: OpenPGP encrypted message\r\n"+
			"Content-Disposition: inline;\r\n filename=\"encrypted.asc\"\r\nContent-Transfer-Encoding: 7Bit"),
		"described":         replace("Content-Type: "+octets, "Content-Description: PGP/MIME version identification\r\nContent-Type: "+octets),
		"no checksum":       replace("=AbC/\r\n", ""),
		"armour headers":    replace("MESSAGE-----\r\n", "MESSAGE-----\r\nVersion: GnuPG v2\r\nComment: https://gnupg.org\r\nComment:\r\n"),
		"field names' case": replace("Content-Type: "+octets, "CONTENT-type: Application/Octet-Stream"),
	} {
		t.Run(name, func(t *testing.T) {
			if !scanPGP(t, body) {
				t.Errorf("not encrypted:\n%s", body)
			}
		})
	}
	for name, body := range map[string]string{
		"nothing":                     "",
		"text":                        "Dear Bob,\r\n",
		"no armour":                   firstPart + secondHead + lastLine,
		"plain parts":                 firstPart + secondHead + "Dear Bob,\r\nhow are you?\r\n" + lastLine,
		"text parts":                  "--frontier\r\nContent-Type: text/plain\r\n\r\nDear Bob,\r\n" + secondHead + goodArmor + lastLine,
		"one part":                    secondHead + goodArmor + lastLine,
		"three parts":                 firstPart + secondHead + goodArmor + secondHead + goodArmor + lastLine,
		"a plain third part":          firstPart + secondHead + goodArmor + "--frontier\r\n\r\nDear Bob,\r\n" + lastLine,
		"parts in another order":      secondHead + goodArmor + firstPart + lastLine,
		"preamble":                    "Dear Bob,\r\n" + pgpMIME(goodArmor),
		"epilogue":                    pgpMIME(goodArmor) + "P.S.: the password is 1234\r\n",
		"epilogue without a line end": pgpMIME(goodArmor) + "P.S.",
		"text on the last line":       strings.TrimSuffix(pgpMIME(goodArmor), "\r\n") + " P.S.",
		"text on a delimiter":         replace("--frontier\r\n", "--frontier P.S.\r\n"),
		"text before the armour":      replace("-----BEGIN", "Dear Bob,\r\n-----BEGIN"),
		"text behind the armour":      replace("END PGP MESSAGE-----\r\n", "END PGP MESSAGE-----\r\nP.S.\r\n"),
		"text on the armour's line":   replace("END PGP MESSAGE-----", "END PGP MESSAGE----- P.S."),
		"two armours":                 replace("END PGP MESSAGE-----\r\n", "END PGP MESSAGE-----\r\n"+goodArmor),
		"cut off":                     strings.TrimSuffix(pgpMIME(goodArmor), lastLine),
		"cut off in the last line":    strings.TrimSuffix(pgpMIME(goodArmor), "--\r\n"),
		"armour cut off":              replace("-----END PGP MESSAGE-----\r\n", ""),
		"no armour header's end":      replace("MESSAGE-----\r\n\r\n", "MESSAGE-----\r\n"),
		"text in the armour's header": replace("MESSAGE-----\r\n", "MESSAGE-----\r\nDear Bob,\r\n"),
		"long armour header":          replace("MESSAGE-----\r\n", "MESSAGE-----\r\nComment: "+strings.Repeat("x", maxArmorHeaderLine)+"\r\n"),
		"many armour headers":         replace("MESSAGE-----\r\n", "MESSAGE-----\r\n"+strings.Repeat("Comment: x\r\n", maxArmorHeaders+1)),
		"text in the checksum":        replace("=AbC/", "=AbC/ P.S."),
		"line behind the checksum":    replace("=AbC/\r\n", "=AbC/\r\nAAAA\r\n"),
		"junk in the armour":          replace("=AbC/", "*"),
		"empty line in the armour":    replace("=AbC/", ""),
		"text in the first part":      replace("Version: 1\r\n", "Version: 1\r\nDear Bob,\r\n"),
		"another version":             replace("Version: 1", "Version: 2"),
		"no version":                  replace("Version: 1", ""),
		"empty line before it":        replace("Version: 1", "\r\nVersion: 1"),
		"strange field":               replace("Content-Type: "+octets, "Subject: secret\r\nContent-Type: "+octets),
		"field twice":                 replace("Content-Type: "+octets, "Content-Description: OpenPGP encrypted message\r\nContent-description : OpenPGP encrypted message\r\nContent-Type: "+octets),
		"text in a description":       replace("Content-Type: "+octets, "Content-Description: the password is 1234\r\nContent-Type: "+octets),
		"text behind a description":   replace("Content-Type: "+octets, "Content-Description: OpenPGP encrypted message 1234\r\nContent-Type: "+octets),
		"long field":                  replace("Content-Type: "+octets, "Content-Disposition: "+strings.Repeat("x", 900)+"\r\nContent-Type: "+octets+"; name="+strings.Repeat("y", 100)),
		"long line":                   replace("Content-Type: "+octets, "Content-Disposition: "+strings.Repeat("x", 2000)+"\r\nContent-Type: "+octets),
		"part in base64":              replace("Content-Type: "+octets, "Content-Transfer-Encoding: base64\r\nContent-Type: "+octets),
		"part without a type":         replace("Content-Type: "+octets+"\r\n", ""),
		"blank line in a header":      replace(octets+"\r\n", octets+"\r\n \r\n Dear Bob,\r\n"),
		"text instead of a field":     replace("Content-Type: "+octets, "Dear Bob,\r\nContent-Type: "+octets),
		"a delimiter in the armour":   replace("=AbC/", "--frontier"),
		"a longer delimiter":          replace("=AbC/", "--frontier2"),
	} {
		t.Run("not with "+name, func(t *testing.T) {
			if scanPGP(t, body) {
				t.Errorf("encrypted:\n%s", body)
			}
		})
	}
}

func TestPGPBoundary(t *testing.T) {
	for name, boundary := range map[string]string{
		"none":                  "",
		"long":                  strings.Repeat("x", 71),
		"ends in a blank":       "x ",
		"with a line end":       "x\ny",
		"of the armour":         "---BEGIN PGP MESSAGE-----",
		"of the armour's start": "---",
	} {
		t.Run(name, func(t *testing.T) {
			s := NewPGPScanner(boundary)
			s.Write([]byte(strings.ReplaceAll(pgpMIME(goodArmor), "frontier", boundary)))
			if s.Encrypted() || !s.Hopeless() {
				t.Errorf("encrypted %v, hopeless %v", s.Encrypted(), s.Hopeless())
			}
		})
	}
}

func TestPackets(t *testing.T) {
	old := func(tag byte, length ...byte) []byte {
		kind := map[int]byte{1: 0, 2: 1, 4: 2, 0: 3}[len(length)]
		return append([]byte{0x80 | tag<<2 | kind}, length...)
	}
	zeros := func(n int) []byte { return make([]byte, n) }
	v3 := append([]byte{3}, zeros(49)...) // 50 octets
	v1 := append([]byte{1}, zeros(49)...)
	partial := func(tail ...byte) []byte {
		return join2(keyPacket, []byte{0xd2, 0xe0 + 9, 1}, zeros(511), []byte{0xe0 + 3}, zeros(8), tail)
	}
	for name, test := range map[string]struct {
		packets []byte
		want    bool
	}{
		"key":                            {join2(keyPacket, encryptedPacket), true},
		"password":                       {join2(passwordPacket, encryptedPacket), true},
		"several":                        {join2(keyPacket, passwordPacket, keyPacket, encryptedPacket), true},
		"old format, one octet":          {join2(old(1, 50), v3, encryptedPacket), true},
		"old format, two octets":         {join2(old(1, 0, 50), v3, encryptedPacket), true},
		"old format, four octets":        {join2(old(1, 0, 0, 0, 50), v3, encryptedPacket), true},
		"old format, to the end":         {join2(keyPacket, old(9), zeros(1000)), true},
		"new format, one octet":          {join2([]byte{0xc1, 50}, v3, []byte{0xd2, 50}, v1), true},
		"new format, two octets":         {join2(keyPacket, []byte{0xd2, 192, 8, 1}, zeros(199)), true},
		"pieces":                         {partial(3, 0, 0, 0), true},
		"pieces, the last one empty":     {partial(0), true},
		"without integrity":              {join2(keyPacket, packet(9, zeros(100))), true},
		"AEAD":                           {join2(keyPacket, packet(20, v1)), true},
		"version 2":                      {join2(packet(1, append([]byte{6}, zeros(100)...)), packet(18, append([]byte{2}, zeros(100)...))), true},
		"nothing":                        {nil, false},
		"keys alone":                     {keyPacket, false},
		"no key":                         {encryptedPacket, false},
		"literal data":                   {literalPacket, false},
		"literal data behind a key":      {join2(keyPacket, literalPacket), false},
		"literal data behind everything": {join2(keyPacket, encryptedPacket, literalPacket), false},
		"compressed data":                {join2(keyPacket, packet(8, zeros(100))), false},
		"signature":                      {join2(packet(4, v3), literalPacket), false},
		"marker":                         {join2(packet(10, []byte("PGP")), keyPacket, encryptedPacket), false},
		"padding":                        {join2(keyPacket, encryptedPacket, packet(21, zeros(10))), false},
		"key behind the data":            {join2(keyPacket, encryptedPacket, keyPacket), false},
		"data twice":                     {join2(keyPacket, encryptedPacket, encryptedPacket), false},
		"one octet more":                 {join2(keyPacket, encryptedPacket, []byte{0xd2}), false},
		"cut off":                        {join2(keyPacket, encryptedPacket)[:100], false},
		"cut off between pieces":         {partial(), false},
		"cut off in a length":            {partial(200), false},
		"octets behind pieces":           {partial(1, 0, 0), false},
		"key in pieces":                  {join2([]byte{0xc1, 0xe0 + 5, 3}, zeros(31), []byte{0}, encryptedPacket), false},
		"key to the end":                 {join2(old(1), v3), false},
		"long key":                       {join2(packet(1, append([]byte{3}, zeros(maxSessionKey)...)), encryptedPacket), false},
		"empty key":                      {join2(packet(1, nil), encryptedPacket), false},
		"too many keys":                  {join2(bytes.Repeat(keyPacket, maxSessionKeys+1), encryptedPacket), false},
		"text as a key":                  {join2(packet(1, []byte("Dear Bob,")), encryptedPacket), false},
		"text as data":                   {join2(keyPacket, packet(18, []byte("Dear Bob, how are you? Yours, Alice"))), false},
		"short data":                     {join2(keyPacket, packet(18, v1[:minEncrypted-1])), false},
		"empty data":                     {join2(keyPacket, packet(18, nil)), false},
		"no packet":                      {join2([]byte("text")), false},
		"armour in armour":               {[]byte(goodArmor), false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := scanPGP(t, pgpMIME(armored(test.packets))); got != test.want {
				t.Errorf("encrypted: %v", got)
			}
		})
	}
}

func FuzzPGPScanner(f *testing.F) {
	f.Add(pgpMIME(goodArmor))
	f.Add(pgpMIME(armored(join2(keyPacket, literalPacket))))
	f.Add("\n\n--frontier\nContent-Type: application/pgp-encrypted\n\nVersion: 1\n--frontier\n")
	f.Add("--frontier--")
	f.Fuzz(func(t *testing.T, body string) {
		if scanPGP(t, body) && scanPGP(t, body+"\r\nP.S.") {
			t.Error("with a tail")
		}
	})
}

func FuzzPackets(f *testing.F) {
	f.Add(join2(keyPacket, encryptedPacket))
	f.Add(join2(passwordPacket, []byte{0xd2, 0xe0 + 5, 1}, make([]byte, 31), []byte{0}))
	f.Add([]byte{0x85, 0, 1, 3, 0xa7})
	f.Fuzz(func(t *testing.T, packets []byte) {
		one, many := new(packetScanner), new(packetScanner)
		one.Write(packets)
		for i := range packets {
			many.Write(packets[i : i+1])
		}
		if one.encrypted() != many.encrypted() || one.hopeless != many.hopeless {
			t.Errorf("at once: %v, hopeless %v; in pieces: %v, hopeless %v", one.encrypted(), one.hopeless, many.encrypted(), many.hopeless)
		}
	})
}

func BenchmarkPGPScanner(b *testing.B) {
	body := []byte(pgpMIME(armored(join2(keyPacket, packet(18, append([]byte{1}, make([]byte, 1<<20)...))))))
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		s := NewPGPScanner("frontier")
		if s.Write(body); !s.Encrypted() {
			b.Fatal("not encrypted")
		}
	}
}

// gnupg is GnuPG with a home of its own.
type gnupg struct {
	program string
	home    string
}

func newGnuPG(t *testing.T) gnupg {
	t.Helper()
	program, conf := judges.Find(t, "gpg"), judges.Find(t, "gpgconf")
	home, err := os.MkdirTemp("", "gnupg-") // The path of its socket must be short.
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		exec.Command(conf, "--homedir", home, "--kill", "all").Run()
		os.RemoveAll(home)
	})
	return gnupg{program, home}
}

func (g gnupg) run(t *testing.T, input string, args ...string) string {
	t.Helper()
	fixed := []string{"--homedir", g.home, "--batch", "--quiet", "--no-auto-key-locate", "--trust-model", "always", "--pinentry-mode", "loopback", "--passphrase", ""}
	cmd := exec.CommandContext(t.Context(), g.program, append(fixed, args...)...)
	cmd.Stdin = strings.NewReader(input)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("gpg %s: %v\n%s", strings.Join(args, " "), err, &stderr)
	}
	return stdout.String()
}

// What GnuPG makes is recognised, and what it only signs is not.
func TestGnuPG(t *testing.T) {
	g := newGnuPG(t)
	for _, who := range []string{"bob@example.org", "carol@example.org"} {
		g.run(t, "", "--quick-generate-key", who, "future-default", "default", "never")
	}
	short, long := "Dear Bob,\r\n", base64.StdEncoding.EncodeToString(randomOctets(100_000))
	for _, test := range []struct {
		args string
		text string
		want bool
	}{
		{"--encrypt -r bob@example.org", short, true},
		{"--encrypt -r bob@example.org -r carol@example.org", long, true},
		{"--encrypt --hidden-recipient bob@example.org", short, true},
		{"--encrypt -r bob@example.org --compress-algo none", long, true},
		{"--encrypt -r bob@example.org --emit-version --comment hello", short, true},
		{"--encrypt --sign -r bob@example.org", long, true},
		{"--symmetric --passphrase secret", short, true},
		{"--symmetric --passphrase secret --encrypt -r bob@example.org", long, true},
		{"--sign", short, false},
		{"--store", long, false},
		{"--clear-sign", short, false},
		{"--export bob@example.org", "", false},
	} {
		t.Run(test.args, func(t *testing.T) {
			armor := g.run(t, test.text, append([]string{"--armor"}, strings.Fields(test.args)...)...)
			if got := scanPGP(t, pgpMIME(armor)); got != test.want {
				t.Errorf("encrypted: %v\n%.500s", got, armor)
			}
		})
	}
}
