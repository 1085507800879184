package job

import "bramble/keeper"

// A keeper that queues is handed waiting attempts ahead of time, so that one begins in the moment in which another
// ends. The books stay as they are: the keeper begins attempts in their order, one for each that has ended, and has
// never more of them under way than the books say, which hear of an end later. So that this holds, only attempts
// like all that run are handed over, and none over another that waits.

// handAhead hands over what may wait at the keeper. n.mu is held, as in all that follows.
func (n *Node) handAhead() {
	queue, _ := n.Keeper.(keeper.Queue)
	waiting := n.slots.waiting
	if queue == nil || len(waiting) == 0 || !queue.Queues() {
		return
	}
	first := len(waiting)
	for first > 0 && n.ahead[waiting[first-1].Key] == 0 {
		first--
	}
	for _, a := range waiting[first:] {
		if !n.mayAhead(a) {
			break
		}
		n.ahead[a.Key] = n.lanes(a)
		n.starts = append(n.starts, a)
		signal(n.begin)
	}
}

// mayAhead reports whether an attempt needs nothing but its turn, and is like those that run.
func (n *Node) mayAhead(a Attempt) bool {
	spec, known := n.specs[a.Job]
	if !known || !a.usual(spec) || spec.ownFolder() || spec.Signal != "" || a.CPUs < 1 {
		return false
	}
	for _, r := range n.slots.running {
		if r.CPUs != a.CPUs || r.Memory != a.Memory || len(r.Gres) > 0 || r.takesSteps() {
			return false
		}
	}
	return true
}

// lanes is how many attempts like this one may run at a time.
func (n *Node) lanes(a Attempt) int {
	lanes := n.slots.Cores / a.CPUs
	if a.Memory > 0 {
		lanes = min(lanes, int(n.slots.Memory/a.Memory))
	}
	return max(1, lanes)
}

// lanesOf is how many attempts may run before this one begins, 0 when it begins at once.
func (n *Node) lanesOf(k Key) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.ahead[k]
}

// takeBack asks the keeper for an attempt that was handed over ahead of time. If it has begun, nothing comes of it,
// and the head will ask again.
func (n *Node) takeBack(k Key) {
	queue, _ := n.Keeper.(keeper.Queue)
	if queue == nil {
		return
	}
	n.spawn(func() {
		if err := queue.Withdraw(n.life, []string{k.String()}); err != nil {
			n.Log.Debug("withdraw", "task", k.String(), "error", err)
		}
	})
}

// given reports whether a task that has ended is to be given back, having not run, or not to its end by its own doing.
func given(st keeper.Status) bool {
	return st.Error == keeper.Lost || st.Error == keeper.Stopped || st.Error == keeper.Withdrawn
}
