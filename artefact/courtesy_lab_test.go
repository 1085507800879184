package artefact_test

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	hostnet "bramble/host/net"
	"bramble/lab"
	"bramble/lab/labtest"
)

// courtesyLook is how often a machine looks what visitors got.
const courtesyLook = 2 * time.Second

// Over a real link, a visitor who takes all that comes shares it with a push, and has nearly all of it beside a courteous one.
func TestCourtesyOverALink(t *testing.T) {
	if os.Geteuid() != 0 || testing.Short() {
		t.Skip("namespaces need root, and time")
	}
	const link = 16_000_000 / 8 // bytes a second
	l := labtest.Up(t, 2, func(o *lab.Options) { o.Link, _ = hostnet.ParseRate("16mbit") })
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "film.bin"), noise(1, 4<<20), 0o644))
	l.Must("site", "publish", dir, "--name", "films", "--on", lab.Head, "--listen", ":8080")
	address := regexp.MustCompile(`http://[^\s]+/`).FindString(l.Must("site", "status", "films"))
	file := filepath.Join(t.TempDir(), "file")

	// beside is what part of the head's link a visitor of it has while the file is pushed.
	beside := func(node string, args ...string) float64 {
		ctx, stop := context.WithCancel(t.Context())
		var all sync.WaitGroup
		push := exec.CommandContext(ctx, labtest.Binary(t), append([]string{"push", file, "--on", node, "--to", "/tmp/"}, args...)...)
		push.Env = append(os.Environ(), "BRAMBLE_CLUSTER="+l.State)
		push.Cancel = func() error { return push.Process.Signal(syscall.SIGINT) }
		said, err := push.StderrPipe()
		must(t, err)
		must(t, push.Start())
		defer func() { stop(); push.Wait(); all.Wait() }()
		lines := bufio.NewScanner(said)
		for lines.Scan() && !strings.Contains(lines.Text(), node+": gets") {
		}
		all.Go(func() { io.Copy(io.Discard, said) })
		var got atomic.Int64
		all.Go(func() { visit(ctx, address+"film.bin", &got) })
		labtest.Until(t, "the visitor to get something", func() bool { return got.Load() > link })
		time.Sleep(2 * courtesyLook)
		before, begun := got.Load(), time.Now()
		time.Sleep(2 * courtesyLook)
		return float64(got.Load()-before) / time.Since(begun).Seconds() / link
	}
	// A moment in which the machine had no time for one of them says nothing, so there are several.
	for round := range 6 {
		must(t, os.WriteFile(file, noise(2+uint64(round), 16<<20), 0o644)) // which nobody has
		rude, kind := beside("node1"), beside("node2", "--courtesy")
		t.Logf("beside a push a visitor had %.2f of the link, beside a courteous one %.2f", rude, kind)
		if rude < 0.75 && kind > rude+0.2 {
			return
		}
	}
	t.Error("a visitor has no more of the link beside a courteous push than beside another")
}

// visit reads a page again and again.
func visit(ctx context.Context, url string, got *atomic.Int64) {
	buf := make([]byte, 32<<10)
	for ctx.Err() == nil {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return
		}
		resp, err := http.DefaultClient.Do(req)
		for err == nil {
			var n int
			n, err = resp.Body.Read(buf)
			got.Add(int64(n))
		}
		if resp != nil {
			resp.Body.Close()
		}
	}
}
