package metric_test

import (
	"strings"
	"testing"

	"bramble/metric"
)

func TestWrite(t *testing.T) {
	var set metric.Set
	jobs := set.Counter("bramble_job_submitted_total", "Jobs accepted.")
	set.Gauge("bramble_bus_connections", "Open connections.", func() float64 { return 2.5 })
	set.Collect("bramble_fleet_nodes", "Nodes by state.", "gauge", func(emit metric.Emit) {
		emit(3, "state", "up", "model", `a "b"`)
		emit(1, "state", "down")
	})
	jobs.Add(41)
	jobs.Add(1)
	var got strings.Builder
	if err := set.Write(&got); err != nil {
		t.Fatal(err)
	}
	want := `# HELP bramble_bus_connections Open connections.
# TYPE bramble_bus_connections gauge
bramble_bus_connections 2.5
# HELP bramble_fleet_nodes Nodes by state.
# TYPE bramble_fleet_nodes gauge
bramble_fleet_nodes{state="up",model="a \"b\""} 3
bramble_fleet_nodes{state="down"} 1
# HELP bramble_job_submitted_total Jobs accepted.
# TYPE bramble_job_submitted_total counter
bramble_job_submitted_total 42
`
	if got.String() != want {
		t.Errorf("got\n%s\nwant\n%s", got.String(), want)
	}
}
