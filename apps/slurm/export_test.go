package slurm

import (
	"slices"
	"testing"
)

func TestExported(t *testing.T) {
	environ := []string{"A=1", "HOME=/home/ann", "B=x=y", "SSH_AUTH_SOCK=/s", "BRAMBLE_CLUSTER=c", "SLURM_JOB_ID=3", "BASH_FUNC_module%%=() { :; }", "PATH=/bin"}
	for export, want := range map[string][]string{
		"":              nil,
		"NONE":          nil,
		"ALL":           {"A=1", "B=x=y", "PATH=/bin"},
		"B,C=2,NOSUCH":  {"B=x=y", "C=2"},
		"ALL,HOME,A=9":  {"A=1", "B=x=y", "PATH=/bin", "HOME=/home/ann", "A=9"},
		"=1,SLURM_JOB_": nil,
	} {
		if got := Exported(environ, export); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", export, got, want)
		}
	}
}
