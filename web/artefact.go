package web

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"time"

	"bramble/artefact"
	"bramble/fleet"
	"bramble/site"
	"bramble/term"
)

const (
	keptLook  = 5 * time.Second  // how often it is looked whether something else is kept
	keptEvery = time.Minute      // how often all stores are asked what they hold in any case, which costs them a look at every file
	keptWait  = 10 * time.Second // for those that do not answer
)

// spreadsView is what is on its way, and what lately was.
type spreadsView struct {
	Running []spreadView
	Ended   []spreadView
}

// spreadView is one spread as people read it.
type spreadView struct {
	artefact.Spread
	What, Link string
	By         string
	Progress   progress
	Numbers    string // how far it is as a whole
	Outcome    string // once it has ended
	State      string // class
	Took       string
	Legs       []legView
	Others     int         // nodes that are not drawn
	Failed     []failGroup // once it has ended
}

// failGroup is nodes that failed for one reason.
type failGroup struct {
	Nodes      string
	Error, Try string
}

// legView is a node's part of it.
type legView struct {
	artefact.Leg
	Class    string
	Progress progress
	Doing    string
}

const (
	mostLegs = 120 // nodes of a spread that a page draws
	mostKept = 500 // names that it lists
)

// spreadTitle says what a spread is, and where one can read more of it: a node may say what it likes, so only a name becomes a link.
func spreadTitle(s artefact.Spread) (what, link string) {
	switch s.Kind {
	case artefact.SpreadPush:
		return "push to " + s.What, ""
	case artefact.SpreadPull:
		return "pull of " + s.What, ""
	case artefact.SpreadPut:
		return "copies of " + s.What, ""
	case artefact.SpreadMend:
		return "copies of " + s.What + ", made anew", ""
	case artefact.SpreadSite:
		if site.CheckName(s.What) == nil {
			link = "/site/" + s.What
		}
		return "release of the site " + s.What, link
	case artefact.SpreadJob:
		if id, err := strconv.ParseUint(s.What, 10, 63); err == nil {
			link = fmt.Sprintf("/jobs/%d", id)
		}
		return "files of job " + s.What, link
	}
	return string(s.Kind) + " " + s.What, ""
}

func spreadViewOf(s artefact.Spread) spreadView {
	v := spreadView{Spread: s, By: cmp.Or(s.User, "the cluster"), Progress: bytesProgress(s.Done, s.Total, placedOf(s), "running")}
	v.What, v.Link = spreadTitle(s)
	failed := 0
	for _, l := range s.Nodes {
		if l.Error != "" {
			failed++
		}
	}
	all := len(s.Nodes) + s.More
	if !s.Ended.IsZero() {
		all = s.Whole + failed
		v.State, v.Outcome = "done", countOf(s.Whole, all)
		if failed > 0 || s.Error != "" {
			v.State = "failed"
		}
		v.Took, v.Failed = term.Duration(roundTime(s.Ended.Sub(s.Began))), failGroups(s.Nodes)
		return v
	}
	v.State, v.Numbers = "running", spreadNumbers(s, all)
	legs := slices.Clone(s.Nodes)
	if len(legs) > mostLegs { // those that matter most
		slices.SortStableFunc(legs, func(a, b artefact.Leg) int { return cmp.Compare(legRank(a), legRank(b)) })
		legs, v.Others = legs[:mostLegs], all-mostLegs
	}
	for _, l := range legs {
		v.Legs = append(v.Legs, legViewOf(l, s.Kind))
	}
	return v
}

// failGroups puts nodes together that failed alike, in the order in which the reasons first come.
func failGroups(legs []artefact.Leg) (groups []failGroup) {
	names := map[failGroup][]string{}
	for _, l := range legs {
		why := failGroup{Error: l.Error, Try: l.Try}
		if names[why] == nil {
			groups = append(groups, why)
		}
		names[why] = append(names[why], l.Node)
	}
	for i, why := range groups {
		groups[i].Nodes = fleet.Fold(names[why])
	}
	return groups
}

