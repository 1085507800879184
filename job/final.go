package job

import (
	"time"
)

// results takes results from a node, acknowledges them all, and counts those of attempts that are current.
func (st *turn) results(n *node, name string, results []Result) {
	if len(results) == 0 {
		return
	}
	st.whole = results
	for i := range results {
		r, counted := &results[i], false
		k := r.Key()
		st.send(&st.forgets, name, k, "")
		if n != nil {
			n.slots.Remove(k)
		}
		j, task, ok := st.s.current(n, k)
		if ok {
			st.release(j, task, n)
		} else if j, task, ok = st.s.find(k); ok {
			ok = st.s.mayBe(j, task, k.Attempt) && j.pending.Remove(task)
		}
		if ok {
			counted = st.finish(j, task, name, r)
		}
		st.count(results, i, counted)
	}
	if n != nil {
		n.slots.Start()
		st.s.index.put(n)
	}
}

// count notes whether results[i] was final; as long as all are, nothing is copied.
func (st *turn) count(results []Result, i int, final bool) {
	switch {
	case st.whole != nil && !final:
		st.final, st.whole = append(st.final, results[:i]...), nil
	case st.whole == nil && final:
		st.final = append(st.final, results[i])
	}
}

// finish settles what a current attempt's end means for its task, and reports whether the task is final.
func (st *turn) finish(j *job, task int, node string, r *Result) bool {
	s := st.s
	switch {
	case r.OK():
		if j.fresh.Len() == 0 {
			st.done, j.freshOn = append(st.done, j), node
		}
		j.fresh.Add(task)
		j.freshUs.add(usageOf(r))
		j.learn(r.Exit.Wall)
	case j.isStopped(task):
		var one Ranges
		one.Add(task)
		st.cancelTasks(j, one)
	case j.spentBy(task).tries < j.spec.Retries:
		st.putBack(j, task, r.Attempt, true)
		return false
	default:
		st.fail(j, task, failureOf(r, node, st.now), usageOf(r))
	}
	s.settle(j)
	return true
}

// fail makes a task final that failed for good.
func (st *turn) fail(j *job, task int, f Failure, u Usage) {
	st.rec = appendFailed(st.rec, j.id, task, f, u)
	st.s.applyFailed(j, task, f, u, st.now)
	st.s.toldBegun(j)
	st.closeIfOver(j)
}

// learn takes a task's wall time into the job's mean.
func (j *job) learn(wall time.Duration) {
	if j.wall < 0 {
		j.wall = wall
	}
	j.wall += (wall - j.wall) / 8
}

// commit writes down the successes of this Step, a range at a time.
func (st *turn) commit() {
	for _, j := range st.done {
		st.rec = appendDone(st.rec, j.id, &j.fresh, j.freshOn, j.freshUs)
		st.s.applyDone(j, &j.fresh, j.freshOn, j.freshUs, st.now)
		st.s.toldBegun(j)
		j.fresh.Clear()
		j.freshUs = Usage{}
		st.closeIfOver(j)
	}
	st.done = nil
}

// cancelTasks makes open tasks of a cancelled job final.
func (st *turn) cancelTasks(j *job, tasks Ranges) {
	if tasks.Len() == 0 {
		return
	}
	j.pending.RemoveAll(&tasks)
	st.rec = appendCancelled(st.rec, j.id, &tasks)
	st.s.applyCancelled(j, &tasks, st.now)
	st.s.toldBegun(j)
	st.closeIfOver(j)
}

// closeIfOver tells that the job has ended when its last task is final.
func (st *turn) closeIfOver(j *job) {
	if !j.ended.IsZero() {
		st.over = append(st.over, j.id)
		st.s.closeJob(j)
	}
}

// putBack makes a task pending again after an attempt that did not decide it. With it
// end all that earlier epochs may have handed out, whose numbers would else come again.
func (st *turn) putBack(j *job, task, attempt int, failed bool) {
	attempt = max(attempt, st.s.nextAttempt(j, task)-1)
	st.rec = appendSpent(st.rec, j.id, task, attempt, failed)
	st.s.applySpent(j, task, attempt, failed)
	j.pending.Add(task)
	j.after = st.seq()
	st.s.settle(j)
}
