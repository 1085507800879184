package static

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"slices"
	"strings"

	"bramble/artefact"
	"bramble/fault"
	"bramble/sorts"
)

func misused(format string, args ...any) error { return fault.New(fault.Misused, format, args...) }

// compiler makes a release.
type compiler struct {
	*Release
	o       Options
	entries []artefact.Entry // the files, links followed, without those that are hidden
	special map[string]artefact.Entry
	bodies  map[artefact.Ref]*body
	looked  map[artefact.Ref]bool // blobs whose beginning decides about a file's type
	dresser dresser
	blocks  []block

	siblings map[string][]sibling // compressed forms by the path that they are forms of
}

// Compile reads _redirects and _headers of the tree and makes it ready. An error names the file and the line, and is
// fault.Misused; or it wraps artefact.ErrCorrupt. src is used until the release's Close.
func Compile(ctx context.Context, src artefact.Opener, m artefact.Manifest, o Options) (*Release, error) {
	c := &compiler{Release: &Release{src: src, id: o.ID}, o: o, bodies: map[artefact.Ref]*body{}, special: map[string]artefact.Entry{}}
	if o.ID == "" || strings.Trim(o.ID, "-_abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") != "" {
		return nil, misused("%q cannot be the name of a release", o.ID)
	}
	all, err := followLinks(m)
	if err != nil {
		return nil, err
	}
	for _, e := range all {
		if e.Path == redirectsFile || e.Path == headersFile {
			c.special[e.Path] = e
		}
		if !hidden(e.Path) {
			c.entries = append(c.entries, e)
		}
	}
	if err := c.readRules(ctx); err != nil {
		return nil, err
	}
	if err := c.readBodies(ctx); err != nil {
		return nil, err
	}
	if err := c.findSiblings(ctx); err != nil {
		return nil, err
	}
	c.makeFiles()
	c.makeCookie()
	return c.Release, nil
}

func (c *compiler) readRules(ctx context.Context) error {
	text, err := c.readSpecial(ctx, redirectsFile)
	if err != nil {
		return err
	}
	if c.rules, err = parseRedirects(text); err != nil {
		return err
	}
	if text, err = c.readSpecial(ctx, headersFile); err != nil {
		return err
	}
	c.blocks, err = parseHeaders(text)
	return err
}

func (c *compiler) readSpecial(ctx context.Context, name string) (string, error) {
	e, ok := c.special[name]
	if !ok {
		return "", nil
	}
	if e.Size > longestFile {
		return "", misused("%s has %d bytes; %d are allowed", name, e.Size, longestFile)
	}
	data, err := readBlob(ctx, c.src, artefact.Blob{Ref: e.Ref, Size: e.Size})
	if err != nil {
		return "", fmt.Errorf("read %s: %w", name, err)
	}
	return string(data), nil
}

// makeFiles makes what each path is answered with.
func (c *compiler) makeFiles() {
	if !c.o.Modified.IsZero() {
		c.modified = c.o.Modified.UTC().Format(http.TimeFormat)
	}
	c.dresser = dresser{blocks: c.blocks, known: map[look]*lines{}, modified: c.modified}
	immutable := hashed(c.entries, c.o.Earlier)
	c.files = make(map[string]*file, len(c.entries))
	for _, e := range c.entries {
		c.files[e.Path] = c.makeFile(e, immutable[e.Path])
	}
	for _, e := range c.entries {
		c.addForms(e)
	}
	for _, e := range c.entries {
		c.dressFile(e)
	}
}

func (c *compiler) makeFile(e artefact.Entry, immutable bool) *file {
	blob := artefact.Blob{Ref: e.Ref, Size: e.Size}
	return &file{forms: []form{{Blob: blob, body: c.bodies[e.Ref].kept()}}, hashed: immutable}
}

// addForms gives a file its compressed forms: those of the options, then siblings, each coding once.
func (c *compiler) addForms(e artefact.Entry) {
	f := c.files[e.Path]
	add := func(coding string, b artefact.Blob) {
		taken := slices.ContainsFunc(f.forms, func(g form) bool { return g.coding == coding })
		if !taken && b.Size < f.plain().Size {
			f.forms = append(f.forms, form{coding: coding, Blob: b, body: c.bodies[b.Ref].kept()})
		}
	}
	for _, v := range c.o.Variants[e.Path] {
		add(v.Encoding, v.Blob)
	}
	for _, s := range c.siblings[e.Path] {
		add(s.coding, s.Blob)
	}
	sorts.By(f.forms[1:], func(a, b form) int {
		return cmp.Or(cmp.Compare(a.Size, b.Size), strings.Compare(a.coding, b.coding))
	})
	f.forms = slices.Clip(f.forms)
}

func (c *compiler) dressFile(e artefact.Entry) {
	f, b := c.files[e.Path], c.bodies[e.Ref]
	kind := typeOf(e.Path, b.beginning, b.whole(e.Size))
	f.html = strings.HasPrefix(kind, "text/html")
	varies := len(f.forms) > 1
	f.own = c.dresser.dress("/"+e.Path, kind, f.hashed, varies)
	f.clean = f.own
	if f.html && path.Ext(e.Path) == ".html" {
		f.clean = c.dresser.dress(cleanPath(e.Path), kind, f.hashed, varies)
	}
	f.hashed = f.hashed || !f.html && strings.Contains(string(f.own.cache), "immutable")
}

// cleanPath is the path of a page without index.html or .html.
func cleanPath(name string) string {
	if dir, base := path.Split(name); base == "index.html" {
		return "/" + dir
	}
	return "/" + strings.TrimSuffix(name, ".html")
}

// makeCookie prepares the release cookie. It is of use only where there are assets that may change under their names.
func (c *compiler) makeCookie() {
	name := cmp.Or(c.o.Cookie, "bramble-release")
	c.cookie = []byte(name + "=" + c.id)
	for _, f := range c.files {
		if !f.html && !f.hashed {
			c.setting = []byte("Set-Cookie: " + name + "=" + c.id + "; Path=/; HttpOnly; SameSite=Lax\r\n")
			return
		}
	}
}

// isFile, isLink and isDir say what an entry is.
func isFile(e artefact.Entry) bool { return e.FileMode().IsRegular() }
func isLink(e artefact.Entry) bool { return e.FileMode().Type() == fs.ModeSymlink }
func isDir(e artefact.Entry) bool  { return e.FileMode().IsDir() }
