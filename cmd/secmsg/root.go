package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

// Groups of the help, in the order of the manual.
const (
	groupServer   = "server" // serverd, admin
	groupAccount  = "account"
	groupMessages = "messages"
	groupPeople   = "people"
	groupFiles    = "files"
	groupCalls    = "calls"
	groupTools    = "tools"
)

// newRootCommand builds the tree of commands for one run.
func newRootCommand(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "secmsg",
		Short: "End-to-end encrypted messages for shells and scripts",
		Long: "secmsg sends end-to-end encrypted messages between people and machines. One\n" +
			"binary is the command line, the per-user daemon and the server.\n\n" +
			"Data goes to standard output, everything else to standard error. -o json prints\n" +
			"one JSON object a line.",
		Args:              cobra.ArbitraryArgs,
		SilenceErrors:     true,
		SilenceUsage:      true,
		RunE:              func(cmd *cobra.Command, args []string) error { return missingVerb(a, cmd, args) },
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return a.resolveFlags(cmd) },
	}
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usagef("%s", flagText(err)).WithHint("%s --help", cmd.CommandPath())
	})
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetHelpTemplate(helpTemplate())
	root.SetHelpFunc(a.helpFunc(root.HelpFunc()))

	f := root.PersistentFlags()
	f.StringVarP(&a.account, "account", "a", "", "`NAME` of the account to use (default: the only or the default account)")
	f.BoolVar(&a.noAutostart, "no-autostart", false, "do not start the daemon if it is not running")
	f.StringVar(&a.home, "home", "", "keep the whole profile under `DIR` (default: the XDG directories)")
	f.StringVarP(&a.output, "output", "o", "", "output `FORMAT`, text or json (default text)")
	f.BoolVarP(&a.quiet, "quiet", "q", false, "print only errors on standard error")
	f.BoolVarP(&a.verbose, "verbose", "v", false, "print more details on standard error")

	add := func(group, title string, commands ...*cobra.Command) {
		root.AddGroup(&cobra.Group{ID: group, Title: title + ":"})
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add(groupServer, "Server", newServerdCommand(a), newAdminCommand(a))
	add(groupAccount, "Account and daemon",
		newDaemonCommand(a), newJoinCommand(a), newAccountCommand(a), newDeviceCommand(a),
		newStatusCommand(a), newLockCommand(a), newUnlockCommand(a),
	)
	add(groupMessages, "Messages",
		newSendCommand(a), newListenCommand(a), newInboxCommand(a), newAckCommand(a),
		newConsumerCommand(a), newHistoryCommand(a), newOutboxCommand(a), newReceiptCommand(a),
	)
	add(groupPeople, "People",
		newContactCommand(a), newVerifyCommand(a), newTrustCommand(a),
		newBlockCommand(a), newUnblockCommand(a), newPresenceCommand(a),
	)
	add(groupFiles, "Files", newFileCommand(a))
	add(groupCalls, "Calls", newCallCommand(a))
	add(groupTools, "Power tools",
		newRPCCommand(a), newCompletionCommand(a), newManCommand(a), newVersionCommand(a),
	)
	root.SetHelpCommand(newHelpCommand(root))
	root.SetHelpCommandGroupID(groupTools)
	return root
}

// groupCommand is a command that only holds others: called alone, or with a
// verb that does not exist, it is a usage error.
func groupCommand(a *app, use, short string, verbs ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{
		Use:   use,
		Short: short,
		Args:  cobra.ArbitraryArgs,
		RunE:  func(cmd *cobra.Command, args []string) error { return missingVerb(a, cmd, args) },
	}
	c.AddCommand(verbs...)
	return c
}

// missingVerb runs a command that only groups others: it prints the help, or
// suggests a subcommand with a similar name.
func missingVerb(a *app, cmd *cobra.Command, args []string) error {
	hint := cmd.CommandPath() + " --help"
	if len(args) == 0 {
		if !a.json() && !a.quiet {
			cmd.SetOut(a.stderr)
			_ = cmd.Help()
			return exitStatus(1)
		}
		return usagef("%s: the command is missing", cmd.CommandPath()).WithHint("%s", hint)
	}
	cmd.SuggestionsMinimumDistance = 2 // letters; cobra's own default
	if s := cmd.SuggestionsFor(args[0]); len(s) > 0 {
		hint = "did you mean " + strings.Join(s, ", ") + "?"
	}
	return usagef("unknown command %q for %q", args[0], cmd.CommandPath()).WithHint("%s", hint)
}

