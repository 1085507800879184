package host_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"bramble/fault"
	"bramble/host"
)

// TestMain also plays the keepers that tests kill, and the programs they run.
func TestMain(m *testing.M) {
	if role := os.Getenv("HOST_TEST_ROLE"); role != "" {
		os.Exit(play(role))
	}
	os.Exit(m.Run())
}

// newHost is a host of its own for a test, which must leave nothing running.
func newHost(t *testing.T) *host.Real {
	t.Helper()
	h := host.NewReal(host.RealOptions{StateDir: t.TempDir()})
	t.Cleanup(func() { h.Close() })
	return h
}

func sh(script string) host.Command {
	return host.Command{ID: "t", Args: []string{"sh", "-c", script}, Env: []string{"PATH=/usr/bin:/bin"}, Umask: -1}
}

// alive reports whether a process runs, zombies not counted.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return rest != "" && rest[0] != 'Z' && rest[0] != 'X'
}

// pidIn waits for a program to write its number into a file.
func pidIn(t *testing.T, path string) (pid int) {
	t.Helper()
	eventually(t, "a number in "+path, func() bool {
		data, _ := os.ReadFile(path)
		if !strings.HasSuffix(string(data), "\n") {
			return false
		}
		pid, _ = strconv.Atoi(strings.TrimSpace(string(data)))
		return pid > 0
	})
	return pid
}

func TestExits(t *testing.T) {
	h := newHost(t)
	cases := []struct {
		script, out, err string
		code             int
		signal           string
	}{
		{"exit 0", "", "", 0, ""},
		{"echo out; echo err >&2; exit 7", "out\n", "err\n", 7, ""},
		{"kill -TERM $$", "", "", -1, "SIGTERM"},
		{"kill -KILL $$", "", "", -1, "SIGKILL"},
		{"cat", "", "", 0, ""}, // stdin is /dev/null
		{`[ "$(cut -d' ' -f5,6 /proc/$$/stat)" = "$$ $$" ] && echo leader`, "leader\n", "", 0, ""},
		{"env | grep -v -e ^PWD= -e ^_= -e ^SHLVL= -e ^OLDPWD= | sed 's/@.*//' | sort", "BRAMBLE_TASK=t\nPATH=/usr/bin:/bin\n", "", 0, ""},
		{"ls /proc/self/fd | wc -l", "4\n", "", 0, ""}, // the three, and ls's own
	}
	for _, c := range cases {
		r := run(t, h, sh(c.script))
		if r.out != c.out || r.err != c.err || r.exit.Code != c.code || r.exit.Signal != c.signal || r.exit.OOM {
			t.Errorf("%s: got %+v", c.script, r)
		}
		if r.exit.OK() != (c.code == 0) {
			t.Errorf("%s: OK is %v", c.script, r.exit.OK())
		}
	}
}

func TestStdin(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	go func() { io.WriteString(w, "hello"); w.Close() }()
	cmd := sh("tr a-z A-Z")
	cmd.Stdin = r
	if got := run(t, newHost(t), cmd); got.out != "HELLO" {
		t.Errorf("got %+v", got)
	}
}

func TestCPUTimeCountsDaemons(t *testing.T) {
	h := newHost(t)
	// An orphan in a session of its own: wait4 never tells of it.
	done := filepath.Join(t.TempDir(), "done")
	r := run(t, h, sh(`(setsid sh -c 'i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; echo > `+done+`' &); while [ ! -s `+done+` ]; do sleep 0.01; done`))
	if !r.exit.OK() {
		t.Fatalf("%+v", r)
	}
	if cgroupV2() && r.exit.User < 20*time.Millisecond {
		t.Errorf("user time %v", r.exit.User)
	}
	if r.exit.Wall <= 0 {
		t.Errorf("%+v", r.exit)
	}
}

// cgroupV2 reports whether root can make version 2 groups here, which count daemons too.
func cgroupV2() bool {
	for _, dir := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		if _, err := os.Stat(dir + "/cgroup.controllers"); err == nil && os.Geteuid() == 0 {
			return true
		}
	}
	return false
}

