package main

import (
	"fmt"
	"io"
	"sync"
	"time"

	"secmsg/rpc/local"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"
)

// Values of --progress.
const (
	progressAuto = "auto"
	progressJSON = "json"
	progressNone = "none"
)

const (
	progressUsage = "`HOW` to tell how far it is: auto, json or none"
	progressHelp  = "On a terminal, bars on standard error show how far it is. --progress json prints\n" +
		`lines {"type":"progress","progress":{...}} on standard output instead, before the` + "\n" +
		"result, with id, name, phase, done, total, rate and remaining."
)

func progressModes() []string { return []string{progressAuto, progressJSON, progressNone} }

const (
	// maxBars bounds the bars that stand at once; a window has not many lines.
	maxBars = 8
	// barName is how many columns a name gets.
	barName = 24
	// barWidth is the width of the bar itself in columns; narrow windows get none.
	barWidth    = 30
	barMinimum  = 100
	barInterval = 200 * time.Millisecond
)

// progress shows how far transfers are.
type progress struct {
	a     *app
	json  bool
	width int // of the terminal; 0: no bars

	mu   sync.Mutex
	told map[string]int    // how many restarts of each file were told; guarded by mu
	why  map[string]string // for which each file was said to wait; guarded by mu
	err  error             // of standard output
	bars *mpb.Progress
	open map[string]*bar // guarded by mu; by id
}

// bar is one line.
type bar struct {
	line *mpb.Bar

	mu   sync.Mutex
	last local.FileProgress // guarded by mu
}

// newProgress decides what is shown. busy says that the terminal has other use:
// somebody types there, or the content of a file is written to it.
func (a *app) newProgress(mode string, busy bool) (*progress, error) {
	p := &progress{a: a, json: mode == progressJSON, open: map[string]*bar{}, told: map[string]int{}, why: map[string]string{}}
	if mode != progressAuto || a.quiet || !a.stderrTerminal() || busy && (a.stdinTerminal() || a.stdoutTerminal()) {
		return p, nil
	}
	width, _, err := term.GetSize(int(a.stderr.Fd()))
	if err != nil {
		return nil, local.IOError(err, "terminal: %v", err)
	}
	p.width = width
	p.bars = mpb.New(mpb.WithOutput(a.stderr), mpb.WithRefreshRate(barInterval), mpb.WithAutoRefresh())
	return p, nil
}

// callback is what the daemon's reports go to.
func (p *progress) callback() func(local.FileProgress) { return p.update }

// update shows one report of the daemon.
func (p *progress) update(f local.FileProgress) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if f.Restarts > p.told[f.ID] {
		p.told[f.ID] = f.Restarts
		p.note("%s: %s; it is sent from the beginning again (%d of %d)", visible(f.Name), visible(f.Note), f.Restarts, local.MaxRestarts)
	}
	if f.Reason != "" && f.Reason != p.why[f.ID] {
		p.why[f.ID] = f.Reason
		p.note("%s waits: %s", visible(f.Name), visible(f.Reason))
	}
	switch {
	case p.err != nil:
	case p.json:
		p.err = p.a.printJSON(struct {
			Type     string             `json:"type"`
			Progress local.FileProgress `json:"progress"`
		}{"progress", f})
	case p.bars != nil:
		p.draw(f)
	}
}

// note writes a line of talk, above the bars where there are any.
func (p *progress) note(format string, args ...any) {
	if p.bars == nil {
		p.a.notef(format, args...)
		return
	}
	if !p.a.quiet {
		_, _ = io.WriteString(p.bars, visibleBlock("secmsg: "+fmt.Sprintf(format, args...)+"\n")) // talk, which has no one to tell
	}
}

// draw updates a file's bar; what is complete makes room.
func (p *progress) draw(f local.FileProgress) {
	b := p.open[f.ID]
	if b == nil {
		if len(p.open) >= maxBars {
			return
		}
		b = &bar{}
		b.line = p.newLine(b)
		p.open[f.ID] = b
	}
	b.mu.Lock()
	b.last = f
	b.mu.Unlock()
	if f.Total != nil {
		b.line.SetTotal(*f.Total, false)
	}
	b.line.SetCurrent(f.Done)
	if f.Total != nil && f.Done >= *f.Total && f.Phase != local.PhaseWaiting {
		b.line.Abort(true)
		delete(p.open, f.ID)
	}
}

// newLine makes the line of a bar. Bytes, rate and time left are the daemon's,
// which knows of pauses and of what was there before.
func (p *progress) newLine(b *bar) *mpb.Bar {
	text := func(f func(local.FileProgress) string) decor.Decorator {
		return decor.Any(func(decor.Statistics) string {
			b.mu.Lock()
			defer b.mu.Unlock()
			return f(b.last)
		})
	}
	var filler mpb.BarFillerBuilder
	if p.width >= barMinimum {
		filler = mpb.BarStyle()
	} else {
		filler = mpb.NopStyle()
	}
	return p.bars.New(0, filler, mpb.BarWidth(barWidth), mpb.BarFillerTrim(),
		mpb.PrependDecorators(text(func(f local.FileProgress) string { return fitName(visible(f.Name)) + " " })),
		mpb.AppendDecorators(text(progressText)))
}

// progressText is what stands behind a name: 12% 1.2/10 MiB 3.4 MiB/s 12s.
func progressText(f local.FileProgress) string {
	s := " "
	if f.Total != nil && *f.Total > 0 {
		s += fmt.Sprintf("%3d%% ", 100*f.Done / *f.Total)
	}
	s += fmt.Sprintf("%8s", sizeText(f.Done))
	if f.Total != nil {
		s += " of " + sizeText(*f.Total)
	}
	switch {
	case f.Phase == local.PhaseWaiting:
		return s + ", waiting for the server"
	case f.Rate > 0:
		s += fmt.Sprintf(" %8s/s", sizeText(int64(f.Rate)))
	}
	if f.Remaining != nil {
		s += " " + leftText(time.Duration(*f.Remaining*float64(time.Second)))
	}
	return s
}

// leftText is a time left, as exact as it can be known.
func leftText(d time.Duration) string {
	switch {
	case d < time.Second:
		return "<1s left"
	case d < time.Minute:
		return d.Round(time.Second).String() + " left"
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds left", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%dh%02dm left", int(d.Hours()), int(d.Minutes())%60)
}

// fitName gives a name its columns, from its beginning and its end.
func fitName(s string) string {
	r := []rune(s)
	if len(r) > barName {
		const tail = 8
		r = append(append(r[:barName-tail-1:barName-tail-1], '…'), r[len(r)-tail:]...)
	}
	return fmt.Sprintf("%-*s", barName, string(r))
}

// end takes the bars away, and returns why lines of progress were not written.
func (p *progress) end() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bars != nil {
		for _, b := range p.open {
			b.line.Abort(true)
		}
		p.bars.Wait()
		p.bars = nil
	}
	return p.err
}
