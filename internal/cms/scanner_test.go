package cms

import (
	"bytes"
	"fmt"
	"testing"

	"golang.org/x/crypto/cryptobyte/asn1"
)

// indefinite makes an element of indefinite length.
func indefinite(tag asn1.Tag, contents ...[]byte) []byte {
	inside := bytes.Join(contents, nil)
	return append(append([]byte{byte(tag), 0x80}, inside...), 0, 0)
}

// The parts of an object, to be put together rightly and wrongly.
var (
	partName      = element(asn1.SEQUENCE, element(asn1.SEQUENCE), integer(1))
	partKey       = element(asn1.SEQUENCE, integer(0), partName, algorithmID(oidRSA, null()), element(asn1.OCTET_STRING, []byte("key")))
	partAlgorithm = algorithmID(oidAES256CBC, element(asn1.OCTET_STRING, make([]byte, 16)))
	partText      = element(string0, []byte("sixteen octets!!"))
	partContent   = element(asn1.SEQUENCE, objectID(oidData), partAlgorithm, partText)
	partMAC       = element(asn1.OCTET_STRING, make([]byte, 16))
)

func contentInfo(kind string, fields ...[]byte) []byte {
	return element(asn1.SEQUENCE, objectID(kind), element(field0, element(asn1.SEQUENCE, fields...)))
}

func envelopedOf(text ...[]byte) []byte {
	content := element(asn1.SEQUENCE, append([][]byte{objectID(oidData), partAlgorithm}, text...)...)
	return contentInfo(oidEnvelopedData, integer(0), element(asn1.SET, partKey), content)
}

func nested(depth int) []byte {
	piece := element(asn1.OCTET_STRING, []byte("deep"))
	for range depth {
		piece = indefinite(constructedOctets, piece)
	}
	return envelopedOf(indefinite(field0, piece))
}

func TestScannerAccepts(t *testing.T) {
	piece := element(asn1.OCTET_STRING, []byte("piece"))
	set := element(asn1.SET, partKey)
	for name, object := range map[string][]byte{
		"EnvelopedData":         envelopedOf(partText),
		"in pieces":             envelopedOf(element(field0, piece, piece)),
		"in indefinite pieces":  envelopedOf(indefinite(field0, piece, element(asn1.OCTET_STRING), piece)),
		"in pieces of pieces":   envelopedOf(indefinite(field0, indefinite(constructedOctets, piece, piece), piece)),
		"as deep as may be":     nested(maxDepth - 5),
		"with originatorInfo":   contentInfo(oidEnvelopedData, integer(2), element(field0), set, partContent),
		"with attributes":       contentInfo(oidEnvelopedData, integer(2), set, partContent, element(field1, partName)),
		"indefinite attributes": contentInfo(oidEnvelopedData, integer(2), set, partContent, indefinite(field1, indefinite(asn1.SEQUENCE, partName, null()))),
		"AuthEnvelopedData":     contentInfo(oidAuthEnvelopedData, integer(0), set, partContent, partMAC),
		"with both attributes":  contentInfo(oidAuthEnvelopedData, integer(0), set, partContent, element(field1), partMAC, element(field2)),
		"all indefinite": indefinite(asn1.SEQUENCE, objectID(oidEnvelopedData), indefinite(field0, indefinite(asn1.SEQUENCE,
			integer(0), indefinite(asn1.SET, indefinite(asn1.SEQUENCE, integer(0), partName, partAlgorithm, piece)),
			indefinite(asn1.SEQUENCE, objectID(oidData), indefinite(asn1.SEQUENCE, objectID(oidAES256CBC), partMAC), indefinite(field0, piece))))),
		"long lengths": append([]byte{0x30, 0x88, 0, 0, 0, 0, 0, 0, 0, byte(len(envelopedOf(partText)) - 2)}, envelopedOf(partText)[2:]...),
	} {
		checkScan(t, name, object, true)
		for n := range object {
			if isEncrypted(object[:n]) {
				t.Errorf("%s: encrypted after %d of %d octets", name, n, len(object))
			}
		}
		checkScan(t, name+" and a zero", append(bytes.Clone(object), 0), false)
		checkScan(t, name+" and a line end", append(bytes.Clone(object), '\n'), false)
		checkScan(t, name+" twice", append(bytes.Clone(object), object...), false)
	}
}