// legRank is small for nodes that one looks for first.
func legRank(l artefact.Leg) int {
	switch {
	case l.Error != "":
		return 0
	case l.Ended.IsZero() && l.Step != "":
		return 1
	case l.Ended.IsZero():
		return 2
	}
	return 3
}

func countOf(n, all int) string {
	if n == all {
		return "on " + count(all, "node")
	}
	return fmt.Sprintf("on %d of %s", n, count(all, "node"))
}

// placedOf is how many bytes are where they belong.
func placedOf(s artefact.Spread) (sum int64) {
	for _, l := range s.Nodes {
		if l.Error == "" {
			sum += l.Placed
		}
	}
	return sum
}

// spreadNumbers is how far a spread is, in a line.
func spreadNumbers(s artefact.Spread, nodes int) string {
	if s.Total == 0 && s.Kind == artefact.SpreadPush && s.Bytes == 0 {
		return "comes from " + s.User + " to the head first"
	}
	text := fmt.Sprintf("%s of %s, %s", term.Bytes(s.Done), term.Bytes(s.Total), countOf(s.Whole, nodes))
	if s.Kind == artefact.SpreadPull {
		text = fmt.Sprintf("%s of %s", term.Bytes(s.Done), term.Bytes(s.Total))
	}
	if s.Rate > 0 {
		text += ", " + term.Rate(s.Rate)
	}
	if left := leftText(s.Left); left != "" {
		text += ", " + left + " to go"
	}
	return text
}

// leftText is a time to go that is not told finer than one reads it; "" when it is not known.
func leftText(seconds float64) string {
	if seconds <= 0 || seconds > 30*24*3600 {
		return ""
	}
	return term.Duration(max(time.Second, roundTime(time.Duration(seconds*1e9)).Round(time.Second)))
}

// bytesProgress is a bar of what has come and, over it, what is in its place.
func bytesProgress(done, total, placed int64, class string) progress {
	whole := float64(max(1, total))
	p := progress{Text: fmt.Sprintf("%s of %s", term.Bytes(done), term.Bytes(total))}
	in := 1000 * float64(min(placed, done)) / whole
	if in > 0 {
		p.Parts = append(p.Parts, part{"done", 0, in})
	}
	if rest := 1000*float64(done)/whole - in; rest > 0 {
		p.Parts = append(p.Parts, part{class, in, rest})
	}
	return p
}

func legViewOf(l artefact.Leg, kind artefact.SpreadKind) legView {
	v := legView{Leg: l, Class: "running", Progress: bytesProgress(l.Done, l.Total, l.Placed, "running")}
	sizes := fmt.Sprintf("%s of %s", term.Bytes(l.Done), term.Bytes(l.Total))
	switch {
	case l.Error != "":
		v.Class, v.Doing = "failed", l.Error
		v.Progress = bytesProgress(l.Done, l.Total, 0, "failed")
	case !l.Ended.IsZero():
		v.Class, v.Doing = "done", term.Bytes(l.Total)
	case l.Step == "":
		v.Class, v.Doing = "pending", "waits"
	case l.Step == artefact.Placing:
		v.Doing = "writes " + term.Bytes(l.Total)
	case l.Step == artefact.Reading:
		v.Doing = "looks through its files"
	case l.Total == 0:
		v.Doing = "begins"
	default:
		v.Doing = sizes
		if l.Rate > 0 {
			v.Doing += ", " + term.Rate(l.Rate)
		}
		if left := leftText(l.Left); left != "" {
			v.Doing += ", " + left
		}
	}
	return v
}

func readSpreads(ctx context.Context, v visitor) (view spreadsView, err error) {
	for s, err := range v.copies().Spreads(ctx, artefact.SpreadsRequest{}) {
		if err != nil {
			return view, err
		}
		if one := spreadViewOf(s); s.Ended.IsZero() {
			view.Running = append(view.Running, one)
		} else {
			view.Ended = append(view.Ended, one)
		}
	}
	return view, nil
}

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
func readKept(ctx context.Context, v visitor, counted bool) (view keptView, err error) {
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
	if err := view.count(ctx, v); err != nil {
		return view, err
	}
	view.Stores, err = readStores(ctx, v)
	return view, err
}

