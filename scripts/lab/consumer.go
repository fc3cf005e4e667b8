package lab

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
)

// maxLine bounds one line of a consumer: the largest event with all of its text escaped.
const maxLine = 1 << 20

// Consumer is a running command whose output lines can be read as they appear.
type Consumer struct {
	*Process
	lines chan string
}

// Lines returns standard output line by line, without newlines. It is closed when the command has
// closed its output. A line truncated by a kill is not returned: nobody saw it completely.
func (c *Consumer) Lines() <-chan string { return c.lines }

// Consume starts a long-running command of a user, such as listen. The caller must read Lines until it
// is closed.
func (w *World) Consume(user string, args ...string) (*Consumer, error) {
	w.know(user)
	cmd := exec.Command(w.bin, append([]string{"--home", w.Home(user)}, args...)...)
	cmd.Env = w.env(w.clientEnv)
	r, out, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("consume: %w", err)
	}
	cmd.Stdout = out
	p, err := w.start(cmd)
	if err != nil {
		_, _ = r.Close(), out.Close()
		return nil, err
	}
	_ = out.Close() // the child has its own
	c := &Consumer{Process: p, lines: make(chan string)}
	go c.read(r)
	return c, nil
}

func (c *Consumer) read(r *os.File) {
	defer r.Close()
	defer close(c.lines)
	br := bufio.NewReaderSize(io.LimitReader(r, 1<<40), 64<<10)
	for {
		line, err := br.ReadString('\n')
		if err != nil || len(line) > maxLine {
			return
		}
		c.lines <- line[:len(line)-1]
	}
}
