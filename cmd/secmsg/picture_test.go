package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
)

func TestGraphicsMode(t *testing.T) {
	env := func(pairs ...string) map[string]string {
		m := map[string]string{}
		for i := 0; i < len(pairs); i += 2 {
			m[pairs[i]] = pairs[i+1]
		}
		return m
	}
	for _, v := range []struct {
		explicit string
		terminal bool
		env      map[string]string
		want     string
	}{
		{"", true, env("TERM", "xterm-kitty"), "kitty"},
		{"", true, env("TERM", "xterm-256color", "KITTY_WINDOW_ID", "1"), "kitty"},
		{"", true, env("TERM", "xterm-ghostty", "TERM_PROGRAM", "ghostty"), "kitty"},
		{"", true, env("TERM", "xterm-256color", "TERM_PROGRAM", "iTerm.app"), "iterm"},
		{"", true, env("TERM", "xterm-256color", "LC_TERMINAL", "iTerm2"), "iterm"}, // through ssh
		{"", true, env("TERM", "xterm-256color", "TERM_PROGRAM", "WezTerm"), "iterm"},
		{"", true, env("TERM", "foot"), "sixel"},
		{"", true, env("TERM", "foot-extra"), "sixel"},
		{"", true, env("TERM", "xterm-sixel"), "sixel"},
		{"", true, env("TERM", "mlterm-256color"), "sixel"},
		{"", true, env("TERM", "xterm-256color", "COLORTERM", "truecolor"), "blocks"},
		{"", true, env("TERM", "xterm-direct"), "blocks"},
		{"", true, env("TERM", "xterm-256color"), "blocks256"},
		{"", true, env("TERM", "linux"), "blocks256"},
		{"", true, env("TERM", "screen-256color", "KITTY_WINDOW_ID", "1"), "blocks256"},
		{"", true, env("TERM", "tmux-256color", "LC_TERMINAL", "iTerm2", "COLORTERM", "24bit"), "blocks"},
		{"", true, env("TERM", "dumb", "COLORTERM", "truecolor"), "none"},
		{"", true, env("TERM", "vt100"), "none"},
		{"", true, env(), "none"},
		{"", false, env("TERM", "xterm-kitty"), "none"},
		{"", true, env("TERM", "xterm-kitty", "NO_COLOR", "1"), "none"},
		{"sixel", false, env("NO_COLOR", "1"), "sixel"},
		{"kitty", true, env("TERM", "dumb"), "kitty"},
		{"iterm", true, env(), "iterm"},
		{"none", true, env("TERM", "xterm-kitty"), "none"},
		{"blocks", false, env("TERM", "xterm-kitty"), "blocks256"},
		{"blocks", true, env("COLORTERM", "truecolor"), "blocks"},
	} {
		got, err := graphicsMode(v.explicit, v.terminal, func(k string) string { return v.env[k] })
		if err != nil || got != v.want {
			t.Errorf("%q, terminal %v, %v: %q, %v; want %q", v.explicit, v.terminal, v.env, got, err, v.want)
		}
	}
	for _, bad := range []string{"blocks256", "KITTY", "x", " "} {
		if got, err := graphicsMode(bad, true, func(string) string { return "" }); err == nil {
			t.Errorf("--graphics %s: %s", bad, got)
		}
	}
}

// tricolor is 4 x 3 pixels: a row of red, one of green, one of blue; the pixel at
// the lower right is white.
func tricolor() *image.RGBA {
	pic := image.NewRGBA(image.Rect(0, 0, 4, 3))
	for y, c := range []color.RGBA{{0xff, 0, 0, 0xff}, {0, 0xff, 0, 0xff}, {0, 0, 0xff, 0xff}} {
		for x := range 4 {
			pic.SetRGBA(x, y, c)
		}
	}
	pic.SetRGBA(3, 2, color.RGBA{0xff, 0xff, 0xff, 0xff})
	return pic
}

