package files

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"secmsg/rpc/local/place"
)

// D5 in crypto/ATTACKS.md: hostile names.
func TestSafeNameD5(t *testing.T) {
	long := strings.Repeat("a", 300)
	for _, v := range []struct{ name, want string }{
		{"report.pdf", "report.pdf"}, {"Übersicht – 2026 (final).ods", "Übersicht – 2026 (final).ods"}, {"日本語.txt", "日本語.txt"},
		{"a  b.c", "a  b.c"}, {"no extension", "no extension"}, {"archive.tar.gz", "archive.tar.gz"}, {"it's $HOME;`x`&.sh", "it's $HOME;`x`&.sh"},
		// Traversal.
		{"../../.bashrc", "bashrc"}, {"/etc/passwd", "passwd"}, {"/etc/x", "x"}, {`C:\x`, "x"}, {`C:\Windows\System32\cmd.exe`, "cmd.exe"},
		{`..\..\x.txt`, "x.txt"}, {`a/b\c`, "c"}, {`a\b/c`, "c"}, {".ssh/authorized_keys", "authorized_keys"}, {"dir/", "dir"}, {`dir\/\`, "dir"},
		{"..", "file"}, {".", "file"}, {"../..", "file"}, {"/", "file"}, {`\`, "file"}, {"", "file"}, {"....//....//etc", "etc"},
		{"C:evil.txt", "C_evil.txt"}, {"file.txt:stream", "file.txt_stream"}, {"file.txt::$DATA", "file.txt__$DATA"}, {`\\server\share\f`, "f"},
		{"%2e%2e%2fx", "%2e%2e%2fx"}, {"~/x", "x"},
		// Hidden, options.
		{".bashrc", "bashrc"}, {"-rf", "rf"}, {"--force", "force"}, {" -rf", "rf"}, {".-. x", "x"}, {"...", "file"}, {"- -", "file"}, {"\u00a0-rf", "rf"},
		// Ends that Windows drops.
		{"x.", "x"}, {"x. . ", "x"}, {"x.txt ", "x.txt"}, {"x.txt\u3000", "x.txt"}, {"x.exe.", "x.exe"},
		// Control, direction and invisible characters.
		{"a\x00b", "ab"}, {"x.txt\x00.exe", "x.txt.exe"}, {"a\nb\r\tc", "abc"}, {"\x1b[31mred\x07", "[31mred"}, {"a\u0085b\u2028c\u2029d", "abcd"}, {"\x7f", "file"},
		{"cod\u202egpj.exe", "codgpj.exe"}, {"\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061cx", "x"},
		{"a\u200bb\ufeffc\u2060d\u00ade", "abcde"}, {"\u200b", "file"}, {".\u200b./x", "x"}, {"\u200b../..", "file"}, {"\u200b.bashrc", "bashrc"}, {"\u202e-rf", "rf"},
		{"x.txt\u200b.", "x.txt"}, {"\U000e0041\U000e007f", "file"}, {"\u3164\u115f", "file"},
		// Joiners stay where a script needs them; combining marks have a bound.
		{"می\u200cخواهم.pdf", "می\u200cخواهم.pdf"}, {"क्\u200dष.txt", "क्\u200dष.txt"}, {"a\u200db\u200cc.txt", "abc.txt"}, {"می\u200c", "می"},
		{"e" + strings.Repeat("\u0301", 100) + ".txt", "e" + strings.Repeat("\u0301", 8) + ".txt"}, {"\u0301x", "x"}, {".\u0301.x", "x"},
		// Characters that shells and Windows do not accept.
		{`a:b*c?d"e<f>g|h`, "a_b_c_d_e_f_g_h"}, {"???", "___"},
		// Devices.
		{"CON", "_CON"}, {"con", "_con"}, {"NUL.txt", "_NUL.txt"}, {"nul.tar.gz", "_nul.tar.gz"}, {"Com1.log", "_Com1.log"}, {"LPT9", "_LPT9"}, {"COM¹", "_COM¹"},
		{"aux .h", "_aux .h"}, {"PRN.", "_PRN"}, {".con", "_con"}, {"CONIN$", "_CONIN$"}, {"C\u200bON", "_CON"}, {"CON\u00a0", "_CON"}, {"dir/NUL", "_NUL"},
		{"CONSOLE", "CONSOLE"}, {"COM10", "COM10"}, {"COM", "COM"}, {"COMx.txt", "COMx.txt"}, {"null", "null"}, {"_CON", "_CON"},
		// UTF-8.
		{"a\xffb", "a_b"}, {"\xff\xfe", "_"}, {"\xc0\xae\xc0\xae/x", "x"}, {"..\xc0\xafx", "_x"}, {"\xed\xa0\x80x", "_x"},
		// Length.
		{long, long[:199]}, {long + ".pdf", long[:195] + ".pdf"}, {long + ".tar.gz", long[:192] + ".tar.gz"}, {long[:200], long[:200]}, {long[:196] + ".pdf", long[:196] + ".pdf"},
		{long + "." + long, long[:199]}, {"x." + long, "x." + long[:197]}, {strings.Repeat("é", 200) + ".txt", strings.Repeat("é", 97) + ".txt"},
		{strings.Repeat("日", 100), strings.Repeat("日", 66)}, {"con" + strings.Repeat(" ", 300) + "x.txt", "_con.txt"}, {"con." + long[:196], "_con." + long[:194]},
		{strings.Repeat("x ", 200), strings.TrimSpace(strings.Repeat("x ", 100))},
	} {
		got := SafeName(v.name)
		if got != v.want {
			t.Errorf("%.60q: %q, want %q", v.name, got, v.want)
		}
		if err := unsafeName(got); err != nil {
			t.Errorf("%.60q: %v", v.name, err)
		}
	}
}

// unsafeName describes what is unsafe about a name, independently of SafeName's code.
func unsafeName(name string) error {
	switch {
	case name == "" || len(name) > MaxName || !utf8.ValidString(name):
		return fmt.Errorf("%d bytes, or not UTF-8", len(name))
	case filepath.Base(name) != name || !filepath.IsLocal(name) || strings.ContainsAny(name, `/\:*?"<>|`):
		return fmt.Errorf("%q is not an element", name)
	case strings.ContainsAny(name[:1], ".- ") || strings.ContainsAny(name[len(name)-1:], ". "):
		return fmt.Errorf("%q starts or ends badly", name)
	}
	joins := regexp.MustCompile(`([\p{L}\p{M}\p{So}\p{Sk}])[\x{200c}\x{200d}]([\p{L}\p{So}])`)
	for _, r := range joins.ReplaceAllString(name, "$1$2") {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == 0x2028 || r == 0x2029 || unicode.IsSpace(r) && r != ' ' {
			return fmt.Errorf("%q has %U", name, r)
		}
	}
	base, _, _ := strings.Cut(strings.ToLower(name), ".")
	switch base = strings.TrimRight(base, " "); base {
	case "con", "prn", "aux", "nul", "com1", "com9", "lpt1", "lpt9", "com0", "conin$", "conout$":
		return fmt.Errorf("%q is a device", name)
	}
	return nil
}

func FuzzSafeName(f *testing.F) {
	for _, s := range []string{"", "../../.bashrc", "con" + strings.Repeat(" ", 300) + "x.txt", "x." + strings.Repeat("a", 300), "a\xffb\u202e", "NUL.tar.gz", "LPT²"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		got := SafeName(name)
		if err := unsafeName(got); err != nil {
			t.Errorf("%q: %v", name, err)
		}
		if again := SafeName(got); again != got {
			t.Errorf("%q: %q, then %q", name, got, again)
		}
		for _, n := range []int{1, place.MaxSameName} {
			if other := place.Name(got, n); other == got || len(other) > 255 || unsafeElement(other) {
				t.Errorf("%q: number %d is %q", name, n, other)
			}
		}
	})
}

func unsafeElement(name string) bool {
	return filepath.Base(name) != name || !filepath.IsLocal(name) || !utf8.ValidString(name)
}
