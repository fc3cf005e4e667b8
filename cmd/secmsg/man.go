package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"secmsg/rpc/local"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func newManCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "man DIR",
		Short: "Write the manual pages into a directory",
		Args:  argsBetween(1, 1),
		RunE: func(_ *cobra.Command, args []string) error {
			return runMan(newRootCommand(newApp(nil, a.stdin, a.stdout, a.stderr)), args[0])
		},
	}
}

// runMan writes a page for every command of root. None of them may have run before,
// since cobra adds a help flag to a command that runs. cobra's own generator is not
// used: it imports a Markdown library whose initialisation slows down every start.
func runMan(root *cobra.Command, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return local.IOError(err, "%v", err)
	}
	var write func(c *cobra.Command) error
	write = func(c *cobra.Command) error {
		name := strings.ReplaceAll(c.CommandPath(), " ", "-") + ".1"
		if err := os.WriteFile(filepath.Join(dir, name), []byte(manPage(c)), 0o644); err != nil {
			return local.IOError(err, "%v", err)
		}
		for _, sub := range shownCommands(c) {
			if err := write(sub); err != nil {
				return err
			}
		}
		return nil
	}
	return write(root)
}

// manPage is one page in the macros of man(7).
func manPage(c *cobra.Command) string {
	var b strings.Builder
	name := strings.ReplaceAll(c.CommandPath(), " ", "-")
	fmt.Fprintf(&b, ".TH %s 1\n.SH NAME\n%s \\- %s\n", strings.ToUpper(name), roff(name), roff(c.Short))
	fmt.Fprintf(&b, ".SH SYNOPSIS\n%s\n", bold(synopsis(c)))
	if c.Long != "" {
		fmt.Fprintf(&b, ".SH DESCRIPTION\n%s\n", roff(c.Long))
	}
	options(&b, "OPTIONS", c.NonInheritedFlags())
	options(&b, "GLOBAL OPTIONS", c.InheritedFlags())
	if c.Example != "" {
		fmt.Fprintf(&b, ".SH EXAMPLES\n.nf\n%s\n.fi\n", roff(c.Example))
	}
	manCommands(&b, c)
	if !c.HasParent() {
		entries(&b, "ENVIRONMENT", manEnvironment())
		entries(&b, "FILES", manFiles())
	}
	b.WriteString(".SH EXIT STATUS\n")
	for _, row := range exitTable() {
		fmt.Fprintf(&b, ".TP\n%d\n%s\n", row.code, roff(row.meaning))
	}
	var also []string
	if c.HasParent() {
		also = append(also, strings.ReplaceAll(c.Parent().CommandPath(), " ", "-")+"(1)")
	}
	for _, sub := range shownCommands(c) {
		also = append(also, strings.ReplaceAll(sub.CommandPath(), " ", "-")+"(1)")
	}
	if len(also) > 0 {
		fmt.Fprintf(&b, ".SH SEE ALSO\n%s\n", roff(strings.Join(also, ", ")))
	}
	return b.String()
}

// synopsis is how a command is called.
func synopsis(c *cobra.Command) string {
	switch {
	case len(shownCommands(c)) == 0:
		return c.UseLine()
	case c.Name() == "rpc": // the only group that also runs by itself
		return c.UseLine() + " [COMMAND]"
	}
	return c.CommandPath() + " COMMAND"
}

func options(b *strings.Builder, title string, flags *pflag.FlagSet) {
	if !flags.HasAvailableFlags() {
		return
	}
	fmt.Fprintf(b, ".SH %s\n", title)
	flags.VisitAll(func(f *pflag.Flag) {
		kind, usage := pflag.UnquoteUsage(f)
		short := ""
		if f.Shorthand != "" {
			short = "-" + f.Shorthand + ", "
		}
		if d := defaultText(f); d != "" {
			usage += " (default " + d + ")"
		}
		entry(b, strings.TrimSpace(short+"--"+f.Name+" "+kind), usage)
	})
}

