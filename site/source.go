package site

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/text/unicode/norm"

	"bramble/artefact"
	"bramble/fault"
)

// Source is what a release is made of: a folder, an archive, or the http(s) address of an archive.
type Source string

const (
	// maxArchive is the most bytes that are downloaded.
	maxArchive = 4 << 30
	// silence is how long the server of an archive may send nothing.
	silence = time.Minute
)

// folder is the folder that a source stands for; what has to be unpacked is below temp.
func (s Source) folder(ctx context.Context, temp string) (string, error) {
	if s.isURL() {
		return s.download(ctx, temp)
	}
	f, err := os.Open(string(s))
	if err != nil {
		return "", unreadable(string(s), err)
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return "", unreadable(string(s), err)
	case info.IsDir():
		return string(s), nil
	case !info.Mode().IsRegular():
		return "", fault.New(fault.Misused, "%s is neither a folder nor a file", string(s))
	}
	return unfold(ctx, f, filepath.Base(string(s)), temp)
}

func (s Source) isURL() bool {
	return strings.HasPrefix(string(s), "http://") || strings.HasPrefix(string(s), "https://")
}

func unreadable(name string, err error) error {
	if cause, ok := errors.AsType[*os.PathError](err); ok {
		err = cause.Err
	}
	code := fault.Failed
	switch {
	case os.IsNotExist(err):
		code = fault.NotFound
	case os.IsPermission(err):
		code = fault.Denied
	}
	return fault.New(code, "%s: %w", name, err).Hint("a folder, an archive, or the address of one")
}

// download fetches an archive and unpacks it.
func (s Source) download(ctx context.Context, temp string) (string, error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	timer := time.AfterFunc(silence, stop)
	failed := func(err error) error {
		if cause, ok := errors.AsType[*url.Error](err); ok {
			err = cause.Err
		}
		if !timer.Stop() {
			err = fmt.Errorf("nothing came for %s", silence)
		}
		return fault.New(fault.Unreachable, "fetch %s: %w", string(s), err).Hint("check the address")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, string(s), nil)
	if err != nil {
		return "", fault.New(fault.Misused, "%s is no address: %w", string(s), err)
	}
	req.Header.Set("Accept-Encoding", "identity")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", failed(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", fault.New(fault.NotFound, "fetch %s: the server says %s", string(s), resp.Status).Hint("check the address")
	}
	f, err := os.Create(filepath.Join(temp, "archive"))
	if err != nil {
		return "", err
	}
	defer f.Close()
	n, err := io.Copy(f, io.LimitReader(heard{resp.Body, timer}, maxArchive+1))
	if err != nil {
		return "", failed(err)
	}
	timer.Stop()
	if n > maxArchive {
		return "", fault.New(fault.Full, "%s is larger than %d GB", string(s), maxArchive>>30)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	return unfold(ctx, f, path.Base(req.URL.Path), temp)
}

// heard starts the time anew in which something must come.
type heard struct {
	io.Reader
	timer *time.Timer
}

func (h heard) Read(p []byte) (int, error) {
	n, err := h.Reader.Read(p)
	if n > 0 {
		h.timer.Reset(silence)
	}
	return n, err
}

// unfold unpacks an archive; when all of it is in one folder, that is the site.
func unfold(ctx context.Context, f *os.File, name, temp string) (string, error) {
	dir := filepath.Join(temp, "unpacked")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	if err := unpack(ctx, f, name, dir); err != nil {
		return "", err
	}
	list, err := os.ReadDir(dir)
	if err == nil && len(list) == 1 && list[0].IsDir() {
		dir = filepath.Join(dir, list[0].Name())
	}
	return dir, err
}

// twins looks for names that a person cannot tell apart: those that are equal but for how accents are encoded are an error;
// those that differ only in case are pairs to warn of, since a copy of the site on some systems would have one of them only.
func twins(m artefact.Manifest) (pairs [][2]string, err error) {
	exact, folded := map[string]string{}, map[string]string{}
	for _, e := range m.Entries {
		form := norm.NFC.String(e.Path)
		if other, ok := exact[form]; ok {
			return nil, fault.New(fault.Misused, "%+q and %+q are the same name in two forms of Unicode, and nobody could tell which one an address means", other, e.Path).
				Hint("rename or remove one of them")
		}
		exact[form] = e.Path
		lower := strings.ToLower(form)
		if other, ok := folded[lower]; ok {
			pairs = append(pairs, [2]string{other, e.Path})
			continue
		}
		folded[lower] = e.Path
	}
	return pairs, nil
}
