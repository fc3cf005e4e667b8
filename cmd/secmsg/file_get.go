package main

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"

	"secmsg/rpc/local"
	"secmsg/rpc/local/screen"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// fileGetOptions are the flags of file get.
type fileGetOptions struct {
	out        string
	wait       bool
	timeout    time.Duration
	hasTimeout bool
	force      bool
	progress   string
}

func newFileGetCommand(a *app) *cobra.Command {
	var o fileGetOptions
	c := &cobra.Command{
		Use:   "get ID",
		Short: "Fetch a file, verify it to the last byte and save it",
		Long: "Fetch a file and print the path where it was saved. The file appears under its\n" +
			"name only after its last byte has been verified. Only you can read it, and it is\n" +
			"never executable. If -O names a directory, the file keeps its name, or gets a\n" +
			"number if the name is taken: \"report (1).pdf\". If -O names an existing file,\n" +
			"nothing is fetched and the exit code is 1. With --force an existing file is\n" +
			"replaced, also in a directory.\n\n" +
			"ID is the id of the file, of an event about it, or of its message if that has no\n" +
			"other file.\n\n" +
			"-O - writes the content to standard output. After an error, the bytes that were\n" +
			"written are genuine but incomplete, so check the exit code. If the reader closes\n" +
			"the pipe before the last byte, the exit code is 3, and the file can be fetched\n" +
			"again. Only text is written to a terminal, with control characters made visible;\n" +
			"--force writes any file unchanged.\n\n" +
			"An interrupted fetch resumes where it stopped. If you can write to the directory\n" +
			"but your daemon cannot, this command writes the file itself; such a fetch starts\n" +
			"over when it is interrupted.\n\n" +
			progressHelp,
		Example: "  secmsg file get 0198c0de-0000-7000-8000-000000000000\n" +
			"  secmsg file get ID -O ~/reports/\n" +
			"  secmsg file get ID -O - | tar t\n" +
			"  secmsg file get ID --wait --timeout 1h -O build.log",
		Args: argsBetween(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.hasTimeout = cmd.Flags().Changed("timeout")
			return runFileGet(cmd.Context(), a, o, args[0])
		},
	}
	f := c.Flags()
	f.StringVarP(&o.out, "path", "O", "", "save as `PATH` or into that directory; - for standard output (default: the downloads directory)")
	f.BoolVar(&o.wait, "wait", false, "wait until the file is offered and the server can be reached")
	f.DurationVar(&o.timeout, "timeout", 0, "give up after this long and exit 8")
	f.BoolVar(&o.force, "force", false, "replace an existing file; write any content to a terminal")
	f.StringVar(&o.progress, "progress", progressAuto, progressUsage)
	return c
}

func runFileGet(ctx context.Context, a *app, o fileGetOptions, id string) error {
	for _, err := range []error{
		oneOf("--progress", o.progress, progressModes()...),
		positive("--timeout", o.hasTimeout, o.timeout),
	} {
		if err != nil {
			return err
		}
	}
	p := local.FileGetParams{ID: id, Overwrite: o.force, Wait: o.wait || o.hasTimeout, Timeout: o.timeout.Seconds()}
	out, err := a.openTarget(ctx, o, &p)
	if err != nil {
		return err
	}
	if out.stdout && o.progress == progressJSON {
		return usagef("standard output cannot carry both the file (-O -) and --progress json")
	}
	return a.withDaemon(ctx, func(c *local.Client) error {
		p.AccountParam = a.accountParam()
		return a.getFile(ctx, c, p, out, o)
	})
}

// target is the file that this process writes to if the daemon does not save the
// content itself.
type target struct {
	w      *os.File // nil: the daemon saves it
	stdout bool
}

