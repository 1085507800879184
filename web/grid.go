package web

import (
	"fmt"

	"bramble/job"
)

const (
	gridCells = 1000 // on a page
	gridChunk = 50   // cells that are drawn anew together
)

// gridView is a job's tasks as cells.
type gridView struct {
	Per    int
	Chunks []gridChunkView
}

// gridChunkView is some cells that follow each other.
type gridChunkView struct {
	ID    string
	Cells []gridCell
}

// gridCell is one task, or a block of them.
type gridCell struct {
	First int
	Class string
	Title string
	Shown bool // its output is on the page
}

func gridViewOf(g job.Grid, d job.Detail, shown int) gridView {
	nodes := map[int]string{}
	for _, p := range d.Placements {
		nodes[p.Index] = p.Node
	}
	for _, f := range d.Failures {
		nodes[f.Index] = f.Node
	}
	v := gridView{Per: g.Per}
	for i := range g.Cells {
		if i%gridChunk == 0 {
			v.Chunks = append(v.Chunks, gridChunkView{ID: fmt.Sprintf("grid-%d", i/gridChunk)})
		}
		c := &g.Cells[i]
		cell := gridCell{First: c.First, Class: string(c.State()), Title: cellTitle(c, nodes[c.First]), Shown: c.First <= shown && shown <= c.Last}
		if c.Tasks > 1 {
			ended, fine := blockLevels(c)
			cell.Class += fmt.Sprintf(" block l%d m%d", ended, fine)
		}
		last := &v.Chunks[len(v.Chunks)-1]
		last.Cells = append(last.Cells, cell)
	}
	return v
}

// blockLevels is how far a block has come, in ten steps, and how much of that went well: ended is 10 only when all of it
// has ended and 0 only when nothing has, and below it fine leaves room for what failed.
func blockLevels(c *job.Cell) (ended, fine int) {
	switch over := c.Done + c.Failed + c.Cancelled; {
	case over == c.Tasks:
		ended = 10
	case over > 0:
		ended = max(1, min(9, 10*over/c.Tasks))
	}
	if c.Failed == 0 {
		return ended, ended
	}
	return ended, min(ended-1, 10*c.Done/c.Tasks)
}

func cellTitle(c *job.Cell, node string) string {
	if c.Tasks == 1 {
		text := fmt.Sprintf("task %d: %s", c.First, c.State())
		if node != "" {
			text += " on " + node
		}
		return text
	}
	text := fmt.Sprintf("tasks %d-%d: %d of %d done", c.First, c.Last, c.Done, c.Tasks)
	for _, part := range []struct {
		n    int
		what string
	}{{c.Failed, "failed"}, {c.Running, "running"}, {c.Cancelled, "cancelled"}} {
		if part.n > 0 {
			text += fmt.Sprintf(", %d %s", part.n, part.what)
		}
	}
	return text
}
