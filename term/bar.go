package term

import (
	"math"
	"strings"
)

// Bar draws a fraction of 0 to 1 as exactly width cells, in steps of an eighth of
// a cell where the far end shows blocks.
func (s Style) Bar(fraction float64, width int) string {
	width = max(width, 0)
	fraction = clamp(fraction)
	if s.ASCII {
		full := int(fraction * float64(width))
		return strings.Repeat("#", full) + strings.Repeat(".", width-full)
	}
	eighths := int(fraction * float64(8*width))
	full, rest := eighths/8, eighths%8
	bar := strings.Repeat("█", full)
	if rest > 0 {
		bar += string(rune(0x2590 - rest)) // ▏ is U+258F, ▉ U+2589
		full++
	}
	return bar + strings.Repeat(" ", width-full)
}

// Spark draws one cell a value between the smallest (at most 0) and the largest;
// a value that is NaN is a gap.
func (s Style) Spark(values []float64) string {
	steps := []rune("▁▂▃▄▅▆▇█")
	if s.ASCII {
		steps = []rune("_.-=+*%#")
	}
	low, high := 0.0, 0.0
	for _, v := range values {
		if !math.IsNaN(v) && !math.IsInf(v, 0) {
			low, high = min(low, v), max(high, v)
		}
	}
	var b strings.Builder
	for _, v := range values {
		if math.IsNaN(v) {
			b.WriteByte(' ')
			continue
		}
		b.WriteRune(steps[int(math.Round(clamp((v-low)/(high-low))*7))])
	}
	return b.String()
}

// clamp brings f into 0 to 1; NaN is 0.
func clamp(f float64) float64 {
	if !(f > 0) {
		return 0
	}
	return min(f, 1)
}
