package media

import (
	"bytes"
	"context"
	"flag"
	"os"
	"testing"

	"secmsg/daemon/media/codec"
	"secmsg/daemon/media/container"
)

var update = flag.Bool("update", false, "write a new tone.ogg")

// oneSecond is the number of packets in a second.
const oneSecond = 50

// TestToneClip encodes the clip that builds without encoders send, and checks that the clip
// in the repository is a tone.
func TestToneClip(t *testing.T) {
	if *update {
		if !codec.CanEncode {
			t.Fatal("a new clip takes an encoder")
		}
		src, err := newTone()
		if err != nil {
			t.Fatal(err)
		}
		defer src.Close()
		var b bytes.Buffer
		w := container.NewOggWriter(&b, 1)
		for n := range 3 * oneSecond {
			f, err := src.Next(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			if n < 2*oneSecond {
				continue // let the encoder settle, and the ends match
			}
			if err := w.Write(f.Data); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile("tone.ogg", b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	r, err := container.NewOggReader(bytes.NewReader(toneClip))
	if err != nil {
		t.Fatal(err)
	}
	var packets [][]byte
	for {
		p, _, err := r.Next()
		if err != nil {
			break
		}
		packets = append(packets, p)
	}
	if len(packets) != oneSecond {
		t.Fatalf("the clip has %d packets", len(packets))
	}
	d, err := codec.NewOpusDecoder()
	if err != nil {
		t.Fatal(err)
	}
	var pcm []int16
	for n := range 3 * oneSecond {
		pcm = append(pcm, d.Decode(packets[n%oneSecond])...)
	}
	checkTone(t, pcm)
}
