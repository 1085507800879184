package artefact

import (
	"context"
	"hash"
	"io"
	"os"
	"sync"
)

const (
	// hashedBuffers is how many buffers pass between who reads and who hashes.
	hashedBuffers = 4
	// smallBlob is up to how many bytes it is not worth it.
	smallBlob = 64 << 10
	// flushEvery is after how many bytes what was written is sent to the disk, so that little is left for the last flush.
	flushEvery = 16 << 20
)

// copyHashed copies src to dst while another core hashes what passes by: that takes as long as reading and writing.
// After an error the hash is worthless.
func copyHashed(ctx context.Context, dst io.Writer, sum hash.Hash, src io.Reader) (n int64, err error) {
	src = &contextReader{ctx, src}
	first := make([]byte, smallBlob)
	got, err := io.ReadFull(src, first)
	sum.Write(first[:got])
	wrote, failure := dst.Write(first[:got])
	switch {
	case failure != nil:
		return int64(wrote), failure
	case err == io.EOF || err == io.ErrUnexpectedEOF:
		return int64(wrote), nil
	case err != nil:
		return int64(wrote), err
	}
	n, err = hashBeside(dst, sum, src)
	return int64(wrote) + n, err
}

func hashBeside(dst io.Writer, sum hash.Hash, src io.Reader) (n int64, err error) {
	free, full := make(chan []byte, hashedBuffers), make(chan []byte, hashedBuffers)
	for range hashedBuffers {
		free <- make([]byte, bufferSize)
	}
	var hashing sync.WaitGroup
	hashing.Go(func() {
		for data := range full {
			sum.Write(data)
			free <- data[:bufferSize]
		}
	})
	defer hashing.Wait()
	defer close(full)
	for err == nil {
		var got int
		buf := <-free
		if got, err = src.Read(buf); got == 0 {
			free <- buf
			continue
		}
		full <- buf[:got]
		wrote, failure := dst.Write(buf[:got])
		if n += int64(wrote); failure != nil {
			return n, failure
		}
	}
	if err == io.EOF {
		err = nil
	}
	return n, err
}

// flushing writes to a file, and has what was written go to the disk meanwhile.
type flushing struct {
	io.Writer
	file  *os.File
	since int64
	busy  sync.WaitGroup
	gate  chan struct{} // holds one while a flush is under way
	err   error         // of a flush: the kernel tells it once
}

func newFlushing(w io.Writer, file *os.File) *flushing {
	return &flushing{Writer: w, file: file, gate: make(chan struct{}, 1)}
}

func (f *flushing) Write(p []byte) (int, error) {
	n, err := f.Writer.Write(p)
	if f.since += int64(n); f.since >= flushEvery {
		select {
		case f.gate <- struct{}{}:
			f.since = 0
			f.busy.Go(func() {
				if err := f.file.Sync(); err != nil && f.err == nil {
					f.err = err
				}
				<-f.gate
			})
		default: // the disk is behind
		}
	}
	return n, err
}

// wait returns when no flush is under way, and how they went.
func (f *flushing) wait() error {
	f.busy.Wait()
	return f.err
}

// lastError remembers whether it was the writer that failed.
type lastError struct {
	io.Writer
	err error
}

func (l *lastError) Write(p []byte) (n int, err error) {
	n, err = l.Writer.Write(p)
	l.err = err
	return n, err
}
