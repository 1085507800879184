package host

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"bramble/fault"
)

// simProcess is a simulated command: a plan of what it writes, how long it takes and
// how it ends.
type simProcess struct {
	sim      *Sim
	pid      int
	started  time.Time
	killed   chan struct{}
	ended    chan struct{}
	exit     Exit // set before ended is closed
	terminal io.ReadWriter

	mu   sync.Mutex
	sig  syscall.Signal // that killed it
	stop []func()       // what unblocks a read or write
}

// simPlan is what a command does, decided from its arguments.
type simPlan struct {
	output string
	errors string
	copies bool // stdin to stdout
	lasts  time.Duration
	code   int
}

// planSim knows true, false, sleep, echo, hostname, uname, cat and exit; anything else
// exits 127 as a shell does.
func planSim(args []string, f Facts) simPlan {
	name, rest := args[0][strings.LastIndexByte(args[0], '/')+1:], args[1:]
	var operand float64
	if len(rest) > 0 {
		operand, _ = strconv.ParseFloat(rest[0], 64)
	}
	switch name {
	case "true":
		return simPlan{}
	case "false":
		return simPlan{code: 1}
	case "sleep":
		return simPlan{lasts: time.Duration(operand * float64(time.Second))}
	case "echo":
		return simPlan{output: strings.Join(rest, " ") + "\n"}
	case "hostname":
		return simPlan{output: f.Hostname + "\n"}
	case "uname":
		return simPlan{output: simUname(rest, f) + "\n"}
	case "cat":
		return simPlan{copies: true}
	case "exit":
		return simPlan{code: int(operand) & 0xff}
	}
	return simPlan{errors: name + ": this machine is simulated and has no such command\n", code: 127}
}

func simUname(options []string, f Facts) string {
	machine := map[string]string{"armv6": "armv6l", "armv7": "armv7l", "arm64": "aarch64", "amd64": "x86_64"}[f.Arch]
	switch strings.Join(options, " ") {
	case "-a":
		return "Linux " + f.Hostname + " " + f.Kernel + " #1 SMP " + machine + " GNU/Linux"
	case "-r":
		return f.Kernel
	case "-m":
		return machine
	case "-n":
		return f.Hostname
	}
	return "Linux"
}

// Start runs one of the simulated commands.
func (s *Sim) Start(cmd Command) (Process, error) {
	p, plan, err := s.process(cmd)
	if err != nil {
		return nil, err
	}
	in, out, errs, err := p.wire(cmd, plan)
	if err != nil {
		return nil, err
	}
	s.enter(p)
	go p.run(plan, in, out, errs)
	return p, nil
}

// Tell runs a command that reads nothing and whose output is handed over, not written to files: no kernel is needed
// for what never was a process. What takes no time has ended when Tell returns.
func (s *Sim) Tell(cmd Command, stdout, stderr io.Writer) (Process, error) {
	p, plan, err := s.process(cmd)
	if err != nil {
		return nil, err
	}
	s.enter(p)
	out, errs := keptOpen{stdout}, keptOpen{stderr}
	if plan.lasts > 0 {
		go p.run(plan, devNull{}, out, errs)
		return p, nil
	}
	plan.perform(devNull{}, out, errs)
	p.finish(plan)
	return p, nil
}

// keptOpen is for a reader to whom its end is told otherwise.
type keptOpen struct{ io.Writer }

func (keptOpen) Close() error { return nil }

func (s *Sim) process(cmd Command) (*simProcess, simPlan, error) {
	if len(cmd.Args) == 0 || cmd.Args[0] == "" {
		return nil, simPlan{}, fault.New(fault.Misused, "no command was given").Hint("bramble run --on all -- hostname")
	}
	p := &simProcess{sim: s, started: time.Now(), killed: make(chan struct{}), ended: make(chan struct{})}
	return p, planSim(cmd.Args, s.facts), nil
}

func (s *Sim) enter(p *simProcess) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pid++
	p.pid = s.pid
	s.running[p] = true
}

// wire takes copies of the files that the plan uses, and of no others: thousands sleep at a time.
func (p *simProcess) wire(cmd Command, plan simPlan) (in io.ReadCloser, out, errs io.WriteCloser, err error) {
	if cmd.TTY != nil {
		theirs, ours := newSimTerminal()
		p.terminal = theirs
		p.stop = append(p.stop, func() { ours.Close() })
		return ours, ours, ours, nil
	}
	var e1, e2, e3 error
	var files [3]*os.File
	if plan.copies {
		files[0], e1 = p.copyOf(cmd.Stdin)
	}
	if plan.copies || plan.output != "" {
		files[1], e2 = p.copyOf(cmd.Stdout)
	}
	if plan.errors != "" {
		files[2], e3 = p.copyOf(cmd.Stderr)
	}
	if err := errors.Join(e1, e2, e3); err != nil {
		for _, f := range files {
			f.Close() // nil is fine
		}
		return nil, nil, nil, fmt.Errorf("start a simulated command: %w", err)
	}
	return orNull(files[0]), orNull(files[1]), orNull(files[2]), nil
}

