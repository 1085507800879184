package artefact

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/singleflight"

	"bramble/fault"
	"bramble/host"
)

// Store keeps blobs in a folder:
//
//	blobs/ab/abcdef…   whole blobs, each verified before it got this name
//	partial/abcdef…    the first bytes of a blob that is on its way
//	recipes/abcdef…    how a blob is cut into chunks
//	pins/NAME          the refs that NAME holds, one a line
//	corrupt/abcdef…    blobs that were found damaged
//	tmp/               what has no name yet; emptied at the start
//	settings           what it was told to keep, and how far it was read through
//	lock               held by the one process that has the store open
//
// Every step between two of these states is a rename after an fsync, so a process
// or a power supply may end at any point. All methods may be called concurrently.
type Store struct {
	dir    string
	o      Options
	lock   *os.File
	opened time.Time

	shards     [256]sync.Mutex // one per first byte of a ref: its names appear, vanish and are looked up under it
	pinning    sync.Mutex
	setting    sync.Mutex
	collecting sync.Mutex
	cutting    singleflight.Group // of blobs into chunks, by ref
	flusher    flusher
	index      chunkIndex

	tellDamaged func(Ref, []string) // nil: nobody is told

	mu      sync.Mutex // guards what follows
	used    int64      // bytes of everything in the folder but pins
	set     Settings
	touched map[Ref]time.Time     // when a ref was last put, asked for or pinned
	noted   time.Time             // until when that is written down
	inUse   map[Ref]int           // how many Holds a ref has
	busy    map[Ref]chan struct{} // refs whose partial file has a writer; closed when it leaves
	flows   map[Ref]*flow         // refs of which chunks arrive
	due     map[Ref]int           // refs that somebody is about to bring, and how many do
	arrived chan struct{}         // closed and replaced when a flow begins, a blob is whole, or nobody brings one any more
}

// Options of a Store. The zero value has no limits.
type Options struct {
	Budget int64                           // most bytes to hold; 0: no limit
	Floor  int64                           // bytes of the file system to leave free
	Grace  time.Duration                   // how long an unpinned blob is safe from Collect; 0: DefaultGrace
	Free   func(dir string) (int64, error) // free bytes where dir is; nil: the operating system's answer
}

// DefaultGrace leaves time between the arrival of a blob and the pin that holds it.
const DefaultGrace = time.Hour

// OpenStore opens or makes the store in dir. fault.Conflict when another process has it open.
func OpenStore(dir string, o Options) (*Store, error) {
	if o.Grace == 0 {
		o.Grace = DefaultGrace
	}
	if o.Free == nil {
		o.Free = host.DiskFree
	}
	s := &Store{dir: dir, o: o, opened: time.Now(), touched: map[Ref]time.Time{}, inUse: map[Ref]int{}, busy: map[Ref]chan struct{}{},
		flows: map[Ref]*flow{}, due: map[Ref]int{}, arrived: make(chan struct{})}
	for _, sub := range []string{"blobs", "partial", "recipes", "pins", "corrupt", "tmp"} {
		if err := os.MkdirAll(s.path(sub), 0o700); err != nil {
			return nil, blame(err, "open the store %s", dir)
		}
	}
	var err error
	if s.lock, err = lockFile(s.path("lock")); err != nil {
		return nil, blame(err, "open the store %s", dir)
	}
	if err := errors.Join(s.recover(), s.readSettings()); err != nil {
		s.lock.Close()
		return nil, blame(err, "open the store %s", dir)
	}
	return s, nil
}

