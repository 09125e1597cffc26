package cms

import (
	"slices"

	"golang.org/x/crypto/cryptobyte/asn1"
)

// A rule lists what a constructed element consists of, in its order. The nil
// rule allows anything.
type rule []step

// A step is one field of a structure, or the elements of a SET or SEQUENCE OF.
type step struct {
	is       tags
	inside   rule              // what it consists of, if constructed
	choice   map[asn1.Tag]rule // instead of both: what each alternative consists of
	optional bool
	many     bool  // one or more of them
	again    bool  // it consists of what it is in: pieces of pieces
	max      int64 // octets, if primitive; 0 is no limit
	empty    bool  // it may be empty, if primitive
	content  bool  // it is ciphertext, if primitive
	decides  bool  // its value decides what follows: see contentInfos
}

// tags are alternatives; none at all stands for any.
type tags []asn1.Tag

var (
	version = step{is: tags{asn1.INTEGER}, max: 1}
	typeID  = step{is: tags{asn1.OBJECT_IDENTIFIER}, max: maxOID}
	octets  = step{is: tags{asn1.OCTET_STRING, constructedOctets}, inside: pieces}

	// An OCTET STRING that BER has in pieces: X.690, Section 8.7.
	pieces = rule{{is: tags{asn1.OCTET_STRING, constructedOctets}, many: true, again: true, empty: true}}

	// RFC 5280, Section 4.1.1.2.
	algorithmIdentifier = step{is: tags{asn1.SEQUENCE}, inside: rule{typeID, {optional: true, empty: true}}}

	// ContentInfo: RFC 5652, Section 3. The content waits for the type.
	object      = rule{{is: tags{asn1.SEQUENCE}, inside: rule{contentType}}}
	contentType = step{is: tags{asn1.OBJECT_IDENTIFIER}, max: maxOID, decides: true}

	contentInfos = map[string]rule{
		idContents(oidEnvelopedData):     {contentType, {is: tags{field0}, inside: rule{envelopedData}}},
		idContents(oidAuthEnvelopedData): {contentType, {is: tags{field0}, inside: rule{authEnvelopedData}}},
	}

	// RFC 5652, Section 6.1.
	envelopedData = step{is: tags{asn1.SEQUENCE}, inside: rule{
		version,
		{is: tags{field0}, optional: true}, // originatorInfo
		{is: tags{asn1.SET}, inside: recipients},
		encryptedContentInfo,
		{is: tags{field1}, optional: true}, // unprotectedAttrs
	}}

	// RFC 5083, Section 2.1.
	authEnvelopedData = step{is: tags{asn1.SEQUENCE}, inside: rule{
		version,
		{is: tags{field0}, optional: true}, // originatorInfo
		{is: tags{asn1.SET}, inside: recipients},
		encryptedContentInfo,
		{is: tags{field1}, optional: true}, // authAttrs
		octets,                             // mac
		{is: tags{field2}, optional: true}, // unauthAttrs
	}}

	// RFC 5652, Section 6.1.
	encryptedContentInfo = step{is: tags{asn1.SEQUENCE}, inside: rule{
		typeID,
		algorithmIdentifier,
		{is: tags{string0, field0}, inside: ciphertext, content: true},
	}}
	ciphertext = rule{{is: tags{asn1.OCTET_STRING, constructedOctets}, many: true, again: true, empty: true, content: true}}

	// RFC 5652, Section 6.2: for a key that is transported, agreed upon, known
	// before, made of a password, and of other kinds.
	recipients = rule{{many: true, choice: map[asn1.Tag]rule{
		asn1.SEQUENCE: {version, {is: tags{asn1.SEQUENCE, string0}}, algorithmIdentifier, octets},
		field1: {version, {is: tags{field0}}, {is: tags{field1}, optional: true}, algorithmIdentifier,
			{is: tags{asn1.SEQUENCE}, inside: rule{recipientKey}}},
		field2: {version, {is: tags{asn1.SEQUENCE}}, algorithmIdentifier, octets},
		field3: {version, {is: tags{field0}, optional: true}, algorithmIdentifier, octets},
		field4: {typeID, {empty: true}},
	}}}
	recipientKey = step{is: tags{asn1.SEQUENCE}, many: true, inside: rule{{is: tags{asn1.SEQUENCE, field0}}, octets}}
)

// anything is a field of the nil rule.
var anything = step{empty: true}

// next finds the step that an element is. It passes over those that may be
// absent.
func (o *opened) next(h berHeader) (*step, bool) {
	if o.rule == nil {
		return &anything, true
	}
	for ; o.step < len(o.rule); o.advance() {
		st := &o.rule[o.step]
		if st.allows(h.tag) {
			o.met = true
			if !st.many {
				o.advance()
			}
			return st, st.fits(h)
		}
		if !o.passable() {
			return nil, false
		}
	}
	return nil, false
}

// complete reports whether the element may end here.
func (o *opened) complete() bool {
	for ; o.step < len(o.rule); o.advance() {
		if !o.passable() {
			return false
		}
	}
	return true
}

func (o *opened) advance() { o.step, o.met = o.step+1, false }

// passable reports whether the step at hand has been met, or need not be.
func (o *opened) passable() bool { return o.met || o.rule[o.step].optional }

func (s *step) allows(tag asn1.Tag) bool {
	if s.choice != nil {
		_, known := s.choice[tag]
		return known
	}
	return len(s.is) == 0 || slices.Contains(s.is, tag)
}

// fits checks the length of a string.
func (s *step) fits(h berHeader) bool {
	if h.tag&constructed != 0 {
		return true
	}
	return (h.length > 0 || s.empty) && (h.length <= s.max || s.max == 0)
}

// contents is the rule for what the element consists of.
func (s *step) contents(tag asn1.Tag, around rule) rule {
	switch {
	case s.again:
		return around
	case s.choice != nil:
		return s.choice[tag]
	}
	return s.inside
}

// idContents is the value of an object identifier.
func idContents(dotted string) string { return string(objectID(dotted)[2:]) }
