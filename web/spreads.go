package web

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"bramble/artefact"
	"bramble/site"
	"bramble/sorts"
	"bramble/term"
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
	Others     int               // nodes that are not drawn
	Failed     []artefact.Reason // once it has ended
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
	all := s.Of()
	if v.State = s.State(); !s.Ended.IsZero() {
		v.Outcome = countOf(s.Whole, all)
		v.Took, v.Failed = term.Duration(roundTime(s.Ended.Sub(s.Began))), s.Reasons()
		return v
	}
	v.Numbers = spreadNumbers(s, all)
	legs := slices.Clone(s.Nodes)
	if len(legs) > mostLegs { // those that matter most
		sorts.Stable(legs, func(a, b artefact.Leg) int { return cmp.Compare(legRank(a), legRank(b)) })
		legs, v.Others = legs[:mostLegs], all-mostLegs
	}
	for _, l := range legs {
		v.Legs = append(v.Legs, legViewOf(l, s.Kind))
	}
	return v
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