// defaultText is a flag's default as help shows it. It is empty for zero values, which
// need no mention.
func defaultText(f *pflag.Flag) string {
	switch f.DefValue {
	case "", "false", "0", "0s", "[]":
		return ""
	}
	if f.Value.Type() == "string" {
		return strconv.Quote(f.DefValue)
	}
	return f.DefValue
}

// manCommands lists the subcommands of c, in the groups of the help.
func manCommands(b *strings.Builder, c *cobra.Command) {
	list := shownCommands(c)
	if len(list) == 0 {
		return
	}
	b.WriteString(".SH COMMANDS\n")
	under := func(group string) {
		for _, sub := range list {
			if sub.GroupID == group {
				entry(b, sub.UseLine(), sub.Short)
			}
		}
	}
	under("")
	for _, g := range c.Groups() {
		fmt.Fprintf(b, ".SS %s\n", roff(strings.TrimSuffix(g.Title, ":")))
		under(g.ID)
	}
}

// shownCommands are the commands of c that have a page.
func shownCommands(c *cobra.Command) []*cobra.Command {
	return slices.DeleteFunc(slices.Clone(c.Commands()), func(sub *cobra.Command) bool {
		return sub.Hidden || sub.IsAdditionalHelpTopicCommand()
	})
}

// manEnvironment describes the variables that the program reads.
func manEnvironment() [][2]string {
	return [][2]string{
		{"SECMSG_ACCOUNT, SECMSG_HOME, SECMSG_OUTPUT, SECMSG_NO_AUTOSTART, SECMSG_QUIET, SECMSG_VERBOSE",
			"Defaults of the global options with the same names."},
		{"SECMSG_DATA", "The data directory of the server, for serverd and admin."},
		{"SECMSG_KEY", "Any option KEY of a configuration file, in capitals and with _ for dots, such as SECMSG_PROXY or SECMSG_LOG_LEVEL. It overrides the file."},
		{"SECMSG_EVENT_ID, SECMSG_EVENT_TYPE, SECMSG_EVENT_PEER, SECMSG_EVENT_TIME, SECMSG_EVENT_SEQ, SECMSG_EVENT_TEXT",
			"Set for the handler of listen --exec."},
		{"XDG_CONFIG_HOME, XDG_DATA_HOME, XDG_STATE_HOME, XDG_RUNTIME_DIR", "Directories for the files of a profile, unless --home is given."},
	}
}

// manFiles describes the files of a profile and of a server.
func manFiles() [][2]string {
	return [][2]string{
		{"~/.config/secmsg/config.yaml", "Configuration of the command line and the daemon."},
		{"~/.local/share/secmsg/", "Database and storage key of a profile. A copy is not a backup: two running copies of one device damage each other's sessions."},
		{"~/.local/state/secmsg/daemon.log", "The daemon's log."},
		{"$XDG_RUNTIME_DIR/secmsg/secmsg.sock", "The daemon's socket."},
		{"/var/lib/secmsg/", "Data and configuration (config.yaml) of a server that root runs."},
		{"DIR/config.yaml, DIR/secmsg.db, DIR/daemon.log, DIR/secmsg.sock", "The files of a profile under --home DIR."},
	}
}

func entries(b *strings.Builder, title string, list [][2]string) {
	fmt.Fprintf(b, ".SH %s\n", title)
	for _, e := range list {
		entry(b, e[0], e[1])
	}
}

// entry writes a term and its description.
func entry(b *strings.Builder, term, text string) {
	fmt.Fprintf(b, ".TP\n%s\n%s\n", bold(term), roff(text))
}

// bold sets a line in bold type. The macro .B would interpret quotes in the line.
func bold(s string) string { return `\fB` + roff(s) + `\fR` }

// roff escapes characters that the formatter would interpret: backslashes, hyphens
// (which it would typeset as dashes), and a dot or quote at the start of a line.
func roff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(s)
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, ".") || strings.HasPrefix(l, "'") {
			lines[i] = `\&` + l
		}
	}
	return strings.Join(lines, "\n")
}
