package term

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"
)

func TestStyle(t *testing.T) {
	colour, plain := Style{Colour: Basic}, Style{}
	for _, c := range []struct {
		paint func(Style, string) string
		want  string
	}{
		{Style.Good, "\x1b[32mup\x1b[0m"},
		{Style.Bad, "\x1b[31mup\x1b[0m"},
		{Style.Warn, "\x1b[33mup\x1b[0m"},
		{Style.Dim, "\x1b[2mup\x1b[0m"},
		{Style.Bold, "\x1b[1mup\x1b[0m"},
	} {
		if got := c.paint(colour, "up"); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
		if got := c.paint(plain, "up"); got != "up" {
			t.Errorf("plain: %q", got)
		}
		if got := c.paint(colour, ""); got != "" {
			t.Errorf("empty: %q", got)
		}
	}
}

func TestNameColours(t *testing.T) {
	for _, level := range []Level{Basic, Full} {
		s := Style{Colour: level}
		if s.Name("node7") != s.Name("node7") {
			t.Error("a name changed its colour")
		}
		sgr := func(name string) string { return strings.TrimSuffix(s.Name(name), name+reset) }
		seen := map[string]bool{}
		for i := range 6 {
			seen[sgr(fmt.Sprintf("node%02d", i+7))] = true
		}
		if len(seen) != 6 {
			t.Errorf("level %d: six neighbours share %d colours", level, len(seen))
		}
		s.Name("a" + strings.Repeat("9", 40))
		s.Name("")
	}
	if got := (Style{}).Name("node1"); got != "node1" {
		t.Errorf("plain: %q", got)
	}
}

// TestNameContrast holds the palette to WCAG's 3:1 for large text on black and on white.
func TestNameContrast(t *testing.T) {
	for _, sgr := range strings.Fields(fullNames) {
		n, err := strconv.Atoi(strings.TrimPrefix(sgr, "38;5;"))
		if err != nil {
			t.Fatal(err)
		}
		l := luminance(n)
		if black, white := (l+0.05)/0.05, 1.05/(l+0.05); black < 3 || white < 3 {
			t.Errorf("colour %d: contrast %.1f on black, %.1f on white", n, black, white)
		}
	}
}

// luminance is the relative luminance of a colour of the 6×6×6 cube, as WCAG 2 defines it.
func luminance(n int) float64 {
	n -= 16
	part := func(i int) float64 {
		c := float64([]int{0, 95, 135, 175, 215, 255}[i]) / 255
		if c <= 0.03928 {
			return c / 12.92
		}
		return math.Pow((c+0.055)/1.055, 2.4)
	}
	return 0.2126*part(n/36) + 0.7152*part(n/6%6) + 0.0722*part(n%6)
}
