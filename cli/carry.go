package cli

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"bramble/apps/slurm"
	"bramble/artefact"
	"bramble/cluster"
	"bramble/fault"
	"bramble/job"
	"bramble/term"
)

// carryFlags say what travels with a job, what it finds, and where what it writes is put.
type carryFlags struct {
	Folder      string   `short:"D" aliases:"chdir" help:"The folder that travels and in which the tasks run (default: this one, unless it is your home, / or /tmp)." placeholder:"DIR"`
	NoFolder    bool     `help:"No folder travels."`
	FolderLimit string   `help:"The most that the folder may hold: bytes, and how many files." default:"64M,5000" placeholder:"SIZE[,FILES]"`
	Transfer    []string `help:"In the place of the folder, just this file or folder arrives; repeat." placeholder:"FILE" sep:"none"`
	Return      []string `help:"Of the files that are new or changed only these come back; repeat." placeholder:"GLOB" sep:"none"`
	Shared      []string `help:"A path that is the same on every machine (NFS or the like): nothing under it travels; repeat." placeholder:"PATH" sep:"none"`
	Output      string   `short:"o" help:"Write what the tasks write to files, with --wait, wait or pull, and under --shared on the nodes as it comes: %j job, %a task, %N node, %x name, %u user." placeholder:"PATH"`
	Error       string   `short:"e" help:"The same for standard error." placeholder:"PATH"`
	Append      bool     `help:"Append to those files."`
	Export      string   `help:"Variables from here: NAME, NAME=VALUE, ALL or NONE, with commas (default NONE)." placeholder:"LIST"`
	Umask       string   `help:"Rights that files of the tasks do not get (default 022)." placeholder:"OCTAL"`
	beside      []string // files from elsewhere that arrive as well
}

// defaultFolderLimit is what a folder may hold when nobody said.
const defaultFolderLimit = "64M,5000"

// apply puts the flags into what is submitted.
func (f *carryFlags) apply(s *job.Spec) error {
	s.Return, s.Append = f.Return, f.Append || s.Append
	s.Output, s.Error = cmp.Or(f.Output, s.Output), cmp.Or(f.Error, s.Error)
	if f.Export != "" {
		s.Env = append(slurm.Exported(os.Environ(), f.Export), s.Env...)
	}
	if f.Umask != "" {
		mask, err := strconv.ParseUint(f.Umask, 8, 32)
		if err != nil || mask > 0o777 {
			return fault.New(fault.Misused, "--umask %q is no octal number up to 777", f.Umask).Hint("--umask 077")
		}
		s.Umask = int(mask)
		if mask == 0 {
			s.Umask = job.NoUmask
		}
	}
	for _, path := range f.Shared {
		if !filepath.IsAbs(path) {
			return fault.New(fault.Misused, "--shared %s is not a path from the root, which alone can be the same everywhere", path).Hint("--shared /home")
		}
		s.Shared = append(s.Shared, filepath.Clean(path))
	}
	if f.NoFolder && f.Folder != "" {
		return fault.New(fault.Misused, "--folder and --no-folder are both given").Hint("leave one of them out")
	}
	return nil
}

// carry has what the job needs travel, and says what did.
func (f *carryFlags) carry(e *env, cl *cluster.Cluster, s *job.Spec) error {
	place(s)
	dir := cmp.Or(f.Folder, s.WorkDir)
	if dir != "" {
		s.SubmitDir = absolute(dir)
	}
	s.WorkDir = ""
	if info, err := os.Stat(s.SubmitDir); err != nil || !info.IsDir() {
		return fault.New(fault.NotFound, "%s is no folder here", s.SubmitDir).Hint("--folder DIR")
	}
	s.Output, s.Error = outputPattern(s.SubmitDir, s.Output), outputPattern(s.SubmitDir, s.Error)
	for _, pattern := range []string{s.Output, s.Error} {
		if s.ForAll(pattern) {
			fmt.Fprintf(e.out.Stderr, "output: %s is one file for all tasks, so bramble wait writes it; with %%a in its name, or --append, each node does\n", clean(pattern))
		}
	}
	say := func(format string, args ...any) { fmt.Fprintf(e.out.Stderr, "folder: "+format+"\n", args...) }
	var err error
	switch {
	case s.IsShared(s.SubmitDir):
		s.WorkDir = s.SubmitDir
		say("%s is the same everywhere, so nothing travels", s.SubmitDir)
	case len(f.Transfer) > 0:
		s.Inputs, err = upload(e, cl, append(f.Transfer, f.beside...))
	case !f.NoFolder && (dir != "" || tooWide(s.SubmitDir) == ""):
		return f.sendFolder(e, cl, s, say)
	case len(f.beside) > 0:
		s.Inputs, err = f.sendBeside(e, cl)
	case !f.NoFolder && e.out.Stderr.IsTerminal():
		say("none, as this is %s; --folder DIR sends one", tooWide(s.SubmitDir))
	}
	return err
}

