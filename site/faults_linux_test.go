package site_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"bramble/artefact"
	"bramble/fleet"
	hostnet "bramble/host/net"
	"bramble/lab"
	"bramble/lab/labtest"
	"bramble/site"
)

const (
	everybody = "head,node[1-3]"
	// pace leaves a small machine time for what is tested.
	pace = 20 * time.Millisecond
	// reserve is what a store leaves free of its disk.
	reserve = 64 << 20
)

// rack is a lab all of whose machines serve a site, each to visitors of its own.
type rack struct {
	*labtest.Lab
	t         *testing.T
	dir       string // what is published
	last      int    // the number of what was last published
	addresses map[string]string
	visitors  map[string]*visitors
	visits    atomic.Int64
}

// visitors of one machine.
type visitors struct {
	stop context.CancelFunc
	all  sync.WaitGroup
}

func newRack(t *testing.T) *rack {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("slowing a link needs root, for network namespaces; CI is root")
	}
	r := &rack{Lab: labtest.Up(t, 3), t: t, dir: t.TempDir(), addresses: map[string]string{}, visitors: map[string]*visitors{}}
	r.settle()
	names, err := fleet.Expand(everybody)
	must(t, err)
	for _, st := range r.standings() {
		r.addresses[st.Node] = st.Address
	}
	t.Cleanup(func() { r.leave(names...) })
	r.visit(names...)
	return r
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// visit sends visitors to machines that have none.
func (r *rack) visit(names ...string) {
	for _, name := range names {
		if r.visitors[name] != nil {
			continue
		}
		ctx, stop := context.WithCancel(context.Background())
		v := &visitors{stop: stop}
		for range 2 {
			v.all.Go(func() {
				if err := site.Visitor(ctx, r.addresses[name], pace, &r.visits); err != nil {
					r.t.Errorf("a visitor of %s: %v", name, err)
				}
			})
		}
		r.visitors[name] = v
	}
}

// leave has the visitors of machines go.
func (r *rack) leave(names ...string) {
	for _, name := range names {
		if v := r.visitors[name]; v != nil {
			v.stop()
			v.all.Wait()
			delete(r.visitors, name)
		}
	}
}

// write makes the next release: pages, and a film that no machine has a part of.
func (r *rack) write() {
	r.t.Helper()
	r.last++
	film := make([]byte, 2<<20)
	rand.NewChaCha8([32]byte{byte(r.last)}).Read(film)
	must(r.t, os.RemoveAll(r.dir))
	site.Write(r.t, r.dir, append(site.Numbered(r.last), "film.bin", string(film))...)
}

// settle publishes the next release while nothing is wrong.
func (r *rack) settle() {
	r.t.Helper()
	r.write()
	r.Must("site", "publish", r.dir, "--name", "blog")
}

// publication is a command that publishes or takes back, under way.
type publication struct {
	cmd   *exec.Cmd
	said  bytes.Buffer // on stderr
	mu    sync.Mutex
	seen  []site.Event
	ended chan struct{} // closed when it has
}

func (r *rack) begin(args ...string) *publication {
	r.t.Helper()
	ctx, stop := context.WithTimeout(context.Background(), 2*labtest.Patience)
	p := &publication{cmd: exec.CommandContext(ctx, labtest.Binary(r.t), append([]string{"site"}, append(args, "--json")...)...), ended: make(chan struct{})}
	p.cmd.Env, p.cmd.Stderr = append(os.Environ(), "BRAMBLE_CLUSTER="+r.State), &p.said
	out, err := p.cmd.StdoutPipe()
	must(r.t, err)
	must(r.t, p.cmd.Start())
	go func() {
		defer stop()
		defer close(p.ended)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			var ev site.Event
			if err := json.Unmarshal(lines.Bytes(), &ev); err != nil {
				r.t.Errorf("%s: %v", lines.Text(), err)
			}
			p.mu.Lock()
			p.seen = append(p.seen, ev)
			p.mu.Unlock()
		}
		p.cmd.Wait()
	}()
	r.t.Cleanup(func() { stop(); <-p.ended })
	return p
}

