package fan

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"bramble/bus"
	"bramble/host"
)

const (
	// lull is how long a command's output may pause, once it has ended, before it counts as complete:
	// a daemon that it left behind may hold the pipes for ever.
	lull = 250 * time.Millisecond
	// readLeast and readMost are how many bytes are read at a time, at first and once a command says more.
	readLeast, readMost = 512, 32 << 10
	// pipeMost is the most bytes that a pipe can hold when its writer ends, /proc/sys/fs/pipe-max-size.
	pipeMost = 1 << 20
)

// pipes runs a command with its output in two pipes.
func (n *Node) pipes(ctx context.Context, t task, cmd host.Command, report *reporter) (End, error) {
	var files opened
	defer files.close()
	outR, outW := files.pipe()
	errR, errW := files.pipe()
	cmd.Stdout, cmd.Stderr, cmd.Dir = outW, errW, home(cmd.Dir)
	var stdin *os.File
	if t.Stdin {
		cmd.Stdin, stdin = files.pipe()
	}
	if files.err != nil {
		return End{}, fmt.Errorf("open pipes: %w", files.err)
	}
	p, err := start(cmd, n.Host.Start)
	if err != nil {
		return End{}, err
	}
	outW.Close()
	errW.Close()
	if stdin != nil {
		cmd.Stdin.Close()
		report.to.Go(func() { feed(stdin, report.to) })
	}
	var readers sync.WaitGroup
	readers.Go(func() { forward(report, Stdout, outR) })
	readers.Go(func() { forward(report, Stderr, errR) })
	end := wait(ctx, p, t.Timeout, syscall.SIGTERM)
	if end.Timeout || ctx.Err() != nil {
		p.Kill() // what the leader left behind too
	}
	outR.SetReadDeadline(time.Now()) // tells forward that the command has ended
	errR.SetReadDeadline(time.Now())
	readers.Wait()
	return end, nil
}

// teller is a host whose commands need no pipes to be heard: a simulated one.
type teller interface {
	AtOnce(args []string) (exit host.Exit, ok bool)
	Tell(cmd host.Command, stdout, stderr io.Writer) (host.Process, error)
}

// atOnce is how a command ends that says nothing and takes no time.
func atOnce(by teller, args []string) (exit host.Exit, ok bool) {
	direct, _ := words(args)
	return by.AtOnce(direct)
}

// told runs a command whose output the host hands over.
func (n *Node) told(ctx context.Context, t task, cmd host.Command, report *reporter, by teller) (End, error) {
	p, err := start(cmd, func(cmd host.Command) (host.Process, error) {
		return by.Tell(cmd, frames{report, Stdout}, frames{report, Stderr})
	})
	if err != nil {
		return End{}, err
	}
	return wait(ctx, p, t.Timeout, syscall.SIGTERM), nil
}

// frames sends what is written to it as frames of a kind.
type frames struct {
	to   *reporter
	kind Kind
}

func (f frames) Write(b []byte) (int, error) {
	for part := range slices.Chunk(b, readMost) {
		if err := f.to.say(f.kind, part); err != nil {
			return 0, err
		}
	}
	return len(b), nil
}

// opened are files to be closed together, and the first failure to open one.
type opened struct {
	files []*os.File
	err   error
}

func (o *opened) pipe() (r, w *os.File) {
	r, w, err := os.Pipe()
	if err == nil {
		o.files = append(o.files, r, w)
	}
	o.err = errors.Join(o.err, err)
	return r, w
}

// close closes them; closing one again does nothing.
func (o *opened) close() {
	for _, f := range o.files {
		f.Close()
	}
}

// feed writes what the caller sends to the command.
func feed(to *os.File, s *bus.Stream) {
	defer to.Close()
	for data, err := range s.Messages() {
		if err != nil {
			return
		}
		if _, err := to.Write(data); err != nil {
			return
		}
	}
}

// buffers are for forward: most commands say little and end soon.
var buffers = sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }}

