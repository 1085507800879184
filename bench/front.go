package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	frontNginx  = 1.0 // times nginx's requests per CPU-second
	frontApache = 4.0 // times Apache's, for 1 KiB
	frontMemory = 20 << 20
	frontConns  = 1000 // of visitors, while memory is looked at
	frontLoad   = 0.7  // of what nginx can do at most
)

// balancer is a program between wrk and the backends.
type balancer struct {
	*web
	start func(b *bench, ctx context.Context, w *web, dir string, backends []string) error
}

// balancers are those that are measured, bramble first.
func balancers() []*balancer {
	named := func(name string, start func(*bench, context.Context, *web, string, []string) error) *balancer {
		return &balancer{&web{name: name, rates: map[string][]float64{}}, start}
	}
	return []*balancer{named("bramble", startFront), named("nginx", startProxy(nginxProxy, "nginx", "-p", "DIR", "-c", "FILE", "-e", "DIR/error.log")),
		named("haproxy", startProxy(haproxy, "haproxy", "-f", "FILE")), named("apache2", startProxy(apacheProxy, "apache2", "-f", "FILE", "-DFOREGROUND"))}
}

// front measures the balancer beside others, each on one thread or as near to it as it can be.
func (b *bench) front(ctx context.Context, s *section) error {
	s.title = "Requests through a balancer"
	s.how = fmt.Sprintf("GET over loopback from `wrk` with %d connections kept alive, in turns of %s, through a balancer to two addresses of one nginx; requests for each second of processor time that the balancer used, as the kernel counts it. "+
		"All are Debian's: nginx and HAProxy with one thread and connections kept alive to the backends, Apache with mod_proxy_balancer and the event MPM; no access log anywhere.", httpClients, httpTurn)
	if lacking := missing("wrk", "nginx", "haproxy", "apache2"); len(lacking) > 0 {
		return fmt.Errorf("this needs %s; try: scripts/setup bench", strings.Join(lacking, ", "))
	}
	b.say("front: requests through a balancer, beside nginx, HAProxy and Apache")
	backends, stop, err := b.startBackends(ctx)
	if err != nil {
		return err
	}
	defer stop()
	all := balancers()
	var webs []*web
	for _, x := range all {
		dir := filepath.Join(b.dir, "front-"+x.name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if x.addr, err = freeAddress(); err != nil {
			return err
		}
		if err := x.start(b, ctx, x.web, dir, backends); err != nil {
			return fmt.Errorf("%s: %w", x.name, err)
		}
		defer x.child.stop()
		if err := answering(ctx, x.addr); err != nil {
			return fmt.Errorf("%s: %w: %s", x.name, err, x.child.last())
		}
		webs = append(webs, x.web)
	}
	if err := load(ctx, webs, b.runs); err != nil {
		return err
	}
	for _, page := range pages {
		for i, peer := range webs[1:] {
			r := httpRow(page.name, webs[0], []*web{peer})
			r.target, r.verdict = "", noTarget
			factor := map[int]float64{0: frontNginx, 2: frontApache}[i]
			if factor == frontApache && page.name != "1k" {
				factor = 0
			}
			if factor > 0 {
				r.target = fmt.Sprintf("≥ %.1f×", factor)
				r.verdict = judge(middle(webs[0].rates[page.name]) >= factor*middle(peer.rates[page.name]))
			}
			s.add(r)
		}
	}
	if err := b.frontLatency(ctx, s, webs[0], webs[1]); err != nil {
		return err
	}
	return frontHolds(ctx, s, webs)
}

// frontLatency puts the same load on both, at a steady rate, and compares how long answers take at worst.
func (b *bench) frontLatency(ctx context.Context, s *section, own, peer *web) error {
	most, err := peer.most(ctx)
	if err != nil {
		return err
	}
	rate := int(frontLoad * most)
	worst := map[*web][]time.Duration{}
	for range b.runs {
		for _, w := range []*web{own, peer} {
			took, err := steady(ctx, w.addr, rate, b.outage/4)
			if err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
			worst[w] = append(worst[w], took[len(took)*99/100])
		}
	}
	ours, theirs := slices.Sorted(slices.Values(worst[own]))[len(worst[own])/2], slices.Sorted(slices.Values(worst[peer]))[len(worst[peer])/2]
	s.add(row{
		what:   fmt.Sprintf("1 KiB at %s requests a second, which is %.0f %% of what nginx can do: p99", count(rate), 100*frontLoad),
		figure: fmt.Sprintf("%s (%s to %s)", brief(ours), brief(slices.Min(worst[own])), brief(slices.Max(worst[own]))),
		peer:   fmt.Sprintf("nginx: %s (%s to %s)", brief(theirs), brief(slices.Min(worst[peer])), brief(slices.Max(worst[peer]))),
		ratio:  times(float64(ours), float64(theirs)), target: "≤ 1.0×", verdict: judge(ours <= theirs),
	})
	return nil
}

// brief is a duration with three digits.
func brief(d time.Duration) string {
	unit := time.Duration(math.Pow10(max(len(strconv.FormatInt(int64(d), 10))-3, 0)))
	return d.Round(unit).String()
}

// most is how many requests a second a server can answer, with nothing else to do on this machine.
func (w *web) most(ctx context.Context) (float64, error) {
	begun := time.Now()
	answers, err := w.press(ctx, pages[0].name)
	return float64(answers) / time.Since(begun).Seconds(), err
}

// steady asks at a steady rate, whatever the answers do, and returns how long each took from when it was due, the shortest first.
func steady(ctx context.Context, addr string, rate int, long time.Duration) ([]time.Duration, error) {
	var mu sync.Mutex
	var all []time.Duration
	var failed error
	var running sync.WaitGroup
	begun := time.Now()
	for i := range httpClients {
		running.Go(func() {
			var took []time.Duration
			err := func() error {
				conn, err := net.Dial("tcp", addr)
				if err != nil {
					return err
				}
				defer conn.Close()
				r := bufio.NewReader(conn)
				for n := i; ctx.Err() == nil; n += httpClients {
					due := time.Duration(n) * time.Second / time.Duration(rate)
					if due > long {
						return nil
					}
					time.Sleep(due - time.Since(begun))
					if err := askOnce(conn, r, pages[0].name); err != nil {
						return err
					}
					took = append(took, time.Since(begun)-due)
				}
				return ctx.Err()
			}()
			mu.Lock()
			defer mu.Unlock()
			if all = append(all, took...); err != nil {
				failed = err
			}
		})
	}
	running.Wait()
	slices.Sort(all)
	return all, failed
}

// askOnce asks for a page and reads it.
func askOnce(conn net.Conn, r *bufio.Reader, page string) error {
	if _, err := fmt.Fprintf(conn, "GET /%s HTTP/1.1\r\nHost: a\r\n\r\n", page); err != nil {
		return err
	}
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err != nil || res.StatusCode != 200 {
		return fmt.Errorf("answered by %s, %w", res.Status, err)
	}
	return nil
}

// frontHolds opens many connections through each and looks at its memory.
func frontHolds(ctx context.Context, s *section, all []*web) error {
	var sizes []int64
	for _, w := range all {
		size, err := holding(ctx, w)
		if err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
		sizes = append(sizes, size)
	}
	var peers []string
	for i, w := range all[1:] {
		peers = append(peers, fmt.Sprintf("%s: %.1f MiB", w.name, float64(sizes[i+1])/(1<<20)))
	}
	s.add(row{what: fmt.Sprintf("memory with %s connections of visitors, kept alive", count(frontConns)), figure: fmt.Sprintf("%.1f MiB RSS", float64(sizes[0])/(1<<20)),
		peer: strings.Join(peers, ", "), target: fmt.Sprintf("≤ %d MiB", frontMemory>>20), verdict: judge(sizes[0] <= frontMemory)})
	return nil
}

// holding is a server's memory while many connections are open, each of which has had an answer.
func holding(ctx context.Context, w *web) (int64, error) {
	for range frontConns {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", w.addr)
		if err != nil {
			return 0, err
		}
		defer conn.Close()
		if err := askOnce(conn, bufio.NewReader(conn), pages[0].name); err != nil {
			return 0, err
		}
	}
	var sum int64
	for _, pid := range family(w.child.cmd.Process.Pid) {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			return 0, err
		}
		_, rest, _ := strings.Cut(string(status), "VmRSS:")
		kib, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
		if err != nil {
			return 0, err
		}
		sum += kib << 10
	}
	return sum, nil
}

