// Command bench measures bramble beside its peers on this machine and writes docs/performance.md.
// Peers run in turns with it, so that whatever else the machine does hits both alike. A missed
// target is said plainly and is no error; a thing that could not be measured says why.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// options are how much is measured.
type options struct {
	exe    string        // the bramble binary
	out    string        // the page to write; "": none
	only   string        // ids of parts, comma-separated; "": all
	limit  time.Duration // of everything together
	slack  int           // how many times its own limit a part may take
	source string        // the module's folder; "": binaries are not built
	folder string        // where temporary files go

	labNodes    int
	spreadNodes int // with links of a board's
	spreadBytes int // of the file that goes to them
	storeBytes  int // of the file that goes into a store
	runs        int // of each contender
	nodes       int // simulated
	large       int // simulated, in the part that takes long; 0: leave it out
	commands    int // on simulated nodes
	tasks       int // of an array job
	noops       int // of an array job on simulated nodes
	latency     int // jobs of one task
	records     int // of the journal
	idle        time.Duration
	outage      time.Duration // of a node's cable
}

// bench is one run of all measurements.
type bench struct {
	options
	dir string // temporary; everything that is made is in it
	say func(format string, args ...any)
}

// part is one thing to measure, in bounded time.
type part struct {
	id      string
	limit   time.Duration
	measure func(context.Context, *section) error
}