func TestMaxRSS(t *testing.T) {
	// Our own peak, which another test may have raised above what awk needs.
	debug.FreeOSMemory()
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
		t.Fatal(err)
	}
	// Some 80 MB in one string of awk's.
	r := run(t, newHost(t), sh(`awk 'BEGIN { s = "x"; while (length(s) < 40000000) s = s s; print length(s) > "/dev/null" }'`))
	if r.exit.MaxRSS < 60<<20 || r.exit.MaxRSS > 1<<30 {
		t.Errorf("%+v", r.exit)
	}
}

// daemons are scripts whose offspring leaves the leader's group, session and descent.
var daemons = map[string]string{
	"in the session":            `sleep 1000 & echo $! > $F; wait`,
	"in another session":        `setsid sh -c 'echo $$ > $F; exec sleep 1000' & wait`,
	"orphaned, another session": `(setsid sh -c 'echo $$ > $F; exec sleep 1000' &) ; sleep 1000`,
	"leader gone":               `(setsid sh -c 'echo $$ > $F; exec sleep 1000' &) ; while [ ! -s $F ]; do sleep 0.01; done`,
	"deaf to signals":           `trap '' TERM HUP INT; echo $$ > $F; while :; do sleep 0.1; done`,
	"forking on and on":         `echo $$ > $F; while :; do sleep 0.01 & sleep 0.001; done`,
}

func TestKillEndsTheWholeTree(t *testing.T) {
	for what, script := range daemons {
		t.Run(what, func(t *testing.T) {
			h := newHost(t)
			file := filepath.Join(t.TempDir(), "pid")
			p, err := h.Start(host.Command{ID: "t", Args: []string{"/bin/sh", "-c", script}, Env: []string{"F=" + file}})
			if err != nil {
				t.Fatal(err)
			}
			pid := pidIn(t, file)
			if what == "leader gone" {
				if e := p.Wait(); !e.OK() {
					t.Fatalf("%+v", e)
				}
				if !alive(pid) {
					t.Fatal("the daemon died with its leader")
				}
			}
			if err := p.Kill(); err != nil {
				t.Fatal(err)
			}
			if alive(pid) || len(bearing(file)) > 0 {
				t.Errorf("%d lives on, or one of %v", pid, bearing(file))
			}
			if what != "leader gone" {
				if e := p.Wait(); e.Signal != "SIGKILL" || e.Code != -1 || e.OOM {
					t.Errorf("%+v", e)
				}
			}
			if err := p.Kill(); err != nil {
				t.Error(err)
			}
		})
	}
}

// bearing lists the living processes that have a text in their environment.
func bearing(text string) (pids []int) {
	files, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, f := range files {
		data, _ := os.ReadFile(f)
		pid, _ := strconv.Atoi(strings.Split(f, "/")[2])
		if bytes.Contains(data, []byte(text)) && alive(pid) && pid != os.Getpid() {
			pids = append(pids, pid)
		}
	}
	return pids
}

func TestSignalReachesTheGroup(t *testing.T) {
	h := newHost(t)
	dir := t.TempDir()
	p, err := h.Start(sh(`trap 'echo got > ` + dir + `/parent; wait; exit 3' TERM
		sh -c 'trap "echo got > ` + dir + `/child; exit" TERM; echo $$ > ` + dir + `/pid; while :; do sleep 0.01; done' & wait`))
	if err != nil {
		t.Fatal(err)
	}
	pidIn(t, dir+"/pid")
	if err := p.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if e := p.Wait(); e.Code != 3 {
		t.Errorf("%+v", e)
	}
	for _, who := range []string{"parent", "child"} {
		if _, err := os.Stat(filepath.Join(dir, who)); err != nil {
			t.Errorf("the %s got no signal", who)
		}
	}
	if err := p.Signal(syscall.SIGTERM); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("a signal after the end: %v", err)
	}
}

func TestMemoryLimit(t *testing.T) {
	needRoot(t)
	h := newHost(t)
	cmd := sh(`awk 'BEGIN { s = "x"; while (length(s) < 200000000) s = s s }'`)
	cmd.Limits.Memory = 32 << 20
	r := run(t, h, cmd)
	if !r.exit.OOM || r.exit.OK() {
		t.Errorf("%+v", r)
	}
	if r.exit.MaxRSS > 40<<20 {
		t.Errorf("used %d bytes", r.exit.MaxRSS)
	}
	cmd = sh("exit 1")
	cmd.Limits.Memory = 32 << 20
	if r := run(t, h, cmd); r.exit.OOM || r.exit.Code != 1 {
		t.Errorf("a failure for another reason: %+v", r)
	}
}

