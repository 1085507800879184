package static

import (
	"bytes"
	"os"
	"slices"
	"strconv"

	"bramble/artefact"
	"bramble/http1"
)

// exchange is one request on its way to its answer.
type exchange struct {
	*state
	req  *http1.Request
	ans  *http1.Answer
	wish wish
	path []byte   // decoded
	used int      // bytes of the answer's space that the path takes
	from *Release // whose answer it is
}

// answer fills the answer. False is that the release is being closed, and another state is to be asked.
func (x *exchange) answer() bool {
	x.wish.read(x.req)
	ok := false
	switch {
	case string(x.req.Method) != "GET" && string(x.req.Method) != "HEAD":
		x.plain(405, "Allow: GET, HEAD\r\n")
		return true
	case x.state == nil || x.live == nil:
		x.plain(503, "Retry-After: 1\r\n")
		return true
	case bytes.IndexByte(x.req.Path, '%') < 0:
		x.path, ok = x.req.Path, true
	default:
		x.path, ok = appendDecoded(x.ans.Space[:0], x.req.Path)
		x.ans.Space, x.used = x.path, len(x.path)
	}
	if !ok || len(x.path) == 0 || x.path[0] != '/' || !soundPath(x.path) {
		x.plain(400, "")
		return true
	}
	return x.serve()
}

// serve goes through what a path may mean, as the package says.
func (x *exchange) serve() bool {
	x.from = x.choose()
	if rule, found := x.rule(true); rule != nil {
		return x.follow(rule, found)
	}
	f, l, move := x.from.find(x.path)
	switch {
	case f != nil:
		return x.file(200, f, l)
	case move != stay:
		return x.move(move)
	}
	if done, ok := x.elsewhere(true); done {
		return ok
	}
	if rule, found := x.rule(false); rule != nil {
		return x.follow(rule, found)
	}
	if done, ok := x.elsewhere(false); done {
		return ok
	}
	return x.missing()
}

// choose is the release to look in first. A page comes from the live one, so that nobody is left behind, but for those who
// have seen a later one already, from a node that committed earlier. An asset comes from the release of the page that it is for.
func (x *exchange) choose() *Release {
	if len(x.wish.cookie) == 0 {
		return x.live
	}
	for _, r := range x.staged {
		if x.wish.has(r.cookie) {
			return r
		}
	}
	for _, r := range x.kept {
		if x.wish.has(r.cookie) {
			if f, _, move := r.find(x.path); f != nil && !x.forPage(f) || f == nil && move == stay && looksLikeAsset(x.path) {
				return r
			}
			return x.live
		}
	}
	return x.live
}

// forPage reports whether a file is asked for as a page, rather than by a script of another one.
func (x *exchange) forPage(f *file) bool {
	return f.html && (len(x.wish.mode) == 0 || string(x.wish.mode) == "navigate")
}

// looksLikeAsset reports whether a path that names nothing has an ending that pages do not have.
func looksLikeAsset(path []byte) bool {
	base := path[bytes.LastIndexByte(path, '/')+1:]
	dot := bytes.LastIndexByte(base, '.')
	return dot >= 0 && string(base[dot:]) != ".html" && string(base[dot:]) != ".htm"
}

// rule is the line of _redirects that fits.
func (x *exchange) rule(forced bool) (*rule, []capture) {
	rules := x.from.rules
	if rules.none() || forced && !rules.forced {
		return nil, nil
	}
	return rules.find(string(x.path), forced)
}

// elsewhere answers with an asset of another release: of one that is or was live, and, when only those with a fingerprint
// are wanted, of one that is staged, whose other files nobody need know yet. done is that one has it.
func (x *exchange) elsewhere(marked bool) (done, ok bool) {
	if done, ok = x.asset(x.live, marked); done {
		return done, ok
	}
	if marked {
		if done, ok = x.assetOf(x.staged, marked); done {
			return done, ok
		}
	}
	return x.assetOf(x.kept, marked)
}

func (x *exchange) assetOf(releases []*Release, marked bool) (done, ok bool) {
	for _, r := range slices.Backward(releases) {
		if done, ok = x.asset(r, marked); done {
			break
		}
	}
	return done, ok
}

func (x *exchange) asset(r *Release, marked bool) (done, ok bool) {
	name := x.path[1:]
	f := r.files[string(name)]
	if f == nil || f.html || marked && !f.hashed && fingerprint(string(name)) == plainName {
		return false, false
	}
	x.from = r
	return true, x.file(200, f, f.own)
}

