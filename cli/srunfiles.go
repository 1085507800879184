package cli

import (
	"cmp"
	"io"
	"os"
	"strconv"

	"bramble/apps/slurm"
	"bramble/fault"
	"bramble/job"
)

// srunFiles is what each rank reads and writes, in order of rank: stdin or what -i names, and our own output or files that
// -o and -e name, each opened once. finish comes when the ranks have ended.
func srunFiles(r *slurm.Run, nodes []string, stdin io.Reader) (list []job.StepFiles, finish func() error, err error) {
	files := map[string]*os.File{}
	closed := func() (err error) {
		for _, f := range files {
			err = cmp.Or(err, f.Close())
		}
		return err
	}
	file := func(pattern string, w job.Writer, to *io.Writer) {
		name := job.FileName(pattern, w)
		if err != nil || pattern == "" {
			return
		}
		if files[name] == nil {
			var f *os.File
			if f, err = os.Create(name); err != nil {
				err = fault.New(fault.Failed, "the output of rank %d cannot be written: %w", w.Rank, err).Hint("-o with another path")
				return
			}
			files[name] = f
		}
		*to = files[name]
	}
	direct, flush := stepFiles(r.Label)
	writers := srunWriters(nodes)
	inputs, err := srunInputs(r, writers, stdin)
	if err != nil {
		return nil, nil, err
	}
	for rank, w := range writers {
		to := direct(rank, w.Node)
		to.Stdin = inputs[rank]
		file(r.Spec.Output, w, &to.Stdout)
		file(cmp.Or(r.Spec.Error, r.Spec.Output), w, &to.Stderr)
		list = append(list, to)
	}
	if err != nil {
		closed()
		return nil, nil, err
	}
	return list, func() error { return cmp.Or(flush(), closed()) }, nil
}

// srunWriters is each rank as names of files may mention it.
func srunWriters(nodes []string) (list []job.Writer) {
	id, _ := strconv.ParseInt(os.Getenv("BRAMBLE_JOB_ID"), 10, 64)
	at := map[string]int{}
	for rank, node := range nodes {
		if _, known := at[node]; !known {
			at[node] = len(at)
		}
		list = append(list, job.Writer{Job: job.ID(id), Name: os.Getenv("SLURM_JOB_NAME"), User: os.Getenv("USER"), Node: node, Rank: rank, Place: at[node]})
	}
	return list
}

// srunInputs is what each rank reads, in order of rank; nil for nothing.
func srunInputs(r *slurm.Run, ranks []job.Writer, stdin io.Reader) ([]io.Reader, error) {
	list := make([]io.Reader, len(ranks))
	only, pattern := r.InputRank(), r.InputFile()
	switch {
	case r.Input == slurm.InputNone:
	case only >= len(ranks):
		return nil, fault.New(fault.Misused, "--input=%d: the ranks have the numbers 0 to %d", only, len(ranks)-1).Hint("--input=./%d for a file of that name", only)
	case only >= 0:
		list[only] = stdin
	case pattern == "":
		return broadcast(stdin, len(ranks)), nil
	}
	if pattern == "" {
		return list, nil
	}
	for i, w := range ranks {
		f, err := os.Open(job.FileName(pattern, w))
		if err != nil {
			for _, open := range list[:i] {
				open.(io.Closer).Close()
			}
			return nil, fault.New(fault.NotFound, "the input of rank %d cannot be read: %w", w.Rank, err).Hint("-i with another path, or -i none")
		}
		list[i] = f
	}
	return list, nil
}

// broadcast gives what it reads to each of n readers, at the pace of the slowest; one that was closed is not waited for.
func broadcast(from io.Reader, n int) []io.Reader {
	if n == 1 {
		return []io.Reader{from}
	}
	readers, writers := make([]io.Reader, n), make([]*io.PipeWriter, n)
	for i := range readers {
		readers[i], writers[i] = io.Pipe()
	}
	go func() { // it ends with its reader, which nobody can interrupt
		buf := make([]byte, 32<<10)
		for {
			k, err := from.Read(buf)
			for _, w := range writers {
				w.Write(buf[:k])
			}
			if err != nil {
				for _, w := range writers {
					w.CloseWithError(err)
				}
				return
			}
		}
	}()
	return readers
}