func render(t *testing.T, pic image.Image, how string, cols int) string {
	t.Helper()
	var out bytes.Buffer
	if err := renderPicture(&out, pic, how, cols); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestRenderPicture(t *testing.T) {
	data, err := encodePNG(tricolor())
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.StdEncoding.EncodeToString(data)
	for how, want := range map[string]string{
		"kitty": "\x1b_Ga=T,f=100,c=1,q=2,m=0;" + b64 + "\x1b\\\n",
		"iterm": fmt.Sprintf("\x1b]1337;File=inline=1;size=%d;width=1;preserveAspectRatio=1:%s\a\n", len(data), b64),
		"sixel": "\x1bP0;1q\"1;1;4;3" + "#5;2;0;0;100#30;2;0;100;0#180;2;100;0;0#215;2;100;100;100" +
			"#5CCC$#30!4A$#180!4@$#215???C-" + "\x1b\\\n",
		"blocks": "\x1b[38;2;255;0;0;48;2;0;255;0m▀▀▀▀\x1b[0m\n" +
			"\x1b[38;2;0;0;255;49m▀▀▀\x1b[38;2;255;255;255;49m▀\x1b[0m\n",
		"blocks256": "\x1b[38;5;196;48;5;46m▀▀▀▀\x1b[0m\n\x1b[38;5;21;49m▀▀▀\x1b[38;5;231;49m▀\x1b[0m\n",
		"none":      "picture of 4 x 3 pixels, not drawn\n",
	} {
		if got := render(t, tricolor(), how, 80); got != want {
			t.Errorf("%s:\n%q, want\n%q", how, got, want)
		}
	}
	if got, want := render(t, tricolor(), "blocks", 2), "\x1b[38;2;85;85;85;49m▀\x1b[38;2;127;127;85;49m▀\x1b[0m\n"; got != want {
		t.Errorf("scaled: %q, want %q", got, want)
	}
	if err := renderPicture(&bytes.Buffer{}, tricolor(), "tiff", 80); err == nil {
		t.Error("an unknown way was taken")
	}
	for _, how := range append(graphicsValues(), graphicsBlocks256) { // no panic at the borders
		for _, cols := range []int{-1, 0, 1, 1 << 30} {
			for _, size := range []image.Point{{1, 1}, {512, 1}, {1, 512}, {7, 13}} {
				render(t, image.NewGray(image.Rectangle{Max: size}), how, cols)
			}
		}
	}
}

// gradient is a picture whose pieces need several sequences.
func gradient(w, h int) *image.RGBA {
	pic := image.NewRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			pic.SetRGBA(x, y, color.RGBA{uint8(x * 255 / w), uint8(y * 255 / h), uint8((x*x*7 ^ y*y*13) >> 2), 0xff})
		}
	}
	return pic
}

