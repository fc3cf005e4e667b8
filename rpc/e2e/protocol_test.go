package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestProtocolHasAllKinds checks that PROTOCOL.md has a row for every kind of content, with its number,
// class and counter.
func TestProtocolHasAllKinds(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("..", "PROTOCOL.md"))
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	for n, name := range Kind_name {
		if n == 0 {
			continue
		}
		want := "`" + name + "` (" + strconv.Itoa(int(n)) + ")"
		if !strings.Contains(text, want) {
			t.Errorf("PROTOCOL.md does not name %s", want)
			continue
		}
		row := regexp.MustCompile(`(?m)^\| ` + regexp.QuoteMeta(want) + ` \| (\w+) \| ([^|]*) \|`).FindStringSubmatch(text)
		if row == nil { // reserved
			if _, err := Unmarshal([]byte{8, byte(n)}); err == nil {
				t.Errorf("%s is in use but has no row in PROTOCOL.md", name)
			}
			continue
		}
		if counted := row[2] == "from 1"; counted != Durable(Kind(n)) {
			t.Errorf("%s: PROTOCOL.md says n is %s", name, row[2])
		}
	}
	for reason, name := range CallReason_name {
		if short := strings.TrimPrefix(name, "CALL_REASON_"); reason != 0 && !regexp.MustCompile("[`{]"+short+"[`}]").MatchString(text) {
			t.Errorf("PROTOCOL.md does not name the reason %s", short)
		}
	}
}

// TestProtocolHasTheBounds does the same for the bounds of contents.
func TestProtocolHasTheBounds(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("..", "PROTOCOL.md"))
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Join(strings.Fields(string(b)), " ")
	kib := func(n int) string { return strconv.Itoa(n>>10) + " KiB" }
	for name, want := range map[string]string{
		"MaxText": "1 byte to " + kib(MaxText) + " of UTF-8", "MaxFiles": "at most " + strconv.Itoa(MaxFiles) + " files",
		"MaxContent": "more than " + kib(MaxContent) + " before padding", "MaxIDs": "1 to " + strconv.Itoa(MaxIDs) + " ids of " + strconv.Itoa(IDSize) + " bytes",
		"MaxFileName": "a name of at most " + strconv.Itoa(MaxFileName) + " bytes", "MaxFileType": "a media type of at most " + strconv.Itoa(MaxFileType) + " printable",
		"MaxBlobID": "a blob name of 1 to " + strconv.Itoa(MaxBlobID), "MaxThumbnail": "a thumbnail at most " + kib(MaxThumbnail) + " and " + strconv.Itoa(MaxThumbnailSide) + " pixels",
		"MaxFileSize": "at most " + strconv.Itoa(MaxFileSize>>30) + " GiB", "MaxN": "from 1 to 2^53 - 1", "FileKeySize": "a key and a digest of " + strconv.Itoa(FileKeySize) + " bytes",
		"MaxSDP": "An SDP has at most " + kib(MaxSDP), "MaxCandidate": "a candidate " + strconv.Itoa(MaxCandidate) + " bytes", "MaxCandidates": "a signal " + strconv.Itoa(MaxCandidates) + " candidates",
		"MaxRing": "`ring_ms` is 1 to 600,000", "MaxGeneration": "`generation` at most 1,048,576", "CallSecretSize": "fingerprints have " + strconv.Itoa(CallSecretSize) + " bytes",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("PROTOCOL.md does not say %q (%s)", want, name)
		}
	}
}