func TestPIDsLimit(t *testing.T) {
	needRoot(t)
	h := newHost(t)
	cmd := sh(`i=0; while [ $i -lt 20 ]; do sleep 30 & i=$((i+1)); echo $i; done; sleep 30`)
	cmd.Limits.PIDs = 5
	r := run(t, h, cmd)
	if n := strings.Count(r.out, "\n"); n < 4 || n > 5 || r.exit.OK() { // one more in version 1, if it is quick
		t.Errorf("%d children beside the shell: %+v", n, r)
	}
	one := host.Command{ID: "one", Args: []string{"/bin/true"}, Limits: host.Limits{PIDs: 1}}
	if r := run(t, h, one); !r.exit.OK() {
		t.Errorf("one process of one: %+v", r)
	}
}

func TestCPULimit(t *testing.T) {
	needRoot(t)
	h := newHost(t)
	cmd := sh(`while :; do :; done`)
	cmd.Limits.CPUs = 0.1
	p, err := h.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second)
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	e := p.Wait()
	// A tenth of a core, one period more for each processor, and room for a busy machine.
	if used, most := e.User+e.System, e.Wall/10+400*time.Millisecond; used > most || used <= 0 {
		t.Errorf("used %v of %v", used, e.Wall)
	}
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("limits and accounts need root")
	}
}

func TestFolderThatTheAccountCannotReachByPath(t *testing.T) {
	needRoot(t)
	h := newHost(t)
	closed := t.TempDir()
	inside := filepath.Join(closed, "inside")
	if err := errors.Join(os.Mkdir(inside, 0o700), os.Chown(inside, 65534, 65534), os.Chmod(closed, 0o700)); err != nil {
		t.Fatal(err)
	}
	cmd := sh(`id -un; id -u; id -Gn; echo here > file; ls`)
	cmd.User, cmd.Dir, cmd.Umask = "nobody", inside, 0o027
	r := run(t, h, cmd)
	if r.out != "nobody\n65534\nnogroup\nfile\n" || !r.exit.OK() {
		t.Fatalf("%+v", r)
	}
	info, err := os.Stat(filepath.Join(inside, "file"))
	if err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("mode %v, error %v", info.Mode(), err)
	}
	if wd, _ := os.Getwd(); strings.HasPrefix(wd, closed) {
		t.Errorf("the test itself moved to %s", wd)
	}
}

func TestUmask(t *testing.T) {
	h := newHost(t)
	old := syscall.Umask(0o022)
	defer syscall.Umask(old)
	for umask, want := range map[int]string{0o077: "0077\n", 0o002: "0002\n", -1: "0022\n", 0: "0022\n"} {
		cmd := sh("umask")
		cmd.Umask = umask
		if r := run(t, h, cmd); r.out != want {
			t.Errorf("umask %o: got %q", umask, r.out)
		}
	}
	if now := syscall.Umask(0o022); now != 0o022 {
		t.Errorf("the test's own umask became %o", now)
	}
}

func TestUsers(t *testing.T) {
	needRoot(t)
	h := newHost(t)
	cmd := sh("id -u")
	cmd.User = "no-such-account"
	if _, err := h.Start(cmd); !fault.Is(err, fault.NotFound) {
		t.Error(err)
	}
	cmd.User = "root"
	if r := run(t, h, cmd); r.out != "0\n" {
		t.Errorf("%+v", r)
	}
}

func TestTTY(t *testing.T) {
	h := newHost(t)
	cmd := sh(`stty size; tty >/dev/null && : > /dev/tty && echo terminal; read line; echo "got $line"; stty size`)
	cmd.TTY = &host.Size{Rows: 33, Cols: 101}
	p, err := h.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	term := p.Terminal()
	var seen strings.Builder
	read := func(until string) {
		buf := make([]byte, 1024)
		for !strings.Contains(seen.String(), until) {
			n, err := term.Read(buf)
			seen.Write(buf[:n])
			if err != nil {
				t.Fatalf("after %q: %v", seen.String(), err)
			}
		}
	}
	read("terminal")
	if err := p.Resize(host.Size{Rows: 10, Cols: 20}); err != nil {
		t.Fatal(err)
	}
	io.WriteString(term, "hello\n")
	rest, err := io.ReadAll(term)
	if err != nil {
		t.Fatal(err)
	}
	seen.Write(rest)
	for _, want := range []string{"33 101", "got hello", "10 20"} {
		if !strings.Contains(seen.String(), want) {
			t.Errorf("no %q in %q", want, seen.String())
		}
	}
	if e := p.Wait(); !e.OK() {
		t.Errorf("%+v", e)
	}
}

