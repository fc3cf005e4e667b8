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

	Account     string `config:"account" doc:"account that commands use; the default is the only account or the default account"`
	Output      string `config:"output" doc:"text or json"`
	NoAutostart bool   `config:"no_autostart" doc:"commands do not start the daemon"`
	NoManager   bool   `config:"no_manager" doc:"commands start the daemon directly, not through the user's systemd"`
	Quiet       bool   `config:"quiet" doc:"print only errors on standard error"`
	Verbose     bool   `config:"verbose" doc:"print more details on standard error"`

	// PassphraseFile unlocks a protected profile when the daemon starts.
	PassphraseFile string `config:"passphrase_file" doc:"file whose first line unlocks the profile when the daemon starts"`

	Proxy string `config:"proxy" doc:"proxy for connections to servers: http://, https:// or socks5://[USER:PASSWORD@]HOST:PORT, or the word environment for the daemon's HTTPS_PROXY and NO_PROXY; empty: none; calls do not use it"`

	Log       ClientLog       `config:"log"`
	Intervals ClientIntervals `config:"intervals"`
	Limits    ClientLimits    `config:"limits"`
	Files     ClientFiles     `config:"files"`
}

// ClientFiles configures how the daemon transfers files.
type ClientFiles struct {
	// Dir defaults to Data/downloads.
	Dir        string `config:"dir" doc:"directory for files that are fetched automatically or with file get without -O; the default is downloads in the profile's data directory"`
	Parallel   int    `config:"parallel" doc:"how many uploads and automatic fetches run at the same time"`
	AutoAccept Size   `config:"auto_accept" doc:"fetch files of contacts up to this size automatically, unless contact set says otherwise; 0: none"`
	KeepFree   Size   `config:"keep_free" doc:"disk space that automatic fetches leave free, or a twentieth of the disk if that is less"`
	Spool      Size   `config:"spool" doc:"how many encrypted bytes of one upload may wait for the server on disk"`
}

// ClientLog configures the daemon's log.
type ClientLog struct {
	Level string `config:"level" doc:"debug, info, warn or error"`
}

// ClientIntervals are the daemon's intervals (rpc/DELIVERY.md, "Connections"); tests shorten them.
type ClientIntervals struct {
	ReconnectMin time.Duration `config:"reconnect_min" doc:"first pause before reconnecting to the server"`
	ReconnectMax time.Duration `config:"reconnect_max" doc:"longest pause before reconnecting to the server"`
	Ping         time.Duration `config:"ping" doc:"how often an idle connection is pinged"`
	Write        time.Duration `config:"write" doc:"timeout for one write to the server"`
	Request      time.Duration `config:"request" doc:"timeout for one request to the server"`
	ReceiptDelay time.Duration `config:"receipt_delay" doc:"how long receipts are delayed at most to be sent together"`
	SendWait     time.Duration `config:"send_wait" doc:"how long send without --wait waits for the server"`
	Gap          time.Duration `config:"gap" doc:"how long a missing message may be late before a gap is reported"`
	Probe        time.Duration `config:"probe" doc:"timeout for the round trip of status --check"`
	Retry        time.Duration `config:"retry" doc:"how long to wait for a message that could not be decrypted and was requested again, before requesting it once more"`
	PrekeyRenew  time.Duration `config:"prekey_renew" doc:"how often the signed prekeys are replaced"`
}

// ClientLimits are the daemon's retention periods (rpc/DELIVERY.md, "Limits").
type ClientLimits struct {
	JournalAge    time.Duration `config:"journal_age" doc:"how long events are kept for consumers"`
	JournalEvents int           `config:"journal_events" doc:"how many events are kept for consumers"`
	Attempts      int           `config:"attempts" doc:"how often a consumer's handler is run for one event, unless listen --retry says otherwise"`
	// DeadLetterAfter limits the same attempts by time.
	DeadLetterAfter time.Duration `config:"dead_letter_after" doc:"how long a consumer's handler is retried for one event, unless listen --dead-letter-after says otherwise"`
	OutboxAge       time.Duration `config:"outbox_age" doc:"how long an unsent message is kept"`
	InFlight        int           `config:"in_flight" doc:"how many envelopes may be sent to the server and not yet accepted"`
}

// DefaultClient returns the default configuration.
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
// values are settings by key that override the file and the environment.
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

// Validate reports every invalid value.
func (c *Client) Validate() error {
	var problems []error
	wrong := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if c.Output != "text" && c.Output != "json" {
		wrong("output: %q is not one of text, json", c.Output)
	}
	switch c.Log.Level {
	case "debug", "info", "warn", "error":
	default:
		wrong("log.level: %q is not one of debug, info, warn, error", c.Log.Level)
	}
	if c.Proxy != "" && c.Proxy != "environment" {
		if u, err := url.Parse(c.Proxy); err != nil || u.Hostname() == "" || !slices.Contains([]string{"http", "https", "socks5"}, u.Scheme) {
			wrong("proxy: not a URL such as http://HOST:PORT, https://HOST:PORT or socks5://HOST:PORT, nor the word environment") // without the value, which may hold a password
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
		wrong("limits.dead_letter_after: must be greater than zero")
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
