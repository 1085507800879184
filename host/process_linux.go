package host

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// process is a task that this process started.
type process struct {
	starter *starter
	id      string
	mark    string
	pid     int
	started time.Time
	began   int // the same in ticks after boot; 0 with a group, where it is not needed
	pidfd   int // so that waiting costs no thread; -1 on kernels before 5.3 and once the leader was waited for
	tty     *os.File

	mu     sync.Mutex // holds the pid's meaning: signals go out only while the leader is unreaped
	reaped bool
	status syscall.WaitStatus
	rusage syscall.Rusage
	rss    int64 // bytes, of the largest process
	ended  time.Time

	killing sync.Mutex // held by Kill, and while the group is given back
	group   *group     // nil without one, and once it was found empty
	gone    bool       // nothing of the tree is left
	used    usage
	seen    prey // without a group
}

// killPatience is how long Kill waits for processes to die; only those that hang in the kernel take longer than a moment.
const killPatience = 10 * time.Second

// hangupPatience is how long a terminal's programs have, after SIGHUP, to put things in order.
const hangupPatience = 3 * time.Second

func (p *process) Pid() int { return p.pid }

// Signal sends sig to the group; os.ErrProcessDone once the leader was waited for.
func (p *process) Signal(sig os.Signal) error { return p.signal(-p.pid, sig) }

// SignalLeader sends sig to the command itself, not to what it started; os.ErrProcessDone once it was waited for.
func (p *process) SignalLeader(sig os.Signal) error { return p.signal(p.pid, sig) }

func (p *process) signal(to int, sig os.Signal) error {
	number, ok := sig.(syscall.Signal)
	if !ok {
		return fmt.Errorf("no such signal here: %v", sig)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reaped {
		return os.ErrProcessDone
	}
	err := syscall.Kill(to, number)
	if errors.Is(err, syscall.ESRCH) {
		return os.ErrProcessDone
	}
	return os.NewSyscallError("kill", err)
}

// Kill ends the whole tree and returns when it is dead; the error names what would not die.
// It may be called after Wait, to end what the leader left behind.
func (p *process) Kill() error {
	p.killing.Lock()
	defer p.killing.Unlock()
	if p.gone {
		return nil
	}
	if p.tty != nil {
		p.hangUp()
	}
	left, err := killAll(p.strike, p.id)
	if len(left) == 0 {
		p.settle()
	}
	return err
}

// killAll strikes until nothing is left; the pids are those that outlasted its patience.
func killAll(strike func() []int, id string) ([]int, error) {
	deadline := time.Now().Add(killPatience)
	for pause := 100 * time.Microsecond; ; pause = min(2*pause, 20*time.Millisecond) {
		left := strike()
		if len(left) == 0 {
			return nil, nil
		}
		if time.Now().After(deadline) {
			return left, stuck(id, left)
		}
		time.Sleep(pause)
	}
}

// strike kills what is left of the tree and tells what that was.
func (p *process) strike() []int {
	if p.group != nil {
		left := p.group.members()
		if len(left) > 0 {
			p.group.kill()
		}
		return left
	}
	left := p.survivors()
	for _, pid := range left {
		syscall.Kill(pid, syscall.SIGKILL)
	}
	return left
}

// survivors are found without a control group: by session, descent and mark. While one
// that began after the task is in the middle of exec, its mark is waited for.
func (p *process) survivors() []int {
	for range execLooks {
		all := processes()
		p.mu.Lock()
		reaped := p.reaped
		p.mu.Unlock()
		began := map[int]int{}
		for _, other := range all {
			if other.group != 0 { // else the kernel's own
				began[other.pid], _ = strconv.Atoi(other.began)
			}
		}
		unsettled := false
		tree := treeOf(all, p.pid, os.Getpid(), reaped, func(pid int) bool {
			mark, settled := markOf(pid)
			unsettled = unsettled || !settled && began[pid] >= p.began
			return mark == p.mark
		})
		p.seen.add(all, tree)
		if tree = p.seen.alive(all); len(tree) > 0 || !unsettled {
			return tree
		}
		time.Sleep(execPause)
	}
	return nil
}

// How long an exec is given: program files are read from slow cards. What has no
// environment for longer was started without one.
const (
	execLooks = 20
	execPause = 5 * time.Millisecond
)

// hangUp tells the terminal's programs to go, as closing its window does.
func (p *process) hangUp() {
	p.Signal(syscall.SIGHUP)
	p.Signal(syscall.SIGCONT)
	for end := time.Now().Add(hangupPatience); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if leader, ok := readProc(p.pid); !ok || !leader.alive() {
			return
		}
	}
}

