package artefact

import (
	"io/fs"
	"iter"
	"path"
	"slices"
	"strings"
	"time"

	"bramble/fault"
	"bramble/trust"
)

// Found is what stands at a path that a person named.
type Found int

const (
	Nothing Found = iota
	File
	Folder
)

// Landing is where a pushed tree goes.
type Landing struct {
	Dir  string // the folder that receives the tree; made when it is missing
	Name string // the new name of the only thing pushed; "" when names stay
}

// Land decides, as cp does, where sources go that were pushed to the path to: into it, when it ends
// in a slash, is a folder, or when there are several sources or a folder's content (DIR/.);
// else the one source gets that path as its name. found is what stands at to.
func Land(sources []string, to string, found Found) (Landing, error) {
	switch {
	case len(sources) == 0:
		return Landing{}, fault.New(fault.Misused, "nothing to copy").Hint("name a file: push FILE --to PATH")
	case to == "":
		return Landing{}, fault.New(fault.Misused, "the destination is empty").Hint("push … --to PATH")
	case !cleanText(to):
		return Landing{}, fault.New(fault.Misused, "the destination %.200q is not UTF-8 or has a NUL in it", to)
	}
	into := found == Folder || len(sources) > 1 || isContent(sources[0]) || strings.HasSuffix(to, "/") || isContent(to)
	if into && found == File {
		return Landing{}, fault.New(fault.Misused, "%s is a file, not a folder", path.Clean(to)).Hint("name a folder with --to")
	}
	if into {
		return Landing{Dir: path.Clean(to)}, nil
	}
	return Landing{Dir: path.Dir(to), Name: path.Base(to)}, nil
}

// isContent reports whether a path means what is in a folder, not a thing with a name.
func isContent(p string) bool {
	if strings.Trim(p, "/") == "" {
		return true
	}
	last := p[strings.LastIndexByte(p, '/')+1:]
	return last == "." || last == ".."
}

// Renamed is m with its one top entry called name.
func (m Manifest) Renamed(name string) (Manifest, error) {
	if checkPath(name) != nil || strings.Contains(name, "/") {
		return Manifest{}, fault.New(fault.Misused, "%.200q is not a file's name", name)
	}
	if len(m.Entries) == 0 {
		return Manifest{}, fault.New(fault.Misused, "there is nothing to name %s", name)
	}
	top := m.Entries[0].Path
	out := Manifest{Entries: make([]Entry, len(m.Entries))}
	for i, e := range m.Entries {
		rest, ok := strings.CutPrefix(e.Path, top)
		if !ok || rest != "" && rest[0] != '/' {
			return Manifest{}, fault.New(fault.Misused, "%s and %s cannot both be named %s", top, e.Path, name)
		}
		out.Entries[i] = e
		out.Entries[i].Path = name + rest
	}
	return out, nil
}

// action is what becomes of one entry where it is laid out.
type action int

const (
	leave action = iota // it is there
	write               // put it there, in place of what may be there
	taken               // something else is there, which may be overwritten if so wanted
	clash               // something of another kind is there, which is never overwritten
)

// absent is the mode of what is not there.
const absent = fs.ModeIrregular

// settle decides about an entry of type want where something of type have stands; same says that it is equal.
func settle(want, have fs.FileMode, same, overwrite bool) action {
	switch {
	case have == absent:
		return write
	case want.IsDir() && have.IsDir():
		return leave
	case want.IsDir() || have.IsDir() || have != 0 && have != fs.ModeSymlink:
		return clash
	case want == have && same:
		return leave
	case overwrite:
		return write
	}
	return taken
}

// outcome is how one try to move a blob ended.
type outcome int

const (
	done   outcome = iota
	broken         // the connection or the server failed: try again
	behind         // the other side has another part of it than we thought: try again from there
	lied           // the bytes had another hash
	busy           // the server has no room for one more transfer now
	final          // trying again cannot help
)

