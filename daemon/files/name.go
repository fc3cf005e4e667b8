package files

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"secmsg/rpc/local/place"
	"secmsg/rpc/local/screen"
)

const (
	// MaxName bounds a safe name in bytes. File systems allow 255; the rest is room for a
	// number and for the suffix of a partial file.
	MaxName = 200
	// noName replaces a name without any safe character.
	noName = "file"
)

// SafeName converts a name that a peer sent, or a path that a user gave, into a file name
// that is harmless on any system:
//
//   - only the last element, with / and \ as separators;
//   - without characters that a terminal should not get unescaped: control, direction,
//     invisible and separator characters, and excessive combining marks (see package screen;
//     joiners stay where a script needs them);
//   - without leading dots, dashes and spaces (hidden files, options) and without trailing
//     dots and spaces (Windows drops them);
//   - with _ for :*?"<>| and for bytes that are not UTF-8;
//   - with _ before the names of Windows devices;
//   - at most [MaxName] bytes, cut between two characters, with a short extension kept;
//   - "file" if nothing is left.
//
// SafeName is idempotent.
func SafeName(name string) string {
	name = strings.ToValidUTF8(name, "_")
	name = strings.TrimRight(name, `/\`)
	if i := strings.LastIndexAny(name, `/\`); i >= 0 {
		name = name[i+1:]
	}
	// A step can expose an end that another step trims, so repeat until nothing changes.
	// Each round shortens the name, except for one added underscore.
	for range maxRounds {
		next := safeRound(name)
		if next == name {
			break
		}
		name = next
	}
	if name == "" {
		return noName
	}
	return name
}

// maxRounds is more than any name needs: an end alternates dots, marks and joiners only up
// to the first character that is none of them.
const maxRounds = 4 * MaxName

func safeRound(name string) string {
	name = strings.Map(safeRune, screen.Clean(name))
	name = strings.TrimLeft(name, ".- ")
	name = strings.TrimRight(name, ". ")
	name = notDevice(name)
	if len(name) > MaxName {
		// Cutting may produce the name of a device, so leave one byte for the underscore.
		name = notDevice(cutName(name, MaxName-1))
	}
	return name
}

// safeRune returns r or its replacement.
func safeRune(r rune) rune {
	switch {
	case unicode.Is(unicode.Zs, r):
		return ' '
	case strings.ContainsRune(`:*?"<>|`, r):
		return '_'
	}
	return r
}

// notDevice returns name, with a leading underscore if Windows takes it for a device. It
// does so whatever the extension is ("Naming Files, Paths, and Namespaces", Microsoft).
func notDevice(name string) string {
	base, _, _ := strings.Cut(name, ".")
	base = strings.ToUpper(strings.TrimRight(base, " "))
	if slices.Contains([]string{"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$", "CLOCK$"}, base) {
		return "_" + name
	}
	for _, port := range []string{"COM", "LPT"} {
		n, ok := strings.CutPrefix(base, port)
		if ok && utf8.RuneCountInString(n) == 1 && strings.ContainsAny(n, "0123456789¹²³") {
			return "_" + name
		}
	}
	return name
}

// cutName shortens name to at most limit bytes and keeps its extension.
func cutName(name string, limit int) string {
	if len(name) <= limit {
		return name
	}
	stem, ext := place.SplitName(name)
	return place.CutRunes(stem, limit-len(ext)) + ext
}
