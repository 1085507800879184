package web

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"time"

	"bramble/artefact"
	"bramble/cluster"
	"bramble/fleet"
	"bramble/sorts"
	"bramble/term"
	"bramble/trust"
)

const (
	keptLook  = 5 * time.Second  // how often it is looked whether something else is kept
	keptEvery = time.Minute      // how often all stores are asked what they hold in any case, which costs them a look at every file
	keptWait  = 10 * time.Second // for those that do not answer
	keptFor   = 30 * time.Second // for which an answer is good to all who ask
	keptMost  = 50 * time.Second // after which nodes have not counted
)

// keptView is what nodes keep, and how safe it is.
type keptView struct {
	Names   []keptRow
	More    int // names that are left out
	Risks   []riskRow
	Silent  string
	Others  string // nodes that hold what the head knows nothing of
	Stores  []storeRow
	Asked   bool // the nodes have been asked
	Counted bool // they have said how safe all is
	Lost    bool // something is nowhere
}

// keptRow is a durable artefact.
type keptRow struct {
	artefact.Durable
	By     string // nodes that keep it
	State  string // class
	Health string
}

type riskRow struct {
	artefact.Risk
	Text string
}

// storeRow is one store.
type storeRow struct {
	Node    string
	Head    bool
	Error   string
	Report  artefact.StoreReport
	Of      string // how much it may hold
	Bar     progress
	Damaged bool
}

func keptRowOf(d artefact.Durable) keptRow {
	names := make([]string, len(d.Ring))
	for i, h := range d.Ring {
		names[i] = h.Node
	}
	return keptRow{Durable: d, By: fleet.Fold(names), State: "pending", Health: "counting …"}
}

// judge says how the copies are.
func (k *keptRow) judge(s artefact.Standing) {
	switch {
	case s.Lost > 0:
		k.State, k.Health = "failed", fmt.Sprintf("%d of %s nowhere that answers", s.Lost, count(s.Blobs, "blob"))
	case s.Thin > 0:
		k.State, k.Health = "suspect", fmt.Sprintf("%d of %s less than %d times", s.Thin, count(s.Blobs, "blob"), s.Copies)
	default:
		k.State, k.Health = "done", "all there"
	}
}

// readKept asks the head what is kept; with count, also the nodes, which takes a while.
func (s *Server) readKept(ctx context.Context, v visitor, counted bool) (view keptView, err error) {
	list, err := v.durables().List(ctx)
	if err != nil {
		return view, err
	}
	view.More = max(0, len(list)-mostKept)
	for _, d := range list[:len(list)-view.More] {
		view.Names = append(view.Names, keptRowOf(d))
	}
	if !counted {
		return view, nil
	}
	view.Asked = true
	if err := view.count(ctx, s, v); err != nil {
		return view, err
	}
	events, err := s.stores(ctx, v)
	for _, ev := range events {
		view.Stores = append(view.Stores, storeRowOf(ev))
	}
	return view, err
}

// count takes in how safe what is kept is; nothing when that takes too long.
func (k *keptView) count(ctx context.Context, s *Server, v visitor) error {
	ctx, cancel := context.WithTimeout(ctx, keptWait)
	defer cancel()
	reports, err := s.health(ctx, v)
	if err != nil && ctx.Err() == nil {
		return err
	}
	k.take(reports)
	return nil
}

// take takes in reports, of which the last is no name's: without it nothing has been counted.
func (k *keptView) take(reports []artefact.Report) {
	for _, r := range reports {
		if r.Standing == nil {
			k.Counted = true
			for _, risk := range r.Risks {
				k.Risks = append(k.Risks, riskRow{risk, fmt.Sprintf("%s, %s", count(risk.Blobs, "blob"), term.Bytes(risk.Bytes))})
			}
			k.Silent, k.Others = fleet.Fold(r.Silent), fleet.Fold(r.Unknown)
			continue
		}
		k.Lost = k.Lost || r.Standing.Lost > 0
		if i := slices.IndexFunc(k.Names, func(row keptRow) bool { return row.Name == r.Standing.Name }); i >= 0 {
			k.Names[i].judge(*r.Standing)
		}
	}
	for i := range k.Names {
		if row := &k.Names[i]; !k.Counted && row.State == "pending" {
			row.Health = "not counted"
		}
	}
}

