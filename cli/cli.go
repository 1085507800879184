// Package cli is the command line: the grammar, one file a verb, and what each prints.
package cli

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"bramble/cluster"
	"bramble/fault"
	"bramble/fleet"
	"bramble/term"
)

// env is what every verb is handed.
type env struct {
	ctx     context.Context // ends at Ctrl-C or SIGTERM
	out     *term.Out
	cluster string // --cluster
	version string
}

// open connects to the cluster that the command is about.
func (e *env) open() (*cluster.Cluster, error) { return cluster.Open(e.ctx, e.cluster) }

// Main runs one command line and returns its exit status.
func Main(args []string) int {
	out := term.New(os.Stdin, os.Stdout, os.Stderr, os.Getenv)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return run(ctx, args, out)
}

func run(ctx context.Context, args []string, out *term.Out) int {
	var g grammar
	exited := -1
	parser, err := kong.New(&g, kong.Name("bramble"), kong.Description(about), kong.UsageOnError(),
		kong.Writers(out.Stdout, out.Stderr), kong.Exit(func(code int) { exited = code }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true, WrapUpperBound: 100}),
		kong.Help(help), kong.DefaultEnvars("BRAMBLE"), kong.Vars{"version": Version()},
		kong.ExplicitGroups(groups))
	if err != nil {
		return term.Report(out, err)
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	command, err := parser.Parse(args)
	if exited >= 0 {
		return exited
	}
	if err != nil {
		return term.Report(out, misused(parser, args, err))
	}
	e := &env{ctx: ctx, out: out, cluster: g.Cluster, version: Version()}
	err = command.Run(e)
	var status exitStatus
	switch {
	case errors.As(err, &status):
		return int(status)
	case errors.Is(err, context.Canceled) || err != nil && ctx.Err() != nil && fault.Is(err, fault.Interrupted):
		return fault.Exit(fault.New(fault.Interrupted, "interrupted"))
	}
	return term.Report(out, err)
}

// exitStatus ends the process with a status and no message.
type exitStatus int

func (s exitStatus) Error() string { return "" }

// misused says what is wrong with a command line and what was probably meant.
func misused(parser *kong.Kong, args []string, err error) error {
	f := fault.New(fault.Misused, "%s", strings.TrimPrefix(err.Error(), "unexpected argument "))
	var verbs []string
	for _, n := range parser.Model.Leaves(true) {
		verbs = append(verbs, strings.Fields(n.Path())[0:]...)
	}
	if word := firstWord(args); word != "" && !slices.Contains(verbs, word) {
		f = fault.New(fault.Misused, "bramble has no verb %q", word)
		if near := fleet.Nearest(word, verbs); near != "" {
			return f.Hint("bramble %s", near)
		}
		return f.Hint("bramble --help for the list")
	}
	var parse *kong.ParseError
	if errors.As(err, &parse) && parse.Context != nil && parse.Context.Selected() != nil {
		return f.Hint("bramble %s --help", strings.TrimPrefix(commandPath(parse.Context.Selected()), "bramble "))
	}
	return f.Hint("bramble --help")
}

func commandPath(n *kong.Node) string {
	var words []string
	for ; n != nil && n.Type == kong.CommandNode; n = n.Parent {
		words = append([]string{n.Name}, words...)
	}
	return strings.Join(words, " ")
}

func firstWord(args []string) string {
	for _, a := range args {
		if !strings.HasPrefix(a, "-") {
			return a
		}
	}
	return ""
}

// Version is the version built in, or what is known of the source.
func Version() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" && len(s.Value) >= 12 {
				return "dev-" + s.Value[:12]
			}
		}
	}
	return "dev"
}

// version is set by the linker: -X bramble/cli.version=1.2.3
var version string

// help prints a verb's example under its usage.
func help(options kong.HelpOptions, ctx *kong.Context) error {
	if err := kong.DefaultHelpPrinter(options, ctx); err != nil {
		return err
	}
	if n := ctx.Selected(); n != nil {
		if text := n.Target; text.IsValid() && text.CanAddr() {
			if ex, ok := text.Addr().Interface().(interface{ Examples() string }); ok {
				io.WriteString(ctx.Stdout, "\nExamples:\n"+indent(ex.Examples()))
			}
		}
	}
	return nil
}

func indent(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString("  " + line)
	}
	return b.String() + "\n"
}
