package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"

	"secmsg/rpc/local"
)

// maxLines is the number of lines in flight: as many as the daemon handles at a time
// on one connection. Lines that arrive together then share one commit to its disk.
const maxLines = 64

// line is a line of standard input that was passed to the daemon, or the reason why
// it was not.
type line struct {
	n    int // counted from 1
	sent *local.PendingSend
	err  error
	bad  bool // the line itself is at fault: the next ones may be good
}

// sendLines sends each line of standard input as it arrives and prints the results in
// the order of the lines. Empty lines are skipped. An invalid line is reported at once.
// After it, and after a message that is held or failed, sending continues, and the
// first such error is returned at the end: one bad record must not end a stream that
// runs for months. A line that the daemon refuses ends the command after the results
// of the lines in flight. If the daemon exits, the printed results cover the first
// lines without a gap.
func (a *app) sendLines(ctx context.Context, c *local.Client, p local.SendParams) error {
	p.AccountParam = a.accountParam()
	reading, stop := context.WithCancel(ctx)
	lines, slots := make(chan line, maxLines), make(chan struct{}, maxLines)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	wg.Go(func() {
		defer close(lines)
		a.startLines(reading, c, p, lines, slots)
	})
	var first, end error
	var refused []int
	note := func(err error) {
		// A failure takes precedence over a closed standard output.
		if err != nil && (first == nil || errors.Is(first, errReaderLeft)) {
			first = err
		}
	}
	for l := range lines {
		if l.bad {
			err := lineError(l.n, l.err)
			a.printError(classify(ctx, err))
			note(exitStatus(exitCode(local.CodeUsage)))
			continue
		}
		results, err := local.SendResults{}, l.err
		if err == nil {
			results, err = l.sent.Wait(ctx)
			<-slots
		}
		if err != nil {
			stop()
			switch {
			case ctx.Err() != nil:
				return ctx.Err()
			case end == nil:
				end = lineError(l.n, err)
			case l.sent != nil:
				refused = append(refused, l.n)
			}
			if local.As(err).Code == local.CodeNoDaemon {
				break
			}
			continue
		}
		note(a.printResults(results.Results))
	}
	if len(refused) > 0 {
		a.notef("also refused: %s", lineRanges(refused))
	}
	if end != nil {
		return end
	}
	return first
}

// lineRanges formats ascending line numbers: "lines 3-5, 9".
func lineRanges(lines []int) string {
	var b strings.Builder
	for i := 0; i < len(lines); {
		last := i
		for last+1 < len(lines) && lines[last+1] == lines[last]+1 {
			last++
		}
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(strconv.Itoa(lines[i]))
		if last > i {
			fmt.Fprintf(&b, "-%d", lines[last])
		}
		i = last + 1
	}
	return "lines " + b.String()
}

// startLines passes each line to the daemon as it arrives, until the input or ctx
// ends or passing a line on fails. Each line holds a slot until its result arrives.
func (a *app) startLines(ctx context.Context, c *local.Client, p local.SendParams, lines chan<- line, slots chan<- struct{}) {
	r := bufio.NewReaderSize(a.stdin, maxText)
	for n := 1; ; n++ {
		text, err := await(ctx, func() ([]byte, error) { return readText(r, maxText) })
		if err == io.EOF {
			return
		}
		if err == nil && len(text) == 0 {
			continue
		}
		l := line{n: n, err: err, bad: errors.Is(err, local.ErrLineTooLong)}
		if l.bad {
			l.err = textTooLong()
		}
		if err == nil {
			l.err = checkText(string(text))
			l.bad = l.err != nil
		}
		if l.err == nil {
			select {
			case slots <- struct{}{}:
				p.Text = string(text)
				l.sent, l.err = c.StartSend(p)
			case <-ctx.Done():
				l.err = ctx.Err()
			}
		} else if !l.bad && ctx.Err() == nil {
			l.err = local.IOError(err, "standard input: %v", err)
		}
		lines <- l
		if l.err != nil && !l.bad {
			return
		}
	}
}

// readText reads a line of at most limit bytes and drops its end, LF or CRLF. A longer
// line is skipped to its end, and the error is local.ErrLineTooLong.
func readText(r *bufio.Reader, limit int) ([]byte, error) {
	var text []byte
	tooLong := false
	for {
		part, err := r.ReadSlice('\n')
		if room := limit + len("\r\n"); len(text)+len(part) > room {
			tooLong, text = true, text[:0]
		} else if !tooLong {
			text = append(text, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case err == nil, errors.Is(err, io.EOF) && (len(text) > 0 || tooLong):
		default:
			return nil, err
		}
		if before, ended := bytes.CutSuffix(text, []byte("\n")); ended {
			text = bytes.TrimSuffix(before, []byte("\r"))
		}
		if tooLong || len(text) > limit {
			return nil, local.ErrLineTooLong
		}
		return text, nil
	}
}

// lineError adds the line number to an error that has a code.
func lineError(n int, err error) error {
	e, ok := errors.AsType[*local.Error](err)
	if !ok {
		return err
	}
	named := *e
	named.Message = fmt.Sprintf("line %d: %s", n, e.Message)
	return &named
}
