package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
)

// benchLine is a line of `go test -bench`: name, runs, nanoseconds.
const benchLine = `^Benchmark(\w+?)(?:-\d+)?\s+\d+\s+([0-9.]+) ns/op`

// runCrypto runs the benchmarks of crypto/ratchet, which has the code to set up sessions.
func runCrypto(ctx context.Context, b *bench) error {
	cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", "^Benchmark(Handshake|Seal1K|Open1K|RawAEAD1K)$", "secmsg/crypto/ratchet")
	cmd.Dir = b.opt.tree
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("%w\n%s%s", err, out, stderr.Bytes())
	}
	ns, err := parseBench(out)
	if err != nil {
		return err
	}
	for _, name := range []string{"Handshake", "Seal1K", "Open1K", "RawAEAD1K"} {
		if ns[name] == 0 {
			return fmt.Errorf("no result of %s in %q", name, out)
		}
	}
	const us = 1e-3
	b.out.figure("start a session and take its first message", ns["Handshake"]*us, "us", 0, false)
	b.out.compared("seal 1 KiB", ns["Seal1K"]*us, "us", "raw AEAD", ns["RawAEAD1K"]*us, 0, false)
	b.out.compared("open 1 KiB", ns["Open1K"]*us, "us", "raw AEAD", ns["RawAEAD1K"]*us, 0, false)
	return nil
}

// parseBench returns the nanoseconds of each benchmark.
func parseBench(out []byte) (map[string]float64, error) {
	re := regexp.MustCompile(benchLine)
	ns := map[string]float64{}
	lines := bufio.NewScanner(bytes.NewReader(out))
	for lines.Scan() {
		m := re.FindStringSubmatch(lines.Text())
		if m == nil {
			continue
		}
		v, err := strconv.ParseFloat(m[2], 64)
		if err != nil {
			return nil, fmt.Errorf("line %q: %w", lines.Text(), err)
		}
		ns[m[1]] = v
	}
	return ns, lines.Err()
}
