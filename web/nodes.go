package web

import (
	"cmp"
	"context"
	"html/template"
	"net/http"
	"net/url"
	"strconv"

	"bramble/event"
	"bramble/fault"
	"bramble/fleet"
)

// nodesView is the Nodes page.
type nodesView struct {
	On      string // the selection, as typed
	Problem *fault.Error
	Totals  totals
	Size    string // class of the box of tiles
	Tiles   []template.HTML
	Live    string // where its stream is
	Hint    hint
}

// hint is what the Nodes page says where there is little to show.
type hint struct {
	On      string
	None    bool // the selection means nobody
	Alone   bool // only the head is there
	Waiting bool // the head has not told its nodes yet
	Small   bool // tiles need a legend
}

func hintOf(on string, shown, all int, known bool) hint {
	return hint{On: on, None: known && shown == 0, Alone: on == "" && known && all == 1, Waiting: !known, Small: sizeFor(shown) == small}
}

// selected is the names of the nodes that a selection means, now.
func (s *Server) selected(on string) (names []string, sum totals, known bool, err error) {
	sel, err := fleet.ParseSelector(cmp.Or(on, "all"))
	if err != nil {
		return nil, sum, false, err
	}
	nodes, known := s.watch.list()
	chosen := sel.Match(nodes)
	names = make([]string, len(chosen))
	for i, n := range chosen {
		names[i] = n.Name
	}
	return names, totalsOf(chosen, len(nodes)), known, nil
}

func (s *Server) nodesPage(w http.ResponseWriter, r *http.Request, v visitor) error {
	view := nodesView{On: r.FormValue("on")}
	names, sum, known, err := s.selected(view.On)
	if err != nil {
		view.Problem = fault.Of(err)
		s.show(w, r, http.StatusBadRequest, "nodes", &v, "Nodes", view)
		return nil
	}
	size := sizeFor(len(names))
	tiles, err := s.watch.tiles(names, size)
	if err != nil {
		return err
	}
	for _, t := range tiles {
		view.Tiles = append(view.Tiles, t.HTML)
	}
	view.Totals, view.Hint = sum, hintOf(view.On, len(names), sum.All, known)
	view.Size = size.template() + "s"
	view.Live = "/nodes/live?" + url.Values{"on": {view.On}, "size": {strconv.Itoa(int(size))}}.Encode()
	s.show(w, r, http.StatusOK, "nodes", &v, "Nodes", view)
	return nil
}

func (s *Server) nodesLive(w http.ResponseWriter, r *http.Request, v visitor) error {
	on, drawn := r.FormValue("on"), r.FormValue("size")
	return s.frames(w, r, v, lookEvery, func(context.Context) ([]fragment, bool, error) {
		names, sum, known, err := s.selected(on)
		if err != nil {
			return nil, false, err
		}
		size := sizeFor(len(names))
		if strconv.Itoa(int(size)) != drawn {
			return nil, true, nil // the page is to be drawn anew
		}
		head, err := s.fragment("nodes", "totals", "totals", "", sum)
		if err != nil {
			return nil, false, err
		}
		foot, err := s.fragment("nodes", "hint", "hint", "", hintOf(on, len(names), sum.All, known))
		if err != nil {
			return nil, false, err
		}
		tiles, err := s.watch.tiles(names, size)
		for i := range tiles {
			tiles[i].Box = "tiles"
		}
		return append([]fragment{head, foot}, tiles...), false, err
	})
}

// nodeView is a node's page.
type nodeView struct {
	tile
	Gauges []gauge
	Events []event.Event
	After  int64 // Seq of the newest of them
}

func (s *Server) nodeView(name string) (nodeView, error) {
	n, h, ok := s.watch.node(name)
	if !ok {
		nodes, _ := s.watch.list()
		names := make([]string, len(nodes))
		for i, n := range nodes {
			names[i] = n.Name
		}
		err := fault.New(fault.NotFound, "no node is called %q", name).Hint("bramble nodes")
		if near := fleet.Nearest(name, names); near != "" {
			err.Hint("/nodes/%s", near)
		}
		return nodeView{}, err
	}
	t := tileOf(n, h)
	return nodeView{tile: t, Gauges: []gauge{t.Load, t.Mem, t.Heat, t.Net}}, nil
}

const nodeEvents = 20 // on a node's page

func (s *Server) nodePage(w http.ResponseWriter, r *http.Request, v visitor) error {
	name := r.PathValue("name")
	view, err := s.nodeView(name)
	if err != nil {
		return err
	}
	view.Events, view.After, err = newest(r.Context(), v, event.Filter{Node: name, Limit: nodeEvents})
	if err != nil {
		return err
	}
	s.show(w, r, http.StatusOK, "node", &v, name, view)
	return nil
}

func (s *Server) nodeLive(w http.ResponseWriter, r *http.Request, v visitor) error {
	name := r.PathValue("name")
	return s.frames(w, r, v, lookEvery, func(context.Context) (list []fragment, done bool, err error) {
		view, err := s.nodeView(name)
		if fault.Is(err, fault.NotFound) {
			return nil, true, nil
		}
		for _, part := range []string{"node-head", "node-gauges", "node-facts"} {
			f, err := s.fragment("node", part, part, "", view)
			if err != nil {
				return nil, false, err
			}
			list = append(list, f)
		}
		return list, false, err
	})
}

// Ago is when the head last heard of a node that is not up.
func (n nodeView) Ago() string {
	if n.State == fleet.Up || n.Seen.IsZero() {
		return ""
	}
	return when(n.Seen)
}
