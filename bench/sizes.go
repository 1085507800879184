package main

import (
	"cmp"
	"context"
	"debug/buildinfo"
	"debug/elf"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// binaryTarget is in bytes.
const binaryTarget = 32_000_000

// targets are what is released: GOOS, GOARCH, GOARM.
var targets = [][3]string{{"linux", "amd64", ""}, {"linux", "arm64", ""}, {"linux", "arm", "7"}, {"linux", "arm", "6"}}

// sizes measures memory at rest and, while that rest lasts, builds the binaries and measures them.
func (b *bench) sizes(ctx context.Context, s *section) error {
	s.title = "Sizes"
	s.how = fmt.Sprintf("Memory of a node that has done nothing for %s, and of a head with %d nodes, %d of them simulated, likewise; binaries as they are released. A MB is a million bytes; memory is in MiB, of 1024 × 1024, as boards' memory is counted, and its targets are read so.", b.idle, headNodes, headNodes-2)
	r, err := b.raise(ctx, "idle", 1, false)
	if err != nil {
		return err
	}
	defer r.down(ctx)
	b.say("sizes: a head with %d nodes, then rest", headNodes)
	simulated, err := b.simulate(ctx, r, headNodes-2)
	if err != nil {
		return err
	}
	defer simulated.stop()
	idle, err := b.startIdle(ctx, r)
	if err != nil {
		return err
	}
	defer idle.stop()
	began, rest := time.Now(), time.NewTimer(b.idle)
	defer rest.Stop()
	if b.source != "" {
		b.binaries(ctx, s)
	}
	b.say("sizes: resting")
	select {
	case <-rest.C:
	case <-ctx.Done():
		if time.Since(began) < b.idle {
			s.note("The rest was cut short after %s.", seconds(time.Since(began)))
		}
	}
	if err := idle.measure(s); err != nil {
		return err
	}
	return headMemory(s, r, fmt.Sprintf("a head with %d nodes", headNodes), headAnonTarget)
}

// binaries builds for every target; what cannot be built in time is noted.
func (b *bench) binaries(ctx context.Context, s *section) {
	b.say("sizes: building for %d targets (long the first time)", len(targets))
	for _, t := range targets {
		name := strings.TrimSuffix(strings.Join(t[:], "/"), "/")
		size, err := b.build(ctx, t, "-s -w")
		if err != nil {
			s.note("%s was not built: %v; the next run finds more in Go's build cache", name, err)
			continue
		}
		s.add(row{what: "binary " + name, figure: megabytes(size), target: "≤ " + megabytes(binaryTarget), verdict: judge(size <= binaryTarget)})
	}
	if text, err := b.modules(ctx); err != nil {
		s.note("what each module costs was not counted: %v", err)
	} else {
		s.note("%s", text)
	}
}

// build makes a binary and returns its size.
func (b *bench) build(ctx context.Context, target [3]string, ldflags string) (int64, error) {
	path := b.built()
	cmd := exec.CommandContext(ctx, "scripts/build", path, ldflags)
	cmd.Dir = b.source
	cmd.Env = append(os.Environ(), "GOOS="+target[0], "GOARCH="+target[1], "GOARM="+target[2])
	if out, err := cmd.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("scripts/build: %w: %s", err, lastWords(string(out)))
	}
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (b *bench) built() string { return filepath.Join(b.dir, "built") }

// costs are bytes of symbols by module.
type costs map[string]int64

// modules says what each module adds to the binary.
func (b *bench) modules(ctx context.Context) (string, error) {
	if _, err := b.build(ctx, [3]string{runtime.GOOS, runtime.GOARCH, ""}, ""); err != nil {
		return "", err
	}
	info, err := buildinfo.ReadFile(b.built())
	if err != nil {
		return "", err
	}
	paths := []string{info.Main.Path}
	for _, m := range info.Deps {
		paths = append(paths, m.Path)
	}
	binary, err := elf.Open(b.built())
	if err != nil {
		return "", err
	}
	defer binary.Close()
	total, err := countSymbols(binary, paths)
	return total.String(), err
}

// The costs that are no module's.
const (
	goOwn  = "Go's own library and runtime"
	tables = "tables of functions, for all"
	pooled = "types, strings and other things that the linker pools"
)

// countSymbols sums the sizes of what is in the file, by module; what is no module's is Go's own.
func countSymbols(binary *elf.File, modules []string) (costs, error) {
	symbols, err := binary.Symbols()
	if err != nil {
		return nil, fmt.Errorf("symbols: %w", err)
	}
	total := costs{}
	inFile := func(s *elf.Section) bool { return s.Type != elf.SHT_NOBITS && s.Flags&elf.SHF_ALLOC != 0 }
	for _, s := range binary.Sections {
		if inFile(s) {
			total[pooled] += int64(s.Size)
		}
	}
	if s := binary.Section(".gopclntab"); s != nil {
		total[tables] = int64(s.Size)
	}
	for _, s := range symbols {
		if int(s.Section) >= len(binary.Sections) {
			continue
		}
		if section := binary.Sections[s.Section]; inFile(section) && section.Name != ".gopclntab" && elf.ST_TYPE(s.Info) != elf.STT_NOTYPE {
			total[owner(s.Name, modules)] += int64(s.Size)
		}
	}
	for name, size := range total {
		if name != pooled {
			total[pooled] -= size
		}
	}
	return total, nil
}

// owner is the module of a symbol: the longest that its package's path begins with.
func owner(symbol string, modules []string) string {
	symbol = strings.ReplaceAll(strings.TrimLeft(symbol[strings.LastIndexByte(symbol, ':')+1:], "*.eq"), "%2e", ".")
	best := ""
	for _, m := range modules {
		rest, ok := strings.CutPrefix(symbol, m)
		if ok && len(m) > len(best) && rest != "" && strings.ContainsAny(rest[:1], "/.") {
			best = m
		}
	}
	return cmp.Or(best, goOwn)
}

// listed is the least that a module costs to be named.
const listed = 150_000

func (c costs) String() string {
	names := slices.SortedFunc(maps.Keys(c), func(a, b string) int { return cmp.Compare(c[b], c[a]) })
	var words []string
	var rest int64
	for _, name := range names {
		if c[name] < listed {
			rest += c[name]
			continue
		}
		words = append(words, fmt.Sprintf("%s %s", name, megabytes(c[name])))
	}
	words = append(words, "all smaller ones together "+megabytes(rest))
	return "What each module costs, counted as the sizes of its symbols, code and data, in an unstripped binary for this machine: " +
		strings.Join(words, ", ") + "."
}
