package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"bramble/artefact"
	"bramble/http1"
	"bramble/site/static"
)

const (
	httpTarget  = 1.0             // times nginx's answers per CPU-second
	httpClients = 64              // connections, kept alive
	httpTurn    = 2 * time.Second // of load
)

// pages are what is asked for: a name and its bytes.
var pages = []struct {
	name string
	size int
}{{"1k", 1 << 10}, {"16k", 16 << 10}}

// web is a server that is measured, and its answers per CPU-second by page.
type web struct {
	name, addr string
	child      *child
	rates      map[string][]float64
}

// http measures the lean server beside nginx, each on one thread.
func (b *bench) http(ctx context.Context, s *section) error {
	s.title = "Answers over HTTP/1.1"
	s.how = fmt.Sprintf("Static answers over loopback to `wrk` with %d connections kept alive, in turns of %s; answers for each second of processor time that the server's process used, as the kernel counts it. "+
		"bramble serves the files as a site's release, from memory and on one thread. nginx is Debian's with one worker, no access log and an open_file_cache, with sendfile and without; the faster is the peer.", httpClients, httpTurn)
	if lacking := missing("wrk", "nginx"); len(lacking) > 0 {
		return fmt.Errorf("this needs %s; try: scripts/setup bench", strings.Join(lacking, ", "))
	}
	b.say("http: answers from memory beside nginx")
	own, err := b.startOwn(ctx)
	if err != nil {
		return err
	}
	defer own.child.stop()
	all := []*web{own}
	for _, sendfile := range []string{"on", "off"} {
		w, err := b.startNginx(ctx, sendfile)
		if err != nil {
			return err
		}
		defer w.child.stop()
		all = append(all, w)
	}
	if err := load(ctx, all, b.runs); err != nil {
		return err
	}
	for _, page := range pages {
		s.add(httpRow(page.name, own, all[1:]))
	}
	return nil
}

// load lets all take turns. When ctx ends after enough turns it is content with those.
func load(ctx context.Context, all []*web, turns int) error {
	for turn := range turns {
		for _, page := range pages {
			for _, w := range all {
				rate, err := w.turn(ctx, page.name)
				if ctx.Err() != nil && turn >= enough {
					return nil
				}
				if err != nil {
					return fmt.Errorf("%s: %w", w.name, err)
				}
				w.rates[page.name] = append(w.rates[page.name], rate)
			}
		}
	}
	return nil
}

func httpRow(page string, own *web, peers []*web) row {
	best := slices.MaxFunc(peers, func(a, b *web) int { return int(middle(a.rates[page]) - middle(b.rates[page])) })
	ours, theirs := middle(own.rates[page]), middle(best.rates[page])
	return row{
		what:    strings.TrimSuffix(page, "k") + " KiB",
		figure:  fmt.Sprintf("%s per CPU-second (%s to %s)", count(int(ours)), count(int(slices.Min(own.rates[page]))), count(int(slices.Max(own.rates[page])))),
		peer:    fmt.Sprintf("%s: %s", best.name, count(int(theirs))),
		ratio:   times(ours, theirs),
		target:  fmt.Sprintf("≥ %.1f×", httpTarget),
		verdict: judge(ours >= httpTarget*theirs),
	}
}

// middle is the median of an odd number of values.
func middle(values []float64) float64 { return slices.Sorted(slices.Values(values))[len(values)/2] }

// turn puts load on one page and returns answers per CPU-second.
func (w *web) turn(ctx context.Context, page string) (float64, error) {
	pids := family(w.child.cmd.Process.Pid)
	before, err := processorTimes(pids)
	if err != nil {
		return 0, err
	}
	answers, err := w.press(ctx, page)
	if err != nil {
		return 0, err
	}
	after, err := processorTimes(pids)
	if err != nil || after <= before {
		return 0, errors.Join(err, fmt.Errorf("it used %s", after-before))
	}
	return float64(answers) / (after - before).Seconds(), nil
}

// press puts load on one page and returns how many answers came.
func (w *web) press(ctx context.Context, page string) (int, error) {
	said, err := exec.CommandContext(ctx, "wrk", "-t1", "-c"+strconv.Itoa(httpClients), "-d"+httpTurn.String(), "http://"+w.addr+"/"+page).Output()
	if err != nil {
		return 0, err
	}
	return answersOf(string(said))
}

// processorTimes is the sum of several processes' times.
func processorTimes(pids []int) (sum time.Duration, err error) {
	for _, pid := range pids {
		took, err := processorTime(pid)
		if err != nil {
			return 0, err
		}
		sum += took
	}
	return sum, nil
}

