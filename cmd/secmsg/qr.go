package main

import (
	"strings"

	"rsc.io/qr"

	"secmsg/rpc/local"
)

const (
	// qrQuiet is the margin of a code in modules. ISO 18004 requires four, but scanners
	// accept one, and with four the code would not fit a terminal of 24 lines.
	qrQuiet = 1
	// qrColors draws black on white whatever the colours of the terminal are, since
	// many scanners reject an inverted code.
	qrColors = "\x1b[38;5;16;48;5;231m"
	qrPlain  = "\x1b[0m"
)

// qrLines draws a text as a QR code, two rows of modules in a line of the terminal.
func qrLines(text string) ([]string, error) {
	code, err := qr.Encode(text, qr.L) // the lowest redundancy: a screen is never damaged
	if err != nil {
		return nil, local.Errorf(local.CodeInternal, "cannot make the QR code: %v", err)
	}
	dark := func(x, y int) bool { return x >= 0 && y >= 0 && x < code.Size && y < code.Size && code.Black(x, y) }
	var lines []string
	for y := -qrQuiet; y < code.Size+qrQuiet; y += 2 {
		var b strings.Builder
		b.WriteString(qrColors)
		for x := -qrQuiet; x < code.Size+qrQuiet; x++ {
			switch {
			case dark(x, y) && dark(x, y+1):
				b.WriteString("█")
			case dark(x, y):
				b.WriteString("▀")
			case dark(x, y+1):
				b.WriteString("▄")
			default:
				b.WriteByte(' ')
			}
		}
		b.WriteString(qrPlain)
		lines = append(lines, b.String())
	}
	return lines, nil
}

// qrWidth is the width of a code in columns.
func qrWidth(lines []string) int {
	line := strings.TrimSuffix(strings.TrimPrefix(lines[0], qrColors), qrPlain)
	return len([]rune(line))
}
