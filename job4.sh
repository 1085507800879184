#!/bin/bash
#SBATCH --nodes=16 --ntasks-per-node=1
cd /var/tmp/mpix
export OMPI_MCA_mpi_yield_when_idle=1 
run() { local w=$1; shift; local b=$(date +%s%N); mpirun.openmpi "$@" >out 2>err || { cat err; }; echo "$w $(( ($(date +%s%N)-b)/1000000 )) ms $(wc -l <out)"; cat err; }
for i in 1 2 3 4 5; do
for p in hostname ./pingpong; do
run bramble-$p $p
done
done
ls /dev/shm
