package front

import (
	"bytes"
	"cmp"
	"slices"

	"bramble/http1"
)

// routes is who answers for what.
type routes struct {
	hosts map[string][]route // each with the longest path first
	rest  []route
}

// route is a pool's group with its path, without a '/' at the end.
type route struct {
	path  string
	group *group
}

func newRoutes(groups []*group) *routes {
	r := &routes{hosts: map[string][]route{}}
	for _, g := range groups {
		one := route{trimSlash(g.pool.Path), g}
		if g.pool.Host == "" {
			r.rest = append(r.rest, one)
		} else {
			r.hosts[g.pool.Host] = append(r.hosts[g.pool.Host], one)
		}
	}
	longest := func(a, b route) int { return cmp.Compare(len(b.path), len(a.path)) }
	slices.SortStableFunc(r.rest, longest)
	for _, list := range r.hosts {
		slices.SortStableFunc(list, longest)
	}
	return r
}

func trimSlash(path string) string {
	for len(path) > 0 && path[len(path)-1] == '/' {
		path = path[:len(path)-1]
	}
	return path
}

// find is who answers for a host, as it was said, and a path; nil: nobody.
func (r *routes) find(host, path []byte) *group {
	if winding(path) {
		path = straightened(path)
	}
	if len(r.hosts) > 0 {
		var space [256]byte
		name := http1.HostName(space[:0], host)
		if list, ok := r.hosts[string(name)]; ok {
			if g := below(list, path); g != nil {
				return g
			}
		}
	}
	return below(r.rest, path)
}

// winding reports whether a path may have segments that say another way, as /a/../b does.
func winding(path []byte) bool {
	for i, c := range path {
		if c == '/' && i+1 < len(path) && (path[i+1] == '.' || path[i+1] == '%') {
			return true
		}
	}
	return false
}

// straightened is where a path leads, by RFC 3986, 5.2.4: to members that understand it so. A dot may be written as %2E.
func straightened(path []byte) []byte {
	var out []byte
	for segment := range bytes.SplitSeq(path[min(len(path), 1):], []byte("/")) {
		switch dots(segment) {
		case 1:
		case 2:
			out = out[:max(bytes.LastIndexByte(out, '/'), 0)]
		default:
			out = append(append(out, '/'), segment...)
		}
	}
	if len(out) == 0 {
		return []byte("/")
	}
	return out
}

// dots is 1 or 2 for a segment of so many dots and nothing else, else 0.
func dots(segment []byte) (n int) {
	for len(segment) > 0 && n < 3 {
		switch {
		case segment[0] == '.':
			segment = segment[1:]
		case len(segment) >= 3 && segment[0] == '%' && segment[1] == '2' && segment[2]|0x20 == 'e':
			segment = segment[3:]
		default:
			return 0
		}
		n++
	}
	if n > 2 {
		return 0
	}
	return n
}

// below is whose path the other one is below, or is.
func below(list []route, path []byte) *group {
	for _, one := range list {
		n := len(one.path)
		if len(path) >= n && string(path[:n]) == one.path && (len(path) == n || path[n] == '/' || path[n] == ';') {
			return one.group
		}
	}
	return nil
}
