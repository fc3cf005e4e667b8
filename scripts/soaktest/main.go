// Command soaktest runs secmsg under faults and checks from outside that its promises hold;
// scripts/soak runs it.
package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"secmsg/scripts/lab"
	"secmsg/scripts/soaktest/harness"
	"secmsg/scripts/soaktest/ledger"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "soak: %v\n", err)
		os.Exit(1)
	}
}

// options are the flags.
type options struct {
	harness.Options
	output, ledger, check string
}

func parse(args []string, stderr io.Writer) (options, error) {
	var seed [8]byte
	if _, err := rand.Read(seed[:]); err != nil {
		return options{}, fmt.Errorf("seed: %w", err)
	}
	o := options{Options: harness.Options{Talk: stderr}}
	f := flag.NewFlagSet("soak", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.Uint64Var(&o.Seed, "seed", binary.BigEndian.Uint64(seed[:])>>32, "`NUMBER` that all choices follow from (default: another one each time)")
	f.IntVar(&o.Messages, "messages", 10_000, "messages to send")
	f.IntVar(&o.Kills, "kills", 500, "processes to kill")
	f.IntVar(&o.Users, "users", 4, "users, in pairs")
	f.DurationVar(&o.Quiet, "quiet", 2*time.Minute, "bound for the time until all has arrived after the last fault")
	f.StringVar(&o.Binary, "binary", "", "`FILE` to test (default: built from this tree)")
	f.StringVar(&o.Dir, "dir", "", "`DIR` that keeps everything (default: a temporary one)")
	f.Float64Var(&o.Frames.Duplicate, "duplicate", 0.02, "share of envelopes that the server delivers twice")
	f.Float64Var(&o.Frames.Reorder, "reorder", 0.05, "share of deliveries that the server shuffles")
	f.Float64Var(&o.Frames.Drop, "drop", 0.005, "share of frames that are lost, and the connection with them")
	f.Float64Var(&o.Frames.Flip, "flip", 0.005, "share of ciphertexts in which a bit is changed")
	f.StringVar(&o.output, "o", "text", "`FORMAT` of the report: text or json")
	f.StringVar(&o.ledger, "ledger", "", "`FILE` for everything that was seen")
	f.StringVar(&o.check, "check", "", "only judge the ledger in `FILE` again")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	return o, nil
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	if o.check != "" {
		return again(o.check, stdout)
	}
	fmt.Fprintf(stderr, "soak: seed %d\n", o.Seed)
	if o.Binary == "" {
		dir, err := os.MkdirTemp("", "secmsg-soak-")
		if err != nil {
			return fmt.Errorf("build: %w", err)
		}
		defer os.RemoveAll(dir)
		if o.Binary, err = lab.Build(ctx, "", dir); err != nil {
			return err
		}
	}
	report, seen, err := harness.Run(ctx, o.Options)
	if o.ledger != "" {
		err = errors.Join(err, save(o.ledger, seen))
	}
	if err != nil {
		return fmt.Errorf("seed %d: %w", o.Seed, err)
	}
	if o.output == "json" {
		err = json.NewEncoder(stdout).Encode(report)
	} else {
		err = report.Text(stdout)
	}
	if err == nil && len(report.Violations) > 0 {
		err = fmt.Errorf("seed %d: %d violations", o.Seed, len(report.Violations))
	}
	return err
}

func save(path string, l ledger.Ledger) error {
	b, err := json.Marshal(l)
	if err != nil {
		return fmt.Errorf("save ledger: %w", err)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		return fmt.Errorf("save ledger: %w", err)
	}
	return nil
}

// again judges a ledger saved by an earlier run.
func again(path string, stdout io.Writer) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("judge again: %w", err)
	}
	var l ledger.Ledger
	if err := json.Unmarshal(b, &l); err != nil {
		return fmt.Errorf("judge again: %w", err)
	}
	found := ledger.Check(&l)
	for _, v := range found {
		if _, err := fmt.Fprintf(stdout, "%s: %s\n", v.Kind, v.Detail); err != nil {
			return err
		}
	}
	if len(found) > 0 {
		return fmt.Errorf("%d violations", len(found))
	}
	return nil
}
