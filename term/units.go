package term

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Bytes shows an amount of memory, a file's size or a disk's in powers of 1024
// and says so: "949 MiB", "1.5 GiB". A 1 GB board has 0.9 GiB to give, and a
// figure that can be compared with what the kernel counts is worth more than a
// round one.
func Bytes(n int64) string {
	return scaled(float64(n), 1024, "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
}

// Rate shows bytes a second in powers of 1000, as links and disks are sold: "12.5 MB/s" fills 100 Mbit/s.
func Rate(bytesPerSecond float64) string {
	return scaled(bytesPerSecond, 1000, "B/s", "kB/s", "MB/s", "GB/s", "TB/s")
}

// scaled gives one decimal below 100 in all units but the first.
func scaled(value, base float64, units ...string) string {
	if value < 0 {
		return "-" + scaled(-value, base, units...)
	}
	i := 0
	for i < len(units)-1 && math.Round(value) >= base {
		value /= base
		i++
	}
	if i > 0 && math.Round(value*10) < 1000 {
		return fmt.Sprintf("%.1f %s", value, units[i])
	}
	return fmt.Sprintf("%.0f %s", value, units[i])
}

// Count groups digits by three: 1,234,567.
func Count(n int64) string {
	digits := strconv.FormatInt(n, 10)
	sign := ""
	if n < 0 {
		sign, digits = "-", digits[1:]
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return sign + digits
}

// Duration shows the two largest units that matter: "250 ms", "3.2 s", "42 s",
// "2 min 5 s", "4 d 2 h".
func Duration(d time.Duration) string {
	switch {
	case d < 0:
		if d == math.MinInt64 {
			d++
		}
		return "-" + Duration(-d)
	case d == 0:
		return "0 s"
	case d < 999500*time.Microsecond:
		return fmt.Sprintf("%d ms", d.Round(time.Millisecond).Milliseconds())
	case d < 9950*time.Millisecond:
		return strings.TrimSuffix(fmt.Sprintf("%.1f", d.Seconds()), ".0") + " s"
	}
	return twoUnits(int64(d.Round(time.Second) / time.Second))
}

func twoUnits(seconds int64) string {
	steps := []struct {
		name string
		size int64
	}{{"d", 86400}, {"h", 3600}, {"min", 60}, {"s", 1}}
	for i, step := range steps {
		n, rest := seconds/step.size, seconds%step.size
		if n == 0 {
			continue
		}
		text := fmt.Sprintf("%d %s", n, step.name)
		if rest == 0 || rest < steps[i+1].size {
			return text
		}
		return text + fmt.Sprintf(" %d %s", rest/steps[i+1].size, steps[i+1].name)
	}
	return "0 s"
}