// kitty and iTerm2 get a PNG with every pixel; the pieces for kitty are short.
func TestRenderPictureWhole(t *testing.T) {
	pic := gradient(160, 120)
	pieces := regexp.MustCompile("\x1b_G([^;]*);([A-Za-z0-9+/=]*)\x1b\\\\").FindAllStringSubmatch(render(t, pic, "kitty", 10), -1)
	if len(pieces) < 3 || pieces[0][1] != "a=T,f=100,c=10,q=2,m=1" {
		t.Fatalf("%d pieces, the first with %s", len(pieces), pieces[0][1])
	}
	var payload strings.Builder
	for i, p := range pieces {
		last := i == len(pieces)-1
		if len(p[2]) > kittyChunk || !last && len(p[2])%4 != 0 || strings.HasSuffix(p[1], "m=0") != last || i > 0 && strings.Contains(p[1], "a=") {
			t.Errorf("piece %d: %s, %d bytes", i, p[1], len(p[2]))
		}
		payload.WriteString(p[2])
	}
	inline := regexp.MustCompile(`:([A-Za-z0-9+/=]*)\a`).FindStringSubmatch(render(t, pic, "iterm", 10))
	for name, text := range map[string]string{"kitty": payload.String(), "iterm": inline[1]} {
		data, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		got, err := png.Decode(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		for _, at := range []image.Point{{0, 0}, {159, 119}, {80, 3}} {
			if color.RGBAModel.Convert(got.At(at.X, at.Y)) != color.Color(pic.RGBAAt(at.X, at.Y)) {
				t.Errorf("%s: another pixel at %v", name, at)
			}
		}
	}
}

// The sixels, decoded as a terminal does, have the right colours on average.
func TestRenderSixel(t *testing.T) {
	pic := gradient(64, 50)
	got := readSixels(t, render(t, pic, "sixel", 80))
	if len(got) != 64*50 {
		t.Fatalf("%d pixels, want %d", len(got), 64*50)
	}
	var sum [2]int
	for at, c := range got {
		sum[0] += int(c.R) + int(c.G) + int(c.B)
		want := pic.RGBAAt(at.X, at.Y)
		sum[1] += int(want.R) + int(want.G) + int(want.B)
	}
	if d := (sum[0] - sum[1]) / len(got); d < -9 || d > 9 {
		t.Errorf("the mean differs by %d", d)
	}
	if wide := readSixels(t, render(t, pic, "sixel", 4)); len(wide) != 32*25 {
		t.Errorf("4 columns have %d pixels", len(wide))
	}
}

func readSixels(t *testing.T, s string) map[image.Point]color.RGBA {
	t.Helper()
	s, ok := strings.CutPrefix(s, "\x1bP0;1q")
	s, end := strings.CutSuffix(s, "\x1b\\\n")
	if !ok || !end {
		t.Fatal("no sixels")
	}
	out, palette := map[image.Point]color.RGBA{}, map[int]color.RGBA{}
	x, y, current, run := 0, 0, 0, 1
	for _, token := range regexp.MustCompile(`"[0-9;]+|#[0-9]+(;[0-9]+)*|![0-9]+|.`).FindAllString(s, -1) {
		var n []int
		for _, f := range strings.Split(token[1:], ";") {
			v, _ := strconv.Atoi(f)
			n = append(n, v)
		}
		switch c := token[0]; {
		case c == '"':
		case c == '#' && len(n) == 5:
			palette[n[0]] = color.RGBA{uint8(n[2] * 255 / 100), uint8(n[3] * 255 / 100), uint8(n[4] * 255 / 100), 0xff}
		case c == '#':
			current = n[0]
		case c == '!':
			run = n[0]
		case c == '$':
			x = 0
		case c == '-':
			x, y = 0, y+sixelRows
		case c >= '?' && c <= '~':
			for range run {
				for bit := range sixelRows {
					if at := image.Pt(x, y+bit); (c-'?')>>bit&1 == 1 {
						if _, twice := out[at]; twice {
							t.Fatalf("%v is drawn twice", at)
						}
						out[at] = palette[current]
					}
				}
				x++
			}
			run = 1
		default:
			t.Fatalf("token %q", token)
		}
	}
	return out
}

// The colours of the cube and the greys map to themselves.
func TestColor256(t *testing.T) {
	levels := []uint8{0, 95, 135, 175, 215, 255}
	for i := range 216 {
		c := color.RGBA{levels[i/36], levels[i/6%6], levels[i%6], 0xff}
		if got := color256(c); got != fmt.Sprintf("5;%d", 16+i) {
			t.Errorf("%v: %s, want %d", c, got, 16+i)
		}
	}
	for i := range 24 {
		v := uint8(8 + 10*i)
		if got := color256(color.RGBA{v, v, v, 0xff}); got != fmt.Sprintf("5;%d", 232+i) {
			t.Errorf("grey %d: %s, want %d", v, got, 232+i)
		}
	}
}

// A peer's picture is bounded in size, and its bytes never reach the terminal, such as an
// escape sequence in a comment of the JPEG.
func TestOpenPictureD8(t *testing.T) {
	var b bytes.Buffer
	if err := jpeg.Encode(&b, gradient(80, 60), nil); err != nil {
		t.Fatal(err)
	}
	good := b.Bytes()
	const evil = "\x1b]0;owned\a\x1b[2J"
	comment := append([]byte{0xff, 0xfe, 0, byte(len(evil) + 2)}, evil...)
	hostile := bytes.Join([][]byte{good[:2], comment, good[2:], []byte(evil)}, nil)
	pic, err := openPicture(hostile)
	if err != nil {
		t.Fatal(err)
	}
	for _, how := range append(graphicsValues(), graphicsBlocks256) {
		out := render(t, pic, how, 40)
		if strings.Contains(out, "owned") || strings.Contains(out, "[2J") {
			t.Errorf("%s: a sequence of the peer's reached the terminal", how)
		}
	}
	sof := bytes.Index(good, []byte{0xff, 0xc0})
	huge := bytes.Clone(good)
	copy(huge[sof+5:], []byte{0xff, 0xff, 0xff, 0xff})
	var wide bytes.Buffer
	if err := jpeg.Encode(&wide, image.NewGray(image.Rect(0, 0, maxPictureSide+1, 1)), nil); err != nil {
		t.Fatal(err)
	}
	var large bytes.Buffer
	if err := jpeg.Encode(&large, gradient(maxPictureSide, 8), nil); err != nil {
		t.Fatal(err)
	}
	if pic, err := openPicture(large.Bytes()); err != nil || pic.Bounds().Dx() != maxPictureSide {
		t.Errorf("the widest: %v", err)
	}
	otherFormat, err := encodePNG(gradient(8, 8))
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"nothing": nil, "text": []byte("hello"), "png": otherFormat, "cut": good[:len(good)/2], "claims 65535": huge, "too wide": wide.Bytes(),
		"too long": append(bytes.Clone(good), make([]byte, maxPictureBytes)...),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if pic, err := openPicture(data); err == nil || pic != nil {
			t.Errorf("%s: opened", name)
		}
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; used > 1<<20 {
			t.Errorf("%s: %d bytes allocated", name, used)
		}
	}
}

// FuzzOpenPicture checks that any picture is either refused or within the bounds.
func FuzzOpenPicture(f *testing.F) {
	var good bytes.Buffer
	if err := jpeg.Encode(&good, gradient(40, 20), nil); err != nil {
		f.Fatal(err)
	}
	f.Add(good.Bytes())
	f.Add(good.Bytes()[:good.Len()/2])
	f.Fuzz(func(t *testing.T, data []byte) {
		if pic, err := openPicture(data); err == nil && max(pic.Bounds().Dx(), pic.Bounds().Dy()) > maxPictureSide {
			t.Errorf("opened %v", pic.Bounds())
		}
	})
}
