package each

import (
	"context"
	"fmt"
	"io"
	"iter"
	"os"
	"strings"
	"sync"
	"time"

	"bramble/fault"
	"bramble/job"
)

// Jobs is what runs the work.
type Jobs interface {
	Submit(ctx context.Context, spec job.Spec) (job.ID, error)
	Endings(ctx context.Context, req job.EndingsRequest) iter.Seq2[job.Ending, error]
	Logs(ctx context.Context, req job.LogRequest) iter.Seq2[job.Line, error]
	Cancel(ctx context.Context, id job.ID) (job.Summary, error)
}

// Runner runs the command for every input.
type Runner struct {
	Options
	Jobs  Jobs
	Slots int // cores of the nodes that may run it
	Stdin io.Reader
	Out   io.Writer
	Err   io.Writer
	// Pack sends files and returns the ref of a tree with them at the same relative places; Unpack lays one out here.
	Pack   func(ctx context.Context, paths []string) (ref string, err error)
	Unpack func(ctx context.Context, ref string) error
	// Seen is told how far it is; total is 0 while inputs still come.
	Seen func(done, failed, total int)

	line, tag               Template
	transfer, back          []Template
	skip                    map[int]bool
	log                     *os.File
	jobs                    int // submitted
	open                    map[job.ID]bool
	waiting                 map[int]*Outcome // for their turn, with KeepOrder
	turn                    int
	taken, outstanding      int // inputs
	done, failed, succeeded int
	verdict                 int // exit status when halted
	halted                  bool
	allRead                 bool
	ended                   sync.WaitGroup
}

// input is one run to come, or why there is none.
type input struct {
	run Run
	err error
}

// event is what came of a job.
type event struct {
	id   job.ID
	out  *Outcome
	err  error
	over bool
}

// Run returns the exit status: how many runs failed, at most 101, or what --halt says.
func (r *Runner) Run(ctx context.Context) (status int, err error) {
	if err := r.prepare(); err != nil {
		return 0, err
	}
	defer r.ended.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if r.log != nil {
		defer r.log.Close()
	}
	inputs := r.read(ctx)
	if r.DryRun {
		return 0, r.print(inputs)
	}
	err = r.loop(ctx, inputs)
	if err != nil || r.halted && r.Halt.Now {
		r.endAll(context.WithoutCancel(ctx))
	}
	if r.halted && (r.Halt.Now || r.Halt.What == "success") {
		return r.verdict, err
	}
	return exitStatus(r.failed), err
}

func (r *Runner) prepare() (err error) {
	if r.line, err = Parse(strings.Join(r.Command, " ")); err != nil {
		return err
	}
	parse := func(texts []string) (list []Template) {
		for _, text := range texts {
			t, e := Parse(text)
			if e != nil && err == nil {
				err = e
			}
			list = append(list, t)
		}
		return list
	}
	r.transfer, r.back = parse(r.Transfer), parse(r.Return)
	r.tag, _ = Parse("{}")
	r.open, r.waiting, r.turn = map[job.ID]bool{}, map[int]*Outcome{}, 1
	switch {
	case err != nil:
		return err
	case r.Resume != ResumeNone && r.Joblog == "":
		return fault.New(fault.Misused, "--resume needs to be told what was done: --joblog FILE").Hint("bramble each --resume --joblog runs.log …")
	case r.Joblog == "" || r.DryRun:
		return nil
	}
	return r.openLog()
}

func (r *Runner) openLog() (err error) {
	flags := os.O_WRONLY | os.O_CREATE | os.O_TRUNC
	if r.Resume != ResumeNone {
		flags = os.O_WRONLY | os.O_CREATE | os.O_APPEND
		if r.skip, err = readJoblog(r.Joblog, r.Resume); err != nil {
			return err
		}
	}
	if r.log, err = os.OpenFile(r.Joblog, flags, 0o666); err != nil {
		return fault.New(fault.Failed, "--joblog: %w", err).Hint("a file that you may write")
	}
	if info, err := r.log.Stat(); err == nil && info.Size() == 0 {
		_, err = fmt.Fprintln(r.log, joblogHead)
		return err
	}
	return nil
}

// read yields the runs as their inputs come.
func (r *Runner) read(ctx context.Context) <-chan input {
	out := make(chan input)
	go func() { // ends with ctx, or with a reader that never returns, which only a process's end can stop
		defer close(out)
		seq := 0
		for args, err := range r.Inputs(r.Stdin) {
			seq++
			next := input{run: Run{Seq: seq, Args: args}, err: err}
			if err == nil {
				next.run.Line = r.line.Line(args, seq)
				for _, t := range r.transfer {
					next.run.Send = append(next.run.Send, t.Fill(args, seq, false))
				}
				for _, t := range r.back {
					next.run.Receive = append(next.run.Receive, t.Fill(args, seq, false))
				}
			}
			select {
			case out <- next:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}

// print writes the commands.
func (r *Runner) print(inputs <-chan input) error {
	for in := range inputs {
		if in.err != nil {
			return in.err
		}
		if _, err := fmt.Fprintln(r.Out, in.run.Line); err != nil {
			return err
		}
	}
	return nil
}

// loop submits runs as there is room for them, and takes in how they end.
func (r *Runner) loop(ctx context.Context, inputs <-chan input) error {
	events := make(chan event)
	var chunk []Run
	var gathered <-chan time.Time
	due := false // what has gathered goes out though it could be more
	for {
		size := r.chunkSize(r.jobs, r.Slots, r.outstanding)
		if len(chunk) > 0 && size > 0 && !r.halted && (due || r.allRead || len(chunk) >= size || bytesOf(chunk) > maxChunkBytes) {
			if err := r.submit(ctx, chunk, events); err != nil {
				return err
			}
			chunk, gathered, due = nil, nil, false
			continue
		}
		switch {
		case r.halted && (r.Halt.Now || len(r.open) == 0), r.allRead && len(chunk)+len(r.open) == 0:
			return nil
		}
		more := inputs
		if r.halted || len(chunk) >= size || r.outstanding > maxOutstanding {
			more = nil
		}
		select {
		case in, ok := <-more:
			switch {
			case !ok:
				r.allRead, inputs = true, nil
				r.tell()
			case in.err != nil:
				return in.err
			case r.skip[in.run.Seq]:
				r.settle(&Outcome{Run: in.run}, false)
			default:
				chunk = append(chunk, in.run)
				r.taken++
				if gathered == nil {
					gathered = time.After(gather)
				}
			}
		case <-gathered:
			due = true
		case ev := <-events:
			if err := r.take(ev); err != nil {
				return err
			}
		case <-ctx.Done():
			return fault.New(fault.Interrupted, "interrupted; %d of the runs had ended, %d were given up", r.done, r.outstanding+len(chunk)).
				Hint("the same again with --resume --joblog FILE, if there was a --joblog")
		}
	}
}

// endAll cancels the jobs that have not ended.
func (r *Runner) endAll(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for id := range r.open {
		r.Jobs.Cancel(ctx, id)
	}
}
