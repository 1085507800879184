// Package static serves a web site's releases from memory. A Release is a tree of files made ready to be
// answered with: every head's lines are prepared and small bodies are read. A Server answers with one release at
// a time, which a single atomic swap replaces, and knows those before and after it for as long as pages of
// theirs may still be open somewhere.
//
// What a path means, in this order:
//
//  1. a forced line of _redirects (301!, 200!)
//  2. a file of the release: /a.css; for /about also about.html; for /dir/ also dir/index.html
//  3. /dir is redirected to /dir/, and /about/ to /about, where only the other exists
//  4. an asset with a fingerprint in its name, of a release that is staged, or was live lately
//  5. a line of _redirects
//  6. any other asset of a release that was live lately
//  7. the nearest 404.html
//
// Pages are those files that are text/html; all others are assets.
package static

import (
	"time"

	"bramble/artefact"
)

// Options of Compile.
type Options struct {
	ID       string               // the release's name in the release cookie: letters, digits, '-' and '_'
	Cookie   string               // the cookie's name, different for the sites of one host; empty: bramble-release
	Budget   int64                // bytes of bodies that are kept in memory, small ones first; the rest is read when it is asked for
	Modified time.Time            // Last-Modified of every file: no two releases of a site have the same second; zero: there is none
	Variants map[string][]Variant // compressed forms by path, besides siblings in the tree: PATH.gz, PATH.br, PATH.zst
	Earlier  []*Release           // the site's other releases that are in memory: bodies that they have are shared
}

// Variant is a compressed form of a file.
type Variant struct {
	Encoding string // gzip, br or zstd
	Blob     artefact.Blob
}

// Release is a tree that is ready to be served. It does not change.
type Release struct {
	id      string
	src     artefact.Opener
	files   map[string]*file // by path, without the first '/'
	rules   *redirects
	cookie  []byte // "NAME=ID"
	setting []byte // the Set-Cookie line; nil when nothing needs to be kept together
	usage   usage
	memory  int64

	modified string // the Last-Modified of all files; empty: none
}

// file is what one path of the tree is answered with.
type file struct {
	forms  []form // the plain one first, then smaller ones, the smallest first
	own    *lines // for the path itself
	clean  *lines // for the path without .html or index.html
	html   bool
	hashed bool // the content never changes under this name
}

// form is one representation of a file.
type form struct {
	coding string // Content-Encoding; empty for the plain one
	body   []byte // nil: read from the store
	artefact.Blob
}

// plain is the form without compression.
func (f *file) plain() *form { return &f.forms[0] }

// ID is the release's name.
func (r *Release) ID() string { return r.id }

// Memory is how many bytes of bodies the release keeps in memory, those that it shares included.
func (r *Release) Memory() int64 { return r.memory }

// Close waits until no file is being opened for an answer of the release; what is asked of it afterwards finds
// nothing, so the Server must know it no more. Then its blobs may go: open files stay readable.
func (r *Release) Close() { r.usage.end() }
