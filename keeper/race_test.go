//go:build race

package keeper_test

// underRace: the detector multiplies memory and time.
const underRace = true