// orNull stands in for a file that was not given.
func orNull(f *os.File) io.ReadWriteCloser {
	if f == nil {
		return devNull{}
	}
	return f
}

// devNull reads and writes as /dev/null does.
type devNull struct{}

func (devNull) Read([]byte) (int, error)    { return 0, io.EOF }
func (devNull) Write(b []byte) (int, error) { return len(b), nil }
func (devNull) Close() error                { return nil }

// copyOf duplicates a file as a child would hold it; a nil file stays nil.
func (p *simProcess) copyOf(f *os.File) (*os.File, error) {
	if f == nil {
		return nil, nil
	}
	conn, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	var fd int
	var dupErr error
	err = conn.Control(func(old uintptr) { fd, dupErr = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0) })
	if err := errors.Join(err, os.NewSyscallError("dup", dupErr)); err != nil {
		return nil, err
	}
	dup := os.NewFile(uintptr(fd), f.Name())
	p.stop = append(p.stop, func() { dup.SetDeadline(time.Unix(1, 0)) })
	return dup, nil
}

func (p *simProcess) run(plan simPlan, in io.ReadCloser, out, errs io.WriteCloser) {
	finished := make(chan struct{})
	go func() { // a write into a full pipe may block for good; a kill does not wait for it
		defer close(finished)
		plan.perform(in, out, errs)
	}()
	timer := time.NewTimer(plan.lasts)
	defer timer.Stop()
	select {
	case <-finished:
		select {
		case <-timer.C:
		case <-p.killed:
		}
	case <-p.killed:
	}
	p.finish(plan)
}

// finish makes the process one that has ended.
func (p *simProcess) finish(plan simPlan) {
	p.exit = plan.exit()
	select {
	case <-p.killed:
		p.exit.Code, p.exit.Signal = -1, signalName(p.sig)
	default:
	}
	p.exit.Wall = time.Since(p.started)
	p.sim.mu.Lock()
	delete(p.sim.running, p)
	p.sim.mu.Unlock()
	close(p.ended)
}

// exit is how the command ends unless it is killed.
func (plan simPlan) exit() Exit {
	return Exit{Code: plan.code, User: time.Millisecond, System: time.Millisecond, MaxRSS: 1 << 20}
}

// perform writes what the command writes, and closes its files as an ending process does.
func (plan simPlan) perform(in io.ReadCloser, out, errs io.WriteCloser) {
	defer in.Close()
	defer out.Close()
	defer errs.Close()
	if plan.output != "" { // an empty write to a simulated terminal waits for a reader
		io.WriteString(out, plan.output)
	}
	if plan.errors != "" {
		io.WriteString(errs, plan.errors)
	}
	if plan.copies {
		io.Copy(out, in)
	}
}

func signalName(sig syscall.Signal) string {
	names := map[syscall.Signal]string{syscall.SIGKILL: "SIGKILL", syscall.SIGTERM: "SIGTERM",
		syscall.SIGINT: "SIGINT", syscall.SIGHUP: "SIGHUP", syscall.SIGQUIT: "SIGQUIT"}
	return first(names[sig], sig.String())
}

func (p *simProcess) Pid() int                { return p.pid }
func (p *simProcess) Terminal() io.ReadWriter { return p.terminal }
func (p *simProcess) Resize(Size) error       { return nil }
func (p *simProcess) Kill() error             { p.end(syscall.SIGKILL); <-p.ended; return nil }
func (p *simProcess) Wait() Exit              { <-p.ended; return p.exit }

// EndsWithin is Process's.
func (p *simProcess) EndsWithin(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-p.ended:
		return true
	case <-timer.C:
		return false
	}
}

// Signal ends the command if the signal is one that ends programs.
func (p *simProcess) Signal(sig os.Signal) error {
	select {
	case <-p.ended:
		return os.ErrProcessDone
	default:
	}
	switch number, _ := sig.(syscall.Signal); number {
	case syscall.SIGKILL, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT:
		p.end(number)
	}
	return nil
}

func (p *simProcess) end(sig syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sig != 0 {
		return
	}
	p.sig = sig
	close(p.killed)
	for _, stop := range p.stop {
		stop()
	}
}

// simTerminal is one end of a terminal without a kernel.
type simTerminal struct {
	*io.PipeReader
	*io.PipeWriter
}

func newSimTerminal() (theirs, ours simTerminal) {
	r1, w1 := io.Pipe()
	r2, w2 := io.Pipe()
	return simTerminal{r1, w2}, simTerminal{r2, w1}
}

// Close closes both directions.
func (t simTerminal) Close() error {
	t.PipeReader.Close()
	return t.PipeWriter.Close()
}
