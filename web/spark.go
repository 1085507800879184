package web

import (
	"math"
	"strconv"
)

// A spark is drawn in a box slots-1 wide and sparkHeight high, which the page stretches.
const (
	sparkWidth  = slots - 1
	sparkHeight = 100
)

// line is the SVG path of values between lo and hi, broken where a value is missing. Steps are
// whole numbers, relative to the point before, so that a line of 60 points takes about 250 bytes.
func line(values []float32, lo, hi float64) string {
	return string(trace(values, lo, hi, false))
}

// area is the path of what lies under the line.
func area(values []float32, lo, hi float64) string {
	return string(trace(values, lo, hi, true))
}

func trace(values []float32, lo, hi float64, closed bool) []byte {
	path := make([]byte, 0, 6*len(values))
	down, y := false, 0
	for i, v := range values {
		if v != v {
			if down && closed {
				path = appendMoves(path, 'V', sparkHeight, 'z')
			}
			down = false
			continue
		}
		to := level(float64(v), lo, hi)
		switch {
		case down:
			path = append(path, 'l', '1')
			if to >= y {
				path = append(path, ' ')
			}
			path = strconv.AppendInt(path, int64(to-y), 10)
		case closed:
			path = appendMoves(path, 'M', i, ' ')
			path = appendMoves(path, 0, sparkHeight, 'V')
			path = strconv.AppendInt(path, int64(to), 10)
		default:
			path = appendMoves(path, 'M', i, ' ')
			path = strconv.AppendInt(path, int64(to), 10)
		}
		down, y = true, to
	}
	if down && closed {
		path = appendMoves(path, 'V', sparkHeight, 'z')
	}
	return path
}

func appendMoves(path []byte, before byte, n int, after byte) []byte {
	if before != 0 {
		path = append(path, before)
	}
	return append(strconv.AppendInt(path, int64(n), 10), after)
}

// level is a value's height from the top.
func level(v, lo, hi float64) int {
	if hi <= lo {
		return sparkHeight
	}
	share := min(1, max(0, (v-lo)/(hi-lo)))
	return int(math.Round(sparkHeight * (1 - share)))
}

// ceiling is the least scale that shows all lines, and at least floor; with room above the highest.
func ceiling(floor float64, lines ...[]float32) float64 {
	top := floor
	for _, values := range lines {
		for _, v := range values {
			if v == v {
				top = max(top, 1.1*float64(v))
			}
		}
	}
	return top
}
