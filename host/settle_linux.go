package host

import (
	"bufio"
	"fmt"
	"os"
	"runtime/debug"
	"strings"

	"golang.org/x/sys/unix"
)

// Settle gives back what only the start of this process needed: memory that is free, and the pages of its own program that it has mapped.
// Those that still run come back from the page cache by themselves, 64 KiB at a time; the rest, once nobody maps it, is what a kernel that
// is short of memory takes first.
func Settle() error {
	debug.FreeOSMemory()
	ranges, err := programRanges()
	if err != nil {
		return err
	}
	for _, r := range ranges {
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, r[0], r[1]-r[0], unix.MADV_DONTNEED); errno != 0 {
			return fmt.Errorf("give back the pages of the program: %w", errno)
		}
	}
	return nil
}

// programRanges are the addresses, begin and end, at which this program's file is mapped and not written to: what is written is only in memory.
// They are as proc_pid_maps(5) has them.
func programRanges() (ranges [][2]uintptr, err error) {
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return nil, err
	}
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return nil, err
	}
	defer maps.Close()
	lines := bufio.NewScanner(maps)
	for lines.Scan() {
		var begin, end uintptr
		var rights string
		if _, err := fmt.Sscanf(lines.Text(), "%x-%x %s", &begin, &end, &rights); err != nil {
			return nil, fmt.Errorf("/proc/self/maps has the line %q: %w", lines.Text(), err)
		}
		if strings.HasSuffix(lines.Text(), " "+exe) && !strings.Contains(rights, "w") {
			ranges = append(ranges, [2]uintptr{begin, end})
		}
	}
	return ranges, lines.Err()
}