// family is a process and its children.
func family(pid int) []int {
	all := []int{pid}
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, list := range lists {
		text, _ := os.ReadFile(list)
		for _, word := range strings.Fields(string(text)) {
			if child, err := strconv.Atoi(word); err == nil {
				all = append(all, family(child)...)
			}
		}
	}
	return all
}

// startBackends starts one nginx that serves the pages at two addresses.
func (b *bench) startBackends(ctx context.Context) ([]string, func(), error) {
	w, err := b.startNginx(ctx, "off")
	if err != nil {
		return nil, nil, err
	}
	second, err := b.startNginxAs(ctx, "second", "off")
	if err != nil {
		w.child.stop()
		return nil, nil, err
	}
	return []string{w.addr, second.addr}, func() { w.child.stop(); second.child.stop() }, nil
}

// startFront starts bramble as it is released.
func startFront(b *bench, _ context.Context, w *web, _ string, backends []string) (err error) {
	args := []string{"front", "serve", "--client-connections", "0", "--listen", w.addr} // all visitors here are one address
	for _, at := range backends {
		args = append(args, "--backend", "http://"+at)
	}
	w.child, err = b.start([]string{"GOMAXPROCS=1"}, b.exe, args...)
	return err
}

// startProxy starts a program with a file of settings.
func startProxy(settings func(dir, addr string, backends []string) string, program string, args ...string) func(*bench, context.Context, *web, string, []string) error {
	return func(b *bench, _ context.Context, w *web, dir string, backends []string) (err error) {
		file := filepath.Join(dir, "settings")
		if err := os.WriteFile(file, []byte(settings(dir, w.addr, backends)), 0o644); err != nil {
			return err
		}
		words := slices.Clone(args)
		for i := range words {
			words[i] = strings.NewReplacer("DIR", dir, "FILE", file).Replace(words[i])
		}
		w.child, err = b.start(nil, program, words...)
		return err
	}
}

