package front

import (
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
