package dnssec

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// This file reads IANA's root-anchors.xml (RFC 9718, Section 2):
//
//	<TrustAnchor id="…" source="…">
//	<Zone>.</Zone>
//	<KeyDigest id="…" validFrom="2017-02-02T00:00:00+00:00">
//	<KeyTag>20326</KeyTag> <Algorithm>8</Algorithm> <DigestType>2</DigestType>
//	<Digest>E06D…</Digest>
//	<PublicKey>AwEA…</PublicKey> <Flags>257</Flags>
//	</KeyDigest>
//	</TrustAnchor>
//
// The validity may lack its end; public key and flags may be absent together.
// Nothing else is taken: what we do not understand could change the meaning of
// what we do.

// parseAnchorXML reads root-anchors.xml. Anchors whose time is over, or has not
// begun, are returned as well.
func parseAnchorXML(content []byte) ([]Anchor, error) {
	anchors, err := anchorsOfXML(content)
	if err != nil {
		return nil, fmt.Errorf("dnssec: trust anchors: root-anchors.xml: %w", err)
	}
	return anchors, nil
}

func anchorsOfXML(content []byte) ([]Anchor, error) {
	top, err := readXML(content)
	if err != nil {
		return nil, err
	}
	if top.name != "TrustAnchor" {
		return nil, top.fault("this is another file, get the one that IANA publishes (RFC 9718)")
	}
	if err := top.only([]string{"id", "source"}, "Zone", "KeyDigest"); err != nil {
		return nil, err
	}
	text, err := top.one("Zone")
	if err != nil {
		return nil, err
	}
	zone, err := parseName(text)
	if err != nil {
		return nil, top.fault("its Zone %q is no name: %v", text, err)
	}
	var anchors []Anchor
	for _, part := range top.parts {
		if part.name != "KeyDigest" {
			continue
		}
		a, err := anchorOfXML(zone, part)
		if err != nil {
			return nil, err
		}
		if anchors = append(anchors, a); len(anchors) > maxAnchors {
			return nil, fmt.Errorf("more than %d trust anchors", maxAnchors)
		}
	}
	if len(anchors) == 0 {
		return nil, top.fault("there is no KeyDigest in it, get the whole file anew")
	}
	return anchors, nil
}

// anchorOfXML reads one KeyDigest.
func anchorOfXML(zone name, e *element) (Anchor, error) {
	err := e.only([]string{"id", "validFrom", "validUntil"}, "KeyTag", "Algorithm", "DigestType", "Digest", "PublicKey", "Flags")
	if err != nil {
		return Anchor{}, err
	}
	tag, errTag := e.number("KeyTag", 16)
	algorithm, errAlgorithm := e.number("Algorithm", 8)
	kind, errKind := e.number("DigestType", 8)
	sum, errSum := e.digest(uint8(kind))
	from, errFrom := e.time("validFrom")
	until, errUntil := e.time("validUntil")
	if err := cmp.Or(errTag, errAlgorithm, errKind, errSum, errFrom, errUntil); err != nil {
		return Anchor{}, err
	}
	switch {
	case from.IsZero():
		return Anchor{}, e.fault("it has no validFrom, get the file anew")
	case !until.IsZero() && !until.After(from):
		return Anchor{}, e.fault("validUntil is not after validFrom, get the file anew")
	}
	d := digest{uint16(tag), uint8(algorithm), uint8(kind), sum}
	if err := e.checkKey(zone, d); err != nil {
		return Anchor{}, err
	}
	a := d.anchor(zone)
	a.From, a.Until = from, until
	return a, nil
}

// number reads a part that is a decimal number.
func (e *element) number(part string, bits int) (uint64, error) {
	text, err := e.one(part)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(text, 10, bits)
	if err != nil {
		return 0, e.fault("its %s %q is no number from 0 to %d", part, text, uint64(1)<<bits-1)
	}
	return n, nil
}

// digestSizes are the octets of the digests that are known by number (IANA, DS
// RR Type Digest Algorithms), whether or not we compute them.
var digestSizes = map[uint8]int{1: 20, digestSHA256: 32, 3: 32, digestSHA384: 48}

func (e *element) digest(kind uint8) ([]byte, error) {
	text, err := e.one("Digest")
	if err != nil {
		return nil, err
	}
	sum, err := hex.DecodeString(text)
	if err != nil || len(sum) == 0 {
		return nil, e.fault("its Digest is not hexadecimal, get the file anew")
	}
	if size, ok := digestSizes[kind]; ok && len(sum) != size {
		return nil, e.fault("its Digest has %d octets, one of DigestType %d has %d: get the file anew", len(sum), kind, size)
	}
	return sum, nil
}

