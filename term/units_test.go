package term

import (
	"math"
	"testing"
	"time"

	"bramble/fault"
)

func TestBytes(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 1: "1 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB",
		100 << 10: "100 KiB", 1024*1024 - 1: "1.0 MiB", 1023 << 10: "1023 KiB", 995_000_000: "949 MiB",
		4 << 30: "4.0 GiB", 102_349: "100 KiB", math.MaxInt64: "8.0 EiB", -1536: "-1.5 KiB",
	} {
		if got := Bytes(n); got != want {
			t.Errorf("Bytes(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestRate(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0 B/s", 999: "999 B/s", 999.7: "1.0 kB/s", 12.5e6: "12.5 MB/s", 118e6: "118 MB/s", 1.2e9: "1.2 GB/s",
	} {
		if got := Rate(v); got != want {
			t.Errorf("Rate(%v) = %q, want %q", v, got, want)
		}
	}
}

func TestCount(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1234: "-1,234", -123: "-123",
		math.MinInt64: "-9,223,372,036,854,775,808",
	} {
		if got := Count(n); got != want {
			t.Errorf("Count(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0:                                "0 s",
		250 * time.Microsecond:           "0 ms",
		250 * time.Millisecond:           "250 ms",
		999700 * time.Microsecond:        "1 s",
		3 * time.Second:                  "3 s",
		3240 * time.Millisecond:          "3.2 s",
		9970 * time.Millisecond:          "10 s",
		59600 * time.Millisecond:         "1 min",
		125 * time.Second:                "2 min 5 s",
		time.Hour + 30*time.Second:       "1 h",
		time.Hour + 90*time.Second:       "1 h 1 min",
		98 * time.Hour:                   "4 d 2 h",
		96*time.Hour + 59*time.Minute:    "4 d",
		-3 * time.Second:                 "-3 s",
		time.Duration(math.MinInt64):     "-106751 d 23 h",
		23*time.Hour + 3599*time.Second:  "23 h 59 min",
		60*time.Second - time.Nanosecond: "1 min",
	} {
		if got := Duration(d); got != want {
			t.Errorf("Duration(%d) = %q, want %q", d, got, want)
		}
	}
}

func TestParseBytes(t *testing.T) {
	for text, want := range map[string]int64{
		"512M": 512 << 20, "1.5GiB": 3 << 29, "64k": 64 << 10, "64kB": 64 << 10, "1048576": 1 << 20,
		"10b": 10, " 2 GiB ": 2 << 30, "0": 0, "1t": 1 << 40, ".5k": 512,
	} {
		if got, err := ParseBytes(text); got != want || err != nil {
			t.Errorf("ParseBytes(%q) = %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"lots", "", "-1", "1.2.3M", "5Q", "5Mib/s", "0x10", "1e3", "inf", "5bib", "9999999T", "M", "5 5M"} {
		_, err := ParseBytes(text)
		if !fault.Is(err, fault.Misused) || fault.Of(err).Try == "" {
			t.Errorf("ParseBytes(%q): %v", text, err)
		}
	}
}

func TestParseDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"90s": 90 * time.Second, "2h": 2 * time.Hour, "1h30m": 90 * time.Minute, "4d": 96 * time.Hour,
		"1.5h": 90 * time.Minute, "250ms": 250 * time.Millisecond, "2 min 5 s": 125 * time.Second, "0s": 0,
		"30:00": 30 * time.Minute, "02:03:04": 2*time.Hour + 3*time.Minute + 4*time.Second,
		"1-12": 36 * time.Hour, "1-00:30": 24*time.Hour + 30*time.Minute, "2-01:02:03": 49*time.Hour + 2*time.Minute + 3*time.Second,
	} {
		if got, err := ParseDuration(text); got != want || err != nil {
			t.Errorf("ParseDuration(%q) = %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "60", "soon", "-5s", "5 fortnights", "1:2:3:4", "1-", "-", ":", "1-2:x", "s", "1h-2", "9999999999999d", "1-2-3", "1.5:00"} {
		_, err := ParseDuration(text)
		if !fault.Is(err, fault.Misused) || fault.Of(err).Try == "" {
			t.Errorf("ParseDuration(%q): %v", text, err)
		}
	}
	if _, err := ParseDuration("60"); fault.Of(err).Try != "60s for seconds, 60m for minutes" {
		t.Errorf("a bare number's hint: %q", fault.Of(err).Try)
	}
}

func TestDurationRoundTrip(t *testing.T) {
	for _, d := range []time.Duration{time.Second, 125 * time.Second, 98 * time.Hour, 250 * time.Millisecond} {
		if got, err := ParseDuration(Duration(d)); got != d || err != nil {
			t.Errorf("%v came back as %v, %v", d, got, err)
		}
	}
}

func TestBar(t *testing.T) {
	for _, c := range []struct {
		fraction    float64
		width       int
		want, ascii string
	}{
		{0, 4, "    ", "...."},
		{0.5, 4, "██  ", "##.."},
		{1, 4, "████", "####"},
		{1.0 / 8, 1, "▏", "."},
		{7.0 / 8, 1, "▉", "."},
		{0.6, 4, "██▍ ", "##.."},
		{2, 2, "██", "##"},
		{-1, 2, "  ", ".."},
		{math.NaN(), 2, "  ", ".."},
		{math.Inf(1), 2, "██", "##"},
		{0.5, -1, "", ""},
	} {
		if got := (Style{}).Bar(c.fraction, c.width); got != c.want {
			t.Errorf("Bar(%v, %d) = %q, want %q", c.fraction, c.width, got, c.want)
		}
		if got := (Style{ASCII: true}).Bar(c.fraction, c.width); got != c.ascii {
			t.Errorf("ASCII Bar(%v, %d) = %q, want %q", c.fraction, c.width, got, c.ascii)
		}
	}
}

func TestSpark(t *testing.T) {
	for _, c := range []struct {
		values      []float64
		want, ascii string
	}{
		{nil, "", ""},
		{[]float64{0, 1, 2, 3, 4, 5, 6, 7}, "▁▂▃▄▅▆▇█", "_.-=+*%#"},
		{[]float64{0, 0}, "▁▁", "__"},
		{[]float64{5, 5}, "██", "##"},
		{[]float64{-1, 0, 1}, "▁▅█", "_+#"},
		{[]float64{math.NaN(), 1}, " █", " #"},
		{[]float64{math.Inf(1), 1, math.Inf(-1)}, "██▁", "##_"},
	} {
		if got := (Style{}).Spark(c.values); got != c.want {
			t.Errorf("Spark(%v) = %q, want %q", c.values, got, c.want)
		}
		if got := (Style{ASCII: true}).Spark(c.values); got != c.ascii {
			t.Errorf("ASCII Spark(%v) = %q, want %q", c.values, got, c.ascii)
		}
	}
}