// argsBetween is the Args of a command that takes from min to max arguments. A
// negative max means any number.
func argsBetween(min, max int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < min:
			return usagef("%s: %s is missing", commandName(cmd), argName(cmd.Use, len(args))).WithHint("%s", cmd.UseLine())
		case max >= 0 && len(args) > max:
			return usagef("%s: unexpected argument %q", commandName(cmd), args[max]).WithHint("%s", cmd.UseLine())
		}
		return nil
	}
}

// commandName is the command's path without the name of the program.
func commandName(cmd *cobra.Command) string {
	return strings.TrimPrefix(cmd.CommandPath(), cmd.Root().Name()+" ")
}

// argName returns the name of the nth positional argument in a usage line such as
// "ack --consumer NAME ID", where it is ID for n = 0.
func argName(use string, n int) string {
	words := strings.Fields(use)[1:]
	for i := 0; i < len(words); i++ {
		if strings.HasPrefix(words[i], "--") {
			i++ // the value of the flag
			continue
		}
		if n == 0 {
			name, _, _ := strings.Cut(words[i], "[")
			return name
		}
		n--
	}
	return "an argument"
}

// resolveFlags fills in global flags from the environment. Settings from the
// configuration file follow when it is loaded.
func (a *app) resolveFlags(cmd *cobra.Command) error {
	if err := filled(cmd); err != nil {
		return err
	}
	changed := cmd.Flags().Changed
	fromEnv := func(flag, name string, v *string) {
		if s := os.Getenv(name); !changed(flag) && s != "" {
			*v = s
		}
	}
	fromEnv("account", "SECMSG_ACCOUNT", &a.account)
	a.named = a.account
	fromEnv("home", "SECMSG_HOME", &a.home)
	fromEnv("output", "SECMSG_OUTPUT", &a.output)
	for _, b := range []struct {
		flag, name string
		v          *bool
	}{
		{"no-autostart", "SECMSG_NO_AUTOSTART", &a.noAutostart},
		{"quiet", "SECMSG_QUIET", &a.quiet},
		{"verbose", "SECMSG_VERBOSE", &a.verbose},
	} {
		s := os.Getenv(b.name)
		if changed(b.flag) || s == "" {
			continue
		}
		on, err := strconv.ParseBool(s)
		if err != nil {
			return usagef("%s: %q is neither true nor false", b.name, s)
		}
		*b.v = on
	}
	switch a.output {
	case "", outputText, outputJSON:
		return nil
	}
	bad := a.output
	a.output = ""
	return usagef("--output: %q is not one of text, json", bad)
}

// newHelpCommand replaces cobra's help command, which shows the general help for a
// command that does not exist.
func newHelpCommand(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use:               "help [COMMAND...]",
		Short:             "Print help about a command",
		Args:              cobra.ArbitraryArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, rest, err := root.Find(args)
			if err != nil || len(rest) > 0 {
				return usagef("unknown command %q", strings.Join(args, " ")).WithHint("list all commands with: secmsg --help")
			}
			c.InitDefaultHelpFlag()
			return c.Help()
		},
	}
}

// helpFunc returns a help function that prints cobra's text the way all data is
// printed, so that a closed pipe or a full disk is handled as for any command.
// Help functions return nothing, so run reads the error from helpErr.
func (a *app) helpFunc(render func(*cobra.Command, []string)) func(*cobra.Command, []string) {
	return func(cmd *cobra.Command, args []string) {
		out := cmd.OutOrStdout()
		var b bytes.Buffer
		cmd.SetOut(&b)
		render(cmd, args)
		cmd.SetOut(out)
		if out == a.stdout {
			a.helpErr = a.writeRaw(b.Bytes())
			return
		}
		a.tell(b.String())
	}
}

// helpTemplate is cobra's template followed by the exit codes.
func helpTemplate() string {
	var b strings.Builder
	b.WriteString(`{{with (or .Long .Short)}}{{. | trimTrailingWhitespaces}}

{{end}}{{if or .Runnable .HasSubCommands}}{{.UsageString}}{{end}}
Exit codes:
`)
	for _, row := range exitTable() {
		fmt.Fprintf(&b, "  %-4d %s\n", row.code, row.meaning)
	}
	return b.String()
}
