package job

import (
	"context"

	"bramble/bus"
)

// maxCells is how many cells a grid has at the most, whatever the array's size.
const maxCells = 2000

type gridRequest struct {
	ID    ID  `json:"id"`
	Cells int `json:"cells,omitempty"` // at most so many; 0 and more than maxCells: maxCells
}

// Grid is a job's tasks in the order of their indices, a cell each or for as many as make few enough cells.
type Grid struct {
	Tasks int    `json:"tasks"`
	Per   int    `json:"per"` // tasks in a cell; the last may have fewer
	Cells []Cell `json:"cells"`
}

// Cell is a stretch of tasks; those that none of its numbers counts are pending.
type Cell struct {
	First     int `json:"first"` // smallest and greatest index
	Last      int `json:"last"`
	Tasks     int `json:"tasks"`
	Running   int `json:"running,omitempty"`
	Done      int `json:"done,omitempty"`
	Failed    int `json:"failed,omitempty"`
	Cancelled int `json:"cancelled,omitempty"`
}

// State is what one looks for first in a cell: failures, then what runs, then what is not finished.
func (c *Cell) State() TaskState {
	switch {
	case c.Failed > 0:
		return Failed
	case c.Running > 0:
		return Running
	case c.Done == c.Tasks:
		return Done
	case c.Cancelled > 0 && c.Done+c.Cancelled == c.Tasks:
		return Cancelled
	}
	return Pending
}

// Grid counts a job's tasks by cell; its cost goes with the cells and the runs of tasks that ended alike, not with the tasks.
func (s *State) Grid(id ID, most int) (g Grid, ok bool) {
	j := s.jobs[id]
	if j == nil {
		return g, false
	}
	if most <= 0 || most > maxCells {
		most = maxCells
	}
	g.Tasks = j.array.Len()
	g.Per = (g.Tasks + most - 1) / most
	g.Cells = make([]Cell, (g.Tasks+g.Per-1)/g.Per)
	for i := range g.Cells {
		last := min((i+1)*g.Per, g.Tasks) - 1
		g.Cells[i] = Cell{First: j.array.At(i * g.Per), Last: j.array.At(last), Tasks: last - i*g.Per + 1}
	}
	g.count(&j.done, func(c *Cell) *int { return &c.Done })
	g.count(&j.failed, func(c *Cell) *int { return &c.Failed })
	g.count(&j.cancelled, func(c *Cell) *int { return &c.Cancelled })
	for task := range j.active {
		if !j.waits(task) {
			g.Cells[task/g.Per].Running++
		}
	}
	return g, true
}

// count adds each task of a set to its cell.
func (g *Grid) count(tasks *Ranges, of func(*Cell) *int) {
	for first, last := range tasks.Runs() {
		for at := first; at <= last; {
			end := min(last, (at/g.Per+1)*g.Per-1)
			*of(&g.Cells[at/g.Per]) += end - at + 1
			at = end + 1
		}
	}
}

func (s *Service) grid(ctx context.Context, _ bus.Caller, req gridRequest) (Grid, error) {
	var g Grid
	var known bool
	var last ID
	err := s.ask(ctx, func(st *State) { g, known = st.Grid(req.ID, req.Cells); last = st.Last() })
	if err == nil && !known {
		err = unknownJob(req.ID, last)
	}
	return g, err
}

// Grid tells how the tasks of a job stand, by at most so many cells; 0 for as many as there may be.
func (c Client) Grid(ctx context.Context, id ID, cells int) (Grid, error) {
	var g Grid
	err := c.Conn.Call(ctx, "job.read.grid", gridRequest{ID: id, Cells: cells}, &g)
	return g, err
}
