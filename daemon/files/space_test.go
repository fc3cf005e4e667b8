package files

import (
	"errors"
	"math"
	"testing"
)

// An automatic fetch never uses the last space: otherwise contacts could fill the disk with
// many files of an accepted size.
func TestRoomForUnaskedFiles(t *testing.T) {
	dir := t.TempDir()
	free, total, err := space(dir)
	if err != nil || free <= 0 || total < free {
		t.Fatalf("space: %d of %d, %v", free, total, err)
	}
	if free == math.MaxInt64 {
		t.Skip("nothing is known of file systems here")
	}
	if err := room(dir, 0, 0); err != nil {
		t.Errorf("nothing: %v", err)
	}
	if err := room(dir, free+total, 0); !errors.Is(err, errNoSpace) {
		t.Errorf("more than there is: %v", err)
	}
	kept := total / keepShare
	if free < 2*kept {
		t.Skip("the disk is nearly full")
	}
	if err := room(dir, free-kept/2, math.MaxInt64); !errors.Is(err, errNoSpace) {
		t.Errorf("what is to stay free: %v", err)
	}
	if err := room(dir, free-kept-kept/2, math.MaxInt64); err != nil {
		t.Errorf("what there is room for: %v", err)
	}
	if err := room(dir+"/none", 0, 0); err == nil {
		t.Error("a directory that is not there")
	}
}
