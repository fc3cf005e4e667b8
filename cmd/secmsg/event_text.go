package main

import (
	"cmp"
	"fmt"
	"strings"

	"secmsg/rpc/local"
)

// stamp is the layout of printed times.
const stamp = "2006-01-02T15:04:05.000Z"

// printEvent prints one event.
func (a *app) printEvent(e *local.Event) error {
	if a.json() {
		return a.printJSON(e)
	}
	text := eventText(e)
	if a.stdoutTerminal() {
		text = forTerminal(e, text, a.stdoutColumns())
	}
	return a.printf("%s", text)
}

// A reader can always tell the program's own words from those of a peer. Text of a
// peer follows saysMark, and each of its further lines follows furtherMark. Words of
// the program follow tellsMark, or fileMark at the start of a line. On a terminal,
// forTerminal also breaks wide lines with furtherMark.
const (
	saysMark    = ": "
	furtherMark = "    | "
	tellsMark   = " * "
	fileMark    = "    * "
)

// eventText formats an event for a person: time, peer, content.
func eventText(e *local.Event) string {
	var b strings.Builder
	b.WriteString(timeText(e.Received))
	who := e.Peer
	if e.Direction == local.DirectionOut {
		who = "-> " + who
	}
	if who != "" {
		b.WriteString(" " + visible(who) + mark(e))
	}
	if e.Message == nil {
		b.WriteString(tellsMark + visible(bodyText(e)))
		return b.String()
	}
	b.WriteString(messageText(e))
	return b.String()
}

// messageText formats a message and its files, each on a separate line. An outgoing
// message is followed by its state.
func messageText(e *local.Event) string {
	m := e.Message
	var b strings.Builder
	state := ""
	if e.Direction == local.DirectionOut && m.State != "" {
		state = " [" + m.State + "]"
	}
	if m.Text != "" || len(m.Files) == 0 {
		text := visibleBlock(m.Text)
		b.WriteString(saysMark + strings.ReplaceAll(text, "\n", "\n"+furtherMark))
		if state != "" && strings.Contains(text, "\n") {
			b.WriteString("\n   ") // behind the last line, the state would seem to be that line's
		}
		b.WriteString(visible(state))
		state = ""
	}
	for i := range m.Files {
		if b.Len() == 0 {
			b.WriteString(tellsMark)
		} else {
			b.WriteString("\n" + fileMark)
		}
		b.WriteString(visible(attachedText(&m.Files[i], m, e.Direction)))
	}
	b.WriteString(visible(state))
	return b.String()
}

// mark is a warning about the sender, printed after the name.
func mark(e *local.Event) string {
	switch {
	case e.Trust == local.TrustChanged, e.Trust == local.TrustBlocked:
		return " (" + e.Trust + ")"
	case e.Message != nil && e.Message.Request:
		return " (request)"
	}
	return ""
}

// bodyText describes the details of an event.
func bodyText(e *local.Event) string {
	switch {
	case e.File != nil:
		return fileText(e.File, cmp.Or(e.File.ID, e.ID), e.Direction)
	case e.FileState != nil:
		return fileText(e.FileState, cmp.Or(e.FileState.ID, e.ID), e.Direction)
	case e.Call != nil:
		return callText(e.Call)
	case e.Receipt != nil:
		return e.Receipt.State + " " + e.Receipt.MessageID
	case e.Identity != nil:
		return identityText(e.Identity)
	case e.Presence != nil:
		if e.Presence.Online {
			return "online"
		}
		return "offline"
	case e.System != nil && e.System.Gap != nil:
		return fmt.Sprintf("messages %d to %d of %s have not arrived", e.System.Gap.From, e.System.Gap.To, e.System.Gap.Peer)
	case e.System != nil:
		return e.System.Text
	}
	return e.Type
}

func identityText(i *local.Identity) string {
	what := map[string]string{
		local.ChangeKey:           "the identity key has changed",
		local.ChangeDeviceAdded:   "a device was added",
		local.ChangeDeviceRemoved: "a device was removed",
		local.ChangeMismatch:      "the safety number did not match",
		local.ChangeCertificate:   "the certificate has changed",
		local.ChangeSession:       "a new session was started although one works",
		local.ChangeClone:         "a copy of a device seems to be in use",
		local.ChangeWithheld:      "the server withholds a device list",
		local.ChangeStale:         "the device list is out of date",
	}[i.Change]
	if what == "" {
		what = i.Change
	}
	if i.Text != "" {
		what += ": " + i.Text
	}
	if i.Fingerprint != "" {
		what += " (" + i.Fingerprint + ")"
	}
	return what
}

func timeText(t local.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(stamp)
}
