package job

import (
	"bytes"
	"fmt"
	"time"

	"bramble/bus"
	"bramble/fault"
	"bramble/term"
)

const (
	stdout = "stdout"
	stderr = "stderr"
	// maxStored is how much of one of a task's streams the head keeps, in bytes.
	maxStored = 16 << 20
	// maxFetched is how much fetched output the head's memory holds until the disk has it, in bytes.
	maxFetched = 2 * maxStored
	// fetchPause is how long a failed fetch waits before the node is asked again.
	fetchPause = time.Second
)

// fetch brings output that was too large for a report, then lets the result count. It runs in the loop.
func (s *Service) fetch(node string, r Result) {
	of := s.fetching[node]
	if of == nil {
		of = map[Key]Attempt{}
		s.fetching[node] = of
	}
	if _, already := of[r.Key()]; already {
		return
	}
	if !s.state.Awaits(node, r.Key()) { // nobody will read it
		s.happen(Ended{Node: node, Results: []Result{r}})
		return
	}
	spec, _ := s.state.Spec(r.Job)
	of[r.Key()] = Attempt{Key: r.Key(), CPUs: spec.CPUs, Memory: spec.Memory}
	s.ended.Go(func() { s.bring(node, r, of) })
}

// bring fetches one result's output, a bounded amount of all nodes' at a time.
func (s *Service) bring(node string, r Result, of map[Key]Attempt) {
	size := max(1, min(r.OutSize, maxStored)+min(r.ErrSize, maxStored))
	if s.memory.Acquire(s.life, size) != nil {
		return
	}
	err := s.collectBoth(node, &r)
	if err != nil && s.life.Err() == nil {
		s.Log.Warn("output not fetched; the node is asked again", "task", r.Key().String(), "node", node, "error", err)
		select {
		case <-time.After(fetchPause):
		case <-s.life.Done():
		}
	}
	s.do(s.life, func() {
		delete(of, r.Key())
		if err != nil {
			s.memory.Release(size)
			s.courier(node).resync()
			return
		}
		s.when(s.happen(Ended{Node: node, Results: []Result{complete(r)}}), func() { s.memory.Release(size) })
	})
}

func (s *Service) collectBoth(node string, r *Result) (err error) {
	if r.Stdout, err = s.collect(node, r.Key(), stdout, r.OutSize); err != nil {
		return err
	}
	r.Stderr, err = s.collect(node, r.Key(), stderr, r.ErrSize)
	return err
}

// collect reads an ended attempt's stream from its node. What the node does not have any more is left out, and that is said.
func (s *Service) collect(node string, k Key, stream string, size int64) ([]byte, error) {
	if size <= 0 {
		return nil, nil
	}
	in, err := s.Conn.Open(s.life, bus.Node("job", node, "output"), outputRequest{Key: k, Stream: stream})
	if err != nil {
		return nil, err
	}
	defer in.Close()
	var all bytes.Buffer
	for data, err := range in.Messages() {
		if err != nil && !fault.Is(err, fault.NotFound) {
			return nil, err
		}
		all.Write(data[:min(len(data), maxStored-all.Len())])
	}
	if err := s.life.Err(); err != nil {
		return nil, err
	}
	if missing := min(size, maxStored) - int64(all.Len()); missing > 0 {
		s.Log.Warn("output is missing", "task", k.String(), "node", node, "stream", stream, "bytes", missing)
		fmt.Fprintf(&all, "\n[bramble: %s of %s were lost on %s]\n", term.Bytes(missing), stream, node)
	}
	return all.Bytes(), nil
}

// complete has a result's output say what is missing of it.
func complete(r Result) Result {
	lost := r.Dropped + max(0, r.OutSize-maxStored) + max(0, r.ErrSize-maxStored)
	if lost > 0 {
		r.Stderr = append(bytes.Clone(r.Stderr), fmt.Sprintf("\n[bramble: %s of output beyond the limit were dropped]\n", term.Bytes(lost))...)
	}
	return r
}
