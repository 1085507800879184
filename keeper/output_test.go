package keeper_test

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"bramble/keeper"
)

func TestBinaryOutputIsIntact(t *testing.T) {
	each(t, func(t *testing.T, k keeper.Keeper, spool string) {
		data := make([]byte, 5<<20+7)
		rand.Read(data)
		for i, size := range []int{0, 1, keeper.SmallOutput - 1, keeper.SmallOutput, keeper.SmallOutput + 1, 65 << 10, len(data)} {
			file := filepath.Join(t.TempDir(), "data")
			must(t, os.WriteFile(file, data[:size], 0o600))
			id := fmt.Sprint("size.", i)
			s := run(t, k, sh(id, "cat "+file+"; head -c 9 "+file+" >&2"))
			if s.Stdout != int64(size) || s.Stderr != int64(min(9, size)) || s.Dropped != 0 {
				t.Fatalf("%d bytes: %+v", size, s)
			}
			if out := whole(t, k, id, "stdout"); !bytes.Equal(out, data[:size]) {
				t.Errorf("%d bytes: %d came back, or others", size, len(out))
			}
			if errs := whole(t, k, id, "stderr"); !bytes.Equal(errs, data[:min(9, size)]) {
				t.Errorf("%d bytes: stderr %x", size, errs)
			}
			if small := s.Stdout+s.Stderr <= keeper.SmallOutput; small != (len(s.SmallOut) > 0) && size > 0 {
				t.Errorf("%d bytes: %d ride along", size, len(s.SmallOut))
			}
			left, _ := os.ReadDir(filepath.Join(spool, "output"))
			if small := s.Stdout+s.Stderr <= keeper.SmallOutput; small && len(left) > 0 {
				t.Errorf("%d bytes: files %v", size, left)
			}
			must(t, k.Forget(t.Context(), []string{id}))
		}
	})
}

func TestCapKeepsTheBeginning(t *testing.T) {
	each(t, func(t *testing.T, k keeper.Keeper, _ string) {
		for id, limit := range map[string]int64{"1": 10, "2": 100_000} {
			task := sh(id, "yes | head -c 1000000; echo fine >&2")
			task.Cap = limit
			s := run(t, k, task)
			if !s.Exit.OK() || s.Stdout != limit || s.Dropped != 1_000_000-limit || s.Stderr != 5 {
				t.Errorf("cap %d: %+v %+v", limit, s, s.Exit)
			}
			if out := whole(t, k, id, "stdout"); string(out) != strings.Repeat("y\n", int(limit)/2) {
				t.Errorf("cap %d: %d bytes, or others", limit, len(out))
			}
		}
	})
}

// 100 MB of output pass through a keeper whose heap stays small.
func TestLargeOutputInBoundedMemory(t *testing.T) {
	k, _ := local(t, t.TempDir(), os.Stderr)
	runtime.GC()
	var before, now runtime.MemStats
	runtime.ReadMemStats(&before)
	most := uint64(0)
	must(t, k.Start(t.Context(), []keeper.Task{sh("1", "head -c 100000000 /dev/zero")}))
	batches, err := k.Ended(t.Context())
	must(t, err)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case batch := <-batches:
			if s := batch[0]; s.Stdout != keeper.DefaultCap || s.Stdout+s.Dropped != 100_000_000 || !s.Exit.OK() {
				t.Errorf("%+v", s)
			}
			if grown := int64(most) - int64(before.HeapInuse); grown > 4<<20 {
				t.Errorf("the heap grew by %d bytes", grown)
			}
			return
		case <-tick.C:
			runtime.ReadMemStats(&now)
			most = max(most, now.HeapInuse)
		}
	}
}

func TestOutputOfARunningTask(t *testing.T) {
	each(t, func(t *testing.T, k keeper.Keeper, _ string) {
		must(t, k.Start(t.Context(), []keeper.Task{sh("1", "echo early; yes | head -c 50000 >&2; exec sleep 600")}))
		until(t, "the output", func() bool {
			return len(whole(t, k, "1", "stdout")) == 6 && len(whole(t, k, "1", "stderr")) == 50000
		})
		list, err := k.List(t.Context())
		must(t, err)
		if len(list) != 1 || !list[0].Running || list[0].Stderr != 50000 || list[0].Exit != nil {
			t.Errorf("%+v", list)
		}
		must(t, k.Signal(t.Context(), "1", "KILL"))
		if s := collect(t, k, "1")["1"]; s.Stderr != 50000 {
			t.Errorf("%+v", s)
		}
	})
}
