package dnssec

import (
	"bufio"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Evidence is what a verdict rests on: the question, the messages that were
// read, in the order in which they were needed, and when. Whoever has the trust
// anchors can come to the same verdict without asking anybody ([NewReplay]).
type Evidence struct {
	Question Question
	Time     time.Time // of the verdict; in full seconds
	Messages [][]byte  // in wire form
}

// maxMessages bounds the messages of an Evidence. A lookup asks no more, with
// each of its servers first.
const maxMessages = maxQuestions

// maxLine bounds a line of an evidence file: the hexadecimal form of the longest
// message, and what is said of it.
const maxLine = 2*65535 + 4096

// An evidenceLine is a message as a JSON object (RFC 8427, Sections 2.1, 2.4 and
// 2.5). The message is all that is believed of it, the rest is for people.
type evidenceLine struct {
	Date    string `json:"dateString"`
	Seconds int64  `json:"dateSeconds"`
	Name    string `json:"QNAME"`
	Type    string `json:"QTYPEname"`
	Octets  string `json:"messageOctetsHEX,omitempty"` // absent: the question
}

// Write writes evidence as lines of JSON: first the question, then a message
// each.
func (e Evidence) Write(w io.Writer) error {
	lines := json.NewEncoder(w)
	if err := lines.Encode(e.line(e.Question.Name, e.Question.Type, nil)); err != nil {
		return err
	}
	for _, raw := range e.Messages {
		q, ok := questionOf(raw)
		if !ok {
			return errMalformed
		}
		if err := lines.Encode(e.line(q.name.String(), q.rtype, raw)); err != nil {
			return err
		}
	}
	return nil
}

func (e Evidence) line(name string, rtype uint16, raw []byte) evidenceLine {
	return evidenceLine{
		Date:    e.Time.UTC().Format(time.RFC3339),
		Seconds: e.Time.Unix(),
		Name:    name,
		Type:    TypeName(rtype),
		Octets:  strings.ToUpper(hex.EncodeToString(raw)),
	}
}

// ReadEvidence reads what Write has written.
func ReadEvidence(r io.Reader) (Evidence, error) {
	var e Evidence
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	for n := 1; lines.Scan(); n++ {
		if n > maxMessages+1 {
			return Evidence{}, fmt.Errorf("dnssec: evidence: more than %d messages", maxMessages)
		}
		read := e.readMessage
		if n == 1 {
			read = e.readQuestion
		}
		if err := read(lines.Bytes()); err != nil {
			return Evidence{}, fmt.Errorf("dnssec: evidence: line %d: %w", n, err)
		}
	}
	if err := lines.Err(); err != nil {
		return Evidence{}, fmt.Errorf("dnssec: evidence: %w", err)
	}
	if len(e.Messages) == 0 {
		return Evidence{}, errors.New("dnssec: evidence: there is no message")
	}
	return e, nil
}

// readQuestion reads the first line.
func (e *Evidence) readQuestion(line []byte) error {
	var l evidenceLine
	if err := json.Unmarshal(line, &l); err != nil {
		return err
	}
	name, err := ParseName(l.Name)
	if err != nil {
		return fmt.Errorf("QNAME: %w", err)
	}
	rtype, err := ParseType(l.Type)
	if err != nil {
		return fmt.Errorf("QTYPEname: %w", err)
	}
	e.Question, e.Time = Question{name, rtype}, time.Unix(l.Seconds, 0)
	return nil
}

func (e *Evidence) readMessage(line []byte) error {
	var l evidenceLine
	if err := json.Unmarshal(line, &l); err != nil {
		return err
	}
	raw, err := hex.DecodeString(l.Octets)
	if err != nil {
		return fmt.Errorf("messageOctetsHEX: %w", err)
	}
	if _, ok := questionOf(raw); !ok {
		return errors.New("messageOctetsHEX is no DNS message with one question")
	}
	e.Messages = append(e.Messages, raw)
	return nil
}

// questionOf reads the question of a message.
func questionOf(raw []byte) (q question, ok bool) {
	if len(raw) < headerSize || len(raw) > 65535 {
		return q, false
	}
	n, end, err := dns.UnpackDomainName(raw, headerSize)
	if err != nil || len(raw) < end+4 || raw[4] != 0 || raw[5] != 1 {
		return q, false
	}
	q.name, err = parseName(n)
	q.rtype = uint16(raw[end])<<8 | uint16(raw[end+1])
	return q, err == nil
}

// NewReplay makes a Validator that asks nobody: its answers are in messages, of
// an [Answer] or a file. What is not in them could not be found out. The servers
// and times of the options do not matter; Now is when the messages are judged.
func NewReplay(o Options, messages [][]byte) (*Validator, error) {
	recorded := replay{}
	for _, raw := range messages {
		q, ok := questionOf(raw)
		if !ok {
			return nil, errors.New("dnssec: evidence: not a DNS message with one question")
		}
		if _, twice := recorded[q]; !twice {
			recorded[q] = slices.Clone(raw)
		}
	}
	return newValidator(o, recorded)
}

// A replay answers from memory.
type replay map[question][]byte

var errNotRecorded = errors.New("the evidence has no reply to this question")

func (r replay) ask(_ context.Context, q question) (*reply, error) {
	raw, ok := r[q]
	if !ok {
		return nil, errNotRecorded
	}
	return parseReply(raw, uint16(raw[0])<<8|uint16(raw[1]), q)
}
