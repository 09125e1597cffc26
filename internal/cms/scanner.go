package cms

import "math"

// A Scanner watches an object pass by, DER or BER of any length, and says in
// the end whether it was exactly one whole encrypted object. It keeps none of
// it, and takes the same memory whatever comes. The zero Scanner is ready.
//
// It judges the structure down to the recipients and the content (see
// grammar.go); whether the ciphertext is one, only the recipient can tell.
type Scanner struct {
	offset int64 // octets read

	header     [2 + maxLengthOctets]byte // of the element that begins
	headerSize int
	skip       int64 // octets of contents still to be passed over

	open  [maxDepth]opened // from the outermost to the innermost
	depth int

	id        [maxOID]byte // the content type, while it is read
	idSize    int
	readingID bool

	content  bool // there is ciphertext
	whole    bool // the object is complete
	hopeless bool
}

// An opened element is one whose end has not come yet.
type opened struct {
	rule       rule
	step       int  // in the rule
	met        bool // the step, at least once
	indefinite bool
	end        int64 // its offset; of an indefinite element, that of what it is in
}

// Write takes a piece of the object. It never fails.
func (s *Scanner) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0 && !s.hopeless; {
		if s.skip > 0 {
			rest = rest[s.contents(rest):]
			continue
		}
		s.headerOctet(rest[0])
		rest = rest[1:]
	}
	return len(p), nil
}

// Hopeless reports that nothing that may follow can make it an encrypted
// object any more.
func (s *Scanner) Hopeless() bool { return s.hopeless }

// Encrypted reports whether everything written so far is one EnvelopedData or
// AuthEnvelopedData with content and recipients, complete to the last octet,
// and nothing else.
func (s *Scanner) Encrypted() bool { return s.whole && s.content && !s.hopeless }

// isEncrypted is a Scanner's opinion of an object that is there as a whole.
func isEncrypted(object []byte) bool {
	var s Scanner
	s.Write(object)
	return s.Encrypted()
}

// contents passes over octets of contents and returns how many.
func (s *Scanner) contents(p []byte) int {
	n := int(min(s.skip, int64(len(p))))
	if s.readingID {
		s.idSize += copy(s.id[s.idSize:], p[:n])
	}
	s.offset += int64(n)
	s.skip -= int64(n)
	if s.skip == 0 {
		s.ended()
	}
	return n
}

// pass is Write for n octets of contents that are not here to be seen.
func (s *Scanner) pass(n int64) {
	if n > s.skip || s.readingID {
		s.hopeless = true
		return
	}
	s.offset += n
	s.skip -= n
	if s.skip == 0 && n > 0 {
		s.ended()
	}
}

// headerOctet takes the next octet of a header.
func (s *Scanner) headerOctet(c byte) {
	if s.whole {
		s.hopeless = true // something follows
		return
	}
	s.header[s.headerSize] = c
	s.headerSize++
	s.offset++
	h, state := parseHeader(s.header[:s.headerSize])
	switch state {
	case headerBad:
		s.hopeless = true
	case headerDone:
		s.headerSize = 0
		s.begun(h)
	}
}

// begun acts on a complete header.
func (s *Scanner) begun(h berHeader) {
	in := s.innermost()
	if s.offset > in.end { // the header itself, be it of an end
		s.hopeless = true
		return
	}
	if in.indefinite && h.isEnd() {
		s.close()
		s.ended()
		return
	}
	st, allowed := in.next(h)
	if !allowed || h.tag == 0 || h.length > in.end-s.offset {
		s.hopeless = true
		return
	}
	inside := st.contents(h.tag, in.rule)
	if h.tag&constructed != 0 && (h.indefinite || inside != nil) {
		s.enter(h, inside, in.end)
		return
	}
	s.readingID = st.decides
	s.content = s.content || st.content && h.length > 0
	s.skip = h.length
	if s.skip == 0 {
		s.ended()
	}
}

// innermost is the element whose contents are being read. Around everything
// stands one without an end that holds one ContentInfo.
func (s *Scanner) innermost() *opened {
	if s.depth == 0 {
		return &opened{rule: object, end: math.MaxInt64}
	}
	return &s.open[s.depth-1]
}

// enter opens a constructed element.
func (s *Scanner) enter(h berHeader, inside rule, limit int64) {
	if s.depth == maxDepth {
		s.hopeless = true
		return
	}
	o := opened{rule: inside, indefinite: h.indefinite, end: limit}
	if !h.indefinite {
		o.end = s.offset + h.length
	}
	s.open[s.depth] = o
	s.depth++
	s.ended()
}

// ended follows the end of any contents: elements whose last octet that was
// end too.
func (s *Scanner) ended() {
	if s.readingID {
		s.decide()
	}
	for s.depth > 0 && !s.hopeless {
		in := s.innermost()
		if in.indefinite || s.offset < in.end {
			return
		}
		s.close()
	}
}

// close ends the innermost element.
func (s *Scanner) close() {
	if !s.innermost().complete() {
		s.hopeless = true
		return
	}
	s.depth--
	s.whole = s.depth == 0
}

// decide goes by the content type that has been read.
func (s *Scanner) decide() {
	s.readingID = false
	rule, known := contentInfos[string(s.id[:s.idSize])]
	if !known {
		s.hopeless = true
		return
	}
	s.innermost().rule = rule
}
