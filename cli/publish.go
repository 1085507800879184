package cli

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"time"

	"bramble/fault"
	"bramble/fleet"
	"bramble/site"
	"bramble/term"
)

type sitePublishCmd struct {
	Source   string   `arg:"" help:"A folder, a .tar, .tar.gz, .tar.zst or .zip, or the http(s) address of one." placeholder:"SOURCE"`
	Name     string   `required:"" help:"Name of the site: a lower-case letter, then letters, digits and dashes." placeholder:"NAME"`
	On       string   `help:"Which nodes: all, node[01-16], model=pi3, a label; , or & and ! (default all, then as before)." placeholder:"SEL"`
	Quorum   string   `help:"How many of the nodes that are up must be ready before all swap (default 100%)." placeholder:"P%"`
	Listen   string   `help:"Where nodes serve it (default port 80 as root, 8080 else, or what is free)." placeholder:"[ADDRESS]:PORT"`
	Host     []string `help:"Host name that it answers to, so that several sites share a port; repeat." placeholder:"NAME"`
	Folder   string   `help:"Lay releases out in this folder of the nodes in place of serving them; FOLDER/current is the live one." placeholder:"PATH"`
	Exec     string   `help:"Command that nodes run after each swap in --folder, as your account there." placeholder:"COMMAND"`
	As       string   `help:"root: work in --folder as root (admins)." placeholder:"root"`
	Log      *bool    `negatable:"" help:"Have nodes keep an access log of up to 16 MB each (--no-log ends it); bramble site log shows it."`
	Courtesy bool     `help:"Leave visitors of sites the room that they need while the files come."`
	Watch    bool     `help:"Publish again whenever something in the folder changes, until Ctrl-C; bramble site preview shows changes before they are published."`
	JSON     bool     `help:"A JSON object per line: kind (nodes, upload, progress, ready, failed, committed, live, finished) and what goes with it."`
}

func (sitePublishCmd) Examples() string {
	return `bramble site publish public/ --name blog
bramble site publish public/ --name blog --on label=web --host blog.example.org --quorum 90%
bramble site publish public/ --name blog --watch
bramble site publish https://example.org/blog.tar.gz --name blog
bramble site publish shop/ --name shop --folder /srv/shop --exec 'apachectl graceful' --as root
`
}

func (c *sitePublishCmd) Run(e *env) error {
	req := site.Publish{Spec: site.Spec{Name: c.Name, On: c.On, Listen: c.Listen, Hosts: c.Host, Folder: c.Folder, Exec: c.Exec, As: c.As}, Courtesy: c.Courtesy}
	if c.Log != nil {
		req.Log, req.NoLog = *c.Log, !*c.Log
	}
	if c.Quorum != "" {
		if n, err := fmt.Sscanf(c.Quorum, "%d%%", &req.Quorum); n != 1 || err != nil || fmt.Sprintf("%d%%", req.Quorum) != c.Quorum {
			return fault.New(fault.Misused, "--quorum %.40q is no percentage", c.Quorum).Hint("--quorum 90%%")
		}
	}
	if info, err := os.Stat(c.Source); c.Watch && (err != nil || !info.IsDir()) {
		return fault.New(fault.Misused, "--watch needs a folder, and %s is none", c.Source).Hint("bramble site publish DIR --name %s --watch", c.Name)
	}
	cl, err := e.open()
	if err != nil {
		return err
	}
	defer cl.Close()
	publish := func() error { return showRollout(e, c.JSON, cl.Sites().Publish(e.ctx, req, site.Source(c.Source))) }
	if !c.Watch {
		return publish()
	}
	return watch(e, c.Source, publishEvery, func() bool { return false }, publish)
}

// publishEvery is how often a folder that is published whenever it changes is looked at.
const publishEvery = 500 * time.Millisecond

// watch publishes, and again each time that the folder has changed and holds still, or what it was published to is lost. What
// cannot be published is said, and the next change waited for; when somebody else has taken its place, that is the end.
func watch(e *env, dir string, every time.Duration, lost func() bool, publish func() error) error {
	published, seen, said := "", "", ""
	for {
		begun := time.Now()
		now, err := look(dir)
		pause := max(every, 10*time.Since(begun)) // a large folder on a small machine is looked at less often
		if err == nil && now == seen && (now != published || lost()) {
			if now != published {
				said = ""
			}
			published = now
			err = publish()
		}
		switch {
		case e.ctx.Err() != nil:
			return e.ctx.Err()
		case fault.Is(err, fault.Conflict) && lost():
			return err
		case err != nil && err.Error() != said:
			said = err.Error()
			term.Report(e.out, err)
		}
		seen = now
		select {
		case <-e.ctx.Done():
			return e.ctx.Err()
		case <-time.After(pause):
		}
	}
}

// look is the state of a folder in short: another one when a file was added, removed or written.
func look(dir string) (string, error) {
	sum := sha256.New()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && !d.IsDir() {
			fmt.Fprintf(sum, "%q %s %d %d\n", path, info.Mode(), info.Size(), info.ModTime().UnixNano())
		}
		return err
	})
	return string(sum.Sum(nil)), err
}