// openTarget decides whether this process or the daemon writes. This process writes
// to FIFOs, devices and descriptors of a process substitution, since the daemon would
// replace them by a new file, as it must not do with /dev/null. For any other target
// the daemon gets the directory's device and inode, since it may see a different
// directory at that path.
func (a *app) openTarget(ctx context.Context, o fileGetOptions, p *local.FileGetParams) (target, error) {
	switch o.out {
	case "":
		return target{}, nil
	case "-":
		if err := a.needStdout(); err != nil {
			return target{}, err
		}
		p.Stream, p.Overwrite = true, false
		return target{w: a.stdout, stdout: true}, nil
	}
	abs := absolute(o.out)
	dir := filepath.Dir(abs)
	info, err := os.Stat(o.out)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if strings.HasSuffix(o.out, string(os.PathSeparator)) {
			return target{}, usagef("%s: no such directory", o.out).WithHint("mkdir -p %s", shellWord(o.out))
		}
	case err != nil:
		return target{}, sourceError(o.out, err)
	case info.IsDir():
		dir = abs
	case !info.Mode().IsRegular() || ownPath(abs):
		f, err := await(ctx, func() (*os.File, error) { return os.OpenFile(o.out, os.O_WRONLY, 0) })
		if err != nil {
			return target{}, sourceError(o.out, err)
		}
		p.Stream, p.Overwrite = true, false
		return target{w: f}, nil
	case !o.force:
		return target{}, usagef("%s exists", o.out).WithHint("choose another path, or replace the file with --force")
	}
	if !utf8.ValidString(abs) {
		return target{}, usagef("%s: the path is not UTF-8", o.out).WithHint("secmsg file get %s -O - > FILE", p.ID)
	}
	if p.Device, p.Inode, err = local.PathIdentity(dir); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return target{}, usagef("%s: no such directory", dir).WithHint("mkdir -p %s", shellWord(dir))
		}
		return target{}, sourceError(dir, err)
	}
	p.Path, p.OrStream = abs, true
	return target{}, nil
}

// getFile fetches the file and prints its path.
func (a *app) getFile(ctx context.Context, c *local.Client, p local.FileGetParams, out target, o fileGetOptions) error {
	sink := fileSink{finish: func() error { return nil }}
	terminal := false
	if out.w != nil {
		sink.w = wholeWriter{out.w}
		if terminal = term.IsTerminal(int(out.w.Fd())); terminal && !o.force {
			if err := a.textOnly(ctx, c, p); err != nil {
				return err
			}
			v := screen.NewWriter(sink.w)
			sink.w, sink.finish = v, v.Flush
		}
	}
	show, err := a.newProgress(o.progress, terminal)
	if err != nil {
		return err
	}
	got, err := await(ctx, func() (local.FileGot, error) { return c.GetFile(ctx, p, sink, show.callback()) })
	if err == nil && got.Stream {
		got, err = a.getHere(ctx, c, p, show.callback())
	}
	if failed := show.end(); err == nil {
		err = failed
	}
	if err == nil && out.w != nil && !out.stdout {
		err = out.w.Close()
	}
	switch {
	case errors.Is(err, errReaderLeft):
		return local.Errorf(local.CodeIO, "the reader closed the pipe before the last byte; the file can be fetched again")
	case err != nil:
		return err
	case out.stdout:
		return nil
	case a.json():
		return a.printJSON(got)
	case got.Path == "":
		return nil
	}
	return a.printf("%s", visible(got.Path))
}

// fileSink takes the content of a file. It is a local.Finisher.
type fileSink struct {
	w      io.Writer
	finish func() error
}

// Write implements io.Writer.
func (s fileSink) Write(b []byte) (int, error) { return s.w.Write(b) }

// Finish is called when the whole content is written and verified.
func (s fileSink) Finish() error { return s.finish() }

// textOnly refuses to write a file to a terminal unless its sender says it is text.
// A sender who lies does no harm, since screen.Writer makes control characters visible.
func (a *app) textOnly(ctx context.Context, c *local.Client, p local.FileGetParams) error {
	shown, err := c.ShowFile(ctx, local.FileIDParams{AccountParam: p.AccountParam, ID: p.ID})
	if isCode(err, local.CodeNotFound) && p.Wait {
		return usagef("the file may not be text, and is not written to a terminal before it is known").
			WithHint("use -O PATH, a pipe, or --force")
	}
	if err != nil {
		return err
	}
	if f := shown.Event.File; f == nil || !textType(f.Type) {
		kind := "of unknown type"
		if f != nil && f.Type != "" {
			kind = f.Type
		}
		return usagef("the file is %s, not text, and is not written to a terminal", kind).WithHint("use -O PATH, a pipe, or --force")
	}
	return nil
}

// textType reports whether a media type is made of readable lines.
func textType(t string) bool {
	t, _, _ = strings.Cut(t, ";")
	t = strings.ToLower(strings.TrimSpace(t))
	switch t {
	case "application/json", "application/xml", "application/yaml", "application/toml", "application/javascript", "application/x-sh":
		return true
	}
	return strings.HasPrefix(t, "text/") || strings.HasSuffix(t, "+json") || strings.HasSuffix(t, "+xml")
}