// follow does what a rule says.
func (x *exchange) follow(r *rule, found []capture) bool {
	if !r.rewrites() {
		x.redirect(r.status, r.target(found, string(x.req.Query)))
		return true
	}
	to, ok := decode(r.target(found, ""))
	if f, l, _ := x.from.find([]byte(to)); ok && f != nil {
		return x.file(r.status, f, l)
	}
	return x.missing()
}

// missing answers with the nearest 404.html.
func (x *exchange) missing() bool {
	var space [512]byte
	for dir := x.path; len(dir) > 0; dir = dir[:len(dir)-1] {
		slash := bytes.LastIndexByte(dir, '/')
		if slash < 0 {
			break
		}
		dir = dir[:slash+1]
		if f := x.from.files[string(append(append(space[:0], dir[1:]...), "404.html"...))]; f != nil {
			return x.file(404, f, f.own)
		}
	}
	x.plain(404, "")
	return true
}

// move is where a path without an answer of its own leads.
type move int

const (
	stay      move = iota
	withSlash      // /dir to /dir/
	noSlash        // /about/ to /about
)

func (x *exchange) move(m move) bool {
	path := string(x.req.Path) // as it came; no name in it is empty, so it begins with one slash only
	if m == withSlash {
		path += "/"
	} else {
		path = path[:len(path)-1]
	}
	if len(x.req.Query) > 0 {
		path += "?" + string(x.req.Query)
	}
	x.redirect(301, escapeOdd(path))
	return true
}

func (x *exchange) redirect(status int, to string) {
	x.plain(status, "Location: "+to+"\r\n")
}

// plain answers without a file.
func (x *exchange) plain(status int, more string) {
	text := ""
	if status >= 400 {
		text = statusLine(status)[len("HTTP/1.1 "):]
		text = text[:len(text)-2] + "\n"
	}
	b := append(x.ans.Space[:x.used], statusLine(status)...)
	b = appendNumber(b, "Content-Length: ", int64(len(text)), "\r\n")
	if text != "" {
		b = append(b, "Content-Type: text/plain; charset=utf-8\r\n"...)
	}
	x.setHead(append(append(b, "Cache-Control: no-cache\r\nX-Content-Type-Options: nosniff\r\n"...), more...))
	x.ans.Body = []byte(text)
}

// setHead takes what was made behind the path in the answer's space.
func (x *exchange) setHead(b []byte) { x.ans.Space, x.ans.Head = b, b[x.used:] }

func appendNumber(b []byte, before string, n int64, after string) []byte {
	return append(strconv.AppendInt(append(b, before...), n, 10), after...)
}

// find is what a decoded path names.
func (r *Release) find(path []byte) (*file, *lines, move) {
	var space [512]byte
	name := path[1:]
	if len(name) == 0 || name[len(name)-1] == '/' {
		if f := r.files[string(append(append(space[:0], name...), "index.html"...))]; f != nil {
			return f, f.clean, stay
		}
		if len(name) > 1 && name[len(name)-2] != '/' && r.files[string(append(append(space[:0], name[:len(name)-1]...), ".html"...))] != nil {
			return nil, nil, noSlash
		}
		return nil, nil, stay
	}
	if f := r.files[string(name)]; f != nil {
		return f, f.own, stay
	}
	if f := r.files[string(append(append(space[:0], name...), ".html"...))]; f != nil {
		return f, f.clean, stay
	}
	if r.files[string(append(append(space[:0], name...), "/index.html"...))] != nil {
		return nil, nil, withSlash
	}
	return nil, nil, stay
}

// body gives the answer its body, or a part of it. False is that the release is being closed.
func (x *exchange) body(f *form, offset, size int64) bool {
	a := x.ans
	if f.body != nil {
		a.Body = f.body[offset : offset+size]
		return true
	}
	if size == 0 || string(x.req.Method) == "HEAD" {
		return true
	}
	if !x.from.usage.begin() {
		return false
	}
	a.Open, a.Offset, a.Size = x.from.opener(f.Blob), offset, size
	return true
}

// opener opens a blob, after which the release may go.
func (r *Release) opener(b artefact.Blob) func() (*os.File, error) {
	return func() (*os.File, error) {
		defer r.usage.leave()
		f, size, err := r.src.Open(b.Ref)
		if err == nil && size != b.Size {
			f.Close()
			err = artefact.ErrCorrupt
		}
		return f, err
	}
}
