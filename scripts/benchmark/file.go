package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"secmsg/rpc/local"
	"secmsg/scripts/lab"
)

const (
	// fileLimit bounds this part, which moves the file five times.
	fileLimit = 15 * time.Minute
	// fileGoal is the goal for the end-to-end rate relative to a bare TLS copy.
	fileGoal = 0.4
	// fileMemory is the goal for each process's memory, in MiB.
	fileMemory = 100
)

// runFile sends and fetches a file between two copies of the same bytes over bare TLS, so that a
// machine that changes its speed affects the ratio only half.
func runFile(ctx context.Context, b *bench) (err error) {
	p, err := b.newPair(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	dir := filepath.Join(p.world.Dir(), "files")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return fmt.Errorf("file: %w", err)
	}
	from := filepath.Join(dir, "from.bin")
	digest, err := makeFile(from, b.opt.file)
	if err != nil {
		return err
	}
	if err := warmUp(dir, b.opt.file); err != nil {
		return err
	}
	before, err := tlsCopy(ctx, p.world, from, filepath.Join(dir, "copy"))
	if err != nil {
		return err
	}
	send, get, err := b.fileOnce(ctx, p, from, filepath.Join(dir, "to.bin"), digest)
	if err != nil {
		return err
	}
	after, err := tlsCopy(ctx, p.world, from, filepath.Join(dir, "copy"))
	if err != nil {
		return err
	}
	b.notef("bare TLS: %s before, %s after", before, after)
	bare := (before + after) / 2
	rate := func(d time.Duration) float64 { return float64(b.opt.file) / (1 << 20) / d.Seconds() }
	b.out.figure("file send", send.Seconds(), "s", 0, false)
	b.out.figure("file get", get.Seconds(), "s", 0, false)
	b.out.compared("send and get, one after the other", rate(send+get), "MiB/s", "bare TLS", rate(bare), fileGoal, true)
	tool, err := buildAge(ctx, dir)
	if err != nil {
		b.notef("age is left out: %v", err)
		return nil
	}
	aged, err := tool.pipe(ctx, from, filepath.Join(dir, "aged"))
	if err != nil {
		return err
	}
	b.out.compared("send and get, one after the other", rate(send+get), "MiB/s", "age -e | age -d", rate(aged), 0, true)
	return nil
}

// fileOnce measures the transfer of one file and the resources of each process.
func (b *bench) fileOnce(ctx context.Context, p *pair, from, to string, digest [sha256.Size]byte) (send, get time.Duration, err error) {
	alice, bob, server, err := p.pids()
	if err != nil {
		return 0, 0, err
	}
	procs := []struct {
		name string
		pid  int
	}{{"the sender's daemon", alice}, {"the recipient's daemon", bob}, {"the server", server}}
	start := make([]time.Duration, len(procs))
	for i, one := range procs {
		if start[i], err = lab.CPU(one.pid); err != nil {
			return 0, 0, err
		}
	}
	sent, err := timed(p.world.Command(ctx, "alice", "file", "send", "bob", from, "-o", "json"))
	if err != nil {
		return 0, 0, err
	}
	var result local.SendResult
	if err := json.Unmarshal(sent.out, &result); err != nil {
		return 0, 0, fmt.Errorf("file send printed %q: %w", sent.out, err)
	}
	got, err := timed(p.world.Command(ctx, "bob", "file", "get", result.ID, "--wait", "-O", to))
	if err != nil {
		return 0, 0, err
	}
	if same, err := fileDigest(to); err != nil || same != digest {
		return 0, 0, errors.Join(errors.New("file: the received file differs from the sent one"), err)
	}
	for i, one := range procs {
		end, err := lab.CPU(one.pid)
		if err != nil {
			return 0, 0, err
		}
		peak, err := lab.PeakRSS(one.pid)
		if err != nil {
			return 0, 0, err
		}
		b.out.figure("CPU of "+one.name, (end - start[i]).Seconds(), "s", 0, false)
		b.out.figure("peak memory of "+one.name, float64(peak)/(1<<20), "MiB", fileMemory, false)
	}
	b.out.figure("CPU of both commands", (sent.cpu + got.cpu).Seconds(), "s", 0, false)
	b.out.figure("peak memory of a command", float64(max(sent.peak, got.peak))/(1<<20), "MiB", fileMemory, false)
	return sent.took, got.took, nil
}

// command is the resource use of one command.
type command struct {
	out       []byte
	took, cpu time.Duration
	peak      int64 // bytes
}

// timed runs a command that must succeed.
func timed(cmd *exec.Cmd) (command, error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	start := time.Now()
	if err := cmd.Run(); err != nil {
		return command{}, fmt.Errorf("%q: %w\n%s", cmd.Args[1:], err, stderr.Bytes())
	}
	c := command{out: stdout.Bytes(), took: time.Since(start), cpu: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()}
	if use, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		c.peak = int64(use.Maxrss) << 10
	}
	return c, nil
}

// warmFiles is how many files are written and removed before the measurement: as many as there are
// copies of a file during a transfer.
const warmFiles = 4

// warmUp touches the memory that the page cache will use. A virtual machine gets memory from its host
// only at the first touch. That takes longer than the whole measurement and would be charged to the
// first side measured.
func warmUp(dir string, size int64) error {
	var paths []string
	for i := range warmFiles {
		path := filepath.Join(dir, fmt.Sprintf("warm-%d", i))
		paths = append(paths, path)
		if _, err := makeFile(path, size); err != nil {
			return err
		}
	}
	for _, path := range paths {
		if err := os.Remove(path); err != nil {
			return fmt.Errorf("warm up: %w", err)
		}
	}
	return nil
}

// makeFile writes size incompressible bytes and makes them durable.
func makeFile(path string, size int64) (digest [sha256.Size]byte, err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return digest, fmt.Errorf("make file: %w", err)
	}
	defer f.Close()
	h := sha256.New()
	w := bufio.NewWriterSize(f, 1<<20)
	random := rand.NewChaCha8([32]byte{})
	if _, err := io.CopyN(io.MultiWriter(w, h), random, size); err != nil {
		return digest, fmt.Errorf("make file: %w", err)
	}
	if err := errors.Join(w.Flush(), f.Sync()); err != nil {
		return digest, fmt.Errorf("make file: %w", err)
	}
	return [sha256.Size]byte(h.Sum(nil)), nil
}

func fileDigest(path string) (digest [sha256.Size]byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return digest, fmt.Errorf("digest: %w", err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return digest, fmt.Errorf("digest: %w", err)
	}
	return [sha256.Size]byte(h.Sum(nil)), nil
}