func TestKillHangsATerminalUp(t *testing.T) {
	h := newHost(t)
	file := filepath.Join(t.TempDir(), "hup")
	cmd := sh(`trap 'echo hup > ` + file + `; exit 0' HUP; echo ready; while :; do sleep 0.01; done`)
	cmd.TTY = &host.Size{Rows: 24, Cols: 80}
	p, err := h.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	p.Terminal().Read(make([]byte, 10))
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	if e := p.Wait(); !e.OK() {
		t.Errorf("%+v", e)
	}
	if _, err := os.Stat(file); err != nil {
		t.Error("no SIGHUP came")
	}
}

func TestWhatCannotBeStarted(t *testing.T) {
	h := newHost(t)
	dir := t.TempDir()
	write := func(name, content string, mode fs.FileMode) string {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.WriteFile(path, []byte(content), mode), os.Chmod(path, mode)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	foreign := write("foreign", foreignELF(t), 0o755)
	write("noexec", "#!/bin/sh\n", 0o644)
	cases := []struct {
		cmd  host.Command
		code fault.Code
		text []string
	}{
		{host.Command{Args: nil}, fault.Misused, []string{"no command"}},
		{host.Command{ID: "../up", Args: []string{"true"}}, fault.Misused, []string{"../up"}},
		{host.Command{Args: []string{"no-such-program"}, Env: []string{"PATH=/usr/bin:/bin"}}, fault.NotFound, []string{`"no-such-program"`, "/usr/bin:/bin"}},
		{host.Command{Args: []string{"noexec"}, Env: []string{"PATH=" + dir}}, fault.Denied, []string{"not executable"}},
		{host.Command{Args: []string{dir + "/nothing"}}, fault.NotFound, []string{dir + "/nothing"}},
		{host.Command{Args: []string{"./nothing"}, Dir: dir}, fault.NotFound, []string{"./nothing"}},
		{host.Command{Args: []string{dir}}, fault.Denied, []string{"is a folder"}},
		{host.Command{Args: []string{dir + "/noexec"}}, fault.Denied, []string{"not executable"}},
		{host.Command{Args: []string{dir + "/noexec/x"}}, fault.NotFound, []string{"not a folder"}},
		{host.Command{Args: []string{foreign}}, fault.Failed, []string{"built for s390", "this machine is " + runtime.GOARCH}},
		{host.Command{Args: []string{write("plain", "echo hello\n", 0o755)}}, fault.Failed, []string{"first line"}},
		{host.Command{Args: []string{write("dos", "#!/bin/sh\r\necho\r\n", 0o755)}}, fault.NotFound, []string{"Windows"}},
		{host.Command{Args: []string{write("odd", "#!/no/such/python -u\n", 0o755)}}, fault.NotFound, []string{"needs /no/such/python,"}},
		{host.Command{Args: []string{write("rubbish", "\x00\x01\x02", 0o755)}}, fault.Failed, []string{"no program"}},
		{host.Command{Args: []string{"true"}, Dir: dir + "/gone"}, fault.NotFound, []string{"no folder", dir + "/gone"}},
		{host.Command{Args: []string{"true"}, Dir: foreign}, fault.Misused, []string{"not a folder"}},
		{host.Command{Args: []string{"true", "a\x00b"}}, fault.Misused, []string{"zero byte"}},
		{host.Command{Args: []string{"true", strings.Repeat("x", 4<<20)}}, fault.Misused, []string{"too long"}},
	}
	for _, c := range cases {
		if c.cmd.ID == "" {
			c.cmd.ID = "t"
		}
		_, err := h.Start(c.cmd)
		if !fault.Is(err, c.code) {
			t.Errorf("%.100q: got %v", c.cmd.Args, err)
			continue
		}
		for _, text := range c.text {
			if !strings.Contains(err.Error(), text) {
				t.Errorf("no %q in %q", text, err)
			}
		}
	}
	// What failed to start must not stand in the way of what follows.
	if r := run(t, h, sh("echo fine")); r.out != "fine\n" {
		t.Errorf("%+v", r)
	}
}

// foreignELF is the header of a program for an IBM mainframe.
func foreignELF(t *testing.T) string {
	t.Helper()
	h := make([]byte, 64)
	copy(h, "\x7fELF\x02\x02\x01")
	h[17], h[19], h[23] = 2, 22, 1 // an executable, EM_S390, version
	h[53], h[55], h[57] = 64, 56, 0
	return string(h)
}

func TestProgramInTheFolder(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "prog"), []byte("#!/bin/sh\necho \"$0 $1\"\npwd\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	h := newHost(t)
	for _, cmd := range []host.Command{
		{ID: "t", Args: []string{"./prog", "x"}, Dir: dir},
		{ID: "t", Args: []string{"prog", "x"}, Dir: dir, Env: []string{"PATH=:/bin"}},
	} {
		if r := run(t, h, cmd); !strings.HasSuffix(r.out, "prog x\n"+dir+"\n") {
			t.Errorf("%+v", r)
		}
	}
}

func TestManyAtOnce(t *testing.T) {
	h := newHost(t)
	run(t, h, sh("true")) // opens what the runtime keeps open ever after
	h.Close()
	h = newHost(t)
	files := countFiles()
	before := runtime.NumGoroutine()
	dirs := make([]string, 200)
	for i := range dirs {
		dirs[i] = t.TempDir()
	}
	var all sync.WaitGroup
	for i, dir := range dirs {
		all.Go(func() {
			cmd := host.Command{ID: fmt.Sprintf("m.%d", i), Args: []string{"sh", "-c", "pwd > out; umask >> out; exit " + strconv.Itoa(i%100)},
				Env: []string{"PATH=/usr/bin:/bin"}, Dir: dir, Umask: 0o20 + i%8}
			if i%10 == 0 && os.Geteuid() == 0 {
				cmd.Limits = host.Limits{Memory: 64 << 20, PIDs: 50, CPUs: 1}
			}
			p, err := h.Start(cmd)
			if err != nil {
				t.Error(err)
				return
			}
			e := p.Wait()
			out, _ := os.ReadFile(filepath.Join(dir, "out"))
			if want := fmt.Sprintf("%s\n%04o\n", dir, 0o20+i%8); e.Code != i%100 || string(out) != want {
				t.Errorf("%d: got %+v, %q", i, e, out)
			}
		})
	}
	all.Wait()
	h.Close()
	eventually(t, "no more goroutines, threads and files than before", func() bool {
		return runtime.NumGoroutine() <= before && countFiles() <= files
	})
	if left := ourGroups(); len(left) > 0 {
		t.Errorf("groups left: %q", left)
	}
	if _, err := h.Start(sh("true")); err == nil {
		t.Error("a closed host started something")
	}
}

// TestThreadsEnd would see a hundred threads if those that fork outlived their host.
func TestThreadsEnd(t *testing.T) {
	count := func() int { tasks, _ := os.ReadDir("/proc/self/task"); return len(tasks) }
	before := count()
	for range 50 {
		h := host.NewReal(host.RealOptions{StateDir: t.TempDir()})
		var both sync.WaitGroup
		for _, id := range []string{"a", "b"} {
			both.Go(func() {
				if p, err := h.Start(host.Command{ID: id, Args: []string{"/bin/true"}}); err == nil {
					p.Wait()
				}
			})
		}
		both.Wait()
		h.Close()
	}
	eventually(t, "hardly more threads than before", func() bool { return count() < before+20 })
}

// ourGroups are the control group folders that this test process made.
func ourGroups() []string {
	var found []string
	for _, pattern := range []string{"/sys/fs/cgroup/bramble/*/%d-*", "/sys/fs/cgroup/*/bramble/*/%d-*"} {
		dirs, _ := filepath.Glob(fmt.Sprintf(pattern, os.Getpid()))
		found = append(found, dirs...)
	}
	return slices.Compact(found)
}

func TestLeftoversOfADeadKeeper(t *testing.T) {
	for _, limits := range []bool{false, true} {
		t.Run(fmt.Sprintf("limits %v", limits), func(t *testing.T) {
			dir := t.TempDir()
			keeper := exec.Command("/proc/self/exe")
			keeper.Env = append(os.Environ(), "HOST_TEST_ROLE=keeper", "HOST_TEST_DIR="+dir, fmt.Sprintf("HOST_TEST_LIMITS=%v", limits))
			keeper.Stderr = os.Stderr
			if err := keeper.Start(); err != nil {
				t.Fatal(err)
			}
			pids := []int{pidIn(t, dir+"/7.1.1"), pidIn(t, dir+"/7.2.1")}
			h := host.NewReal(host.RealOptions{StateDir: dir})
			defer h.Close()
			if ids, err := h.Leftovers(""); err != nil || len(ids) != 0 {
				t.Errorf("while the keeper lives: %q, %v", ids, err)
			}
			keeper.Process.Kill()
			keeper.Wait()
			stranger := newHost(t)
			if ids, _ := stranger.Leftovers(""); len(ids) != 0 {
				t.Errorf("another state folder's: %q", ids)
			}
			if ids, err := h.Leftovers("7."); err != nil || !slices.Equal(ids, []string{"7.1.1", "7.2.1"}) {
				t.Fatalf("got %q, %v", ids, err)
			}
			if ids, _ := h.Leftovers("8."); len(ids) != 0 {
				t.Errorf("with another prefix: %q", ids)
			}
			p, err := h.Adopt("7.1.1")
			if err != nil {
				t.Fatal(err)
			}
			if err := p.Kill(); err != nil {
				t.Fatal(err)
			}
			if e := p.Wait(); e.OK() || e.Code != -1 {
				t.Errorf("%+v", e)
			}
			if alive(pids[0]) || !alive(pids[1]) {
				t.Errorf("alive: %v, %v", alive(pids[0]), alive(pids[1]))
			}
			q, err := h.Adopt("7.2.1")
			if err != nil {
				t.Fatal(err)
			}
			if err := q.Signal(syscall.SIGTERM); err != nil {
				t.Error(err)
			}
			q.Wait()
			if alive(pids[1]) {
				t.Error("it outlived SIGTERM")
			}
			if _, err := h.Adopt("7.1.1"); !fault.Is(err, fault.NotFound) {
				t.Errorf("adopted twice: %v", err)
			}
		})
	}
}

// TestAsUnprivilegedAccount runs this file's tests once more as nobody, who has no control groups.
func TestAsUnprivilegedAccount(t *testing.T) {
	needRoot(t)
	dir, err := os.MkdirTemp("", "host-test-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	self, err := os.ReadFile("/proc/self/exe")
	if err := errors.Join(err, os.WriteFile(dir+"/test", self, 0o755), os.Mkdir(dir+"/tmp", 0), os.Chmod(dir+"/tmp", 0o777), os.Chmod(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(dir+"/test", "-test.run", "Exits|Stdin|MaxRSS|KillEnds|SignalReaches|Umask|TTY|Terminal|CannotBe|ProgramIn|ManyAtOnce|Leftovers|Subreaper|Refuses")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "TMPDIR="+dir+"/tmp")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestRefusesOtherAccountsWithoutRoot(t *testing.T) {
	if os.Geteuid() == 0 {
		return // TestAsUnprivilegedAccount comes here as nobody
	}
	cmd := sh("true")
	cmd.User = "root"
	if _, err := newHost(t).Start(cmd); !fault.Is(err, fault.Denied) {
		t.Errorf("got %v", err)
	}
}

func TestSubreaperLeavesNoZombies(t *testing.T) {
	reaper := exec.Command("/proc/self/exe")
	reaper.Env = append(os.Environ(), "HOST_TEST_ROLE=subreaper", "HOST_TEST_DIR="+t.TempDir())
	out, err := reaper.CombinedOutput()
	if err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// play is what a process of this test's own does in its role; the result is its exit status.
func play(role string) int {
	dir := os.Getenv("HOST_TEST_DIR")
	h := host.NewReal(host.RealOptions{StateDir: dir})
	switch role {
	case "keeper":
		for _, id := range []string{"7.1.1", "7.2.1"} {
			cmd := host.Command{ID: id, Args: []string{"/bin/sh", "-c", "echo $$ > " + dir + "/" + id + "; exec sleep 1000"}}
			if os.Getenv("HOST_TEST_LIMITS") == "true" {
				cmd.Limits = host.Limits{PIDs: 10, Memory: 64 << 20}
			}
			if _, err := h.Start(cmd); err != nil {
				fmt.Fprintln(os.Stderr, err)
				return 1
			}
		}
		time.Sleep(time.Minute) // until it is killed
	case "subreaper":
		if err := host.Subreaper(); err != nil {
			fmt.Println(err)
			return 1
		}
		for i := range 20 { // orphans that end soon, among leaders whose status must not get lost
			p, err := h.Start(host.Command{ID: strconv.Itoa(i), Args: []string{"/bin/sh", "-c", "(setsid sleep 0.05 &); exit 5"}})
			if err != nil {
				fmt.Println(err)
				return 1
			}
			if e := p.Wait(); e.Code != 5 {
				fmt.Println("status lost:", e)
				return 1
			}
		}
		for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
			if children() == 0 {
				h.Close()
				return 0
			}
		}
		fmt.Println(children(), "children are left")
		return 1
	}
	return 0
}

// children counts our child processes, zombies included.
func children() (n int) {
	files, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, f := range files {
		stat, _ := os.ReadFile(f)
		_, rest, _ := strings.Cut(string(stat), ") ")
		if fields := strings.Fields(rest); len(fields) > 1 && fields[1] == strconv.Itoa(os.Getpid()) {
			n++
		}
	}
	return n
}

// A child is counted with the memory of its parent until it executes its program.
func TestMaxRSSIsNotOurs(t *testing.T) {
	ours := make([]byte, 100<<20)
	for i := 0; i < len(ours); i += 4096 {
		ours[i] = 1
	}
	r := run(t, newHost(t), sh(`true`))
	if r.exit.MaxRSS > 50<<20 {
		t.Errorf("a shell of %d bytes: that is what we have", r.exit.MaxRSS)
	}
	runtime.KeepAlive(ours)
}

func TestEndsWithin(t *testing.T) {
	h := newHost(t)
	for script, want := range map[string]bool{"true": true, "sleep 600": false} {
		p, err := h.Start(host.Command{ID: "1", Args: []string{"/bin/sh", "-c", script}})
		if err != nil {
			t.Fatal(err)
		}
		within := time.Millisecond
		if want {
			within = time.Minute
		}
		if got := p.EndsWithin(within); got != want {
			t.Errorf("%s: %v", script, got)
		}
		p.Kill()
		p.Wait()
	}
}

// A kernel without clone3 is to give the same.
func TestWithoutClone3(t *testing.T) {
	h := newHost(t)
	host.Old(h)
	r := run(t, h, sh(`trap; kill -TERM $$`))
	if r.exit.Signal != "SIGTERM" {
		t.Errorf("%+v", r.exit)
	}
	if _, err := h.Start(host.Command{ID: "2", Args: []string{"/no/such"}}); !fault.Is(err, fault.NotFound) {
		t.Error(err)
	}
}

// What a program is started with is the same as with Go's own fork.
func TestStartsAsGoDoes(t *testing.T) {
	show := `umask; ulimit -Sn; ulimit -Hn; grep -E '^(Sig|Shd)(Blk|Ign|Cgt)' /proc/self/status; ls /proc/self/fd; pwd`
	cmd := exec.Command("/bin/sh", "-c", show)
	cmd.Dir = "/"
	want, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	for old := range 3 {
		h := newHost(t)
		for range old {
			host.Old(h)
		}
		c := sh(show)
		c.Dir = "/"
		if got := run(t, h, c); got.out != string(want) {
			t.Errorf("way %d: %s\nand with Go's:\n%s", old, got.out, want)
		}
	}
}

func TestTasksHearWhatWeIgnore(t *testing.T) {
	signal.Ignore(syscall.SIGHUP) // as under nohup
	defer signal.Reset(syscall.SIGHUP)
	if r := run(t, newHost(t), sh("kill -HUP $$; echo deaf")); r.exit.Signal != "SIGHUP" {
		t.Errorf("%+v", r)
	}
}