// saw reports whether something was said that is so.
func (p *publication) saw(is func(site.Event) bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.ContainsFunc(p.seen, is)
}

func (p *publication) ready(node string) bool {
	return p.saw(func(ev site.Event) bool { return ev.Kind == site.Ready && ev.Node == node })
}

func (p *publication) committed() bool {
	return p.saw(func(ev site.Event) bool { return ev.Kind == site.Committed })
}

// until waits for a condition; a publication that ends before says how.
func (r *rack) until(what string, p *publication, is func() bool) {
	r.t.Helper()
	labtest.Until(r.t, what, func() bool {
		select {
		case <-p.ended:
			return true
		default:
			return is()
		}
	}, func() string { return fmt.Sprintf("%+v", r.standings()) })
	if !is() {
		r.t.Fatalf("the publication ended before %s: %v, %+v\n%s", what, p.cmd.ProcessState, p.seen, p.said.String())
	}
}

// standings is how the site stands, as the head sees it; nothing while that is away.
func (r *rack) standings() (all []site.Standing) {
	c, err := r.Cluster(r.t.Context())
	if err != nil {
		return nil
	}
	defer c.Close()
	for st, err := range c.Sites().Status(r.t.Context(), "blog") {
		if err != nil {
			return nil
		}
		all = append(all, st)
	}
	return all
}

var number = regexp.MustCompile(`release \d+`)

// serves is the release that a machine gives to somebody new, by its number in words.
func (r *rack) serves(node string) string {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: labtest.Patience}
	resp, err := client.Get("http://" + r.addresses[node])
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err.Error()
	}
	return number.FindString(string(body))
}

// slow has node3 bring what it lacks for many seconds.
func (r *rack) slow() {
	r.t.Helper()
	rate, err := hostnet.ParseRate("1mbit")
	must(r.t, err)
	must(r.t, r.Slow(r.t.Context(), "node3", rate))
}

// Stages of a publication. Each holds for as long as something is wrong with a machine, and not for a time that passes.

// coming: node3 has a part of the release.
func coming(r *rack) *publication {
	r.write()
	r.slow()
	p := r.begin("publish", r.dir, "--name", "blog")
	r.until("a part of it is on node3", p, func() bool {
		return p.saw(func(ev site.Event) bool {
			return ev.Kind == site.Moving && ev.Node == "node3" && ev.Done > 0 && ev.Done < ev.Total
		})
	})
	return p
}

// verified: all but node3 could serve it.
func verified(r *rack) *publication {
	p := coming(r)
	r.until("it is ready on the others", p, func() bool { return p.ready(lab.Head) && p.ready("node1") && p.ready("node2") })
	return p
}

// halfway: it is live, on all but node1, from which node3 has nothing.
func halfway(r *rack) *publication {
	p := verified(r)
	must(r.t, r.Hang(r.t.Context(), "node1"))
	must(r.t, r.Heal(r.t.Context(), "node3"))
	live := fmt.Sprintf("release %d", r.last)
	r.until("it is live on all but one", p, func() bool {
		return p.committed() && r.serves(lab.Head) == live && r.serves("node2") == live && r.serves("node3") == live
	})
	return p
}

// returning: an earlier release is ready again on all but node2.
func returning(r *rack) *publication {
	must(r.t, r.Hang(r.t.Context(), "node2"))
	p := r.begin("rollback", "blog")
	r.until("it is ready on the others", p, func() bool { return p.ready(lab.Head) && p.ready("node1") && p.ready("node3") })
	return p
}

// crash ends an agent, as when the kernel picks it for want of memory.
func (r *rack) crash(node string) {
	r.t.Helper()
	all, err := r.PS()
	must(r.t, err)
	for _, p := range all {
		if p.Node == node {
			must(r.t, syscall.Kill(p.Agent, syscall.SIGKILL))
		}
	}
	labtest.Until(r.t, node+"'s agent to end", func() bool {
		all, err := r.PS()
		return err == nil && slices.ContainsFunc(all, func(p lab.Processes) bool { return p.Node == node && p.Agent == 0 })
	})
}

