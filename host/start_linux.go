package host

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"os/user"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"bramble/fault"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// starter starts processes. A program that calls Subreaper may have one starter only, for
// it reaps every child that is not its own start.
type starter struct {
	root     string
	accounts *accounts
	groups   *groups
	reaper   reaper
	peak     peak
	lent     chan struct{} // a place for each thread that may wait for a short task
	closed   atomic.Bool
	way      atomic.Int32 // in which children are made
	null     func() (*os.File, error)
	seal     func()                     // keeps files that we inherited from our tasks
	files    func() (unix.Rlimit, bool) // how many files a task may open
	timid    func() bool                // whether the kernel spares us when memory is short, which tasks must not inherit
}

// lentThreads is how many threads wait for short tasks at most: more than such tasks run at a time with a
// slot per core.
const lentThreads = 16

func (s *starter) open(opts RealOptions, accounts *accounts) {
	s.root, s.accounts = opts.Root, accounts
	s.groups = &groups{scope: scopeOf(opts.StateDir), owner: newOwner()}
	s.lent = make(chan struct{}, lentThreads)
	s.null = sync.OnceValues(func() (*os.File, error) { return os.OpenFile(os.DevNull, os.O_RDWR, 0) })
	s.seal = sync.OnceFunc(func() { unix.CloseRange(3, 1<<31-1, unix.CLOSE_RANGE_CLOEXEC) })
	s.files = sync.OnceValues(openFiles)
	handleIgnored()
	s.timid = sync.OnceValue(func() bool {
		score, _ := os.ReadFile("/proc/self/oom_score_adj")
		return strings.HasPrefix(string(score), "-")
	})
}

// handleIgnored puts a handler that does nothing in the place of ignoring the signals that whoever started us had us
// ignore, as nohup does: a task would inherit that, but no handler.
func handleIgnored() {
	for _, sig := range []os.Signal{syscall.SIGHUP, syscall.SIGINT} { // Go itself handles the others
		if signal.Ignored(sig) {
			signal.Notify(make(chan os.Signal, 1), sig)
		}
	}
}

// newOwner names one starter of one process for good: PID-STARTTIME-RANDOM.
func newOwner() string {
	self, _ := readProc(os.Getpid())
	salt := make([]byte, 3)
	rand.Read(salt)
	return fmt.Sprintf("%d-%s-%s", os.Getpid(), cmp.Or(self.began, "0"), hex.EncodeToString(salt))
}

func (s *starter) limits(t *tree) (version int, names []string) { return s.groups.limits(t, s.root) }

// Close ends what Start needed; the processes go on. Start then fails.
func (s *starter) Close() error {
	s.closed.Store(true)
	s.reaper.close()
	s.groups.close()
	if null, err := s.null(); err == nil {
		null.Close()
	}
	return nil
}

// Start starts cmd as the leader of a session of its own. Limits that the machine cannot
// set are left out; Facts.Limits tells which it can.
func (s *starter) Start(cmd Command) (Process, error) {
	if err := checkCommand(cmd); err != nil {
		return nil, err
	}
	if s.closed.Load() {
		return nil, fault.New(fault.Failed, "this host was closed and starts nothing any more")
	}
	account, err := s.runAs(cmd.User)
	if err != nil {
		return nil, err
	}
	s.seal()
	p := &process{starter: s, id: cmd.ID, seen: prey{}, mark: markFor(cmd.ID, s.groups.scope, s.groups.owner)}
	l := &launch{cmd: cmd, account: account, env: withMark(cmd.Env, p.mark)}
	defer l.closeFiles()
	if err := s.wire(l, p); err != nil {
		return nil, err
	}
	if p.group, err = s.groups.take(cmd.ID, cmd.Limits); err != nil {
		return nil, err
	}
	l.group = p.group
	if err = s.launch(l, p); err != nil {
		if p.group != nil {
			s.groups.release(p.group)
		}
		if p.tty != nil {
			p.tty.Close()
		}
		return nil, err
	}
	return p, nil
}

func checkCommand(cmd Command) error {
	switch {
	case len(cmd.Args) == 0 || cmd.Args[0] == "":
		return fault.New(fault.Misused, "no command was given").Hint("bramble run --on all -- hostname")
	case !validID(cmd.ID):
		return fault.New(fault.Misused, "%q cannot name a task: only a–z, 0–9, dot and dash", cmd.ID)
	}
	return nil
}

// runAs is the account that a process must change to; nil when it is our own.
func (s *starter) runAs(name string) (*Account, error) {
	if name == "" {
		return nil, nil
	}
	if os.Geteuid() != 0 {
		if self, err := user.Current(); err == nil && self.Username == name {
			return nil, nil
		}
		return nil, fault.New(fault.Denied, "only root can run a command as %s", name).
			Hint("start bramble's agent as root, or leave the account out")
	}
	account, err := s.accounts.lookup(name)
	if err != nil {
		return nil, err
	}
	return &account, nil
}

// wire decides the child's three files: those of the command, /dev/null, or a terminal.
func (s *starter) wire(l *launch, p *process) error {
	if l.cmd.TTY != nil {
		return l.openTTY(p)
	}
	for i, f := range []*os.File{l.cmd.Stdin, l.cmd.Stdout, l.cmd.Stderr} {
		if f == nil {
			var err error
			if f, err = s.null(); err != nil {
				return fmt.Errorf("open %s: %w", os.DevNull, err)
			}
		}
		l.files[i] = f.Fd() // blocking from here on, as a child expects its files
	}
	return nil
}

