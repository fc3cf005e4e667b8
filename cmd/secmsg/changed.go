package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"secmsg/rpc/local"
)

// printChanged prints the result of a command that changes something. JSON output
// is the object that show or list prints, plus the member "changed", which is false
// if the object already was as requested. Text output is one line.
func (a *app) printChanged(v any, changed bool, format string, args ...any) error {
	if !a.json() {
		return a.printf(format, args...)
	}
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode result: %w", err)
	}
	member := fmt.Appendf(nil, `"changed":%t}`, changed)
	if !bytes.Equal(b, []byte("{}")) {
		member = append([]byte(","), member...)
	}
	b = append(bytes.TrimSuffix(b, []byte("}")), member...)
	return a.writeJSON(b)
}

// differ reports whether two objects of the daemon differ in anything that is shown.
func differ(a, b any) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX != nil || errY != nil || !bytes.Equal(x, y)
}

// changeContact changes a peer and prints its new state.
func (a *app) changeContact(ctx context.Context, c *local.Client, peer string, change func() (local.Contact, error)) error {
	before, err := c.Contact(ctx, a.peerParams(peer))
	if err != nil && !isCode(err, local.CodeNotFound) {
		return err
	}
	after, err := change()
	if err != nil {
		return err
	}
	return a.printChanged(after, differ(before, after), "%s %s", visible(after.Peer), visible(after.Trust))
}

// removeContact takes a peer off the contact list.
func (a *app) removeContact(ctx context.Context, c *local.Client, peer string) error {
	before, err := c.Contact(ctx, a.peerParams(peer))
	if err != nil {
		return err
	}
	if err := c.RemoveContact(ctx, a.peerParams(peer)); err != nil {
		return err
	}
	after, err := c.Contact(ctx, a.peerParams(peer))
	if isCode(err, local.CodeNotFound) { // without a key, the contact was all that was stored
		after, err = before, nil
		after.Contact, after.Request = false, false
	}
	if err != nil {
		return err
	}
	if !differ(before, after) {
		return a.printChanged(after, false, "%s was not a contact", visible(after.Peer))
	}
	return a.printChanged(after, true, "%s is no longer a contact", visible(after.Peer))
}

// lockState is what lock and unlock print.
type lockState struct {
	Locked bool `json:"locked"`
}

// consumerNamed returns one consumer in the form that consumer list prints.
func consumerNamed(ctx context.Context, c *local.Client, name string) (local.Consumer, error) {
	r, err := c.Consumers(ctx)
	if err != nil {
		return local.Consumer{}, err
	}
	for _, e := range r.Consumers {
		if e.Name == name {
			return e, nil
		}
	}
	return local.Consumer{}, local.Errorf(local.CodeNotFound, "consumer %q does not exist", name).WithHint("list all consumers with: secmsg consumer list")
}