// forward sends what is read as frames of the kind. Once the caller has gone it only reads on, so that
// the command does not block; once a deadline has passed it reads what is left in the pipe.
func forward(report *reporter, kind Kind, r io.Reader) {
	pooled := buffers.Get().(*[]byte)
	defer buffers.Put(pooled)
	buf := *pooled
	gone, ended, left := false, false, pipeMost
	for left > 0 {
		k, err := r.Read(buf)
		if k > 0 && !gone {
			gone = report.say(kind, buf[:k]) != nil
		}
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded) && !ended:
			ended = true
		case err != nil:
			return
		}
		if f, ok := r.(*os.File); ok && ended {
			left -= k
			f.SetReadDeadline(time.Now().Add(lull))
		}
	}
}

// wait returns when the command has ended: by itself, at its time limit, or because the caller gave it
// up. In the last two cases it is told to go by the signal, and after Grace made to.
func wait(ctx context.Context, p host.Process, timeout time.Duration, signal syscall.Signal) End {
	exited := make(chan host.Exit, 1)
	go func() { exited <- p.Wait() }()
	var limit <-chan time.Time
	if timeout > 0 {
		timer := time.NewTimer(timeout)
		defer timer.Stop()
		limit = timer.C
	}
	var end End
	select {
	case end.Exit = <-exited:
		return end
	case <-limit:
		end.Timeout = true
		end.Error = fmt.Sprintf("still running after %s, ended", timeout)
	case <-ctx.Done():
	}
	p.Signal(signal)
	p.Signal(syscall.SIGCONT) // a stopped program hears nothing else
	grace := time.NewTimer(Grace)
	defer grace.Stop()
	select {
	case end.Exit = <-exited:
	case <-grace.C:
		p.Kill()
		end.Exit = <-exited
	}
	return end
}

// terminal runs a command on a terminal: messages from the caller are 'i' and input, or 'r' and a size.
// When the caller goes the terminal hangs up, as ssh has it: what was told to survive that survives.
func (n *Node) terminal(ctx context.Context, t task, cmd host.Command, report *reporter) (End, error) {
	cmd.TTY, cmd.Dir = t.TTY, home(cmd.Dir)
	if len(cmd.Args) == 0 {
		cmd.Args = []string{loginShell(cmd.Env), "-l"}
	}
	p, err := n.Host.Start(cmd)
	if err != nil {
		return End{}, err
	}
	tty := p.Terminal()
	s := report.to
	s.Go(func() { keys(s, p, tty) })
	screen := &screen{Reader: tty}
	drained := make(chan struct{})
	s.Go(func() { forward(report, Stdout, screen); close(drained) })
	end := wait(ctx, p, 0, syscall.SIGHUP)
	for {
		select {
		case <-drained:
			return end, nil
		case <-time.After(lull / 5):
		}
		if closer, ok := tty.(io.Closer); ok && screen.quiet() > lull { // a daemon may hold it for ever
			closer.Close()
			return end, nil
		}
	}
}

// screen is a terminal's output, and since when it has had none.
type screen struct {
	io.Reader
	since atomic.Pointer[time.Time]
}

func (s *screen) Read(b []byte) (int, error) {
	now := time.Now()
	s.since.Store(&now)
	defer s.since.Store(nil)
	return s.Reader.Read(b)
}

func (s *screen) quiet() time.Duration {
	if since := s.since.Load(); since != nil {
		return time.Since(*since)
	}
	return 0
}

func keys(s *bus.Stream, p host.Process, tty io.Writer) {
	for data, err := range s.Messages() {
		if err != nil || len(data) == 0 {
			return
		}
		switch data[0] {
		case 'i':
			if _, err := tty.Write(data[1:]); err != nil {
				return
			}
		case 'r':
			var size host.Size
			if json.Unmarshal(data[1:], &size) == nil {
				p.Resize(size)
			}
		}
	}
}