// count takes in how safe what is kept is; nothing when that takes too long.
func (k *keptView) count(ctx context.Context, v visitor) error {
	ctx, cancel := context.WithTimeout(ctx, keptWait)
	defer cancel()
	reports, err := v.durables().Doctor(ctx, "")
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
	slices.SortStableFunc(all, func(a, b artefact.StoreEvent) int {
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

func readStores(ctx context.Context, v visitor) (rows []storeRow, err error) {
	events, err := storeEvents(ctx, v)
	for _, ev := range events {
		rows = append(rows, storeRowOf(ev))
	}
	return rows, err
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

// artefactView is the Artefacts page.
type artefactView struct {
	Spreads spreadsView
	Kept    keptView
}

func (s *Server) artefactPage(w http.ResponseWriter, r *http.Request, v visitor) (err error) {
	var view artefactView
	if view.Spreads, err = readSpreads(r.Context(), v); err != nil {
		return err
	}
	if view.Kept, err = readKept(r.Context(), v, false); err != nil {
		return err
	}
	s.show(w, r, http.StatusOK, "artefact", &v, "Artefacts", view)
	return nil
}

// artefactLive streams what is on its way.
func (s *Server) artefactLive(w http.ResponseWriter, r *http.Request, v visitor) error {
	return s.frames(w, r, v, lookEvery, func(ctx context.Context) (list []fragment, done bool, err error) {
		view, err := readSpreads(ctx, v)
		if err != nil {
			return nil, false, err
		}
		list, err = s.fragments("artefact", view, "spreads", "spreads-ended")
		return list, false, err
	})
}

// keptLive streams what nodes keep and how full their stores are, as they are asked from time to time.
func (s *Server) keptLive(w http.ResponseWriter, r *http.Request, v visitor) error {
	var last []fragment
	var was []artefact.Durable
	var asked time.Time
	return s.frames(w, r, v, keptLook, func(ctx context.Context) (list []fragment, done bool, err error) {
		kept, err := v.durables().List(ctx)
		if err != nil || last != nil && reflect.DeepEqual(kept, was) && time.Since(asked) < keptEvery {
			return last, false, err
		}
		view, err := readKept(ctx, v, true)
		if err != nil {
			return nil, false, err
		}
		was, asked = kept, time.Now()
		last, err = s.fragments("artefact", view, "kept", "stores")
		return last, false, err
	})
}

// apiSpreads answers what is on its way, or streams each change of it.
func (s *Server) apiSpreads(w http.ResponseWriter, r *http.Request, v visitor) error {
	if r.FormValue("follow") == "1" {
		return s.lines(w, r, v, func(ctx context.Context, emit func(any) bool) error {
			for spread, err := range v.copies().Spreads(ctx, artefact.SpreadsRequest{Follow: true}) {
				if err != nil {
					return err
				}
				if !emit(spread) {
					break
				}
			}
			return nil
		})
	}
	all := []artefact.Spread{}
	for spread, err := range v.copies().Spreads(r.Context(), artefact.SpreadsRequest{}) {
		if err != nil {
			return err
		}
		all = append(all, spread)
	}
	return writeJSON(w, http.StatusOK, all)
}

func (s *Server) apiDurables(w http.ResponseWriter, r *http.Request, v visitor) error {
	list, err := v.durables().List(r.Context())
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, listOf(list))
}

func (s *Server) apiDoctor(w http.ResponseWriter, r *http.Request, v visitor) error {
	reports, err := v.durables().Doctor(r.Context(), "")
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, listOf(reports))
}

func (s *Server) apiStores(w http.ResponseWriter, r *http.Request, v visitor) error {
	list, err := storeEvents(r.Context(), v)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, listOf(list))
}

// copies and durables ask as the person signed in, and move no bytes.
func (v visitor) copies() artefact.Copier     { return artefact.Copier{Conn: v.cluster.Conn} }
func (v visitor) durables() artefact.Durables { return artefact.Durables{Conn: v.cluster.Conn} }
