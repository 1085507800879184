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
	// pace leaves a small machine time for what is tested: each node is visited a few hundred times a second.
	pace = 5 * time.Millisecond
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

// halfway: it is live, on all but node2.
func halfway(r *rack) *publication {
	p := verified(r)
	must(r.t, r.Hang(r.t.Context(), "node2"))
	must(r.t, r.Heal(r.t.Context(), "node3"))
	live := fmt.Sprintf("release %d", r.last)
	r.until("it is live on all but one", p, func() bool {
		return p.committed() && r.serves(lab.Head) == live && r.serves("node1") == live && r.serves("node3") == live
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

func (r *rack) cutPower(node string) { must(r.t, r.Kill(r.t.Context(), node)) }

// Real processes are killed at each stage of publications and rollbacks under a load of requests. None fails that went to a
// machine that was not killed, and none brings two releases; afterwards all serve the old release or all the new one, which
// is the new one when the publisher was told so; the next publication works, and nobody holds anything that is not kept.
func TestKilledAtEachStage(t *testing.T) {
	r := newRack(t)
	r.settle()
	for _, round := range []struct {
		stage string
		reach func(*rack) *publication
		who   string
		kill  func(*rack, string)
	}{
		{"coming", coming, lab.Head, (*rack).cutPower},
		{"coming", coming, "node3", (*rack).cutPower},
		{"coming", coming, "node1", (*rack).crash},
		{"verified", verified, lab.Head, (*rack).crash},
		{"verified", verified, "node1", (*rack).cutPower},
		{"halfway", halfway, lab.Head, (*rack).cutPower},
		{"halfway", halfway, "node2", (*rack).cutPower},
		{"halfway", halfway, "node1", (*rack).crash},
		{"returning", returning, lab.Head, (*rack).crash},
		{"returning", returning, "node1", (*rack).cutPower},
	} {
		ok := t.Run(round.stage+"/"+round.who, func(t *testing.T) {
			whole := r.t
			r.t = t
			defer func() { r.t = whole }()
			r.round(round.reach, round.who, func() { round.kill(r, round.who) })
		})
		if !ok {
			break // what follows would fail for the same reason
		}
	}
	t.Logf("%d visits of three requests each", r.visits.Load())
}

func (r *rack) round(reach func(*rack) *publication, who string, kill func()) {
	t, begun := r.t, time.Now()
	before := r.live()
	p := reach(r)
	r.leave(who)
	kill()
	dead := time.Since(begun)
	visits := r.visits.Load()
	labtest.Until(t, "visits to go on", func() bool { return r.visits.Load() > visits+30 })
	must(t, r.Heal(t.Context(), everybody))
	select {
	case <-p.ended:
	case <-time.After(labtest.Patience):
		t.Fatalf("the publisher hears nothing, and waits: %+v", p.seen)
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 0 && !strings.Contains(p.said.String(), "\ntry: ") || strings.Contains(p.said.String(), "nats") {
		t.Errorf("the publisher says with status %d:\n%s", code, p.said.String())
	}
	r.Await(everybody, fleet.Up)
	var after string
	labtest.Until(t, "all to serve what the head has decided", func() bool {
		after = r.live()
		return after != "" && r.allServe(after)
	}, func() string { return fmt.Sprintf("%+v", r.standings()) })
	if p.committed() && after == before {
		t.Errorf("the publisher was told that it is live, and all serve the release before")
	}
	t.Logf("killed after %.1f s, all agree after %.1f s; %s, its publisher ended with %d: %s", dead.Seconds(), time.Since(begun).Seconds(),
		map[bool]string{true: "the new release is live", false: "the old release is live"}[after != before], p.cmd.ProcessState.ExitCode(), strings.TrimSpace(p.said.String()))
	r.visit(who)
	r.settle()
	want := fmt.Sprintf("release %d", r.last)
	for name := range r.addresses {
		labtest.Until(t, name+" to serve what was published next", func() bool { return r.serves(name) == want })
	}
	labtest.Until(t, "stores to hold what is kept, and no more", func() bool { return r.surplus() == "" }, r.surplus)
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
