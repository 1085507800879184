package static

import (
	"bytes"
	"net/http"
	"slices"
	"strings"
)

// lines are the prepared part of an answer's head, which many files share.
type lines struct {
	ok    []byte // of 200 and 206
	kept  []byte // of 304: what a cache that has the rest should know anew (RFC 9110, 15.4.5)
	cache []byte // the Cache-Control line
	kind  string // Content-Type
	ours  bool   // Cache-Control is our own for pages and other files that may change
}

const (
	forever    = "public, max-age=31536000, immutable"
	revalidate = "no-cache"
)

// dresser makes lines, each combination once.
type dresser struct {
	modified string // the Last-Modified of everything; empty: none
	blocks   []block
	known    map[look]*lines
	key      []byte // space
}

// look is all that lines depend on.
type look struct {
	kind           string
	hashed, varies bool
	blocks         string // those that fit, and what their placeholders stand for
}

// dress makes the lines for a file that is answered under a path.
func (d *dresser) dress(path, kind string, hashed, varies bool) *lines {
	key := look{kind, hashed, varies, d.fitting(path)}
	if known := d.known[key]; known != nil {
		return known
	}
	l := makeLines(d.fields(path, key))
	l.ours = string(l.cache) == cacheLine(revalidate)
	d.known[key] = l
	return l
}

// fitting names the blocks that fit a path.
func (d *dresser) fitting(path string) string {
	d.key = d.key[:0]
	for i := range d.blocks {
		found, ok := d.blocks[i].at.match(path)
		if !ok {
			continue
		}
		d.key = append(d.key, byte(i))
		if d.blocks[i].fills() {
			for _, c := range found {
				d.key = append(append(d.key, c.value...), 0)
			}
		}
	}
	return string(d.key)
}

func (d *dresser) fields(path string, k look) []field {
	cache := revalidate
	if k.hashed {
		cache = forever
	}
	preset := []field{{name: "Content-Type", value: k.kind}, {name: "Cache-Control", value: cache}, {name: "Accept-Ranges", value: "bytes"}, {name: "X-Content-Type-Options", value: "nosniff"}}
	if d.modified != "" {
		preset = append(preset, field{name: "Last-Modified", value: d.modified})
	}
	fields := fieldsFor(path, preset, d.blocks)
	if k.varies {
		fields = vary(fields)
	}
	return fields
}

// replaceKind is l.ok with another Content-Type.
func replaceKind(l *lines, kind string) []byte {
	rest := bytes.Replace(l.ok, []byte("Content-Type: "+l.kind+"\r\n"), nil, 1)
	return append([]byte("Content-Type: "+kind+"\r\n"), rest...)
}

func cacheLine(value string) string { return "Cache-Control: " + value + "\r\n" }

// vary says that the answer depends on Accept-Encoding.
func vary(fields []field) []field {
	i := slices.IndexFunc(fields, func(f field) bool { return strings.EqualFold(f.name, "Vary") })
	switch {
	case i < 0:
		return append(fields, field{name: "Vary", value: "Accept-Encoding"})
	case !strings.Contains(strings.ToLower(fields[i].value), "accept-encoding") && fields[i].value != "*":
		fields[i].value += ", Accept-Encoding"
	}
	return fields
}

func makeLines(fields []field) *lines {
	l := &lines{}
	for _, f := range fields {
		line := f.name + ": " + f.value + "\r\n"
		name := strings.ToLower(f.name)
		switch {
		case name == "cache-control":
			l.cache = append(l.cache, line...)
			continue
		case name == "content-type":
			l.kind, line = f.value, "Content-Type: "+f.value+"\r\n"
		case name != "accept-ranges" && !strings.HasPrefix(name, "content-") || strings.HasPrefix(name, "content-security-"):
			l.kept = append(l.kept, line...)
		}
		l.ok = append(l.ok, line...)
	}
	return l
}

// statusLine is the first line of an answer's head.
func statusLine(status int) string {
	switch status { // without making one anew
	case 200:
		return "HTTP/1.1 200 OK\r\n"
	case 304:
		return "HTTP/1.1 304 Not Modified\r\n"
	case 206:
		return "HTTP/1.1 206 Partial Content\r\n"
	}
	return "HTTP/1.1 " + string([]byte{'0' + byte(status/100), '0' + byte(status/10%10), '0' + byte(status%10)}) + " " + http.StatusText(status) + "\r\n"
}
