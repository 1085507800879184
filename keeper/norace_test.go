//go:build !race

package keeper_test

const underRace = false
