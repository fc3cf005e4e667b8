package files

import (
	"bytes"
	"errors"
	"path/filepath"
	"testing"

	"secmsg/daemon/store"
)

// A part is read from its memory copy until that is released or reclaimed, then from the
// spool. The buffer is freed exactly once.
func TestContentFromMemoryAndSpool(t *testing.T) {
	inMemory, inSpool := bytes.Repeat([]byte{1}, 3*directAlign+5), bytes.Repeat([]byte{2}, 3*directAlign+5)
	s := spool{filepath.Join(t.TempDir(), "spool")}
	if err := s.write(1, 1, inSpool, false); err != nil {
		t.Fatal(err)
	}
	freed := 0
	fresh := func(number int) *content {
		freed = 0
		part := sealedPart{
			TransferPart: store.TransferPart{Transfer: 1, Number: number, Size: int64(len(inMemory))},
			mem:          &memCopy{data: inMemory, free: func([]byte) { freed++ }},
		}
		return &content{u: &upload{s: &Service{spool: s}, id: 1}, part: part}
	}
	read := func(c *content, want []byte) {
		t.Helper()
		got := make([]byte, len(want))
		if err := c.open(); err != nil {
			t.Fatal(err)
		}
		if n, err := c.ReadAt(got, 0); err != nil || n != len(got) || !bytes.Equal(got, want) {
			t.Errorf("read %d bytes, %v, from elsewhere: %t", n, err, !bytes.Equal(got, want))
		}
	}

	c := fresh(1)
	read(c, inMemory)
	c.part.mem.reclaim() // no effect: it is in use
	read(c, inMemory)
	if freed != 0 {
		t.Error("memory in use was given back")
	}
	c.forget()
	read(c, inSpool)
	c.close()
	if freed != 1 {
		t.Errorf("memory was given back %d times", freed)
	}

	c = fresh(1)
	c.part.mem.reclaim()
	read(c, inSpool)
	c.close()
	if freed != 1 {
		t.Errorf("memory was given back %d times", freed)
	}

	c = fresh(2)
	read(c, inMemory)
	c.forget()
	if err := c.open(); !errors.Is(err, errLost) {
		t.Errorf("a part that is in neither: %v", err)
	}
	c.close()
}