// time reads an attribute that is a date and time, or absent. RFC 9718 allows
// those of XML Schema; without a time zone they would mean anything.
func (e *element) time(attr string) (time.Time, error) {
	text, ok := e.attrs[attr]
	if !ok {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil || t.IsZero() {
		return time.Time{}, e.fault("%s is %q, write a date and time as in 2017-02-02T00:00:00+00:00", attr, text)
	}
	return t.UTC(), nil
}

// checkKey compares the public key, if it is there, with the digest. It is not
// needed, but if the two do not agree, who knows which is right?
func (e *element) checkKey(zone name, d digest) error {
	if !e.has("PublicKey") && !e.has("Flags") {
		return nil
	}
	text, err := e.one("PublicKey")
	if err != nil {
		return err
	}
	flags, err := e.number("Flags", 16)
	if err != nil {
		return err
	}
	public, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(text), ""))
	if err != nil {
		return e.fault("its PublicKey is not base64, get the file anew")
	}
	rdata := append(binary.BigEndian.AppendUint16(nil, uint16(flags)), 3, d.algorithm)
	k, ok := parseKey(append(rdata, public...))
	switch {
	case !ok || !k.isEntry():
		return e.fault("its Flags %d are not those of a key that may be believed (257)", flags)
	case k.tag != d.tag, knownDigest(d.kind) && !d.matches(zone, k):
		return e.fault("its PublicKey has another key tag or digest, get the file anew")
	}
	return nil
}

// An element of XML holds text or other elements.
type element struct {
	name  string
	line  int
	attrs map[string]string
	text  string // without space around it
	parts []*element
}

// maxXMLDepth is how deep elements stand in each other.
const maxXMLDepth = 3

// readXML reads a document. A document type is refused, so no entity can be
// declared, and encoding/xml knows only XML's own five.
func readXML(content []byte) (top *element, err error) {
	d := xml.NewDecoder(bytes.NewReader(content))
	for {
		token, err := d.Token()
		switch {
		case err == io.EOF && top == nil:
			return nil, errors.New("there is no element in it, get the file anew")
		case err == io.EOF:
			return top, nil
		case err != nil:
			return nil, err
		}
		switch token := token.(type) {
		case xml.StartElement:
			if top != nil {
				return nil, fmt.Errorf("a second document begins with <%s>", token.Name.Local)
			}
			if top, err = readElement(d, token, 1); err != nil {
				return nil, err
			}
		case xml.CharData:
			if len(bytes.TrimSpace(token)) > 0 {
				return nil, errors.New("there is text around the document")
			}
		case xml.Directive:
			return nil, errors.New("a document type is not read, remove the line <!DOCTYPE …>")
		}
	}
}

// readElement reads the rest of an element.
func readElement(d *xml.Decoder, start xml.StartElement, depth int) (*element, error) {
	line, _ := d.InputPos()
	e := &element{name: start.Name.Local, line: line, attrs: map[string]string{}}
	if start.Name.Space != "" {
		return nil, e.fault("a name space is not expected")
	}
	if depth > maxXMLDepth {
		return nil, e.fault("elements stand in each other deeper than RFC 9718 knows")
	}
	for _, a := range start.Attr {
		if _, twice := e.attrs[a.Name.Local]; twice || a.Name.Space != "" {
			return nil, e.fault("its attribute %s is there twice, or of a name space", a.Name.Local)
		}
		e.attrs[a.Name.Local] = a.Value
	}
	var text strings.Builder
	for {
		token, err := d.Token()
		if err != nil {
			return nil, err
		}
		switch token := token.(type) {
		case xml.StartElement:
			part, err := readElement(d, token, depth+1)
			if err != nil {
				return nil, err
			}
			e.parts = append(e.parts, part)
		case xml.CharData:
			text.Write(token)
		case xml.EndElement:
			if e.text = strings.TrimSpace(text.String()); e.text != "" && len(e.parts) > 0 {
				return nil, e.fault("text stands between elements")
			}
			return e, nil
		case xml.Directive:
			return nil, e.fault("a directive is not expected")
		}
	}
}

// fault is an error that says where, and names the key if there is one.
func (e *element) fault(format string, args ...any) error {
	where := fmt.Sprintf("line %d: <%s>", e.line, e.name)
	if id, ok := e.attrs["id"]; ok {
		where = fmt.Sprintf("line %d: <%s id=%q>", e.line, e.name, id)
	}
	return fmt.Errorf("%s: %s", where, fmt.Sprintf(format, args...))
}

// only refuses every attribute and part that is not listed.
func (e *element) only(attrs []string, parts ...string) error {
	const instead = "take the file as IANA publishes it, or write DS lines"
	for attr := range e.attrs {
		if !slices.Contains(attrs, attr) {
			return e.fault("the attribute %q is not known here: %s", attr, instead)
		}
	}
	for _, part := range e.parts {
		if !slices.Contains(parts, part.name) {
			return part.fault("it is not known in <%s>: %s", e.name, instead)
		}
	}
	return nil
}

func (e *element) has(part string) bool {
	return slices.ContainsFunc(e.parts, func(p *element) bool { return p.name == part })
}

// one returns the text of a part that must be there once, and hold text only.
func (e *element) one(part string) (string, error) {
	var found *element
	for _, p := range e.parts {
		if p.name != part {
			continue
		}
		if found != nil {
			return "", e.fault("it has more than one %s", part)
		}
		found = p
	}
	if found == nil {
		return "", e.fault("it has no %s, get the file anew", part)
	}
	return found.text, found.only(nil)
}
