package trust

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"secmsg/daemon/store"
	"secmsg/rpc/local"
)

// Keys of a contact's policy (cmd/secmsg/COMMANDS.md).
const (
	PolicyTrust      = "trust"       // needed for sending: certified or verified
	PolicyAutoAccept = "auto-accept" // maximum size of files that are fetched automatically
	PolicyAutoAnswer = "auto-answer" // whether calls are answered automatically: yes or no
	PolicyReceipts   = "receipts"    // whether read receipts are sent: on or off
	PolicyRetention  = "retention"   // how long messages are kept
)

const (
	trustCertified = "certified"
	trustVerified  = "verified"
	// minRetention keeps a message at least until its receipts have been delivered.
	minRetention = time.Hour
)

// checkPolicy returns the stored form of a value; "" resets the key.
func checkPolicy(key, value string) (string, error) {
	oneOf := func(values ...string) (string, error) {
		for _, v := range values {
			if value == v {
				return v, nil
			}
		}
		return "", local.Errorf(local.CodeUsage, "%s: %q is not one of %s", key, value, strings.Join(values, ", "))
	}
	switch key {
	case PolicyTrust, PolicyAutoAccept, PolicyAutoAnswer, PolicyReceipts, PolicyRetention:
		if value == "" {
			return "", nil
		}
	}
	switch key {
	case PolicyTrust:
		return oneOf(trustCertified, trustVerified)
	case PolicyAutoAnswer:
		return oneOf("yes", "no")
	case PolicyReceipts:
		return oneOf("on", "off")
	case PolicyAutoAccept:
		if _, err := parseSize(value); err != nil {
			return "", local.Errorf(local.CodeUsage, "%s: %v", key, err)
		}
		return value, nil
	case PolicyRetention:
		d, err := parseAge(value)
		if err != nil {
			return "", local.Errorf(local.CodeUsage, "%s: %v", key, err)
		}
		if d < minRetention {
			return "", local.Errorf(local.CodeUsage, "%s: must be at least %s", key, minRetention)
		}
		return value, nil
	}
	return "", local.Errorf(local.CodeUsage, "unknown policy %q", key).
		WithHint("the policies are trust, auto-accept, auto-answer, receipts and retention")
}

// parseSize parses a number of bytes with an optional unit.
func parseSize(s string) (uint64, error) {
	for _, u := range []struct {
		suffix string
		shift  uint
	}{{"GiB", 30}, {"MiB", 20}, {"KiB", 10}, {"B", 0}, {"", 0}} {
		if digits, ok := strings.CutSuffix(s, u.suffix); ok {
			n, err := strconv.ParseUint(digits, 10, 63)
			if err != nil || n > 1<<(62-u.shift) {
				break
			}
			return n << u.shift, nil
		}
	}
	return 0, fmt.Errorf("%q is not a size (example: 10MiB)", s)
}

// parseAge parses days ("30d") or a Go duration.
func parseAge(s string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		if err == nil {
			return time.Duration(n) * 24 * time.Hour, nil
		}
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, fmt.Errorf("%q is not a duration (example: 30d)", s)
	}
	return d, nil
}

// ReadReceipts reports whether a peer gets read receipts: contacts do, unless they are
// switched off.
func (t *Trust) ReadReceipts(tx *store.Tx, account store.AccountID, peer store.PeerID) (bool, error) {
	c, err := tx.Contact(account, peer)
	return c.Relation == store.RelationContact && len(c.Changed) == 0 && c.Policy[PolicyReceipts] != "off", err
}

// DeliveredReceipts reports whether a peer gets receipts at all: contacts do, unless their
// key has changed.
func (t *Trust) DeliveredReceipts(tx *store.Tx, account store.AccountID, peer store.PeerID) (bool, error) {
	c, err := tx.Contact(account, peer)
	return c.Relation == store.RelationContact && len(c.Changed) == 0, err
}

// Retention returns how long messages with a peer are kept; 0: forever.
func (t *Trust) Retention(tx *store.Tx, account store.AccountID, peer store.PeerID) (time.Duration, error) {
	c, err := tx.Contact(account, peer)
	if err != nil || c.Policy[PolicyRetention] == "" {
		return 0, err
	}
	return parseAge(c.Policy[PolicyRetention])
}

// AutoAnswer reports whether a peer's calls are answered automatically: only those of
// contacts with that policy whose key has not changed.
func (t *Trust) AutoAnswer(tx *store.Tx, account store.AccountID, peer store.PeerID) (bool, error) {
	c, err := tx.Contact(account, peer)
	return c.Relation == store.RelationContact && len(c.Changed) == 0 && c.Policy[PolicyAutoAnswer] == "yes", err
}

// AutoAccept returns the maximum size in bytes of files that are fetched automatically from
// a peer: the policy's value, or else byDefault; 0: none. It is 0 for non-contacts, and for
// contacts whose key has changed.
func (t *Trust) AutoAccept(tx *store.Tx, account store.AccountID, peer store.PeerID, byDefault uint64) (uint64, error) {
	c, err := tx.Contact(account, peer)
	if err != nil || c.Relation != store.RelationContact || len(c.Changed) > 0 {
		return 0, err
	}
	if c.Policy[PolicyAutoAccept] == "" {
		return byDefault, nil
	}
	return parseSize(c.Policy[PolicyAutoAccept])
}
