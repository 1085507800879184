#!/bin/bash
# Runs Debian's Slurm in the working folder, until it is killed or one of its daemons ends: the first process of a
# namespace of processes, so that none outlives it. It says that it is idle when it takes work.
export SLURM_CONF=$PWD/slurm.conf
munged --foreground --force --socket="$PWD/munge.socket" --key-file="$PWD/munge.key" --pid-file="$PWD/munged.pid" \
	--log-file="$PWD/munged.log" --seed-file="$PWD/munged.seed" >&2 &
until [ -S munge.socket ]; do
	kill -0 $! || exit 1
	sleep 0.02
done
slurmctld -D -c &
slurmd -D -N bench &
until [ "$(sinfo -h -o %T 2>&1)" = idle ]; do
	[ "$(jobs -r | wc -l)" = 3 ] || exit 1
	sleep 0.05
done
echo idle
wait -n
