package fan_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"bramble/fan"
	"bramble/fault"
	"bramble/trust"
)

func TestCommands(t *testing.T) {
	r := realRig(t, "n1")
	tests := []struct {
		name     string
		args     []string
		out, err string
		code     int
		signal   string
		failed   string // part of End.Error
	}{
		{name: "success", args: []string{"true"}},
		{name: "failure", args: []string{"false"}, code: 1},
		{name: "status of a line", args: []string{"exit 42"}, code: 42},
		{name: "streams stay apart", args: []string{"echo out; echo err >&2"}, out: "out\n", err: "err\n"},
		{name: "several words are no line", args: []string{"echo", "a|b", "$HOME", "*"}, out: "a|b $HOME *\n"},
		{name: "one word that only sh knows", args: []string{"times"}, out: "*"},
		{name: "a program that is not there", args: []string{"no-such-program", "x"}, failed: "no-such-program"},
		{name: "a word that is neither program nor line", args: []string{"no-such-program"}, err: "*", code: 127},
		{name: "a signal", args: []string{"kill -SEGV $$"}, code: -1, signal: "SIGSEGV"},
		{name: "output without line end", args: []string{"printf abc"}, out: "abc"},
		{name: "the node's name", args: []string{"echo $BRAMBLE_NODE $BRAMBLE_USER"}, out: "n1 ann\n"},
		{name: "no input", args: []string{"cat"}, out: ""},
		{name: "too long an argument for Linux", args: []string{"echo", strings.Repeat("x", 200<<10)}, failed: "long"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := r.run(tt.args...)
			end := s.ends["n1"]
			if end.Exit.Code != tt.code || end.Exit.Signal != tt.signal || end.Lost ||
				(end.Error == "") != (tt.failed == "") || !strings.Contains(end.Error, tt.failed) {
				t.Errorf("ended %+v", end)
			}
			if out := s.out["n1"]; out != tt.out && !(tt.out == "*" && out != "") {
				t.Errorf("stdout %q", out)
			}
			if errs := s.err["n1"]; errs != tt.err && !(tt.err == "*" && errs != "") {
				t.Errorf("stderr %q", errs)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	r := simRig(t, "node1", "node2")
	tests := []struct {
		name string
		role trust.Role
		req  fan.Request
		want fault.Code
		text string
	}{
		{"viewer", trust.Viewer, fan.Request{On: "all", Args: []string{"true"}}, fault.Denied, "role operator"},
		{"root by an operator", trust.Operator, fan.Request{On: "all", Args: []string{"true"}, As: "root"}, fault.Denied, "admin"},
		{"unknown node", trust.Operator, fan.Request{On: "nod1", Args: []string{"true"}}, fault.NotFound, "node1"},
		{"nothing matches", trust.Operator, fan.Request{On: "all&!node[1-2]", Args: []string{"true"}}, fault.NotFound, ""},
		{"not a selection", trust.Operator, fan.Request{On: "node[1-", Args: []string{"true"}}, fault.Misused, ""},
		{"no command", trust.Operator, fan.Request{On: "all"}, fault.Misused, ""},
		{"NUL", trust.Operator, fan.Request{On: "all", Args: []string{"a\x00"}}, fault.Misused, "NUL"},
		{"300 kB", trust.Operator, fan.Request{On: "all", Args: []string{"echo", strings.Repeat("x", 300<<10)}}, fault.Full, "at most 256 KiB, and this one 44.0 KiB more"},
		{"10 MB", trust.Operator, fan.Request{On: "all", Args: []string{"echo", strings.Repeat("x", 10<<20)}}, fault.Full, "a message is 9.0 MiB over the limit of 1.0 MiB"},
		{"input to some at a time", trust.Operator, fan.Request{On: "all", Args: []string{"cat"}, Fanout: 1}, fault.Misused, "-f"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var stdin io.Reader
			if tt.req.Fanout > 0 {
				stdin = strings.NewReader("")
			}
			s := collect(fan.Client{Conn: r.bus.Client("ann", tt.role)}, tt.req, stdin)
			if !fault.Is(s.fault, tt.want) || !strings.Contains(s.fault.Error(), tt.text) {
				t.Errorf("got %v", s.fault)
			}
			if len(s.ends) > 0 {
				t.Errorf("it ran: %v", s.ends)
			}
		})
	}
}

func TestTimeout(t *testing.T) {
	r := realRig(t, "n1")
	s := collect(r.client(), fan.Request{On: "all", Args: []string{"echo begun; sleep 300"}, Timeout: 200 * time.Millisecond}, nil)
	end := s.ends["n1"]
	if !end.Timeout || end.OK() || end.Exit.Signal != "SIGTERM" || s.out["n1"] != "begun\n" {
		t.Errorf("ended %+v after %q", end, s.out["n1"])
	}
}

// pids waits for a line of process ids and returns them.
func pids(t *testing.T, line string) []int {
	t.Helper()
	var all []int
	for _, word := range strings.Fields(line) {
		pid, err := strconv.Atoi(word)
		if err != nil {
			t.Fatalf("%q is no process id", word)
		}
		all = append(all, pid)
	}
	return all
}

func alive(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

// treeLine starts a tree of processes, one of which left the group, and prints their ids.
const treeLine = `sleep 300 & a=$!; setsid sleep 300 & echo $$ $a $!; wait`

func TestCancelEndsTheTree(t *testing.T) {
	for _, how := range []string{"cancelled", "client gone", "node gone"} {
		t.Run(how, func(t *testing.T) {
			r := realRig(t, "n1", "n2")
			c := r.client()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var started []int
			lines := map[string]string{}
			s := collectIn(ctx, c, fan.Request{On: "all", Args: []string{treeLine}}, nil, func(ev fan.Event) {
				if ev.Kind == fan.Stdout {
					lines[ev.Node] += string(ev.Data)
				}
				if ev.Kind != fan.Stdout || !strings.HasSuffix(lines["n1"], "\n") || !strings.HasSuffix(lines["n2"], "\n") || started != nil {
					return
				}
				started = append(pids(t, lines["n1"]), pids(t, lines["n2"])...)
				switch how {
				case "cancelled":
					cancel()
				case "client gone":
					go c.Conn.Close()
				case "node gone":
					go r.nodes["n2"].Close()
					go func() { // the run goes on at n1
						for alive(started[3]) {
							time.Sleep(time.Millisecond)
						}
						syscall.Kill(started[0], syscall.SIGTERM)
					}()
				}
			})
			if len(started) != 6 {
				t.Fatalf("started %v; %v", started, s.fault)
			}
			if how == "node gone" {
				if !s.ends["n2"].Lost || s.ends["n1"].Exit.Signal != "SIGTERM" {
					t.Errorf("ended %+v", s.ends)
				}
				for _, pid := range started[1:3] { // a daemon of a command that ended stays
					syscall.Kill(pid, syscall.SIGKILL)
				}
			}
			for _, pid := range started {
				until(t, "process "+strconv.Itoa(pid)+" ends", func() bool { return !alive(pid) })
			}
		})
	}
}

func TestStdinToMany(t *testing.T) {
	r := realRig(t, "n1", "n2", "n3")
	data := make([]byte, 3<<20)
	rand.Read(data)
	for _, fanout := range []int{0, 3, 8} {
		s := collect(r.client(), fan.Request{On: "all", Args: []string{"cat"}, Fanout: fanout}, bytes.NewReader(data))
		for name := range r.nodes {
			if s.out[name] != string(data) {
				t.Errorf("fanout %d: %s gave back %d of %d bytes, %+v, %v", fanout, name, len(s.out[name]), len(data), s.ends[name], s.fault)
			}
		}
	}
}

func TestRunEndsWhileStdinIsOpen(t *testing.T) {
	r := realRig(t, "n1", "n2")
	in, out := io.Pipe()
	defer out.Close()
	s := collect(r.client(), fan.Request{On: "all", Args: []string{"true"}}, in)
	if s.fault != nil || !s.ends["n1"].OK() || !s.ends["n2"].OK() {
		t.Errorf("ended %+v, %v", s.ends, s.fault)
	}
}

func TestFanoutLimit(t *testing.T) {
	names := []string{"n1", "n2", "n3", "n4", "n5"}
	r := realRig(t, names...)
	lock := filepath.Join(t.TempDir(), "lock")
	s := collect(r.client(), fan.Request{On: "all", Args: []string{"mkdir " + lock + " && sleep 0.02 && rmdir " + lock}, Fanout: 1}, nil)
	for _, name := range names {
		if !s.ends[name].OK() {
			t.Errorf("%s ran beside another: %s", name, s.err[name])
		}
	}
}

func TestSlowReaderGetsTheLastByte(t *testing.T) {
	r := realRig(t, "n1")
	waited := false
	s := collectIn(t.Context(), r.client(), fan.Request{On: "all", Args: []string{"head -c 330000 /dev/zero; echo end >&2"}}, nil, func(ev fan.Event) {
		if ev.Kind == fan.Stdout && !waited {
			waited = true
			time.Sleep(time.Second) // longer than output may pause
		}
	})
	if len(s.out["n1"]) != 330000 || s.err["n1"] != "end\n" || !s.ends["n1"].OK() {
		t.Errorf("%d bytes, %q, %+v, %v", len(s.out["n1"]), s.err["n1"], s.ends["n1"], s.fault)
	}
}

func TestDaemonLeftBehindIsNotWaitedFor(t *testing.T) {
	r := realRig(t, "n1")
	s := r.run("sleep 300 & echo $!")
	for _, pid := range pids(t, s.out["n1"]) {
		if !alive(pid) {
			t.Errorf("the daemon was ended with the command")
		}
		syscall.Kill(pid, syscall.SIGKILL)
	}
	if !s.ends["n1"].OK() {
		t.Errorf("ended %+v", s.ends["n1"])
	}
	flood := r.run("yes & echo $! >&2; exit 3")
	if flood.ends["n1"].Exit.Code != 3 || flood.ends["n1"].Lost {
		t.Errorf("ended %+v", flood.ends["n1"])
	}
	for _, pid := range pids(t, flood.err["n1"]) {
		until(t, "a daemon that nobody hears ends", func() bool { return !alive(pid) })
	}
}

func TestMillionLinesInBoundedMemory(t *testing.T) {
	r := realRig(t, "n1")
	var lines, most uint64
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	before := m.HeapAlloc
	events := 0
	for ev, err := range r.client().Run(t.Context(), fan.Request{On: "all", Args: []string{"seq", "1000000"}}, nil) {
		if err != nil {
			t.Fatal(err)
		}
		lines += uint64(bytes.Count(ev.Data, []byte("\n")))
		if events++; events%16 == 0 {
			time.Sleep(time.Millisecond) // slower than it is made
			runtime.ReadMemStats(&m)
			most = max(most, m.HeapAlloc)
		}
	}
	if lines != 1000000 {
		t.Errorf("%d lines came", lines)
	}
	if most > before+48<<20 {
		t.Errorf("memory grew from %d to %d MB", before>>20, most>>20)
	}
	t.Logf("memory grew from %d to %d MB", before>>20, most>>20)
}

func TestNothingIsLeftRunning(t *testing.T) {
	before := runtime.NumGoroutine()
	t.Run("runs", func(t *testing.T) {
		r := realRig(t, "n1", "n2")
		r.run("echo", "x")
		ctx, cancel := context.WithCancel(t.Context())
		collectIn(ctx, r.client(), fan.Request{On: "all", Args: []string{"echo; sleep 300"}}, strings.NewReader("x"), func(ev fan.Event) {
			if ev.Kind == fan.Stdout {
				cancel()
			}
		})
		var picture bytes.Buffer
		if _, err := r.client().Shell(t.Context(), fan.ShellRequest{Node: "n1", Args: []string{"/bin/true"}}, strings.NewReader(""), &picture, nil); err != nil {
			t.Error(err)
		}
	})
	until(t, "all goroutines end", func() bool { return runtime.NumGoroutine() <= before })
}

func TestDownNodeIsNamed(t *testing.T) {
	r := realRig(t, "n1", "n2")
	r.nodes["n2"].Close()
	s := r.run("true")
	if !s.ends["n2"].Lost || s.ends["n2"].OK() || !s.ends["n1"].OK() {
		t.Errorf("ended %+v", s.ends)
	}
}
