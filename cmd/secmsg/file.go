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
		Short: "Print what is known of a file, with a small picture of it where there is one",
		Long: "Print what is known of a file. The thumbnail of a picture is drawn if standard\n" +
			"output is a terminal: in kitty's, iTerm2's or the sixel protocol where the terminal\n" +
			"is known to have it, else of coloured blocks. --graphics says how, whatever the\n" +
			"terminal.",
		Example: "  secmsg file show ID\n  secmsg file show ID --graphics sixel",
		Args:    argsBetween(1, 1),
		RunE:    func(cmd *cobra.Command, args []string) error { return runFileShow(cmd.Context(), a, args[0], graphics) },
	}
	show.Flags().StringVar(&graphics, "graphics", "", "draw the thumbnail in this `WAY`: "+strings.Join(graphicsValues(), ", "))
	list := &cobra.Command{
		Use:   "list",
		Short: "List files sent and received, oldest first",
		Long: "List the files of all peers or of one, oldest first, with what became of them.\n" +
			"The id is what the other verbs take.\n\n" +
			"An incoming file is offered, fetching, fetched, declined, expired, or failed, which\n" +
			"is also what one is that its sender has withdrawn; an own one is sending, cancelled,\n" +
			"declined by its recipient, expired, failed, or in the state of its message. What\n" +
			"failed, or waits, has a reason.",
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
			Short: "Withdraw an own file, or decline one that came",
			Long: "Stop sending a file, for all its recipients: the server removes it, and a peer that\n" +
				"has not fetched it cannot any more. What a peer has fetched stays with the peer;\n" +
				"then the server's copy is removed at once and counts no longer towards the quota.\n\n" +
				"A file that came and is not fetched is declined: it is not fetched any more, and\n" +
				"its sender is told, with exit 10 if the sender waits.",
			Args: argsBetween(1, 1),
			RunE: func(cmd *cobra.Command, args []string) error { return runFileCancel(cmd.Context(), a, args[0]) },
		},
		&cobra.Command{
			Use:   "gc",
			Short: "Remove what unfinished and ended transfers have left",
			Long: "Remove the remains of transfers that ended or were given up, and print how much\n" +
				"that was; and let the server delete at once the own files that every recipient has\n" +
				"fetched. The daemon does this by itself from time to time. Fetched files are never\n" +
				"touched.",
			Args: argsBetween(0, 0),
			RunE: func(cmd *cobra.Command, _ []string) error { return runFileGC(cmd.Context(), a) },
		},
		&cobra.Command{
			Use:   "quota",
			Short: "Print what own files take at the server, and what they may take",
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

// fileFields is all of a file for a person.
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
		return a.printChanged(r, changed, "%d removed, %s; %d freed at the server, %s", r.Files, sizeText(r.Bytes), r.Freed, sizeText(r.FreedBytes))
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
		return a.printf("%s of %s used by %d of %d files; one takes at most %s",
			sizeText(r.Used), sizeText(r.Quota), r.Files, r.MaxFiles, sizeText(r.MaxSize))
	})
}
