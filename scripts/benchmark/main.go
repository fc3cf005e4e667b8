// Command benchmark measures secmsg on this machine. Each figure comes with a bare reference measured
// in the same run, because speeds differ more between machines and times of day than between programs.
// scripts/bench runs it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"secmsg/scripts/lab"
)

// part is one sub-command.
type part struct {
	name, help string
	run        func(ctx context.Context, b *bench) error
	limit      time.Duration // time limit of a part that takes longer; 0: -limit
}

func parts() []part {
	return []part{
		{"crypto", "handshake, seal and open against raw ChaCha20-Poly1305", runCrypto, 0},
		{"send", "a message between two daemons against an echo over a bare WebSocket", runSend, 0},
		{"cli", "whole commands, from start to exit", runCLI, 0},
		{"relay", "forwarding against a bare forwarder, mailboxes, memory of idle clients", runRelay, 0},
		{"daemon", "an idle daemon, and a burst of messages", runDaemon, 0},
		{"file", "a file from sender to recipient against bare TLS and age", runFile, fileLimit},
		{"call", "calls of sound and pictures, and relayed packets against coturn", runCall, callLimit},
	}
}

// defaultParts are the parts that run if none are named.
func defaultParts() []string { return []string{"crypto", "send", "cli"} }

// bench is the state that the parts share.
type bench struct {
	out  *report
	talk io.Writer // progress
	opt  options
}

type options struct {
	output   string
	binary   string
	built    bool   // binary was built from tree, so that a part may build it differently
	tree     string // the checkout to measure; empty: this one
	rounds   int
	limit    time.Duration
	duration time.Duration
	runs     int
	pairs    int
	window   int
	size     int
	idle     int
	burst    int
	file     int64
}

func (b *bench) notef(format string, args ...any) {
	fmt.Fprintf(b.talk, "bench: "+format+"\n", args...)
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) > 0 && args[0] == forwarderCommand {
		return runForwarder(ctx, args[1:], stdout)
	}
	if len(args) > 0 && args[0] == copyCommand {
		return runCopy(ctx, args[1:], stdout)
	}
	var names []string
	for len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		names, args = append(names, args[0]), args[1:]
	}
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	if len(names) > 0 && names[0] == compareCommand {
		return runCompare(ctx, names[1:], o, stdout, stderr)
	}
	chosen, err := choose(names)
	if err != nil {
		return err
	}
	if o.binary == "" {
		dir, err := os.MkdirTemp("", "secmsg-bench-")
		if err != nil {
			return fmt.Errorf("build: %w", err)
		}
		defer os.RemoveAll(dir)
		if o.binary, err = lab.Build(ctx, "", dir); err != nil {
			return err
		}
		o.built = true
	}
	b := &bench{out: &report{}, talk: stderr, opt: o}
	for _, p := range chosen {
		if err := b.runPart(ctx, p); err != nil {
			return errors.Join(err, b.out.write(stdout, o.output))
		}
	}
	return b.out.write(stdout, o.output)
}

// choose finds parts by name. No names means the default parts.
func choose(names []string) ([]part, error) {
	if len(names) == 0 {
		names = defaultParts()
	}
	all := parts()
	var chosen []part
	for _, name := range names {
		i := slices.IndexFunc(all, func(p part) bool { return p.name == name })
		if i < 0 {
			return nil, fmt.Errorf("no part %q; there are crypto, send, cli, relay, daemon, file and call", name)
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

// runPart runs one part within its time limit.
func (b *bench) runPart(ctx context.Context, p part) error {
	b.notef("%s: %s", p.name, p.help)
	b.out.part = p.name
	limit := max(b.opt.limit, p.limit)
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("%s took more than %s (-limit)", p.name, limit))
	defer cancel()
	if err := p.run(ctx, b); err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	return nil
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.Usage = func() {
		fmt.Fprint(stderr, "usage: scripts/bench [PART...] [flags]\n"+
			"       scripts/bench compare OLD NEW [PART...] [flags]\n\n"+
			"compare measures two binaries in turn and prints NEW as a multiple of OLD and,\n"+
			"as the noise, OLD as a multiple of itself. It exits 1 if a figure of NEW is worse\n"+
			"by more than the noise. OLD and NEW may also be checkouts, which are built first;\n"+
			"the part crypto needs checkouts.\n\nParts (default crypto send cli):\n")
		for _, p := range parts() {
			fmt.Fprintf(stderr, "  %-8s %s\n", p.name, p.help)
		}
		fmt.Fprintln(stderr, "\nFlags:")
		f.PrintDefaults()
	}
	f.StringVar(&o.output, "o", "text", "`FORMAT` of the result: text or json")
	f.StringVar(&o.binary, "binary", "", "`FILE` to measure (default: built from this tree)")
	f.DurationVar(&o.limit, "limit", 90*time.Second, "bound for each part")
	f.DurationVar(&o.duration, "duration", 3*time.Second, "of one measurement under load")
	f.IntVar(&o.rounds, "rounds", 5, "rounds of a comparison; each measures OLD twice and NEW once")
	f.IntVar(&o.runs, "n", 100, "runs of each command")
	f.IntVar(&o.pairs, "pairs", 100, "pairs of clients under load")
	f.IntVar(&o.window, "window", 32, "messages of a pair on their way")
	f.IntVar(&o.size, "size", 1024, "bytes of a message")
	f.IntVar(&o.idle, "idle", 5000, "idle clients, two connections each; 0 leaves it out")
	f.IntVar(&o.burst, "burst", 10000, "messages of the burst at a daemon")
	f.Int64Var(&o.file, "file", 1<<30, "bytes of the file")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	switch {
	case f.NArg() > 0:
		return o, fmt.Errorf("parts come before flags: %q", f.Args())
	case o.output != "text" && o.output != "json":
		return o, fmt.Errorf("-o %s: text or json is expected", o.output)
	case o.rounds < 1 || o.runs < 1 || o.pairs < 1 || o.window < 1 || o.size < 16 || o.idle < 0 || o.burst < 1 || o.file < 0:
		return o, errors.New("number too small")
	}
	return o, nil
}
