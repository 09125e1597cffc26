package milter

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
)

// A Logged is the line of one mail, read back. Its keys are explained in the
// package comment.
type Logged struct {
	Time       string            `json:"time"`
	Message    string            `json:"msg"`
	QueueID    string            `json:"queue_id"`
	Client     string            `json:"client"`
	Pickup     bool              `json:"pickup"`
	From       string            `json:"from"`
	Recipients []LoggedRecipient `json:"recipients"`
	Result     string            `json:"result"`
	Reply      string            `json:"reply"`
	Mode       string            `json:"mode"`
}

// A LogReader finds the lines of mails in a log: one of the daemon itself, or what
// journalctl or a syslog daemon has made of it, with something in front of each.
type LogReader struct {
	Mails  int // read
	Others int // lines of something else
	Broken int // of mails, and cannot be read: journald cuts lines at 48 KB

	r *bufio.Reader
}

// maxLogLine bounds a line, in octets. A mail has a thousand recipients at most.
const maxLogLine = 8 << 20

// mailMessage is in each line of a mail.
var mailMessage = []byte(`"msg":"mail"`)

// NewLogReader returns a reader of r.
func NewLogReader(r io.Reader) *LogReader { return &LogReader{r: bufio.NewReaderSize(r, 64<<10)} }

// Next returns the next mail, and io.EOF behind the last.
func (l *LogReader) Next() (*Logged, error) {
	for {
		line, whole, err := l.line()
		if err != nil {
			return nil, err
		}
		_, object, _ := bytes.Cut(line, []byte("{"))
		if !bytes.Contains(object, mailMessage) {
			l.Others++
			continue
		}
		m := new(Logged)
		switch err := json.Unmarshal(line[len(line)-len(object)-1:], m); {
		case !whole || err != nil:
			l.Broken++
		case m.Message != "mail":
			l.Others++
		default:
			l.Mails++
			return m, nil
		}
	}
}

// line returns the next line, or as much of it as may be: then it is not whole.
func (l *LogReader) line() (line []byte, whole bool, err error) {
	whole = true
	for {
		piece, err := l.r.ReadSlice('\n')
		if len(line)+len(piece) > maxLogLine {
			piece, whole = nil, false
		}
		line = append(line, piece...)
		switch {
		case err == nil, err == io.EOF && (len(line) > 0 || !whole):
			return line, whole, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, false, err
		}
	}
}
