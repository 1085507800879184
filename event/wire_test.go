package event

import (
	"testing"
	"time"

	"bramble/bus/bustest"
)

func TestWire(t *testing.T) {
	at := time.Date(2026, 11, 24, 6, 0, 0, 0, time.UTC)
	bustest.Golden(t, "1", map[string]any{
		"event":  Event{Seq: 9, Time: at, Kind: Audit, Room: "fan", Node: "pi", Job: 7, User: "ann", Text: "ann runs uptime", Bad: true},
		"filter": Filter{After: 9, Limit: 10, Room: "fan", Node: "pi", User: "ann", Follow: true},
	})
}
