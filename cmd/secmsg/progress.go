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
	progressUsage = "how to show progress; `HOW` is auto, json or none"
	progressHelp  = "On a terminal, progress bars are shown on standard error. --progress json prints\n" +
		`lines {"type":"progress","progress":{...}} on standard output instead, before the` + "\n" +
		"result, with id, name, phase, done, total, rate and remaining."
)

func progressModes() []string { return []string{progressAuto, progressJSON, progressNone} }

const (
	// maxBars bounds the bars on the screen, since a window has few lines.
	maxBars = 8
	// barName is the width of a file name in columns.
	barName = 24
	// barWidth is the width of the bar itself in columns. A window narrower than
	// barMinimum shows only the figures.
	barWidth    = 30
	barMinimum  = 100
	barInterval = 200 * time.Millisecond
)

// progress shows the progress of transfers.
type progress struct {
	a     *app
	json  bool
	width int // of the terminal; 0: no bars

	mu   sync.Mutex
	told map[string]int    // guarded by mu; number of restarts reported, by file id
	why  map[string]string // guarded by mu; last reason for waiting that was printed, by file id
	err  error             // guarded by mu; from writing to standard output
	bars *mpb.Progress
	open map[string]*bar // guarded by mu; by file id
}

// bar is one line.
type bar struct {
	line *mpb.Bar

	mu   sync.Mutex
	last local.FileProgress // guarded by mu
}

// newProgress chooses between bars, JSON lines and no progress at all. busy means that the
// transfer itself uses the terminal, as its source or destination.
func (a *app) newProgress(mode string, busy bool) (*progress, error) {
	p := &progress{a: a, json: mode == progressJSON, open: map[string]*bar{}, told: map[string]int{}, why: map[string]string{}}
	if mode != progressAuto || a.quiet || !a.stderrTerminal() || busy && (a.stdinTerminal() || a.stdoutTerminal()) {
		return p, nil
	}
	width, _, err := term.GetSize(int(a.stderr.Fd()))
	if err != nil {
		return nil, local.IOError(err, "cannot read the size of the terminal: %v", err)
	}
	p.width = width
	p.bars = mpb.New(mpb.WithOutput(a.stderr), mpb.WithRefreshRate(barInterval), mpb.WithAutoRefresh())
	return p, nil
}

// callback returns the function that takes the daemon's reports.
func (p *progress) callback() func(local.FileProgress) { return p.update }

// update shows one report of the daemon.
func (p *progress) update(f local.FileProgress) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if f.Restarts > p.told[f.ID] {
		p.told[f.ID] = f.Restarts
		p.note("%s: %s; sending it again from the beginning (%d of %d)", visible(f.Name), visible(f.Note), f.Restarts, local.MaxRestarts)
	}
	if f.Reason != "" && f.Reason != p.why[f.ID] {
		p.why[f.ID] = f.Reason
		p.note("%s is waiting: %s", visible(f.Name), visible(f.Reason))
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

// note prints a message on standard error, above the bars if there are any.
func (p *progress) note(format string, args ...any) {
	if p.bars == nil {
		p.a.notef(format, args...)
		return
	}
	if !p.a.quiet {
		_, _ = io.WriteString(p.bars, visibleBlock("secmsg: "+fmt.Sprintf(format, args...)+"\n")) // a failure to write a note cannot be reported either
	}
}

// draw updates a file's bar. A complete file gives up its bar.
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

// newLine makes the line of a bar. Bytes, rate and time left come from the daemon,
// which takes pauses and resumed parts into account.
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

// progressText is the text after the name: 12% 1.2 MiB of 10 MiB 3.4 MiB/s 12s left.
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

// leftText formats the time left, with a precision that fits its length.
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

// fitName pads a name to its width. A long name keeps its beginning and its end.
func fitName(s string) string {
	r := []rune(s)
	if len(r) > barName {
		const tail = 8
		r = append(append(r[:barName-tail-1:barName-tail-1], '…'), r[len(r)-tail:]...)
	}
	return fmt.Sprintf("%-*s", barName, string(r))
}

// end removes the bars, and returns the error from writing lines of progress.
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
