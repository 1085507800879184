package keeper

import (
	"fmt"
	"os"
	"sync"

	"bramble/fault"
	"bramble/host"
)

// opener opens files with an account's rights, as host.Real does.
type opener interface {
	OpenAs(user string, w host.Writing) (*os.File, error)
}

// copied is a file that output goes to as it comes. It takes everything until something cannot be written.
type copied struct {
	mu   sync.Mutex
	file *os.File
	err  error
}

// write adds to the file; c may be nil.
func (c *copied) write(p []byte) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		_, c.err = c.file.Write(p)
	}
}

// openCopies opens the files of Task.Copy before the task begins.
func (r *run) openCopies(h host.Host) error {
	c := r.task.Copy
	if c == nil {
		return nil
	}
	o, ok := h.(opener)
	if !ok {
		return fault.New(fault.Failed, "output goes to no files here")
	}
	open := func(path string) (*copied, error) {
		file, err := o.OpenAs(r.task.User, host.Writing{Path: path, Below: c.Below, Append: c.Append, Umask: r.task.Umask})
		if err != nil {
			return nil, fmt.Errorf("its output cannot be written: %w", err)
		}
		r.copies = append(r.copies, &copied{file: file})
		return r.copies[len(r.copies)-1], nil
	}
	var err error
	if c.Out != "" {
		r.out.copy, err = open(c.Out)
	}
	switch {
	case err != nil || c.Err == "":
	case c.Err == c.Out:
		r.err.copy = r.out.copy
	default:
		r.err.copy, err = open(c.Err)
	}
	return err
}

// closeCopies closes them when all that the task has written is there; the error says what is not.
func (r *run) closeCopies() error {
	for _, c := range r.copies {
		err := c.file.Close() // a file server may say only now that it has no room
		if c.err == nil {
			c.err = err
		}
	}
	for _, c := range r.copies {
		if c.err != nil {
			return fmt.Errorf("its output was not written to the end: %w", c.err)
		}
	}
	return nil
}