func (l *launch) openTTY(p *process) error {
	master, slave, err := pty.Open()
	if err != nil {
		return fault.New(fault.Failed, "no terminal is to be had: %w", err).Hint("mount -t devpts devpts /dev/pts")
	}
	p.tty, l.slave = master, slave
	size := pty.Winsize{Rows: l.cmd.TTY.Rows, Cols: l.cmd.TTY.Cols}
	if err := pty.Setsize(slave, &size); err != nil {
		return fmt.Errorf("set the terminal's size: %w", err)
	}
	if l.account != nil { // so that programs can open it again by name
		slave.Chown(int(l.account.UID), -1)
	}
	l.files = [3]uintptr{slave.Fd(), slave.Fd(), slave.Fd()}
	return nil
}

// launch forks. Where the kernel cannot clone into a group, or somebody has removed
// the group, it forks once more, into the next best.
func (s *starter) launch(l *launch, p *process) error {
	err := s.fork(l, p)
	if gone := l.group.removed(); err != nil && (gone || l.group.inVersion2() && cannotClone(err)) {
		s.groups.drop(l.group)
		if !gone {
			s.groups.disable()
		}
		l.group, p.group = nil, nil
		if p.group, err = s.groups.take(l.cmd.ID, l.cmd.Limits); err != nil {
			return err
		}
		l.group = p.group
		err = s.fork(l, p)
	}
	if err != nil {
		return err
	}
	if s.timid() {
		writeFile("/proc/"+strconv.Itoa(p.pid)+"/oom_score_adj", "0")
	}
	s.reaper.wake()
	return nil
}

func (s *starter) fork(l *launch, p *process) error {
	s.reaper.hold.RLock()
	defer s.reaper.hold.RUnlock()
	err := l.run(s)
	if err == nil {
		p.begin(l)
		s.reaper.add(p)
	}
	return err
}

func cannotClone(err error) bool {
	return errors.Is(err, syscall.ENOSYS) || errors.Is(err, syscall.EOPNOTSUPP) || errors.Is(err, syscall.EBUSY)
}

// launch is one fork and what it needs.
type launch struct {
	cmd      Command
	account  *Account
	env      []string
	files    [3]uintptr
	slave    *os.File // the program's side of a terminal
	group    *group
	pid      int
	pidfd    int
	way      int32
	entering int // the step that enters the folder
}

func (l *launch) closeFiles() {
	if l.slave != nil {
		l.slave.Close()
	}
}

// run forks and executes in the command's folder.
func (l *launch) run(s *starter) error {
	path, err := lookPath(l.cmd.Args[0], l.cmd.Dir, l.env)
	if err != nil {
		return err
	}
	tasks, err := l.group.open()
	if err != nil {
		return fmt.Errorf("join the control group of task %s: %w", l.cmd.ID, err)
	}
	defer closeAll(tasks)
	for {
		at, err := l.play(s, path, tasks)
		switch {
		case err == nil:
			return nil
		case at < 0 && l.way+1 < ways && !l.group.inVersion2() && lacksWay(err):
			s.way.Store(l.way + 1)
			continue
		case at == l.entering && at >= 0 && l.cmd.Dir != "":
			return explainDir(l.cmd.Dir, err)
		}
		return explainExec(path, l.cmd, err)
	}
}

// play makes the child; at is the step that failed.
func (l *launch) play(s *starter, path string, tasks []int) (at int, err error) {
	child := &script{steps: make([]step, 0, 16)}
	if l.way = s.way.Load(); l.way > byClone3 {
		child.forgetHandlers()
	}
	child.join(tasks)
	child.call(unix.SYS_SETSID)
	child.files(l.files)
	if l.slave != nil {
		child.call(unix.SYS_IOCTL, 0, unix.TIOCSCTTY, 1)
	}
	if limit, known := s.files(); known {
		child.limitFiles(limit)
	}
	if l.cmd.Umask > 0 {
		child.call(unix.SYS_UMASK, uintptr(l.cmd.Umask))
	}
	l.entering = len(child.steps)
	if l.cmd.Dir != "" { // before the account changes, which need not be able to reach it
		if err := child.enter(l.cmd.Dir); err != nil {
			return l.entering, err
		}
	}
	if l.account != nil {
		child.become(l.account)
	}
	child.unmask()
	if err := child.execute(path, l.cmd.Args, l.env); err != nil {
		return len(child.steps), err
	}
	group := -1
	if l.group.inVersion2() {
		group = l.group.fd
	}
	l.pid, at, err = child.play(l.way, group)
	l.pidfd = int(child.pidfd)
	return at, err
}

// lacksWay reports whether an error may mean that the kernel does not know the way.
func lacksWay(err error) bool {
	return errors.Is(err, syscall.ENOSYS) || errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.EPERM)
}

func closeAll(files []int) {
	for _, fd := range files {
		unix.Close(fd)
	}
}

// begin fills in what is known once the process runs.
func (p *process) begin(l *launch) {
	p.pid, p.started = l.pid, time.Now()
	if l.group == nil {
		leader, _ := readProc(p.pid)
		p.began, _ = strconv.Atoi(leader.began)
	}
	p.pidfd = l.pidfd
}