func (b *bench) parts() []part {
	parts := []part{
		{"launch", 20 * time.Second, b.launch},
		{"journal", 30 * time.Second, b.journal},
		{"fanout", 100 * time.Second, b.fanOut},
		{"spread", 4 * time.Minute, b.spread},
		{"many", 90 * time.Second, b.many},
		{"site", 5 * time.Minute, b.sites},
		{"store", time.Minute, b.store},
		{"jobs", 3 * time.Minute, b.jobs},
		{"mpi", 4 * time.Minute, b.mpi},
		{"noop", 3 * time.Minute, b.noop},
		{"swarm", time.Minute, func(ctx context.Context, s *section) error { return b.swarm(ctx, s, b.nodes, 50*time.Millisecond) }},
		{"http", 2 * time.Minute, b.http},
		{"front", 4 * time.Minute, b.front},
		{"cable", 5 * time.Minute, b.cable},
		{"change", 2 * time.Minute, b.change},
		{"takeover", 4 * time.Minute, b.takeover},
		{"direct", 2 * time.Minute, b.direct},
		{"sizes", 2 * time.Minute, b.sizes},
	}
	if b.large > 0 { // last, for it may have all the time that is left
		parts = append(parts, part{"large", b.limit,
			func(ctx context.Context, s *section) error { return b.swarm(ctx, s, b.large, 500*time.Millisecond) }})
	}
	return slices.DeleteFunc(parts, func(p part) bool {
		return b.only != "" && !slices.Contains(strings.Split(b.only, ","), p.id)
	})
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	part, err := asPart(ctx, os.Args[1:])
	if !part {
		err = measure(ctx, os.Args[1:])
	}
	switch {
	case err == nil || errors.Is(err, flag.ErrHelp):
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(os.Stderr, "interrupted; all that was started has ended")
		os.Exit(130)
	default:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func measure(ctx context.Context, args []string) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	return run(ctx, o, os.Stdout, os.Stderr)
}

// asPart does what a part starts this program for, and reports whether that was asked.
func asPart(ctx context.Context, args []string) (bool, error) {
	if len(args) == 0 {
		return false, nil
	}
	switch verb, rest := args[0], args[1:]; {
	case verb == serveVerb && len(rest) == 0:
		return true, servePages(ctx)
	case verb == storeVerb && len(rest) == 3:
		return true, useStore(ctx, rest[0], rest[1], rest[2])
	case verb == relayVerb && len(rest) == 2:
		return true, relay(ctx, rest[0], rest[1])
	case verb == sendVerb && len(rest) == 2:
		return true, send(ctx, rest[0], rest[1])
	case verb == answerVerb && len(rest) == 2:
		return true, answer(ctx, rest[0], rest[1])
	case verb == directVerb && len(rest) > 2:
		return true, directFront(ctx, rest[0], rest[1], rest[2:])
	}
	return false, nil
}

func parse(args []string) (options, error) {
	o := options{slack: 1, source: ".", folder: diskFolder(), labNodes: 64, spreadNodes: 16, spreadBytes: 64 << 20, storeBytes: 256 << 20, runs: 5, nodes: 1000, commands: 100, tasks: 4000, noops: 1_000_000, latency: 50, records: 2000, outage: 20 * time.Second, idle: time.Minute}
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.StringVar(&o.exe, "bramble", "bin/bramble", "the `binary` to measure")
	f.StringVar(&o.out, "out", "docs/performance.md", "the `page` to write; not written with -only")
	f.StringVar(&o.only, "only", "", "measure only these `parts`: launch,journal,fanout,spread,many,site,store,jobs,mpi,noop,swarm,http,front,cable,change,takeover,direct,sizes,large")
	f.DurationVar(&o.limit, "limit", 15*time.Minute, "no part begins after so long, and one under way is cut short")
	large := f.Bool("large", true, "measure 10,000 simulated nodes as well, which takes minutes")
	f.IntVar(&o.tasks, "tasks", o.tasks, "`tasks` of the array job")
	f.IntVar(&o.commands, "commands", o.commands, "`commands` on simulated nodes")
	f.IntVar(&o.spreadBytes, "file", o.spreadBytes, "`bytes` of the file that goes to nodes")
	f.IntVar(&o.spreadNodes, "receivers", o.spreadNodes, "`nodes` that it goes to")
	f.IntVar(&o.noops, "noops", o.noops, "`tasks` of the array job on simulated nodes")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if *large {
		o.large = 10_000
	}
	if o.only != "" {
		o.out = ""
	}
	exe, err := filepath.Abs(o.exe)
	o.exe = exe
	return o, err
}

// run measures all parts, prints the page, and writes it.
func run(ctx context.Context, o options, out, progress io.Writer) error {
	if _, err := os.Stat(o.exe); err != nil {
		return fmt.Errorf("%w (make build makes it)", err)
	}
	begun := time.Now()
	b := &bench{options: o, say: func(format string, args ...any) {
		fmt.Fprintf(progress, "%6.1f s  %s\n", time.Since(begun).Seconds(), fmt.Sprintf(format, args...))
	}}
	var err error
	if b.dir, err = os.MkdirTemp(b.folder, "bramble-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	p := page{machine: thisMachine(ctx), begun: begun}
	for _, part := range b.parts() {
		s, err := b.one(ctx, part, begun.Add(o.limit))
		if err != nil {
			return err
		}
		p.sections = append(p.sections, s)
	}
	p.took = time.Since(begun)
	text := p.String()
	fmt.Fprintf(out, "\n%s", text)
	if o.out == "" {
		return nil
	}
	b.say("writing %s", o.out)
	return writeWhole(o.out, text)
}

// one measures one part. Only an interruption is an error: what failed is in the section.
func (b *bench) one(ctx context.Context, p part, end time.Time) (section, error) {
	s := section{id: p.id}
	within := min(p.limit*time.Duration(b.slack), time.Until(end))
	if within <= 0 {
		s.title, s.failed = p.id, fmt.Sprintf("the limit of %s was reached before", b.limit)
		return s, nil
	}
	inner, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	err := p.measure(inner, &s)
	switch {
	case ctx.Err() != nil:
		return s, ctx.Err()
	case err != nil && inner.Err() != nil:
		s.failed = fmt.Sprintf("cut short after %s: %s", seconds(within), strings.TrimSuffix(err.Error(), ": "+inner.Err().Error()))
	case err != nil:
		s.failed = err.Error()
	}
	s.failed = strings.ReplaceAll(s.failed, "\n", "; ") // it is one line of a list
	if s.failed != "" {
		b.say("%s: %s", p.id, s.failed)
	}
	return s, nil
}

// diskFolder is where temporary files are on a disk: /tmp is memory on many machines.
func diskFolder() string {
	if info, err := os.Stat("/var/tmp"); err == nil && info.IsDir() {
		return "/var/tmp"
	}
	return ""
}

// writeWhole replaces a file, whole at any moment.
func writeWhole(path, text string) error {
	fresh := path + ".new"
	if err := os.WriteFile(fresh, []byte(text), 0o644); err != nil {
		return err
	}
	return os.Rename(fresh, path)
}
