package main

import (
	"bytes"
	"encoding/xml"
	"fmt"
)

// Sizes in pixels. The background is part of the picture, so that it looks the same on a light and on a
// dark page.
const (
	charWidth  = 7.8
	lineHeight = 19
	fontSize   = 13
	margin     = 16
	titleBar   = 34
)

// draw renders lines as an SVG.
func draw(lines []line) []byte {
	width := columns*charWidth + 2*margin
	height := titleBar + len(lines)*lineHeight + 2*margin
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%.0f" height="%d" viewBox="0 0 %.0f %d" role="img">
<title>secmsg in a terminal</title>
<desc>Made from scripts/demo by scripts/termsvg. Ids, times, keys and numbers are replaced by fixed ones.</desc>
<style>
text { font: %dpx ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; white-space: pre; fill: #d6dde6 }
.comment { fill: #7f8c9b }
.prompt { fill: #6fb3ff }
.command { fill: #ffffff; font-weight: bold }
</style>
<rect width="100%%" height="100%%" rx="8" fill="#161b22" stroke="#3a424d"/>
`, width, height, width, height, fontSize)
	for i, color := range []string{"#ff5f57", "#febc2e", "#28c840"} {
		fmt.Fprintf(&b, `<circle cx="%d" cy="%d" r="5.5" fill="%s"/>`+"\n", margin+6+20*i, titleBar/2+2, color)
	}
	for i, l := range lines {
		y := titleBar + margin + i*lineHeight + fontSize
		x := float64(margin)
		if l.prompt != "" {
			drawText(&b, "prompt", x, y, l.prompt)
			x += float64(len(l.prompt)+1) * charWidth
		}
		if l.kind != blank {
			drawText(&b, string(l.kind), x, y, l.text)
		}
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

// drawText draws one text. Its length is given, so that it fits with any font.
func drawText(b *bytes.Buffer, class string, x float64, y int, text string) {
	fmt.Fprintf(b, `<text class="%s" x="%.1f" y="%d" textLength="%.1f" xml:space="preserve">`, class, x, y, float64(len(text))*charWidth)
	_ = xml.EscapeText(b, []byte(text)) // a buffer never fails
	b.WriteString("</text>\n")
}
