package job

import (
	"context"
	"io"
	"os"
)

// StepNumber is the number of a step that is about to begin, from 0 in each allocation; its leader counts.
func (in Inside) StepNumber(ctx context.Context) (n int, err error) {
	err = in.call(ctx, StepRequest{Do: doNumber}, &n)
	return n, err
}

// CountStep is the same in a task of one rank, which has no agent to ask: it adds a byte to the file that StepsVar names.
func CountStep(path string) (int, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	if _, err := f.Write([]byte{'.'}); err != nil {
		return 0, err
	}
	end, err := f.Seek(0, io.SeekCurrent) // where this byte ended, whoever appends at the same time
	return int(end) - 1, err
}
