package job_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"bramble/fault"
	"bramble/job"
	"bramble/lab"
	"bramble/lab/labtest"
)

// onSmallDisk moves the head's state to a file system of its own of so many bytes.
func onSmallDisk(t *testing.T, l *labtest.Lab, size int) (disk string) {
	t.Helper()
	disk = filepath.Join(l.State, lab.Head, "head")
	must(t, l.Kill(t.Context(), lab.Head))
	must(t, os.Rename(disk, disk+".moved"))
	must(t, os.Mkdir(disk, 0o700))
	must(t, syscall.Mount("bramble-test", disk, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0700", size)))
	t.Cleanup(func() {
		if err := syscall.Unmount(disk, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", disk, err)
		}
	})
	if out, err := exec.CommandContext(t.Context(), "cp", "-a", disk+".moved/.", disk).CombinedOutput(); err != nil {
		t.Fatalf("copying the head's state: %v\n%s", err, out)
	}
	must(t, os.RemoveAll(disk+".moved"))
	must(t, l.Heal(t.Context(), lab.Head))
	connected(t, l)
	return disk
}

// fill takes room on a file system until so many bytes are left; 0 fills it to the last byte.
func fill(t *testing.T, path string, left uint64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	must(t, err)
	defer f.Close()
	for chunk := make([]byte, 1<<20); ; {
		var fs syscall.Statfs_t
		must(t, syscall.Statfs(filepath.Dir(path), &fs))
		free := fs.Bavail * uint64(fs.Bsize)
		if free <= left {
			return
		}
		_, err := f.Write(chunk[:min(uint64(len(chunk)), free-left)])
		if errors.Is(err, syscall.ENOSPC) && left == 0 {
			return
		}
		must(t, err)
	}
}

// The head's disk fills up, first to the reserve, then to the last byte: new work is refused with the reason, nothing
// that was accepted is lost, and all goes on when there is room again, without a restart and after one.
func TestFullDisk(t *testing.T) {
	if testing.Short() {
		t.Skip("short: it takes seconds; make test runs it")
	}
	if os.Geteuid() != 0 {
		t.Skip("mounting a small disk needs root")
	}
	l, marks := loopback(t, 2)
	disk := onSmallDisk(t, l, 160<<20)
	c := l.Connect()
	slow, err := c.Jobs.Submit(t.Context(), job.Spec{Args: mark(marks, "sleep 0.2; echo done $BRAMBLE_TASK_ID"), Array: "1-60"})
	must(t, err)
	large := filepath.Join(disk, "large")
	fill(t, large, 32<<20)
	_, err = c.Jobs.Submit(t.Context(), job.Spec{Args: []string{"true"}})
	if !fault.Is(err, fault.Full) || !strings.Contains(err.Error(), "disk") || fault.Of(err).Try == "" {
		t.Errorf("a submission on a nearly full disk gives %v", err)
	}
	labtest.Until(t, "work to go on in the reserve", func() bool { return len(marked(t, marks)) >= 12 })
	for range 20 { // whatever was freed in between
		fill(t, large, 0)
		time.Sleep(100 * time.Millisecond)
	}
	_, err = c.Jobs.Submit(t.Context(), job.Spec{Args: []string{"true"}})
	if !fault.Is(err, fault.Full) {
		t.Errorf("a submission on a full disk gives %v", err)
	}
	must(t, os.Remove(large))
	var last job.ID
	labtest.Until(t, "submissions to be taken again", func() bool {
		last, err = c.Jobs.Submit(t.Context(), job.Spec{Args: mark(marks, "true")})
		return err == nil
	}, func() string { return fmt.Sprint(err) })
	if last != slow+1 {
		t.Errorf("the job after %d is %d, though all between were refused", slow, last)
	}
	for _, id := range []job.ID{slow, last} {
		if d := wait(t, l, id); d.State != job.Done {
			t.Errorf("job %d is %s with %+v", id, d.State, d.Counts)
		}
	}
	must(t, l.Kill(t.Context(), lab.Head))
	must(t, l.Heal(t.Context(), lab.Head))
	connected(t, l)
	d := wait(t, l, slow)
	if d.Counts.Done != 60 {
		t.Errorf("after a restart the job stands at %+v", d.Counts)
	}
	var out strings.Builder
	for line, err := range l.Connect().Jobs.Logs(t.Context(), job.LogRequest{ID: slow, All: true}) {
		must(t, err)
		out.Write(line.Data)
	}
	for i := 1; i <= 60; i++ {
		if !strings.Contains(out.String(), fmt.Sprintf("done %d\n", i)) {
			t.Errorf("the output of task %d is lost", i)
		}
	}
	for task, attempts := range marked(t, marks) {
		if len(attempts) > 1 {
			t.Errorf("task %s ran as %v", task, attempts)
		}
	}
}
