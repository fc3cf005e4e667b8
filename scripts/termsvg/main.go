package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "scripts/termsvg:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("scripts/termsvg", flag.ContinueOnError)
	to := flags.String("o", filepath.Join("scripts", "demo.svg"), "`FILE` to write")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return err
	}
	cmd := exec.CommandContext(ctx, filepath.Join("scripts", "demo"))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("scripts/demo: %w (run this in the root of the repository)", err)
	}
	lines, err := selected(out.String(), story())
	if err != nil {
		return err
	}
	if err := os.WriteFile(*to, draw(lines), 0o644); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "%s: %d lines\n", *to, len(lines))
	return nil
}