// storeEvents is what all stores say of themselves, by node; those that take too long have an end that says so.
func storeEvents(ctx context.Context, v visitor) (all []artefact.StoreEvent, err error) {
	ctx, cancel := context.WithTimeout(ctx, keptWait)
	defer cancel()
	silent := map[string]bool{}
	for ev, err := range v.durables().Stores(ctx, artefact.StoreRequest{On: "all", Task: artefact.StoreTask{Op: artefact.OpList}}) {
		if err != nil && ctx.Err() == nil {
			return nil, err
		}
		for _, name := range ev.Names {
			silent[name] = true
		}
		switch {
		case ev.End != nil:
			if delete(silent, ev.Node); !ev.End.OK() {
				all = append(all, ev)
			}
		case ev.Report != nil:
			all = append(all, ev)
		}
	}
	for name := range silent {
		all = append(all, artefact.StoreEvent{Node: name, End: &artefact.End{Code: "unreachable", Error: "no answer yet", Lost: true}})
	}
	sorts.Stable(all, func(a, b artefact.StoreEvent) int {
		return cmp.Or(fleet.NaturalCompare(a.Node, b.Node), -compareBool(a.Head, b.Head))
	})
	return all, nil
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

func storeRowOf(ev artefact.StoreEvent) storeRow {
	row := storeRow{Node: ev.Node, Head: ev.Head}
	if ev.Report == nil {
		row.Error = ev.End.Error
		return row
	}
	r := *ev.Report
	most := r.Keep
	if row.Of = term.Bytes(most); most == 0 {
		most = r.Used + r.Free
		row.Of = term.Bytes(most) + " of disk"
	}
	row.Report, row.Damaged = r, r.Damaged > 0
	row.Bar = bytesProgress(r.Used, most, r.Held, "running")
	row.Bar.Text = fmt.Sprintf("%s of %s, %s of it for somebody", term.Bytes(r.Used), row.Of, term.Bytes(r.Held))
	return row
}

// keptLive streams what nodes keep and how full their stores are, as they are asked from time to time.
func (s *Server) keptLive(w http.ResponseWriter, r *http.Request, v visitor) error {
	var last []fragment
	var was []artefact.Durable
	var asked time.Time
	every := keptEvery
	return s.frames(w, r, v, keptLook, func(ctx context.Context) (list []fragment, done bool, err error) {
		kept, err := v.durables().List(ctx)
		if err != nil || last != nil && reflect.DeepEqual(kept, was) && time.Since(asked) < every {
			return last, false, err
		}
		view, err := s.readKept(ctx, v, true)
		if err != nil {
			return nil, false, err
		}
		was, asked, every = kept, time.Now(), keptEvery
		if slices.ContainsFunc(view.Names, func(row keptRow) bool { return row.State == "pending" }) {
			every = keptFor // it was put since they were asked, or they take long
		}
		last, err = s.fragments("artefact", view, "kept", "stores")
		return last, false, err
	})
}

// health is how safe all is that is kept, and stores what all stores say of themselves: one answer for everybody, since it costs
// the nodes a look at every file.
func (s *Server) health(ctx context.Context, v visitor) ([]artefact.Report, error) {
	return ask(ctx, s, v, &s.reports, func(ctx context.Context, v visitor) ([]artefact.Report, error) {
		return v.durables().Doctor(ctx, "")
	})
}

func (s *Server) stores(ctx context.Context, v visitor) ([]artefact.StoreEvent, error) {
	return ask(ctx, s, v, &s.storesSaid, storeEvents)
}

// ask asks for what all have in common, over a connection of who is the first to ask.
func ask[T any](ctx context.Context, s *Server, v visitor, what *common[T], do func(context.Context, visitor) (T, error)) (T, error) {
	if !v.Identity.Role.Includes(trust.Viewer) {
		return do(ctx, v) // which is refused
	}
	return what.get(ctx, func() (answer T, err error) {
		conn, release, err := s.conns.take(v.Identity)
		if err != nil {
			return answer, err
		}
		defer release()
		ctx, cancel := context.WithTimeout(s.life, keptMost)
		defer cancel()
		v.cluster = cluster.Over(conn)
		return do(ctx, v)
	}, s.busy.Go)
}

func (s *Server) apiDoctor(w http.ResponseWriter, r *http.Request, v visitor) error {
	reports, err := s.health(r.Context(), v)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, listOf(reports))
}

func (s *Server) apiStores(w http.ResponseWriter, r *http.Request, v visitor) error {
	list, err := s.stores(r.Context(), v)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, listOf(list))
}
