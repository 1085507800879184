// Each rank says where it is and what all ranks sum up to. With an argument, that rank gives up and the others wait for it.
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv) {
	int rank, size;
	char host[256] = "";
	double mine, sum = 0;
	MPI_Init(&argc, &argv);
	MPI_Comm_rank(MPI_COMM_WORLD, &rank);
	MPI_Comm_size(MPI_COMM_WORLD, &size);
	gethostname(host, sizeof host - 1);
	mine = rank + 1;
	MPI_Allreduce(&mine, &sum, 1, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
	printf("rank %d of %d on %s: %g\n", rank, size, host, sum);
	fflush(stdout);
	if (argc > 1) {
		if (rank == atoi(argv[1])) {
			fprintf(stderr, "rank %d cannot go on\n", rank);
			exit(3);
		}
		MPI_Barrier(MPI_COMM_WORLD);
	}
	MPI_Finalize();
	return 0;
}
