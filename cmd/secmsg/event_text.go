package main

import (
	"cmp"
	"fmt"
	"strings"

	"secmsg/rpc/local"
)

// stamp is how times are printed.
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

// What this program says about an event, and what a peer wrote, cannot be taken
// for each other: a peer's words stand behind saysMark, and their further lines
// behind furtherMark; the program's stand behind tellsMark, on a line of their
// own behind fileMark. On a terminal a line that is too wide for it goes on behind
// furtherMark, too (forTerminal).
const (
	saysMark    = ": "
	furtherMark = "    | "
	tellsMark   = " * "
	fileMark    = "    * "
)

// eventText is an event for a person: time, peer, what happened.
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

// messageText is a message with its files, each on a line of its own, and the
// state of an own one.
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
			b.WriteString("\n   ") // the end of a text is not the place for the state of all of it
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

// mark is what a reader should know about the sender beside the name.
func mark(e *local.Event) string {
	switch {
	case e.Trust == local.TrustChanged, e.Trust == local.TrustBlocked:
		return " (" + e.Trust + ")"
	case e.Message != nil && e.Message.Request:
		return " (request)"
	}
	return ""
}

// bodyText is the details of an event in words.
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
		local.ChangeSession:       "a session was begun anew",
		local.ChangeClone:         "a device seems to be in use twice",
		local.ChangeWithheld:      "the server withholds a list of devices",
		local.ChangeStale:         "the list of devices is old",
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
