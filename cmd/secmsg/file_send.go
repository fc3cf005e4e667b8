package main

import (
	"context"
	"slices"
	"time"

	"secmsg/rpc/local"

	"github.com/spf13/cobra"
)

// fileSendOptions are the flags of file send.
type fileSendOptions struct {
	name       string
	wait       string
	timeout    time.Duration
	hasTimeout bool
	key        string
	expires    time.Duration
	hasExpires bool
	require    string
	once       bool
	exec       string
	progress   string
}

func newFileSendCommand(a *app) *cobra.Command {
	var o fileSendOptions
	c := &cobra.Command{
		Use:   "send PEER[,PEER...] PATH...|-|--exec CMD --name NAME",
		Short: "Send files, standard input, or the output of a command",
		Long: "Send files, each encrypted on this machine and uploaded once for all recipients.\n" +
			"- streams standard input, of any length and byte for byte. A line for each file\n" +
			"and recipient is printed: ID PEER STATE.\n\n" +
			"The command returns when the server has the file and has accepted its message for\n" +
			"the recipient; there is no limit of time. While the server is away it waits, and\n" +
			"Ctrl-C cancels. --timeout ends only the waiting (exit 8): the transfer goes on, and\n" +
			"reads the file as it does. So it is with --wait queued, which returns at once; for\n" +
			"a stream, at its end. With --wait delivered the recipient has fetched the whole\n" +
			"file and checked it.\n\n" +
			"A transfer continues after the server, the daemon or this machine was away. A pipe\n" +
			"whose daemon ended before it was read to its end cannot: exit 3, and nothing was\n" +
			"sent. Behind the end it is exit 3 too, and file list tells what became of it.\n\n" +
			"--exec runs CMD by the shell and sends what it writes. If CMD fails, nothing is\n" +
			"sent, and the exit status is CMD's (128 and the signal's number if a signal ended\n" +
			"it). A pipe cannot tell that: what the shell calls pipefail says so only afterwards.\n\n" +
			"The server keeps a file until every recipient has fetched or declined it, and for\n" +
			"an hour more, for their other devices; or until its retention (30 days) or --expires\n" +
			"ends. So long it counts towards your quota: see secmsg file quota.\n\n" +
			"A file that grows while it is sent, such as a log, is sent as long as it was at\n" +
			"the start. One that changes otherwise is sent again from the beginning, at most\n" +
			"three times, with a note each time; then it fails, and a copy of it should be sent.\n\n" +
			progressHelp,
		Example: "  secmsg file send bob report.pdf\n" +
			"  secmsg file send bob,carol *.jpg --wait delivered --timeout 1h\n" +
			"  tar c src | secmsg file send bob - --name src.tar\n" +
			"  secmsg file send backup --exec 'pg_dump -Z zstd db' --name db.sql.zst -o json\n" +
			"  secmsg file send bob -- -odd-name",
		Args: argsBetween(1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.hasTimeout = cmd.Flags().Changed("timeout")
			o.hasExpires = cmd.Flags().Changed("expires")
			if err := filled(cmd, "exec"); err != nil {
				return err
			}
			switch {
			case o.exec == "" && len(args) < 2:
				return usagef("what is to be sent is missing: PATH, - or --exec CMD")
			case o.exec != "" && len(args) > 1:
				return usagef("--exec sends the output of CMD, and no other file")
			case o.exec != "" && o.key != "":
				return usagef("--exec has no idempotency key: what CMD writes is known at its end only")
			case o.exec != "" && o.name == "":
				return usagef("--exec needs --name")
			}
			if cmd.Flags().Changed("name") && o.name == "" {
				return usagef("--name is empty")
			}
			return runFileSend(cmd.Context(), a, o, args)
		},
	}
	f := c.Flags()
	f.StringVar(&o.name, "name", "", "the `NAME` that the recipient sees; only its last element counts (default: the file's, or stdin)")
	f.StringVar(&o.wait, "wait", "", "wait for `STATE`: queued, server, delivered or read")
	f.DurationVar(&o.timeout, "timeout", 0, "wait no longer than this; then exit 8, and the transfer goes on")
	f.StringVar(&o.key, "idempotency-key", "", "send only once for this `KEY`: a repetition answers with the first ids")
	f.DurationVar(&o.expires, "expires", 0, "let the server drop the file after this long")
	f.StringVar(&o.exec, "exec", "", "send what `CMD` writes, unless it fails; needs --name")
	f.BoolVar(&o.once, "once", false, "let the server delete the file as soon as every recipient has fetched it, not an hour later")
	f.StringVar(&o.require, "require", "", "`verified`: exit 4 and send nothing unless every peer is verified")
	f.StringVar(&o.progress, "progress", progressAuto, progressUsage)
	return c
}

func runFileSend(ctx context.Context, a *app, o fileSendOptions, args []string) error {
	p, err := fileSendParams(o, args[0])
	if err != nil {
		return err
	}
	if o.exec != "" {
		return a.withDaemon(ctx, func(c *local.Client) error {
			p.AccountParam = a.accountParam()
			return a.sendOutput(ctx, c, p, o)
		})
	}
	src, err := a.openSources(ctx, args[1:], o.name)
	if err != nil {
		return err
	}
	defer src.close()
	p.Sources = src.sources
	return a.withDaemon(ctx, func(c *local.Client) error {
		p.AccountParam = a.accountParam()
		return a.sendFiles(ctx, c, p, src, o.progress)
	})
}

// fileSendParams checks the flags.
func fileSendParams(o fileSendOptions, peers string) (local.FileSendParams, error) {
	names, err := splitPeers(peers)
	if err != nil {
		return local.FileSendParams{}, err
	}
	p := local.FileSendParams{
		Peers: names, Wait: o.wait, Timeout: o.timeout.Seconds(), Require: o.require,
		IdempotencyKey: o.key, Expires: o.expires.Seconds(), Once: o.once,
	}
	for _, err := range []error{
		oneOf("--wait", o.wait, waitStates()...),
		oneOf("--require", o.require, local.TrustVerified),
		oneOf("--progress", o.progress, progressModes()...),
		positive("--timeout", o.hasTimeout, o.timeout),
		positive("--expires", o.hasExpires, o.expires),
	} {
		if err != nil {
			return local.FileSendParams{}, err
		}
	}
	return p, nil
}

// sendFiles sends and prints a line for each file and recipient.
func (a *app) sendFiles(ctx context.Context, c *local.Client, p local.FileSendParams, src fileSources, mode string) error {
	show, err := a.newProgress(mode, slices.ContainsFunc(src.sources, func(s local.FileSource) bool { return s.Stream && s.Name == streamName }))
	if err != nil {
		return err
	}
	// A read of standard input that nothing can interrupt does not keep this from ending with ctx.
	r, err := await(ctx, func() (local.SendResults, error) { return c.SendFiles(ctx, p, src.stream, show.callback()) })
	if failed := show.end(); err == nil {
		err = failed
	}
	if err != nil {
		return err
	}
	return a.printResults(r.Results)
}