// Real processes are killed at each stage of publications and rollbacks under a load of requests, and a disk fills up. No request
// fails that went to a machine that was not killed, and none brings two releases; afterwards all serve the old release or all
// the new one, which is the new one when the publisher was told so; the next publication works, and nobody holds anything that
// is not kept.
func TestSiteThroughFaults(t *testing.T) {
	r := newRack(t)
	r.settle()
	publisher := func(_ *rack, p *publication) { must(t, p.cmd.Process.Kill()) }
	cutPower := func(node string) func(*rack, *publication) {
		return func(r *rack, _ *publication) { r.leave(node); must(t, r.Kill(t.Context(), node)) }
	}
	crash := func(node string) func(*rack, *publication) {
		return func(r *rack, _ *publication) { r.leave(node); r.crash(node) }
	}
	for _, round := range []struct {
		what  string
		reach func(*rack) *publication
		kill  func(*rack, *publication)
	}{
		{"the head while the release comes", coming, cutPower(lab.Head)},
		{"the node to which it comes", coming, cutPower("node3")},
		{"a node that gives it", coming, crash("node1")},
		{"who publishes while it comes", coming, publisher},
		{"the head when nodes have it ready", verified, crash(lab.Head)},
		{"a node that has it ready", verified, cutPower("node1")},
		{"the head when it is live on some", halfway, cutPower(lab.Head)},
		{"a node that has yet to serve it", halfway, cutPower("node1")},
		{"a node that serves it", halfway, crash("node2")},
		{"who publishes when it is live on some", halfway, publisher},
		{"the head when an earlier one is ready", returning, crash(lab.Head)},
		{"a node that has an earlier one ready", returning, cutPower("node1")},
	} {
		t.Logf("killed: %s", round.what)
		if r.round(round.reach, round.kill); t.Failed() {
			t.FailNow() // what follows would fail for the same reason
		}
	}
	r.fullDisk("node2")
	t.Logf("%d visits of three requests each", r.visits.Load())
}

func (r *rack) round(reach func(*rack) *publication, kill func(*rack, *publication)) {
	t, begun := r.t, time.Now()
	before := r.live()
	p := reach(r)
	kill(r, p)
	dead := time.Since(begun)
	r.visited()
	must(t, r.Heal(t.Context(), everybody))
	select {
	case <-p.ended:
	case <-time.After(labtest.Patience):
		t.Fatalf("the publisher hears nothing, and waits: %+v", p.seen)
	}
	code, said := p.cmd.ProcessState.ExitCode(), strings.TrimSpace(p.said.String())
	if code > 0 && !strings.Contains(said, "\ntry: ") || strings.Contains(said, "nats") {
		t.Errorf("the publisher says with status %d:\n%s", code, said)
	}
	r.Await(everybody, fleet.Up)
	var after string
	labtest.Until(t, "all to serve what the head has decided", func() bool {
		after = r.live()
		return after != "" && r.allServe(after)
	}, func() string { return fmt.Sprintf("%+v", r.standings()) })
	if p.committed() && after == before {
		t.Error("the publisher was told that it is live, and all serve the release before")
	}
	t.Logf("killed after %.1f s, all agree after %.1f s; %s; the publisher ended with %d: %q", dead.Seconds(), time.Since(begun).Seconds(),
		map[bool]string{true: "the new release is live", false: "the old release is live"}[after != before], code, said)
	r.goOn()
}

// visited waits until machines were visited some more.
func (r *rack) visited() {
	r.t.Helper()
	before := r.visits.Load()
	labtest.Until(r.t, "visits to go on", func() bool { return r.visits.Load() > before+30 })
}

// goOn shows that after a fault all is well.
func (r *rack) goOn() {
	r.t.Helper()
	for name := range r.addresses {
		r.visit(name)
	}
	r.settle()
	want := fmt.Sprintf("release %d", r.last)
	for name := range r.addresses {
		labtest.Until(r.t, name+" to serve what was published next", func() bool { return r.serves(name) == want })
	}
	labtest.Until(r.t, "stores to hold what is kept, and no more", func() bool { return r.surplus() == "" }, r.surplus)
}

