package media

import (
	"math"
	"testing"
	"time"

	"secmsg/daemon/media/codec"
)

// goertzel returns the amplitude of one frequency in samples.
func goertzel(samples []int16, frequency float64) float64 {
	k := 2 * math.Cos(2*math.Pi*frequency/codec.Rate)
	var a, b float64
	for _, s := range samples {
		a, b = float64(s)+k*a-b, a
	}
	power := a*a + b*b - k*a*b
	return 2 * math.Sqrt(max(0, power)) / float64(len(samples))
}

// window is the number of samples analysed at once.
const window = codec.Rate / 100

// loud reports for each window whether it contains the tone.
func loud(pcm []int16) []bool {
	var out []bool
	for i := 0; i+window <= len(pcm); i += window {
		out = append(out, goertzel(pcm[i:i+window], ToneFrequency) > toneAmplitude/4)
	}
	return out
}

// gaps returns when the tone starts after each silence of about [ToneGap].
func gaps(pcm []int16) []time.Duration {
	var out []time.Duration
	quiet := 0
	for i, on := range loud(pcm) {
		if !on {
			quiet++
			continue
		}
		if d := time.Duration(quiet) * 10 * time.Millisecond; d > ToneGap*3/4 && d < ToneGap*5/4 {
			out = append(out, time.Duration(i)*10*time.Millisecond)
		}
		quiet = 0
	}
	return out
}

// checkTone checks that at least three quarters of the sound are the tone, with its
// frequency and approximate amplitude, and that the rest is silence: a tenth of each
// second, and pauses of a loaded machine.
func checkTone(t *testing.T, pcm []int16) {
	t.Helper()
	heard := 0
	all := loud(pcm)
	for i, on := range all {
		if !on {
			continue
		}
		heard++
		w := pcm[i*window : (i+1)*window]
		tone := goertzel(w, ToneFrequency)
		if tone < toneAmplitude/2 {
			continue // the tone starts or ends here
		}
		for _, other := range []float64{500, 2000, 3000} {
			if x := goertzel(w, other); x > tone/4 {
				t.Fatalf("window %d: %.0f Hz has %.0f, the tone has %.0f", i, other, x, tone)
			}
		}
	}
	if len(all) == 0 || float64(heard) < 0.75*float64(len(all)) {
		t.Fatalf("the tone is heard in %d of %d windows", heard, len(all))
	}
	if len(gaps(pcm)) == 0 {
		t.Fatal("no second begins with silence")
	}
}