type siteRollbackCmd struct {
	Name string `arg:"" help:"Name of the site."`
	To   string `help:"The release to go to, by the beginning of its id (default the one before the live one)." placeholder:"ID"`
	JSON bool   `help:"A JSON object per line, as publish has it."`
}

func (siteRollbackCmd) Examples() string {
	return "bramble site rollback blog\nbramble site rollback blog --to 3fa1\n"
}

func (c *siteRollbackCmd) Run(e *env) error {
	cl, err := e.open()
	if err != nil {
		return err
	}
	defer cl.Close()
	return showRollout(e, c.JSON, cl.Sites().Rollback(e.ctx, site.Rollback{Name: c.Name, To: c.To}))
}

// showRollout prints what a publication or a rollback reports.
func showRollout(e *env, json bool, events iter.Seq2[site.Event, error]) error {
	b, stop := newBars(e)
	defer stop()
	s := &rolloutShow{bars: b, json: json}
	for ev, err := range events {
		if err != nil {
			return err
		}
		if err := s.event(ev); err != nil {
			return err
		}
	}
	return s.verdict()
}

// rolloutShow shows a publication: bars where they can be drawn, and a line for each node that is not as it should be.
type rolloutShow struct {
	bars
	json   bool
	moved  int64 // bytes to the nodes
	live   int
	failed []string
	behind []string
	done   *site.Event

	complained []string // nodes on which the command failed
}

func (s *rolloutShow) event(ev site.Event) error {
	s.draw(ev)
	switch ev.Kind {
	case site.Ready:
		s.moved += ev.Moved
	case site.Live:
		if s.live++; ev.Error != "" {
			s.complained = append(s.complained, ev.Node)
		}
	case site.Failed:
		s.failed = append(s.failed, ev.Node)
	case site.Finished:
		s.done, s.behind = &ev, ev.Behind
	}
	if s.json {
		return term.JSONLine(s.out.Stdout, ev)
	}
	switch ev.Kind {
	case site.Chosen:
		if len(ev.Away) > 0 {
			fmt.Fprintf(s.out.Stderr, "%s: down; gets the release when it is back\n", fleet.Fold(ev.Away))
		}
	case site.LeftOut:
		fmt.Fprintf(s.out.Stderr, "%s is left out: %s\n", clean(ev.Path), clean(ev.Error))
	case site.Noted:
		fmt.Fprintf(s.out.Stderr, "%s %s\n", clean(ev.Path), clean(ev.Error))
	case site.Failed, site.Live:
		s.warn(ev)
	case site.Finished:
		return s.end(ev)
	}
	return nil
}

func (s *rolloutShow) warn(ev site.Event) {
	if ev.Error == "" {
		return
	}
	fmt.Fprintf(s.out.Stderr, "%s: %s\n", s.out.Stderr.Name(ev.Node), s.out.Stderr.Bad(clean(ev.Error)))
	if ev.Try != "" {
		fmt.Fprintf(s.out.Stderr, "%s: try: %s\n", s.out.Stderr.Name(ev.Node), clean(ev.Try))
	}
}

// end prints the line that says what was done.
func (s *rolloutShow) end(ev site.Event) error {
	live := liveOf(*ev.Site)
	_, err := fmt.Fprintf(s.out.Stdout, "%s: release %s live on %s; %s, %s; %s to the head, %s to the nodes; %.2f s\n", ev.Site.Name, site.Short(live.ID),
		countNodes(s.live), countFiles(live.Files), term.Bytes(live.Bytes), term.Bytes(ev.Moved), term.Bytes(s.moved), ev.Seconds)
	return err
}

func countNodes(n int) string {
	if n == 1 {
		return "1 node"
	}
	return term.Count(int64(n)) + " nodes"
}

// draw moves the bars: one for what leaves this machine, one for each node.
func (s *rolloutShow) draw(ev site.Event) {
	if s.progress == nil {
		return
	}
	switch ev.Kind {
	case site.Uploading:
		bar := s.bar("upload", term.Data)
		bar.Total(ev.Total)
		bar.Set(ev.Done)
	case site.Moving:
		bar := s.bar(ev.Node, term.Data)
		bar.Total(ev.Total)
		bar.Set(ev.Done)
	case site.Ready:
		s.bar(ev.Node, term.Data).State("ready")
	case site.Live:
		s.bar(ev.Node, term.Data).Done("live")
	case site.Failed:
		s.bar(ev.Node, term.Data).Fail("failed")
	}
}

func (s *rolloutShow) verdict() error {
	switch {
	case s.done == nil:
		return fault.New(fault.Unreachable, "the head broke off before it said how the publication ended").Hint("bramble site list, and the same again")
	case len(s.complained) > 0:
		return fault.New(fault.Partial, "the release is live, but the command failed on %s", fleet.Fold(s.complained)).Hint("the lines above say why; the same again runs it again")
	case len(s.behind) > 0:
		return fault.New(fault.Partial, "not yet on %s, which will follow", fleet.Fold(s.behind)).Hint("bramble site status %s", s.done.Site.Name)
	}
	return nil
}