// fullDisk has a node's disk fill up while it brings a release: all go on with the one before, and room is all that it takes.
func (r *rack) fullDisk(node string) {
	t, dir := r.t, filepath.Join(r.State, node, "node", "artefact")
	r.leave(node)
	must(t, r.Kill(t.Context(), node))
	must(t, os.Rename(dir, dir+".was"))
	must(t, os.Mkdir(dir, 0o700))
	used := int64(0)
	must(t, filepath.WalkDir(dir+".was", func(_ string, d os.DirEntry, err error) error {
		if info, _ := d.Info(); err == nil && info.Mode().IsRegular() {
			used += info.Size() + 4096
		}
		return err
	}))
	disk := func(flags uintptr, size int64) {
		t.Helper()
		must(t, syscall.Mount("bramble-test", dir, "tmpfs", flags, fmt.Sprintf("size=%d,mode=0700", size)))
	}
	disk(0, used+reserve+1<<20)
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	must(t, os.CopyFS(dir, os.DirFS(dir+".was")))
	must(t, r.Heal(t.Context(), node))
	before := fmt.Sprintf("release %d", r.last)
	labtest.Until(t, node+" to serve from its new disk", func() bool { return r.serves(node) == before })
	r.Await(node, fleet.Up)
	r.visit(node)
	r.write()
	end := r.Bramble("site", "publish", r.dir, "--name", "blog")
	if end.Code != 5 || !strings.Contains(end.Stderr, node+": try: ") || !strings.Contains(end.Stderr, "blog stays as it was") {
		t.Errorf("a publication that fills a disk ends with %d:\n%s", end.Code, end.Stderr)
	}
	t.Logf("of a full disk the publisher is told: %q", end.Stderr)
	r.visited()
	for name := range r.addresses {
		if now := r.serves(name); now != before {
			t.Errorf("%s serves %q, not %q", name, now, before)
		}
	}
	disk(syscall.MS_REMOUNT, used+2*reserve)
	r.goOn()
}

// live is the release that the head has decided for; "" while it is away.
func (r *rack) live() string {
	s := r.site()
	return string(s.Live)
}

func (r *rack) site() (found site.Site) {
	c, err := r.Cluster(r.t.Context())
	if err != nil {
		return found
	}
	defer c.Close()
	for s, err := range c.Sites().List(r.t.Context()) {
		if err == nil {
			found = s
		}
	}
	return found
}

// allServe reports whether all machines serve a release, and one page of it.
func (r *rack) allServe(id string) bool {
	standings := r.standings()
	for _, st := range standings {
		if st.State != site.Serving || string(st.Release) != id {
			return false
		}
	}
	pages := map[string]bool{}
	for name := range r.addresses {
		pages[r.serves(name)] = true
	}
	return len(standings) == len(r.addresses) && len(pages) == 1
}

// surplus is what stores hold beyond the releases that are kept, or lack of them; "" nothing.
func (r *rack) surplus() string {
	c, err := r.Cluster(r.t.Context())
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	blog := r.site()
	var kept []string
	for _, rel := range blog.Releases {
		kept = append(kept, "site-blog."+string(rel.ID))
	}
	stores := 0
	for ev, err := range c.Durables().Stores(r.t.Context(), artefact.StoreRequest{On: "all", Task: artefact.StoreTask{Op: artefact.OpPins}}) {
		if err != nil {
			return err.Error()
		}
		live := false
		for _, p := range ev.Pins {
			if !slices.Contains(kept, p.Name) || p.Missing > 0 {
				return fmt.Sprintf("%s lacks %d files of %s; kept are %q", ev.Node, p.Missing, p.Name, kept)
			}
			live = live || p.Name == "site-blog."+string(blog.Live)
		}
		if live {
			stores++
		}
	}
	if stores != len(r.addresses)+1 { // the head has one more
		return fmt.Sprintf("%d stores hold what is live", stores)
	}
	return ""
}