// patience decides how long a blob's transfer goes on.
type patience struct {
	tries int           // tries in a row that may move nothing
	lies  int           // how often bytes may be wrong
	wait  time.Duration // how long the server may be busy before it counts as gone
	pause time.Duration // first pause between two tries; doubles up to maxPause
}

const maxPause = 5 * time.Second

// effort is what was tried so far.
type effort struct {
	idle   int           // tries since something moved
	lies   int           // wrong answers
	waited time.Duration // spent waiting for a busy server since something moved
}

// next takes in how a try ended and returns the effort so far, how long to pause, and whether to try again.
// dice is uniform in [0,1): pauses differ, so that a thousand nodes do not come back at once.
func (p patience) next(e effort, o outcome, moved bool, asked time.Duration, dice float64) (effort, time.Duration, bool) {
	if moved {
		e.idle, e.waited = 0, 0
	}
	pause := min(p.pause<<min(e.idle, 16), maxPause)
	switch o {
	case done, final:
		return e, 0, false
	case lied:
		e.lies++
	case busy:
		pause = max(pause, asked)
		e.waited += pause
	default:
		e.idle++
	}
	again := e.idle < p.tries && e.lies < p.lies && e.waited < p.wait
	return e, time.Duration(float64(pause) * (0.5 + dice)), again
}

// outcomeOf tells what an HTTP status means for the one who tries.
func outcomeOf(status int) outcome {
	switch status {
	case 200, 201, 206:
		return done
	case 409:
		return behind
	case 422:
		return lied
	case 429:
		return busy
	case 408, 500, 502, 503, 504:
		return broken
	}
	return final
}

// sourcesOf stands for the sources of a Push in Land: a thing with a name, or what makes the destination a folder.
func sourcesOf(many bool) []string {
	if many {
		return []string{"."}
	}
	return []string{"one"}
}

// resolve makes a path absolute: without a leading slash it is in the account's home. What it ends in stays.
func resolve(home, p string) (string, error) {
	if p == "~" || strings.HasPrefix(p, "~/") {
		p = "." + p[1:]
	}
	switch {
	case p == "":
		return "", fault.New(fault.Misused, "a path is empty")
	case strings.ContainsRune(p, 0):
		return "", fault.New(fault.Misused, "the path %.200q has a NUL in it", p)
	case p[0] == '/':
		return p, nil
	case !strings.HasPrefix(home, "/"):
		return "", fault.New(fault.Misused, "%s is in the account's home, and the account has none", p).Hint("a path that begins with /")
	}
	return strings.TrimRight(home, "/") + "/" + p, nil
}

func hasWildcard(p string) bool { return strings.ContainsAny(p, `*?[\`) }

// checkAs lets admins work as root, and nobody as anybody else.
func checkAs(as string, role trust.Role) error {
	switch {
	case as == "":
		return nil
	case as != "root":
		return fault.New(fault.Misused, "--as takes only root; without it your own account's rights count").Hint("--as root")
	case role != trust.Admin:
		return fault.New(fault.Denied, "only an admin may copy as root").Hint("leave --as out, or use an admin's client file")
	}
	return nil
}

// sumOf counts what is in a tree.
func sumOf(m Manifest) End {
	var end End
	for _, e := range m.Entries {
		if !e.isDir() {
			end.Files++
			end.Bytes += e.Size
		}
	}
	return end
}

func refsOf(m Manifest) []Ref {
	var refs []Ref
	for _, b := range m.Blobs() {
		refs = append(refs, b.Ref)
	}
	return refs
}

// skippedFrames cuts a list into parts that fit a message of the bus, and very long names short.
func skippedFrames(all []Skipped) iter.Seq[[]Skipped] {
	for i := range all {
		if p := all[i].Path; len(p) > 1000 {
			all[i].Path = "…" + strings.ToValidUTF8(p[len(p)-1000:], "")
		}
	}
	return slices.Chunk(all, 8)
}
