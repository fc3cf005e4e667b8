package main

import (
	"fmt"
	"strconv"
	"strings"

	"secmsg/rpc/local"
)

// sizeText is a number of bytes for a person: 512 B, 1.5 MiB. A negative one is not known.
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
		if v < step-0.5 { // what rounds to 1024 is 1 of the next
			break
		}
	}
	if v < 9.95 {
		return strconv.FormatFloat(v, 'f', 1, 64) + " " + unit
	}
	return strconv.FormatFloat(v, 'f', 0, 64) + " " + unit
}

// fileText is a file in one line: what it is, how it stands, and what to do
// about it. An own one stands as its message does, in brackets.
func fileText(f *local.File, id, direction string) string {
	if direction == local.DirectionOut {
		if f.State == "" {
			return fileName(f)
		}
		return fileName(f) + " [" + f.State + fileReason(f) + "]"
	}
	switch f.State {
	case local.FileOffered, "":
		return fileName(f) + ", to fetch it: secmsg file get " + id
	case local.FileFetched:
		if f.Path != "" {
			return fileName(f) + " fetched: " + oneLine(f.Path)
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

// fileReason is why a file failed, behind its state.
func fileReason(f *local.File) string {
	if f.State != local.FileFailed || f.Error == nil {
		return ""
	}
	return ": " + f.Error.Message
}

// attachedText is a file of a message. Of an own one only that is said which the
// state of the message, behind the last line, does not say.
func attachedText(f *local.File, m *local.Message, direction string) string {
	switch {
	case direction != local.DirectionOut:
		return fileText(f, f.ID, direction)
	case f.State == m.State && f.Error == nil, f.State == "":
		return fileName(f)
	}
	return fileName(f) + " " + f.State + fileReason(f)
}

// oneLine keeps a path from passing for further text; what else is in it, the
// printing of events makes visible.
func oneLine(s string) string {
	return strings.NewReplacer("\n", `\n`, "\r", `\r`, "\t", `\t`).Replace(s)
}
