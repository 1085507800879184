// Package cli is the command line: the grammar, one file a verb, and what each prints.
package cli

import (
	"context"
	"errors"
	"fmt"
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
	args = helped(args)
	g, clusterOf := narrow(args[0])
	exited := -1
	parser, err := newParser(g, out, func(code int) { exited = code })
	if err != nil {
		return term.Report(out, err)
	}
	command, err := parser.Parse(args)
	if exited >= 0 {
		return exited
	}
	if err != nil {
		return term.Report(out, misused(parser, err))
	}
	e := &env{ctx: ctx, out: out, cluster: *clusterOf, version: Version()}
	err = command.Run(e)
	var status exitStatus
	switch {
	case errors.As(err, &status):
		return int(status)
	case errors.Is(err, context.Canceled) || err != nil && ctx.Err() != nil && fault.Is(err, fault.Interrupted):
		return fault.Exit(fault.New(fault.Interrupted, "interrupted"))
	}
	code := term.Report(out, err)
	if ended, ok := errors.AsType[withStatus](err); ok {
		code = ended.status
	}
	return code
}

func newParser(g any, out *term.Out, exit func(int)) (*kong.Kong, error) {
	return kong.New(g, kong.Name("bramble"), kong.Description(about), kong.UsageOnError(),
		kong.Writers(out.Stdout, out.Stderr), kong.Exit(exit),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true, WrapUpperBound: 100}),
		kong.Help(help), kong.DefaultEnvars("BRAMBLE"), kong.Vars{"version": Version()},
		kong.ExplicitGroups(groups), kong.WithHyphenPrefixedParameters(true))
}

// exitStatus ends the process with a status and no message.
type exitStatus int

func (s exitStatus) Error() string { return "" }

// withStatus is an error about something that has ended with a status, which becomes the process's own.
type withStatus struct {
	error
	status int
}

func (w withStatus) Unwrap() error { return w.error }

// helped turns no words at all, and `bramble help VERB`, into what --help does.
func helped(args []string) []string {
	switch {
	case len(args) == 0:
		return []string{"--help"}
	case args[0] == "help":
		return append(slices.Clone(args[1:]), "--help")
	}
	return args
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

// help prints a verb's example under its usage; of a verb with others below it, those of what it does by itself.
func help(options kong.HelpOptions, ctx *kong.Context) error {
	if err := kong.DefaultHelpPrinter(options, ctx); err != nil {
		return err
	}
	if n := ctx.Selected(); n != nil {
		if n.DefaultCmd != nil {
			fmt.Fprintf(ctx.Stdout, "\n%s by itself is %s; its flags: bramble %s --help\n", n.Path(), n.DefaultCmd.Name, n.DefaultCmd.Path())
			n = n.DefaultCmd
		}
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
