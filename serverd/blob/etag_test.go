package blob

import (
	"testing"
)

// Each upload of a part has a different ETag, however quickly one follows the other.
func TestDiskETags(t *testing.T) {
	b, _ := openDisk(t, t.TempDir(), nil)
	id, _ := b.create(t)
	seen := map[string]bool{}
	const puts = 200
	for i := range puts {
		seen[b.put(t, id, "", 1, []byte{byte(i)}).ETag] = true
	}
	if len(seen) != puts {
		t.Errorf("%d puts have %d names", puts, len(seen))
	}
}
