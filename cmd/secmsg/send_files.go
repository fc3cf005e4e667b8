package main

import (
	"context"

	"secmsg/rpc/local"
)

// runSendWithFiles sends a message with files and an optional text.
func runSendWithFiles(ctx context.Context, a *app, o sendOptions, p local.SendParams, args []string) error {
	if o.lines {
		return usagef("--lines and --file cannot be combined")
	}
	for _, path := range o.files {
		if path == "-" {
			return usagef("-f cannot attach standard input").WithHint("send it with: secmsg file send PEER -; for a file named -, use: -f ./-")
		}
	}
	fp := local.FileSendParams{
		Peers: p.Peers, Attach: true, ReplyTo: p.ReplyTo, Wait: p.Wait, Timeout: p.Timeout,
		IdempotencyKey: p.IdempotencyKey, Expires: p.Expires, Require: p.Require,
	}
	var err error
	if len(args) > 1 || o.hasMessage { // else standard input is not read
		if fp.Text, err = a.sendText(ctx, o, args[1:]); err != nil {
			return err
		}
	}
	src, err := a.openSources(ctx, o.files, "")
	if err != nil {
		return err
	}
	defer src.close()
	fp.Sources = src.sources
	return a.withDaemon(ctx, func(c *local.Client) error {
		fp.AccountParam = a.accountParam()
		return a.sendFiles(ctx, c, fp, src, o.progress)
	})
}
