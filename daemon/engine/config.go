package engine

import (
	"time"

	"secmsg/rpc/backoff"
	"secmsg/rpc/wire"
)

// Config holds every interval and bound of the engine. A zero field means its default.
type Config struct {
	Window        int           // envelopes in flight; 256, the relay's bound for a device
	DefaultWait   time.Duration // how long send waits for the server without --wait; 5 s
	WaitTimeout   time.Duration // of a wait without a timeout; 30 s
	Retention     time.Duration // how long a message waits to be delivered; 30 days
	DedupeKeep    time.Duration // how long ids are kept; retention and 30 days more
	KeyKeep       time.Duration // how long an idempotency key is kept; 30 days
	ReceiptJitter time.Duration // delivered receipts are delayed by up to this; 300 ms
	GapAfter      time.Duration // a missing number is reported after this; 60 s
	FullAfter     time.Duration // a mailbox that is full for so long counts as rejecting until it accepts an envelope again; 60 s
	RebuildEvery  time.Duration // one session rebuild per device in this time; 1 h
	RetryEvery    time.Duration // how long to wait for a requested message before asking again; 10 min
	BackoffMin    time.Duration // first wait after a temporary failure; 1 s
	BackoffMax    time.Duration // longest such wait; 60 s
	NoKeysFor     time.Duration // longest pause before asking again for a device without a bundle; 10 min, the relay's prekey rate
	Upkeep        time.Duration // interval of the look at prekeys, certificate and own manifest; 24 h
	Sweep         time.Duration // interval of the look at retention; 1 h
	ProbeTimeout  time.Duration // of status --check; 10 s
	AutoAccept    uint64        // files up to this size are fetched without asking, for contacts without a policy; 0: none
	Quarantine    int           // envelopes kept of a peer whose key changed; 1,000
}

const day = 24 * time.Hour

// Defaults of Config (rpc/DELIVERY.md, "Limits"; crypto/SPEC.md, "Limits").
func (c Config) withDefaults() Config {
	set := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	if c.Window <= 0 {
		c.Window = wire.MaxBatch
	}
	if c.Quarantine <= 0 {
		c.Quarantine = 1000
	}
	set(&c.DefaultWait, 5*time.Second)
	set(&c.WaitTimeout, 30*time.Second)
	set(&c.Retention, wire.MailboxRetention)
	set(&c.DedupeKeep, c.Retention+30*day)
	set(&c.KeyKeep, 30*day)
	set(&c.ReceiptJitter, 300*time.Millisecond)
	set(&c.GapAfter, time.Minute)
	set(&c.FullAfter, time.Minute)
	set(&c.RebuildEvery, time.Hour)
	set(&c.RetryEvery, 10*time.Minute)
	set(&c.BackoffMin, time.Second)
	set(&c.BackoffMax, time.Minute)
	set(&c.NoKeysFor, 10*time.Minute)
	set(&c.Upkeep, day)
	set(&c.Sweep, time.Hour)
	set(&c.ProbeTimeout, 10*time.Second)
	return c
}

// backoff doubles from BackoffMin to BackoffMax; the server's own wish counts if it is longer.
func (c Config) backoff(tries int, wish time.Duration) time.Duration {
	return backoff.New(c.BackoffMin, c.BackoffMax).After(tries, wish)
}