func TestScannerRefuses(t *testing.T) {
	set := element(asn1.SET, partKey)
	piece := element(asn1.OCTET_STRING, []byte("piece"))
	long := contentInfo(oidEnvelopedData, integer(0), set, partContent)
	for name, object := range map[string][]byte{
		"nothing":                    nil,
		"text":                       []byte("Hello, this is not encrypted.\r\n"),
		"zeros":                      make([]byte, 1000),
		"signed-data":                contentInfo(oidSignedData, integer(1), set, partContent),
		"compressed-data":            contentInfo(oidCompressedData, integer(0), partAlgorithm, partContent),
		"encrypted-data":             contentInfo(oidEncryptedData, integer(0), partContent),
		"content type only":          element(asn1.SEQUENCE, objectID(oidEnvelopedData)),
		"no recipients":              contentInfo(oidEnvelopedData, integer(0), partContent),
		"empty recipients":           contentInfo(oidEnvelopedData, integer(0), element(asn1.SET), partContent),
		"empty indefinite set":       contentInfo(oidEnvelopedData, integer(0), indefinite(asn1.SET), partContent),
		"an empty recipient":         contentInfo(oidEnvelopedData, integer(0), element(asn1.SET, element(asn1.SEQUENCE)), partContent),
		"a recipient of no kind":     contentInfo(oidEnvelopedData, integer(0), element(asn1.SET, element(0xa5, partName)), partContent),
		"text for a recipient":       contentInfo(oidEnvelopedData, integer(0), element(asn1.SET, element(asn1.OCTET_STRING, []byte("text"))), partContent),
		"no version":                 contentInfo(oidEnvelopedData, set, partContent),
		"two versions":               contentInfo(oidEnvelopedData, integer(0), integer(0), set, partContent),
		"a version of two octets":    contentInfo(oidEnvelopedData, element(asn1.INTEGER, []byte{1, 0}), set, partContent),
		"two sets of recipients":     contentInfo(oidEnvelopedData, integer(0), set, set, partContent),
		"two contents":               contentInfo(oidEnvelopedData, integer(0), set, partContent, partContent),
		"no content":                 contentInfo(oidEnvelopedData, integer(0), set),
		"content elsewhere":          envelopedOf(),
		"empty content":              envelopedOf(element(string0)),
		"content of no pieces":       envelopedOf(element(field0)),
		"indefinite, of no pieces":   envelopedOf(indefinite(field0)),
		"content of empty pieces":    envelopedOf(indefinite(field0, element(asn1.OCTET_STRING), element(asn1.OCTET_STRING))),
		"text between the pieces":    envelopedOf(indefinite(field0, piece, element(asn1.UTF8String, []byte("text")), piece)),
		"text behind the content":    envelopedOf(partText, element(asn1.UTF8String, []byte("text"))),
		"a tag without authority":    contentInfo(oidEnvelopedData, integer(0), set, partContent, partMAC),
		"authenticated without it":   contentInfo(oidAuthEnvelopedData, integer(0), set, partContent),
		"tag before content":         contentInfo(oidAuthEnvelopedData, integer(0), set, partMAC, partContent),
		"something behind [0]":       element(asn1.SEQUENCE, objectID(oidEnvelopedData), element(field0, long[17:]), null()),
		"too deep":                   nested(maxDepth - 4),
		"a flood of beginnings":      bytes.Repeat([]byte{0x30, 0x80}, 1<<16),
		"an indefinite string":       {0x04, 0x80, 0, 0},
		"a tag of several octets":    {0x3f, 0x81, 0x01, 0x02},
		"a length beyond reason":     {0x30, 0x88, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		"a length of 9 octets":       {0x30, 0x89, 0, 0, 0, 0, 0, 0, 0, 0, 1},
		"a reserved length":          {0x30, 0xff},
		"end before the beginning":   {0, 0},
		"longer inside than outside": append([]byte{0x30, 0x20}, long[2:]...),
		"an end beyond its parents":  overrunning(2),
		"an end halfway beyond":      overrunning(1),
		"shorter inside":             append([]byte{0x30, long[1] + 1}, append(long[2:len(long):len(long)], 0)...),
	} {
		checkScan(t, name, object, false)
		if _, err := Decrypt(object, the(t, "rsa2048").cert(), the(t, "rsa2048").key); err == nil {
			t.Errorf("%s: opened", name)
		}
	}
}

// overrunning has content of indefinite length whose end-of-contents octets
// reach so many octets beyond the elements around it.
func overrunning(n byte) []byte {
	shorter := func(element []byte) []byte {
		element[1] -= n
		return element
	}
	content := shorter(element(asn1.SEQUENCE, objectID(oidData), partAlgorithm,
		indefinite(field0, element(asn1.OCTET_STRING, []byte("piece")))))
	data := shorter(element(asn1.SEQUENCE, integer(0), element(asn1.SET, partKey), content))
	return shorter(element(asn1.SEQUENCE, objectID(oidEnvelopedData), shorter(element(field0, data))))
}

func checkScan(t *testing.T, name string, object []byte, want bool) {
	t.Helper()
	for _, size := range []int{1, 2, 7, 1 << 20} {
		s := scanIn(object, size)
		if s.Encrypted() != want || s.Hopeless() && want {
			t.Errorf("%s, by %d octets: encrypted %v, hopeless %v", name, size, s.Encrypted(), s.Hopeless())
		}
	}
}

// scanIn scans an object in pieces of a given length.
func scanIn(object []byte, size int) *Scanner {
	s := new(Scanner)
	for rest := object; len(rest) > 0; {
		n, _ := s.Write(rest[:min(size, len(rest))])
		rest = rest[n:]
	}
	return s
}

func TestHopelessEarly(t *testing.T) {
	set := element(asn1.SET, partKey)
	signed := contentInfo(oidSignedData, integer(1), set)
	for name, c := range map[string]struct {
		object []byte
		by     int
	}{
		"text":        {[]byte("Hello"), 2},
		"signed-data": {signed, 13},
		"a tail":      {append(envelopedOf(partText), '\r'), len(envelopedOf(partText)) + 1},
	} {
		for n := range len(c.object) + 1 {
			if got, want := scanIn(c.object[:n], 1).Hopeless(), n >= c.by; got != want {
				t.Errorf("%s: hopeless %v after %d octets, want it after %d", name, got, n, c.by)
			}
		}
	}
}

func TestScannerMemory(t *testing.T) {
	head := bytes.Join([][]byte{{0x30, 0x80}, objectID(oidEnvelopedData), {0xa0, 0x80}, {0x30, 0x80}, integer(0),
		element(asn1.SET, partKey), {0x30, 0x80}, objectID(oidData), partAlgorithm, {0xa0, 0x80}}, nil)
	piece := element(asn1.OCTET_STRING, make([]byte, 65535))
	ends := make([]byte, 5*2)
	n := testing.AllocsPerRun(3, func() {
		var s Scanner
		s.Write(head)
		for range (25 << 20) / len(piece) {
			s.Write(piece)
		}
		s.Write(ends)
		if !s.Encrypted() {
			t.Error("not encrypted")
		}
	})
	if n > 2 {
		t.Errorf("25 MB take %v allocations", n)
	}
}

func FuzzScanner(f *testing.F) {
	f.Add(envelopedOf(partText), uint8(1))
	f.Add(nested(3), uint8(7))
	f.Add(contentInfo(oidAuthEnvelopedData, integer(0), element(asn1.SET, partKey), partContent, partMAC), uint8(3))
	for _, who := range []string{"rsa2048", "p256"} {
		f.Add(encrypt(f, []byte("content"), 3, the(f, who)), uint8(16))
	}
	f.Fuzz(func(t *testing.T, object []byte, size uint8) {
		whole := scanIn(object, len(object)+1)
		pieces := scanIn(object, int(size)+1)
		single := scanIn(object, 1)
		got := fmt.Sprint(whole.Encrypted(), whole.Hopeless())
		for _, other := range []*Scanner{pieces, single} {
			if fmt.Sprint(other.Encrypted(), other.Hopeless()) != got {
				t.Fatalf("%s as a whole, and else in pieces", got)
			}
		}
		if !whole.Encrypted() {
			return
		}
		if whole.Hopeless() {
			t.Fatal("encrypted and hopeless")
		}
		if len(object) > 0 && isEncrypted(object[:len(object)-1]) {
			t.Fatal("encrypted without its last octet")
		}
		if isEncrypted(append(bytes.Clone(object), 0)) {
			t.Fatal("encrypted with an octet behind it")
		}
	})
}
