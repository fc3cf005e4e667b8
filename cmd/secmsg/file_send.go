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
		Long: "Send files. Each is encrypted on this machine and uploaded once for all\n" +
			"recipients. With -, standard input is streamed, at any length. A line is printed\n" +
			"for each file and recipient: ID PEER STATE.\n\n" +
			"The command returns when the server has the file and has accepted its message.\n" +
			"It waits as long as that takes, also while the server is unreachable; Ctrl-C\n" +
			"cancels the transfer. --timeout ends only the wait (exit 8): the transfer\n" +
			"continues, and the file is still being read. The same holds for --wait queued,\n" +
			"which returns at once, or for a stream at its end. --wait delivered waits until\n" +
			"the recipient has fetched and verified the whole file.\n\n" +
			"A transfer resumes after an outage of the server, the daemon or this machine. A\n" +
			"pipe cannot resume: if the daemon stops before it has read the pipe to its end,\n" +
			"nothing is sent (exit 3). If it stops later, the exit code is also 3; see secmsg\n" +
			"file list for the state of the transfer.\n\n" +
			"--exec runs CMD in the shell and sends its output. If CMD fails, nothing is\n" +
			"sent, and the exit status is that of CMD (128 plus the signal number if a signal\n" +
			"killed it). In a pipeline the file would be sent all the same: pipefail only\n" +
			"changes the status.\n\n" +
			"The server keeps a file until every recipient has fetched or declined it, plus\n" +
			"an hour for their other devices, but no longer than its retention (30 days) or\n" +
			"--expires. Until then the file counts against your quota: see secmsg file quota.\n\n" +
			"A file that grows while it is sent, such as a log, is sent at its initial\n" +
			"length. A file that changes in any other way is sent again from the beginning,\n" +
			"at most three times; then the transfer fails. Send a copy of such a file\n" +
			"instead.\n\n" +
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
			switch {
			case o.exec == "" && len(args) < 2:
				return usagef("file send: PATH is missing").WithHint("name a file, - for standard input, or --exec CMD")
			case o.exec != "" && len(args) > 1:
				return usagef("--exec sends only the output of CMD: remove %q", args[1])
			case o.exec != "" && o.key != "":
				return usagef("--exec cannot be combined with --idempotency-key: the content is known only when CMD has ended")
			case o.exec != "" && o.name == "":
				return usagef("--exec needs --name")
			}
			return runFileSend(cmd.Context(), a, o, args)
		},
	}
	f := c.Flags()
	f.StringVar(&o.name, "name", "", "file `NAME` for the recipient; only its last path element is used (default: the name of the file, or stdin)")
	f.StringVar(&o.wait, "wait", "", "wait for `STATE`: queued, server, delivered or read")
	f.DurationVar(&o.timeout, "timeout", 0, "stop waiting after this long and exit 8; the transfer continues")
	f.StringVar(&o.key, "idempotency-key", "", "send only once per `KEY`: a repeated command returns the first ids")
	f.DurationVar(&o.expires, "expires", 0, "delete the file from the server after this long")
	f.StringVar(&o.exec, "exec", "", "send the output of `CMD`, unless it fails; needs --name")
	f.BoolVar(&o.once, "once", false, "delete the file from the server once every recipient has fetched it, not an hour later")
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

// sendFiles sends the files and prints a line for each file and recipient.
func (a *app) sendFiles(ctx context.Context, c *local.Client, p local.FileSendParams, src fileSources, mode string) error {
	show, err := a.newProgress(mode, slices.ContainsFunc(src.sources, func(s local.FileSource) bool { return s.Stream && s.Name == streamName }))
	if err != nil {
		return err
	}
	// await returns when ctx ends even if a read of standard input blocks.
	r, err := await(ctx, func() (local.SendResults, error) { return c.SendFiles(ctx, p, src.stream, show.callback()) })
	if failed := show.end(); err == nil {
		err = failed
	}
	if err != nil {
		return err
	}
	return a.printResults(r.Results)
}
