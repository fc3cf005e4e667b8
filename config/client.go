package config

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"time"
)

// Client is the configuration of a command and of the daemon it talks to. Every
// key has an environment variable: log.level is SECMSG_LOG_LEVEL.
type Client struct {
	Paths Paths `config:"-"`

	Account     string `config:"account" doc:"account that commands use; the default is the only or the default one"`
	Output      string `config:"output" doc:"text or json"`
	NoAutostart bool   `config:"no_autostart" doc:"commands do not start the daemon"`
	NoManager   bool   `config:"no_manager" doc:"commands start the daemon by themselves, not through the user's systemd"`
	Quiet       bool   `config:"quiet" doc:"nothing on standard error but errors"`
	Verbose     bool   `config:"verbose" doc:"more on standard error"`

	// PassphraseFile unlocks a protected profile when the daemon starts.
	PassphraseFile string `config:"passphrase_file" doc:"file whose first line unlocks the profile when the daemon starts"`

	Proxy string `config:"proxy" doc:"proxy to the servers: http://, https:// or socks5://[USER:PASSWORD@]HOST:PORT, or environment for HTTPS_PROXY and NO_PROXY as the daemon has them; empty: none; calls do not use it"`

	Log       ClientLog       `config:"log"`
	Intervals ClientIntervals `config:"intervals"`
	Limits    ClientLimits    `config:"limits"`
	Files     ClientFiles     `config:"files"`
}

// ClientFiles say how the daemon moves files.
type ClientFiles struct {
	// Dir is Data/downloads if it is empty.
	Dir        string `config:"dir" doc:"where files go that are fetched without being asked for, and where file get goes without -O; the default is downloads in the profile's data directory"`
	Parallel   int    `config:"parallel" doc:"uploads, and fetches without being asked for, that run at the same time"`
	AutoAccept Size   `config:"auto_accept" doc:"files of contacts up to this size are fetched without being asked for, where contact set says nothing else; 0: none"`
	KeepFree   Size   `config:"keep_free" doc:"what such fetches leave free on the disk; a twentieth of the disk where that is less"`
	Spool      Size   `config:"spool" doc:"how much of one upload waits, sealed, for the server before sealing pauses"`
}

// ClientLog says how much the daemon logs.
type ClientLog struct {
	Level string `config:"level" doc:"debug, info, warn or error"`
}

// ClientIntervals are the daemon's intervals (rpc/DELIVERY.md, "Connections"); tests shorten them.
type ClientIntervals struct {
	ReconnectMin time.Duration `config:"reconnect_min" doc:"first wait before the server is tried again"`
	ReconnectMax time.Duration `config:"reconnect_max" doc:"longest wait before the server is tried again"`
	Ping         time.Duration `config:"ping" doc:"how often an idle connection is pinged"`
	Write        time.Duration `config:"write" doc:"bound for one write to the server"`
	Request      time.Duration `config:"request" doc:"bound for one request to the server"`
	ReceiptDelay time.Duration `config:"receipt_delay" doc:"receipts are delayed by up to this and batched"`
	SendWait     time.Duration `config:"send_wait" doc:"how long send without --wait waits for the server"`
	Gap          time.Duration `config:"gap" doc:"how long a missing message may be late before a gap is told"`
	Probe        time.Duration `config:"probe" doc:"bound for the round trip of status --check"`
	Retry        time.Duration `config:"retry" doc:"how long to wait for a message that did not open and was asked for again, before asking once more"`
	PrekeyRenew  time.Duration `config:"prekey_renew" doc:"how often the signed prekeys are replaced"`
}

// ClientLimits are the daemon's retention periods (rpc/DELIVERY.md, "Limits").
type ClientLimits struct {
	JournalAge    time.Duration `config:"journal_age" doc:"how long events are kept for consumers"`
	JournalEvents int           `config:"journal_events" doc:"how many events are kept for consumers"`
	Attempts      int           `config:"attempts" doc:"how often the handler of a consumer is run for one event, unless listen --retry says otherwise"`
	// DeadLetterAfter is the same in time.
	DeadLetterAfter time.Duration `config:"dead_letter_after" doc:"for how long it is, unless listen --dead-letter-after says otherwise"`
	OutboxAge       time.Duration `config:"outbox_age" doc:"how long an unsent message is kept"`
	InFlight        int           `config:"in_flight" doc:"envelopes sent to the server and not yet accepted"`
}

