package main

import (
	"bytes"
	"context"
	"os"
	"strconv"
	"strings"

	"secmsg/rpc/local"

	"github.com/spf13/cobra"
)

func newFileCommand(a *app) *cobra.Command {
	var peer, graphics string
	show := &cobra.Command{
		Use:   "show ID",
		Short: "Print the details of a file, and the thumbnail of a picture",
		Long: "Print the details of a file. If standard output is a terminal, the thumbnail of\n" +
			"a picture is drawn: with the protocol of kitty, iTerm2 or sixel if the terminal\n" +
			"is known to support it, otherwise with coloured blocks. --graphics overrides the\n" +
			"choice.",
		Example: "  secmsg file show ID\n  secmsg file show ID --graphics sixel",
		Args:    argsBetween(1, 1),
		RunE:    func(cmd *cobra.Command, args []string) error { return runFileShow(cmd.Context(), a, args[0], graphics) },
	}
	show.Flags().StringVar(&graphics, "graphics", "", "how to draw the thumbnail; `WAY` is one of "+strings.Join(graphicsValues(), ", "))
	list := &cobra.Command{
		Use:   "list",
		Short: "List sent and received files, oldest first",
		Long: "List the files exchanged with all peers or with one, oldest first, and their\n" +
			"states. The other file commands take the ids that are listed here.\n\n" +
			"A received file is offered, fetching, fetched, declined, expired or failed; it\n" +
			"is also failed if its sender withdrew it. A sent file is sending, cancelled,\n" +
			"declined by its recipient, expired, failed, or in the state of its message.\n" +
			"REASON says why a file failed or is waiting.",
		Example: "  secmsg file list\n" +
			"  secmsg file list --peer alice -o json | jq -r 'select(.file.state==\"offered\").id'",
		Args: argsBetween(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error { return runFileList(cmd.Context(), a, peer) },
	}
	list.Flags().StringVar(&peer, "peer", "", "only files exchanged with this `PEER`")
	return groupCommand(a, "file", "Send and receive files of any size",
		newFileSendCommand(a),
		newFileGetCommand(a),
		list,
		show,
		&cobra.Command{
			Use:   "cancel ID",
			Short: "Withdraw a file you sent, or decline one you received",
			Long: "Withdraw a file that you sent, from all its recipients. The server deletes its\n" +
				"copy at once, which frees your quota. Peers that have not fetched the file can\n" +
				"no longer do so; peers that have fetched it keep it.\n\n" +
				"Decline a file that you received and have not fetched. Its sender is notified; a\n" +
				"sender who waits for the delivery gets exit code 10.",
			Args: argsBetween(1, 1),
			RunE: func(cmd *cobra.Command, args []string) error { return runFileCancel(cmd.Context(), a, args[0]) },
		},
		&cobra.Command{
			Use:   "gc",
			Short: "Remove leftovers of transfers, and free space on the server",
			Long: "Remove the leftovers of finished and abandoned transfers on this machine, and\n" +
				"delete from the server the files you sent that every recipient has fetched.\n" +
				"Prints how much was removed. The daemon also does this from time to time. Files\n" +
				"that you fetched are never touched.",
			Args: argsBetween(0, 0),
			RunE: func(cmd *cobra.Command, _ []string) error { return runFileGC(cmd.Context(), a) },
		},
		&cobra.Command{
			Use:   "quota",
			Short: "Print how much space your files use on the server, and your quota",
			Args:  argsBetween(0, 0),
			RunE:  func(cmd *cobra.Command, _ []string) error { return runFileQuota(cmd.Context(), a) },
		},
	)
}

func runFileList(ctx context.Context, a *app, peer string) error {
	return a.withDaemon(ctx, func(c *local.Client) error {
		r, err := c.Files(ctx, local.FileListParams{AccountParam: a.accountParam(), Peer: peer})
		if err != nil {
			return err
		}
		t := a.newTable("ID", "TIME", "", "PEER", "STATE", "SIZE", "NAME", "REASON")
		for i := range r.Events {
			e := &r.Events[i]
			if e.File == nil {
				continue
			}
			way := "from"
			if e.Direction == local.DirectionOut {
				way = "to"
			}
			reason := ""
			if e.File.Error != nil {
				reason = e.File.Error.Message
			}
			t.row(e, e.ID, timeText(e.Received), way, e.Peer, e.File.State, sizeText(e.File.Size), e.File.Name, reason)
		}
		return t.flush()
	})
}

func runFileShow(ctx context.Context, a *app, id, graphics string) error {
	how, err := graphicsMode(graphics, a.stdoutTerminal(), os.Getenv)
	if err != nil {
		return err
	}
	return a.withDaemon(ctx, func(c *local.Client) error {
		shown, err := c.ShowFile(ctx, local.FileIDParams{AccountParam: a.accountParam(), ID: id})
		if err != nil {
			return err
		}
		if a.json() {
			return a.printJSON(shown)
		}
		if err := a.write([]byte(fileFields(&shown.Event))); err != nil || len(shown.Thumbnail) == 0 || how == graphicsNone {
			return err
		}
		pic, err := openPicture(shown.Thumbnail)
		if err != nil {
			return err
		}
		var b bytes.Buffer
		if err := renderPicture(&b, pic, how, a.stdoutColumns()); err != nil {
			return err
		}
		return a.writeRaw(b.Bytes())
	})
}

// fileFields lists the details of a file for a person.
func fileFields(e *local.Event) string {
	var l fieldList
	l.add("id", e.ID)
	if e.Direction == local.DirectionOut {
		l.add("to", e.Peer)
	} else {
		l.add("from", e.Peer)
	}
	l.add("time", timeText(e.Time))
	f := e.File
	if f == nil {
		return l.String()
	}
	l.add("name", f.Name)
	size := sizeText(f.Size)
	if f.Size >= 1<<10 {
		size += " (" + strconv.FormatInt(f.Size, 10) + " bytes)"
	}
	l.add("size", size)
	l.add("type", f.Type)
	l.add("state", f.State)
	if f.Error != nil {
		l.add("error", f.Error.Message)
	}
	l.add("part of message", f.MessageID)
	l.add("saved as", f.Path)
	if !f.Expires.IsZero() {
		l.add("kept by the server until", timeText(f.Expires))
	}
	if e.Direction == local.DirectionOut {
		l.add("downloads", strconv.Itoa(f.Downloads))
	}
	return l.String()
}

func runFileCancel(ctx context.Context, a *app, id string) error {
	return a.withDaemon(ctx, func(c *local.Client) error {
		r, err := c.CancelFile(ctx, local.FileIDParams{AccountParam: a.accountParam(), ID: id})
		if err != nil {
			return err
		}
		if a.json() {
			return a.printJSON(r)
		}
		return a.printf("%s %s %s", visible(r.ID), visible(r.Peer), visible(r.State))
	})
}

func runFileGC(ctx context.Context, a *app) error {
	return a.withDaemon(ctx, func(c *local.Client) error {
		r, err := c.CollectFiles(ctx, a.account)
		if err != nil {
			return err
		}
		changed := r.Files > 0 || r.Freed > 0
		return a.printChanged(r, changed, "removed %d here (%s) and %d from the server (%s)", r.Files, sizeText(r.Bytes), r.Freed, sizeText(r.FreedBytes))
	})
}

func runFileQuota(ctx context.Context, a *app) error {
	return a.withDaemon(ctx, func(c *local.Client) error {
		r, err := c.FileQuota(ctx, a.account)
		if err != nil {
			return err
		}
		if a.json() {
			return a.printJSON(r)
		}
		return a.printf("%s of %s used by %d of %d files; at most %s per file",
			sizeText(r.Used), sizeText(r.Quota), r.Files, r.MaxFiles, sizeText(r.MaxSize))
	})
}