// answersOf reads what wrk says: "  123456 requests in 2.00s, 1.23GB read", and nothing of errors.
func answersOf(said string) (int, error) {
	if strings.Contains(said, "Socket errors") || strings.Contains(said, "Non-2xx") {
		return 0, fmt.Errorf("not all was answered: %s", lastWords(said))
	}
	before, _, found := strings.Cut(said, " requests in ")
	answers, err := strconv.Atoi(strings.TrimSpace(lastWords(before)))
	if !found || err != nil {
		return 0, fmt.Errorf("wrk says %q", lastWords(said))
	}
	return answers, nil
}

// processorTime of a process, from the utime and stime of proc_pid_stat(5), which count in hundredths of a second.
func processorTime(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	words := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:])) // from the third field on
	if len(words) < 13 {
		return 0, fmt.Errorf("process %d: short stat", pid)
	}
	user, err1 := strconv.Atoi(words[11])
	system, err2 := strconv.Atoi(words[12])
	return time.Duration(user+system) * 10 * time.Millisecond, errors.Join(err1, err2)
}

// serveVerb makes this program the server that is measured.
const serveVerb = "serve-pages"

// startOwn starts this program as the server, in a process of its own.
func (b *bench) startOwn(ctx context.Context) (*web, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	child, err := b.start([]string{"GOMAXPROCS=1"}, exe, serveVerb)
	if err != nil {
		return nil, err
	}
	w := &web{name: "bramble", child: child, rates: map[string][]float64{}}
	if err := child.await(ctx, "listening on"); err != nil {
		child.stop()
		return nil, err
	}
	w.addr = strings.TrimPrefix(child.lines.Text(), "listening on ")
	return w, nil
}

// servePages answers with the pages, as a site's release, until ctx ends.
func servePages(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "bramble-pages-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := writePages(dir); err != nil {
		return err
	}
	tree, err := artefact.Scan(ctx, []string{dir + "/."})
	if err != nil {
		return err
	}
	defer tree.Close()
	release, err := static.Compile(ctx, tree, tree.Manifest, static.Options{ID: "bench", Budget: 1 << 20, Modified: time.Now()})
	if err != nil {
		return err
	}
	var site static.Server
	site.Commit(release)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println("listening on", ln.Addr())
	server := http1.Server{Loops: 1, Handler: site.Lean, Fallback: &site}
	return server.Serve(ctx, ln)
}

// writePages writes the pages as files.
func writePages(dir string) error {
	for _, p := range pages {
		if err := os.WriteFile(filepath.Join(dir, p.name), bytes.Repeat([]byte{'x'}, p.size), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// startNginx starts nginx as one process with the pages as files.
func (b *bench) startNginx(ctx context.Context, sendfile string) (*web, error) {
	return b.startNginxAs(ctx, "nginx-"+sendfile, sendfile)
}

func (b *bench) startNginxAs(ctx context.Context, folder, sendfile string) (*web, error) {
	dir := filepath.Join(b.dir, folder)
	if err := os.MkdirAll(filepath.Join(dir, "pages"), 0o755); err != nil {
		return nil, err
	}
	if err := writePages(filepath.Join(dir, "pages")); err != nil {
		return nil, err
	}
	addr, err := freeAddress()
	if err != nil {
		return nil, err
	}
	settings := fmt.Sprintf(nginxSettings, dir, addr, sendfile)
	if err := os.WriteFile(filepath.Join(dir, "nginx.conf"), []byte(settings), 0o644); err != nil {
		return nil, err
	}
	child, err := b.start(nil, "nginx", "-p", dir, "-c", filepath.Join(dir, "nginx.conf"), "-e", filepath.Join(dir, "error.log"))
	if err != nil {
		return nil, err
	}
	w := &web{name: "nginx, sendfile " + sendfile, addr: addr, child: child, rates: map[string][]float64{}}
	if err := answering(ctx, addr); err != nil {
		child.stop()
		return nil, fmt.Errorf("%s: %w: %s", w.name, err, child.last())
	}
	return w, nil
}

const nginxSettings = `daemon off;
master_process off;
worker_processes 1;
pid %[1]s/nginx.pid;
error_log %[1]s/error.log;
events { use epoll; multi_accept on; worker_connections 4096; }
http {
	access_log off;
	sendfile %[3]s;
	keepalive_requests 1000000000;
	default_type text/plain;
	open_file_cache max=100 inactive=1h;
	open_file_cache_valid 1h;
	client_body_temp_path %[1]s/body;
	proxy_temp_path %[1]s/proxy;
	fastcgi_temp_path %[1]s/fastcgi;
	uwsgi_temp_path %[1]s/uwsgi;
	scgi_temp_path %[1]s/scgi;
	server { listen %[2]s backlog=1024; root %[1]s/pages; }
}
`

// freeAddress is one on loopback where nobody listens now.
func freeAddress() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return ln.Addr().String(), ln.Close()
}

// answering waits until somebody listens.
func answering(ctx context.Context, addr string) error {
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(20 * time.Millisecond):
		}
	}
}