// DefaultClient returns the values that hold when nothing is configured.
func DefaultClient() Client {
	return Client{
		Output: "text",
		Log:    ClientLog{Level: "info"},
		Intervals: ClientIntervals{
			ReconnectMin: time.Second,
			ReconnectMax: time.Minute,
			Ping:         25 * time.Second,
			Write:        10 * time.Second,
			Request:      30 * time.Second,
			ReceiptDelay: 300 * time.Millisecond,
			SendWait:     5 * time.Second,
			Gap:          time.Minute,
			Probe:        10 * time.Second,
			Retry:        10 * time.Minute,
			PrekeyRenew:  7 * day,
		},
		Limits: ClientLimits{
			JournalAge:      30 * day,
			JournalEvents:   100_000,
			Attempts:        30,
			DeadLetterAfter: time.Hour,
			OutboxAge:       30 * day,
			InFlight:        256,
		},
		Files: ClientFiles{Parallel: 8, KeepFree: 1 << 30, Spool: 64 << 20},
	}
}

// LoadClient reads the configuration of the profile in home (see ResolvePaths).
// values are settings by key that go over file and environment.
func LoadClient(home string, values map[string]any) (Client, error) {
	paths, err := ResolvePaths(home)
	if err != nil {
		return Client{}, err
	}
	c := DefaultClient()
	if err := Load(Source{File: paths.File, Optional: true, Values: values}, &c); err != nil {
		return Client{}, err
	}
	c.Paths = paths
	return c, nil
}

// Validate reports every value that makes no sense.
func (c *Client) Validate() error {
	var problems []error
	wrong := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if c.Output != "text" && c.Output != "json" {
		wrong("output: %q is neither text nor json", c.Output)
	}
	switch c.Log.Level {
	case "debug", "info", "warn", "error":
	default:
		wrong("log.level: %q is none of debug, info, warn, error", c.Log.Level)
	}
	if c.Proxy != "" && c.Proxy != "environment" {
		if u, err := url.Parse(c.Proxy); err != nil || u.Hostname() == "" || !slices.Contains([]string{"http", "https", "socks5"}, u.Scheme) {
			wrong("proxy: not http://, https:// or socks5://HOST:PORT, nor environment") // the text may hold a password
		}
	}
	for key, d := range map[string]time.Duration{
		"intervals.reconnect_min": c.Intervals.ReconnectMin,
		"intervals.ping":          c.Intervals.Ping,
		"intervals.write":         c.Intervals.Write,
		"intervals.request":       c.Intervals.Request,
		"intervals.probe":         c.Intervals.Probe,
		"intervals.retry":         c.Intervals.Retry,
		"intervals.prekey_renew":  c.Intervals.PrekeyRenew,
		"limits.journal_age":      c.Limits.JournalAge,
		"limits.outbox_age":       c.Limits.OutboxAge,
	} {
		if d <= 0 {
			wrong("%s: must be greater than zero", key)
		}
	}
	if c.Intervals.ReconnectMax < c.Intervals.ReconnectMin {
		wrong("intervals.reconnect_max: must not be less than reconnect_min")
	}
	if c.Limits.JournalEvents < 1 {
		wrong("limits.journal_events: must be at least 1")
	}
	if c.Limits.DeadLetterAfter <= 0 {
		wrong("limits.dead_letter_after: must be more than 0")
	}
	if c.Limits.Attempts < 1 {
		wrong("limits.attempts: must be at least 1")
	}
	if c.Limits.InFlight < 1 {
		wrong("limits.in_flight: must be at least 1")
	}
	if c.Files.Parallel < 1 {
		wrong("files.parallel: must be at least 1")
	}
	if c.Files.Dir != "" && !filepath.IsAbs(c.Files.Dir) {
		wrong("files.dir: %q is not an absolute path", c.Files.Dir)
	}
	return errors.Join(problems...)
}