func nginxProxy(dir, addr string, backends []string) string {
	return fmt.Sprintf(`daemon off;
master_process off;
worker_processes 1;
pid %[1]s/pid;
events { use epoll; multi_accept on; worker_connections 8192; }
http {
	access_log off;
	keepalive_requests 1000000000;
	client_body_temp_path %[1]s/body;
	proxy_temp_path %[1]s/proxy;
	fastcgi_temp_path %[1]s/fastcgi;
	uwsgi_temp_path %[1]s/uwsgi;
	scgi_temp_path %[1]s/scgi;
	upstream all { server %[3]s; keepalive 64; keepalive_requests 1000000000; }
	server {
		listen %[2]s backlog=1024;
		location / {
			proxy_pass http://all;
			proxy_http_version 1.1;
			proxy_set_header Connection "";
			proxy_set_header Host $host;
			proxy_set_header X-Forwarded-For $remote_addr;
		}
	}
}
`, dir, addr, strings.Join(backends, "; server "))
}

func haproxy(_, addr string, backends []string) string {
	text := fmt.Sprintf(`global
	nbthread 1
	maxconn 8192
defaults
	mode http
	timeout connect 2s
	timeout client 60s
	timeout server 60s
	option forwardfor
	http-reuse always
frontend all
	bind %s
	default_backend all
backend all
	balance random
`, addr)
	for i, at := range backends {
		text += fmt.Sprintf("\tserver s%d %s check\n", i, at)
	}
	return text
}

func apacheProxy(dir, addr string, backends []string) string {
	text := fmt.Sprintf("ServerRoot %s\nServerName a\nListen %s\nPidFile pid\nErrorLog error.log\nDefaultRuntimeDir %s\nMutex file:%s default\n", dir, addr, dir, dir)
	for _, m := range []string{"mpm_event", "authz_core", "slotmem_shm", "lbmethod_byrequests", "proxy", "proxy_http", "proxy_balancer"} {
		text += fmt.Sprintf("LoadModule %s_module /usr/lib/apache2/modules/mod_%s.so\n", m, m)
	}
	text += "User www-data\nGroup www-data\nKeepAlive On\nMaxKeepAliveRequests 0\nServerLimit 1\nStartServers 1\nThreadLimit 256\nThreadsPerChild 256\nMaxRequestWorkers 256\nAsyncRequestWorkerFactor 20\n<Proxy balancer://all>\n"
	for _, at := range backends {
		text += "BalancerMember http://" + at + "\n"
	}
	return text + "</Proxy>\nProxyPass / balancer://all/\nProxyPreserveHost On\n"
}
