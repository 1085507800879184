package keeper

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"syscall"

	"bramble/fault"
	"bramble/host"
)

// What a keeper that Ensure started says on its standard output.
const (
	ready = "ready\n" // it answers
	taken = "taken\n" // another one has the spool
)

// gcPercent lets the heap grow in a burst of tasks, of which each leaves some kilobytes; Rest makes it small again.
const gcPercent = 200

// Main is the keeper process. It returns when ctx is done or SIGTERM or SIGINT came, and its tasks have ended:
// the keeper outlives the agent, not an order to stop. fault.Conflict when the spool has a keeper already.
// Once it answers it says so on out, which it closes; Ensure waits for that.
func Main(ctx context.Context, o Options, out *os.File) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := os.MkdirAll(o.Spool, 0o700); err != nil {
		return err
	}
	lock, err := lockSpool(o.Spool)
	if fault.Is(err, fault.Conflict) {
		out.WriteString(taken)
	}
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := host.Subreaper(); err != nil {
		return err
	}
	if err := host.NoCores(); err != nil {
		return err
	}
	if err := host.BoundProcesses(); err != nil {
		return err
	}
	debug.SetGCPercent(gcPercent)
	runtime.GOMAXPROCS(2*runtime.NumCPU() + 2) // a thread that waits for a short task keeps its place
	if o.Rest == nil {
		o.Rest = rest
	}
	local, err := Open(o)
	if err != nil {
		return err
	}
	local.Log.Info("the keeper answers", "pid", os.Getpid(), "protocol", Protocol)
	return local.runAndServe(ctx, func() {
		out.WriteString(ready)
		out.Close()
	})
}

// rest gives memory back to the system. Pools let go at the second collection.
func rest() {
	runtime.GC()
	debug.FreeOSMemory()
}

// runAndServe answers on the socket until the keeper has ended its tasks.
func (l *Local) runAndServe(ctx context.Context, answers func()) error {
	listener, err := listen(l.Socket)
	if err != nil {
		l.close()
		return fmt.Errorf("answering on %s: %w", l.Socket, err)
	}
	served := make(chan error, 1)
	serving, end := context.WithCancel(context.WithoutCancel(ctx))
	go func() { served <- serve(serving, l, listener) }()
	answers()
	err = l.Run(ctx)
	end()
	os.Remove(l.Socket)
	return errors.Join(err, <-served)
}

// lockSpool holds the spool for one keeper at a time, until the file is closed or the process ends.
func lockSpool(spool string) (*os.File, error) {
	lock, err := os.OpenFile(filepath.Join(spool, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		return lock, nil
	}
	lock.Close()
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, fault.New(fault.Conflict, "another keeper has the spool %s", spool)
	}
	return nil, fmt.Errorf("locking the spool %s: %w", spool, err)
}
