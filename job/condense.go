package job

import (
	"cmp"

	"bramble/sorts"
)

// condense makes at most so many spans of moments: neighbours of a node and job become one where the time between them is
// short against the whole stretch, and of what are still too many the shortest are left out.
func condense(list []moment, most int, width int64) (kept []moment, hidden int) {
	sorts.By(list, func(a, b moment) int {
		return cmp.Or(cmp.Compare(a.node, b.node), cmp.Compare(a.start, b.start))
	})
	for gap := width / 1000; len(list) > most && gap < width/10; gap *= 4 {
		list = merge(list, gap)
	}
	if len(list) > most {
		hidden = len(list) - most
		sorts.By(list, func(a, b moment) int { return cmp.Compare(b.end-b.start, a.end-a.start) })
		list = list[:most]
	}
	return list, hidden
}

// merge joins, in a list by node and start, moments of one job and state that begin no later than gap after the last of its end.
func merge(list []moment, gap int64) []moment {
	type thread struct {
		job   ID
		state stateCode
	}
	kept, open := list[:0], map[thread]int{}
	for i, m := range list {
		if i > 0 && m.node != list[i-1].node {
			clear(open)
		}
		at, ok := open[thread{m.job, m.state}]
		if ok && m.start-kept[at].end <= gap {
			kept[at].take(&m)
			continue
		}
		open[thread{m.job, m.state}] = len(kept)
		kept = append(kept, m)
	}
	return kept
}

// heatOf is how busy each row was in each column of a stretch of time.
func heatOf(list []moment, cpus func(ID) int, rowOf []int, rows []TimelineRow, columns int, since, until int64) [][]int {
	busy := make([][]float64, len(rows))
	for i := range busy {
		busy[i] = make([]float64, columns)
	}
	width := max(1, float64(until-since)/float64(columns))
	for i := range list {
		m := &list[i]
		row := rowOf[m.node]
		if row < 0 {
			continue
		}
		cores := float64(m.busy) / float64(max(1, m.end-m.start)) * float64(cpus(m.job))
		from, to := float64(max(m.start, since)-since)/width, float64(min(m.end, until)-since)/width
		for c := int(from); c < columns && float64(c) < to; c++ {
			busy[row][c] += cores * (min(to, float64(c+1)) - max(from, float64(c)))
		}
	}
	heat := make([][]int, len(rows))
	for i, line := range busy {
		heat[i] = make([]int, columns)
		for c, cores := range line {
			heat[i][c] = min(1000, int(1000*cores/float64(max(1, rows[i].Cores))+0.5))
		}
	}
	return heat
}
