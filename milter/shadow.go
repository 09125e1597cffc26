package milter

import (
	"io"
	"log/slog"

	dj "github.com/d--j/go-milter"

	"smimea.example/internal/gateway"
)

// A shadow is a session that looks on: it does all its work, mails are encrypted
// to the end, and the MTA sees nothing of it. Every answer lets the mail go on,
// ours to our own mistakes too: a panic costs the mail its line in the log at
// most.
type shadow struct{ *session }

// newMilter is what serves one connection.
func (s *Server) newMilter() dj.Milter {
	inner := &session{server: s}
	if s.Shadow {
		return shadow{inner}
	}
	return inner
}

// NewConnection implements [dj.Milter], as do the others.
func (s shadow) NewConnection(m dj.Modifier) error {
	s.unseen(nil, s.session.NewConnection(m))
	return nil
}

func (s shadow) Connect(host, family string, port uint16, addr string, m dj.Modifier) (*dj.Response, error) {
	return s.unseen(s.session.Connect(host, family, port, addr, m)), nil
}

// MailFrom lets the MTA's own copies pass, as a session does.
func (s shadow) MailFrom(from, options string, m dj.Modifier) (*dj.Response, error) {
	return s.unseen(s.session.MailFrom(from, options, onlooker{m})), nil
}

func (s shadow) RcptTo(to, options string, m dj.Modifier) (*dj.Response, error) {
	if s.over() {
		return dj.RespContinue, nil
	}
	return s.unseen(s.session.RcptTo(to, options, onlooker{m})), nil
}

func (s shadow) Header(name, value string, m dj.Modifier) (*dj.Response, error) {
	if s.turnedAway(m) {
		return dj.RespContinue, nil
	}
	return s.unseen(s.session.Header(name, value, onlooker{m})), nil
}

func (s shadow) Headers(m dj.Modifier) (*dj.Response, error) {
	if s.turnedAway(m) {
		return dj.RespContinue, nil
	}
	return s.unseen(s.session.Headers(onlooker{m})), nil
}

func (s shadow) BodyChunk(chunk []byte, m dj.Modifier) (*dj.Response, error) {
	if s.over() {
		return dj.RespContinue, nil
	}
	return s.unseen(s.session.BodyChunk(chunk, onlooker{m})), nil
}

func (s shadow) EndOfMessage(m dj.Modifier) (*dj.Response, error) {
	if s.over() {
		return dj.RespContinue, nil
	}
	return s.unseen(s.session.EndOfMessage(onlooker{m})), nil
}

func (s shadow) Abort(m dj.Modifier) error {
	s.unseen(nil, s.session.Abort(m))
	return nil
}

// over says that the last word on the mail has been spoken, which the MTA has
// not heard.
func (s shadow) over() bool { return s.tx == nil }

// turnedAway ends a mail whose recipients would all have been turned away: with
// an MTA that hears so, its header never comes.
func (s shadow) turnedAway(m dj.Modifier) bool {
	tx := s.tx
	if tx == nil {
		return true
	}
	if tx.stage != inEnvelope || s.pickup || len(tx.record.fates) == 0 {
		return false
	}
	for _, f := range tx.record.fates {
		if f.Reply.Action == gateway.Accept {
			return false
		}
	}
	tx.record.see(m)
	s.drop()
	return true
}

// unseen makes of any answer one that lets the mail go on. Only "accept", for the
// copies that come back, is one already.
func (s shadow) unseen(resp *dj.Response, err error) *dj.Response {
	if err != nil {
		s.server.Log.Error("milter: in shadow mode, so that the mail goes on", slog.String("why", err.Error()))
		s.drop()
	}
	if err == nil && resp == dj.RespAccept {
		return resp
	}
	return dj.RespContinue
}

// drop gives up the mail in the shadow.
func (s shadow) drop() {
	var err error
	defer s.caught("shadow", &err)
	s.abandon()
}

// An onlooker shows a session the MTA's macros, and has the MTA wait for it.
// Whatever it would change goes nowhere. No method is taken over from the
// library but those that only look, so that one that it may get some day changes
// nothing either.
type onlooker struct{ mta dj.Modifier }

func (o onlooker) Get(name dj.MacroName) string           { return o.mta.Get(name) }
func (o onlooker) GetEx(name dj.MacroName) (string, bool) { return o.mta.GetEx(name) }
func (o onlooker) Version() uint32                        { return o.mta.Version() }
func (o onlooker) Protocol() dj.OptProtocol               { return o.mta.Protocol() }
func (o onlooker) Actions() dj.OptAction                  { return o.mta.Actions() }
func (o onlooker) MaxDataSize() dj.DataSize               { return o.mta.MaxDataSize() }
func (o onlooker) MilterId() uint64                       { return o.mta.MilterId() }
func (o onlooker) Progress() error                        { return o.mta.Progress() }

func (onlooker) AddRecipient(string, string) error      { return nil }
func (onlooker) DeleteRecipient(string) error           { return nil }
func (onlooker) ReplaceBodyRawChunk([]byte) error       { return nil }
func (onlooker) Quarantine(string) error                { return nil }
func (onlooker) AddHeader(string, string) error         { return nil }
func (onlooker) ChangeHeader(int, string, string) error { return nil }
func (onlooker) InsertHeader(int, string, string) error { return nil }
func (onlooker) ChangeFrom(string, string) error        { return nil }

// ReplaceBody reads the new body, since it may turn out then that it cannot be
// read.
func (onlooker) ReplaceBody(r io.Reader) error {
	_, err := io.Copy(io.Discard, r)
	return err
}
