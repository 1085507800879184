package main

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"bramble/artefact"
	"bramble/job"
)

// How much faster than over ssh ranks are meant to be started, and to have come through MPI_Init.
const (
	hostnameTarget = 3.5
	initTarget     = 2.5
	mpiHosts       = 16
)

//go:embed programs/pingpong.c
var pingpong []byte

// mpiScript runs on the first node: the same mpirun in turns, calling us and calling ssh. Each line that it writes is
// what was measured, by whom, and nanoseconds.
const mpiScript = `#!/bin/bash
umask 077
folder=$(mktemp -d /var/tmp/bramble-mpi-XXXXXX) # ssh brings no files; the nodes share this machine's disk
trap 'rm -rf "$folder"' EXIT
chmod 755 "$folder"
install -m 755 pingpong "$folder"
cd "$folder"
export OMPI_MCA_mpi_yield_when_idle=1 # there are fewer cores than ranks
printf '%s\n' "$SSH_KEY" >key
ssh="ssh -F/dev/null -oStrictHostKeyChecking=no -oUserKnownHostsFile=/dev/null -oGlobalKnownHostsFile=/dev/null -oBatchMode=yes -oIdentitiesOnly=yes -oLogLevel=ERROR -i$PWD/key"
run() { # WHAT WHO PROGRAM…
	local what=$1 who=$2 begun; shift 2
	begun=$(date +%s%N)
	mpirun.openmpi "$@" >out 2>err || { cat err >&2; exit 1; }
	echo "$what $who $(($(date +%s%N) - begun))"
}
over_ssh() { # as somebody has it who has told Open MPI his hosts and his network, and no more
	(unset OMPI_MCA_orte_tmpdir_base HWLOC_COMPONENTS HWLOC_PLUGINS_PATH; OMPI_MCA_plm_rsh_agent=$ssh run "$@")
}
run warm bramble hostname; over_ssh warm ssh hostname
for i in $(seq $RUNS); do
	run hostname bramble hostname; over_ssh hostname ssh hostname
	run init bramble ./pingpong; over_ssh init ssh ./pingpong
	run bounced bramble -n 2 --map-by node ./pingpong bounce; echo "latency bramble $(cat out)"
	over_ssh bounced ssh -n 2 --map-by node ./pingpong bounce; echo "latency ssh $(cat out)"
done
`

// mpi measures the start of ranks on hosts of their own beside the same mpirun over ssh.
func (b *bench) mpi(ctx context.Context, s *section) error {
	s.title = fmt.Sprintf("MPI on %d nodes", mpiHosts)
	s.how = fmt.Sprintf("One rank on each of %d nodes in namespaces of their own on this one machine: Debian's Open MPI calls bramble for each node, and in turns openssh to an sshd there, on the same network and transports. Whole runs of mpirun, all at the same time on a few cores; and half a round trip of one byte between two nodes.", mpiHosts)
	if not := missing("mpirun.openmpi", "mpicc.openmpi", "ssh", "ssh-keygen"); len(not) > 0 {
		return fmt.Errorf("this needs %s; try: scripts/setup && scripts/setup bench", strings.Join(not, ", "))
	}
	if os.Geteuid() != 0 {
		return fmt.Errorf("namespaces need root; try: sudo make bench")
	}
	b.say("mpi: raising %d nodes in namespaces, with an sshd on each", mpiHosts)
	r, err := b.raise(ctx, "mpi", mpiHosts, true)
	if err != nil {
		return err
	}
	defer r.down(ctx)
	ssh, err := b.startSSH(ctx, r)
	if err != nil {
		return err
	}
	defer ssh.stop()
	took, err := b.launches(ctx, r, ssh)
	if err != nil {
		return err
	}
	if turns := len(took["latency ssh"]); turns < b.runs {
		s.note("It was cut short after %d turns of %d.", turns, b.runs)
	}
	for _, m := range []struct {
		what, text string
		target     float64
	}{{"hostname", "`mpirun hostname`", hostnameTarget}, {"init", "to the end of MPI_Init", initTarget}, {"latency", "half a round trip", 0}} {
		ours, theirs := &contender{took: took[m.what+" bramble"]}, &contender{took: took[m.what+" ssh"]}
		if len(ours.took) == 0 || len(theirs.took) == 0 {
			return fmt.Errorf("%s was not measured", m.what)
		}
		ratio := float64(median(theirs.took)) / float64(median(ours.took))
		next := row{what: m.text, figure: ours.figure(), peer: "ssh: " + theirs.figure(), ratio: times(float64(median(theirs.took)), float64(median(ours.took)))}
		if m.target > 0 {
			next.target, next.verdict = fmt.Sprintf("≥ %g×", m.target), judge(ratio >= m.target)
		} else {
			next.target, next.verdict = "no slower beyond the noise", judge(slices.Min(ours.took) <= slices.Max(theirs.took))
		}
		s.add(next)
	}
	return nil
}

// launches runs the script on an allocation of all nodes and returns what it measured.
func (b *bench) launches(ctx context.Context, r *rack, ssh *sshds) (map[string][]time.Duration, error) {
	source, program := filepath.Join(b.dir, "pingpong.c"), filepath.Join(b.dir, "pingpong")
	if err := os.WriteFile(source, pingpong, 0o600); err != nil {
		return nil, err
	}
	if err := command(ctx, nil, "mpicc.openmpi", "-O2", "-o", program, source); err != nil {
		return nil, err
	}
	key, err := os.ReadFile(ssh.key())
	if err != nil {
		return nil, err
	}
	tree, err := artefact.Scan(ctx, []string{program})
	if err != nil {
		return nil, err
	}
	defer tree.Close()
	ref, err := r.cluster.Files().Upload(ctx, tree, tree.Manifest, nil)
	if err != nil {
		return nil, err
	}
	b.say("mpi: mpirun through bramble and through ssh in turns, %d times", b.runs)
	id, err := r.cluster.Jobs.Submit(ctx, job.Spec{Script: []byte(mpiScript), As: "root", Nodes: mpiHosts, RanksPerNode: 1, Inputs: string(ref),
		Env: []string{"SSH_KEY=" + strings.TrimSpace(string(key)), "RUNS=" + strconv.Itoa(b.runs)}})
	if err != nil {
		return nil, err
	}
	sum, late := r.cluster.Jobs.Wait(ctx, id, nil)
	var out bytes.Buffer
	logs, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	for line, err := range r.cluster.Jobs.Logs(logs, job.LogRequest{ID: id, All: true}) {
		if err != nil {
			return nil, err
		}
		out.Write(line.Data)
	}
	took, turns := readLaunches(out.String())
	switch {
	case ctx.Err() != nil && turns >= enough:
		return took, nil
	case late != nil:
		return nil, fmt.Errorf("after %d turns of %d: %w", turns, b.runs, late)
	case sum.State != job.Done:
		return nil, fmt.Errorf("the job is %s: %s", sum.State, lastWords(out.String()))
	}
	return took, nil
}

// readLaunches is what the script's lines say, by what was measured and by whom, and how many turns are whole.
func readLaunches(lines string) (took map[string][]time.Duration, turns int) {
	took = map[string][]time.Duration{}
	for line := range strings.Lines(lines) {
		if f := strings.Fields(line); len(f) == 3 {
			if n, err := strconv.ParseInt(f[2], 10, 64); err == nil {
				took[f[0]+" "+f[1]] = append(took[f[0]+" "+f[1]], time.Duration(n))
			}
		}
	}
	return took, len(took["latency ssh"]) // the last line of a turn
}
