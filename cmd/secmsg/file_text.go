package main

import (
	"fmt"
	"strconv"
	"strings"

	"secmsg/rpc/local"
)

// sizeText formats a number of bytes for a person: 512 B, 1.5 MiB. A negative number
// means that the size is unknown.
func sizeText(n int64) string {
	const step = 1 << 10
	if n < 0 {
		return "?"
	}
	if n < step {
		return strconv.FormatInt(n, 10) + " B"
	}
	v := float64(n)
	unit := ""
	for _, u := range []string{"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"} {
		v /= step
		unit = u
		if v < step-0.5 { // a value that rounds to 1024 is 1 of the next unit
			break
		}
	}
	if v < 9.95 {
		return strconv.FormatFloat(v, 'f', 1, 64) + " " + unit
	}
	return strconv.FormatFloat(v, 'f', 0, 64) + " " + unit
}

// fileText describes a file in one line: name, state, and the command to fetch it.
// For an outgoing file the state is in brackets, as for a message.
func fileText(f *local.File, id, direction string) string {
	if direction == local.DirectionOut {
		if f.State == "" {
			return fileName(f)
		}
		return fileName(f) + " [" + f.State + fileReason(f) + "]"
	}
	switch f.State {
	case local.FileOffered, "":
		return fileName(f) + "; fetch with: secmsg file get " + id
	case local.FileFetched:
		if f.Path != "" {
			return fileName(f) + " saved as " + oneLine(f.Path)
		}
	}
	return fileName(f) + " " + f.State + fileReason(f)
}

func fileName(f *local.File) string {
	kind := ""
	if f.Type != "" {
		kind = ", " + oneLine(f.Type)
	}
	return fmt.Sprintf("file %q (%s%s)", f.Name, sizeText(f.Size), kind)
}

// fileReason is the reason of a failed file, printed after its state.
func fileReason(f *local.File) string {
	if f.State != local.FileFailed || f.Error == nil {
		return ""
	}
	return ": " + f.Error.Message
}

// attachedText describes a file of a message. The state of an outgoing message
// follows its last line, so a file's own state is printed only if it differs.
func attachedText(f *local.File, m *local.Message, direction string) string {
	switch {
	case direction != local.DirectionOut:
		return fileText(f, f.ID, direction)
	case f.State == m.State && f.Error == nil, f.State == "":
		return fileName(f)
	}
	return fileName(f) + " " + f.State + fileReason(f)
}

// oneLine escapes line breaks and tabs, so that a path cannot look like another line
// of output. Other control characters are made visible when the event is printed.
func oneLine(s string) string {
	return strings.NewReplacer("\n", `\n`, "\r", `\r`, "\t", `\t`).Replace(s)
}
