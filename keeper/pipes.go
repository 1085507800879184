package keeper

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"bramble/fault"
	"bramble/host"
)

// Pipes are the other ends of a task's standard files, for who wants to talk with it while it runs. When they are
// closed the task reads the end of its input, and SIGPIPE ends it when it writes.
type Pipes struct {
	In       *os.File // what is written here the task reads
	Out, Err *os.File // to be read once the task was started
}

// names of the pipes in their folder, in the order of the files that they are for the task.
var pipeNames = [3]string{"0", "1", "2"}

// MakePipes makes a folder for Task.Stdio, to be removed once the task was started. The task's account may open them anew by name.
func MakePipes(dir string, uid, gid int) (p *Pipes, err error) {
	if err := os.Mkdir(dir, 0o711); err != nil {
		return nil, err
	}
	p = &Pipes{}
	for i, f := range []**os.File{&p.In, &p.Out, &p.Err} {
		path := filepath.Join(dir, pipeNames[i])
		err := syscall.Mkfifo(path, 0o600)
		if err == nil && os.Geteuid() == 0 {
			err = os.Lchown(path, uid, gid)
		}
		flag := os.O_RDONLY
		if i == 0 {
			flag = os.O_RDWR // for writing only there would have to be a reader
		}
		if err == nil {
			*f, err = os.OpenFile(path, flag|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
		}
		if err != nil {
			p.Close()
			return nil, fmt.Errorf("make a pipe: %w", err)
		}
	}
	return p, nil
}

// Close closes all that are open.
func (p *Pipes) Close() {
	for _, f := range []*os.File{p.In, p.Out, p.Err} {
		if f != nil {
			f.Close()
		}
	}
}

// openStdio opens the task's ends, which block as a program expects it unless we are to use them ourselves;
// fault.Unreachable when nobody holds the other ones any more.
func openStdio(dir string, ours bool) (files [3]*os.File, err error) {
	for i := range files {
		flag := os.O_WRONLY
		if i == 0 {
			flag = os.O_RDONLY
		}
		files[i], err = os.OpenFile(filepath.Join(dir, pipeNames[i]), flag|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
		if err == nil && !ours {
			err = syscall.SetNonblock(int(files[i].Fd()), false)
		}
		if err != nil {
			closeAll(files)
			return files, fault.New(fault.Unreachable, "whoever wanted to talk with the task has gone: %w", err)
		}
	}
	return files, nil
}

func closeAll(files [3]*os.File) {
	for _, f := range files {
		if f != nil {
			f.Close()
		}
	}
}

// forkTalking starts a task whose standard files are named pipes, or a terminal that they are joined to.
func (r *run) forkTalking(h host.Host, cmd host.Command) error {
	files, err := openStdio(r.task.Stdio, r.task.TTY != nil)
	if err != nil {
		return err
	}
	if cmd.TTY = r.task.TTY; cmd.TTY == nil {
		cmd.Stdin, cmd.Stdout, cmd.Stderr = files[0], files[1], files[2]
	}
	proc, err := h.Start(cmd)
	if err != nil || cmd.TTY == nil {
		closeAll(files)
	}
	if err != nil {
		return err
	}
	if cmd.TTY != nil {
		r.join(proc.Terminal(), files)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.proc, r.talks, r.started = proc, true, time.Now()
	r.limitTime()
	return nil
}

// join carries bytes between a terminal and the pipes until the terminal is closed.
func (r *run) join(tty io.ReadWriter, files [3]*os.File) {
	r.screen = make(chan struct{})
	go func() {
		io.Copy(tty, files[0])
	}()
	go func() {
		defer close(r.screen)
		io.Copy(files[1], tty)
		closeAll(files) // which ends the other copy too
	}()
}

// lastWords waits for what is left on the terminal of a dead tree; a process outside the tree may hold it.
func (r *run) lastWords(proc host.Process) {
	select {
	case <-r.screen:
		return
	case <-time.After(drainTime):
	}
	if tty, ok := proc.Terminal().(io.Closer); ok {
		tty.Close()
	}
}

// resize changes the size of a task's terminal.
func (r *run) resize(size host.Size) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.proc == nil {
		return nil
	}
	return r.proc.Resize(size)
}

// sizeOf reads "WINCH ROWSxCOLS", which Signal takes for a task on a terminal.
func sizeOf(sig string) (size host.Size, ok bool) {
	n, err := fmt.Sscanf(sig, "WINCH %dx%d", &size.Rows, &size.Cols)
	return size, n == 2 && err == nil
}

// ShortPath is another name for a socket whose path is too long for the kernel; it is good until done is called.
func ShortPath(socket string) (path string, done func(), err error) { return shortPath(socket) }