// recover drops what a crash left without a name and counts what is there.
func (s *Store) recover() error {
	if err := os.RemoveAll(s.path("tmp")); err != nil {
		return err
	}
	if err := os.Mkdir(s.path("tmp"), 0o700); err != nil {
		return err
	}
	for _, sub := range []string{"blobs", "partial", "recipes", "corrupt"} {
		err := filepath.WalkDir(s.path(sub), func(_ string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			info, err := d.Info()
			if err == nil {
				s.used += info.Size()
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return syncDir(s.dir)
}

// Close lets another process open the store. No other method may be running.
func (s *Store) Close() error {
	s.index.close()
	return s.lock.Close()
}

// Used is how many bytes the store holds, arriving and damaged blobs included.
func (s *Store) Used() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.used
}

// Put stores what r yields. want, unless empty, is the ref it must have: a blob that is there
// already is not read again, other bytes are ErrMismatch. fault.Full when the store's limits are reached.
func (s *Store) Put(ctx context.Context, r io.Reader, want Ref) (Ref, int64, error) {
	if want != "" {
		if err := checkRef(want); err != nil {
			return "", 0, err
		}
		if size, ok := s.stat(want); ok {
			return want, size, nil
		}
	}
	f, err := os.CreateTemp(s.path("tmp"), "blob-*")
	if err != nil {
		return "", 0, blame(err, "store a blob")
	}
	in := newIncoming(s, f)
	defer in.drop()
	in.plain = true // hashed beside it
	out := newFlushing(in, f)
	_, err = copyHashed(ctx, out, in.sum, r)
	if err = cmp.Or(err, out.wait()); err != nil {
		return "", 0, blame(err, "store a blob")
	}
	ref := in.ref()
	if want != "" && ref != want {
		return "", 0, mismatch(want)
	}
	return ref, in.size, in.keep(ref)
}

// Open returns the blob's file and its size. It does not read it: see Copy.
func (s *Store) Open(ref Ref) (*os.File, int64, error) {
	if err := checkRef(ref); err != nil {
		return nil, 0, err
	}
	f, err := os.Open(s.blob(ref))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, fault.New(fault.NotFound, "blob %s is not in this store", ref.short())
	}
	if err != nil {
		return nil, 0, blame(err, "open blob %s", ref.short())
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, 0, blame(err, "open blob %s", ref.short())
	}
	return f, info.Size(), nil
}

// Stat is what the file system says of a blob's file; fault.NotFound when there is none.
func (s *Store) Stat(ref Ref) (fs.FileInfo, error) {
	if err := checkRef(ref); err != nil {
		return nil, err
	}
	info, err := os.Stat(s.blob(ref))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.New(fault.NotFound, "blob %s is not in this store", ref.short())
	}
	return info, blame(err, "look at blob %s", ref.short())
}

// Copy writes the blob to w and verifies it on the way. After an error that wraps ErrCorrupt
// the blob has been moved away, and what w got is worthless.
func (s *Store) Copy(ctx context.Context, w io.Writer, ref Ref) (int64, error) {
	f, _, err := s.Open(ref)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	sum, out := sha256.New(), &lastError{Writer: w}
	n, err := copyHashed(ctx, out, sum, f)
	if errors.Is(err, syscall.EIO) && out.err == nil || err == nil && refOf(sum) != ref {
		return n, s.quarantine(ref, f)
	}
	return n, blame(err, "read blob %s", ref.short())
}

// Verify reads the blob and compares its hash. An error that wraps ErrCorrupt means it was moved away.
func (s *Store) Verify(ctx context.Context, ref Ref) error {
	_, err := s.Copy(ctx, io.Discard, ref)
	return err
}

// Has returns those of refs that are not here, and keeps the others from Collect for a grace.
func (s *Store) Has(refs []Ref) []Ref {
	missing := []Ref{}
	for _, ref := range refs {
		if _, ok := s.stat(ref); !ok {
			missing = append(missing, ref)
		}
	}
	return missing
}

// stat looks for a blob and, when it is there, starts its grace anew.
func (s *Store) stat(ref Ref) (int64, bool) {
	if !ref.Valid() {
		return 0, false
	}
	defer s.lockShard(ref)()
	info, err := os.Stat(s.blob(ref))
	if err != nil {
		return 0, false
	}
	s.touch(ref)
	return info.Size(), true
}

// quarantine moves a blob away, unless another file has taken the place of the one that was read.
func (s *Store) quarantine(ref Ref, read *os.File) error {
	defer s.lockShard(ref)()
	was, err := read.Stat()
	if err != nil {
		return blame(err, "look at blob %s", ref.short())
	}
	if is, err := os.Stat(s.blob(ref)); err == nil && os.SameFile(was, is) {
		old, _ := os.Stat(s.path("corrupt", string(ref)))
		if err := os.Rename(s.blob(ref), s.path("corrupt", string(ref))); err != nil {
			return blame(err, "move damaged blob %s away", ref.short())
		}
		if old != nil {
			s.release(old.Size())
		}
		s.damaged(ref)
	}
	return fault.New(fault.NotFound, "blob %s: %w", ref.short(), ErrCorrupt).Hint("bramble doctor, which looks at this machine's disk")
}

// Room reports fault.Full when n more bytes would break the store's limits, though all went that nobody holds.
func (s *Store) Room(n int64) error { return s.roomFor(n, func() {}) }

// reserve counts n bytes before they are written.
func (s *Store) reserve(n int64) error { return s.roomFor(n, func() { s.used += n }) }

func (s *Store) release(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used -= n
}

func (s *Store) touch(refs ...Ref) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for _, ref := range refs {
		s.touched[ref] = now
	}
}

// lockShard locks the names that share ref's folder and returns what unlocks them.
func (s *Store) lockShard(ref Ref) (unlock func()) {
	n, _ := strconv.ParseUint(string(ref[:2]), 16, 8)
	s.shards[n].Lock()
	return s.shards[n].Unlock
}

func (s *Store) path(elem ...string) string {
	return filepath.Join(append([]string{s.dir}, elem...)...)
}

func (s *Store) blob(ref Ref) string { return s.path("blobs", string(ref[:2]), string(ref)) }

func checkRef(ref Ref) error {
	if !ref.Valid() {
		return fault.New(fault.Misused, "%.80q is not a blob's name: that is 64 lower-case hex digits", string(ref))
	}
	return nil
}

func mismatch(ref Ref) error {
	return fault.New(fault.Failed, "blob %s: %w", ref.short(), ErrMismatch)
}
