package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"bramble/cluster"
	"bramble/fault"
	"bramble/site"
	"bramble/term"
	"bramble/web"
)

type sitePreviewCmd struct {
	Folder string `arg:"" help:"A folder." placeholder:"DIR"`
	Name   string `help:"Name of the preview, which may be that of a site: nothing of the site changes (default the folder's, or preview)." placeholder:"NAME"`
	JSON   bool   `help:"A JSON object per line: first its url, then files, bytes and moved of each change."`
}

func (sitePreviewCmd) Examples() string {
	return `bramble site preview public/
bramble site preview public/ --name blog     # then, when it is as it should be: bramble site publish public/ --name blog
`
}

// previewEvery is how often the folder of a preview is looked at.
const previewEvery = 200 * time.Millisecond

func (c *sitePreviewCmd) Run(e *env) error {
	if info, err := os.Stat(c.Folder); err != nil || !info.IsDir() {
		return fault.New(fault.Misused, "%s is no folder", c.Folder).Hint("bramble site preview DIR")
	}
	if c.Name == "" {
		c.Name = filepath.Base(absolute(c.Folder))
		if site.CheckName(c.Name) != nil {
			c.Name = "preview"
		}
	}
	cl, err := e.open()
	if err != nil {
		return err
	}
	defer cl.Close()
	s := &previewShow{env: e, sitePreviewCmd: c, cluster: cl}
	defer s.close()
	if err := s.open(); err != nil {
		return err
	}
	return watch(e, c.Folder, previewEvery, s.lost, func() error { return s.away(s.show()) })
}

// previewShow keeps a preview open, and shows the folder in it.
type previewShow struct {
	*env
	*sitePreviewCmd
	cluster *cluster.Cluster
	preview *web.Preview
	told    string // where it is
}

// open opens the preview, and says where when that was not said yet.
func (s *previewShow) open() (err error) {
	if s.preview, err = (web.Client{Conn: s.cluster.Conn}).Preview(s.ctx, s.Name); err != nil || s.preview.URL == s.told {
		return err
	}
	s.told = s.preview.URL
	if s.JSON {
		return term.JSONLine(s.out.Stdout, web.Shown{URL: s.told})
	}
	fmt.Fprintf(s.out.Stdout, "%s shows %s to all who are signed in to the dashboard, as it would be published, and follows it until Ctrl-C\n", s.told, clean(s.Folder))
	return nil
}

func (s *previewShow) close() {
	if s.preview != nil {
		s.preview.Close()
	}
}

// lost reports whether the preview is closed, so that it is to be opened and filled again.
func (s *previewShow) lost() bool { return s.preview == nil || s.preview.Over() }

// taken is the error of a preview whose name another took: to take it back would go on for ever.
func (s *previewShow) taken() error {
	if s.preview == nil {
		return nil
	}
	if err := s.preview.Err(); fault.Is(err, fault.Conflict) {
		return err
	}
	return nil
}

// away is an error in the words of a person whose head is away: nothing need be done, as the preview is opened again.
func (s *previewShow) away(err error) error {
	if err == nil || s.ctx.Err() != nil || s.cluster.Conn.Connected() {
		return err
	}
	return fault.New(fault.Unreachable, "the head is away, and the preview with it").Hint("wait, the preview goes on when the head is back; Ctrl-C ends it")
}

// show shows the folder as it is now.
func (s *previewShow) show() error {
	if s.lost() {
		if err := s.taken(); err != nil {
			return err
		}
		if err := s.open(); err != nil {
			return err
		}
	}
	var odd []site.Event
	ref, moved, err := s.cluster.Sites().Upload(s.ctx, site.Source(s.Folder), func(ev site.Event) bool { odd = append(odd, ev); return true })
	if err != nil {
		return err
	}
	for _, ev := range odd {
		if ev.Kind == site.LeftOut || ev.Kind == site.Noted {
			fmt.Fprintf(s.out.Stderr, "%s: %s\n", clean(ev.Path), clean(ev.Error))
		}
	}
	shown, err := s.preview.Show(ref)
	switch {
	case err != nil:
		return err
	case s.JSON:
		return term.JSONLine(s.out.Stdout, struct {
			web.Shown
			Moved int64 `json:"moved"`
		}{shown, moved})
	}
	fmt.Fprintf(s.out.Stdout, "%s  %s, %s; %s to the head\n", time.Now().Format(time.TimeOnly), countFiles(shown.Files), term.Bytes(shown.Bytes), term.Bytes(moved))
	return nil
}
