package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// splitPeers reads PEER[,PEER...]; a peer named twice counts once.
func splitPeers(arg string) ([]string, error) {
	var peers []string
	seen := map[string]bool{}
	for p := range strings.SplitSeq(arg, ",") {
		p = strings.TrimSpace(p)
		if p == "" {
			return nil, usagef("%q has an empty peer name", arg)
		}
		if !seen[p] {
			seen[p] = true
			peers = append(peers, p)
		}
	}
	return peers, nil
}

// timeArg reads a point in time: RFC 3339, or a duration before now. The result
// is RFC 3339 in UTC.
func timeArg(flag, s string, now time.Time) (string, error) {
	if s == "" {
		return "", nil
	}
	if t, err := time.Parse(time.RFC3339Nano, s); err == nil {
		return t.UTC().Format(time.RFC3339Nano), nil
	}
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return now.Add(-d).UTC().Format(time.RFC3339Nano), nil
	}
	return "", usagef("%s: %q is neither a duration (example: 10m) nor a time (example: 2026-01-02T15:04:05Z)", flag, s)
}

// sinceArg reads the --since of listen: a seq, an id, a time or a duration
// before now. Only the last is rewritten; the daemon tells the others apart.
func sinceArg(s string, now time.Time) (string, error) {
	if s == "" {
		return "", nil
	}
	if c := s[0]; c == '-' || c == '+' {
		return "", usagef("--since: %q is not a sequence number, an id, a time or a duration", s)
	}
	if _, err := strconv.ParseUint(s, 10, 63); err == nil {
		return s, nil
	}
	if d, err := time.ParseDuration(s); err == nil {
		return now.Add(-d).UTC().Format(time.RFC3339Nano), nil
	}
	return s, nil
}

// mayBeEmpty names the flag for which an empty value has a meaning of its own: none.
const mayBeEmpty = "listen"

// filled refuses flags of a command that were given with an empty value: an unset
// variable in a script must not act as if the flag were absent. It would drop a
// demand (--require), a protection (--passphrase-file) or a filter (--peer). Global
// flags are like their environment variables, for which empty means not set.
func filled(c *cobra.Command) error {
	var err error
	c.Flags().Visit(func(f *pflag.Flag) {
		global := c.Root().PersistentFlags().Lookup(f.Name) != nil
		if err == nil && f.Value.Type() == "string" && f.Value.String() == "" && !global && f.Name != mayBeEmpty {
			err = usagef("--%s is empty", f.Name)
		}
	})
	return err
}

// positive checks a duration flag that was given.
func positive(flag string, given bool, d time.Duration) error {
	if given && d <= 0 {
		return usagef("%s must be greater than zero", flag)
	}
	return nil
}

// oneOf checks a flag with fixed values; empty is left alone.
func oneOf(flag, value string, allowed ...string) error {
	if value == "" {
		return nil
	}
	for _, v := range allowed {
		if value == v {
			return nil
		}
	}
	return usagef("%s: %q is not one of %s", flag, value, strings.Join(allowed, ", "))
}

// flagText describes an error of the flag parser without the names of Go functions
// that it quotes.
func flagText(err error) string {
	if missing, ok := errors.AsType[*pflag.ValueRequiredError](err); ok {
		return fmt.Sprintf("--%s needs a value", missing.GetFlag().Name)
	}
	bad, ok := errors.AsType[*pflag.InvalidValueError](err)
	if !ok {
		return err.Error()
	}
	name, value := bad.GetFlag().Name, bad.GetValue()
	switch kind := bad.GetFlag().Value.Type(); kind {
	case "bool":
		return fmt.Sprintf("--%s: %q is neither true nor false", name, value)
	case "int":
		return fmt.Sprintf("--%s: %q is not a whole number", name, value)
	case "duration":
		if _, err := time.ParseDuration(value + "s"); err == nil {
			return fmt.Sprintf("--%s: %q needs a unit, such as %ss", name, value, value)
		}
		return fmt.Sprintf("--%s: %q is not a duration (example: 10m)", name, value)
	}
	return err.Error()
}
