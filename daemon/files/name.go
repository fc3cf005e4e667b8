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
	// MaxName bounds a safe name in bytes. File systems take 255; the rest is
	// room for a number and for the suffix of a file that is not yet whole.
	MaxName = 200
	// noName is what a file is called whose name has nothing safe in it.
	noName = "file"
)

// SafeName makes a name that a peer sent, or a path that a user gave, into one
// that can do no harm as an element of a directory on any system:
//
//   - the last element, whether the separators are / or \;
//   - without what a terminal would not be given as it is: control, direction,
//     invisible and separator characters, and combining marks beyond a few (see
//     package screen; joiners stay where a script needs them);
//   - without leading dots, dashes and spaces (nothing hidden, no option) and
//     without trailing dots and spaces (Windows drops them);
//   - with _ for :*?"<>| and for bytes that are not UTF-8;
//   - with _ before the names of devices on Windows;
//   - at most [MaxName] bytes, cut between two characters, keeping a short extension;
//   - "file" if nothing is left.
//
// SafeName of a safe name is the same name.
func SafeName(name string) string {
	name = strings.ToValidUTF8(name, "_")
	name = strings.TrimRight(name, `/\`)
	if i := strings.LastIndexAny(name, `/\`); i >= 0 {
		name = name[i+1:]
	}
	// What one step leaves out can bring an end together that another step takes
	// off; each round is shorter but for one underscore.
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

// maxRounds is more than a name can need: an end has dots, marks and joiners in
// turn only as far as the first character that is none of them.
const maxRounds = 4 * MaxName

func safeRound(name string) string {
	name = strings.Map(safeRune, screen.Clean(name))
	name = strings.TrimLeft(name, ".- ")
	name = strings.TrimRight(name, ". ")
	name = notDevice(name)
	if len(name) > MaxName {
		// A name that was cut may have become a device's: one byte of room.
		name = notDevice(cutName(name, MaxName-1))
	}
	return name
}

// safeRune returns r, or what stands for it.
func safeRune(r rune) rune {
	switch {
	case unicode.Is(unicode.Zs, r):
		return ' '
	case strings.ContainsRune(`:*?"<>|`, r):
		return '_'
	}
	return r
}

// notDevice returns name, behind an underscore if Windows takes it for a device,
// which it does whatever extension the name has ("Naming Files, Paths, and
// Namespaces", Microsoft).
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

// cutName cuts what stands before the extension so that name has at most limit bytes.
func cutName(name string, limit int) string {
	if len(name) <= limit {
		return name
	}
	stem, ext := place.SplitName(name)
	return place.CutRunes(stem, limit-len(ext)) + ext
}
