package mpi

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"bramble/fault"
	"bramble/job"
)

// Launch is a program to be run by all ranks of the allocation that this process is in.
type Launch struct {
	Inside  job.Inside
	Library Library // "": see Choose
	Label   bool    // begin each line with its rank
	Args    []string
	Stdout  io.Writer
	Stderr  io.Writer
}

// Run looks at all nodes, then has the library's mpirun run the program, and returns its exit status. What stands
// against it, or how a rank died, becomes the job's error.
func (l Launch) Run(ctx context.Context) (status int, err error) {
	peers, err := l.Inside.Nodes(ctx)
	if err != nil {
		return 0, err
	}
	lib, err := Choose(l.Library, l.Args[0], l.look(ctx, peers))
	if err != nil && explain(ctx, l.Inside, err) == nil {
		return 1, nil
	}
	if err != nil {
		return 0, err
	}
	mpirun, _, err := Launcher(ctx, lib)
	if err != nil {
		return 0, err
	}
	rec := &record{}
	for _, p := range peers {
		for range p.Ranks {
			rec.places = append(rec.places, p.Node)
		}
	}
	told, err := os.CreateTemp("", "bramble-mpi-")
	if err != nil {
		return 0, fmt.Errorf("make a file for what went wrong: %w", err)
	}
	defer os.Remove(told.Name())
	defer told.Close()
	cmd := exec.Command(mpirun, arguments(lib, len(rec.places), l.Args)...)
	cmd.Env = append(os.Environ(), toldVar+"="+told.Name())
	status, err = l.mpirun(ctx, cmd, lib, rec)
	if rec.dead {
		status = rec.status // mpiexec's own is another
	}
	if status != 0 {
		explain(ctx, l.Inside, errors.New(cmp.Or(rec.failure(), rec.later(told), fmt.Sprintf("%s ended with status %d and named no rank", filepath.Base(mpirun), status))))
	}
	return status, err
}

// laterWithin is how long it may take until those that mpirun has called say what it ended for.
const laterWithin = 3 * time.Second

// later is the failure that is told after mpirun has ended and named nobody: it has seen a node's connection close before
// those that held it have told it so.
func (r *record) later(told io.Reader) string {
	for end := time.Now().Add(laterWithin); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		text, err := io.ReadAll(io.LimitReader(told, maxSaid))
		if err == nil && len(text) > 0 {
			r.said.Write(text)
			return r.failure()
		}
	}
	return ""
}

// arguments are mpirun's. Each rank has a shell that tells its status: Open MPI sometimes names no rank, and MPICH waits
// for ever when one on another node ends with a status and the rest wait for it, but not when a signal has ended it.
func arguments(lib Library, ranks int, program []string) []string {
	tag, end := "--tag-output", "exit $s"
	if lib == MPICH {
		tag, end = "-prepend-rank", "kill -KILL $$"
	}
	script := `"$@"; s=$?; [ $s = 0 ] && exit; echo "` + deathMark + ` $s" >&2; ` + end
	return slices.Concat([]string{"-n", strconv.Itoa(ranks), tag, "/bin/sh", "-c", script, "mpi"}, program)
}

// look has every node look at itself.
func (l Launch) look(ctx context.Context, peers []job.Peer) []Found {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	found := make([]Found, len(peers))
	var all sync.WaitGroup
	for i, p := range peers {
		all.Go(func() {
			var out, errs bytes.Buffer
			exit, err := l.Inside.Run(ctx, job.StepCommand{Node: p.Node, Args: []string{"/bin/sh", "-c", `exec "$BRAMBLE_EXE" mpi-look "$@"`, "mpi-look", l.Args[0]}},
				job.StepFiles{Stdout: &out, Stderr: &errs})
			if err == nil && !exit.OK() {
				err = errors.New(strings.TrimSpace(errs.String()))
			}
			if err == nil {
				err = json.Unmarshal(out.Bytes(), &found[i])
			}
			if err != nil {
				found[i].Trouble = err.Error()
			}
			found[i].Node = p.Node
		})
	}
	all.Wait()
	return found
}

// mpirun runs the launcher, which gets SIGTERM when ctx ends.
func (l Launch) mpirun(ctx context.Context, cmd *exec.Cmd, lib Library, rec *record) (int, error) {
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	errs, err := cmd.StderrPipe()
	if err != nil {
		return 0, err
	}
	cmd.Stdin = os.Stdin
	if err := cmd.Start(); err != nil {
		return 0, fault.New(fault.Failed, "start %s: %w", cmd.Path, err)
	}
	defer context.AfterFunc(ctx, func() { cmd.Process.Signal(syscall.SIGTERM) })()
	var mu sync.Mutex
	var readers sync.WaitGroup
	readers.Go(func() { l.pass(out, l.Stdout, lib, rec, &mu) })
	readers.Go(func() { l.pass(errs, l.Stderr, lib, rec, &mu) })
	readers.Wait()
	err = cmd.Wait()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0, nil
	case errors.As(err, &exit) && exit.ExitCode() > 0:
		return exit.ExitCode(), nil
	}
	return 1, fault.New(fault.Failed, "%s: %w", cmd.Path, err)
}

// noise reports whether a line of the launcher's means nothing: Open MPI's warns when what it has started was quicker than itself.
func noise(rank int, line string) bool {
	return rank < 0 && strings.Contains(line, "plm:rsh: Warning: setpgid(")
}

// pass passes on lines without the launcher's tags.
func (l Launch) pass(from io.Reader, to io.Writer, lib Library, rec *record, mu *sync.Mutex) {
	r := bufio.NewReaderSize(from, 64<<10)
	for {
		line, err := r.ReadSlice('\n')
		if len(line) > 0 {
			rank, text := untag(lib, string(line))
			mu.Lock()
			if noise(rank, text) || !rec.line(rank, strings.TrimRight(text, "\r\n")) {
				text = ""
			}
			if l.Label && rank >= 0 && text != "" {
				text = fmt.Sprintf("%d: %s", rank, text)
			}
			io.WriteString(to, text)
			mu.Unlock()
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return
		}
	}
}