// settle gives an empty group back, with what it counted. The caller holds killing.
func (p *process) settle() {
	p.gone = true
	if p.group != nil {
		p.used = p.group.usage()
		p.group.base.user += p.used.user
		p.group.base.system += p.used.system
		p.starter.groups.release(p.group)
		p.group = nil
	}
}

// Wait returns how the leader ended. MaxRSS is the highest charge of the whole group, page
// cache included, where memory is limited; else the largest process's, which Linux counts from
// before exec, when it still has our memory: what is not above ours is unknown, which is 0.
func (p *process) Wait() Exit {
	p.await()
	p.killing.Lock() // after Kill, the whole tree
	defer p.killing.Unlock()
	used := p.used
	if p.group != nil {
		if len(p.group.members()) == 0 {
			p.settle()
			used = p.used
		} else {
			used = p.group.usage()
		}
	}
	e := Exit{
		Code:   p.status.ExitStatus(),
		Wall:   p.ended.Sub(p.started),
		User:   max(time.Duration(p.rusage.Utime.Nano()), used.user),
		System: max(time.Duration(p.rusage.Stime.Nano()), used.system),
		MaxRSS: cmp.Or(used.peak, p.rss),
	}
	if p.status.Signaled() {
		e.Signal = cmp.Or(unix.SignalName(p.status.Signal()), p.status.Signal().String())
	}
	e.OOM = used.oom && !e.OK()
	return e
}

// EndsWithin reports whether the leader ends within so long. It lends a thread to the wait, which is
// cheaper than Wait for a short task; when many are lent already it reports false at once.
func (p *process) EndsWithin(d time.Duration) bool {
	select {
	case p.starter.lent <- struct{}{}:
		defer func() { <-p.starter.lent }()
	default:
		return false
	}
	if p.pidfd < 0 {
		return false
	}
	for end := time.Now().Add(d); d > 0; d = time.Until(end) {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(p.pidfd), Events: unix.POLLIN}}, int(d.Milliseconds())+1)
		if err != unix.EINTR {
			return n > 0
		}
	}
	return false
}

// await returns when the leader has been reaped.
func (p *process) await() {
	if p.pidfd >= 0 && !p.reap() && unix.SetNonblock(p.pidfd, true) == nil {
		watch := os.NewFile(uintptr(p.pidfd), "pidfd")
		if conn, err := watch.SyscallConn(); err == nil {
			conn.Read(func(uintptr) bool { return p.reap() })
		}
		watch.Close()
	} else if p.pidfd >= 0 {
		unix.Close(p.pidfd)
	}
	p.pidfd = -1
	for !p.reap() {
		unix.Waitid(unix.P_PID, p.pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
	}
}

// reap takes the leader's status if it has ended.
func (p *process) reap() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reaped {
		return true
	}
	pid, err := syscall.Wait4(p.pid, &p.status, syscall.WNOHANG, &p.rusage)
	for errors.Is(err, syscall.EINTR) {
		pid, err = syscall.Wait4(p.pid, &p.status, syscall.WNOHANG, &p.rusage)
	}
	if pid != p.pid && err == nil {
		return false
	}
	if err != nil { // somebody else took the status
		p.status = syscall.WaitStatus(0x7f)
	}
	p.reaped, p.ended = true, time.Now()
	p.rss = p.starter.peak.above(int64(p.rusage.Maxrss) << 10)
	p.starter.reaper.remove(p)
	return true
}

// Terminal is the operator's side; reading ends with io.EOF when no program holds the other.
func (p *process) Terminal() io.ReadWriter {
	if p.tty == nil {
		return nil
	}
	return terminal{p.tty}
}

// Resize changes the terminal's size and tells its programs with SIGWINCH.
func (p *process) Resize(s Size) error {
	if p.tty == nil {
		return nil
	}
	conn, err := p.tty.SyscallConn() // not Fd: it may be closed meanwhile
	if err != nil {
		return err
	}
	var failed error
	err = conn.Control(func(fd uintptr) {
		failed = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: s.Rows, Col: s.Cols})
	})
	return cmp.Or(err, failed)
}

// terminal reads the end of a terminal, which Linux reports as EIO, as the end of a file.
type terminal struct{ f *os.File }

// Close hangs the terminal up, and ends a Read that waits.
func (t terminal) Close() error { return t.f.Close() }

func (t terminal) Write(b []byte) (int, error) { return t.f.Write(b) }

func (t terminal) Read(b []byte) (int, error) {
	n, err := t.f.Read(b)
	if errors.Is(err, syscall.EIO) {
		t.f.Close()
		err = io.EOF
	}
	return n, err
}
