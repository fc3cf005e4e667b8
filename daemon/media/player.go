package media

import (
	"errors"
	"fmt"
	"io"
	"os/exec"
	"sync"
	"time"
)

// playerEnd is how long a player may run after the end of its input.
const playerEnd = 3 * time.Second

// players are the command lines of supported players, preferred ones first.
func players() [][]string {
	return [][]string{
		{"mpv", "--really-quiet", "--profile=low-latency", "--force-window=yes", "--title=secmsg", "-"},
		{"ffplay", "-loglevel", "quiet", "-fflags", "nobuffer", "-autoexit", "-window_title", "secmsg", "-i", "-"},
	}
}

// OpenPlayer starts an installed player (mpv or ffplay) as a sink for both kinds. It fails
// with [ErrUnsupported] if there is none.
func OpenPlayer() (Sink, error) {
	for _, argv := range players() {
		path, err := exec.LookPath(argv[0])
		if err != nil {
			continue
		}
		p, err := startPlayer(exec.Command(path, argv[1:]...))
		if err != nil {
			return nil, fmt.Errorf("start %s: %w", argv[0], err)
		}
		return newFrameSink(Video, Matroska, &output{w: p}, true)
	}
	return nil, fmt.Errorf("no player is installed (mpv or ffplay): %w", ErrUnsupported)
}

// player writes to the standard input of a player.
type player struct {
	stdin io.WriteCloser
	done  chan error
	cmd   *exec.Cmd
	once  sync.Once
}

func startPlayer(cmd *exec.Cmd) (*player, error) {
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(err, stdin.Close())
	}
	p := &player{stdin: stdin, cmd: cmd, done: make(chan error, 1)}
	go func() { p.done <- cmd.Wait() }() // Close waits for it
	return p, nil
}

// Write implements [io.Writer]. It fails when the player has exited.
func (p *player) Write(b []byte) (int, error) { return p.stdin.Write(b) }

// Close ends the input and waits for the player. It kills a player that does not exit.
func (p *player) Close() error {
	p.once.Do(func() {
		_ = p.stdin.Close() // already closed if the player exited first
		timer := time.NewTimer(playerEnd)
		defer timer.Stop()
		select {
		case <-p.done:
		case <-timer.C:
			_ = p.cmd.Process.Kill() // it may just have exited
			<-p.done
		}
	})
	return nil
}