// sendFolder uploads the submission's folder, of which the head has what did not change since the last time.
func (f *carryFlags) sendFolder(e *env, cl *cluster.Cluster, s *job.Spec, say func(string, ...any)) error {
	limit, err := parseFolderLimit(f.FolderLimit)
	if err != nil {
		return err
	}
	tree, err := artefact.ScanFolder(e.ctx, s.SubmitDir, limit)
	if errors.Is(err, artefact.ErrTooLarge) {
		return fault.New(fault.Full, "%s is too large to travel: more than %s or %s", s.SubmitDir, term.Bytes(limit.Bytes), countFiles(limit.Files)).
			Hint("name what need not travel in %s, or --folder-limit 1G,50000, or --no-folder", artefact.IgnoreFile)
	}
	if err != nil {
		return err
	}
	defer tree.Close()
	for _, left := range tree.Skipped {
		say("%s is left out: %s", clean(left.Path), clean(left.Why))
	}
	s.Folder = true
	beside, err := artefact.Scan(e.ctx, f.beside)
	if err != nil {
		return err
	}
	defer beside.Close()
	if err := tree.Add(beside); err != nil {
		return err
	}
	files, bytes := tree.Manifest.Sum()
	if len(tree.Manifest.Entries) == 0 {
		say("empty")
		return nil
	}
	say("%s, %s", countFiles(files), term.Bytes(bytes))
	s.Inputs, err = send(e, cl, tree, bytes)
	return err
}

// sendBeside uploads what arrives where no folder travels.
func (f *carryFlags) sendBeside(e *env, cl *cluster.Cluster) (string, error) {
	tree, err := artefact.Scan(e.ctx, f.beside)
	if err != nil {
		return "", err
	}
	defer tree.Close()
	_, bytes := tree.Manifest.Sum()
	return send(e, cl, tree, bytes)
}

// showUploadFrom is how large a folder is for whose upload a bar is drawn, in bytes.
const showUploadFrom = 1 << 20

func send(e *env, cl *cluster.Cluster, tree *artefact.Tree, bytes int64) (string, error) {
	if bytes < showUploadFrom {
		ref, err := cl.Files().Upload(e.ctx, tree, tree.Manifest, nil)
		return string(ref), err
	}
	p := term.NewProgress(e.ctx, e.out)
	defer p.Stop()
	bar := p.Bar("upload", 0, term.Data)
	ref, err := cl.Files().Upload(e.ctx, tree, tree.Manifest, func(done, total int64) { bar.Total(total); bar.Set(done) })
	if err == nil {
		bar.Done("done")
	}
	return string(ref), err
}

func parseFolderLimit(text string) (artefact.Limit, error) {
	size, count, given := strings.Cut(text, ",")
	bytes, err := term.ParseBytes(size)
	files := artefact.MaxEntries
	if err == nil && given {
		files, err = strconv.Atoi(count)
	}
	if err != nil || bytes <= 0 || files <= 0 {
		return artefact.Limit{}, fault.New(fault.Misused, "--folder-limit %q is no size", text).Hint("--folder-limit 1G, or 1G,50000 with a number of files")
	}
	return artefact.Limit{Bytes: bytes, Files: files}, nil
}

// tooWide names a folder that nobody means as a whole; "" for all others.
func tooWide(dir string) string {
	home, _ := os.UserHomeDir()
	for _, wide := range []struct{ dir, name string }{{home, "your home folder"}, {"/tmp", "/tmp"}, {"/var/tmp", "/var/tmp"}, {os.TempDir(), "the folder for temporary files"}} {
		if wide.dir != "" && sameDir(dir, wide.dir) {
			return wide.name
		}
	}
	for up := filepath.Dir(home); ; up = filepath.Dir(up) {
		if sameDir(dir, up) {
			return "a folder with others' homes in it"
		}
		if up == "/" || up == "." {
			break
		}
	}
	if sameDir(dir, "/") {
		return "the root of all files"
	}
	return ""
}

func sameDir(a, b string) bool {
	one, err := os.Stat(a)
	other, bad := os.Stat(b)
	return err == nil && bad == nil && os.SameFile(one, other)
}

// outputPattern makes a path of the user's that leads out of the folder one from the root.
func outputPattern(dir, pattern string) string {
	if pattern == "" || filepath.IsAbs(pattern) || filepath.IsLocal(pattern) {
		return pattern
	}
	return filepath.Join(dir, pattern)
}
